"""Configs of small models with random weights, for what does not depend on what was learned."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import mmrotate
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmfasternet.engine.predict import predict

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 32


def from_checkout(name: str) -> Config:
    """One of our configs, all of whose boxes pass, and few of them."""
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    test_cfg = cfg.model.get('test_cfg')
    if test_cfg:
        test_cfg.rpn.update(nms_pre=50, max_per_img=10)
        test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)
    return cfg


def retinanet(scope: str = 'mmdet', num_classes: int = 3) -> Config:
    """A detector of one stage with horizontal boxes, in the scope of mmdet or mmrotate."""
    coder = dict(type='mmdet.DeltaXYWHBBoxCoder')
    anchors = dict(
        type='mmdet.AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32, 64]
    )
    return Config(
        dict(
            default_scope=scope,
            model=dict(
                type='mmdet.RetinaNet',
                data_preprocessor=dict(
                    type='mmdet.DetDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32
                ),
                backbone=dict(type='FasterNet', arch='t0'),
                neck=dict(
                    type='mmdet.FPN',
                    in_channels=[40, 80, 160, 320],
                    out_channels=WIDTH,
                    start_level=1,
                    add_extra_convs='on_input',
                    num_outs=4,
                ),
                bbox_head=dict(
                    type='mmdet.RetinaHead',
                    num_classes=num_classes,
                    in_channels=WIDTH,
                    feat_channels=WIDTH,
                    stacked_convs=1,
                    anchor_generator=anchors,
                    bbox_coder=coder,
                    loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True),
                    loss_bbox=dict(type='mmdet.L1Loss'),
                ),
                test_cfg=dict(
                    nms_pre=50, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10, min_bbox_size=0
                ),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='mmdet.CocoDataset',
                    metainfo=dict(classes=tuple('abcdefgh'[:num_classes])),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='mmdet.Resize', scale=(320, 320), keep_ratio=True),
                        dict(type='mmdet.PackDetInputs'),
                    ],
                )
            ),
        )
    )


def gliding_vertex() -> Config:
    """Gliding vertex of mmrotate, whose boxes are quadrilaterals, with a narrow FPN and narrow heads."""
    folder = Path(mmrotate.__file__).parent / '.mim/configs/gliding_vertex'
    cfg = Config.fromfile(folder / 'gliding-vertex-qbox_r50_fpn_1x_dota.py')
    model = cfg.model
    model.backbone = dict(type='FasterNet', arch='t0')
    model.neck.update(in_channels=[40, 80, 160, 320], out_channels=WIDTH)
    model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
    model.roi_head.bbox_roi_extractor.out_channels = WIDTH
    model.roi_head.bbox_head.update(in_channels=WIDTH, fc_out_channels=WIDTH)
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=10)
    model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)
    return cfg


def save(cfg: Config, folder: Path, meta: dict[str, Any] | None = None) -> tuple[str, str]:
    """Write a config and a checkpoint with random weights; gives their paths."""
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    model = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        model['data_preprocessor'] = cfg.data_preprocessor
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(model).state_dict(), meta=meta or {}), folder / 'random.pth')
    cfg.dump(folder / 'config.py')
    return str(folder / 'config.py'), str(folder / 'random.pth')


def run_predict(files: tuple[str, str], images: list[Any], out: Path, **options: Any) -> None:
    """Call predict as its tool does."""
    config, checkpoint = files
    defaults = dict(score_thr=0.0, device='cpu', tile_size=None, overlap=None, optimize=None, backend=None)
    arguments = dict(config=config, checkpoint=checkpoint, images=[str(image) for image in images], out=str(out))
    predict(Namespace(**{**defaults, **arguments, **options}))
