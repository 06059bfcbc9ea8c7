"""num_classes of every head is compared with the data."""

from pathlib import Path

import mmdet
import mmrotate
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfasternet.datasets.data_files import class_meta
from mmfasternet.engine.config import read_config
from mmfasternet.engine.heads import check_class_counts
from mmfasternet.engine.preflight import check
from mmfasternet.errors import ConfigError

COCO = dict(classes=tuple(f'class {number}' for number in range(80)))
PANOPTIC = dict(
    classes=tuple(map(str, range(133))), thing_classes=tuple(map(str, range(80))),
    stuff_classes=tuple(map(str, range(53))),
)  # fmt: skip
DOTA = dict(classes=tuple(f'class {number}' for number in range(15)))
#: Stock configs, each with a kind of head of its own, their classes, and how many settings count these.
STOCK = {
    'mmdet/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': (COCO, 2),
    'mmdet/htc/htc_r50_fpn_1x_coco.py': (COCO, 6),
    'mmdet/scnet/scnet_r50_fpn_1x_coco.py': (COCO, 5),
    'mmdet/ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco.py': (COCO, 3),
    'mmdet/point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py': (COCO, 3),
    'mmdet/cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py': (COCO, 1),
    'mmdet/centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco.py': (COCO, 1),
    'mmdet/retinanet/retinanet_r50_fpn_1x_coco.py': (COCO, 1),
    'mmdet/ssd/ssd300_coco.py': (COCO, 1),
    'mmdet/yolact/yolact_r50_1xb8-55e_coco.py': (COCO, 2),
    'mmdet/solov2/solov2_r50_fpn_1x_coco.py': (COCO, 1),
    'mmdet/rtmdet/rtmdet-ins_s_8xb32-300e_coco.py': (COCO, 1),
    'mmdet/dino/dino-4scale_r50_8xb2-12e_coco.py': (COCO, 1),
    'mmdet/sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py': (COCO, 6),
    'mmdet/soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py': (COCO, 1),
    'mmdet/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py': (PANOPTIC, 6),
    'mmdet/mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py': (PANOPTIC, 4),
    'mmrotate/oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py': (DOTA, 1),
    'mmrotate/roi_trans/roi-trans-le90_r50_fpn_1x_dota.py': (DOTA, 2),
    'mmrotate/s2anet/s2anet-le135_r50_fpn_1x_dota.py': (DOTA, 2),
    'mmrotate/r3det/r3det-tiny-oc_r50_fpn_1x_dota.py': (DOTA, 2),
    'mmrotate/rotated_fcos/rotated-fcos-le90_r50_fpn_1x_dota.py': (DOTA, 1),
}  # fmt: skip


def stock_model(name):
    package, _, path = name.partition('/')
    init_default_scope(package)
    folder = Path({'mmdet': mmdet, 'mmrotate': mmrotate}[package].__file__).parent
    return Config.fromfile(folder / '.mim/configs' / path)


@pytest.mark.parametrize('name', STOCK)
def test_every_head_of_stock_models(name):
    meta, count = STOCK[name]
    cfg = stock_model(name)
    check_class_counts(cfg.model, meta, 'train_dataloader')
    for size in (-1, 1):
        other = {key: classes[:size] if size < 0 else (*classes, 'more') for key, classes in meta.items()}
        with pytest.raises(ConfigError) as error:
            check_class_counts(cfg.model, other, 'train_dataloader')
        text = str(error.value)
        options = dict(option.split('=') for option in text.partition('--cfg-options ')[2].split())
        assert len(options) == count and len(text.splitlines()) == 1, text
        changed = cfg.copy()
        changed.merge_from_dict({name: int(value) for name, value in options.items()})
        check_class_counts(changed.model, other, 'train_dataloader')  # the line has all that is needed


def test_a_default_counts_too():
    init_default_scope('mmdet')
    head = dict(type='Shared2FCBBoxHead')  # 80, by a default of its base class
    model = dict(type='FasterRCNN', roi_head=dict(type='StandardRoIHead', bbox_head=head))
    check_class_counts(model, COCO, 'x')
    with pytest.raises(ConfigError, match=r'model.roi_head.bbox_head.num_classes is 80'):
        check_class_counts(model, DOTA, 'x')


def test_what_has_labels_of_its_own():
    """RPN, backbones, the stuff of HTC, trackers, models that are given the names of classes."""
    init_default_scope('mmdet')
    model = dict(
        backbone=dict(num_classes=1000),
        rpn_head=dict(num_classes=1),
        roi_head=dict(semantic_head=dict(type='FusedSemanticHead', num_classes=183)),
    )
    check_class_counts(model, DOTA, 'x')
    for part in ('language_model', 'tracker'):
        check_class_counts({part: dict(type='X'), 'bbox_head': dict(num_classes=256)}, DOTA, 'x')


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_the_start_of_a_run_compares(split, mini_coco, monkeypatch):
    monkeypatch.chdir(mini_coco)
    root = Path(__file__).resolve().parents[2]
    cfg = read_config(str(root / 'configs/mask_rcnn_fasternet_t0_mini_coco.py'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = f'{mini_coco}/'
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{mini_coco}/annotations/instances_val2017.json'
    mode = 'test' if split == 'test' else 'train'
    check(cfg, mode)
    cfg[f'{split}_dataloader'].dataset.metainfo.classes = cfg.train_dataloader.dataset.metainfo.classes[:7]
    with pytest.raises(ConfigError, match=f'{split}_dataloader: the data has 7 classes .*model.roi_head.mask_head.num'):
        check(cfg, mode)


@pytest.mark.parametrize(('classwise', 'count'), [(False, 1), (True, 31)])
def test_the_one_class_of_hrsc(classwise, count):
    init_default_scope('mmrotate')
    assert len(class_meta(dict(type='HRSCDataset', classwise=classwise), 'x')['classes']) == count
