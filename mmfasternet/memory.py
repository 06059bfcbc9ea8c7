"""Memory of long runs: given back to the system, and shared with the workers of data loaders."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def give_back_memory() -> None:
    """Have glibc give back what is free: it keeps it in pieces, more of them with each checkpoint and validation."""
    if sys.platform == 'linux' and hasattr(ctypes.CDLL(None), 'malloc_trim'):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def objects_frozen() -> Iterator[None]:
    """Keep the garbage collector from the objects that exist now.

    A collection writes to every object, and so copies the pages that workers share with their parent.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
