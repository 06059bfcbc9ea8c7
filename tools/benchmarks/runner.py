"""Build the workloads of a comparison, check that they agree, time them against each other, measure their memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .comparison import Comparison, Result
from .machine import describe, peak_operations, peaks
from .memory import peak_memory
from .timing import measure
from .workloads import COMPILED, Workload


@dataclass
class Plan:
    """How one comparison differs from the others.

    Args:
        workloads (Sequence[Workload]): The rows of the table. A baseline precedes the modes that it is compared with.
        rounds (int): How often each is timed unless the user says otherwise.
        difference_title (str): What :meth:`.Workload.difference` returns. Defaults to ``'relative error'``.
        with_peaks (bool): Whether to time the machine's best operations, too. Defaults to False.
        remarks (Callable): Given the comparison, returns lines for below the table. Defaults to no lines.
        draw (Callable, optional): Draws the comparison to a PNG file. Defaults to None: no picture.
    """

    workloads: Sequence[Workload]
    rounds: int
    difference_title: str = 'relative error'
    with_peaks: bool = False
    remarks: Callable[[Comparison], list[str]] = lambda comparison: []
    draw: Callable[[Comparison, Path], None] | None = None


def compare(
    command: str, plan: Plan, settings: Mapping[str, Any], rounds: int | None, device: str, out: Path
) -> Comparison:
    """Carry out a plan. Write the results after every round, and print them at the end, also when interrupted.

    Args:
        command (str): The name of the comparison and its files.
        plan (Plan): What to compare.
        settings (Mapping[str, Any]): What the user asked for, to be written beside the results.
        rounds (int, optional): How often each workload is timed; None for the plan's default.
        device (str): Where the workloads run.
        out (Path): The folder for ``COMMAND.json``, ``COMMAND.md`` and ``COMMAND.png``.

    Returns:
        Comparison: The results.
    """
    rounds = rounds or plan.rounds
    runs: dict[Any, Callable[[], Any]] = {}
    rows: dict[Workload, Result] = {}
    for workload in (bar := tqdm(plan.workloads, 'building', leave=False)):
        bar.set_postfix_str(str(workload))
        runs[workload] = workload.build()
        row = rows[workload] = workload.result()
        if workload.mode == workload.baseline:
            expected = runs[workload]()
        elif workload.baseline:
            row.difference = workload.difference(runs[workload](), expected)
    operations = peak_operations(device) if plan.with_peaks else {}
    runs.update({name: operation.run for name, operation in operations.items()})
    machine = describe(device)

    def write(times: Mapping[Any, list[float]]) -> Comparison:
        comparison = Comparison(
            command,
            machine,
            {**settings, 'rounds': rounds},
            [replace(row, times=times[workload]) for workload, row in rows.items()],
            peaks(operations, times),
            difference_title=plan.difference_title,
        )
        comparison.remarks = plan.remarks(comparison)
        comparison.write(out)
        return comparison

    comparison = None
    try:
        for times in measure(runs, rounds, device):
            comparison = write(times)
        runs.clear()
        for workload in (bar := tqdm(plan.workloads, 'memory', leave=False)):
            bar.set_postfix_str(str(workload))
            if workload.mode != COMPILED:  # compiling again takes a minute, and no claim is about its memory
                rows[workload].memory = peak_memory(workload)
            comparison = write(times)
        return comparison
    finally:
        if comparison:
            if plan.draw:
                plan.draw(comparison, out / f'{command}.png')
            comparison.show()
            print(f'written: {out}/{command}.json, {command}.md')
