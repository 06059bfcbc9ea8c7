"""The pictures: accuracy against latency, and how the cost grows."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mmfasternet.files import whole_file

from .comparison import Comparison, Result
from .networks import NETWORKS
from .workloads import TIMM

_FAMILIES = {network.title: network.family for network in NETWORKS.values()}
_COLOURS = {'MobileViT': 'tab:olive', 'ResNet': 'tab:gray', 'Swin': 'tab:orange', 'ConvNeXt': 'tab:green'}
_MARKERS = 'os^Dv*P'


def draw_accuracy_latency(comparison: Comparison, path: Path) -> None:
    """Draw accuracy (quoted) against latency (measured): a line for each family, and for each mode of ours."""
    lines: dict[str, list[Result]] = {}
    for result in comparison.results:
        family = _FAMILIES[result.name]
        if family == 'FasterNet' or result.mode == TIMM:
            label = f'{family}, {result.mode}' if family == 'FasterNet' else family
            lines.setdefault(label, []).append(result)
    figure = Figure(figsize=(10, 6), layout='constrained')
    axes = figure.subplots()
    modes = [label for label in lines if label.startswith('FasterNet')]
    blues = matplotlib.colormaps['Blues']
    for label, results in lines.items():
        if label in modes:
            index = modes.index(label)
            style = dict(color=blues(0.4 + 0.6 * index / len(modes)), marker=_MARKERS[index % len(_MARKERS)])
        else:
            style = dict(color=_COLOURS[label], marker='X', linestyle='--')
        latency = [result.latency for result in results]
        axes.errorbar(
            [spread.median for spread in latency],
            [result.top1 for result in results],
            xerr=[[s.median - s.low for s in latency], [s.high - s.median for s in latency]],
            label=label,
            capsize=2,
            elinewidth=1,
            **style,
        )
        if label not in modes or label == modes[0]:
            for spread, result in zip(latency, results):
                family = _FAMILIES[result.name]
                text = result.name if family == 'ResNet' else result.name.removeprefix(f'{family}-')
                # ConvNeXt's points are close to Swin's
                place = (-3, 7) if family == 'ConvNeXt' else (5, -11)
                axes.annotate(text, (spread.median, result.top1), place, textcoords='offset points', fontsize=8)
    batch = comparison.results[0].batch
    axes.set(
        xscale='log',
        xlabel=f'milliseconds for {"one image" if batch == 1 else f"{batch} images"}, measured on '
        f'{comparison.machine["gpu"] or comparison.machine["processor"]} with {comparison.machine["threads"]} threads',
        ylabel='ImageNet top-1 in %, quoted from the authors',
    )
    _plain_numbers(axes.xaxis)
    axes.grid(alpha=0.3, which='both')
    axes.legend(loc='lower right', fontsize=9)
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=110)


def draw_growth(comparison: Comparison, path: Path) -> None:
    """Draw time and peak memory over area and over batch; the dashed line is proportional to the first point."""
    figure = Figure(figsize=(11, 8), layout='constrained')
    panels = figure.subplots(2, 2, squeeze=False)
    titles = {'area': 'megapixels of one image', 'batch': 'images in a call'}
    for (time, memory), (axis, title) in zip(panels.T, titles.items()):
        for index, mode in enumerate(dict.fromkeys(r.mode for r in comparison.results)):
            points = [r for r in comparison.results if r.mode == mode and r.name.endswith(axis)]
            x = np.array([_cost_driver(result, axis) for result in points])
            milliseconds = np.array([result.latency.median for result in points])
            time.plot(x, milliseconds, marker=_MARKERS[index], label=mode)
            if index == 0:
                time.plot(x, milliseconds[0] * x / x[0], '--', color='gray', label='proportional to the first')
            memory.plot(x, [(result.memory or 0) / 2**20 for result in points], marker=_MARKERS[index], label=mode)
        time.set(xscale='log', yscale='log', ylabel='milliseconds')
        _plain_numbers(time.xaxis)
        _plain_numbers(time.yaxis)
        memory.set(xlim=0, ylim=0, ylabel='MiB at the peak')
        for panel in (time, memory):
            panel.set(xlabel=title)
            panel.grid(alpha=0.3)
            panel.legend()
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=110)


def _cost_driver(result: Result, axis: str) -> float:
    _, height, width = map(int, result.images.split('x'))
    return height * width / 1e6 if axis == 'area' else float(result.batch)


def _plain_numbers(axis: Axis) -> None:
    """Write 2, 5, 10, 20 on a logarithmic axis rather than powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.set_minor_formatter(NullFormatter())
