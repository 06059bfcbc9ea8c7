"""DOTA on whole images: the detections of the tiles are merged, then scored as on the DOTA server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmengine.structures import InstanceData

from ..errors import DataError
from .merging import merge_tiles


class _MergedDOTA(BaseMetric):
    """Collects the detections of tiles and merges them for whole images.

    Args:
        nms_iou_thr (float, optional): If two boxes of a class overlap by more, the one with the higher score stays.
        **kwargs: Arguments of MMEngine's BaseMetric.
    """

    def __init__(self, nms_iou_thr: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.nms_cfg = dict(type='nms_rotated', iou_threshold=nms_iou_thr)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Record the detections in a batch of tiles.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): With ``img_path`` and ``pred_instances``: rotated boxes.
        """
        for sample in data_samples:
            predictions = sample['pred_instances']
            self.results.append(
                dict(
                    img_path=sample['img_path'],
                    bboxes=predictions['bboxes'].cpu().numpy(),
                    scores=predictions['scores'].cpu().numpy(),
                    labels=predictions['labels'].cpu().numpy(),
                )
            )

    def merge(self, results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, InstanceData]]:
        """Merge the tiles of each image.

        Args:
            results (Sequence[dict]): The detections in all tiles.

        Yields:
            tuple[str, InstanceData]: The name of an image without suffix, and the detections in its pixels.
        """
        from ..datasets.dota.tiles import parse_tile_name

        images: dict[str, list] = defaultdict(list)
        for result in results:
            image, _, x, y = parse_tile_name(Path(result['img_path']).stem)
            instances = InstanceData(**{key: torch.from_numpy(result[key]) for key in ('bboxes', 'scores', 'labels')})
            images[image].append(((x, y), instances))
        for image in sorted(images):
            yield image, merge_tiles(images[image], self.nms_cfg)


@METRICS.register_module()
class WholeImageDOTAMetric(_MergedDOTA):
    """mAP on whole images: merged tiles are scored with the raw labels, as on the DOTA server.

    mmrotate's ``DOTAMetric`` scores tiles, in which objects at the edges are repeated or cut.

    Args:
        label_dir (str, optional): Folder of the raw label files. Defaults to None: ``labelTxt`` beside the folder of
            the tiles, where ``tools/split_dota.py`` puts a copy.
        iou_thrs (float | list[float], optional): IoU thresholds; mAP is the mean over them.
        **kwargs: ``nms_iou_thr`` and arguments of MMEngine's BaseMetric.
    """

    default_prefix = 'dota_whole'

    def __init__(self, label_dir: str | None = None, iou_thrs: float | Sequence[float] = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_dir = label_dir
        self.iou_thrs = [iou_thrs] if isinstance(iou_thrs, float) else list(iou_thrs)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Merge and score.

        Args:
            results (list[dict]): The detections in all tiles.

        Returns:
            dict[str, float]: ``mAP``, the mean over the thresholds; an entry for each, such as ``AP50``; and
            ``angle_error``, the mean over the true positives of long objects at the first threshold, in degrees.

        Raises:
            DataError: The folder of raw labels does not exist.
        """
        from . import dota_protocol

        classes = self.dataset_meta['classes']
        logger = MMLogger.get_current_instance()
        folder = label_folder(results[0]['img_path'], self.label_dir)
        detections = {
            image: dota_protocol.Detections(corners(merged.bboxes), merged.scores.numpy(), merged.labels.numpy())
            for image, merged in self.merge(results)
        }
        objects = _read_folder(folder, list(detections), classes, logger)
        aps, angle_errors = {}, []
        for iou_thr in self.iou_thrs:
            scores = dota_protocol.evaluate(detections, objects, classes, iou_thr)
            mean = aps[f'AP{round(100 * iou_thr)}'] = dota_protocol.mean_ap(scores)
            angle_errors.append(np.concatenate([score.angle_errors for score in scores.values()]))
            logger.info(f'whole images, IoU above {iou_thr}:\n{_table(scores, mean)}')
        metrics = dict(mAP=float(np.mean(list(aps.values()))), **aps)
        if len(angle_errors[0]):
            metrics['angle_error'] = float(angle_errors[0].mean())
        return metrics


def label_folder(tile: str | Path, label_dir: str | Path | None = None) -> Path:
    """Find the raw labels of a tile.

    Args:
        tile (str | Path): Path of the tile's image.
        label_dir (str | Path, optional): Their folder. Defaults to None: ``labelTxt`` beside the folder of the tiles.

    Returns:
        Path: The folder of raw label files.

    Raises:
        DataError: The folder does not exist.
    """
    folder = Path(label_dir) if label_dir else Path(tile).parent.parent / 'labelTxt'
    if not folder.is_dir():
        raise DataError(
            f'scoring whole images needs the raw labels, but the folder {folder} does not exist; cut the tiles '
            'with tools/split_dota.py, which copies the labels there, or set label_dir of the WholeImageDOTAMetric'
        )
    return folder


def corners(boxes: torch.Tensor) -> np.ndarray:
    """Turn boxes into quadrilaterals.

    Args:
        boxes (Tensor): In pixels: x1, y1, x2, y2 of shape (N, 4), cx, cy, w, h and the angle in radians of shape
            (N, 5), or four corners of shape (N, 8).

    Returns:
        ndarray: The corners in pixels, of shape (N, 4, 2), in double precision.
    """
    boxes = boxes.double()
    if boxes.size(1) == 4:
        boxes = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    elif boxes.size(1) == 5:
        from mmrotate.structures.bbox import rbox2qbox

        boxes = rbox2qbox(boxes)
    return boxes.reshape(-1, 4, 2).numpy()


def _read_folder(folder: Path, images: Sequence[str], classes: Sequence[str], logger: MMLogger) -> dict[str, list]:
    """Read the labels of the tested images, and log which cannot be read."""
    from ..datasets.dota.labels import read_labels

    objects: dict[str, list] = {}
    faults, missing = [], []
    for image in images:
        path = folder / f'{image}.txt'
        if path.is_file():
            objects[image], bad_lines = read_labels(path, tuple(classes))
            faults += bad_lines
        else:
            objects[image] = []
            missing.append(image)
    if missing:
        logger.warning(f'{folder} has no labels of {len(missing)} images, the first {missing[0]}: they count as empty')
    if faults:
        logger.warning(f'ignored {len(faults)} lines of the raw labels, the first {faults[0]}')
    untested = len({path.stem for path in folder.glob('*.txt')} - set(images))
    if untested:
        logger.warning(f'{folder} has labels of {untested} images that were not tested; they are ignored')
    return objects


def _table(scores: dict[str, Any], mean: float) -> str:
    from terminaltables import AsciiTable

    rows = [
        [name, score.positives, score.detections, f'{score.recall:.3f}', f'{score.ap:.3f}']
        for name, score in scores.items()
    ]
    table = AsciiTable([['class', 'objects', 'detections', 'recall', 'AP'], *rows, ['mAP', '', '', '', f'{mean:.3f}']])
    table.inner_footing_row_border = True
    return table.table
