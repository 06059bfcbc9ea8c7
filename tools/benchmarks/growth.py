"""How the cost grows with the area and the number of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .comparison import Comparison, Result
from .pictures import draw_growth
from .runner import Plan
from .workloads import Backbone


@dataclass(frozen=True)
class Point(Backbone):
    """A backbone at one point of the ``axis`` along which its input grows."""

    axis: str = 'area'

    baseline = flops = top1 = None

    @property
    def name(self) -> str:
        """Network and axis."""
        return f'{super().name} over {self.axis}'


def plan_growth(
    arch: str = 's',
    sides: Sequence[int] = (256, 512, 1024, 2048),
    numbers: Sequence[int] = (1, 2, 4, 8, 16),
    modes: Sequence[str] = ('eager', 'optimize float32'),
    device: str = 'cpu',
) -> Plan:
    """Measure latency and peak memory over image area and batch, and draw them.

    Args:
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        sides (Sequence[int]): Sides of one square image in pixels. Defaults to 256 to 2048.
        numbers (Sequence[int]): Numbers of images of the smallest side. Defaults to 1 to 16.
        modes (Sequence[str]): Modes of our network. Defaults to eager and optimized in float32.
        device (str): Where they run. Defaults to ``'cpu'``.
    """
    axes = {'area': [(1, side) for side in sides], 'batch': [(number, min(sides)) for number in numbers]}
    workloads = [
        Point(f'fasternet_{arch}', mode, side, side, number, device, axis)
        for axis, inputs in axes.items()
        for mode in modes
        for number, side in inputs
    ]
    return Plan(workloads, rounds=10, remarks=growth_remarks, draw=draw_growth)


def growth_remarks(comparison: Comparison) -> list[str]:
    """Say for each mode and axis how the time grows."""
    results = comparison.results
    modes, names = dict.fromkeys(r.mode for r in results), dict.fromkeys(r.name for r in results)
    return [growth_remark([r for r in results if (r.mode, r.name) == (mode, name)]) for mode in modes for name in names]


def growth_remark(results: Sequence[Result]) -> str:
    """Fit a power law to the times of one mode, at least two of growing size, and compare both ends per megapixel."""
    megapixels = np.array([np.prod([int(part) for part in result.images.split('x')]) / 1e6 for result in results])
    times = np.array([result.latency.median for result in results])
    exponent = np.polyfit(np.log(megapixels), np.log(times), 1)[0]
    per_megapixel = times / megapixels
    return (
        f'{results[0].name}, {results[0].mode}: time grows with the power {exponent:.2f} (1 is linear), from '
        f'{per_megapixel[0]:.0f} ms a megapixel at {results[0].images} to {per_megapixel[-1]:.0f} at '
        f'{results[-1].images}'
    )
