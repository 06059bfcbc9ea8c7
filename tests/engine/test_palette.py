"""A colour for every class, in predictions and in the pictures of a test."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmrotate.datasets import DOTADataset
from PIL import Image
from small_models import retinanet, save

from mmfasternet.engine import launch
from mmfasternet.engine.palette import complete_palette
from mmfasternet.errors import ConfigError

COCO, DOTA = CocoDataset.METAINFO['palette'], DOTADataset.METAINFO['palette']


@pytest.mark.parametrize(
    ('palette', 'count', 'kept'),
    [
        (COCO, 120, COCO),
        (COCO, 80, COCO),
        (DOTA, 18, DOTA),
        (tuple(DOTA), 18, DOTA),
        ([list(colour) for colour in DOTA], 16, DOTA),
        (np.array(DOTA), 16, DOTA),
        (None, 18, []),
        ('random', 40, []),
        ('coco', 90, COCO),
        ('dota', 18, DOTA),
        (['red', '#00ff00', '0, 0, 255', '1 2 3'], 6, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 2, 3)]),
        (None, 1203, []),
    ],
)
def test_every_class_has_a_colour_of_its_own(palette, count, kept):
    colours = complete_palette(palette, count)
    assert colours[: len(kept)] == list(kept)
    assert len(colours) >= count and len(set(colours)) == len(colours)
    assert all(type(value) is int and 0 <= value <= 255 for colour in colours for value in colour)
    # added ones can be told from all others
    points = np.array(colours, float)
    distances = np.sqrt(np.square(points[:, None] - points[None]).sum(-1)) + 1e9 * np.eye(len(points))
    assert distances[len(kept) :].min(initial=100) >= 19


def test_one_colour_for_all():
    assert complete_palette((1, 2, 3), 4) == [(1, 2, 3)] * 4
    assert complete_palette('red', 2) == [(255, 0, 0)] * 2


@pytest.mark.parametrize('palette', ['rainbow', [1], 5, [(1, 2)], [(1, 2, 'x')]])
def test_what_is_not_a_palette(palette):
    with pytest.raises(ConfigError, match='^palette has .*; expected red, green and blue .*$'):
        complete_palette(palette, 3)


def pictures_of_a_test(config, checkpoint, folder):
    """What --show-dir writes, as tools/test.py does it."""
    arguments = dict(
        config=config, checkpoint=checkpoint, work_dir=str(folder / 'run'), cfg_options=None, launcher='none',
        local_rank=0, out=None, show=False, show_dir='pictures', wait_time=0, tta=False, all_ious=False,
        submission=None, overwrite=False, optimize=None, backend=None,
    )  # fmt: skip
    launch.test(Namespace(**arguments))
    return sorted(folder.glob('run/*/pictures/*'))


def drawn(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert('RGB')).astype(int)


def on_coco(cfg, folder, count):
    """Make a config test on two images of COCO, in whose annotations there are so many categories."""
    path = folder / 'annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    used = {annotation['category_id'] for annotation in content['annotations']}
    categories = sorted(content['categories'], key=lambda category: category['id'] not in used)[:count]
    known = {category['id'] for category in categories}
    categories += [dict(id=1000 + number, name=f'more {number}') for number in range(count - len(categories))]
    kept = [annotation for annotation in content['annotations'] if annotation['category_id'] in known]
    path.write_text(json.dumps({**content, 'annotations': kept, 'categories': categories}))
    cfg.test_dataloader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='mmdet.CocoDataset',
            data_root=f'{folder}/',
            ann_file='annotations/instances_val2017.json',
            data_prefix=dict(img='val2017/'),
            metainfo=dict(classes=tuple(category['name'] for category in categories)),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmdet.Resize', scale=(320, 320), keep_ratio=True),
                dict(type='mmdet.LoadAnnotations', with_bbox=True),
                dict(type='mmdet.PackDetInputs'),
            ],
            indices=2,
            test_mode=True,
        ),
    )
    cfg.test_cfg = dict(type='TestLoop')
    cfg.test_evaluator = dict(type='mmdet.CocoMetric', ann_file=str(path), metric='bbox')
    cfg.default_hooks = dict(visualization=dict(type='mmdet.DetVisualizationHook', score_thr=0.0))
    return cfg


def test_pictures_of_a_test_with_more_classes_than_colours(own_data, tmp_path):
    """120 classes on CocoDataset, whose palette has 80, and boxes of all classes."""
    cfg = on_coco(retinanet(num_classes=120), own_data, 120)
    cfg.visualizer = dict(type='mmdet.DetLocalVisualizer', name='visualizer')
    config, checkpoint = save(cfg, tmp_path)
    content = torch.load(checkpoint)
    # predictions of the last classes
    content['state_dict']['bbox_head.retina_cls.bias'] += torch.arange(120) / 10
    torch.save(content, checkpoint)
    pictures = pictures_of_a_test(config, checkpoint, tmp_path)
    assert len(pictures) == 2
    for path in pictures:
        # ground truth and predictions beside each other
        _, predictions = np.split(drawn(path), 2, axis=1)
        assert np.abs(predictions - drawn(own_data / 'val2017' / path.name)).max() > 100


def test_pictures_of_horizontal_boxes_by_mmrotate(own_data, tmp_path):
    """Its visualizer knows rotated boxes and quadrilaterals only."""
    cfg = on_coco(retinanet('mmrotate'), own_data, 3)
    cfg.visualizer = dict(type='RotLocalVisualizer', name='visualizer')
    pictures = pictures_of_a_test(*save(cfg, tmp_path), tmp_path)
    assert len(pictures) == 2
    for path in pictures:
        _, predictions = np.split(drawn(path), 2, axis=1)
        assert np.abs(predictions - drawn(own_data / 'val2017' / path.name)).max() > 100
