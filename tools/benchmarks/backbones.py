"""Backbones against each other: our network in each mode, timm's, and those of the paper's comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mmfasternet.models import FasterNet

from .claims import CLAIM_RIVALS, judge
from .contenders import BASELINE, NETWORKS, RIVALS, Contender, check_equal, count_flops, usable_modes
from .machine import describe, peak_exercises, peaks
from .memory import peak_memory
from .pictures import draw_accuracy_latency
from .report import Report, Result
from .timing import measure


def compare_backbones(
    archs: Sequence[str],
    rivals: Sequence[str] = RIVALS,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    rounds: int = 20,
    device: str = 'cpu',
    out: Path = Path('work_dirs/benchmark'),
    modes: Sequence[str] | None = None,
) -> Report:
    """Measure latency, throughput, achieved GFLOP/s and peak memory, and write table, JSON and picture.

    Args:
        archs (Sequence[str]): Variants of FasterNet.
        rivals (Sequence[str]): Other networks, keys of :data:`.contenders.NETWORKS`. Defaults to all.
        size (tuple[int, int], optional): Height and width of the images in pixels. Defaults to None: those at which
            each network's accuracy was published.
        batch (int): Images in a call. Defaults to 1.
        rounds (int): How often each is timed. Defaults to 20.
        device (str): Where they run. Defaults to ``'cpu'``.
        out (Path): Folder for ``backbones.json``, ``backbones.md`` and ``backbones.png``.
        modes (Sequence[str], optional): Of our network. Defaults to None: all that can run here.

    Returns:
        Report: All numbers.

    Raises:
        ConfigError: A variant or a network is unknown.
        DependencyError: timm is not installed.
    """
    contenders = _contenders(archs, rivals, size, batch, device, usable_modes(device) if modes is None else modes)
    runs, flops, differences = {}, {}, {}
    for contender in (bar := tqdm(contenders, 'building', leave=False)):
        bar.set_postfix_str(f'{NETWORKS[contender.network].title} {contender.mode}')
        runs[contender] = contender.build()
        baseline = contender._replace(mode=BASELINE)
        if contender == baseline:
            flops[contender.network] = count_flops(contender)
        else:
            differences[contender] = check_equal(contender, runs[contender](), runs[baseline]())
    exercises = peak_exercises(device)
    times = measure({**runs, **{name: exercise.run for name, exercise in exercises.items()}}, rounds, device)
    del runs
    results = []
    for contender in tqdm(contenders, 'memory', leave=False):
        network = NETWORKS[contender.network]
        # to compile a rival once more takes a minute, and no claim is about its memory
        memory = peak_memory(contender) if contender.mode != 'compiled' else None
        results.append(
            Result(
                name=network.title,
                mode=contender.mode,
                images=f'{batch}x{contender.height}x{contender.width}',
                batch=batch,
                times=times[contender],
                baseline=BASELINE if contender.mode != BASELINE else None,
                dtype=contender.dtype,
                flops=flops[contender.network],
                memory=memory,
                difference=differences.get(contender),
                top1=network.top1,
            )
        )
    settings = dict(archs=list(archs), rivals=list(rivals), size=size, batch=batch, rounds=rounds, device=device)
    report = Report('backbones', describe(device), settings, results, peaks(exercises, times))
    report.remarks = judge(report)
    report.write(out)
    draw_accuracy_latency(report, out / 'backbones.png')
    return report


def _contenders(
    archs: Sequence[str],
    rivals: Sequence[str],
    size: tuple[int, int] | None,
    batch: int,
    device: str,
    modes: Sequence[str],
) -> list[Contender]:
    for arch in archs:
        FasterNet.resolve_arch(arch)
    contenders = []
    for name in [*(f'fasternet_{arch}' for arch in archs), *rivals]:
        # an unknown name is told by build
        side = NETWORKS[name].side if name in NETWORKS else 224
        baseline = Contender(name, BASELINE, *(size or (side, side)), batch, device)
        others = modes if name.startswith('fasternet') else ['compiled'] if name in CLAIM_RIVALS else []
        contenders += [baseline, *(baseline._replace(mode=mode) for mode in others)]
    return contenders
