"""The results of a comparison, as a table to read and a JSON file to compute with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from mmfasternet.files import whole_file

from .timing import Spread, speedup

_MEBIBYTE = 2**20


@dataclass
class Result:
    """The measurements of one workload.

    Args:
        name (str): Name of the network.
        mode (str): How it ran.
        images (str): Number and size of the images, such as ``1x224x224``.
        batch (int): Number of images in a call.
        times (list[float]): Seconds of a call, one number a round.
        baseline (str, optional): The mode that it is compared with, of the same name and images.
        dtype (str): The dtype that it computes in.
        flops (int, optional): Floating-point operations of a call.
        memory (int, optional): Peak memory in bytes.
        difference (float, optional): What :attr:`Comparison.difference_title` says.
        top1 (float, optional): Quoted accuracy in percent.
    """

    name: str
    mode: str
    images: str
    batch: int
    times: list[float] = field(default_factory=list)
    baseline: str | None = None
    dtype: str = 'float32'
    flops: int | None = None
    memory: int | None = None
    difference: float | None = None
    top1: float | None = None

    @property
    def latency(self) -> Spread:
        """Milliseconds of a call."""
        return Spread.of([1e3 * seconds for seconds in self.times])


@dataclass
class Comparison:
    """All that one command measured.

    Args:
        command (str): The name of the command.
        machine (dict[str, Any]): The machine, from :func:`.machine.describe`.
        settings (dict[str, Any]): The options of the command.
        results (list[Result]): One for each workload.
        peaks (list[dict[str, Any]]): The machine's best operations, from :func:`.machine.peaks`.
        remarks (list[str]): Lines for below the table.
        difference_title (str): The meaning of :attr:`Result.difference`.
    """

    command: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    results: list[Result]
    peaks: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    difference_title: str = 'relative error'

    def find(self, name: str, mode: str, images: str | None = None) -> Result | None:
        """Find the first result of a network in a mode, with these images if given, or None."""
        fitting = (r for r in self.results if (r.name, r.mode) == (name, mode) and images in (None, r.images))
        return next(fitting, None)

    def _base(self, result: Result) -> Result | None:
        return self.find(result.name, result.baseline, result.images) if result.baseline else None

    def faster(self, result: Result) -> Spread | None:
        """The speedup of a result over its baseline, round by round."""
        base = self._base(result)
        return Spread.of(speedup(base.times, result.times)) if base else None

    def memory_share(self, result: Result) -> float | None:
        """The peak memory of a result over that of its baseline."""
        base = self._base(result)
        return result.memory / base.memory if base and base.memory and result.memory else None

    def share_of_peak(self, result: Result) -> float | None:
        """The median share that a result reaches of the machine's best convolution in its dtype."""
        peak = next((p for p in self.peaks if (p['kind'], p['dtype']) == ('convolution', result.dtype)), None)
        if peak is None or result.flops is None:
            return None
        rates = result.flops / np.array(result.times), peak['flops'] / np.array(peak['times'])
        return float(np.median(rates[0] / rates[1]))

    def rows(self) -> list[dict[str, str]]:
        """The cells of the table by title; what was not measured is empty."""
        return [self._row(result) for result in self.results]

    def _row(self, result: Result) -> dict[str, str]:
        latency = result.latency
        cells: dict[str, tuple[Any, Callable[[Any], str]]] = {
            'network': (result.name, str),
            'mode': (result.mode, str),
            'images': (result.images, str),
            'ms': (latency, lambda spread: spread.text(2 if spread.median < 100 else 0)),
            'images/s': (1e3 * result.batch / latency.median, '{:.3g}'.format),
            'times as fast': (self.faster(result), Spread.text),
            'GFLOP/s': (result.flops and result.flops / latency.median / 1e6, '{:.0f}'.format),
            'of conv. peak': (self.share_of_peak(result), '{:.0%}'.format),
            'peak MiB': (result.memory and result.memory / _MEBIBYTE, '{:.0f}'.format),
            'memory ratio': (self.memory_share(result), '{:.2f}'.format),
            self.difference_title: (result.difference, '{:.2g}'.format),
            'top-1 (quoted)': (result.top1, '{:.1f}'.format),
        }
        return {title: '' if value is None else write(value) for title, (value, write) in cells.items()}

    def table(self, **style: Any) -> Table:
        """The table, without columns that are empty throughout."""
        rows = self.rows()
        columns = [title for title in rows[0] if any(row[title] for row in rows)]
        table = Table(**style)
        for index, title in enumerate(columns):
            table.add_column(title, justify='left' if index < 2 else 'right', no_wrap=True)
        for row in rows:
            table.add_row(*(row[title] for title in columns))
        return table

    def lines(self) -> list[str]:
        """The lines below the table: the machine, its peaks, the remarks."""
        machine, baseline = self.machine, next((r.baseline for r in self.results if r.baseline), None)
        lines = [
            f'{machine["gpu"] or machine["processor"]}, {machine["threads"]} threads of {machine["cores"]} cores, '
            f'torch {machine["versions"]["torch"]}, {machine["date"][:10]}; {len(self.results[0].times)} interleaved '
            'rounds, in brackets the 5th and 95th percentile' + (f'; times as fast as {baseline}' if baseline else '')
        ]
        for peak in self.peaks:
            rate = Spread.of([peak['flops'] / seconds / 1e9 for seconds in peak['times']])
            lines.append(f'best {peak["kind"]} in {peak["dtype"]}: {rate.text(0)} GFLOP/s ({peak["shape"]})')
        return lines + self.remarks

    def write(self, folder: Path) -> None:
        """Write ``COMMAND.json`` with every single time, and ``COMMAND.md`` with the table, to a folder."""
        with whole_file(folder / f'{self.command}.json') as draft:
            draft.write_text(json.dumps(asdict(self), indent=1) + '\n')
        with whole_file(folder / f'{self.command}.md') as draft, draft.open('w') as file:
            console = Console(file=file, width=250)
            console.print(self.table(box=box.MARKDOWN))
            file.write('\n' + ''.join(f'- {line}\n' for line in self.lines()))

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """Read a JSON file that :meth:`write` wrote."""
        content = json.loads(path.read_text())
        return cls(**{**content, 'results': [Result(**result) for result in content['results']]})

    def show(self) -> None:
        """Print table and lines."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=250)
        console.print(self.table(box=box.SIMPLE))
        for line in self.lines():
            console.print(line, highlight=False, markup=False)
