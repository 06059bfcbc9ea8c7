"""The export command, run as a user runs it."""

import errno
import os
from argparse import Namespace

import onnx
import pytest
import torch
from conftest import as_released, make_timm
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmfasternet.engine.export import export
from mmfasternet.errors import ConfigError

pytestmark = pytest.mark.slow

DETECTOR = 'configs/mask_rcnn_fasternet_t0_mini_coco.py'
CLASSIFIER = 'configs/fasternet_t0_imagenet.py'


@pytest.fixture
def detector(checkout):
    cfg = Config.fromfile(checkout / DETECTOR)
    init_default_scope(cfg.default_scope)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), checkout / 'detector.pth')
    return 'detector.pth'


def test_a_detector_to_openvino(run_tool, checkout, detector):
    done = run_tool('tools/export.py', DETECTOR, detector, '--format', 'openvino')
    assert done.returncode == 0, done.stderr[-2000:]
    path = 'work_dirs/mask_rcnn_fasternet_t0_mini_coco/mask_rcnn_fasternet_t0_mini_coco.xml'
    first, inputs, outputs, difference = done.stdout.splitlines()[-4:]
    assert first == f'{path}: {first.split()[1]} MB, FasterNet + FPN'
    assert inputs == '  inputs: images (N, 3, H, W)'
    assert outputs.startswith('  outputs: features0 (N, 64, H/4, W/4), ')
    assert outputs.endswith('features4 (N, 64, H/64, W/64)')
    assert float(difference.split()[-1]) < 1e-4
    assert (checkout / path).is_file() and (checkout / path).with_suffix('.bin').is_file()


def test_a_classifier_of_the_authors_to_onnx(run_tool, checkout):
    torch.save(as_released(make_timm('t0').state_dict()), checkout / 'released.pth')
    done = run_tool('tools/export.py', CLASSIFIER, 'released.pth', '--format', 'onnx', '--out', 'a/t0.onnx')
    assert done.returncode == 0, done.stderr[-2000:]
    assert '  outputs: logits (N, 1000)\n' in done.stdout
    metadata = {entry.key: entry.value for entry in onnx.load(checkout / 'a/t0.onnx').metadata_props}
    assert metadata['config'] == 'fasternet_t0_imagenet'
    assert (metadata['channels'], metadata['mean']) == ('RGB', '[123.675, 116.28, 103.53]')


def test_mistakes_are_one_line(run_tool, detector):
    for arguments, message in (
        (
            (detector, '--format', 'onnx', '--out', 'a.xml'),
            'error: export: a.xml has the wrong suffix for format onnx;',
        ),
        (('gone.pth', '--format', 'onnx'), 'error: checkpoint: gone.pth does not exist'),
    ):
        done = run_tool('tools/export.py', DETECTOR, *arguments)
        assert done.returncode == 2
        assert [line for line in done.stderr.splitlines() if line.startswith(message)]
        assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('out', 'message'),
    [
        ('file/a.onnx', 'cannot be written: .*file exists and is not a folder'),
        ('folder.onnx', 'folder.onnx is a folder; expected a file'),
        ('a.xml', 'a.xml has the wrong suffix for format onnx; expected .onnx'),
    ],
)
def test_where_it_writes_is_checked_before_the_model_is_loaded(checkout, monkeypatch, out, message):
    monkeypatch.chdir(checkout)
    (checkout / 'file').touch()
    (checkout / 'folder.onnx').mkdir()
    arguments = Namespace(config=DETECTOR, checkpoint='gone.pth', format='onnx', out=out, backbone_only=False)
    with pytest.raises(ConfigError, match=message):
        export(arguments)


def test_home_and_a_disk_that_fills_up(checkout, detector, monkeypatch):
    def fill(*arguments, **settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(checkout)
    monkeypatch.setenv('HOME', str(checkout))
    arguments = Namespace(
        config=DETECTOR, checkpoint=detector, format='torch-export', out='~/a.pt2', backbone_only=True
    )
    assert export(arguments).path == checkout / 'a.pt2'
    monkeypatch.setattr(torch.export, 'save', fill)
    with pytest.raises(ConfigError, match='^--out .*a.pt2 cannot be written: No space left on device; make room'):
        export(arguments)
