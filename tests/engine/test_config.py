"""Which library a config is of."""

import pytest
from mmdet.datasets import CocoDataset
from mmdet.models import FasterRCNN, MaskRCNN
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models import ImageClassifier
from mmrotate.models.dense_heads import OrientedRPNHead

from mmfasternet.engine.config import library_of


class Mine(MaskRCNN):
    """A user's detector."""


@pytest.mark.parametrize(
    ('settings', 'library'),
    [
        (dict(default_scope='mmrotate', model=dict(type='mmdet.FasterRCNN')), 'mmrotate'),
        (dict(default_scope='mmpretrain'), 'mmpretrain'),
        (dict(default_scope=None, model=dict(type=FasterRCNN)), 'mmdet'),
        (dict(model=dict(type=FasterRCNN, rpn_head=dict(type=OrientedRPNHead))), 'mmrotate'),
        (dict(model=dict(type='mmdet.FasterRCNN', rpn_head=dict(type='mmrotate.OrientedRPNHead'))), 'mmrotate'),
        (dict(model=dict(type=Mine)), 'mmdet'),
        (dict(model=dict(type=FasterRCNN, backbone=dict(type='mmpretrain.ConvNeXt'))), 'mmdet'),
        (dict(model=dict(type=ImageClassifier, backbone=dict(type='mmdet.ResNet'))), 'mmpretrain'),
        (dict(model=dict(type='mmpretrain.models.classifiers.image.ImageClassifier')), 'mmpretrain'),
        (dict(model=dict(type=BaseModel), test_dataloader=dict(dataset=dict(type=CocoDataset))), 'mmdet'),
        (dict(default_scope='mmengine', model=dict(type=BaseModel)), 'mmengine'),
        (dict(), 'mmengine'),
    ],
)
def test_library_of(settings, library):
    assert library_of(Config(settings)) == library
