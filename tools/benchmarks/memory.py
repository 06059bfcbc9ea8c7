"""Peak memory of a contender, by itself in a fresh process."""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.logging import print_log

from mmfasternet.memory import give_back_memory

from .machine import quiet
from .timing import WARM_UP_CALLS

#: Of glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_CLEAR_REFS = Path('/proc/self/clear_refs')
Run = Callable[[], Any]


class Contender(Protocol):
    """What can be measured in a process of its own: it is pickled and built there."""

    device: str

    def build(self) -> Run:
        """Make what is run."""

    def build_tiny(self) -> Run:
        """Make the tiniest of the same kind."""


def peak_memory(contender: Contender) -> int | None:
    """Measure what a contender holds at most while it runs: weights, features and work space.

    Libraries and compilers do not count: a tiny contender of the same kind is run first. Nor does what building
    and compiling take for a while.

    Args:
        contender (Contender): What is measured, with as many threads as torch has here.

    Returns:
        int | None: Bytes, or None where the system does not tell or the process was ended.
    """
    if not contender.device.startswith('cuda') and not (sys.platform == 'linux' and _CLEAR_REFS.exists()):
        return None
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as fresh:
        try:
            return fresh.submit(_measure, contender, torch.get_num_threads()).result()
        except BrokenProcessPool:
            # the times that are measured already are worth more than this number
            text = f'no peak memory of {contender}: its process was ended from outside, perhaps for lack of memory'
            print_log(text, logger='current', level=logging.WARNING)
            return None


def _measure(contender: Contender, threads: int) -> int:
    quiet()
    torch.set_num_threads(threads)
    # what is freed goes back at once: else the heap's holes count, which differ from run to run
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)
    _warm_up(contender.build_tiny())
    before = _level(contender.device)
    run = contender.build()
    _warm_up(run)
    _level(contender.device)
    run()
    return _peak(contender.device) - before


def _warm_up(run: Run) -> None:
    for _ in range(WARM_UP_CALLS):
        run()


def _level(device: str) -> int:
    """Give back what is free, count the peak anew, and tell what is held."""
    gc.collect()
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    give_back_memory()
    _CLEAR_REFS.write_text('5')
    return _status('VmRSS')


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated(device) if device.startswith('cuda') else _status('VmHWM')


def _status(field: str) -> int:
    """Bytes that Linux tells of this process."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f'{field}:'))
