"""Mini COCO: what it holds, that masks and pixels agree, and that nobody's folder comes to harm."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from conftest import snapshot
from mmdet.datasets import CocoDataset
from PIL import Image
from pycocotools.coco import COCO
from shapely import Polygon, box, contains_xy, union_all

from miniature import coco as module
from miniature import make_coco
from miniature.coco import deal, make_image
from miniature.objects import COCO_OBJECTS
from miniature.scenes import LEAST_VISIBLE, Light, compose, pieces, render, visible
from mmfasternet.errors import DataError

IDS = {
    10: 'traffic light',
    13: 'stop sign',
    28: 'umbrella',
    34: 'frisbee',
    38: 'kite',
    52: 'banana',
    60: 'donut',
    85: 'clock',
}
NO_SHADOW = Light(x=0, y=-1, strength=0, shadow=0)


@pytest.fixture(scope='module', params=['train2017', 'val2017'])
def split(request):
    return request.param


@pytest.fixture(scope='module')
def loaded(mini_coco, split):
    return COCO(mini_coco / 'annotations' / f'instances_{split}.json')


@pytest.fixture
def no_drawing(monkeypatch):
    """Fail at once if anything is drawn."""
    monkeypatch.setattr(module, 'deal', lambda seed, split: pytest.fail('it draws'))


def polygons(annotation):
    return [Polygon(np.reshape(ring, (-1, 2))) for ring in annotation['segmentation']]


def scenes(number):
    """Scenes as they are drawn for the data set, with the sizes of their pictures."""
    for task in deal(1, 'val2017')[:number]:
        size = (320, 256)
        yield compose(np.random.default_rng(task.number), size, [(name, 60) for name, _ in task.hand]), size


def test_layout(mini_coco, split, loaded):
    number = {'train2017': 200, 'val2017': 50}[split]
    images = loaded.loadImgs(loaded.getImgIds())
    assert len(images) == number
    assert {path.name for path in (mini_coco / split).iterdir()} == {image['file_name'] for image in images}
    for image in images:
        with Image.open(mini_coco / split / image['file_name']) as picture:
            assert (picture.format, picture.mode, picture.size) == ('JPEG', 'RGB', (image['width'], image['height']))
        assert 3 <= len(loaded.getAnnIds(image['id'])) <= 7
    assert {path.name for path in mini_coco.iterdir()} == {'annotations', 'train2017', 'val2017'}
    assert (mini_coco / 'train2017/000000000001.jpg').is_file()


def test_ids_are_unique_over_both_files(mini_coco):
    contents = [json.loads(path.read_text()) for path in (mini_coco / 'annotations').iterdir()]
    for key in ('images', 'annotations'):
        ids = [item['id'] for content in contents for item in content[key]]
        assert len(ids) == len(set(ids))


def test_categories_are_those_of_coco(loaded):
    categories = loaded.dataset['categories']
    assert tuple(category['name'] for category in categories) == CocoDataset.METAINFO['classes']
    missing = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert [category['id'] for category in categories] == [number for number in range(1, 91) if number not in missing]
    groups = {category['name']: category['supercategory'] for category in categories}
    assert (groups['stop sign'], groups['kite'], groups['clock']) == ('outdoor', 'sports', 'indoor')


def test_classes_and_sizes_are_balanced(split, loaded):
    annotations = loaded.loadAnns(loaded.getAnnIds())
    names = Counter(annotation['category_id'] for annotation in annotations)
    assert names.keys() == IDS.keys()
    assert all(loaded.cats[number]['name'] == name for number, name in IDS.items())
    assert max(names.values()) <= 1.2 * min(names.values())
    assert min(names.values()) >= {'train2017': 90, 'val2017': 15}[split]
    areas = np.array([annotation['area'] for annotation in annotations])
    shares = np.histogram(areas, [0, 32**2, 96**2, np.inf])[0] / len(areas)
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.08)
    assert areas.min() >= 14**2


def test_masks_areas_and_boxes_agree(loaded):
    apart = []
    for annotation in loaded.loadAnns(loaded.getAnnIds()):
        image = loaded.imgs[annotation['image_id']]
        x, y, width, height = annotation['bbox']
        assert x >= 0 and y >= 0 and x + width <= image['width'] + 0.01 and y + height <= image['height'] + 0.01
        parts = polygons(annotation)
        assert all(part.is_valid for part in parts)
        assert union_all(parts).area == pytest.approx(annotation['area'], abs=0.5)
        mask = loaded.annToMask(annotation)
        outline = sum(part.length for part in parts)
        assert abs(mask.sum() - annotation['area']) < 0.5 * outline
        corners = [x, y, x + width, y + height]
        assert union_all(parts).bounds == pytest.approx(corners, abs=0.011)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        apart.append(np.subtract([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], corners) * [1, 1, -1, -1])
    # Tips and slivers are thinner than a pixel, so that the mask may end a little before it, but not after.
    assert np.min(apart) > -1 and np.max(apart) < 6
    assert np.mean(np.abs(apart) <= 1) > 0.98


def test_masks_of_an_image_do_not_overlap(loaded):
    touching = 0
    for number in loaded.getImgIds():
        shapes = [union_all(polygons(annotation)) for annotation in loaded.imgToAnns[number]]
        for index, shape in enumerate(shapes):
            for other in shapes[index + 1 :]:
                assert shape.intersection(other).area < 1
                touching += shape.distance(other) < 0.1
    assert touching >= 10, 'hardly any object covers another one'


def test_some_objects_are_cut_by_the_border(loaded):
    cut = 0
    for annotation in loaded.loadAnns(loaded.getAnnIds()):
        image = loaded.imgs[annotation['image_id']]
        x, y, width, height = annotation['bbox']
        cut += x == 0 or y == 0 or x + width >= image['width'] or y + height >= image['height']
    assert 0.1 < cut / len(loaded.anns) < 0.5


def test_no_object_is_hidden():
    for scene, size in scenes(20):
        outlines = [drawing.outline for drawing in scene]
        for outline, part in zip(outlines, visible(outlines, size)):
            assert part.area >= LEAST_VISIBLE * outline.area


def alpha(scene, index, size):
    """How much of each pixel an object colours, from its absence and presence in black and in white pictures."""
    seen = []
    for level in (0, 255):
        canvas = Image.new('RGB', size, (level,) * 3)
        render(canvas, [scene[index]], NO_SHADOW)
        seen.append(np.asarray(canvas, dtype=float))
    return 1 - (seen[1] - seen[0]).mean(2) / 255


def middles_in(shape, size):
    """Which pixels have their middle in a shape."""
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return contains_xy(shape, columns, rows)


@pytest.mark.parametrize('name', COCO_OBJECTS)
@pytest.mark.parametrize('side', [20, 90])
def test_pixels_agree_with_the_outline(name, side):
    size = (200, 180)
    scene = compose(np.random.default_rng(side), size, [(name, side)])
    outline = scene[0].outline
    drawn = alpha(scene, 0, size)
    assert drawn[~middles_in(outline.buffer(1), size)].max() < 0.01
    assert drawn[middles_in(outline.buffer(-1), size)].min() > 0.99
    seen = outline & box(0, 0, *size)
    assert drawn.sum() == pytest.approx(seen.area, abs=0.15 * seen.length)


def test_pixels_of_a_scene_belong_to_the_annotated_object():
    """Taking an object away changes the pixels of its mask and no others."""
    for scene, size in scenes(6):
        for index, part in enumerate(visible([drawing.outline for drawing in scene], size)):
            changed = np.zeros(size[::-1], dtype=bool)
            for colour in ((255, 0, 255), (0, 255, 0)):
                pictures = []
                for drawings in (scene, scene[:index] + scene[index + 1 :]):
                    canvas = Image.new('RGB', size, colour)
                    render(canvas, drawings, NO_SHADOW)
                    pictures.append(np.asarray(canvas, dtype=int))
                changed |= np.abs(pictures[0] - pictures[1]).max(2) > 40
            assert not changed[~middles_in(part.buffer(1), size)].any()
            inside = middles_in(part.buffer(-1), size)
            assert changed[inside].mean() > 0.9


def test_shadow_and_light_leave_the_outline_alone():
    scene, size = next(scenes(1))
    pictures = []
    for light in (NO_SHADOW, Light(0, -1, 1, 0.5)):
        canvas = Image.new('RGB', size, (200, 200, 200))
        render(canvas, scene[:1], light)
        pictures.append(np.asarray(canvas, dtype=int))
    below = ~middles_in(scene[0].outline.buffer(1), size)
    darker = (pictures[0] - pictures[1])[below]
    assert darker.max() > 20 and darker.min() >= 0


def test_pieces_have_no_holes():
    shape = box(0, 0, 10, 10) - box(1, 1, 3, 3) - box(5, 2, 9, 8)
    found = pieces(shape)
    assert not any(piece.interiors for piece in found)
    assert union_all(found).symmetric_difference(shape).area < 1e-9


def test_same_seed_gives_the_same_bytes(mini_coco, tmp_path):
    content = json.loads((mini_coco / 'annotations/instances_val2017.json').read_text())
    for task in deal(0, 'val2017')[:5]:
        image, annotations = make_image(0, task)
        image.save(tmp_path / 'again.jpg', quality=90)
        assert (tmp_path / 'again.jpg').read_bytes() == (mini_coco / f'val2017/{task.number:012}.jpg').read_bytes()
        assert annotations == [each for each in content['annotations'] if each['image_id'] == task.number]


def test_another_seed_gives_another_image():
    task = deal(0, 'val2017')[0]
    (image, annotations), (other, other_annotations) = make_image(0, task), make_image(1, task)
    assert image.tobytes() != other.tobytes()
    assert annotations != other_annotations
    assert [each.hand for each in deal(0, 'val2017')] != [each.hand for each in deal(1, 'val2017')]


def test_what_is_there_is_not_drawn_again(mini_coco, no_drawing):
    before = snapshot(mini_coco)
    found = make_coco(mini_coco)
    assert not found['made']
    assert found['images'] == {'train2017': 200, 'val2017': 50}
    assert sum(found['objects'].values()) >= 750
    assert snapshot(mini_coco) == before


@pytest.fixture
def small(monkeypatch):
    """Make a few images only."""
    monkeypatch.setattr(module, 'SPLITS', {'train2017': 3, 'val2017': 2})


def test_another_seed_and_missing_files_need_overwrite(tmp_path, small):
    out = tmp_path / 'mini'
    make_coco(out)
    with pytest.raises(DataError, match='of seed 0.*expected seed 1'):
        make_coco(out, seed=1)
    next((out / 'train2017').iterdir()).unlink()
    with pytest.raises(DataError, match='lacks files'):
        make_coco(out)
    assert make_coco(out, seed=1, overwrite=True)['made']
    assert not make_coco(out, seed=1)['made']
    assert [path.name for path in tmp_path.iterdir()] == ['mini']


@pytest.mark.parametrize('existing', [False, True])
def test_an_interrupted_run_leaves_nothing_half(tmp_path, small, monkeypatch, existing):
    out = tmp_path / 'mini'
    if existing:
        make_coco(out)
    before = snapshot(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'describe', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_coco(out, seed=1, overwrite=True)
    assert snapshot(tmp_path) == before
    assert out.exists() == existing


def test_tool_finds_what_is_there(mini_coco, run_miniature_tool):
    code, output, errors = run_miniature_tool('coco', mini_coco)
    assert (code, errors) == (0, '')
    assert 'already exists' in output and 'train2017: 200 images' in output


def test_tool_makes(tmp_path, small, run_miniature_tool):
    code, output, _ = run_miniature_tool('coco', tmp_path / 'mini', '--seed', 3)
    assert code == 0
    assert 'seed 3 drawn in' in output and 'val2017: 2 images' in output
    assert len(list((tmp_path / 'mini').rglob('*.jpg'))) == 5
