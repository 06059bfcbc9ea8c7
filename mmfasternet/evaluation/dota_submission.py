"""The zip for the DOTA server's task 1, oriented boxes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmengine.structures import InstanceData

from ..errors import DataError
from ..files import whole_file
from .dota_merged import _MergedDOTA, corners

#: Fields of a line: the image, the score, and four corners.
FIELDS = 10
#: A fixed time for the entries, so that equal detections give equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@METRICS.register_module()
class DOTASubmission(_MergedDOTA):
    """Write the detections to a submission, without scoring them.

    Unlike mmrotate's ``DOTAMetric(format_only=True)``, it keeps the full precision of the scores: rounded scores tie,
    and ties reduce mAP.

    Args:
        out (str): The zip to write.
        **kwargs: ``nms_iou_thr`` and arguments of MMEngine's BaseMetric.
    """

    default_prefix = 'submission'

    def __init__(self, out: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out = Path(out)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Merge, write the zip, and read it back.

        Args:
            results (list[dict]): The detections in all tiles.

        Returns:
            dict[str, float]: The number of ``images`` and ``detections``.
        """
        merged = dict(self.merge(results))
        written = write_submission(self.out, merged.items(), self.dataset_meta['classes'])
        MMLogger.get_current_instance().info(f'{written} detections in {len(merged)} images: {self.out}')
        return dict(images=len(merged), detections=written)


def write_submission(out: Path, detections: Iterable[tuple[str, InstanceData]], classes: Sequence[str]) -> int:
    """Write a submission, and check it by reading it before it gets its name.

    Args:
        out (Path): The zip to write; an existing one is replaced.
        detections (Iterable[tuple[str, InstanceData]]): The name of each image, and its detections.
        classes (Sequence[str]): Names of the classes in the order of the labels.

    Returns:
        int: The number of detections.
    """
    lines: dict[str, list[str]] = {name: [] for name in classes}
    images = []
    for image, instances in detections:
        images.append(image)
        for quad, score, label in zip(corners(instances.bboxes), instances.scores.tolist(), instances.labels.tolist()):
            # 9 digits distinguish any two scores in float32
            points = ' '.join(f'{value:.2f}' for value in quad.ravel())
            lines[classes[label]].append(f'{image} {score:.9g} {points}\n')
    with whole_file(out) as draft:
        with zipfile.ZipFile(draft, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name in classes:
                entry = zipfile.ZipInfo(f'Task1_{name}.txt', _EPOCH)
                archive.writestr(entry, ''.join(lines[name]), zipfile.ZIP_DEFLATED)
        counts = check_submission(draft, classes, images)
        if counts != {name: len(lines[name]) for name in classes}:
            raise DataError(f'{out}: the file differs from what was written; check that the disk is not full')
    return sum(counts.values())


def check_submission(path: Path, classes: Sequence[str], images: Iterable[str]) -> dict[str, int]:
    """Read a submission as the server does.

    Args:
        path (Path): The zip.
        classes (Sequence[str]): Names of exactly the classes that it must have.
        images (Iterable[str]): Names of the images that it may have.

    Returns:
        dict[str, int]: The number of detections of each class.

    Raises:
        DataError: A file is missing or unexpected, or a line is malformed.
    """
    images = set(images)
    counts = {}
    try:
        with zipfile.ZipFile(path) as archive:
            expected, existing = {f'Task1_{name}.txt' for name in classes}, set(archive.namelist())
            if expected != existing:
                raise DataError(
                    f'{path} is not a submission for these {len(expected)} classes: missing '
                    f'{sorted(expected - existing)}, not expected {sorted(existing - expected)}'
                )
            for name in classes:
                text = archive.read(f'Task1_{name}.txt').decode()
                for number, line in enumerate(text.splitlines(), 1):
                    if fault := _fault(line, images):
                        raise DataError(f'{path}: Task1_{name}.txt:{number}: {fault}: {line!r}')
                counts[name] = number if text else 0
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path} cannot be read as a submission: {error}') from error
    return counts


def _fault(line: str, images: set[str]) -> str:
    """Describe what is wrong with a line; empty if it is valid."""
    fields = line.split(' ')
    if len(fields) != FIELDS:
        return f'{len(fields)} fields, expected {FIELDS}: image score x1 y1 x2 y2 x3 y3 x4 y4'
    if fields[0] not in images:
        return 'an image that was not tested'
    try:
        score, *coordinates = map(float, fields[1:])
    except ValueError:
        return 'not a number'
    if not all(map(math.isfinite, (score, *coordinates))):
        return 'not a finite number'
    return '' if 0 <= score <= 1 else 'a score outside 0 to 1'
