import pytest
import torch

from benchmarks import contenders
from benchmarks.contenders import BASELINE, MODES, NETWORKS, RIVALS, Contender, check_equal, count_flops
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


def test_all_variants_and_the_papers_rivals_are_there():
    assert {name.removeprefix('fasternet_') for name in NETWORKS if name not in RIVALS} == set(ARCHITECTURES)
    assert {NETWORKS[name].family for name in RIVALS} == {'MobileViT', 'ResNet', 'Swin', 'ConvNeXt'}
    assert NETWORKS['fasternet_t0'].top1 - NETWORKS['mobilevit_xxs'].top1 == pytest.approx(2.9)


@pytest.mark.parametrize('name', [name for name in NETWORKS if not name.endswith(('_base', 'base_patch4_window7_224'))])
def test_every_name_builds(name):
    features = Contender(name, height=64, width=96, batch=2).build()()
    assert features[-1].shape[0] == 2 and features[-1].shape[-2:] == (2, 3)
    assert len(features) >= 4 and all(feature.isfinite().all() for feature in features)


@pytest.mark.parametrize('mode', [mode for mode in MODES if 'optimize' not in mode])
def test_features_are_those_of_timm(mode):
    contender = Contender('fasternet_t0', mode, 64, 96)
    expected = contender._replace(mode=BASELINE).build()()
    assert all(feature.abs().mean() > 1e-3 for feature in expected), 'nothing to compare'
    found = contender.build()()
    if contender.dtype == 'float32':
        torch.testing.assert_close(found, tuple(expected), rtol=1e-4, atol=1e-4)
    assert check_equal(contender, found, expected) < (1e-4 if contender.dtype == 'float32' else 5e-2)


def test_another_computation_is_no_contender():
    contender = Contender('fasternet_t0', 'eager')
    expected = [torch.ones(4), torch.ones(4)]
    assert check_equal(contender, expected, expected) == 0
    with pytest.raises(RuntimeError, match='fasternet_t0, eager: features differ from those of timm by 2.0e-01'):
        check_equal(contender, [torch.ones(4), torch.full((4,), 1.2)], expected)
    with pytest.raises(RuntimeError, match='nan'):
        check_equal(contender, [torch.full((4,), torch.nan)] * 2, expected)


@pytest.mark.parametrize('name', PUBLISHED)
def test_operations_are_the_published_ones(name):
    # the backbone lacks the classifier's head, some per cent of the smallest network
    gigamacs = count_flops(Contender(name)) / 2e9
    assert 0.95 * PUBLISHED[name] < gigamacs < 1.02 * PUBLISHED[name]


def test_attention_is_counted():
    tokens_and_maps = count_flops(Contender('mobilevit_xxs', height=256, width=256)) / 2e9
    assert tokens_and_maps > 0.38  # 0.33 without the attention's two products
    assert count_flops(Contender('fasternet_t0', batch=3)) == 3 * count_flops(Contender('fasternet_t0', 'eager'))


def test_mistakes_are_told(monkeypatch):
    with pytest.raises(ConfigError, match="unknown network 'fasternet_xl'; choose from fasternet_t0, fasternet_t1"):
        Contender('fasternet_xl').build()
    with pytest.raises(ConfigError, match="resnet50 in mode 'eager'; choose a FasterNet and one of eager, optimize"):
        Contender('resnet50', 'eager').build()
    monkeypatch.setitem(__import__('sys').modules, 'timm', None)
    with pytest.raises(DependencyError, match="timm's networks; pip install timm"):
        Contender('resnet50').build()


def test_modes_without_their_library_are_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(contenders, 'find_spec', lambda name: None if name == 'openvino' else object())
    assert contenders.usable_modes('cpu') == ['eager', 'optimize float32', 'optimize bfloat16', 'onnxruntime float32']
    assert contenders.usable_modes('cuda') == ['eager', 'optimize float32', 'optimize bfloat16']
