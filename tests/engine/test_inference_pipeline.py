"""Test pipelines of all kinds on images without annotations."""

import logging

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS, init_default_scope

from mmfasternet.engine.inference_pipeline import InferencePipeline
from mmfasternet.errors import ConfigError, DataError

LOAD = dict(type='LoadImageFromFile')
RESIZE = dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=True)
BOXES = dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False, box_type='qbox')
PACK = dict(type='mmdet.PackDetInputs')
IMAGE = np.zeros((40, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmrotate')


@TRANSFORMS.register_module(force=True)
class CountBoxes:
    """A step of a user's, that needs ground truth and is not known to."""

    def __call__(self, results):
        results['count'] = len(results['gt_bboxes'])
        return results


@TRANSFORMS.register_module(force=True)
class OwnAnnotations(LoadAnnotations):
    """A reader of a user's."""


def pipeline(*steps, loader='test_dataloader', mean=(1.0, 1.0, 1.0), in_channels=None, **settings):
    dataset = dict(type='mmdet.CocoDataset', pipeline=list(steps))
    model = dict(data_preprocessor=dict(mean=mean), backbone=dict(in_channels=in_channels) if in_channels else {})
    return InferencePipeline(Config({'model': model, loader: dict(dataset=dataset), **settings}))


@pytest.mark.parametrize(
    'steps',
    [
        (LOAD, RESIZE, PACK),
        (LOAD, RESIZE, BOXES, dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')), PACK),
        # SSDD
        (LOAD, RESIZE, BOXES, dict(type='ConvertMask2BoxType', box_type='qbox'), PACK),
        (LOAD, BOXES, dict(type='mmrotate.ConvertMask2BoxType', box_type='rbox'), RESIZE, PACK),
        (BOXES, LOAD, RESIZE, PACK),
        (LOAD, RESIZE, dict(type='mmdet.LoadPanopticAnnotations', backend_args=None), PACK),
        (LOAD, RESIZE, dict(type='mmdet.LoadEmptyAnnotations'), dict(type='mmdet.LoadProposals'), PACK),
        (LOAD, RESIZE, dict(type='LoadAnnotations', with_seg=True), PACK),
        (LOAD, RESIZE, BOXES, dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(1, 1)), PACK),
        (LOAD, RESIZE, dict(type='OwnAnnotations', with_bbox=True), dict(type='CountBoxes'), PACK),
        (LOAD, dict(type='Compose', transforms=[RESIZE, BOXES]), dict(type='Compose', transforms=[PACK])),
        (
            LOAD,
            dict(
                type='TestTimeAug',
                transforms=[
                    [RESIZE, dict(RESIZE, scale=(128, 128))],
                    [dict(type='mmdet.RandomFlip', prob=1.0), dict(type='mmdet.RandomFlip', prob=0.0)],
                    [BOXES],
                    [PACK],
                ],
            ),
        ),
        (dict(type=LoadImageFromFile), dict(RESIZE, type=Resize), dict(type=LoadAnnotations), dict(type=PackDetInputs)),
        (dict(type='mmdet.LoadImageFromNDArray'), RESIZE, PACK),
    ],
)  # fmt: skip
def test_steps_that_need_annotations_are_left_out(steps):
    packed = pipeline(*steps)(IMAGE)
    assert packed['inputs'].shape[1] == 64
    assert tuple(packed['data_samples'].ori_shape) == (40, 32)
    assert not packed['data_samples'].get('flip')


def test_what_is_left_out_is_logged(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    prepare = pipeline(LOAD, dict(type='CountBoxes'), PACK)
    for _ in range(2):
        prepare(IMAGE)
    logger.removeHandler(caplog.handler)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ['the step CountBoxes of the test pipeline needs annotations: left out']


def test_where_the_pipeline_is_found():
    assert len(pipeline(LOAD, PACK, loader='val_dataloader').steps) == 1
    assert len(pipeline(test_pipeline=[LOAD, RESIZE, PACK]).steps) == 2
    with pytest.raises(ConfigError, match='the config has no test pipeline'):
        pipeline(loader='train_dataloader')


def test_pipelines_that_cannot_work():
    with pytest.raises(ConfigError, match='the step Nothing of the test pipeline cannot be built: .*Nothing') as caught:
        pipeline(LOAD, dict(type='Nothing'))
    assert '\n' not in str(caught.value)
    with pytest.raises(ConfigError, match='reads several files for each image; predict reads one'):
        pipeline(dict(type='mmdet.LoadMultiChannelImageFromFiles'), PACK)


def test_images_with_other_channels_than_the_model():
    with pytest.raises(DataError, match='the image has 4 channels, the model takes 3'):
        pipeline(LOAD, PACK)(np.zeros((40, 32, 4), np.uint8))
    with pytest.raises(DataError, match='the image has 1 channels, the model takes 3'):
        pipeline(LOAD, PACK)(np.zeros((40, 32), np.uint8))
    with pytest.raises(DataError, match='the image has 3 channels, the model takes 1'):
        pipeline(LOAD, PACK, mean=[1.0], in_channels=1)(IMAGE)
    assert len(pipeline(LOAD, PACK, mean=[1.0])(IMAGE)['inputs']) == 3
