"""Honest files whose extras only their own libraries could build: their weights load."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import itertools
import pathlib
import random
import re
import sys
import types

import numpy as np
import pytest
import torch
from hostile import save
from mmengine.logging import HistoryBuffer
from torch import nn

from mmfasternet.checkpoints import names_not_read, read_checkpoint
from mmfasternet.errors import CheckpointError
from mmfasternet.training import ExactResumeHook


class Precision(enum.Enum):
    HALF = 'half'


@dataclasses.dataclass
class Recipe:
    lr: float = 0.1


class AveragedModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Conv2d(1, 1, 1)
        self.register_load_state_dict_post_hook(warn)


def warn(*args):
    pass


def library(name, **kinds):
    """Make a library of classes, which is not installed when the file is read."""
    module = types.ModuleType(name)
    for kind, base in kinds.items():
        setattr(module, kind, type(kind, (base,), {'__module__': name}))
    for parent in itertools.accumulate(name.split('.'), '{}.{}'.format):
        sys.modules.setdefault(parent, types.ModuleType(parent))
    sys.modules[name] = module
    return module


def lightning():
    parsing = library('lightning_fabric.utilities.data', AttributeDict=dict, ModelCheckpoint=object)
    hyper_parameters = parsing.AttributeDict(lr=0.1, optimizer=functools.partial(torch.optim.SGD, lr=0.1))
    return {
        'epoch': 3,
        'pytorch-lightning_version': '2.4.0',
        'hyper_parameters': hyper_parameters,
        'callbacks': {parsing.ModelCheckpoint: {'best_model_path': pathlib.Path('best.ckpt')}},
        'loops': {'fit_loop': {'state_dict': {}}},
    }


def ultralytics():
    tasks = library('ultralytics.nn.tasks', DetectionModel=AveragedModel)
    args = library('ultralytics.utils', IterableSimpleNamespace=types.SimpleNamespace).IterableSimpleNamespace(
        imgsz=640
    )
    return {'ema': tasks.DetectionModel(), 'train_args': args, 'date': datetime.datetime.now(), 'updates': 3}


def omegaconf():
    nodes = library('omegaconf.dictconfig', DictConfig=object, AnyNode=object)
    config, node = nodes.DictConfig(), nodes.AnyNode()
    config.__dict__.update(_content={'lr': node}, _parent=None)
    node.__dict__.update(_val=0.1, _parent=config)
    return {'hyper_parameters': config}


def not_installed():
    module = library('nowhere.recipes', Recipe=list, Key=object)
    return {'recipe': module.Recipe([1, torch.ones(1)]), 'steps': {module.Key(): [module.Recipe]}}


KINDS = {
    'argparse.Namespace': lambda: {'args': argparse.Namespace(lr=0.1, output_dir=pathlib.Path('out'))},
    'datetime.datetime': lambda: {'date': datetime.datetime.now(), 'took': datetime.timedelta(1)},
    'pathlib.PosixPath': lambda: {'path': pathlib.PosixPath('a/b'), pathlib.PosixPath('c'): 1},
    'functools.partial': lambda: {'norm': functools.partial(nn.LayerNorm, eps=1e-6)},
    'test_odd_files.Precision': lambda: {'precision': Precision.HALF},
    'test_odd_files.Recipe': lambda: {'recipe': Recipe()},
    'test_odd_files.warn': lambda: {'hook': warn},
    'collections.defaultdict': lambda: {'scores': collections.defaultdict(list, a=[1]), 'last': collections.deque([1])},
    'decimal.Decimal': lambda: {'score': decimal.Decimal('0.1')},
    're._compile': lambda: {'pattern': re.compile('a+')},
    'random.Random': lambda: {'random': random.Random(1), 'state': random.getstate()},
    'numpy.dtype': lambda: {
        'date': np.datetime64('2024-01-01'),
        'rows': np.zeros(2, [('a', 'i4')]),
        'is': np.dtype('O'),
    },
    'builtins.bytearray': lambda: {'data': bytearray(b'abc'), 'number': 1j, 'range': range(3), 'slice': slice(1)},
    'torch._utils._rebuild_sparse_tensor': lambda: {'sparse': torch.eye(3).to_sparse()},
    'torch._utils._rebuild_qtensor': lambda: {'int8': torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
    'torch.optim.sgd.SGD': lambda: {'optimizer': torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)},
    'test_odd_files.AveragedModel': lambda: {'ema': AveragedModel()},
    'lightning_fabric.utilities.data.ModelCheckpoint': lightning,
    'ultralytics.nn.tasks.DetectionModel': ultralytics,
    'omegaconf.dictconfig.DictConfig': omegaconf,
    'nowhere.recipes.Recipe': not_installed,
}


def make_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    weights = model.state_dict(keep_vars=True)
    weights.update(half=torch.rand(3).bfloat16(), view=torch.rand(4, 6)[1:, ::2], empty=torch.empty(0, 3))
    weights['expanded'] = torch.rand(1).expand(2, 1000)
    weights['tied'] = weights['view']
    return weights


@pytest.mark.parametrize('file_format', ['zip', 'legacy'])
@pytest.mark.parametrize('kind', KINDS)
def test_the_weights_load(kind, file_format, tmp_path):
    path = save({**KINDS[kind](), 'state_dict': make_weights()}, tmp_path / 'file.pth', file_format)
    expected = torch.load(path, weights_only=False)
    for name in list(sys.modules):
        if name.startswith(('lightning_fabric', 'ultralytics', 'omegaconf', 'nowhere')):
            del sys.modules[name]
    content = read_checkpoint(path)
    assert kind in names_not_read(content) or kind == 'numpy.dtype' and '<numpy.dtype, not read>' in repr(content)
    assert len(content) == len(expected)
    weights = content['state_dict']
    assert list(weights) == list(expected['state_dict'])
    assert weights._metadata == expected['state_dict']._metadata
    for name, value in expected['state_dict'].items():
        found = weights[name]
        assert type(found) is type(value) and found.dtype == value.dtype and found.stride() == value.stride()
        assert torch.equal(found, value), name
    assert weights['tied'].data_ptr() == weights['view'].data_ptr()


def test_a_state_with_such_extras_is_not_resumed(tmp_path):
    class Runner:
        _load_from = 'epoch_3.pth'
        _resume = False

    torch.save(
        {'meta': {'args': argparse.Namespace()}, 'message_hub': {'a': HistoryBuffer([1.0], [1])}}, tmp_path / 'a'
    )
    torch.save({'message_hub': {'runtime_info': {'start': datetime.datetime.now()}}}, tmp_path / 'b')
    contents = [read_checkpoint(tmp_path / name) for name in 'ab']
    for content in contents:
        ExactResumeHook().after_load_checkpoint(Runner, content)
    Runner._resume = True
    ExactResumeHook().after_load_checkpoint(Runner, contents[0])
    with pytest.raises(CheckpointError, match='epoch_3.pth: its training state needs datetime.datetime, .*load_from'):
        ExactResumeHook().after_load_checkpoint(Runner, contents[1])
