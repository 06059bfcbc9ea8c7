"""DOTA's tiles: the same as mmrotate's own tool cuts, whatever is malformed, and whenever it is interrupted."""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfasternet.datasets.dota import split as dota_split
from mmfasternet.datasets.dota.split import split_dota
from mmfasternet.datasets.dota.tiles import parse_tile_name
from mmfasternet.errors import DataError, MMFasterNetError

MMROTATE = Path(importlib.util.find_spec('mmrotate').origin).parent


def picture(width, height):
    """An image of which no two pixels within 256 x 256 are alike."""
    y, x = np.indices((height, width))
    return np.stack([x % 256, y % 256, x // 256 * 16 + y // 256], axis=-1).astype(np.uint8)


def draw(raw, part, name, size, lines=None, folder='labelTxt'):
    """Write an image, and its label file unless it has none."""
    path = raw / part / 'images' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(*size)).save(path)
    labels = raw / part / folder
    if part != 'test':
        labels.mkdir(exist_ok=True)
    if lines is not None:
        (labels / f'{path.stem}.txt').write_text(''.join(f'{line}\n' for line in lines))
    return path


def box(left, top, right, bottom):
    return f'{left} {top} {right} {top} {right} {bottom} {left} {bottom}'


def random_lines(rng, size, number):
    """Turned boxes, some over the edge of the image, in whole pixels and in tenths."""
    lines = []
    for index in range(number):
        angle, sides = rng.uniform(0, np.pi), rng.uniform(4, 150, 2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = sides / 2 * [[-1, -1], [1, -1], [1, 1], [-1, 1]] @ turn + rng.uniform(0, size, 2)
        numbers = ' '.join(map(str, points.round(index % 2).ravel()))
        lines.append(f'{numbers} {["ship", "plane", "small-vehicle"][index % 3]} {index % 5 == 0:d}')
    return lines


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    """A drawn DOTA: images smaller and larger than a window, of all kinds."""
    raw, rng = tmp_path_factory.mktemp('raw'), np.random.default_rng(0)
    sizes = {'P0001.png': (700, 500), 'P__2.png': (1024, 1024), 'P0003.png': (2300, 1500), 'P0004.jpg': (1500, 300)}
    for part, prefix in (('train', ''), ('val', 'v')):
        for name, size in sizes.items():
            header = ['imagesource:GoogleEarth', 'gsd:null']
            draw(raw, part, prefix + name, size, header + random_lines(rng, size, 60))
    draw(raw, 'train', 'empty.png', (1100, 1100), [])
    Image.fromarray(picture(1200, 900)[..., 0]).save(draw(raw, 'train', 'grey.png', (1, 1), []))
    Image.fromarray(np.dstack([picture(900, 900), picture(900, 900)[..., 0]])).save(
        draw(raw, 'train', 'a.PNG', (1, 1), [])
    )
    draw(raw, 'test', 'T1.png', (1100, 700))
    return raw


@pytest.fixture
def small(tmp_path):
    """Two images of one window each, with an object each."""
    for name in ('P1', 'P2'):
        draw(tmp_path / 'raw', 'val', f'{name}.png', (64, 64), [f'{box(8, 8, 16, 16)} ship 0'])
    return tmp_path / 'raw'


def split_small(raw, out, **kwargs):
    return split_dota(raw, out, splits=['val'], size=64, overlap=8, workers=1, **kwargs)['val']


def tree(folder):
    """The bytes of all files."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def messages(result):
    return [f'{fault["path"]}:{fault["line"]}: {fault["message"]}' for fault in result['faults']]


# --- objects ----------------------------------------------------------------------------------------------------------


def test_which_objects_belong_to_a_tile(tmp_path):
    """Three windows, at 0, 824 and 976; what is written of objects of 100 x 100 pixels and one that is too large."""
    lines = [
        f'{box(955, 10, 1055, 110)} ship 0',  # 0.69 in the first, whole in the second, 0.79 in the third
        f'{box(954, 210, 1054, 310)} plane 1',  # 0.70, whole, 0.78
        f'{box(100.5, 310, 200.5, 410)} harbor 1',  # whole in the first
        f'{box(1950, 410, 2050, 510)} bridge 0',  # half of it in the last
        f'{box(10, -29, 110, 71)} ship 1',  # 0.71 in the first
        f'{box(50, 600, 1950, 610)} bridge',  # longer than a window
    ]
    draw(tmp_path / 'raw', 'val', 'P.png', (2000, 1024), ['gsd:null', *lines])
    result = split_dota(tmp_path / 'raw', tmp_path / 'out', splits=['val'], workers=1)['val']
    annotations = {path.stem: path.read_text() for path in (tmp_path / 'out/val/annfiles').iterdir()}
    assert annotations == {
        'P__1024__0___0': '954.0 210.0 1054.0 210.0 1054.0 310.0 954.0 310.0 plane 2\n'
        '100.5 310.0 200.5 310.0 200.5 410.0 100.5 410.0 harbor 1\n'
        '10.0 -29.0 110.0 -29.0 110.0 71.0 10.0 71.0 ship 2\n',
        'P__1024__824___0': '131.0 10.0 231.0 10.0 231.0 110.0 131.0 110.0 ship 0\n'
        '130.0 210.0 230.0 210.0 230.0 310.0 130.0 310.0 plane 1\n',
        'P__1024__976___0': '-21.0 10.0 79.0 10.0 79.0 110.0 -21.0 110.0 ship 2\n'
        '-22.0 210.0 78.0 210.0 78.0 310.0 -22.0 310.0 plane 2\n',
    }
    assert result['left_out'] == [{'path': 'val/labelTxt/P.txt', 'line': number} for number in (5, 7)]
    assert result['counts'] == {
        'images': 1, 'tiles': 3, 'dropped': 0, 'objects': 6, 'kept': 4, 'left_out': 2, 'truncated': 4, 'empty': 0,
        'bad_lines': 0,
    }  # fmt: skip


def test_tiles_are_padded(tmp_path):
    draw(tmp_path / 'raw', 'val', 'P.png', (30, 50), [])
    split_small(tmp_path / 'raw', tmp_path / 'out')
    tile = np.asarray(Image.open(tmp_path / 'out/val/images/P__64__0___0.png'))
    assert tile.shape == (64, 64, 3)
    assert (tile[:50, :30] == picture(30, 50)).all()
    assert (tile[50:] == (124, 116, 104)).all() and (tile[:, 30:] == (124, 116, 104)).all()


# --- the same as mmrotate's -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('multi_scale', [False, True])
def test_the_tiles_are_those_of_mmrotates_tool(raw, tmp_path, multi_scale):
    gaps, rates = (500, (0.5, 1.0, 1.5)) if multi_scale else (200, (1.0,))
    # its tool passes over endings such as .PNG
    theirs = Path(shutil.copytree(raw, tmp_path / 'raw'))
    (theirs / 'train/images/a.PNG').rename(theirs / 'train/images/a.png')
    command = [
        sys.executable, MMROTATE / '.mim/tools/data/dota/split/img_split.py', '--nproc', 2,
        '--save-dir', tmp_path / 'b',
        '--img-dirs', *(theirs / part / 'images' for part in ('train', 'val')),
        '--ann-dirs', *(theirs / part / 'labelTxt' for part in ('train', 'val')),
        '--sizes', 1024, '--gaps', gaps, '--rates', *rates, '--img-rate-thr', 0.6, '--iof-thr', 0.7,
        '--padding-value', 104, 116, 124,
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=600)
    result = split_dota(raw, tmp_path / 'a', multi_scale=multi_scale, splits=['trainval'])['trainval']
    ours, expected = tmp_path / 'a/trainval', tmp_path / 'b'

    annotations = tree(expected / 'annfiles')
    assert tree(ours / 'annfiles') == annotations
    assert result['faults'] == [] and result['counts']['tiles'] == len(annotations)
    assert result['counts']['truncated'] == sum(text.count(b' 2\n') for text in annotations.values()) > 50
    assert result['counts']['objects'] == 480 and result['counts']['empty'] == 3
    names = sorted(path.name for path in (expected / 'images').iterdir())
    assert sorted(path.name for path in (ours / 'images').iterdir()) == names
    assert {Path(name).stem for name in names} == {Path(name).stem for name in annotations}
    for name in names:
        assert (
            np.asarray(Image.open(ours / 'images' / name)) == np.asarray(Image.open(expected / 'images' / name))
        ).all()


def test_mmrotates_data_set_reads_the_tiles(raw, tmp_path):
    from mmrotate.datasets import DOTADataset, DOTAv15Dataset

    train_lines = [f'{box(8, 8, 40, 40)} container-crane 0']
    draw(tmp_path / 'raw', 'train', 'P.png', (64, 64), train_lines, folder='labelTxt-v1.5')
    split_dota(tmp_path / 'raw', tmp_path / 'v1.5', version='1.5', splits=['train'], workers=1)
    crane = DOTAv15Dataset(
        data_root=f'{tmp_path}/v1.5/train/', ann_file='annfiles/', data_prefix={'img_path': 'images/'}, pipeline=[]
    )
    assert crane[0]['instances'] == [{'bbox': [8, 8, 40, 8, 40, 40, 8, 40], 'bbox_label': 15, 'ignore_flag': 0}]

    results = split_dota(raw, tmp_path / 'out')
    assert list(results) == ['trainval', 'val', 'test']
    for name, result in results.items():
        counts = result['counts']
        data = DOTADataset(
            data_root=f'{tmp_path}/out/{name}/',
            ann_file='' if name == 'test' else 'annfiles/',
            data_prefix={'img_path': 'images/'},
            pipeline=[],
            test_mode=True,
        )
        assert len(data) == counts['tiles'] > 0
        assert all(Path(data[index]['img_path']).is_file() for index in range(len(data)))
        if name != 'test':
            written = sum(len(data[index]['instances']) for index in range(len(data)))
            assert written >= counts['kept'] == counts['objects'] - counts['left_out']
            copies = {
                f'labelTxt/{path.name}' for part in dota_split.SPLITS[name] for path in (raw / part).glob('*/*.txt')
            }
            assert {key for key in tree(tmp_path / 'out' / name) if key.startswith('labelTxt')} == copies
    assert {path.name for path in (tmp_path / 'out/test').iterdir()} == {'images', 'split.json'}


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(small):
    """The two sound images, and everything that can be wrong."""
    (small / 'val/labelTxt/P2.txt').write_bytes(b'gsd:null\r\n8 8 16 8 16 16 8 16 shp 0\r\n8 8 16 8 16 16 8 16 ship 1')
    for name in ('half.png', 'half.jpg', 'half.bmp'):
        path = draw(
            small, 'val', name.replace('half', f'half_{name[-3:]}'), (256, 256), [f'{box(8, 8, 16, 16)} ship 0']
        )
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    flipped = draw(small, 'val', 'flipped.png', (64, 64), [])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    draw(small, 'val', 'text.png', (1, 1), []).write_text('404 not found')
    Image.fromarray(np.full((64, 64), 1000, np.uint16)).save(draw(small, 'val', 'deep.png', (1, 1), []))
    draw(small, 'val', 'bare.png', (64, 64))
    (small / 'val/labelTxt/orphan.txt').write_text('')
    (small / 'val/images/notes.md').write_text('no image')
    (small / 'val/images/._P1.png').write_text('what macOS leaves')
    return small


def test_what_is_sound_is_split_and_what_is_not_is_told(faulty, tmp_path):
    result = split_small(faulty, tmp_path / 'out')
    told = messages(result)
    assert told == sorted(told) and len(told) == 9
    for start, end in [
        ('val/images/bare.png:None: ', 'the label file val/labelTxt/bare.txt does not exist'),
        ('val/images/deep.png:None: ', 'unreadable image: mode I;16; convert it to 8-bit RGB or grey'),
        ('val/images/flipped.png:None: unreadable image: ', ''),
        ('val/images/half_bmp.bmp:None: unreadable image: image file is truncated', ''),
        ('val/images/half_jpg.jpg:None: unreadable image: image file is truncated', ''),
        ('val/images/half_png.png:None: unreadable image: ', 'image file is truncated'),
        ('val/images/text.png:None: unreadable image: ', 'unknown format'),
        ('val/labelTxt/P2.txt:2: ', "unknown class 'shp'; is it ship?"),
        ('val/labelTxt/orphan.txt:None: ', 'val/images has no image of this name'),
    ]:
        assert any(line.startswith(start) and line.endswith(end) for line in told), start
    files = tree(tmp_path / 'out/val')
    assert set(files) == {
        'split.json', 'labelTxt/P1.txt', 'labelTxt/P2.txt',
        *(f'images/{name}__64__0___0.png' for name in ('P1', 'P2', 'bare')),
        *(f'annfiles/{name}__64__0___0.txt' for name in ('P1', 'P2', 'bare')),
    }  # fmt: skip
    assert files['annfiles/bare__64__0___0.txt'] == b''
    assert files['annfiles/P2__64__0___0.txt'] == b'8.0 8.0 16.0 8.0 16.0 16.0 8.0 16.0 ship 1\n'
    assert files['labelTxt/P2.txt'] == (faulty / 'val/labelTxt/P2.txt').read_bytes()
    assert str(tmp_path).encode() not in files['split.json']
    counts = result['counts']
    assert (counts['images'], counts['objects'], counts['empty'], counts['bad_lines']) == (3, 2, 1, 1)
    assert json.loads(files['split.json']) == {key: result[key] for key in ('settings', 'counts', 'faults', 'left_out')}


@pytest.mark.parametrize('fault', ['label', 'image', 'orphan'])
def test_strict_writes_nothing(small, tmp_path, fault):
    if fault == 'label':
        (small / 'val/labelTxt/P2.txt').write_text('1 2 3')
        match = r'^val/labelTxt/P2.txt:1: 3 fields; .*, and 1 more; fix the raw files'
    elif fault == 'image':
        path = small / 'val/images/P2.png'
        path.write_bytes(path.read_bytes()[:-60])
        match = r'^val/images/P2.png: unreadable image: image file is truncated, and 1 more;'
    else:
        match = r'^val/labelTxt/z.txt: val/images has no image of this name; fix'
    (small / 'val/labelTxt/z.txt').write_text('')
    with pytest.raises(DataError, match=match):
        split_small(small, tmp_path / 'out', strict=True)
    assert not (tmp_path / 'out').exists()


def test_strict_of_what_is_sound_and_of_what_is_already_split(small, tmp_path):
    assert split_small(small, tmp_path / 'out', strict=True)['counts']['images'] == 2
    assert not split_small(small, tmp_path / 'out', strict=True)['made']
    (small / 'val/labelTxt/P2.txt').unlink()
    split_small(small, tmp_path / 'other')
    with pytest.raises(DataError, match='val/images/P2.png: the label file .* does not exist'):
        split_small(small, tmp_path / 'other', strict=True)


def test_images_of_any_size_are_read(small, tmp_path, monkeypatch):
    """Pillow warns of more than this, and refuses twice as many pixels."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert split_small(small, tmp_path / 'out')['faults'] == []


# --- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'version': '2.0'}, r'unknown version 2.0; expected one of 1.0, 1.5'),
        ({'splits': ['minival']}, 'unknown split minival; expected one of train, val, trainval, test'),
        ({'splits': ['test']}, r'the split test needs the folder .*/raw/test/images;'),
        ({'splits': ['trainval']}, r'the split trainval needs the folder .*/raw/train/images;'),
        ({'version': '1.5'}, r'the split val needs the folder .*/raw/val/labelTxt-v1.5;'),
        ({'size': 200}, 'windows of 200 pixels that overlap by 200; expected an overlap from 0 to size - 1'),
        ({'size': 0, 'overlap': 0}, 'windows of 0 pixels'),
        ({'size': 1, 'overlap': 0, 'multi_scale': True}, 'windows of 1 pixels'),
        ({'overlap': -1}, 'overlap by -1'),
        ({'workers': 0}, '0 workers; expected at least 1'),
    ],
)
def test_settings_that_cannot_work(small, tmp_path, options, match):
    with pytest.raises(DataError, match=match):
        split_dota(small, tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


def test_raw_folders_that_cannot_work(tmp_path):
    with pytest.raises(DataError, match='expected the folders train and val, or test'):
        split_dota(tmp_path, tmp_path / 'out')
    (tmp_path / 'test/images').mkdir(parents=True)
    with pytest.raises(DataError, match=r'/test/images has no images; expected files with the suffixes .png'):
        split_dota(tmp_path, tmp_path / 'out')
    for part in ('train', 'val'):
        draw(tmp_path, part, 'P1.png', (8, 8), [])
    with pytest.raises(DataError, match=r'train/images/P1.png and .*val/images/P1.png have the same name'):
        split_dota(tmp_path, tmp_path / 'out', splits=['trainval'])


def test_the_splits_that_are_made(small, tmp_path):
    assert list(split_dota(small, tmp_path / 'a', workers=1)) == ['val']
    draw(small, 'train', 'P3.png', (64, 64), [])
    assert list(split_dota(small, tmp_path / 'b', workers=1)) == ['trainval', 'val']
    assert list(split_dota(small, tmp_path / 'c', splits=['val', 'train', 'val'], workers=1)) == ['val', 'train']


def test_a_disk_that_cannot_be_written(small, tmp_path):
    (tmp_path / 'out').write_text('a file')
    with pytest.raises(DataError, match=r'^Not a directory: .*/out/val/.progress; fix it and run the same command'):
        split_small(small, tmp_path / 'out')


def end(*arguments):
    os._exit(9)


def test_it_was_killed_at_the_very_beginning(small, tmp_path):
    (tmp_path / 'out/val/.progress').mkdir(parents=True)
    assert split_small(small, tmp_path / 'out')['made']


def test_a_worker_that_is_killed(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(dota_split, '_cut', end)
        with pytest.raises(MMFasterNetError, match='a worker was killed.*with fewer --workers to resume'):
            split_small(small, tmp_path / 'out')
    assert split_small(small, tmp_path / 'out')['counts']['images'] == 2


# --- again ------------------------------------------------------------------------------------------------------------


def test_two_runs_write_the_same_bytes(raw, tmp_path):
    split_dota(raw, tmp_path / 'a', splits=['val', 'test'], workers=1)
    split_dota(raw, tmp_path / 'b', splits=['val', 'test'], workers=3)
    assert tree(tmp_path / 'a') == tree(tmp_path / 'b')


def test_what_is_finished_stays(small, tmp_path):
    assert split_small(small, tmp_path / 'out')['made']
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('out/**/*')}
    (tmp_path / 'out/val/.progress').mkdir()  # as if it was interrupted at the very end
    again = split_small(small, tmp_path / 'out')
    assert not again['made'] and again['counts']['images'] == 2
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('out/**/*')}
    before.pop(tmp_path / 'out/val'), after.pop(tmp_path / 'out/val')
    assert after == before


def test_other_settings_or_images_need_overwrite(small, tmp_path):
    out = tmp_path / 'out'
    split_small(small, out)
    before = tree(out)
    for change in ({'size': 32}, {'overlap': 4}, {'multi_scale': True}):
        options = {'splits': ['val'], 'size': 64, 'overlap': 8, 'workers': 1, **change}
        with pytest.raises(DataError, match=r'out/val has tiles with other (sizes|overlaps).*--overwrite'):
            split_dota(small, out, **options)
    label = small / 'val/labelTxt/P1.txt'
    content = label.read_text()
    label.write_text(content.replace('ship', 'shop'))
    with pytest.raises(
        DataError, match=r'out/val has tiles with other sources \(expected [0-9a-f]{64}\); choose another'
    ):
        split_small(small, out)
    label.write_text(content)
    (small / 'val/images/P2.png').rename(small / 'val/images/P9.png')
    (small / 'val/labelTxt/P2.txt').rename(small / 'val/labelTxt/P9.txt')
    with pytest.raises(DataError, match='other sources'):
        split_small(small, out)
    assert tree(out) == before
    (out / 'val/notes.txt').write_text('mine')
    split_small(small, out, overwrite=True)
    split_small(small, tmp_path / 'fresh')
    assert {**tree(tmp_path / 'fresh'), 'val/notes.txt': b'mine'} == tree(out)


@pytest.mark.parametrize('content', ['images/holiday.png', 'split.json', '.progress/notes.txt'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_other_folders_stay(small, tmp_path, content, overwrite):
    path = tmp_path / 'out/val' / content
    path.parent.mkdir(parents=True)
    path.write_text('mine')
    (tmp_path / 'out/val/letters').mkdir()
    with pytest.raises(DataError, match='out/val exists but has no tiles of DOTA, so it is not changed'):
        split_small(small, tmp_path / 'out', overwrite=overwrite)
    assert tree(tmp_path / 'out') == {f'val/{content}': b'mine'}


@pytest.mark.parametrize('is_finished', [False, True])
@pytest.mark.parametrize('steps', range(4))
def test_an_interrupted_overwrite_is_not_taken_for_the_old_or_the_new(small, tmp_path, monkeypatch, steps, is_finished):
    """After none, one, two, or three folders were removed."""
    out = tmp_path / 'out'
    if is_finished:
        split_small(small, out)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(dota_split, '_cut', end)
            with pytest.raises(MMFasterNetError):
                split_small(small, out)
        (out / 'val/.progress/records/P1.json').write_text('{"counts": {}, "faults": [], "left_out": []}')
    (out / 'val/images/old.png').write_text('old')
    calls = iter(range(10))

    def remove(folder, remove=dota_split._remove):
        if next(calls) == steps:
            raise KeyboardInterrupt
        remove(folder)

    with monkeypatch.context() as patch:
        patch.setattr(dota_split, '_remove', remove)
        with pytest.raises(KeyboardInterrupt):
            split_small(small, out, overwrite=True)
    with pytest.raises(DataError, match='tiles with other version and sizes and overlaps and sources'):
        split_small(small, out)
    split_small(small, out, overwrite=True)
    split_small(small, tmp_path / 'fresh')
    assert tree(out) == tree(tmp_path / 'fresh')


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def noise(tmp_path_factory):
    """Images that take their time."""
    raw, rng = tmp_path_factory.mktemp('noise'), np.random.default_rng(0)
    for index in range(8):
        path = draw(raw, 'val', f'P{index}.png', (1, 1), random_lines(rng, (1500, 1500), 20))
        Image.fromarray(rng.integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(path, compress_level=1)
    return raw


def alive(group):
    """The living processes of a group."""
    stats = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            stats.append(path.read_text().rpartition(')')[2].split())
        except OSError:
            continue
    return [stat for stat in stats if stat[2] == str(group) and stat[0] != 'Z']


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize('victims', ['all processes', 'the first process'])
def test_a_kill_loses_nothing(noise, tmp_path, victims):
    out = tmp_path / 'out'
    script = 'import sys; from mmfasternet.datasets.dota.split import split_dota; split_dota(*sys.argv[1:], workers=2)'
    process = subprocess.Popen([sys.executable, '-c', script, noise, out], start_new_session=True)
    records = out / 'val/.progress/records'
    wait_until(lambda: records.is_dir() and len(list(records.iterdir())) >= 2)
    (os.killpg if victims == 'all processes' else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    try:
        wait_until(lambda: not alive(process.pid), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    done = {path.stem for path in records.iterdir()}
    assert 2 <= len(done) < 8 and not (out / 'val/split.json').exists()
    tiles = {path: path.stat().st_mtime_ns for path in out.glob('val/images/*')}
    for tile in tiles:
        assert Image.open(tile).convert('RGB').size == (1024, 1024)
    split_dota(noise, out)
    for tile, written in tiles.items():
        if parse_tile_name(tile.stem)[0] in done:
            assert tile.stat().st_mtime_ns == written, 'it was cut again'
    split_dota(noise, tmp_path / 'whole')
    assert tree(out) == tree(tmp_path / 'whole')
    assert not (out / 'val/.progress').exists()


def test_a_file_is_never_half_written(small, tmp_path, monkeypatch):
    """What is written is killed at any time: the target holds all of it or is not there."""
    (tmp_path / '.progress').mkdir()
    target = tmp_path / 'target'
    content = bytes(range(256)) * 40_000
    for delay in np.linspace(0, 0.02, 12):
        target.unlink(missing_ok=True)
        worker = multiprocessing.get_context('fork').Process(target=dota_split._write, args=(tmp_path, target, content))
        worker.start()
        time.sleep(delay)
        worker.kill()
        worker.join()
        assert not target.exists() or target.read_bytes() == content
