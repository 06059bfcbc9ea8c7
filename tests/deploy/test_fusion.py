"""Optimized networks and detectors against the ones that they were made from."""

import copy

import mmrotate.models  # noqa: F401, registers mmdet's and mmrotate's models
import pytest
import torch
from conftest import randomize_
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmfasternet import FasterNet
from mmfasternet.deploy import OptimizedFasterNet, cpu_has_bfloat16, fusion, optimize
from mmfasternet.deploy.packed import PackedConv2d, PackedLinear
from mmfasternet.deploy.regions import RegionFeatures
from mmfasternet.errors import ConfigError, DataError

TINY = dict(embed_dims=16, depths=(1, 1, 1), act_cfg=dict(type='GELU'))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return randomize_(FasterNet(TINY, out_indices=(0, 2))).eval()


@pytest.fixture
def warnings_(monkeypatch):
    told = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', lambda record: told.append(record))
    return told


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def features_equal(fast, network, images, limit):
    with torch.no_grad():
        expected = network(images)
    found = fast(images)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert theirs.std() > 1e-2, 'nothing to compare'
        assert ours.dtype == theirs.dtype == torch.float32
        assert ours.is_contiguous(), "mmcv's RoIAlign would misread it"
        assert relative_error(ours, theirs) < limit


LARGE = (2, 3, 512, 640)


@pytest.mark.parametrize(('dtype', 'limit'), [('float32', 1e-4), ('bfloat16', 1e-2)])
def test_features_stay_for_every_size(network, dtype, limit):
    before = copy.deepcopy(network.state_dict())
    fast = optimize(network, dtype)
    assert fast.dtype == (fusion.DTYPES[dtype] if cpu_has_bfloat16() else torch.float32)
    for shape in ((1, 3, 64, 64), (2, 3, 96, 48), (1, 3, 37, 51), LARGE):
        features_equal(fast, network, torch.randn(shape), limit)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    'settings',
    [
        dict(norm_cfg=dict(type='GN', num_groups=4)),
        dict(norm_cfg=dict(type='BN', track_running_stats=False)),
        dict(norm_cfg=dict(type='SyncBN')),
        dict(layer_scale_init_value=0.5, with_cp=True),
        dict(output_norm=False, partial_ratio=1),
        dict(act_cfg=dict(type='SiLU')),
        dict(act_cfg=dict(type='GELU', approximate='tanh')),
        dict(channels_last=True),
    ],
)
def test_all_settings_of_the_backbone(settings):
    torch.manual_seed(0)
    network = randomize_(FasterNet(TINY, out_indices=(0, 2), **settings)).eval()
    features_equal(optimize(network), network, torch.randn(2, 3, 64, 48), 1e-4)


def test_batch_norms_are_folded(network):
    fast = optimize(network)
    # the output norms stay: their input is the next stage's too
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fast.modules()) == len(network.out_indices)


def test_a_backbone_inside_a_classifier_is_found():
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='FasterNet', arch=TINY, out_indices=(2,), output_norm=False),
            head=dict(type='FasterNetClsHead', num_classes=7, in_channels=64),
        )
    )
    model = randomize_(model).eval()
    fast = optimize(model)
    assert isinstance(fast.backbone, OptimizedFasterNet)
    assert isinstance(model.backbone, FasterNet)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        assert expected.std() > 1e-3, 'nothing to compare'
        assert relative_error(fast(images), expected) < 1e-4


DETECTORS = {'mmdet': 'mask_rcnn_fasternet_t0_mini_coco', 'mmrotate': 'oriented_rcnn_fasternet_t0_mini_dota'}


@pytest.fixture
def build(checkout):
    def build(scope, change=lambda model: None):
        cfg = Config.fromfile(checkout / f'configs/{DETECTORS[scope]}.py')
        init_default_scope(scope)
        change(cfg.model)
        torch.manual_seed(0)
        return randomize_(MODELS.build(cfg.model)).eval()

    return build


@torch.no_grad()
def outputs(model, images):
    """What the boxes and masks of a detector are decoded from, for regions that are the same for every model."""
    feats = model.extract_feat(images)
    rois = torch.tensor([[0, 10.0, 8.0, 60.0, 90.0], [1, 30.0, 5.0, 41.0, 77.0], [1, 0.0, 0.0, 127.0, 95.0]])
    roi_head = model.roi_head
    if hasattr(roi_head, 'mask_head'):
        masks = roi_head._mask_forward(feats, rois=rois)['mask_preds']
    else:
        rois = torch.cat((rois, torch.tensor([[0.3], [-1.0], [2.0]])), 1)
        masks = None
    boxes = roi_head._bbox_forward(feats, rois)
    parts = [*model.rpn_head(feats), boxes['cls_score'], boxes['bbox_pred'], masks]
    return [part for group in parts if group is not None for part in (group if isinstance(group, list) else [group])]


def assert_same_outputs(fast, model, limit):
    images = torch.randn(2, 3, 96, 128)
    expected = outputs(model, images)
    found = outputs(fast, images)
    assert len(found) == len(expected) >= 12
    for ours, theirs in zip(found, expected):
        assert theirs.std() > 1e-3, 'nothing to compare'
        assert ours.dtype == torch.float32
        assert relative_error(ours, theirs) < limit


@pytest.mark.parametrize(('dtype', 'limit'), [('float32', 1e-4), ('bfloat16', 3e-2)])
@pytest.mark.parametrize('scope', DETECTORS)
def test_a_whole_detector_computes_the_same(build, scope, dtype, limit):
    model = build(scope)
    fast = optimize(model, dtype)
    for _ in range(2):  # the first images are computed in both ways
        assert_same_outputs(fast, model, limit)
    roi_head = fast.roi_head
    assert isinstance(roi_head.bbox_roi_extractor.forward.fast, RegionFeatures)
    for part in (fast.neck, fast.rpn_head, roi_head.bbox_head, getattr(roi_head, 'mask_head', fast.neck)):
        assert part.forward.is_checked
        kinds = {type(layer) for layer in part.forward.fast.modules()}
        assert PackedConv2d in kinds and not kinds & {nn.Conv2d, nn.Linear}
    assert PackedLinear in {type(layer) for layer in roi_head.bbox_head.forward.fast.modules()}
    assert not fast.backbone.restores, 'what is packed takes features as they are, without a copy'
    assert model.neck.forward.__func__ is type(model.neck).forward, 'the model that was given stays as it is'


def test_operators_that_would_misread_the_features_get_them_as_they_expect(build):
    def use_max(model):
        model.roi_head.bbox_roi_extractor.roi_layer.pool_mode = 'max'

    model = build('mmdet', use_max)
    fast = optimize(model)
    assert_same_outputs(fast, model, 1e-4)
    assert fast.roi_head.bbox_roi_extractor.forward.fast is None
    assert fast.neck.forward.fast is not None and fast.roi_head.bbox_head.forward.fast is not None


def test_a_detector_finds_the_same_objects(build):
    model = build('mmdet', lambda model: model.test_cfg.rcnn.update(score_thr=0.0))
    fast = optimize(model)
    data = dict(
        inputs=[torch.randint(0, 255, (3, 96, 128), dtype=torch.uint8)],
        data_samples=[DetDataSample(metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0)))],
    )
    expected, found = (network.test_step(copy.deepcopy(data))[0].pred_instances for network in (model, fast))
    assert len(found) == len(expected) > 10
    order, other = expected.bboxes.sum(1).argsort(), found.bboxes.sum(1).argsort()
    torch.testing.assert_close(found.bboxes[other], expected.bboxes[order], rtol=1e-3, atol=1e-2)
    assert (found.masks[other] != expected.masks[order]).float().mean() < 1e-3


def test_where_onednn_cannot_compute_torch_compiles(network, monkeypatch):
    monkeypatch.setattr(fusion, '_packs', lambda model: False)
    features_equal(optimize(network), network, torch.randn(1, 3, 64, 64), 1e-4)


def test_mistakes_are_told(network):
    with pytest.raises(ConfigError, match="dtype is 'float16'; choose one of float32, bfloat16"):
        optimize(network, 'float16')
    with pytest.raises(ConfigError, match='ReLU has no FasterNet'):
        optimize(nn.ReLU().eval())
    with pytest.raises(ConfigError, match='in training mode; call model.eval'):
        optimize(nn.Sequential(FasterNet(TINY, out_indices=(0, 2))))
    fast = optimize(network)
    with pytest.raises(ConfigError, match='cannot be trained'):
        fast.train()
    with pytest.raises(DataError, match='images of 40x12 pixels are smaller than the stride of the network, 16'):
        fast(torch.randn(1, 3, 12, 40))


def test_a_cpu_without_bfloat16_computes_in_float32(network, monkeypatch, warnings_):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx2=True))
    fast = optimize(network, 'bfloat16')
    assert fast.dtype == torch.float32
    [record] = warnings_
    assert record.levelname == 'WARNING'
    assert record.getMessage() == 'optimize: this CPU has no bfloat16 instructions; computing in float32'
