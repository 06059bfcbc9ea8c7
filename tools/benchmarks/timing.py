"""Timing so that drift of the machine cancels: in every round each contender runs once, in a new order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

#: Seconds that one timing takes at least; short runs are repeated until they fill it.
LEAST_SECONDS = 0.05
#: Untimed calls before the first timing; compilers are done after them.
WARM_UP_CALLS = 2


class Spread(NamedTuple):
    """Median and what 90 % of the values lie between: the 5th and the 95th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up values, with linear interpolation between them."""
        return cls(*(float(value) for value in np.percentile(values, (50, 5, 95))))

    def text(self, digits: int = 2) -> str:
        """Write it as ``median [low, high]``."""
        return f'{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]'


def speedup(baseline: Sequence[float], times: Sequence[float]) -> list[float]:
    """How many times faster than the baseline, in each round by itself.

    Args:
        baseline (Sequence[float]): Seconds of the baseline, one a round.
        times (Sequence[float]): Seconds of the contender in the same rounds.

    Returns:
        list[float]: One ratio a round; above 1 is faster.
    """
    return [base / own for base, own in zip(baseline, times, strict=True)]


def measure(
    runs: Mapping[Any, Callable[[], Any]],
    rounds: int,
    device: str = 'cpu',
    least_seconds: float = LEAST_SECONDS,
) -> dict[Any, list[float]]:
    """Time contenders against each other.

    Args:
        runs (Mapping[Any, Callable]): What to time, by name. Each is called some times first, untimed.
        rounds (int): How often each is timed.
        device (str): Where they compute; a GPU is waited for. Defaults to ``'cpu'``.
        least_seconds (float): How long a timing takes at least, by repeating. Defaults to :data:`LEAST_SECONDS`.

    Returns:
        dict[Any, list[float]]: For each name the seconds of one call, one number a round.
    """
    counts = {}
    for name, run in tqdm(runs.items(), 'warming up', leave=False):
        for _ in range(WARM_UP_CALLS):
            run()
        counts[name] = max(1, round(least_seconds / _seconds(run, 1, device) + 0.5))
    times: dict[Any, list[float]] = {name: [] for name in runs}
    order, shuffled = list(runs), random.Random(0)
    for _ in tqdm(range(rounds), 'rounds', leave=False):
        shuffled.shuffle(order)
        for name in order:
            run, count = runs[name], counts[name]
            if count > 1:
                run()  # brings back to the caches what the contender before has driven out
            times[name].append(_seconds(run, count, device))
    return times


def _seconds(run: Callable[[], Any], count: int, device: str) -> float:
    """Seconds of one of ``count`` calls."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / count


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was told."""
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
