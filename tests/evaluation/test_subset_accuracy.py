"""Only the classes that the data set has take part in the arg max."""

import pytest
import torch

from mmfasternet.errors import ConfigError
from mmfasternet.evaluation import SubsetAccuracy


def accuracy(scores, truth, labels):
    metric = SubsetAccuracy()
    metric.dataset_meta = dict(labels=labels)
    metric.process(
        None, [dict(pred_score=torch.tensor(row), gt_label=torch.tensor([gt])) for row, gt in zip(scores, truth)]
    )
    return metric.evaluate(len(truth))['imagenet_r/top1']


def test_other_classes_are_dropped():
    # class 0 scores highest everywhere, and the data set does not have it
    scores = [[0.9, 0.02, 0.05, 0.03], [0.9, 0.05, 0.03, 0.02], [0.9, 0.01, 0.04, 0.05]]
    assert accuracy(scores, [2, 3, 3], labels=[1, 2, 3]) == pytest.approx(200 / 3)
    assert accuracy(scores, [2, 3, 3], labels=[3, 2]) == pytest.approx(200 / 3)
    assert accuracy(scores, [2, 3, 3], labels=[0, 1, 2, 3]) == 0


def test_all_classes_is_plain_accuracy():
    torch.manual_seed(0)
    scores, truth = torch.rand(50, 7), torch.randint(7, (50,))
    expected = 100 * (scores.argmax(1) == truth).float().mean().item()
    assert 0 < expected < 100
    assert accuracy(scores.tolist(), truth.tolist(), list(range(7))) == pytest.approx(expected)


def test_a_data_set_that_does_not_tell_its_labels():
    metric = SubsetAccuracy()
    metric.dataset_meta = dict(classes=('a', 'b'))
    with pytest.raises(ConfigError, match='has no `labels` in its metainfo; test on an ImageNetR'):
        metric.process(None, [dict(pred_score=torch.rand(2), gt_label=torch.tensor([0]))])


def test_a_model_of_fewer_classes():
    with pytest.raises(ConfigError, match='the model has 3 classes, but the data set has label 9; name the classes'):
        accuracy([[0.2, 0.3, 0.5]], [2], labels=[2, 9])
