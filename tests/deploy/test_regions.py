"""Region features against mmcv's operators, level by level, through mmdet's and mmrotate's own extractors."""

import math

import mmrotate.models  # noqa: F401, registers the rotated extractor
import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.registry import MODELS, init_default_scope

from mmfasternet.deploy.regions import RegionFeatures, has_fast_regions

STRIDES = [4, 8, 16, 32]
SIZE = (160, 224)


def extractor(**roi_layer):
    scope = 'mmrotate' if 'Rotated' in roi_layer['type'] else 'mmdet'
    init_default_scope(scope)
    kind = 'RotatedSingleRoIExtractor' if scope == 'mmrotate' else 'SingleRoIExtractor'
    return MODELS.build(
        dict(type=f'{scope}.{kind}', roi_layer=roi_layer, out_channels=8, featmap_strides=STRIDES, finest_scale=14)
    )


def pyramid(images):
    return [torch.randn(images, 8, SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]


def upright(count, images):
    """Boxes of all sizes and shapes, also thin, without extent, and beyond the image."""
    extent = torch.exp(torch.rand(count, 2) * 6)
    center = torch.rand(count, 2) * torch.tensor([SIZE[1] + 60.0, SIZE[0] + 60.0]) - 30
    boxes = torch.cat((center - extent / 2, center + extent / 2), 1)
    boxes[0] = torch.tensor([5.0, 5.0, 5.0, 5.0])
    boxes[1] = torch.tensor([-900.0, -900.0, -800.0, -800.0])
    boxes[2] = torch.tensor([0.0, 0.0, 223.0, 2.0])
    return torch.cat((torch.randint(images, (count, 1)).float(), boxes), 1)


def rotated(count, images):
    boxes = upright(count, images)
    center, extent = (boxes[:, 1:3] + boxes[:, 3:]) / 2, boxes[:, 3:] - boxes[:, 1:3]
    angle = (torch.rand(count, 1) * 2 - 1) * math.pi
    return torch.cat((boxes[:, :1], center, extent, angle), 1)


def channels_last(feats, dtype=torch.float32):
    return [feat.to(dtype, memory_format=torch.channels_last) for feat in feats]


def assert_equal(found, expected, limit):
    assert found.shape == expected.shape
    assert expected.std() > 1e-2, 'nothing to compare'
    assert ((found.float() - expected).norm() / expected.norm()).item() < limit


@pytest.mark.parametrize('scale', [None, 1.5])
@pytest.mark.parametrize(
    ('boxes', 'settings'),
    [
        (upright, dict(type='RoIAlign', output_size=7, sampling_ratio=0)),
        (upright, dict(type='RoIAlign', output_size=14, sampling_ratio=2)),
        (upright, dict(type='RoIAlign', output_size=(3, 5), sampling_ratio=0, aligned=False)),
        (rotated, dict(type='RoIAlignRotated', output_size=7, sampling_ratio=2, clockwise=True)),
        (rotated, dict(type='RoIAlignRotated', output_size=(3, 5), sampling_ratio=3, aligned=False)),
    ],
)
def test_equal_to_mmcv(boxes, settings, scale):
    torch.manual_seed(0)
    stock = extractor(**settings)
    if boxes is rotated and scale:
        scale = (scale, scale)
    assert has_fast_regions(stock)
    feats, rois = pyramid(2), boxes(200, 2)
    expected = stock(feats, rois, roi_scale_factor=scale)
    fast = RegionFeatures(stock)
    assert fast.num_inputs == 4
    assert_equal(fast(channels_last(feats), rois, roi_scale_factor=scale), expected, 1e-5)
    assert_equal(fast(channels_last(feats, torch.bfloat16), rois, roi_scale_factor=scale), expected, 1e-2)
    assert_equal(fast(feats, rois, roi_scale_factor=scale), expected, 1e-5)


def test_one_level_alone_and_no_regions_at_all():
    torch.manual_seed(0)
    stock = extractor(type='RoIAlign', output_size=7, sampling_ratio=0)
    feats, rois = pyramid(1), upright(50, 1)
    fast = RegionFeatures(stock)
    assert_equal(fast(channels_last(feats[:1]), rois), stock(feats[:1], rois), 1e-5)
    assert fast(channels_last(feats), rois[:0]).shape == (0, 8, 7, 7)


def test_what_computes_something_else_is_recognised():
    assert not has_fast_regions(extractor(type='RoIAlign', output_size=7, pool_mode='max'))
    assert not has_fast_regions(extractor(type='RoIPool', output_size=7))
    assert not has_fast_regions(extractor(type='RoIAlignRotated', output_size=7, sampling_ratio=0))

    class Attentive(SingleRoIExtractor):
        pass

    layer = dict(type='RoIAlign', output_size=7)
    assert not has_fast_regions(Attentive(roi_layer=layer, out_channels=8, featmap_strides=STRIDES))
