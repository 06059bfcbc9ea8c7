"""Timing in which drift of the machine cancels: each workload runs once a round, in a new order each round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

#: Seconds that one timing takes at least; short calls are repeated to fill them.
LEAST_SECONDS = 0.05
#: Untimed calls before the first timing, after which compilers are done.
WARM_UP_CALLS = 2


class Spread(NamedTuple):
    """Median, 5th and 95th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize values, with linear interpolation between them."""
        return cls(*(float(value) for value in np.percentile(values, (50, 5, 95))))

    def text(self, digits: int = 2) -> str:
        """Write it as ``median [low, high]``."""
        return f'{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]'


def speedup(baseline: Sequence[float], times: Sequence[float]) -> list[float]:
    """Divide the baseline's seconds by those of another workload, round by round; above 1 is faster."""
    return [base / own for base, own in zip(baseline, times, strict=True)]


def measure(
    runs: Mapping[Any, Callable[[], Any]],
    rounds: int,
    device: str = 'cpu',
    least_seconds: float = LEAST_SECONDS,
) -> Iterator[dict[Any, list[float]]]:
    """Time calls against each other, after warming them up.

    Args:
        runs (Mapping[Any, Callable]): The calls, by name.
        rounds (int): How often each is timed.
        device (str): Where they compute. Defaults to ``'cpu'``.
        least_seconds (float): Seconds that one timing takes at least. Defaults to :data:`LEAST_SECONDS`.

    Yields:
        dict[Any, list[float]]: After each round, for each name, the seconds of one call in each round so far.
    """
    counts = {}
    for name, run in tqdm(runs.items(), 'warming up', leave=False):
        for _ in range(WARM_UP_CALLS):
            run()
        counts[name] = max(1, round(least_seconds / _seconds(run, 1, device) + 0.5))
    times: dict[Any, list[float]] = {name: [] for name in runs}
    order, shuffled = list(runs), random.Random(0)
    with tqdm(range(rounds), 'rounds', leave=False) as bar:
        for _ in bar:
            shuffled.shuffle(order)
            seconds = {}
            for name in order:
                run, count = runs[name], counts[name]
                if count > 1:
                    run()  # refills the caches, which the workload before has emptied
                seconds[name] = _seconds(run, count, device)
                bar.set_postfix_str(f'{name}: {1e3 * seconds[name]:.3g} ms')
            # only whole rounds count, also when the next one is interrupted
            times = {name: [*times[name], seconds[name]] for name in runs}
            yield times


def _seconds(run: Callable[[], Any], count: int, device: str) -> float:
    """Measure the seconds of one of ``count`` calls."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / count


def synchronize(device: str) -> None:
    """Wait for a GPU to finish its work."""
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
