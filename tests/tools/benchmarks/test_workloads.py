import pytest
import torch

from benchmarks import workloads
from benchmarks.networks import NETWORKS, PAPER_BASELINES
from benchmarks.workloads import INFERENCE_MODES, Backbone
from mmfasternet.errors import ConfigError, DependencyError
from mmfasternet.models import ARCHITECTURES

#: Multiply-adds of whole classifiers as their papers have them, in 10^9.
PUBLISHED = {
    'fasternet_t0': 0.34,
    'fasternet_s': 4.55,
    'resnet50': 4.1,
    'swin_tiny_patch4_window7_224': 4.5,
    'convnext_tiny': 4.5,
}


def test_networks_are_all_variants_and_the_papers_baselines():
    assert {name.removeprefix('fasternet_') for name in NETWORKS if name not in PAPER_BASELINES} == set(ARCHITECTURES)
    assert {NETWORKS[name].family for name in PAPER_BASELINES} == {'MobileViT', 'ResNet', 'Swin', 'ConvNeXt'}
    assert NETWORKS['fasternet_t0'].top1 - NETWORKS['mobilevit_xxs'].top1 == pytest.approx(2.9)


@pytest.mark.parametrize('name', [name for name in NETWORKS if not name.endswith(('_base', 'base_patch4_window7_224'))])
def test_every_name_builds(name):
    features = Backbone(name, height=64, width=96, batch=2).build()()
    assert features[-1].shape[0] == 2 and features[-1].shape[-2:] == (2, 3)
    assert len(features) >= 4 and all(feature.isfinite().all() for feature in features)


@pytest.mark.parametrize('mode', [mode for mode in INFERENCE_MODES if 'optimize' not in mode])
def test_features_are_those_of_timm(mode):
    workload = Backbone('fasternet_t0', mode, 64, 96)
    expected = Backbone('fasternet_t0', height=64, width=96).build()()
    assert all(feature.abs().mean() > 1e-3 for feature in expected), 'nothing to compare'
    found = workload.build()()
    if workload.dtype == 'float32':
        torch.testing.assert_close(found, tuple(expected), rtol=1e-4, atol=1e-4)
    assert workload.difference(found, expected) < (1e-4 if workload.dtype == 'float32' else 5e-2)


def test_another_computation_is_not_timed():
    workload = Backbone('fasternet_t0', 'eager')
    expected = [torch.ones(4), torch.ones(4)]
    assert workload.difference(expected, expected) == 0
    with pytest.raises(RuntimeError, match='fasternet_t0, eager: features differ from those of timm by 2.0e-01'):
        workload.difference([torch.ones(4), torch.full((4,), 1.2)], expected)
    with pytest.raises(RuntimeError, match='nan'):
        workload.difference([torch.full((4,), torch.nan)] * 2, expected)


@pytest.mark.parametrize('name', PUBLISHED)
def test_operations_are_the_published_ones(name):
    # the backbone lacks the classifier's head, some per cent of the smallest network
    gigamacs = Backbone(name).flops / 2e9
    assert 0.95 * PUBLISHED[name] < gigamacs < 1.02 * PUBLISHED[name]


def test_attention_is_counted():
    tokens_and_maps = Backbone('mobilevit_xxs', height=256, width=256).flops / 2e9
    assert tokens_and_maps > 0.38  # 0.33 without the attention's two products
    assert Backbone('fasternet_t0', batch=3).flops == 3 * Backbone('fasternet_t0', 'eager').flops


def test_mistakes_in_workloads_are_reported(monkeypatch):
    with pytest.raises(ConfigError, match="unknown network 'fasternet_xl'; choose from fasternet_t0, fasternet_t1"):
        Backbone('fasternet_xl').build()
    with pytest.raises(ConfigError, match="resnet50 in mode 'eager'; choose a FasterNet and one of eager, optimize"):
        Backbone('resnet50', 'eager').build()
    monkeypatch.setitem(__import__('sys').modules, 'timm', None)
    with pytest.raises(DependencyError, match="timm's networks; pip install timm"):
        Backbone('resnet50').build()


def test_modes_without_their_library_are_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(workloads, 'find_spec', lambda name: None if name == 'openvino' else object())
    assert workloads.usable_modes('cpu') == ['eager', 'optimize float32', 'optimize bfloat16', 'onnxruntime float32']
    assert workloads.usable_modes('cuda') == ['eager', 'optimize float32', 'optimize bfloat16']
