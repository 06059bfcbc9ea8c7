"""The zoo names every config, and what it says of each is so."""

import re
import zipfile

import modelindex
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch.utils.flop_counter import FlopCounterMode

pytestmark = pytest.mark.slow

#: MACs at 224² that the paper gives for the classifiers, in G.
PAPER = dict(t0=0.338, t1=0.855, t2=1.911, s=4.560, m=8.742, l=15.521)
#: What is quoted: top-1, and AP of boxes and masks.
TOP1 = dict(t0=71.9, t1=76.2, t2=78.9, s=81.3, m=83.0, l=83.5)
AP = dict(s=(39.9, 36.9), m=(43.0, 39.1), l=(44.0, 39.9))
ZOO = modelindex.load(str(ROOT / 'model-index.yml'))
ZOO.build_models_with_collections()
ENTRIES = {model.name: model for model in ZOO.models}


def test_every_config_has_an_entry_and_every_entry_a_config():
    configs = {path.stem for path in (ROOT / 'configs').glob('*.py')}
    others = {name for name in configs if '_mini_' in name or re.search(r'_imagenet_[cr]$', name)}
    assert set(ENTRIES) == configs - others
    for name, entry in ENTRIES.items():
        assert (ROOT / entry.config).stem == name
        assert entry.in_collection == 'FasterNet' and entry.metadata.training_data


@pytest.mark.parametrize('name', ENTRIES)
def test_parameters_and_multiply_adds_are_as_counted(name):
    entry = ENTRIES[name]
    cfg = Config.fromfile(ROOT / entry.config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    metadata = entry.metadata.data
    assert metadata['Parameters'] == sum(parameter.numel() for parameter in model.parameters())
    if cfg.default_scope == 'mmpretrain':
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.rand(1, 3, 224, 224), mode='tensor')
        assert metadata['FLOPs'] == counter.get_total_flops() / 2
        # the paper counts norms and activations too
        assert metadata['FLOPs'] / 1e9 == pytest.approx(PAPER[cfg.model.backbone.arch], rel=0.01)
    else:
        assert metadata['Epochs'] == cfg.train_cfg.max_epochs


def test_weights_and_quoted_results():
    releases = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/'
    with_weights = {name for name, entry in ENTRIES.items() if entry.weights}
    assert with_weights == {f'fasternet_{arch}_imagenet' for arch in TOP1} | {
        f'mask_rcnn_fasternet_{arch}_coco' for arch in AP
    }
    for name in with_weights:
        entry = ENTRIES[name]
        arch = re.search(r'fasternet_(\w+?)_', name)[1]
        metrics = {key: value for result in entry.results for key, value in result.metrics.items()}
        if 'imagenet' in name:
            assert metrics == {'Top 1 Accuracy': TOP1[arch]}
            # the detectors start from the same file
            detector = Config.fromfile(ROOT / f'configs/mask_rcnn_fasternet_{arch}_coco.py')
            assert entry.weights == detector.model.backbone.init_cfg.checkpoint
            # the file's own name gives the accuracy too
            assert float(re.search(r'acc1\.([\d.]+)\.pth', entry.weights)[1]) == pytest.approx(TOP1[arch], abs=0.06)
        else:
            assert metrics == dict(zip(('box AP', 'mask AP'), AP[arch]))
            assert entry.weights.startswith(f'{releases}mask_rcnn_fasternet_{arch}_fpn_1x_coco_')
    assert all(not entry.results for name, entry in ENTRIES.items() if name not in with_weights)


def test_the_zoo_travels_where_mim_looks(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    index = modelindex.load(str(tmp_path / 'mmfasternet/.mim/model-index.yml'))
    index.build_models_with_collections()
    assert {model.name for model in index.models} == set(ENTRIES)
    for model in index.models:
        assert (tmp_path / 'mmfasternet/.mim' / model.config).is_file()
