"""DOTA's tiles: each fault is found, once, and mmrotate itself does what is said of it."""

import cv2
import pytest
from mmrotate.datasets import DOTADataset
from mmrotate.registry import DATASETS
from PIL import Image

from mmfasternet.datasets.dota.geometry import check_tiles
from mmfasternet.datasets.dota.split import split_dota
from mmfasternet.datasets.findings import by_kind
from mmfasternet.errors import DataError

CLASSES = DOTADataset.METAINFO['classes']
SQUARE = '10 20 30 20 30 40 10 40'
TILES = ('P1__64__0___0', 'P1__64__32___0', 'P2__64__0___0')


@pytest.fixture
def root(tmp_path):
    for name in ('images', 'annfiles'):
        (tmp_path / name).mkdir()
    for tile in TILES:
        Image.new('RGB', (64, 64)).save(tmp_path / f'images/{tile}.png')
        (tmp_path / f'annfiles/{tile}.txt').write_text(f'{SQUARE} ship 0\n{SQUARE} plane 2\n')
    return tmp_path


def check(root, **options):
    return check_tiles(root / 'images', root / 'annfiles', CLASSES, drops_empty=True, **options)


def mmrotates(root, **options):
    """mmrotate's own data set of it."""
    settings = dict(
        type='DOTADataset',
        data_root=str(root),
        ann_file='annfiles',
        data_prefix=dict(img_path='images'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='mmdet.LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
        ],
        _scope_='mmrotate',
    )
    return DATASETS.build({**settings, **options})


def write_line(root, line):
    (root / f'annfiles/{TILES[1]}.txt').write_text(f'{SQUARE} ship 0\n{line}\n')
    return f'{TILES[1]}.txt:2'


def test_nothing_is_found_in_good_tiles(root):
    report = check(root, decode=True)
    assert report.findings == []
    assert (report.images, report.kept_images, report.objects, report.kept_objects) == (3, 3, 6, 6)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('', '0 fields, expected 10'),
        ('gsd:0.1', '1 fields, expected 10'),
        (f'{SQUARE} ship', '9 fields, expected 10'),
        (f'{SQUARE} shipp 0', "'shipp' is not among the 15 classes of the config"),
        ('10 20 30 20 30 4O 10 40 ship 0', "'4O' is not a number"),
        (f'{SQUARE} ship easy', "difficulty 'easy'; expected an integer"),
        (f'{SQUARE} \xff 0', 'is not among the 15 classes'),
    ],
)
def test_lines_that_stop_mmrotate(root, line, message):
    place = write_line(root, line)
    report = check(root)
    (finding,) = report.findings
    assert (finding.kind.name, finding.kind.severity, report.objects) == ('malformed_line', 'error', 6)
    assert str(finding).startswith(place) and message in finding.detail
    with pytest.raises((ValueError, IndexError, KeyError)):
        mmrotates(root)


def test_a_label_file_that_is_no_text(root):
    (root / f'annfiles/{TILES[1]}.txt').write_bytes(b'\xff\xfe')
    finding, empty = check(root).findings
    assert finding.kind.name == 'malformed_line' and 'is not text in UTF-8' in str(finding)
    assert empty.kind.name == 'no_objects'
    with pytest.raises(UnicodeDecodeError):
        mmrotates(root)


def remove_tile(root):
    (root / f'images/{TILES[1]}.png').unlink()
    return f'{TILES[1]}.png'


def rename_tile(root):
    (root / f'images/{TILES[1]}.png').rename(root / f'images/{TILES[1]}.jpg')
    return f'{TILES[1]}.png'


def spoil_tile(root):
    (root / f'images/{TILES[1]}.png').write_bytes(b'')
    return f'{TILES[1]}.png: unknown format'


@pytest.mark.parametrize(
    ('damage', 'kind'),
    [(remove_tile, 'missing_image'), (rename_tile, 'missing_image'), (spoil_tile, 'unreadable_image')],
)
def test_tiles_that_stop_mmrotate(root, damage, kind):
    place = damage(root)
    (finding,) = check(root).findings
    assert (finding.kind.name, finding.kind.severity) == (kind, 'error') and str(finding).startswith(place)
    with pytest.raises((OSError, AssertionError, cv2.error)):
        list(mmrotates(root))


@pytest.mark.parametrize(
    ('line', 'kind'),
    [
        ('10 20 20 20 30 20 40 20 ship 0', 'no_area'),
        ('10 20 30 40 30 20 10 44 ship 0', 'no_area'),
        ('60 20 70 20 70 40 60 40 ship 0', 'outside'),
        ('10 -40 30 -40 30 -20 10 -20 ship 0', 'outside'),
        (f'{SQUARE} ship 101', 'difficult'),
    ],
)
def test_objects_that_mmrotate_keeps(root, line, kind):
    place = write_line(root, line)
    report = check(root)
    (finding,) = report.findings
    assert finding.kind.name == kind and str(finding).startswith(place)
    data = mmrotates(root)
    assert (report.kept_images, report.kept_objects) == (3, 6)
    assert sum(len(item['gt_bboxes']) for item in data) == 6
    assert sum(item['gt_ignore_flags'].sum() for item in data) == (kind == 'difficult')


def test_the_threshold_of_difficulty_is_the_configs(root):
    report = check(root, diff_thr=1)
    assert [finding.kind.name for finding in report.findings] == ['difficult'] * 3
    assert sum(item['gt_ignore_flags'].sum() for item in mmrotates(root, diff_thr=1)) == 3


def test_what_mmrotate_drops(root):
    (root / f'annfiles/{TILES[1]}.txt').write_text('')
    (root / f'annfiles/{TILES[2]}.txt').unlink()
    (root / 'images/.P9.png').touch()
    (root / 'annfiles/.P9.txt').touch()
    report = check(root)
    assert [(finding.kind.name, str(finding)) for finding in report.findings] == [
        ('no_objects', f'{TILES[1]}.png'),
        ('no_labels', f'{TILES[2]}.png'),
    ]
    assert (report.images, report.kept_images, report.kept_objects) == (3, 1, 2)
    assert [item['img_id'] for item in mmrotates(root)] == [TILES[0]]


def test_tiles_without_labels(root):
    report = check_tiles(root / 'images', None, CLASSES)
    assert (report.findings, report.images, report.kept_images) == ([], 3, 3)
    with pytest.raises(DataError, match=r'has no tiles \(files that end in .tif\)'):
        check_tiles(root / 'images', None, CLASSES, suffix='tif')


def test_the_tiles_that_we_cut_are_sound(mini_dota, tmp_path):
    split_dota(mini_dota, tmp_path, splits=['val'], size=384, overlap=160)
    report = check_tiles(tmp_path / 'val/images', tmp_path / 'val/annfiles', CLASSES, drops_empty=True)
    assert {kind.name for kind in by_kind(report.findings)} <= {'no_objects'}
    data = mmrotates(tmp_path / 'val')
    assert report.kept_images == len(data) and report.kept_objects > 100
    assert report.kept_objects == sum(len(data.get_data_info(index)['instances']) for index in range(len(data)))
