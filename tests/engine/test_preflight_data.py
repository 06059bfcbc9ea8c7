"""What a start says of data sets with nothing to learn or to score, and of files that training cannot read."""

import codecs
import json
import logging

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmfasternet.datasets.data_files import count_samples, resolve_all
from mmfasternet.engine import check
from mmfasternet.engine.preflight import check_datasets
from mmfasternet.errors import DataError

CLASSES = ('cat', 'dog')


def check_dataset(dataset, setting, scored=()):
    """Check a data set as a start does, and give the number of its samples."""
    return count_samples(dataset, check_datasets(resolve_all(dataset, setting), scored))


@pytest.fixture
def root(tmp_path):
    """Two images with an object each."""
    init_default_scope('mmdet')
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (64, 48)).save(tmp_path / name)
    write(tmp_path, lambda content: None)
    return tmp_path


def write(root, change, name='coco.json'):
    box = dict(bbox=[1, 1, 9, 9], area=81, segmentation=[[1, 1, 10, 1, 10, 10, 1, 10]], iscrowd=0)
    content = dict(
        images=[dict(id=1, file_name='a.png', width=64, height=48), dict(id=2, file_name='b.png', width=64, height=48)],
        annotations=[dict(box, id=1, image_id=1, category_id=1), dict(box, id=2, image_id=2, category_id=2)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog'), dict(id=3, name='emu')],
    )
    change(content)
    (root / name).write_text(json.dumps(content))


def coco(root, **options):
    return dict(
        type='CocoDataset',
        data_root=f'{root}/',
        ann_file='coco.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        **options,
    )


def set_all(**values):
    return lambda content: [item.update(values) for item in content['annotations']]


def empty(name):
    return lambda content: content[name].clear()


FILTERED = dict(filter_cfg=dict(filter_empty_gt=True, min_size=32))
NO_IMAGES = r'data sets without images \(1\), the run stops: 0 of . images are kept'
NOTHING = 'train_dataloader: data sets without objects to learn, the model learns only background: 0 of '


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (empty('images'), {}, NO_IMAGES),
        (empty('annotations'), FILTERED, rf'{NO_IMAGES}: images without objects \(2\)'),
        (empty('annotations'), {}, rf'{NOTHING}0 objects are left'),
        (set_all(iscrowd=1), FILTERED, rf'{NOTHING}2 objects are left'),
        (set_all(area=0), FILTERED, rf'{NOTHING}2 .*: objects without area, or less than one pixel wide or high \(2\)'),
        (set_all(ignore=1), FILTERED, rf"{NOTHING}2 .*: objects marked 'ignore' \(2\)"),
        (set_all(bbox=[100, 1, 9, 9]), FILTERED, rf'{NOTHING}2 .*: boxes outside the image \(2\)'),
        (set_all(category_id=3), FILTERED, rf'{NO_IMAGES}.*objects of categories that are not classes'),
        (set_all(image_id=7), {}, rf'{NOTHING}2 .*: annotations of images that the file does not name \(2\)'),
        (
            set_all(image_id='1'),
            {},
            r"has another type than the id of the image .*: image_id is '1' and the image has ",
        ),
        (set_all(), dict(filter_cfg=dict(min_size=50)), rf'{NO_IMAGES}: images smaller than min_size \(2\)'),
        (set_all(), dict(indices=0), NO_IMAGES),
        (set_all(), dict(indices=[]), NO_IMAGES),
    ],
)
def test_nothing_to_train_on(root, change, options, message):
    write(root, change)
    with pytest.raises(DataError, match=message) as caught:
        check_dataset(coco(root, **options), 'train_dataloader')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('options', 'number'), [({}, 2), (dict(indices=1), 1), (dict(indices=-1), 1), (dict(indices=[0, 0, 1]), 3)]
)
def test_the_number_of_samples_is_mmdets(root, options, number):
    dataset = coco(root, **options)
    wrapped = dict(type='RepeatDataset', times=3, dataset=dataset)
    assert check_dataset(dataset, 'train_dataloader') == number
    assert (
        check_dataset(wrapped, 'train_dataloader') == 3 * number == len(DATASETS.build(dict(wrapped, _scope_='mmdet')))
    )


def test_a_part_without_objects_is_background_for_the_rest(root):
    write(root, empty('annotations'), 'background.json')
    background = coco(root) | dict(ann_file='background.json')
    both = dict(type='ConcatDataset', datasets=[coco(root), background])
    assert check_dataset(both, 'train_dataloader') == 4
    with pytest.raises(DataError, match=NOTHING):
        check_dataset(background, 'train_dataloader')


@pytest.mark.parametrize('change', [set_all(iscrowd=1), empty('annotations'), set_all(category_id=3)])
def test_nothing_to_score(root, change):
    write(root, change)
    dataset = coco(root, test_mode=True)
    assert check_dataset(dataset, 'val_dataloader') == 2
    with pytest.raises(DataError, match='val_dataloader: data sets without objects to score, the score is -1 or 0: '):
        check_dataset(dataset, 'val_dataloader', scored={'bbox'})


def test_an_empty_test(root):
    write(root, empty('images'))
    with pytest.raises(DataError, match=NO_IMAGES):
        check_dataset(coco(root, test_mode=True), 'test_dataloader')


def make_cfg(root, **evaluator):
    return Config(
        dict(
            model=dict(type='FasterRCNN'),
            test_dataloader=dict(dataset=coco(root, test_mode=True)),
            test_evaluator=dict(type='CocoMetric', **evaluator),
        )
    )


def test_images_without_annotations_can_be_predicted_and_not_scored(root):
    write(root, lambda content: content.pop('annotations'))
    check(make_cfg(root, format_only=True, outfile_prefix='x', ann_file=f'{root}/coco.json'), 'test')
    with pytest.raises(DataError, match='coco.json is not in the format of COCO: it lacks annotations'):
        check(make_cfg(root, ann_file=f'{root}/coco.json'), 'test')
    with pytest.raises(DataError, match='it lacks annotations'):
        check_dataset(coco(root), 'train_dataloader')


def test_a_test_is_checked_for_what_its_evaluator_scores(root):
    write(root, lambda content: [item.pop('segmentation') for item in content['annotations']])
    check(make_cfg(root, ann_file=f'{root}/coco.json'), 'test')
    with pytest.raises(DataError, match=r'without a readable mask \(2\), scoring stops: .*no segmentation'):
        check(make_cfg(root, ann_file=f'{root}/coco.json', metric=['bbox', 'segm']), 'test')
    write(root, set_all(id=0, image_id=1))
    with pytest.raises(DataError, match='annotations with the id'):
        check(make_cfg(root, ann_file=f'{root}/coco.json'), 'test')


def test_a_test_that_scores_what_mmdet_reads_needs_no_ids(root):
    write(root, lambda content: [item.pop('iscrowd') for item in content['annotations']])
    check(make_cfg(root), 'test')
    with pytest.raises(DataError, match=r'annotations without iscrowd \(2\), scoring stops'):
        check(make_cfg(root, ann_file=f'{root}/coco.json'), 'test')


@pytest.mark.parametrize(
    ('encode', 'reason'),
    [
        (lambda text: codecs.BOM_UTF8 + text.encode(), 'has a byte order mark'),
        (lambda text: text.encode('utf-16'), 'is in UTF-16'),
        (lambda text: text.encode('utf-16-le'), 'is in UTF-16'),
        (lambda text: text.encode('utf-32'), 'is in UTF-32'),
        (lambda text: text.replace('emu', 'ému').encode('latin-1'), 'is not text in UTF-8'),
    ],
)
def test_encodings_that_pycocotools_does_not_read(root, encode, reason):
    path = root / 'coco.json'
    path.write_bytes(encode(path.read_text()))
    with pytest.raises(DataError, match=f'coco.json is not JSON: it {reason}.*; save it as UTF-8 without BOM$'):
        check_dataset(coco(root), 'train_dataloader')
    with pytest.raises(ValueError, match=r'codec|BOM|Expecting'):
        DATASETS.build(dict(coco(root), _scope_='mmdet'))


def test_names_beyond_ascii_are_read(root):
    path = root / 'coco.json'
    path.write_bytes(path.read_text().replace('emu', 'ému').encode())
    assert check_dataset(coco(root), 'train_dataloader') == 2


def test_a_flat_polygon_is_reported_at_the_start(root):
    write(root, set_all(segmentation=[1, 1, 10, 1, 10, 10]))
    dataset = coco(root, pipeline=[dict(type='LoadAnnotations', with_mask=True)])
    with pytest.raises(DataError, match=r'training stops: .*a flat list of coordinates, expected a list of polygons'):
        check_dataset(dataset, 'train_dataloader')
    assert check_dataset(coco(root), 'train_dataloader') == 2


@pytest.fixture
def tiles(tmp_path):
    """A tile with a label file, named without its place in a larger image."""
    init_default_scope('mmrotate')
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    (tmp_path / 'images/ship1.jpg').touch()
    (tmp_path / 'labels/ship1.txt').write_text('1 1 9 1 9 9 1 9 ship 2\n')
    return dict(
        type='DOTADataset',
        data_root=str(tmp_path),
        ann_file='labels',
        data_prefix=dict(img_path='images'),
        img_suffix='jpg',
        filter_cfg=dict(filter_empty_gt=True),
    )


def test_tiles_that_were_not_cut_from_larger_images_pass(tiles):
    assert check_dataset(tiles, 'train_dataloader') == 1 == len(DATASETS.build(dict(tiles, _scope_='mmrotate')))
    assert check_dataset(dict(tiles, ann_file=''), 'test_dataloader') == 1


def test_tiles_with_nothing_to_train_on(tiles, tmp_path):
    with pytest.raises(DataError, match=rf'{NOTHING}1 objects'):
        check_dataset(dict(tiles, diff_thr=1), 'train_dataloader')
    (tmp_path / 'labels/ship1.txt').write_text('')
    with pytest.raises(DataError, match=NO_IMAGES):
        check_dataset(tiles, 'train_dataloader')
    assert check_dataset(dict(tiles, test_mode=True), 'val_dataloader') == 1


@pytest.mark.parametrize('line', ['1 1 9 1 9 9 1 b ship 0', '1 1 9 1 9 9 1 9 ship easy'])
def test_numbers_that_mmrotate_cannot_read(tiles, tmp_path, line):
    (tmp_path / 'labels/ship1.txt').write_text(line)
    with pytest.raises(DataError, match=r"ship1.txt:1: ('b' is not a number|difficulty 'easy'; expected)"):
        check_dataset(tiles, 'train_dataloader')


def test_class_folders_in_another_order_than_the_classes(tmp_path, caplog):
    init_default_scope('mmpretrain')
    for name in CLASSES:
        (tmp_path / name).mkdir()
        Image.new('RGB', (8, 8)).save(tmp_path / name / 'a.png')
    dataset = dict(type='CustomDataset', data_prefix=str(tmp_path), metainfo=dict(classes=CLASSES))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    assert check_dataset(dataset, 'train_dataloader') == 2
    dataset['metainfo']['classes'] = CLASSES[::-1]
    assert check_dataset(dataset, 'train_dataloader') == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 'predictions get the names of other classes, as mmpretrain numbers' in record.getMessage()
    assert 'cat, dog; the config names dog, cat. Name the classes in that order' in record.getMessage()
    (tmp_path / '.ipynb_checkpoints').mkdir()
    with pytest.raises(DataError, match='train_dataloader: .*.ipynb_checkpoints is among the class folders'):
        check_dataset(dataset, 'train_dataloader')


def test_labels_beyond_the_head(tmp_path):
    init_default_scope('mmpretrain')
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'labels.txt').write_text('a.png 2\n')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), ann_file='labels.txt')
    head = dict(type='LinearClsHead', num_classes=2)
    cfg = Config(dict(model=dict(type='ImageClassifier', head=head), train_dataloader=dict(dataset=dataset)))
    with pytest.raises(DataError, match="labels.txt:1: 'a.png 2'; expected an image and a label from 0 to 1"):
        check(cfg, 'train')
    cfg.model.head.num_classes = 3
    check(cfg, 'train')
