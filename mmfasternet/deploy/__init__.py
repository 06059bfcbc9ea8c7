"""Trained networks made fast, and exported."""

from .export import FORMATS, PARTS, Exported, export, use_backend
from .fusion import DTYPES, OptimizedFasterNet, cpu_has_bfloat16, optimize
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
    'cpu_has_bfloat16',
    'export',
    'optimize',
    'use_backend',
]
