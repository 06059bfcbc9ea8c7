"""Importing the package, and what it does besides its tools, changes nothing that belongs to others."""

import gc
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, as_released
from mmengine.runner import CheckpointLoader
from PIL import Image
from safetensors.torch import save_file

from mmfasternet.checkpoints.mmengine_schemes import safe_loaders
from mmfasternet.datasets.dota.tiles import read_image
from mmfasternet.datasets.image_files import image_sizes, read_size
from mmfasternet.engine.input_images import ImageReader
from mmfasternet.memory import objects_frozen
from mmfasternet.models import FasterNet

SNAPSHOTS = """
import argparse, gc, logging, signal, sys, threading, warnings
import cv2, matplotlib, torch, torchvision, mmengine.hooks, mmengine.registry, mmengine.runner, mmengine.visualization
import mmcv, mmdet.registry, mmpretrain.registry, mmrotate.registry
from mmengine.config import Config
from mmengine.fileio import backends
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import CheckpointLoader
from PIL import Image, ImageFile


def registries():
    found = {}
    remaining = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    while remaining:
        registry = remaining.pop()
        remaining += registry.children.values()
        found[registry.scope, registry.name] = registry
    assert len({scope for scope, _ in found}) == 4
    return found


def snapshot():
    state = {
        'torch.load': torch.load,
        'safe globals': sorted(map(str, torch.serialization.get_safe_globals())),
        'sys.excepthook': sys.excepthook,
        'threading.excepthook': threading.excepthook,
        'signals': {number: signal.getsignal(number) for number in signal.valid_signals()},
        'PIL': (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.open),
        'gc': (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), len(gc.callbacks)),
        'default scope': DefaultScope.get_current_instance(),
        'default backends': dict(backends.registry_utils.prefix_to_backends),
        'threads': (torch.get_num_threads(), cv2.getNumThreads()),
        'schemes': CheckpointLoader._schemes,
        'warnings': list(warnings.filters),
    }
    state |= {('scheme', prefix): loader for prefix, loader in CheckpointLoader._schemes.items()}
    for key, registry in registries().items():
        state[key] = registry
        for name, kind in registry.module_dict.items():
            if not kind.__module__.startswith('mmfasternet.'):
                state[key, name] = kind
    for name, logger in [('', logging.root), *logging.root.manager.loggerDict.items()]:
        if isinstance(logger, logging.Logger):
            state['logger', name] = (list(logger.handlers), list(logger.filters), logger.propagate)
    return state


def compare(before, what):
    after = snapshot()
    assert after.keys() >= before.keys(), (what, before.keys() - after.keys())
    for key, value in after.items():
        if key not in before:
            assert key[0] == 'logger' and not value[0], (what, 'new', key, value)
        else:
            assert value is before[key] or value == before[key], (what, key, before[key], value)


torch.save({'args': argparse.Namespace(lr=1), 'w': torch.ones(1)}, sys.argv[2])
stock = CheckpointLoader.load_checkpoint(sys.argv[2])
before = snapshot()
import mmfasternet
compare(before, 'import')
own = [name for registry in registries().values() for name, kind in registry.module_dict.items()
       if kind.__module__.startswith('mmfasternet.')]
assert 'FasterNet' in own
config = Config.fromfile(sys.argv[1])
assert config.custom_imports['imports'] == ['mmfasternet']
compare(before, 'custom_imports')
assert CheckpointLoader.load_checkpoint(sys.argv[2]) == stock and isinstance(stock['args'], argparse.Namespace)
import mmfasternet.safe_loading
assert repr(CheckpointLoader.load_checkpoint(sys.argv[2])['args']) == '<argparse.Namespace, not read>'
"""


def test_the_import_changes_nothing(tmp_path):
    """Nor does the ``custom_imports`` of a config; only ``mmfasternet.safe_loading`` replaces MMEngine's loaders."""
    config = ROOT / 'configs/mask_rcnn_fasternet_s_coco.py'
    command = [sys.executable, '-c', SNAPSHOTS, str(config), str(tmp_path / 'file.pth')]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


class Fails:
    """Fails when it is read by MMEngine, which calls what a file says."""

    def __reduce__(self):
        return int, ('not a number',)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_backbone_reads_its_own_file_safely(suffix, timm_file, tmp_path):
    """With MMEngine's own loaders, as in the tools of other libraries."""
    path = (tmp_path / 'file').with_suffix(suffix)
    if suffix == '.pth':
        torch.save({'args': Fails(), 'state_dict': timm_file}, path)
        with pytest.raises(ValueError, match='not a number'):
            CheckpointLoader.load_checkpoint(str(path))
    else:
        save_file(timm_file, path)
    schemes, loaders = CheckpointLoader._schemes, dict(CheckpointLoader._schemes)
    assert all(loader.__module__.startswith('mmengine') for loader in loaders.values())
    model = FasterNet('t0', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    expected = as_released(timm_file)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items() if name in expected)
    assert CheckpointLoader._schemes is schemes and dict(schemes) == loaders


def test_the_loaders_come_back_after_an_error():
    schemes = CheckpointLoader._schemes
    with pytest.raises(KeyError), safe_loaders():
        assert CheckpointLoader._schemes is not schemes
        raise KeyError
    assert CheckpointLoader._schemes is schemes


def test_large_images_are_read_and_the_limit_comes_back(tmp_path, monkeypatch):
    paths = [tmp_path / f'{number}.png' for number in range(100)]
    for path in paths:
        Image.new('RGB', (30, 20)).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(paths[0])
    assert list(image_sizes(paths, '')) == [(30, 20)] * 100
    assert read_size(paths[0], decode=True) == (30, 20)
    assert read_image(paths[0]).size == (30, 20)
    assert ImageReader(dict(type='LoadImageFromFile'))(paths[0]).shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_frozen_objects_are_collected_again():
    with objects_frozen():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
