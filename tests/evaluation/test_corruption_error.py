"""mCE on worked examples, and what is told when a part of ImageNet-C is missing."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import ALEXNET
from mmengine.evaluator import Evaluator
from PIL import Image

from mmfasternet.datasets.imagenet.robustness import CORRUPTIONS, SEVERITIES
from mmfasternet.errors import ConfigError
from mmfasternet.evaluation import CorruptionError
from mmfasternet.evaluation.corruption_error import CorruptionErrors


def samples(errors, images=10):
    """What a model hands on that errs in a given share of the images of each corruption and severity."""
    return [
        dict(
            pred_score=torch.tensor([0.1, 0.7, 0.2] if index < round(share * images) else [0.6, 0.1, 0.3]),
            gt_label=torch.tensor([0]),
            corruption=corruption,
            severity=severity,
        )
        for (corruption, severity), share in errors.items()
        for index in range(images)
    ]


def evaluate(errors, metric=None, images=10):
    evaluator = Evaluator(metric or CorruptionError())
    found = samples(errors, images)
    evaluator.process(found)
    return evaluator.evaluate(len(found))


def everywhere(share):
    return {(corruption, severity): share for corruption in CORRUPTIONS for severity in SEVERITIES}


def test_alexnet_has_100():
    """A model with AlexNet's error at every severity."""
    errors = np.array([[100 * ALEXNET[corruption]] * 5 for corruption in CORRUPTIONS])
    report = CorruptionErrors(errors)
    assert report.mce == pytest.approx(100)
    assert report.ce.tolist() == pytest.approx([100] * 15)
    assert report.mce_by_severity.tolist() == pytest.approx([100] * 5)


def test_a_worked_example():
    """Noise: 10, 20, 30, 40, 50 % at the five severities; brightness 40 % throughout; no error elsewhere."""
    errors = everywhere(0)
    for severity in SEVERITIES:
        errors['gaussian_noise', severity] = severity / 10
        errors['brightness', severity] = 0.4
    metrics = evaluate(errors)
    noise, brightness = 30 / 0.886428, 40 / 0.564592
    assert metrics['imagenet_c/CE_gaussian_noise'] == pytest.approx(noise)
    assert metrics['imagenet_c/CE_brightness'] == pytest.approx(brightness)
    assert metrics['imagenet_c/CE_fog'] == 0
    assert metrics['imagenet_c/mCE'] == pytest.approx((noise + brightness) / 15)
    assert metrics['imagenet_c/mCE_severity_5'] == pytest.approx((50 / 0.886428 + brightness) / 15)


def test_the_mean_over_corruptions_is_of_ratios_not_of_errors():
    metrics = evaluate(everywhere(0.4))
    assert metrics['imagenet_c/mCE'] == pytest.approx(sum(40 / share for share in ALEXNET.values()) / 15)
    severities = [metrics[f'imagenet_c/mCE_severity_{severity}'] for severity in SEVERITIES]
    assert np.mean(severities) == pytest.approx(metrics['imagenet_c/mCE'])


def test_severities_count_alike_whatever_their_images():
    errors = everywhere(0)
    errors['fog', 1] = 1
    metric = CorruptionError()
    found = samples({cell: share for cell, share in errors.items() if cell != ('fog', 1)}) + samples(
        {('fog', 1): 1}, 30
    )
    metric.process(None, found)
    assert metric.evaluate(len(found))['imagenet_c/CE_fog'] == pytest.approx(20 / 0.819324)


@pytest.mark.parametrize(
    ('lost', 'named'),
    [
        ([('fog', severity) for severity in SEVERITIES], 'fog'),
        ([('snow', 2), ('snow', 4), ('pixelate', 5)], 'snow (severity 2, 4), pixelate (severity 5)'),
    ],
)
def test_what_is_missing_is_named_and_no_mce_told(lost, named, tmp_path):
    errors = {cell: share for cell, share in everywhere(0.5).items() if cell not in lost}
    metrics = evaluate(errors, CorruptionError(out_dir=tmp_path))
    touched = {corruption for corruption, _ in lost}
    assert 'imagenet_c/mCE' not in metrics
    assert {f'imagenet_c/CE_{name}' for name in CORRUPTIONS if name not in touched} <= metrics.keys()
    assert not any(f'imagenet_c/CE_{name}' in metrics for name in touched)
    # a severity that all corruptions have still counts
    whole = {severity for severity in SEVERITIES if severity not in {severity for _, severity in lost}}
    assert {f'imagenet_c/mCE_severity_{severity}' for severity in whole} <= metrics.keys()
    written = json.loads((tmp_path / 'corruption_error.json').read_text())
    assert written['mCE'] is None and written['missing'] == named
    assert CorruptionErrors(np.full((15, 5), 50.0)).missing == ''


def test_table_json_and_plot(tmp_path):
    errors = everywhere(0.25)
    errors['frost', 3] = 0.75
    metrics = evaluate(errors, CorruptionError(out_dir=tmp_path), images=4)
    written = json.loads((tmp_path / 'corruption_error.json').read_text())
    assert written['mCE'] == pytest.approx(metrics['imagenet_c/mCE']) and written['missing'] == ''
    assert set(written['corruptions']) == set(CORRUPTIONS)
    frost = written['corruptions']['frost']
    assert frost['error by severity'] == {'1': 25, '2': 25, '3': 75, '4': 25, '5': 25}
    assert frost['CE'] == pytest.approx(35 / 0.826572) and frost['AlexNet'] == pytest.approx(82.6572)
    with Image.open(tmp_path / 'corruption_error.png') as picture:
        picture.load()
        assert picture.width > 3 * picture.height / 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ['corruption_error.json', 'corruption_error.png']
    table = CorruptionErrors(np.array([[10.0, 20, math.nan, 40, 50]] * 15)).table()
    (line,) = [line for line in table.splitlines() if 'fog' in line]
    assert [cell.strip() for cell in line.split('|')[1:-1]] == [
        'fog',
        '10.0',
        '20.0',
        '–',
        '40.0',
        '50.0',
        '–',
        '81.9',
        '–',
    ]


def test_samples_that_do_not_tell_their_corruption():
    with pytest.raises(ConfigError, match=r'lack their corruption and severity; test on an ImageNetC'):
        CorruptionError().process(None, [dict(pred_score=torch.rand(3), gt_label=torch.tensor([0]))])
