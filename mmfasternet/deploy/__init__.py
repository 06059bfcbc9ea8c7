"""Trained networks made fast."""

from .fusion import DTYPES, OptimizedFasterNet, optimize

__all__ = ['DTYPES', 'OptimizedFasterNet', 'optimize']
