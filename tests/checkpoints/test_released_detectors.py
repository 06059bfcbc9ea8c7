"""The authors' detectors, as mmdet 2.25 wrote them, load whole by every way that leads to a model."""

import pytest
import torch
from conftest import ROOT, as_released, make_timm, newest_metrics
from mmdet.apis import init_detector
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint

pytestmark = pytest.mark.slow

CHANNELS = dict(s=128, m=144, l=192)
CLASSES = CocoDataset.METAINFO['classes']


def layer(name, *shape, bias=True):
    return {f'{name}.weight': shape} | ({f'{name}.bias': shape[:1]} if bias else {})


def norm(name, channels):
    return {f'{name}.{part}': (channels,) for part in ('weight', 'bias', 'running_mean', 'running_var')} | {
        f'{name}.num_batches_tracked': ()
    }


def heads(channels):
    """Names and shapes of all but the backbone in mmdet 2.25's Mask R-CNN with FPN for 80 classes."""
    shapes = {}
    for index in range(4):
        shapes |= layer(f'neck.lateral_convs.{index}.conv', 256, channels * 2**index, 1, 1)
        shapes |= layer(f'neck.fpn_convs.{index}.conv', 256, 256, 3, 3)
        shapes |= layer(f'roi_head.mask_head.convs.{index}.conv', 256, 256, 3, 3)
    shapes |= layer('rpn_head.rpn_conv', 256, 256, 3, 3)
    shapes |= layer('rpn_head.rpn_cls', 3, 256, 1, 1) | layer('rpn_head.rpn_reg', 12, 256, 1, 1)
    shapes |= layer('roi_head.bbox_head.shared_fcs.0', 1024, 256 * 7 * 7)
    shapes |= layer('roi_head.bbox_head.shared_fcs.1', 1024, 1024)
    shapes |= layer('roi_head.bbox_head.fc_cls', 81, 1024) | layer('roi_head.bbox_head.fc_reg', 320, 1024)
    shapes |= layer('roi_head.mask_head.upsample', 256, 256, 2, 2)
    return shapes | layer('roi_head.mask_head.conv_logits', 80, 256, 1, 1)


def released(arch):
    """A checkpoint with the names, shapes and meta of the authors' files."""
    backbone = as_released(make_timm(arch).state_dict())
    state_dict = {f'backbone.{key}': value for key, value in backbone.items() if 'head' not in key}
    shapes = heads(CHANNELS[arch])
    for index in range(4):
        shapes |= norm(f'backbone.norm{2 * index}', CHANNELS[arch] * 2**index)
    for name, shape in shapes.items():
        # of a trained network's size, or nothing would be found
        value = torch.randn(shape) * (0.01 if len(shape) > 1 else 0.1)
        is_variance = name.endswith('running_var')
        state_dict[name] = value.abs() + 0.5 if is_variance else value if shape else torch.tensor(5)
    meta = dict(
        env_info='sys.platform: linux', config='model = dict()', seed=0, exp_name='mask_rcnn.py', epoch=12, iter=87960,
        mmdet_version='2.25.0', mmcv_version='1.5.3', time='Fri Nov 11 06:34:19 2022', CLASSES=CLASSES,
        PALETTE=[(220, 20, 60)] * 80, hook_msgs=dict(best_score=0.399),
    )  # fmt: skip
    return dict(meta=meta, state_dict=state_dict, optimizer=dict(state={}, param_groups=[dict(lr=2e-6)]))


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    checkpoint = released('s')
    path = tmp_path_factory.mktemp('released') / 'mask_rcnn_fasternet_s_fpn_1x_coco_20221111_063419.pth'
    torch.save(checkpoint, path)
    return path, checkpoint['state_dict']


def assert_whole(model, state_dict):
    own = model.state_dict()
    assert own.keys() == state_dict.keys()
    assert all(torch.equal(own[name], value) for name, value in state_dict.items())


@pytest.mark.parametrize('arch', CHANNELS)
def test_every_tensor_is_used_and_none_missing(arch, tmp_path, log_lines):
    checkpoint = released(arch)
    torch.save(checkpoint, tmp_path / 'released.pth')
    cfg = Config.fromfile(ROOT / f'configs/mask_rcnn_fasternet_{arch}_coco.py')
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(tmp_path / 'released.pth'), strict=True)
    assert_whole(model, checkpoint['state_dict'])
    (line,) = log_lines()
    assert "from a detector's checkpoint; left out none; start fresh none" in line


def test_init_detector(small):
    path, state_dict = small
    config = Config.fromfile(ROOT / 'configs/mask_rcnn_fasternet_s_coco.py')
    model = init_detector(config, str(path), device='cpu')
    assert_whole(model, state_dict)
    assert model.dataset_meta['classes'] == CLASSES


def test_the_test_tool_and_load_from(small, checkout, run_tool):
    path, _ = small
    few = [f'{loader}_dataloader.{option}' for loader in ('train', 'val', 'test') for option in (
        'num_workers=0', 'persistent_workers=False', 'dataset.indices=1')]  # fmt: skip
    config = 'configs/mask_rcnn_fasternet_s_coco.py'
    done = run_tool('tools/test.py', config, path, '--cfg-options', *few, 'model.test_cfg.rcnn.score_thr=0')
    assert done.returncode == 0, done.stderr[-2000:]
    assert "from a detector's checkpoint; left out none; start fresh none" in done.stdout
    assert 'do not match exactly' not in done.stdout
    assert 'coco/bbox_mAP' in newest_metrics(checkout / 'work_dirs/mask_rcnn_fasternet_s_coco')
    script = (
        'from mmengine.config import Config; from mmengine.runner import Runner;'
        f'cfg = Config.fromfile("{config}"); cfg.load_from = "{path}"; cfg.work_dir = "out";'
        'cfg.model.backbone.init_cfg = None; Runner.from_cfg(cfg).load_or_resume()'
    )
    done = run_tool('-c', script)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "from a detector's checkpoint; left out none; start fresh none" in done.stdout + done.stderr
    assert 'do not match exactly' not in done.stdout
