"""Check the evaluators of a config against its data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import METRICS

from ..config_types import shown_type, type_names
from ..datasets.coco.annotations import read_annotations
from ..errors import ConfigError, DataError, first_few


def metrics_of(cfg: Config, split: str) -> list[dict[str, Any]]:
    """List the metrics of an evaluator, in whichever form it is given.

    Args:
        cfg (Config): The whole config.
        split (str): ``'val'`` or ``'test'``.

    Returns:
        list[dict]: Their configs. Metrics that are objects already are left out.
    """
    evaluator = cfg.get(f'{split}_evaluator')
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    return [metric for metric in metrics if isinstance(metric, dict)]


def scored_by(cfg: Config, split: str) -> frozenset[str]:
    """Say what of COCO annotations the evaluators score.

    Args:
        cfg (Config): The whole config.
        split (str): ``'val'`` or ``'test'``.

    Returns:
        frozenset[str]: Some of ``'bbox'``, ``'segm'``, ``'proposal'`` and ``'proposal_fast'``, and ``'instances'`` if
        no evaluator reads the file itself, but all score what mmdet makes of it; empty without ground truth to compare
        with.
    """
    scored: set[str] = set()
    reads_file = False
    for metric in metrics_of(cfg, split):
        if 'CocoMetric' in type_names(metric, METRICS) and not metric.get('format_only'):
            names = metric.get('metric', 'bbox')
            scored.update([names] if isinstance(names, str) else names)
            reads_file |= metric.get('ann_file') is not None
    return frozenset(scored | ({'instances'} if scored and not reads_file else set()))


def check_evaluators(cfg: Config, split: str, annotations: list[Path]) -> None:
    """Check that the files of the evaluators exist, and name the images that are predicted.

    Args:
        cfg (Config): The whole config.
        split (str): ``'val'`` or ``'test'``.
        annotations (list[Path]): The JSON files that the data sets read.

    Raises:
        ConfigError: If an evaluator reads another file, of other images.
        DataError: If a file is missing.
    """
    for metric in metrics_of(cfg, split):
        setting = f'{split}_evaluator'
        for name in ('ann_file', 'seg_prefix'):
            value = metric.get(name)
            if not isinstance(value, str) or '://' in value or not _is_local(metric):
                continue
            if not Path(value).exists():
                hint = f'; the data set reads {annotations[0]}' if name == 'ann_file' and annotations else ''
                raise DataError(
                    f'{setting}: {name} {value} of {shown_type(metric)} does not exist (looked in {Path.cwd()}){hint}'
                )
        path = metric.get('ann_file')
        if annotations and isinstance(path, str) and path.endswith('.json') and '://' not in path and _is_local(metric):
            _compare_images(Path(path), annotations, setting)


def _is_local(metric: dict[str, Any]) -> bool:
    backend = metric.get('backend_args') or metric.get('file_client_args') or {}
    return backend.get('backend', 'local') in ('local', 'disk')


def _compare_images(path: Path, annotations: list[Path], setting: str) -> None:
    """Predictions for unknown images stop the evaluation; images without predictions lower AP."""
    if any(path.samefile(other) for other in annotations):
        return
    scored, *others = map(_image_names, (path, *annotations))
    predicted = set().union(*others)
    # a format of its own names no images in this way
    if scored == predicted or not scored or not all(others):
        return
    texts = [
        f'{len(images)} {text} ({first_few(sorted(f"{name} with id {number}" for number, name in images), 2)})'
        for images, text in (
            (predicted - scored, 'images of the data set are not in it'),
            (scored - predicted, 'of its images are not in the data set'),
        )
        if images
    ]
    raise ConfigError(
        f'{setting}: ann_file {path} does not list the images of the data set, {first_few(list(map(str, annotations)))}'
        f': {"; ".join(texts)}. Set {setting}.ann_file to the annotations of the data set'
    )


def _image_names(path: Path) -> set[tuple[Any, str]]:
    """The ids and names of the images in a file in the format of COCO; LVIS has a URL as name."""
    try:
        images = read_annotations(path, needs_annotations=False)['images']
    except DataError:
        return set()
    named = [image for image in images if isinstance(image, dict)]
    return {(image.get('id'), str(image.get('file_name', image.get('coco_url')))) for image in named}
