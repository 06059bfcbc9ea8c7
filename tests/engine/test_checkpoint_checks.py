"""The classes of a checkpoint are compared with the config's, where a wrong order would give wrong names."""

import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from mmfasternet.datasets.imagenet.class_folders import IMAGENET_WNIDS
from mmfasternet.engine.checkpoint_checks import classes_of_checkpoint, compare_classes

NAMES = ('plane', 'small-vehicle', 'harbor')


@pytest.mark.parametrize(
    'meta',
    [
        dict(dataset_meta=dict(classes=NAMES)),
        dict(dataset_meta=dict(CLASSES=list(NAMES))),
        dict(CLASSES=NAMES, PALETTE=[]),
    ],
)
def test_names_in_checkpoints_of_every_age(meta):
    assert classes_of_checkpoint(dict(meta=meta)) == NAMES


@pytest.mark.parametrize('checkpoint', [{}, dict(meta=None), dict(meta=dict(dataset_meta=dict(classes=None)))])
def test_checkpoints_without_names(checkpoint):
    assert classes_of_checkpoint(checkpoint) == ()
    assert compare_classes((), NAMES) == ''


def test_the_same_classes():
    assert compare_classes(NAMES, list(NAMES)) == ''
    assert compare_classes(NAMES, ('Plane', 'small vehicle', 'harbor')) == ''
    assert compare_classes(IMAGENET_WNIDS, IMAGENET_CATEGORIES) == ''
    assert compare_classes(IMAGENET_CATEGORIES, IMAGENET_WNIDS) == ''
    assert compare_classes(('goldfish', 'umbrella'), ('n01443537', 'n04507155')) == ''


def test_wordnet_ids_in_another_order():
    assert compare_classes(('n01443537', 'n04507155'), ('n04507155', 'n01443537')).startswith('the same classes in an')


@pytest.mark.parametrize(
    ('classes', 'line'),
    [
        (NAMES[::-1], 'the same classes in another order: class 0 is plane, in the config harbor, class 2 is harbor'),
        (('plane', 'ship', 'harbor'), 'other classes: class 1 is small-vehicle, in the config ship'),
        (NAMES[:2], '3 classes (plane, small-vehicle, harbor), the config has 2 (plane, small-vehicle)'),
    ],
)
def test_other_classes(classes, line):
    assert compare_classes(NAMES, classes).startswith(line)
