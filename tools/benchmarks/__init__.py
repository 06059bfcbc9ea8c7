"""What ``tools/benchmark.py`` measures: how fast FasterNet is, against which baselines, and how near to the peak."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfasternet.errors import DependencyError

if TYPE_CHECKING:
    from .comparison import Comparison


def run(
    command: str,
    device: str = 'cpu',
    threads: int | None = None,
    rounds: int | None = None,
    out: Path = Path('work_dirs/benchmark'),
    **options: Any,
) -> Comparison:
    """Measure, write and print one comparison.

    Args:
        command (str): ``'backbones'``, ``'detectors'``, ``'training'`` or ``'growth'``.
        device (str): Where to run. Defaults to ``'cpu'``.
        threads (int, optional): Number of torch's threads. Defaults to None: torch's own.
        rounds (int, optional): How often each workload is timed. Defaults to None: that of the comparison.
        out (Path): The folder for the results. Defaults to ``work_dirs/benchmark``.
        **options (Any): Arguments of the function that plans the comparison, such as :func:`.backbones.plan_backbones`.

    Returns:
        Comparison: The results.

    Raises:
        MMFasterNetError: An argument cannot work or a library is missing; before anything is timed.
    """
    try:
        from .backbones import plan_backbones
        from .detectors import plan_detectors
        from .growth import plan_growth
        from .machine import set_up
        from .runner import compare
        from .training import plan_training
    except ModuleNotFoundError as error:
        raise DependencyError(f"the benchmark needs {error.name}; pip install 'mmfasternet[benchmark]'") from error
    set_up(device, threads)
    plans = dict(backbones=plan_backbones, detectors=plan_detectors, training=plan_training, growth=plan_growth)
    settings = signature(plans[command]).bind(device=device, **options)
    settings.apply_defaults()
    return compare(command, plans[command](**settings.arguments), settings.arguments, rounds, device, out)
