"""How fast is it, against whom, and how near to what the machine can do: what ``tools/benchmark.py`` measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmfasternet.errors import DependencyError

if TYPE_CHECKING:
    from .report import Report


def run(command: str, device: str = 'cpu', threads: int | None = None, **options: Any) -> Report:
    """Measure.

    Args:
        command (str): ``'backbones'``, ``'detectors'``, ``'training'`` or ``'growth'``.
        device (str): Where to. Defaults to ``'cpu'``.
        threads (int, optional): Of torch. Defaults to None: as many as torch takes.
        **options (Any): Arguments of the function that measures, such as :func:`.backbones.compare_backbones`.

    Returns:
        Report: What was measured; it is written already.

    Raises:
        MMFasterNetError: If an argument cannot work or a library is missing; before anything is timed.
    """
    try:
        from .backbones import compare_backbones
        from .detectors import compare_detectors
        from .growth import measure_growth
        from .machine import set_up
        from .training import compare_training
    except ModuleNotFoundError as error:
        raise DependencyError(f"the benchmark needs {error.name}; pip install 'mmfasternet[benchmark]'") from error
    set_up(device, threads)
    measure = dict(
        backbones=compare_backbones, detectors=compare_detectors, growth=measure_growth, training=compare_training
    )[command]
    return measure(device=device, **options)
