"""Memory that is free, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Have glibc give back what is free: it keeps it in pieces, more of them with each checkpoint and validation."""
    if sys.platform == 'linux' and hasattr(ctypes.CDLL(None), 'malloc_trim'):
        ctypes.CDLL(None).malloc_trim(0)
