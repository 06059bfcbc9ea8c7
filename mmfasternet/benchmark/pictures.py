"""The pictures: accuracy against latency, and how cost grows."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..files import whole_file
from .contenders import BASELINE, NETWORKS
from .report import Report, Result

_FAMILIES = {network.title: network.family for network in NETWORKS.values()}
_RIVAL_COLOURS = {'MobileViT': 'tab:olive', 'ResNet': 'tab:gray', 'Swin': 'tab:orange', 'ConvNeXt': 'tab:green'}
_MARKERS = 'os^Dv*P'


def draw_accuracy_latency(report: Report, path: Path) -> None:
    """Draw accuracy (quoted) against latency (measured): a line for each family, and for each mode of ours.

    Args:
        report (Report): Of the backbones.
        path (Path): The PNG file.
    """
    lines: dict[str, list[Result]] = {}
    for result in report.results:
        family = _FAMILIES[result.name]
        if family == 'FasterNet' or result.mode == BASELINE:
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
            style = dict(color=_RIVAL_COLOURS[label], marker='X', linestyle='--')
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
                text = result.name.removeprefix(f'{_FAMILIES[result.name]}-')
                axes.annotate(text, (spread.median, result.top1), (5, -11), textcoords='offset points', fontsize=8)
    batch = report.settings['batch']
    axes.set(
        xscale='log',
        xlabel=f'milliseconds for {"one image" if batch == 1 else f"{batch} images"}, measured on '
        f'{report.machine["gpu"] or report.machine["processor"]} with {report.machine["threads"]} threads',
        ylabel='ImageNet top-1 in %, quoted from the authors',
    )
    _plain_numbers(axes.xaxis)
    axes.grid(alpha=0.3, which='both')
    axes.legend(loc='lower right', fontsize=9)
    with whole_file(path) as draft:
        figure.savefig(draft, dpi=110)


def draw_growth(report: Report, path: Path) -> None:
    """Draw time and peak memory over area and over batch, with what is proportional to the first point dashed.

    Args:
        report (Report): Of the growth.
        path (Path): The PNG file.
    """
    figure = Figure(figsize=(11, 8), layout='constrained')
    panels = figure.subplots(2, 2, squeeze=False)
    axes_titles = {'area': 'megapixels of one image', 'batch': 'images in a call'}
    for column, (axis, title) in enumerate(axes_titles.items()):
        for row, (name, unit) in enumerate((('time', 'milliseconds'), ('memory', 'MiB at the peak'))):
            panel = panels[row][column]
            for index, mode in enumerate(report.settings['modes']):
                points = [r for r in report.results if r.mode == mode and r.name.endswith(axis)]
                x = [_cost_driver(result, axis) for result in points]
                y = [r.latency.median if name == 'time' else (r.memory or 0) / 2**20 for r in points]
                panel.plot(x, y, marker=_MARKERS[index], label=mode)
                if index == 0 and name == 'time':
                    panel.plot(x, [y[0] * value / x[0] for value in x], '--', color='gray', label='proportional')
            panel.set(xscale='log', yscale='log' if name == 'time' else 'linear', xlabel=title, ylabel=unit)
            _plain_numbers(panel.xaxis)
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
