"""COCO's annotations, masks and images: each fault is found, once, and mmdet itself does what is said of it."""

import json
from functools import partial

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from PIL import Image
from pycocotools import mask as coco_mask

from mmfasternet.datasets.coco.annotations import CLASS_TWICE, check_annotations, read_annotations
from mmfasternet.datasets.coco.check import check_images, check_masks, run_length_bounds
from mmfasternet.datasets.findings import by_kind
from mmfasternet.datasets.image_files import read_size
from mmfasternet.errors import DataError

CLASSES = CocoDataset.METAINFO['classes']
FILTERS = dict(filter_empty_gt=True, min_size=32)


@pytest.fixture
def root(own_data):
    return own_data


@pytest.fixture
def content(root):
    return read_annotations(annotation_file(root))


def annotation_file(root):
    return root / 'annotations/instances_train2017.json'


def check(content, root, classes=CLASSES, filters=FILTERS, decode=False):
    annotations, report = check_annotations(content, classes, filters, with_masks=True)
    report.findings += check_masks(annotations) + check_images(annotations, root / 'train2017', decode)
    return report


def mmdets(content, root, classes=CLASSES):
    """mmdet's own data set of it, with masks."""
    annotation_file(root).write_text(json.dumps(content))
    return DATASETS.build(
        dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'),
            metainfo=dict(classes=classes),
            filter_cfg=FILTERS,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            ],
            _scope_='mmdet',
        )
    )


def square(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


# Each kind of damage is done to the second entry, and gives how the finding starts.


def alter(content, root, **values):
    content['annotations'][1].update(values)
    return f'annotation {content["annotations"][1]["id"]} of 000000000001.jpg'


def move(content, root, *box):
    return alter(content, root, bbox=list(box), segmentation=[square(*box)])


def put(content, root, key, value):
    content['annotations'][1][key] = value
    return f'annotations[1] has the {key} '


def drop(content, root, key):
    del content['annotations'][1][key]
    return f'annotations[1] has no {key}'


def replace(content, root):
    content['annotations'][1] = 'nothing'
    return 'annotations[1] is nothing'


def repeat_annotation(content, root):
    content['annotations'].append(content['annotations'][1])
    return alter(content, root)


def repeat_image(content, root):
    content['images'].append(content['images'][1])
    return '000000000002.jpg: has the id 2, as 000000000002.jpg does'


def repeat_category(content, root):
    content['categories'].append(dict(content['categories'][1], id=1000))
    return 'category bicycle with id 1000'


def remove_category(content, root):
    content['categories'].pop()
    return 'unknown class toothbrush in metainfo.classes; the file has the categories person, '


def orphan(content, root):
    content['annotations'][1]['image_id'] = 999
    return f'annotation {content["annotations"][1]["id"]} of image 999'


def remove_image(content, root):
    (root / 'train2017/000000000002.jpg').unlink()
    return '000000000002.jpg'


def spoil_image(content, root, data=b'no image'):
    (root / 'train2017/000000000002.jpg').write_bytes(data)
    return '000000000002.jpg: unknown format'


def resize_image(content, root):
    Image.new('RGB', (33, 44)).save(root / 'train2017/000000000002.jpg')
    return '000000000002.jpg: the file has 33x44 pixels, the annotations say '


def empty_image(content, root):
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] != 2]
    return '000000000002.jpg'


def shrink_image(content, root):
    Image.new('RGB', (300, 31)).save(root / 'train2017/000000000002.jpg')
    content['images'][1].update(width=300, height=31)
    place = empty_image(content, root)
    item = dict(content['annotations'][0], id=999999, image_id=2, bbox=[5, 5, 9, 9], segmentation=[square(5, 5, 9, 9)])
    content['annotations'].append(item)
    return f'{place}: 300x31'


def run_lengths(content, root, counts, size=None):
    size = size or [content['images'][0]['height'], content['images'][0]['width']]
    return alter(content, root, segmentation=dict(size=size, counts=counts))


STOPS = {
    'replaced': ('malformed', replace),
    'no area': ('malformed', partial(drop, key='area')),
    'no box': ('malformed', partial(drop, key='bbox')),
    'short box': ('malformed', partial(put, key='bbox', value=[1, 2, 3])),
    'box of null': ('malformed', partial(put, key='bbox', value=[1, 2, 3, None])),
    'box of text': ('malformed', partial(put, key='bbox', value=[1, 2, 3, '4'])),
    'list for id': ('malformed', partial(put, key='category_id', value=[])),
    'same annotation id': ('annotation_twice', repeat_annotation),
    'no mask': ('no_mask', partial(alter, segmentation=[])),
    'flat mask': ('no_mask', partial(alter, segmentation=[1, 2, 3, 4, 5, 6])),
    'mask of text': ('no_mask', partial(alter, segmentation='mask')),
    'run lengths of another size': ('no_mask', partial(run_lengths, counts=[5, 5], size=[30, 30])),
    'too many run lengths': ('no_mask', partial(run_lengths, counts=[5, 10**6])),
    'image missing': ('missing_image', remove_image),
    'no image': ('unreadable_image', spoil_image),
    'empty file': ('unreadable_image', partial(spoil_image, data=b'')),
}
GOES_ON = {
    'same image id': ('image_twice', repeat_image),
    'same category name': ('category_twice', repeat_category),
    'class missing': ('missing_class', remove_category),
    'unknown category': ('unknown_category', partial(alter, category_id=12)),
    'unknown image': ('unknown_image', orphan),
    'narrow box': ('no_area', lambda content, root: move(content, root, 10, 10, 0.5, 20)),
    'flat box': ('no_area', lambda content, root: move(content, root, 10, 10, 20, 0)),
    'area of 0': ('no_area', partial(alter, area=0)),
    'right of the image': ('outside', lambda content, root: move(content, root, 1000, 10, 20, 20)),
    'above the image': ('outside', lambda content, root: move(content, root, 10, -30, 20, 30)),
    'over the edge': ('partly_outside', lambda content, root: move(content, root, -4, 10, 20, 20)),
    'to ignore': ('ignored', partial(alter, ignore=1)),
    'crowd': ('crowd', partial(alter, iscrowd=1)),
    'other size': ('size', resize_image),
    'image without objects': ('no_objects', empty_image),
    'small image': ('too_small', shrink_image),
    'line for a mask': ('broken_mask', partial(alter, segmentation=[[1, 2, 3, 4]])),
    'half a point': ('broken_mask', partial(alter, segmentation=[[1, 2, 3, 4, 5, 6, 7]])),
    'no size': ('broken_mask', partial(alter, segmentation=dict(counts=[5]))),
    'mask unlike box': ('mask_unlike_box', partial(alter, segmentation=[square(1, 1, 300, 200)])),
    'empty mask': ('mask_unlike_box', partial(run_lengths, counts=[5])),
}


@pytest.mark.parametrize('name', STOPS)
def test_what_stops_mmdet_is_an_error(root, content, name):
    kind, damage = STOPS[name]
    place = damage(content, root)
    (finding,) = check(content, root).findings
    assert (finding.kind.name, finding.kind.severity) == (kind, 'error') and str(finding).startswith(place)
    with pytest.raises((AssertionError, KeyError, OSError, TypeError, ValueError, cv2.error)):
        list(mmdets(content, root))


@pytest.mark.parametrize('name', GOES_ON)
def test_of_what_mmdet_says_nothing_as_much_is_dropped_as_told(root, content, name):
    kind, damage = GOES_ON[name]
    place = damage(content, root)
    report = check(content, root)
    (finding,) = report.findings
    assert finding.kind.name == kind and str(finding).startswith(place)
    data = mmdets(content, root)
    instances = [data.get_data_info(index)['instances'] for index in range(len(data))]
    assert (report.kept_images, report.kept_objects) == (len(data), sum(map(len, instances)))
    assert (report.images, report.objects) == (len(content['images']), len(content['annotations']))
    is_dropped = report.kept_objects < report.objects or report.kept_images < report.images
    assert is_dropped == (finding.kind.outcome.startswith('dropped') or kind == 'image_twice')
    ignored = sum(item['gt_ignore_flags'].sum() for item in map(data.__getitem__, range(3)))
    assert ignored == (kind in ('crowd', 'broken_mask'))


def test_nothing_is_found_in_good_data(root, content):
    report = check(content, root, decode=True)
    assert report.findings == []
    assert report.images == report.kept_images == 200
    assert report.objects == report.kept_objects == len(content['annotations'])


def test_all_damage_together_is_counted_as_mmdet_does(root, content):
    for index, (kind, damage) in enumerate(GOES_ON.values()):
        if kind not in ('image_twice', 'category_twice', 'missing_class'):
            # the second entry is another one each time
            content['annotations'].insert(1, content['annotations'].pop(3 * index + 2))
            if content['annotations'][1]['image_id'] != 2:
                damage(content, root)
    report = check(content, root)
    data = mmdets(content, root)
    kept = sum(len(data.get_data_info(index)['instances']) for index in range(len(data)))
    assert (report.kept_images, report.kept_objects) == (len(data), kept)
    assert report.kept_objects < report.objects - 5 and report.kept_images == report.images - 1


@pytest.mark.parametrize('name', ['images', 'categories'])
@pytest.mark.parametrize('entry', [None, [], dict(id=1)])
def test_malformed_images_and_categories(root, content, name, entry):
    content[name][1] = entry
    groups = by_kind(check(content, root).findings)
    (finding,) = next(found for kind, found in groups.items() if kind.name == 'malformed')
    assert finding.detail.startswith(f'{name}[1] ')
    with pytest.raises((TypeError, KeyError)):
        mmdets(content, root)


def test_classes_in_another_order_get_other_names(root, content):
    classes = ('stop sign', 'traffic light', 'kite')
    report = check(content, root, classes)
    groups = {kind.name: list(map(str, found)) for kind, found in by_kind(report.findings).items()}
    assert list(groups) == ['class_order', 'other_class', 'no_objects'] or list(groups) == [
        'class_order',
        'other_class',
    ]
    assert groups['class_order'][0] == 'class 0 is stop sign in metainfo.classes and traffic light in the file'
    data = mmdets(content, root, classes)
    lights = {item['id'] for item in content['categories'] if item['name'] == 'traffic light'}
    labels = [data.cat2label[light] for light in lights]
    assert [data.metainfo['classes'][label] for label in labels] == ['stop sign']
    kept = [data.get_data_info(index)['instances'] for index in range(len(data))]
    assert (report.kept_images, report.kept_objects) == (len(data), sum(map(len, kept)))


def test_a_class_named_twice_shifts_the_names(root, content):
    classes = (CLASSES[0], *CLASSES)
    (finding,) = by_kind(check(content, root, classes).findings)[CLASS_TWICE]
    assert finding.detail == f'{CLASSES[0]} in metainfo.classes; name each class once'
    dataset = mmdets(content, root, classes)
    # mmdet numbers the categories, so that label 1 is the second of them and has the name of the first
    (second,) = (category['id'] for category in content['categories'] if category['name'] == CLASSES[1])
    assert dataset.metainfo['classes'][dataset.cat2label[second]] == CLASSES[0]


def test_a_cut_off_image_is_found_by_decoding(root, content):
    path = root / 'train2017/000000000002.jpg'
    path.write_bytes(path.read_bytes()[:-2000])
    assert check(content, root).findings == []
    (finding,) = check(content, root, decode=True).findings
    assert str(finding).startswith('000000000002.jpg: image file is truncated')
    assert mmcv.imread(path) is None


@pytest.mark.parametrize('orientation', range(10))
@pytest.mark.parametrize('upright', [True, False])
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_sizes_are_those_that_mmcv_gives(tmp_path, orientation, upright, suffix):
    path = tmp_path / f'image.{suffix}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (60, 40)).save(path, exif=exif)
    height, width, _ = mmcv.imread(path, flag='color' if upright else 'color_ignore_orientation').shape
    assert read_size(path, decode=False, upright=upright) == (width, height)


def test_malformed_exif_turns_nothing(tmp_path):
    path = tmp_path / 'image.jpg'
    Image.new('RGB', (60, 40)).save(path, exif=b'Exif\0\0II*\0\xff\xff\xff\xff')
    assert mmcv.imread(path).shape == (40, 60, 3)
    assert read_size(path, decode=False, upright=True) == (60, 40)


@pytest.mark.parametrize('seed', range(20))
def test_bounds_of_run_lengths_are_pycocotools(seed):
    rng = np.random.default_rng(seed)
    pixels = np.zeros((37, 53), dtype=np.uint8, order='F')
    for _ in range(rng.integers(0, 4)):
        top, left = rng.integers(0, 37), rng.integers(0, 53)
        pixels[top : top + rng.integers(1, 40), left : left + rng.integers(1, 40)] = 1
    if seed % 2:  # a run from one column into the next
        start = rng.integers(0, 37 * 53)
        pixels.reshape(-1, order='F')[start : start + 20] = 1
    mask = coco_mask.encode(pixels)
    x, y, w, h = coco_mask.toBbox(mask)
    edges = np.flatnonzero(np.diff(pixels.ravel(order='F'), prepend=0, append=2))
    counts = np.diff(edges, prepend=0).tolist()
    for form in (mask['counts'].decode(), counts):
        assert run_length_bounds(dict(size=[37, 53], counts=form), 53, 37) == (x, y, x + w, y + h)


@pytest.mark.parametrize('counts', ['z', 'P', 'n', '1P', [1.5], [True], [-1, 5], ['1']])
def test_malformed_run_lengths(counts):
    with pytest.raises(ValueError, match='run lengths'):
        run_length_bounds(dict(size=[4, 5], counts=counts), 5, 4)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'{', 'is not JSON: '),
        (b'\xff', 'is not JSON: '),
        (b'[' * 100_000, 'is not JSON: '),
        (b'{"images": [' + b'9' * 5000 + b']}', 'is not JSON: '),
        (b'3', 'it lacks images, annotations, categories'),
        (b'{"images": [], "annotations": {}, "categories": null}', 'it lacks annotations, categories'),
    ],
)
def test_a_file_that_is_none_of_coco(tmp_path, data, message):
    (tmp_path / 'a.json').write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_annotations(tmp_path / 'a.json')
    assert '\n' not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match='cannot be read: Is a directory'):
        read_annotations(tmp_path)


@pytest.mark.parametrize('number', ['NaN', 'Infinity', '-Infinity', '1e999', '1' + '0' * 400, str(2**24 + 1)])
def test_numbers_that_are_no_coordinates(root, number):
    path = annotation_file(root)
    content = read_annotations(path)
    box = str(content['annotations'][1]['bbox'])
    path.write_text(json.dumps(content).replace(box, f'[1, 2, 3, {number}]', 1))
    (finding,) = check(read_annotations(path), root).findings
    assert finding.kind.name == 'malformed' and str(finding).startswith('annotations[1] has the bbox [1, 2, 3, ')


def test_a_mask_of_what_is_no_number(root):
    path = annotation_file(root)
    content = read_annotations(path)
    content['annotations'][1]['segmentation'][0][3] = float('nan')
    path.write_text(json.dumps(content))
    (finding,) = check(read_annotations(path), root).findings
    assert finding.kind.name == 'no_mask' and finding.detail.endswith(
        ' where the coordinates of a polygon are expected'
    )
