"""Merging of tiles: detections are moved to image coordinates, and duplicates in the overlaps are removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.structures import InstanceData

#: mmcv's non-maximum suppression for boxes with this many numbers.
NMS_TYPES = {4: 'nms', 5: 'nms_rotated', 8: 'nms_quadri'}


def merge_tiles(tiles: Iterable[tuple[tuple[int, int], InstanceData]], nms_cfg: dict[str, Any]) -> InstanceData:
    """Merge the detections in the tiles of one image.

    Args:
        tiles (Iterable[tuple[tuple[int, int], InstanceData]]): The position (x, y) of each tile's top left corner in
            the image, in pixels, and its detections: ``bboxes`` of shape (N, 4) as x1, y1, x2, y2, (N, 5) as cx, cy, w,
            h, angle, in pixels and radians, or (N, 8) as four corners; ``scores`` and ``labels`` of shape (N,). At
            least one tile.
        nms_cfg (dict): mmcv's settings of the non-maximum suppression within each class, such as
            ``dict(iou_threshold=0.1)``. The type follows from the boxes.

    Returns:
        InstanceData: The detections in pixels of the image, by descending score.
    """
    from mmcv.ops import batched_nms

    moved = []
    for offset, instances in tiles:
        boxes = instances.bboxes.clone()
        points = 1 if boxes.size(1) == 5 else boxes.size(1) // 2
        boxes[:, : 2 * points] += boxes.new_tensor(offset).repeat(points)
        moved.append(InstanceData(**{**dict(instances.items()), 'bboxes': boxes}))
    # heads return boxes with another number of columns for an empty tile
    merged = InstanceData.cat([instances for instances in moved if len(instances)] or moved[:1])
    if len(merged):
        nms_cfg = {**nms_cfg, 'type': NMS_TYPES[merged.bboxes.size(1)]}
        _, kept = batched_nms(merged.bboxes, merged.scores, merged.labels, nms_cfg)
        merged = merged[kept]
    return merged
