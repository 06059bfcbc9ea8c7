"""Tiles put together again."""

import pytest
import torch
from mmengine.structures import InstanceData

from mmfasternet.evaluation.merging import merge_tiles

ORIENTED = dict(type='nms_rotated', iou_threshold=0.1)
UPRIGHT = dict(type='nms', iou_threshold=0.5)


def found(*rows):
    """Instances from (label, score, box)."""
    width = len(rows[0][2]) if rows else 5
    return InstanceData(
        bboxes=torch.tensor([row[2] for row in rows]).reshape(-1, width),
        scores=torch.tensor([row[1] for row in rows]),
        labels=torch.tensor([row[0] for row in rows], dtype=torch.long),
    )


def test_oriented_boxes_move_and_doubles_go():
    ship, copy = (900.0, 50.0, 40.0, 12.0, 0.5), (76.2, 50.1, 40.0, 12.0, 0.5)
    merged = merge_tiles(
        [((0, 0), found((6, 0.7, ship), (6, 0.6, (20.0, 20.0, 40.0, 12.0, 0.0)))), ((824, 0), found((6, 0.9, copy)))],
        ORIENTED,
    )
    # the surest first, and of the ship that two tiles show the surer box
    assert merged.scores.tolist() == pytest.approx([0.9, 0.6])
    assert merged.bboxes[0].tolist() == pytest.approx([900.2, 50.1, 40, 12, 0.5], abs=1e-3)


def test_turned_boxes_are_compared_turned():
    """Two bars that cross share little, though their upright frames are the same."""
    bars = [(50.0, 50.0, 60.0, 4.0, turn) for turn in (0.785, -0.785)]
    merged = merge_tiles([((0, 0), found((1, 0.9, bars[0]))), ((0, 0), found((1, 0.8, bars[1])))], ORIENTED)
    assert len(merged) == 2


def test_classes_do_not_suppress_each_other():
    box = (50.0, 50.0, 60.0, 20.0, 0.3)
    assert len(merge_tiles([((0, 0), found((1, 0.9, box), (2, 0.8, box)))], ORIENTED)) == 2


def test_upright_boxes():
    first, second = (90.0, 10.0, 130.0, 50.0), (10.0, 12.0, 50.0, 52.0)
    merged = merge_tiles([((0, 0), found((1, 0.5, first))), ((80, 0), found((1, 0.6, second)))], UPRIGHT)
    assert merged.bboxes.tolist() == [[90, 12, 130, 52]]


def test_far_out_in_a_large_image():
    """Neighbours 12 pixels apart at 20,000 pixels, in the last of many classes: both stay, and to the hundredth."""
    rows = [(14, 0.9, (10.25, 20.0, 20.0, 9.0, 1.2)), (14, 0.8, (22.25, 20.0, 20.0, 9.0, 1.2))]
    merged = merge_tiles([((19_000, 19_000), found(*rows)), ((18_176, 19_000), found())], ORIENTED)
    assert merged.bboxes[:, 0].tolist() == pytest.approx([19_010.25, 19_022.25], abs=0.01)


def test_nothing_found():
    assert len(merge_tiles([((0, 0), found()), ((824, 0), found())], ORIENTED)) == 0


def test_what_is_given_stays_as_it_was():
    tile = found((1, 0.9, (50.0, 50.0, 60.0, 4.0, 0.1)))
    merge_tiles([((100, 100), tile)], ORIENTED)
    assert tile.bboxes[0, 0] == 50
