"""Where the check of COCO's annotations is silent, mmdet trains on them, and scores perfect predictions with 1."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmengine.registry import init_default_scope
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmfasternet.datasets.coco.annotations import check_annotations, read_annotations
from mmfasternet.datasets.coco.check import check_masks

CLASSES = ('cat', 'dog')
SCORED = frozenset(('bbox', 'segm'))
SIZE = dict(height=48, width=64)
STEPS = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scoring')
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (64, 48)).save(folder / name)
    return folder


def square(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def run_lengths(x, y, w, h, counts=None, **other):
    pixels = np.zeros((48, 64), dtype=np.uint8, order='F')
    pixels[y : y + h, x : x + w] = 1
    edges = np.flatnonzero(np.diff(pixels.ravel(order='F'), prepend=0)).tolist()
    return dict(size=[48, 64], counts=counts or np.diff([0, *edges, 48 * 64]).tolist()) | other


def compressed(*box):
    mask = coco_mask.frPyObjects(run_lengths(*box), 48, 64)
    return mask | dict(counts=mask['counts'].decode())


def make_content():
    boxes = [(4, 6, 20, 10), (30, 8, 12, 30), (2, 20, 40, 20), (10, 2, 8, 8)]
    annotations = [
        dict(
            id=number + 1,
            image_id=1 + number // 2,
            category_id=3 + 2 * (number % 2),
            bbox=list(box),
            area=box[2] * box[3],
            iscrowd=0,
            segmentation=square(*box),
        )
        for number, box in enumerate(boxes)
    ]
    annotations.append(
        dict(annotations[3], id=5, iscrowd=1, bbox=[40, 20, 9, 9], area=81, segmentation=run_lengths(40, 20, 9, 9))
    )
    return dict(
        images=[dict(id=1, file_name='a.png', **SIZE), dict(id=2, file_name='b.png', **SIZE)],
        annotations=annotations,
        categories=[dict(id=3, name='cat'), dict(id=5, name='dog')],
    )


def faults_of(path):
    """The kinds of errors and warnings that the check finds."""
    annotations, report = check_annotations(read_annotations(path), CLASSES, {}, True, SCORED)
    findings = report.findings + check_masks(annotations)
    return {finding.kind.name for finding in findings if finding.kind.severity != 'note'}


def train(path):
    """Load all images as training does."""
    init_default_scope('mmdet')
    data = CocoDataset(
        ann_file=str(path), data_prefix=dict(img=str(path.parent)), metainfo=dict(classes=CLASSES), pipeline=STEPS
    )
    return list(data)


def score(path):
    """Score predictions that are the annotations themselves; gives the AP of boxes and masks."""
    coco = COCO(str(path))
    metric = CocoMetric(ann_file=str(path), metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=CLASSES)
    category_ids = coco.getCatIds(catNms=CLASSES)
    for image_id in coco.getImgIds():
        found = [
            item
            for item in coco.imgToAnns[image_id]
            if item['category_id'] in category_ids and item.get('iscrowd') not in (1, True)
        ]
        boxes = torch.tensor([item['bbox'] for item in found], dtype=torch.float64).reshape(-1, 4)
        instances = dict(
            bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
            scores=torch.ones(len(found)),
            labels=torch.tensor([category_ids.index(item['category_id']) for item in found], dtype=torch.long),
            masks=[mask_of(coco, item) for item in found],
        )
        metric.process({}, [dict(img_id=image_id, ori_shape=(48, 64), pred_instances=instances)])
    scores = metric.evaluate(2)
    return scores['coco/bbox_mAP'], scores['coco/segm_mAP']


def mask_of(coco, item):
    """The mask of an annotation; that of its box, if it has none."""
    try:
        pixels = coco.annToMask(item)
        assert pixels.shape == (48, 64)
    except Exception:
        x, y, w, h = map(int, item['bbox'])
        pixels = np.zeros((48, 64), dtype=np.uint8)
        pixels[y : y + h, x : x + w] = 1
    return coco_mask.encode(np.asfortranarray(pixels))


def is_sound(path):
    """Whether training runs and scoring gives perfect predictions a score of 1."""
    try:
        ignored = sum(int(item['gt_ignore_flags'].sum()) for item in train(path))
        crowds = sum(item.get('iscrowd') in (1, True) for item in json.loads(path.read_text())['annotations'])
        return ignored == crowds and score(path) == (1, 1)
    except Exception:
        return False


def put(content, **values):
    content['annotations'][1].update(values)


def drop(content, key):
    del content['annotations'][1][key]


def change_ids(content, images=None, in_annotations=None, categories=None, in_annotations_of_categories=None):
    for key, change in (('images', images), ('categories', categories)):
        for entry in content[key]:
            entry['id'] = change(entry['id']) if change else entry['id']
    for entry in content['annotations']:
        for key, change in (('image_id', in_annotations), ('category_id', in_annotations_of_categories)):
            entry[key] = change(entry[key]) if change else entry[key]


def name_again(content):
    """Give the first image and its annotations an id of text; the second keeps its number."""
    change_ids(content, *[lambda value: 'one' if value == 1 else value] * 2)


def name_category_again(content):
    change_ids(content, None, None, *[lambda value: 'cat' if value == 3 else value] * 2)


#: Each damage with the kind that the check reports.
DAMAGES = {
    'id 0': ('bad_id', partial(put, id=0)),
    'id false': ('bad_id', partial(put, id=False)),
    'id 0.0': ('bad_id', partial(put, id=0.0)),
    'id "0"': ('bad_id', partial(put, id='0')),
    'id of text': ('text_id', partial(put, id='a1')),
    'no id': ('malformed', partial(drop, key='id')),
    'no iscrowd': ('no_crowd', partial(drop, key='iscrowd')),
    'iscrowd null': ('no_crowd', partial(put, iscrowd=None)),
    'iscrowd "0"': ('bad_crowd', partial(put, iscrowd='0')),
    'iscrowd "1"': ('bad_crowd', partial(put, iscrowd='1')),
    'iscrowd "no"': ('bad_crowd', partial(put, iscrowd='no')),
    'iscrowd ""': ('bad_crowd', partial(put, iscrowd='')),
    'iscrowd 0.5': ('bad_crowd', partial(put, iscrowd=0.5)),
    'iscrowd [0]': ('bad_crowd', partial(put, iscrowd=[0])),
    'no segmentation': ('no_mask', partial(drop, key='segmentation')),
    'segmentation null': ('no_mask', partial(put, segmentation=None)),
    'segmentation []': ('no_mask', partial(put, segmentation=[])),
    'segmentation [[]]': ('no_mask', partial(put, segmentation=[[]])),
    'segmentation {}': ('no_mask', partial(put, segmentation={})),
    'flat polygon': ('no_mask', partial(put, segmentation=square(30, 8, 12, 30)[0])),
    'points in a polygon': ('no_mask', partial(put, segmentation=[[[30, 8], [42, 8], [42, 38], [30, 38]]])),
    'a box as polygon': ('no_mask', partial(put, segmentation=[[30, 8, 12, 30]])),
    'polygon of text': ('no_mask', partial(put, segmentation=[['30', '8', '42', '8', '42', '38a']])),
    'run lengths without size': ('no_mask', partial(put, segmentation=dict(counts=[500, 20, 2552]))),
    'run lengths without counts': ('no_mask', partial(put, segmentation=dict(size=[48, 64]))),
    'swapped size': ('no_mask', partial(put, segmentation=run_lengths(30, 8, 12, 30, size=[64, 48]))),
    'run lengths that end early': ('no_mask', partial(put, segmentation=run_lengths(0, 0, 9, 9, counts=[500, 20]))),
    'compressed, ending early': ('no_mask', partial(put, segmentation=dict(size=[48, 64], counts='X]1n0b00000'))),
    'compressed, malformed': ('no_mask', partial(put, segmentation=dict(size=[48, 64], counts='odd text'))),
    'no area': ('malformed', partial(drop, key='area')),
    'area null': ('malformed', partial(put, area=None)),
    'area of text': ('malformed', partial(put, area='360')),
    'no bbox': ('malformed', partial(drop, key='bbox')),
    'image ids of text in annotations': ('id_type', partial(change_ids, in_annotations=str)),
    'image ids of text in images': ('id_type', partial(change_ids, images=str)),
    'image ids with zeros': ('id_type', partial(change_ids, images='{:04}'.format)),
    'text and numbers as image ids': ('mixed_ids', name_again),
    'text and numbers as category ids': ('mixed_ids', name_category_again),
    'category ids of text in annotations': ('unknown_category', partial(change_ids, in_annotations_of_categories=str)),
    'category ids of text in categories': ('unknown_category', partial(change_ids, categories=str)),
    'larger than scored': ('not_scored', partial(put, area=2e10)),
}
#: What pycocotools never ends with.
HANGS = ('run lengths that end early', 'compressed, ending early')
#: What looks odd, and works.
SOUND = {
    'as it is': lambda content: None,
    'ids of digits': lambda content: [item.update(id=str(item['id'])) for item in content['annotations']],
    'negative id': partial(put, id=-1),
    'iscrowd false': partial(put, iscrowd=False),
    'iscrowd 0.0': partial(put, iscrowd=0.0),
    'ids of text': lambda content: change_ids(content, *[str] * 4),
    'image ids of floats in annotations': partial(change_ids, in_annotations=float),
    'more than needed': lambda content: content.update(info={}, licenses=None),
    'a category without annotations': lambda content: content['categories'].append(dict(id=9, name='emu')),
    'run lengths': partial(put, segmentation=run_lengths(30, 8, 12, 30)),
    'compressed': partial(put, segmentation=compressed(30, 8, 12, 30)),
    'two polygons': partial(put, segmentation=square(30, 8, 12, 30) * 2),
}


@pytest.mark.parametrize('name', DAMAGES)
def test_what_training_or_scoring_cannot_read_is_reported(folder, name):
    kind, damage = DAMAGES[name]
    content = make_content()
    damage(content)
    path = folder / 'damaged.json'
    path.write_text(json.dumps(content))
    assert kind in faults_of(path)
    if name not in ('iscrowd "1"', 'larger than scored', *HANGS):
        assert not is_sound(path)


@pytest.mark.parametrize('name', SOUND)
def test_what_they_can_read_is_not(folder, name):
    content = make_content()
    SOUND[name](content)
    path = folder / 'sound.json'
    path.write_text(json.dumps(content))
    assert faults_of(path) == set()
    assert is_sound(path)


odd = st.sampled_from([None, True, False, 0, 1, 2, -1, 0.5, 1.0, '', '0', '1', 'a', [], {}, [0], '2', '3', 5, 3, '5'])
places = st.sampled_from(
    [('images', 'id'), ('categories', 'id'), ('categories', 'name')]
    + [('annotations', key) for key in ('id', 'image_id', 'category_id', 'iscrowd', 'area', 'bbox', 'ignore')] * 2
)
masks = st.sampled_from(
    [
        [],
        [[]],
        [1, 2, 3, 4, 5, 6],
        [[1, 2, 3, 4]],
        [[4, 4, 20, 4, 20]],
        *([[4, 4, 20, 4, 20, 20, tail]] for tail in (5, 'a', None)),
        [[4, 4, 20, 4, 20, 20], [1, 2]],
        [[4, 4, 20, 4, 20, 20], None],
        run_lengths(4, 4, 9, 9),
        run_lengths(4, 4, 9, 9, size=[48.0, 64]),
        run_lengths(4, 4, 9, 9, counts=[0, 3072]),
        run_lengths(4, 4, 9, 9, counts=[0, 4000]),
        run_lengths(4, 4, 9, 9, counts='odd text'),
    ]
)
changes = st.tuples(places, st.integers(0, 4), odd) | st.tuples(
    st.just(('annotations', 'segmentation')), st.integers(0, 4), odd | masks
)


@given(changes=st.lists(changes, min_size=1, max_size=2), missing=st.booleans())
@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_where_the_check_is_silent_all_is_sound(folder, changes, missing):
    content = make_content()
    for (table, key), number, value in changes:
        entry = content[table][number % len(content[table])]
        if missing:
            entry.pop(key, None)
        else:
            entry[key] = value
    path = folder / 'changed.json'
    path.write_text(json.dumps(content))
    assert faults_of(path) or is_sound(path)
