"""Training and testing: what the tools share, and the checks that come first."""

from .launch import test, train
from .preflight import check

__all__ = ['check', 'test', 'train']
