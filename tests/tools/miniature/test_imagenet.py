"""Mini ImageNet: what it holds, that its pictures show what they should, and that nobody's folder comes to harm."""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from conftest import snapshot
from PIL import Image
from shapely import box, contains_xy, union_all
from timm.data import ImageNetInfo

from miniature import imagenet as module
from miniature import make_imagenet
from miniature.corruptions import corrupt
from miniature.imagenet import (
    CLASSES,
    WNIDS,
    centre_crop,
    deal,
    fit,
    make_image,
    save_corrupted,
)
from miniature.imagenet_objects import IMAGENET_OBJECTS
from miniature.renditions import STYLES, cartoon, painting, sketch, videogame
from mmfasternet.datasets.imagenet.robustness import CORRUPTIONS, FAMILIES
from mmfasternet.errors import DataError, DependencyError

pytestmark = pytest.mark.slow

IMAGES = {'train': 1200, 'val': 200, 'imagenet-c': 7500, 'imagenet-r': 100}
NAMES = {
    'n01443537': 'goldfish',
    'n02165456': 'ladybug',
    'n02317335': 'starfish',
    'n02708093': 'analog clock',
    'n03063599': 'coffee mug',
    'n04507155': 'umbrella',
    'n06794110': 'street sign',
    'n06874185': 'traffic light',
    'n07745940': 'strawberry',
    'n07753592': 'banana',
}
RENDERED = ('n01443537', 'n02165456', 'n02317335', 'n07745940', 'n07753592')
SIZE = (160, 150)


@pytest.fixture
def small(monkeypatch):
    """Make a few images only, of two classes and one corruption."""
    monkeypatch.setattr(module, 'WNIDS', dict.fromkeys(WNIDS, RENDERED[:2]))
    monkeypatch.setattr(module, 'IMAGES', {'train': 2, 'val': 2, 'imagenet-c': 1, 'imagenet-r': 1})
    monkeypatch.setattr(module, 'CORRUPTIONS', ('contrast',))


@pytest.fixture
def no_drawing(monkeypatch):
    """Fail at once if anything is drawn."""
    monkeypatch.setattr(module, 'deal', lambda seed, split: pytest.fail('it draws'))


@pytest.fixture(params=RENDERED, ids=NAMES.get)
def drawing(request):
    rng = np.random.default_rng(7)
    return fit(rng, SIZE, IMAGENET_OBJECTS[request.param][1](rng))


def load(path):
    with Image.open(path) as picture:
        return np.asarray(picture, dtype=int)


def middles_in(shape, size=SIZE):
    """Which pixels have their middle in a shape."""
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return contains_xy(shape, columns, rows)


def test_layout(mini_imagenet):
    assert {path.name for path in mini_imagenet.iterdir()} == {*IMAGES, 'miniature.json'}
    for part, number in IMAGES.items():
        paths = [path for path in (mini_imagenet / part).rglob('*') if path.is_file()]
        assert len(paths) == number
        wnids = Counter(path.parent.name for path in paths)
        assert sorted(wnids) == list(RENDERED if part == 'imagenet-r' else NAMES)
        assert set(wnids.values()) == {number // len(wnids)}
    assert (mini_imagenet / 'train/n07753592/n07753592_1200.JPEG').is_file()
    assert (mini_imagenet / 'imagenet-c/glass_blur/5/n03063599').is_dir()


def test_pictures_have_various_sizes(mini_imagenet):
    for part in IMAGES:
        sizes = []
        for path in (mini_imagenet / part).rglob('*.[jJ]*'):
            with Image.open(path) as picture:
                assert (picture.format, picture.mode) == ('JPEG', 'RGB')
                sizes.append(picture.size)
        if part == 'imagenet-c':
            assert set(sizes) == {(128, 128)}
        else:
            assert np.min(sizes) == 144 and np.max(sizes) == 192
            assert len(set(sizes)) > 90


def test_classes_are_those_of_imagenet():
    known = ImageNetInfo()
    assert list(CLASSES) == sorted(CLASSES)
    assert CLASSES == NAMES
    for wnid, name in CLASSES.items():
        assert wnid in known.label_names()
        assert name in known.label_name_to_description(wnid).split(', ')
    rendered = files('timm.data').joinpath('_info/imagenet_r_synsets.txt').read_text().split()
    assert WNIDS['imagenet-r'] == RENDERED == tuple(wnid for wnid in NAMES if wnid in rendered)


def test_validation_images_are_numbered_through_shuffled_classes(mini_imagenet):
    folders = {path.name: path.parent.name for path in (mini_imagenet / 'val').rglob('*.JPEG')}
    assert sorted(folders) == [f'ILSVRC2012_val_{number:08}.JPEG' for number in range(1, 201)]
    classes = [folders[name] for name in sorted(folders)]
    assert 5 < sum(first == second for first, second in zip(classes, classes[1:])) < 40


def test_renditions_are_named_as_in_imagenet_r(mini_imagenet):
    names = {f'{style}_{number}.jpg' for style in STYLES for number in range(5)}
    for folder in (mini_imagenet / 'imagenet-r').iterdir():
        assert {path.name for path in folder.iterdir()} == names


def test_corrupted_images_are_the_first_of_each_class(mini_imagenet):
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            for wnid in NAMES:
                names = [
                    path.name for path in (mini_imagenet / 'imagenet-c' / corruption / str(severity) / wnid).iterdir()
                ]
                assert sorted(names) == sorted(path.name for path in (mini_imagenet / 'val' / wnid).iterdir())[:10]


def test_corruptions_grow_with_severity(mini_imagenet):
    """The clean image is still in there, and from severity to severity there is less of it."""
    apart = np.zeros((15, 5))
    paths = sorted((mini_imagenet / 'val').rglob('*.JPEG'))
    pictures = mini_imagenet / 'imagenet-c'
    chosen = [path for path in paths if (pictures / 'fog/1' / path.parent.name / path.name).is_file()][::5]
    for path in chosen:
        with Image.open(path) as picture:
            clean = np.asarray(centre_crop(picture), dtype=int)
        for row, column in np.ndindex(apart.shape):
            corrupted = load(pictures / CORRUPTIONS[row] / str(column + 1) / path.parent.name / path.name)
            apart[row, column] += np.abs(corrupted - clean).mean() / len(chosen)
            if column == 0 and CORRUPTIONS[row] not in ('frost', 'fog', 'snow'):
                assert np.corrcoef(corrupted.ravel(), clean.ravel())[0, 1] > 0.5, (CORRUPTIONS[row], path)
    assert len(chosen) == 20
    for family, corruptions in FAMILIES.items():
        means = apart[[CORRUPTIONS.index(corruption) for corruption in corruptions]].mean(0)
        assert (np.diff(means) > 0).all(), (family, means)
    assert (apart[:, 4] > 1.2 * apart[:, 0]).all()


def test_centre_crop_is_that_of_imagenet():
    """Resizing the short side to 256/224 of the crop, and cropping, gives the same picture."""
    picture = make_image(0, deal(0, 'val')[0])
    scale = 128 * 256 / 224 / min(picture.size)
    resized = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BILINEAR)
    left, top = (resized.width - 128) // 2, (resized.height - 128) // 2
    expected = np.asarray(resized.crop((left, top, left + 128, top + 128)), dtype=int)
    assert np.abs(np.asarray(centre_crop(picture), dtype=int) - expected).mean() < 4


@pytest.mark.parametrize('wnid', NAMES, ids=NAMES.get)
def test_drawings_are_sound(wnid):
    """Whatever the chance, layers have areas and together cover the outline."""
    for seed in range(60):
        drawn = IMAGENET_OBJECTS[wnid][1](np.random.default_rng(seed))
        assert drawn.outline.is_valid and drawn.outline.geom_type == 'Polygon'
        assert all(layer.shape.is_valid and layer.shape.area > 0 for layer in drawn.layers), seed
        assert drawn.outline.difference(union_all([layer.shape for layer in drawn.layers])).area < 1e-6
        assert 0.7 < np.ptp(np.reshape(drawn.outline.bounds, (2, 2)), axis=0).max() / 2 < 1.4
        assert np.abs(drawn.outline.envelope.centroid.coords[0]).max() < 0.35


def test_drawings_vary():
    for wnid in NAMES:
        drawn = [IMAGENET_OBJECTS[wnid][1](np.random.default_rng(seed)) for seed in range(20)]
        assert len({each.outline.wkb for each in drawn}) == 20 or NAMES[wnid] in ('analog clock', 'street sign')
        assert len({tuple(layer.colour for layer in each.layers) for each in drawn}) == 20


def test_objects_fill_most_of_the_centre_crop():
    extents, seen = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        outline = fit(rng, (170, 150), IMAGENET_OBJECTS['n02317335'][1](rng)).outline
        left, top, right, bottom = outline.bounds
        extents.append(max(right - left, bottom - top) / 150)
        kept = 150 * 7 / 8 / 2
        seen.append((outline & box(85 - kept, 75 - kept, 85 + kept, 75 + kept)).area / outline.area)
    assert np.min(extents) >= 0.45 and np.max(extents) <= 0.85
    assert min(seen) > 0.8
    assert 0.1 < np.mean(np.array(seen) < 1) < 0.9


def test_colour_alone_does_not_give_the_class_away(mini_imagenet):
    """The nearest image by the colours that it has is often one of another class."""

    def colours(paths):
        pictures = [load(path).reshape(-1, 3) // 64 for path in paths]
        return np.sqrt([np.bincount(each @ [16, 4, 1], minlength=64) / len(each) for each in pictures])

    known, asked = (sorted((mini_imagenet / split).rglob('*.JPEG')) for split in ('train', 'val'))
    nearest = (colours(asked) @ colours(known).T).argmax(1)
    right = np.mean([known[index].parent.name == path.parent.name for index, path in zip(nearest, asked)])
    assert 0.1 < right < 0.6


def test_renditions_show_the_object_where_it_is(drawing):
    """Behind it is plain ground, and its middle is not."""
    outside = ~middles_in(drawing.outline.buffer(5))
    inside = middles_in(drawing.outline.buffer(-3))
    for make in (cartoon, sketch, videogame):
        picture = np.asarray(make(np.random.default_rng(1), drawing, SIZE), dtype=int)
        ground = np.median(picture[outside], axis=0)
        assert np.abs(picture[outside] - ground).mean() < 8
        assert np.abs(picture[inside] - ground).mean() > 10, make


def test_cartoons_have_flat_colours_and_black_contours(drawing):
    picture = np.asarray(cartoon(np.random.default_rng(1), drawing, SIZE), dtype=int)
    assert len(np.unique(picture[~middles_in(drawing.outline.buffer(1))], axis=0)) == 1
    rim = middles_in(drawing.outline.buffer(-0.6)) & ~middles_in(drawing.outline.buffer(-1.5))
    assert picture[rim].max(1).mean() < 50


def test_sketches_are_drawn_in_one_ink(drawing):
    picture = np.asarray(sketch(np.random.default_rng(1), drawing, SIZE), dtype=int)
    levels = picture.reshape(-1, 3) - picture.reshape(-1, 3).mean(0)
    shares = np.linalg.svd(levels, compute_uv=False) ** 2
    assert shares[0] / shares.sum() > 0.95
    assert (picture.mean(2) < 0.8 * np.median(picture.mean(2))).mean() > 0.02


def test_videogames_have_large_pixels_of_few_colours(drawing):
    picture = np.asarray(videogame(np.random.default_rng(1), drawing, SIZE))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 13
    changes = np.flatnonzero((picture[:, 1:] != picture[:, :-1]).any((0, 2)))
    assert np.diff(changes).min() >= 2


def test_paintings_are_strokes_in_the_colours_of_the_object(drawing):
    picture = np.asarray(painting(np.random.default_rng(1), drawing, SIZE), dtype=int)
    inside = middles_in(drawing.outline.buffer(-4))
    other = np.asarray(painting(np.random.default_rng(2), drawing, SIZE), dtype=int)
    assert np.abs(picture[inside].mean(0) - other[inside].mean(0)).max() < 30
    assert np.abs(picture - other)[~inside].mean() > 12
    assert np.abs(np.diff(picture, axis=1)).mean() > 3


def test_same_seed_gives_the_same_bytes(mini_imagenet, tmp_path):
    for split, ending, number in (('train', 'JPEG', 1), ('val', 'JPEG', 2), ('imagenet-r', 'jpg', 4)):
        for task in deal(0, split)[:number]:
            make_image(0, task).save(tmp_path / f'again.{ending}', quality=90)
            assert (tmp_path / f'again.{ending}').read_bytes() == (mini_imagenet / split / task.file).read_bytes()


def test_same_seed_gives_the_same_corruptions(mini_imagenet, tmp_path):
    """Even those that take their chance from elsewhere than NumPy's global generator."""
    (tmp_path / 'val').symlink_to(mini_imagenet / 'val')
    task = deal(0, 'val')[0]
    np.random.seed(99)
    save_corrupted(tmp_path, 0, task)
    files = snapshot(tmp_path / 'imagenet-c')
    assert len(files) == 75
    for path, content in files.items():
        assert (mini_imagenet / 'imagenet-c' / path).read_bytes() == content, path


def test_another_seed_gives_another_image():
    for split in ('train', 'val', 'imagenet-r'):
        task = deal(0, split)[0]
        assert make_image(0, task).tobytes() != make_image(1, task).tobytes()
    assert deal(0, 'val') != deal(1, 'val')


@pytest.mark.parametrize('corruption', ['gaussian_noise', 'impulse_noise', 'glass_blur', 'elastic_transform'])
def test_another_chance_gives_another_corruption(corruption):
    picture = make_image(0, deal(0, 'val')[0])
    first, again, other = (corrupt(np.random.default_rng(seed), picture, corruption, 3) for seed in (0, 0, 1))
    assert first.size == picture.size
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_what_is_there_is_not_drawn_again(mini_imagenet, no_drawing):
    before = {path: path.stat().st_mtime_ns for path in mini_imagenet.rglob('*')}
    found = make_imagenet(mini_imagenet)
    assert not found['made']
    assert found['images'] == IMAGES
    assert {path: path.stat().st_mtime_ns for path in mini_imagenet.rglob('*')} == before


@pytest.mark.parametrize('part', IMAGES)
def test_another_seed_and_missing_files_need_overwrite(tmp_path, small, part):
    out = tmp_path / 'mini'
    assert make_imagenet(out)['images'] == {'train': 4, 'val': 4, 'imagenet-c': 10, 'imagenet-r': 2}
    assert json.loads((out / 'miniature.json').read_text())['seed'] == 0
    with pytest.raises(DataError, match='is a mini ImageNet of seed 0.*expected seed 1'):
        make_imagenet(out, seed=1)
    next((out / part).rglob('*.[jJ]*')).unlink()
    with pytest.raises(DataError, match='lacks files'):
        make_imagenet(out)
    assert make_imagenet(out, seed=1, overwrite=True)['made']
    assert not make_imagenet(out, seed=1)['made']
    assert [path.name for path in tmp_path.iterdir()] == ['mini']


@pytest.mark.parametrize('existing', [False, True])
@pytest.mark.parametrize('moment', ['drawing', 'corrupting'])
def test_an_interrupted_run_leaves_nothing_half(tmp_path, small, monkeypatch, existing, moment):
    out = tmp_path / 'mini'
    if existing:
        make_imagenet(out)
    before = snapshot(tmp_path)

    def interrupt(work, title, *_, **__):
        if title == moment:
            raise KeyboardInterrupt
        return work

    monkeypatch.setattr(module, 'tqdm', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_imagenet(out, seed=1, overwrite=True)
    assert snapshot(tmp_path) == before
    assert out.exists() == existing


def test_a_missing_package_is_told_at_once(tmp_path, no_drawing, monkeypatch):
    monkeypatch.setitem(sys.modules, 'imagecorruptions', None)
    with pytest.raises(
        DependencyError, match=r"needs imagecorruptions.*pip install 'mmfasternet\[miniature\]'"
    ) as error:
        make_imagenet(tmp_path / 'mini')
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_tool_finds_what_is_there(mini_imagenet, run_miniature_tool):
    code, output, errors = run_miniature_tool('imagenet', mini_imagenet)
    assert (code, errors) == (0, '')
    assert 'mini ImageNet with seed 0 already exists' in output
    assert 'train: 1200 images, 10 classes' in output and 'imagenet-r: 100 images, 5 classes' in output


def test_tool_makes(tmp_path, small, run_miniature_tool):
    code, output, _ = run_miniature_tool('imagenet', tmp_path / 'mini', '--seed', 3)
    assert code == 0
    assert 'mini ImageNet with seed 3 drawn in' in output and 'val: 4 images' in output
    assert len(list((tmp_path / 'mini').rglob('*.[jJ]*'))) == 4 + 4 + 10 + 2 + 1
