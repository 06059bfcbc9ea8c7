"""Trained networks made fast, and exported."""

from .export import FORMATS, PARTS, Exported, export, use_backend
from .fusion import DTYPES, OptimizedFasterNet, optimize
from .runtime import BACKENDS, ExportedNetwork, check_backend

__all__ = [
    'BACKENDS',
    'DTYPES',
    'FORMATS',
    'PARTS',
    'Exported',
    'ExportedNetwork',
    'OptimizedFasterNet',
    'check_backend',
    'export',
    'optimize',
    'use_backend',
]
