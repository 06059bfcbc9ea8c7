"""How cost grows with the area of the images and with their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ..models import FasterNet
from .contenders import NETWORKS, Contender, random_images, runner
from .machine import describe
from .memory import peak_memory
from .pictures import draw_growth
from .report import Report, Result
from .timing import measure

MODES = ('eager', 'optimize float32')


class GrowingContender(NamedTuple):
    """One network that sees batch after batch, each of its own size.

    Args:
        arch (str): Variant of FasterNet.
        mode (str): A key of :data:`.contenders.MODES`.
        batches (tuple[tuple[int, int], ...]): Number and side in pixels of the images, for each batch.
        device (str): Where it runs.
    """

    arch: str
    mode: str
    batches: tuple[tuple[int, int], ...]
    device: str = 'cpu'

    def _first(self) -> Contender:
        number, side = self.batches[0]
        return Contender(f'fasternet_{self.arch}', self.mode, side, side, number, self.device)

    def build(self) -> list[Callable[[], Any]]:
        """Make the network, once, and a call for each batch."""
        network = self._first().make_network()
        return [runner(network, random_images(number, side, side, self.device)) for number, side in self.batches]

    def build_tiny(self) -> Callable[[], Any]:
        """As :meth:`.contenders.Contender.build_tiny`."""
        return self._first().build_tiny()


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
    batches = (*((1, side) for side in sides), *((number, min(sides)) for number in numbers))
    contenders = [GrowingContender(arch, mode, batches, device) for mode in modes]
    runs = {
        (contender.mode, index): run
        for contender in tqdm(contenders, 'building', leave=False)
        for index, run in enumerate(contender.build())
    }
    times = measure(runs, rounds, device)
    del runs
    title, results = NETWORKS[f'fasternet_{arch}'].title, []
    for contender in tqdm(contenders, 'memory', leave=False):
        memory = peak_memory(contender)
        for index, (number, side) in enumerate(batches):
            results.append(
                Result(
                    name=f'{title} over {"area" if index < len(sides) else "batch"}',
                    mode=contender.mode,
                    images=f'{number}x{side}x{side}',
                    batch=number,
                    times=times[contender.mode, index],
                    memory=memory and memory[index],
                )
            )
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
