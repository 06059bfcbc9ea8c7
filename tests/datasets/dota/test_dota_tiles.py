"""Where tiles lie, what they are called, and what they show."""

import numpy as np
import pytest
from PIL import Image

from mmfasternet.datasets.dota.tiles import PADDING, cut_tile, parse_tile_name, read_image, tile_windows
from mmfasternet.errors import DataError

SINGLE, MULTI = ([1024], [200]), ([2048, 1024, 682], [1000, 500, 333])


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('width', 'height', 'grid', 'expected'),
    [
        (1024, 1024, SINGLE, [(0, 0, 1024)]),
        (700, 500, SINGLE, [(0, 0, 1024)]),  # 0.33 of it in the image, but it is the only one
        (1025, 1024, SINGLE, [(0, 0, 1024), (1, 0, 1024)]),
        (1848, 1024, SINGLE, [(0, 0, 1024), (824, 0, 1024)]),
        (2000, 1024, SINGLE, [(0, 0, 1024), (824, 0, 1024), (976, 0, 1024)]),
        (1100, 1200, SINGLE, [(0, 0, 1024), (0, 176, 1024), (76, 0, 1024), (76, 176, 1024)]),
        (1100, 600, SINGLE, [(0, 0, 1024), (76, 0, 1024)]),  # 0.59 of each: all are dropped, so all are kept
        # only 0.25 of 2048 x 2048 is in the image
        (1024, 1024, MULTI, [(0, 0, 1024), (0, 0, 682), (0, 342, 682), (342, 0, 682), (342, 342, 682)]),
        (300, 300, MULTI, [(0, 0, 682)]),  # none has its share: the best is kept
        (100, 60, ([100, 60], [0, 0]), [(0, 0, 60), (40, 0, 60)]),  # 0.6 is not enough
        (100, 60, ([100, 101], [0, 0]), [(0, 0, 100)]),  # 0.588 is not nearly as good
        (100, 60, ([100, 100], [0, 10]), [(0, 0, 100), (0, 0, 100)]),
        (500, 500, ([1000, 1004], [0, 0]), [(0, 0, 1000), (0, 0, 1004)]),  # 0.25 and 0.248
        (100, 61, ([100, 101], [0, 0]), [(0, 0, 100)]),  # 0.61, and 0.598
    ],
)
def test_windows(width, height, grid, expected):
    windows = tile_windows(width, height, *grid)
    assert windows.tolist() == [[x, y, x + size, y + size] for x, y, size in expected]
    assert np.issubdtype(windows.dtype, np.integer)


def test_windows_cover_every_image():
    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height, size = rng.integers(1, 400, 3)
        overlap = rng.integers(0, size)
        windows = tile_windows(width, height, [size], [overlap])
        covered = np.zeros((height, width), bool)
        for left, top, right, bottom in windows:
            covered[top:bottom, left:right] = True
            assert left >= 0 and top >= 0 and right - left == bottom - top == size
            assert right <= max(width, size) and bottom <= max(height, size)
        assert covered.all() and len(np.unique(windows, axis=0)) == len(windows)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('P0001__1024__824___0', ('P0001', 1024, 824, 0)),
        ('a__512__0___0__682__0___349', ('a__512__0___0', 682, 0, 349)),
        ('b___2048__0___1048', ('b_', 2048, 0, 1048)),
    ],
)
def test_names(name, expected):
    assert parse_tile_name(name) == expected


@pytest.mark.parametrize(
    'name', ['P0001', 'P__1024__0__0', '__1024__0___0', 'P__1024__0___0.png', 'P__1024__-1___0', '']
)
def test_other_names(name):
    with pytest.raises(DataError, match='is not the name of a tile; expected IMAGE__SIZE__X___Y'):
        parse_tile_name(name)


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_a_tile_beyond_the_edge():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    tile = np.asarray(cut_tile(Image.fromarray(pixels), (25, 10, 50, 35)))
    assert tile.shape == (25, 25, 3)
    assert (tile[:20, :15] == pixels[10:, 25:]).all()
    assert (tile[20:] == PADDING).all() and (tile[:, 15:] == PADDING).all()


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', '1', 'CMYK'])
def test_other_kinds_of_images(tmp_path, mode):
    suffix = '.tif' if mode == 'CMYK' else '.png'
    Image.new('RGB', (8, 8), 'white').convert(mode).save(tmp_path / f'a{suffix}')
    assert (np.asarray(cut_tile(read_image(tmp_path / f'a{suffix}'), (0, 0, 8, 8))) == 255).all()


def test_images_that_cannot_be_read(tmp_path):
    Image.effect_noise((200, 200), 50).save(tmp_path / 'torn.png')
    whole = (tmp_path / 'torn.png').read_bytes()
    (tmp_path / 'torn.png').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'text.png').write_text('no image')
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / 'deep.png')
    reasons = {'torn': 'truncated', 'text': 'unknown format', 'deep': 'mode I;16', 'gone': 'No such file'}
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=f'unreadable image: .*{reason}'):
            read_image(tmp_path / f'{name}.png')
