"""Each command from end to end, at the smallest sizes; nothing here asserts how fast anything is."""

import subprocess
import sys

import pytest
import torch
from mmengine.structures import InstanceData

from benchmarks import run
from benchmarks.comparison import Comparison
from benchmarks.detectors import DETECTORS, STOCK, Detector, agreement
from mmfasternet.errors import ConfigError

pytestmark = pytest.mark.slow

TINY = dict(size=(64, 64), rounds=2)


def test_backbones(tmp_path):
    comparison = run('backbones', archs=['t0'], baselines=[], modes=['eager'], out=tmp_path, **TINY)
    assert [(r.name, r.mode) for r in comparison.results] == [
        ('FasterNet-T0', 'timm'),
        ('FasterNet-T0', 'eager'),
    ]
    ours = comparison.results[1]
    assert ours.images == '1x64x64' and len(ours.times) == 2 and ours.difference < 1e-4 and ours.flops > 10**6
    assert all(row['of conv. peak'] and row['times as fast'] for row in comparison.rows()[1:2])
    assert Comparison.read(tmp_path / 'backbones.json').results == comparison.results
    assert sorted(path.name for path in tmp_path.iterdir()) == ['backbones.json', 'backbones.md', 'backbones.png']


def test_training(tmp_path):
    modes = ('timm', 'ours, checkpointing')
    comparison = run('training', arch='t0', modes=modes, out=tmp_path, **TINY)
    assert [result.mode for result in comparison.results] == list(modes)
    # gradients are timm's, in float32 to rounding
    assert comparison.results[1].difference < 1e-4
    assert all(row['times as fast'] for row in comparison.rows()[1:])


def test_growth(tmp_path):
    comparison = run('growth', arch='t0', sides=(64, 128), numbers=(1, 3), modes=['eager'], rounds=2, out=tmp_path)
    assert [result.images for result in comparison.results] == ['1x64x64', '1x128x128', '1x64x64', '3x64x64']
    assert len(comparison.remarks) == 2 and (tmp_path / 'growth.png').stat().st_size > 10_000


def test_detectors(tmp_path):
    options = dict(detectors=['oriented_rcnn'], arch='t0', size=(128, 192), rounds=1, modes=[])
    comparison = run('detectors', out=tmp_path, **options)
    assert [(result.mode, result.images) for result in comparison.results] == [('stock', '1x128x192')]
    assert comparison.results[0].memory > 10**7
    assert Comparison.read(tmp_path / 'detectors.json').remarks == comparison.remarks


@pytest.mark.parametrize('detector', DETECTORS)
def test_random_weights_let_as_many_boxes_pass_as_trained_ones(detector):
    found, again = (Detector(detector, mode, 192, 256, arch='t0').build()() for mode in (STOCK, 'eager'))
    assert agreement(again, found) == 1, 'the same weights find other boxes'
    assert 50 <= len(found) <= 2000
    assert len(found.labels.unique()) > 5 and found.scores.std() > 0.01


def test_agreement_by_hand():
    boxes = torch.tensor([[0.0, 0, 100, 100], [200, 200, 300, 300], [0, 0, 100, 100], [0, 0, 10, 10]])
    expected = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1, 2, 3]), scores=torch.full((4,), 0.5))
    assert agreement(expected, expected) == 1
    moved, other, doubtful = boxes.clone(), expected.labels.clone(), expected.scores.clone()
    moved[0, 0] += 20  # an overlap of 0.8
    other[1] = 7
    doubtful[2] = 0.4
    assert agreement(InstanceData(bboxes=moved, labels=other, scores=doubtful), expected) == 0.25
    assert agreement(expected[:2], expected) == 0.5
    rotated = InstanceData(
        bboxes=torch.tensor([[50.0, 50, 80, 20, 0.3]]), labels=torch.tensor([0]), scores=torch.ones(1)
    )
    turned = InstanceData(
        bboxes=rotated.bboxes + torch.tensor([0, 0, 0, 0, 0.5]), labels=rotated.labels, scores=rotated.scores
    )
    assert agreement(rotated, rotated) == 1 and agreement(turned, rotated) == 0


def test_a_checkpoint_is_of_one_detector():
    with pytest.raises(ConfigError, match='--checkpoint is of one detector'):
        run('detectors', checkpoint='epoch_12.pth')


@pytest.mark.parametrize(
    'options, message',
    [
        (['backbones', '--archs', 'xl'], "invalid choice: 'xl'"),
        (['backbones', '--size', '224x224x3'], "invalid size value: '224x224x3'"),
        (['growth', '--rounds', '0'], "invalid count value: '0'"),
        (['training', '--device', 'cuda:99'], 'error: device cuda:99 cannot be used: '),
    ],
)
def test_mistakes_are_reported(options, message, checkout):
    command = [sys.executable, 'tools/benchmark.py', *options]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and message in done.stderr and 'Traceback' not in done.stderr
