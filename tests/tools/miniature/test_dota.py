"""Mini DOTA: what it holds, that boxes and pixels agree, and that nobody's folder comes to harm."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from conftest import snapshot
from PIL import Image
from shapely import Polygon, box, contains_xy, minimum_rotated_rectangle

from miniature import dota as module
from miniature import make_dota
from miniature.aerial.scenes import LONGEST_SHADOW, lay_out, paint
from miniature.dota import DECK, deal, describe, make_image
from miniature.scenes import Light, render
from mmfasternet.errors import DataError

pytestmark = pytest.mark.slow

IMAGES = {'train': 24, 'val': 8, 'test': 2}
FOLDERS = {'1.0': 'labelTxt', '1.5': 'labelTxt-v1.5'}
#: The shortest and the longest object of each class in pixels, by its longer side.
LENGTHS = {
    'plane': (45, 80),
    'baseball-diamond': (50, 75),
    'bridge': (60, 120),
    'ground-track-field': (130, 150),
    'small-vehicle': (6, 22),
    'large-vehicle': (32, 50),
    'ship': (24, 70),
    'tennis-court': (44, 56),
    'basketball-court': (36, 48),
    'storage-tank': (20, 48),
    'soccer-ball-field': (76, 100),
    'roundabout': (40, 64),
    'harbor': (60, 120),
    'swimming-pool': (18, 30),
    'helicopter': (30, 42),
    'container-crane': (45, 65),
}
#: The classes of which there are fewer.
LARGE = ('ground-track-field', 'soccer-ball-field', 'roundabout', 'baseball-diamond')
#: The classes that are at least twice as long as wide.
SLENDER = ('bridge', 'small-vehicle', 'large-vehicle', 'ship', 'harbor')


@pytest.fixture(scope='module', params=['train', 'val'])
def split(request):
    return request.param


@pytest.fixture(scope='module')
def labels(mini_dota, split):
    """The objects of each image as DOTA 1.5 has them: corners, class and difficulty."""
    return {path.stem: parse(path) for path in (mini_dota / split / FOLDERS['1.5']).iterdir()}


@pytest.fixture(scope='module')
def objects(labels):
    return [each for image in labels.values() for each in image]


@pytest.fixture(scope='module')
def scenes():
    """A scene with a river and one with an avenue, each with one of all places."""
    return [lay_out(np.random.default_rng(5), way, 0.5, list(DECK)) for way in ('river', 'avenue')]


@pytest.fixture
def small(monkeypatch):
    """Make a few images only, of one place each."""
    monkeypatch.setattr(module, 'SPLITS', {'train': 2, 'val': 1, 'test': 1})
    monkeypatch.setattr(module, 'DECK', {'heliport': 8})
    monkeypatch.setattr(module, 'HANDS', (1,) * 8)


@pytest.fixture
def no_drawing(monkeypatch):
    """Fail at once if anything is drawn."""
    monkeypatch.setattr(module, 'deal', lambda seed, split: pytest.fail('it draws'))


def parse(path):
    lines = path.read_text().splitlines()
    assert lines[0] == 'imagesource:GoogleEarth' and lines[1].startswith('gsd:0.3')
    rows = [line.split(' ') for line in lines[2:]]
    assert all(len(row) == 10 for row in rows)
    return [(np.array(row[:8], dtype=float).reshape(4, 2), row[8], int(row[9])) for row in rows]


def sides(corners):
    """The lengths of the first two sides."""
    return np.linalg.norm(np.diff(corners[:3], axis=0), axis=1)


def direction(corners):
    """The direction of the longer side in degrees, 0 to 180."""
    sideways, down = np.diff(corners[:3], axis=0)
    x, y = max(sideways, down, key=np.linalg.norm)
    return np.degrees(np.arctan2(y, x)) % 180


def labelled(scene):
    return [thing for thing in scene.things if thing.name in LENGTHS]


def test_layout(mini_dota):
    assert {path.name for path in mini_dota.iterdir()} == {'train', 'val', 'test', 'miniature.json'}
    assert {path.name for path in (mini_dota / 'test').iterdir()} == {'images'}
    assert (mini_dota / 'train/images/P0001.png').is_file()
    names = [path.stem for path in mini_dota.glob('*/images/*.png')]
    assert len(names) == len(set(names)) == sum(IMAGES.values())
    for name, number in IMAGES.items():
        stems = {path.stem for path in (mini_dota / name / 'images').iterdir()}
        assert len(stems) == number
        for folder in FOLDERS.values() if name != 'test' else ():
            assert {path.stem for path in (mini_dota / name / folder).iterdir()} == stems


def test_pictures_have_various_sizes(mini_dota):
    sizes = []
    for path in mini_dota.glob('*/images/*'):
        with Image.open(path) as picture:
            assert (picture.format, picture.mode) == ('PNG', 'RGB')
            sizes.append(picture.size)
    assert np.min(sizes) >= 700 and np.max(sizes) <= 2000
    assert len(set(sizes)) > 0.8 * len(sizes)


def test_each_class_has_its_share(split, objects):
    numbers = Counter(name for _, name, _ in objects)
    assert numbers.keys() == LENGTHS.keys()
    for name, number in numbers.items():
        wanted = (40, 12) if name in LARGE else (60, 20)
        assert number >= wanted[split == 'val'], name


def test_every_deck_is_dealt_whole():
    for seed in range(20):
        tasks = deal(seed, 'train')
        for group in (tasks[:8], tasks[8:16], tasks[16:]):
            assert Counter(place for task in group for place in task.hand) == DECK
            assert Counter(task.way for task in group) == {'river': 4, 'avenue': 4}
            assert min(len(task.hand) for task in group) >= 8
            for way in ('river', 'avenue'):
                angles = [task.angle for task in group if task.way == way]
                assert (np.histogram(angles, 4, (0, np.pi))[0] == 1).all()


def test_boxes_are_rectangles_inside_the_picture(mini_dota, split, labels):
    for name, image in labels.items():
        assert 30 <= len(image) <= 250
        with Image.open(mini_dota / split / 'images' / f'{name}.png') as picture:
            width, height = picture.size
        for corners, _, _ in image:
            assert corners.min() >= 0 and (corners <= (width, height)).all()
            shape = Polygon(corners)
            assert shape.is_valid and shape.area == pytest.approx(np.prod(sides(corners)), abs=0.1 * shape.length)
            # Where y points down, the usual formula for the area is positive for clockwise corners.
            x, y = corners.T
            assert x @ np.roll(y, -1) - y @ np.roll(x, -1) > 0


def test_sizes_are_those_of_the_classes(objects):
    for name, (shortest, longest) in LENGTHS.items():
        lengths = [sides(corners).max() for corners, other, _ in objects if other == name]
        assert shortest - 0.5 <= min(lengths) and max(lengths) <= longest + 0.5, name
        shapes = [sides(corners) for corners, other, _ in objects if other == name]
        if name in SLENDER:
            assert min(max(shape) / min(shape) for shape in shapes) > 1.8, name


def test_version_1_0_lacks_cranes_and_the_tiniest(mini_dota, split):
    left_out = []
    for path in (mini_dota / split / FOLDERS['1.5']).iterdir():
        new = path.read_text().splitlines()
        old = (mini_dota / split / FOLDERS['1.0'] / path.name).read_text().splitlines()
        rest = iter(new)
        assert all(line in rest for line in old), 'the lines of 1.0 are some of those of 1.5, in the same order'
        left_out += [line.split() for line in new if line not in old]
        assert all(sides(corners).max() >= 9.9 for corners, _, _ in parse(path.parents[1] / 'labelTxt' / path.name))
    numbers = Counter(row[8] for row in left_out)
    assert numbers.keys() == {'container-crane', 'small-vehicle'}
    for row in left_out:
        if row[8] == 'small-vehicle':
            assert sides(np.array(row[:8], dtype=float).reshape(4, 2)).max() < 10.1


def test_a_few_objects_are_difficult(objects):
    difficulties = [difficulty for _, _, difficulty in objects]
    assert set(difficulties) == {0, 1}
    assert 0.015 < np.mean(difficulties) < 0.06


def test_objects_point_anywhere(objects, split):
    for name in SLENDER:
        found = np.histogram([direction(corners) for corners, other, _ in objects if other == name], 6, (0, 180))[0]
        assert (found > 0).sum() >= (5 if split == 'train' else 4), name
    assert np.histogram([direction(corners) for corners, _, _ in objects], 18, (0, 180))[0].min() > 0


@pytest.mark.parametrize('name, apart', [('ship', 16), ('small-vehicle', 17), ('large-vehicle', 22)])
def test_rows_are_close_and_parallel(labels, name, apart):
    near = 0
    for image in labels.values():
        found = [corners for corners, other, _ in image if other == name]
        middles = np.array([corners.mean(0) for corners in found])
        for index, corners in enumerate(found):
            distances = np.linalg.norm(middles - middles[index], axis=1)
            distances[index] = np.inf
            turn = abs(direction(corners) - direction(found[distances.argmin()]))
            near += distances.min() < apart and min(turn, 180 - turn) < 3
    assert near > 0.25 * sum(name == other for image in labels.values() for _, other, _ in image)


def test_round_objects_have_upright_squares(objects):
    for corners, name, _ in objects:
        if name in ('roundabout', 'storage-tank'):
            assert np.ptp(corners, axis=0) == pytest.approx(sides(corners), abs=0.01)
            assert corners[0].tolist() == corners.min(0).tolist()


def test_boxes_are_tight(scenes):
    """In line with the box, what is drawn reaches to all of its sides and not beyond."""
    tested = Counter()
    for scene in scenes:
        for thing in labelled(scene):
            tested[thing.name] += 1
            if tested[thing.name] > 4:
                continue
            seen = []
            for level in (0, 255):
                canvas = Image.new('RGB', scene.size, (level,) * 3)
                render(canvas, [thing], Light(0, -1, 0, 0))
                seen.append(np.asarray(canvas, dtype=float))
            rows, columns = np.nonzero((seen[1] - seen[0]).mean(2) < 128)
            points = np.stack([columns, rows], axis=1) + 0.5 - thing.corners[0]
            axes = np.diff(thing.corners[:3], axis=0)
            shares = points @ (axes / sides(thing.corners)[:, None]).T
            assert shares.min(0) == pytest.approx([0, 0], abs=2), thing.name
            assert shares.max(0) == pytest.approx(sides(thing.corners), abs=2), thing.name
            box_area = Polygon(thing.corners).area
            if thing.name in SLENDER:
                assert box_area == pytest.approx(minimum_rotated_rectangle(thing.outline).area, rel=0.02)
    assert tested.keys() == LENGTHS.keys()


def test_pictures_show_the_labelled_object(scenes):
    """Taking an object away changes the pixels in its box, and hardly any others but those in its shadow."""
    scene = scenes[0]
    picture = np.asarray(paint(np.random.default_rng(1), scene), dtype=int)
    for name in ('ship', 'plane', 'tennis-court', 'small-vehicle'):
        index = next(index for index, thing in enumerate(scene.things) if thing.name == name)
        shape = Polygon(scene.things[index].corners)
        rest = scene._replace(things=scene.things[:index] + scene.things[index + 1 :])
        changed = np.abs(np.asarray(paint(np.random.default_rng(1), rest)) - picture).max(2)
        columns, rows = np.meshgrid(np.arange(scene.size[0]) + 0.5, np.arange(scene.size[1]) + 0.5)
        assert changed[~contains_xy(shape.buffer(LONGEST_SHADOW + 12), columns, rows)].max() <= 8
        inside = contains_xy(scene.things[index].outline.buffer(-1), columns, rows)
        assert (changed[inside] > 15).mean() > 0.8, name


def test_no_object_is_hidden_or_cut(scenes):
    for scene in scenes:
        found = labelled(scene)
        picture = box(0, 0, *scene.size)
        for index, thing in enumerate(found):
            assert picture.contains(Polygon(thing.corners))
            for other in scene.things:
                names = {thing.name, other.name}
                if other is not thing and names != {'ground-track-field', 'soccer-ball-field'}:
                    assert not thing.outline.intersects(other.outline), (index, names)


def test_same_seed_gives_the_same_bytes(mini_dota, tmp_path):
    for task in (deal(0, 'val')[1], deal(0, 'test')[0]):
        name = f'P{task.number:04}'
        image, objects = make_image(0, task)
        image.save(tmp_path / 'again.png', compress_level=1)
        written = mini_dota / task.split / 'images' / f'{name}.png'
        assert (tmp_path / 'again.png').read_bytes() == written.read_bytes()
        if task.split == 'val':
            for version, folder in FOLDERS.items():
                assert describe(objects, version) == (mini_dota / 'val' / folder / f'{name}.txt').read_text()


def test_another_seed_gives_another_image():
    task = deal(0, 'val')[0]._replace(hand=['stadium'])
    (image, objects), (other, other_objects) = make_image(0, task), make_image(1, task)
    assert image.tobytes() != other.tobytes()
    assert describe(objects, '1.5') != describe(other_objects, '1.5')
    assert [list(each.hand) for each in deal(0, 'val')] != [list(each.hand) for each in deal(1, 'val')]


def test_what_is_there_is_not_drawn_again(mini_dota, no_drawing):
    before = snapshot(mini_dota)
    found = make_dota(mini_dota)
    assert not found['made']
    assert found['images'] == IMAGES
    lines = [path.read_text().count('\n') - 2 for path in mini_dota.glob('val/labelTxt-v1.5/*')]
    assert found['objects']['val'] == sum(lines) and found['objects']['test'] == 0
    assert snapshot(mini_dota) == before


def test_another_seed_and_missing_files_need_overwrite(tmp_path, small):
    out = tmp_path / 'mini'
    make_dota(out)
    assert json.loads((out / 'miniature.json').read_text())['seed'] == 0
    with pytest.raises(DataError, match='of seed 0.*expected seed 1'):
        make_dota(out, seed=1)
    next((out / 'train/labelTxt').iterdir()).unlink()
    with pytest.raises(DataError, match='lacks files'):
        make_dota(out)
    assert make_dota(out, seed=1, overwrite=True)['made']
    assert not make_dota(out, seed=1)['made']
    assert [path.name for path in tmp_path.iterdir()] == ['mini']


@pytest.mark.parametrize('existing', [False, True])
def test_an_interrupted_run_leaves_nothing_half(tmp_path, small, monkeypatch, existing):
    out = tmp_path / 'mini'
    if existing:
        make_dota(out)
    before = snapshot(tmp_path)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'tqdm', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_dota(out, seed=1, overwrite=True)
    assert snapshot(tmp_path) == before
    assert out.exists() == existing


def test_tool_finds_what_is_there(mini_dota, run_miniature_tool):
    code, output, errors = run_miniature_tool('dota', mini_dota)
    assert (code, errors) == (0, '')
    assert 'already exists' in output and 'train: 24 images' in output


def test_tool_makes(tmp_path, small, run_miniature_tool):
    code, output, _ = run_miniature_tool('dota', tmp_path / 'mini', '--seed', 3)
    assert code == 0
    assert 'mini DOTA with seed 3 drawn in' in output and 'val: 1 images' in output
    assert len(list((tmp_path / 'mini').rglob('*.png'))) == 4
