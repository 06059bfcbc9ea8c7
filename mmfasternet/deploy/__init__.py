"""Fast inference and export of trained networks."""

from .export import FORMATS, PARTS, Exported, ExportError, check_format, export, use_backend
from .fusion import DTYPES, OptimizedFasterNet, cpu_has_bfloat16, optimize
from .runtime import BACKENDS, ExportedNetwork, check_backend

__all__ = [
    'BACKENDS',
    'DTYPES',
    'FORMATS',
    'PARTS',
    'ExportError',
    'Exported',
    'ExportedNetwork',
    'OptimizedFasterNet',
    'check_backend',
    'check_format',
    'cpu_has_bfloat16',
    'export',
    'optimize',
    'use_backend',
]
