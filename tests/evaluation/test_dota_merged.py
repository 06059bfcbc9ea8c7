"""DOTA's metrics as a test uses them: tiles in, a score or a zip out."""

import logging
import math
import re
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS

from mmfasternet.datasets.dota.labels import CLASSES
from mmfasternet.errors import DataError
from mmfasternet.evaluation.dota_merged import corners, label_folder

SHIP, PLANE = CLASSES['1.0'].index('ship'), CLASSES['1.0'].index('plane')
#: cx, cy, w, h, angle of four objects of an image, in its pixels.
PLACES = [(300, 300, 60, 20, 0.4), (900, 120, 80, 30, -1.2), (1500, 800, 50, 50, 0), (1700, 850, 40, 12, 1.5)]
NAMES = ['ship', 'ship', 'plane', 'ship']


def line(place, name, difficulty=0):
    quad = corners(torch.tensor([place], dtype=torch.float64)).ravel()
    return ' '.join(f'{value:.4f}' for value in quad) + f' {name} {difficulty}'


@pytest.fixture
def tiles(tmp_path):
    """Folders as split_dota.py leaves them: two images, of which P2__b is empty."""
    for name in ('images', 'labelTxt'):
        (tmp_path / 'val' / name).mkdir(parents=True)
    lines = ['imagesource:GoogleEarth', 'gsd:0.1', *map(line, PLACES, NAMES), line((600, 600, 30, 10, 0), 'ship', 1)]
    (tmp_path / 'val/labelTxt/P1.txt').write_text('\n'.join(lines))
    (tmp_path / 'val/labelTxt/P2__b.txt').write_text('')
    return tmp_path / 'val'


def sample(tiles, name, *found):
    """A tile's prediction from (label, score, box)."""
    return dict(
        img_path=str(tiles / 'images' / f'{name}.png'),
        pred_instances=dict(
            bboxes=torch.tensor([item[2] for item in found], dtype=torch.float32).reshape(-1, 5),
            scores=torch.tensor([item[1] for item in found], dtype=torch.float32),
            labels=torch.tensor([item[0] for item in found], dtype=torch.long),
        ),
    )


def at(place, x, y):
    return (place[0] - x, place[1] - y, *place[2:])


def perfect(tiles):
    """Every object in every tile that shows it, the one at x = 900 twice."""
    return [
        sample(tiles, 'P1__1024__0___0', (SHIP, 0.9, PLACES[0]), (SHIP, 0.8, PLACES[1])),
        sample(
            tiles, 'P1__1024__824___0',
            (SHIP, 0.95, at(PLACES[1], 824, 0)),
            (PLANE, 0.7, at(PLACES[2], 824, 0)),
            (SHIP, 0.6, at(PLACES[3], 824, 0)),
        ),
        sample(tiles, 'P2__b__1024__0___0'),
    ]  # fmt: skip


def build(kind, **settings):
    metric = METRICS.build(dict(type=kind, **settings))
    metric.dataset_meta = dict(classes=CLASSES['1.0'])
    return metric


def run(samples, kind='WholeImageDOTAMetric', **settings):
    metric = build(kind, **settings)
    for item in samples:
        metric.process(None, [item])
    return metric.evaluate(len(samples))


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_all_found(tiles, log):
    metrics = run(perfect(tiles))
    assert metrics.pop('dota_whole/angle_error') == pytest.approx(0, abs=1e-3)
    assert metrics == {'dota_whole/mAP': 1.0, 'dota_whole/AP50': 1.0}
    # of the ships 3 are to be found, by as many boxes: the one in two tiles is merged
    assert re.search(r'\| ship +\| 3 +\| 3 +\| 1.000 +\| 1.000 \|', log.text)


def test_a_miss_and_a_wrong_place(tiles):
    samples = perfect(tiles)
    samples[2] = sample(tiles, 'P2__b__1024__0___0', (SHIP, 0.99, (500, 500, 50, 20, 0)))
    # ships: wrong, right, right, right of 3: precision at the end 3/4; the plane is found
    assert run(samples)['dota_whole/mAP'] == pytest.approx((3 / 4 + 1) / 2)
    samples[0] = sample(tiles, 'P1__1024__0___0')
    # recall 2/3 covers 7 of the 11 levels, at precision 2/3
    assert run(samples)['dota_whole/mAP'] == pytest.approx((7 / 11 * 2 / 3 + 1) / 2)


def test_unmerged_boxes_count_as_wrong(tiles):
    """The box that two tiles give has to go, or the second is a false positive."""
    samples = perfect(tiles)
    assert run(samples, nms_iou_thr=1.0)['dota_whole/mAP'] < 1 == run(samples)['dota_whole/mAP']


def test_stricter_overlaps(tiles):
    samples = perfect(tiles)
    x, y, w, h, angle = at(PLACES[2], 824, 0)
    # 50 × 50 moved by a tenth: 45 / 55 in common
    samples[1] = sample(tiles, 'P1__1024__824___0', (PLANE, 0.7, (x + 5, y, w, h, angle)))
    metrics = run(samples, iou_thrs=[0.5, 0.75, 0.85])
    planes = 1 / 2  # of the mean over two classes
    ships = metrics['dota_whole/AP85']
    assert ships > 0
    assert metrics['dota_whole/AP50'] == metrics['dota_whole/AP75'] == pytest.approx(ships + planes)
    assert metrics['dota_whole/mAP'] == pytest.approx(ships + planes * 2 / 3)


def test_difficult_objects_do_not_count(tiles):
    samples = perfect(tiles)
    samples[0] = sample(tiles, 'P1__1024__0___0', (SHIP, 0.9, PLACES[0]), (SHIP, 0.99, (600, 600, 30, 10, 0)))
    assert run(samples)['dota_whole/mAP'] == 1


def test_angle_error_of_long_objects(tiles):
    """Two ships turned by 3° and -4°, the third not found; the plane is square and does not count."""
    turned = [(*PLACES[0][:4], PLACES[0][4] + math.radians(3)), (*PLACES[1][:4], PLACES[1][4] - math.radians(4))]
    found = [(SHIP, 0.9, box) for box in turned]
    samples = [
        sample(tiles, 'P1__1024__0___0', *found),
        sample(tiles, 'P1__1024__824___0', (PLANE, 0.9, (*at(PLACES[2], 824, 0)[:4], 0.7))),
    ]
    assert run(samples)['dota_whole/angle_error'] == pytest.approx(3.5, abs=0.01)
    # nothing long found: there is no such figure
    assert 'dota_whole/angle_error' not in run(samples[1:])


def test_says_what_it_left_out(tiles, log):
    (tiles / 'labelTxt/P1.txt').write_text(f'{line(PLACES[0], "ship")}\n{line(PLACES[1], "ufo")}\n')
    (tiles / 'labelTxt/P2__b.txt').unlink()
    (tiles / 'labelTxt/P9.txt').write_text('')
    run(perfect(tiles))
    assert 'ignored 1 lines of the raw labels' in log.text and "P1.txt:2: unknown class 'ufo'" in log.text
    assert 'has no labels of 1 images, the first P2__b' in log.text
    assert 'has labels of 1 images that were not tested' in log.text


def test_where_the_labels_are(tiles, tmp_path):
    assert label_folder(tiles / 'images/P1__1024__0___0.png') == tiles / 'labelTxt'
    moved = (tiles / 'labelTxt').rename(tmp_path / 'elsewhere')
    with pytest.raises(DataError, match='cut the tiles with tools/split_dota.py'):
        run(perfect(tiles))
    assert run(perfect(tiles), label_dir=str(moved))['dota_whole/mAP'] == 1


def test_an_image_that_is_no_tile(tiles):
    with pytest.raises(DataError, match='P0001'):
        run([sample(tiles, 'P0001')])


def read(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode().splitlines() for name in archive.namelist()}


def test_submission(tiles, tmp_path):
    out = tmp_path / 'new' / 'Task1.zip'
    samples = perfect(tiles)
    samples[2] = sample(tiles, 'P2__b__1024__0___0', (PLANE, 0.123456789, (99, 99, 9, 9, 0)))
    metrics = run(samples, 'DOTASubmission', out=str(out))
    assert metrics == {'submission/images': 2, 'submission/detections': 5}
    files = read(out)
    assert files.keys() == {f'Task1_{name}.txt' for name in CLASSES['1.0']}
    assert len(files['Task1_ship.txt']) == 3 and files['Task1_bridge.txt'] == []
    image, score, *quad = files['Task1_ship.txt'][0].split(' ')
    assert image == 'P1' and np.float32(score) == np.float32(0.95)
    expected = corners(torch.tensor([PLACES[1]], dtype=torch.float64)).ravel()
    assert list(map(float, quad)) == pytest.approx(expected, abs=0.006)


def test_submission_keeps_scores_apart_and_its_bytes(tiles, tmp_path):
    rng = np.random.default_rng(0)
    scores = np.unique(rng.random(2000).astype(np.float32))
    boxes = [
        (SHIP, score, (20 + 30 * (index % 30), 20 + 15 * (index // 30), 10, 5, 0)) for index, score in enumerate(scores)
    ]
    samples = [sample(tiles, 'P1__1024__0___0', *boxes)]
    for name in ('a.zip', 'b.zip', 'a.zip'):
        run(samples, 'DOTASubmission', out=str(tmp_path / name))
    written = [np.float32(row.split(' ')[1]) for row in read(tmp_path / 'a.zip')['Task1_ship.txt']]
    assert sorted(written) == scores.tolist()
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()
