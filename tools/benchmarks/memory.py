"""Peak memory of a workload, alone in a fresh process."""

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
from typing import Any

import torch
from mmengine.logging import print_log

from mmfasternet.memory import give_back_memory

from .machine import quiet
from .timing import WARM_UP_CALLS
from .workloads import Workload

#: Of glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_CLEAR_REFS = Path('/proc/self/clear_refs')


def peak_memory(workload: Workload) -> int | None:
    """Measure how much a workload holds at most in a call: weights, features and work space.

    Libraries and compilers do not count, as a tiny workload of the same kind runs first, nor does what only building
    and compiling need.

    Args:
        workload (Workload): What is measured, with as many threads as torch has here.

    Returns:
        int | None: Bytes, or None where the system does not report them or the process was killed.
    """
    if not workload.device.startswith('cuda') and not (sys.platform == 'linux' and _CLEAR_REFS.exists()):
        return None
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as fresh:
        try:
            return fresh.submit(_measure, workload, torch.get_num_threads()).result()
        except BrokenProcessPool:
            # the times that are already measured are worth more than this number
            text = f'no peak memory of {workload}: its process was killed, perhaps for lack of memory'
            print_log(text, logger='current', level=logging.WARNING)
            return None


def _measure(workload: Workload, threads: int) -> int:
    quiet()
    torch.set_num_threads(threads)
    # return freed memory at once: the holes in the heap, which differ from run to run, would count
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)
    _warm_up(workload.build_tiny())
    before = _level(workload.device)
    run = workload.build()
    _warm_up(run)
    _level(workload.device)
    run()
    return _peak(workload.device) - before


def _warm_up(run: Callable[[], Any]) -> None:
    for _ in range(WARM_UP_CALLS):
        run()


def _level(device: str) -> int:
    """Return free memory, reset the peak, and measure what is held."""
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
    """Read a number of bytes from Linux's status of this process."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f'{field}:'))
