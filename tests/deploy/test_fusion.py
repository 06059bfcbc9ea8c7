"""Optimized networks against the ones that they were made from, and the real compiler."""

import copy

import pytest
import torch
from conftest import randomize_
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmfasternet import FasterNet
from mmfasternet.deploy import OptimizedFasterNet, fusion, optimize
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


@pytest.mark.parametrize(('dtype', 'limit'), [('float32', 1e-4), ('bfloat16', 1e-2)])
def test_features_stay_for_every_size(network, dtype, limit):
    before = copy.deepcopy(network.state_dict())
    fast = optimize(network, dtype)
    assert fast.dtype == fusion.DTYPES[dtype]
    for shape in ((1, 3, 64, 64), (2, 3, 96, 48), (1, 3, 37, 51)):
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
    ],
)
def test_all_settings_of_the_backbone(settings, monkeypatch):
    monkeypatch.setattr(fusion, '_can_compile', lambda network: False)
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


def test_a_detector_sees_the_same_in_its_regions(checkout, monkeypatch):
    monkeypatch.setattr(fusion, '_can_compile', lambda network: False)
    cfg = Config.fromfile(checkout / 'configs/mask_rcnn_fasternet_t0_mini_coco.py')
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = randomize_(MODELS.build(cfg.model)).eval()
    images, rois = torch.randn(2, 3, 96, 128), torch.tensor([[0, 10.0, 8.0, 60.0, 90.0], [1, 30.0, 5.0, 41.0, 77.0]])
    with torch.no_grad():
        expected, found = (
            network.roi_head.bbox_roi_extractor(network.extract_feat(images)[:4], rois)
            for network in (model, optimize(model))
        )
    assert expected.std() > 1e-2, 'nothing to compare'
    assert relative_error(found, expected) < 1e-4


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
    with pytest.raises(DataError, match='images of 40x12 pixels are smaller than the stride of the last stage, 16'):
        fast(torch.randn(1, 3, 12, 40))


def test_a_cpu_without_bfloat16_computes_in_float32(network, monkeypatch, warnings_):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx2=True))
    fast = optimize(network, 'bfloat16')
    assert fast.dtype == torch.float32
    [record] = warnings_
    assert record.levelname == 'WARNING'
    assert record.getMessage() == 'optimize: this CPU has no bfloat16 instructions; computing in float32'


def test_without_a_compiler_the_numbers_stay(network, monkeypatch, warnings_):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    fast = optimize(network)
    [record] = warnings_
    assert record.levelname == 'WARNING'
    assert 'no-such-compiler is not there' in record.getMessage()
    features_equal(fast, network, torch.randn(1, 3, 64, 64), 1e-4)
