"""Backbones whose features are not all used, in one process and in two."""

import os
import subprocess
import sys
from pathlib import Path

import mmrotate.models  # noqa: F401, registers mmdet's and mmrotate's models
import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfasternet.engine import unused_features
from mmfasternet.engine.unused_features import handle_unused_features

pytestmark = pytest.mark.slow

BACKBONE = dict(type='FasterNet', arch=dict(embed_dims=16, depths=(1, 1, 1, 1)))
CHANNELS = [16, 32, 64, 128]


@pytest.fixture
def lines(monkeypatch):
    found = []
    monkeypatch.setattr(unused_features, 'print_log', lambda text, **kwargs: found.append(text))
    return found


def stock(name, **backbone):
    """A config of mmdet or mmrotate with a tiny FasterNet."""
    cfg = Config.fromfile(next(path for path in stock_configs() if path.stem == name))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone = dict(BACKBONE, **backbone)
    cfg.model.neck.in_channels = CHANNELS
    cfg.launcher = 'pytorch'
    return cfg


def stock_configs():
    for library in ('mmdet', 'mmrotate'):
        package = __import__(library)
        yield from sorted(Path(package.__file__).parent.glob('.mim/configs/*/*.py'))


@pytest.mark.parametrize(
    'name',
    [
        'retinanet_r50_fpn_1x_coco',
        'fcos_r50-caffe_fpn_gn-head_1x_coco',
        'atss_r50_fpn_1x_coco',
        's2anet-le135_r50_fpn_1x_dota',
    ],
)
def test_a_neck_that_skips_stage_0(name, lines):
    cfg = stock(name)
    assert cfg.model.neck.start_level == 1
    handle_unused_features(cfg)
    assert cfg.find_unused_parameters is True
    assert lines == [
        'no gradient reaches backbone.norm0, since nothing uses what they compute; several processes need '
        'find_unused_parameters=True for that, which is set and costs some time in each step. Better: '
        'backbone.out_indices=(1, 2, 3), neck.in_channels=[32, 64, 128], neck.start_level=0'
    ]
    # with what the line says, all is used
    better = stock(name, out_indices=(1, 2, 3))
    better.model.neck.update(in_channels=[32, 64, 128], start_level=0)
    handle_unused_features(better)
    assert 'find_unused_parameters' not in better and len(lines) == 1


def test_features_behind_the_last_that_is_used(lines):
    cfg = stock('retinanet_r50_fpn_1x_coco')
    cfg.model.neck.update(start_level=0, end_level=2, add_extra_convs=False, num_outs=3)
    handle_unused_features(cfg)
    [line] = lines
    assert line.startswith('no gradient reaches backbone.stages.5.reduction, backbone.stages.5.norm, ')
    assert line.endswith(
        'Better: backbone.out_indices=(0, 1, 2), neck.in_channels=[16, 32, 64], neck.start_level=0, neck.end_level=-1'
    )


def test_a_classifier_that_looks_at_the_last_stage(lines):
    cfg = Config.fromfile(ROOT / 'configs/fasternet_t0_imagenet.py')
    init_default_scope(cfg.default_scope)
    cfg.launcher = 'slurm'
    cfg.model.backbone.update(out_indices=(0, 1, 2, 3), output_norm=True)
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head = dict(type='LinearClsHead', num_classes=10, in_channels=320)
    handle_unused_features(cfg)
    assert cfg.find_unused_parameters and lines[0].endswith('Better: backbone.out_indices=(3,)')


@pytest.mark.parametrize(
    'change',
    [
        dict(launcher='none'),
        dict(find_unused_parameters=True),
        dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', static_graph=True)),
        dict(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')),
        dict(strategy=dict(type='DDPStrategy')),
        # the norm is frozen with its stage, or not there
        dict(model=dict(backbone=dict(output_norm=False))),
        # what cannot be built is reported elsewhere
        dict(model=dict(neck=dict(in_channels=[1, 2]))),
    ],
)
def test_nothing_to_do(change, lines):
    cfg = stock('retinanet_r50_fpn_1x_coco')
    cfg.merge_from_dict(change)
    before = cfg.pretty_text
    handle_unused_features(cfg)
    assert cfg.pretty_text == before and not lines


@pytest.mark.parametrize(
    'name', ['mask_rcnn_fasternet_t0_coco', 'oriented_rcnn_fasternet_t0_dota', 'fasternet_t0_imagenet']
)
def test_our_own_configs_use_all(name, lines):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.launcher = 'pytorch'
    handle_unused_features(cfg)
    assert 'find_unused_parameters' not in cfg and not lines


def test_a_wrapper_is_told(lines):
    cfg = stock('retinanet_r50_fpn_1x_coco')
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', broadcast_buffers=True)
    handle_unused_features(cfg)
    assert cfg.model_wrapper_cfg.find_unused_parameters and len(lines) == 1


CONFIG = """
_base_ = '{base}'
model = dict(
    _delete_=True,
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),
    backbone=dict(type='FasterNet', arch=dict(embed_dims=16, depths=(1, 1, 1, 1))),
    neck=dict(
        type='FPN',
        in_channels=[16, 32, 64, 128],
        out_channels=16,
        start_level=1,
        num_outs=3,
    ),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=8,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[1.0], strides=[8, 16, 32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    ),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5)),
)
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(indices=6))
train_cfg = dict(max_epochs=1, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
"""


def test_two_processes_train_beyond_the_second_step(checkout):
    (checkout / 'retinanet.py').write_text(CONFIG.format(base=ROOT / 'configs/mask_rcnn_fasternet_t0_mini_coco.py'))
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    done = subprocess.run(
        [*torchrun, 'tools/train.py', 'retinanet.py', '--launcher', 'pytorch'],
        cwd=checkout,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert 'Epoch(train) [1][3/3]' in log
    assert log.count('no gradient reaches backbone.norm0, since nothing uses what they compute') == 1
