"""How cost grows with the area of the images and with their number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmfasternet.models import FasterNet

from .contenders import NETWORKS, Contender
from .machine import describe
from .memory import peak_memory
from .pictures import draw_growth
from .report import Report, Result
from .timing import measure

MODES = ('eager', 'optimize float32')


def measure_growth(
    arch: str = 's',
    sides: Sequence[int] = (256, 512, 1024, 2048),
    numbers: Sequence[int] = (1, 2, 4, 8, 16),
    rounds: int = 10,
    device: str = 'cpu',
    out: Path = Path('work_dirs/benchmark'),
    modes: Sequence[str] = MODES,
) -> Report:
    """Measure latency and peak memory over image area and batch, and write table, JSON and picture.

    Args:
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        sides (Sequence[int]): Of one square image, in pixels. Defaults to 256 to 2048.
        numbers (Sequence[int]): Of images of the smallest side. Defaults to 1 to 16.
        rounds (int): How often each is timed. Defaults to 10.
        device (str): Where it runs. Defaults to ``'cpu'``.
        out (Path): Folder for ``growth.json``, ``growth.md`` and ``growth.png``.
        modes (Sequence[str]): Of our network. Defaults to :data:`MODES`.

    Returns:
        Report: All numbers, and how they grow.
    """
    FasterNet.resolve_arch(arch)
    axes = {'area': [(1, side) for side in sides], 'batch': [(number, min(sides)) for number in numbers]}
    contenders = {
        (axis, mode, number, side): Contender(f'fasternet_{arch}', mode, side, side, number, device)
        for axis, batches in axes.items()
        for mode in modes
        for number, side in batches
    }
    runs = {point: contender.build() for point, contender in tqdm(contenders.items(), 'building', leave=False)}
    times = measure(runs, rounds, device)
    del runs
    results = [
        Result(
            name=f'{NETWORKS[contender.network].title} over {axis}',
            mode=mode,
            images=f'{number}x{side}x{side}',
            batch=number,
            times=times[axis, mode, number, side],
            memory=peak_memory(contender),
        )
        for (axis, mode, number, side), contender in tqdm(contenders.items(), 'memory', leave=False)
    ]
    settings = dict(
        arch=arch, sides=list(sides), numbers=list(numbers), modes=list(modes), rounds=rounds, device=device
    )
    report = Report('growth', describe(device), settings, results)
    report.remarks = [
        growth_remark([r for r in results if (r.mode, r.name) == (mode, name)])
        for mode in modes
        for name in dict.fromkeys(result.name for result in results)
    ]
    report.write(out)
    draw_growth(report, out / 'growth.png')
    return report


def growth_remark(results: Sequence[Result]) -> str:
    """Say how the time of one mode grows.

    Args:
        results (Sequence[Result]): At least two, of growing size.

    Returns:
        str: The exponent of a power law through all, and time for a megapixel at both ends.
    """
    megapixels = np.array([np.prod([int(part) for part in result.images.split('x')]) / 1e6 for result in results])
    times = np.array([result.latency.median for result in results])
    exponent = np.polyfit(np.log(megapixels), np.log(times), 1)[0]
    per_megapixel = times / megapixels
    return (
        f'{results[0].name}, {results[0].mode}: time grows with the power {exponent:.2f} (1 is linear), from '
        f'{per_megapixel[0]:.0f} ms a megapixel at {results[0].images} to {per_megapixel[-1]:.0f} at '
        f'{results[-1].images}'
    )
