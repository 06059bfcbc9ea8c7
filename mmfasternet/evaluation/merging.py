"""From the tiles of an image back to the image: detections moved to their place, doubles in the overlaps removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.structures import InstanceData


def merge_tiles(tiles: Iterable[tuple[tuple[int, int], InstanceData]], nms_cfg: dict[str, Any]) -> InstanceData:
    """Merge what was found in the tiles of one image.

    Args:
        tiles (Iterable[tuple[tuple[int, int], InstanceData]]): The place (x, y) of each tile's top left corner in the
            image, in pixels, and its detections: ``bboxes`` of shape (N, 4) as x1, y1, x2, y2 or (N, 5) as cx, cy, w,
            h, angle, in pixels and radians; ``scores`` and ``labels`` of shape (N,). At least one tile.
        nms_cfg (dict): The non-maximum suppression that runs within each class, in the form of mmcv's:
            ``dict(type='nms_rotated', iou_threshold=0.1)``.

    Returns:
        InstanceData: The detections in pixels of the image, the surest first.
    """
    from mmcv.ops import batched_nms

    moved = []
    for offset, instances in tiles:
        boxes = instances.bboxes.clone()
        boxes[:, :2] += boxes.new_tensor(offset)
        if boxes.size(1) == 4:
            boxes[:, 2:] += boxes.new_tensor(offset)
        moved.append(InstanceData(**{**dict(instances.items()), 'bboxes': boxes}))
    merged = InstanceData.cat(moved)
    if len(merged):
        _, kept = batched_nms(merged.bboxes, merged.scores, merged.labels, nms_cfg)
        merged = merged[kept]
    return merged
