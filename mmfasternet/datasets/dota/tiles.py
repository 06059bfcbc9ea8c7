"""DOTA's tiles: where they lie in an image, which objects they hold, their names, and their pixels.

The windows, and which object belongs to which, follow the published settings of mmrotate's ``img_split.py``
(https://github.com/open-mmlab/mmrotate/tree/1.x/tools/data/dota), so that results compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import DataError, DependencyError
from ..image_files import images_of_any_size

try:
    import shapely
    from PIL import Image, UnidentifiedImageError
except ImportError as error:
    raise DependencyError(
        f"DOTA's tiles need {error.name}, which is missing: pip install 'mmfasternet[dota]'"
    ) from error

#: The endings of images, in lower case.
IMAGE_ENDINGS = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')
#: A window needs more than this share of its area in the image.
LEAST_IN_IMAGE = 0.6
#: Windows this close to the best are kept where none has its share in the image.
NEARLY_BEST = 0.01
#: A window holds an object if this share of the object's area lies in it.
LEAST_IN_WINDOW = 0.7
#: Red, green and blue where a tile reaches over the edge of its image.
PADDING = (124, 116, 104)
#: Pillow's names of the kinds of images that turn into RGB without a loss worth mentioning.
_MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK')
_TILE_NAME = re.compile(r'(.+)__([0-9]+)__([0-9]+)___([0-9]+)')


def tile_windows(width: int, height: int, sizes: Sequence[int], overlaps: Sequence[int]) -> np.ndarray:
    """Lay overlapping square windows over an image.

    The last window of a row or column is moved back to the image's edge. Windows of which no more than
    :data:`LEAST_IN_IMAGE` lies in the image are left out, unless that leaves none.

    Args:
        width (int): Of the image in pixels.
        height (int): Of the image in pixels.
        sizes (Sequence[int]): Width and height of the windows in pixels, for one scale after the other.
        overlaps (Sequence[int]): Pixels that neighbours share, as many as there are sizes.

    Returns:
        ndarray: x1, y1, x2, y2 of each window in pixels, of shape (N, 4) and integer type. They may reach beyond the
        right and the lower edge of an image that is smaller.
    """
    windows = all_windows(width, height, sizes, overlaps)
    inside = windows.clip(max=[width, height, width, height])
    shares = _areas(inside) / _areas(windows)
    is_kept = shares > LEAST_IN_IMAGE
    return windows[is_kept if is_kept.any() else shares > shares.max() - NEARLY_BEST]


def parse_tile_name(name: str) -> tuple[str, int, int, int]:
    """Take the name of a tile apart.

    Args:
        name (str): The name without folder and ending, such as ``P0001__1024__824___0``.

    Returns:
        tuple[str, int, int, int]: The name of the image, then the size of the window and its left and upper edge, in
        pixels of the image.

    Raises:
        DataError: It is not the name of a tile.
    """
    found = _TILE_NAME.fullmatch(name)
    if found is None:
        raise DataError(f'{name} is not the name of a tile; expected IMAGE__SIZE__X___Y, such as P0001__1024__824___0')
    image, *numbers = found.groups()
    return image, *map(int, numbers)


def all_windows(width: int, height: int, sizes: Sequence[int], overlaps: Sequence[int]) -> np.ndarray:
    """Lay windows as :func:`tile_windows` does, without leaving any out.

    Args:
        width (int): Of the image in pixels.
        height (int): Of the image in pixels.
        sizes (Sequence[int]): Width and height of the windows in pixels, for one scale after the other.
        overlaps (Sequence[int]): Pixels that neighbours share, as many as there are sizes.

    Returns:
        ndarray: x1, y1, x2, y2 of each window in pixels, of shape (N, 4) and integer type.
    """
    scales = []
    for size, overlap in zip(sizes, overlaps):
        lefts, tops = (_starts(extent, size, size - overlap) for extent in (width, height))
        # column after column, as mmrotate does
        corners = np.stack(np.meshgrid(lefts, tops, indexing='ij'), axis=-1).reshape(-1, 2)
        scales.append(np.hstack([corners, corners + size]))
    return np.concatenate(scales)


def assign_objects(corners: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the objects of each window: those of whose area at least :data:`LEAST_IN_WINDOW` lies in it.

    Args:
        corners (ndarray): Corners of the objects in pixels of the image, of shape (M, 8) and type float32.
        windows (ndarray): x1, y1, x2, y2 of the windows in pixels, of shape (N, 4).

    Returns:
        tuple[ndarray, ndarray, ndarray]: Indices of a window and of an object that belong together, in their order, and
        whether a part of the object lies outside of the window; each of shape (K,).
    """
    quadrilaterals = shapely.polygons(corners.reshape(-1, 4, 2))
    frames = shapely.box(*windows.T)
    window, item = shapely.STRtree(quadrilaterals).query(frames)
    # Rounded to float32 as in mmrotate, for the same result in the last digit: there, too, the difficulty of an object
    # inside the window becomes 2 if that makes its area larger.
    areas = shapely.area(quadrilaterals).astype(np.float32)
    shares = shapely.area(shapely.intersection(quadrilaterals[item], frames[window])) / areas[item]
    belongs = shares >= LEAST_IN_WINDOW
    window, item, shares = window[belongs], item[belongs], shares[belongs]
    order = np.lexsort([item, window])
    return window[order], item[order], shares[order] < 1


def read_image(path: Path) -> Image.Image:
    """Decode an image of 8 bits a channel, with Pillow, which never takes a part of a file for the whole.

    Args:
        path (Path): The file.

    Returns:
        Image: The image, in whatever mode it has.

    Raises:
        DataError: It cannot be read; the message says why, and leaves it to the caller to name the file.
    """
    try:
        with images_of_any_size():
            image = Image.open(path)
            image.load()
        if image.mode not in _MODES:
            raise ValueError(f'mode {image.mode}; convert it to 8 bits a channel, RGB or grey')
    except MemoryError:
        raise
    except Exception as error:  # a malformed file can make Pillow raise anything
        # some errors name the whole path, which differs from machine to machine
        reason = 'of no known format' if isinstance(error, UnidentifiedImageError) else getattr(error, 'strerror', None)
        raise DataError(f'unreadable image: {reason or error}') from error
    return image


def cut_tile(image: Image.Image, window: Sequence[int]) -> Image.Image:
    """Cut a tile out of an image; where it reaches beyond, it gets :data:`PADDING`.

    Args:
        image (Image): The image.
        window (Sequence[int]): x1, y1, x2, y2 in pixels, the upper left corner inside the image.

    Returns:
        Image: The tile, RGB, as large as the window.
    """
    left, top, right, bottom = window
    tile = Image.new('RGB', (right - left, bottom - top), PADDING)
    tile.paste(image.crop((left, top, min(right, image.width), min(bottom, image.height))).convert('RGB'))
    return tile


def _starts(extent: int, size: int, step: int) -> np.ndarray:
    last = max(extent - size, 0)
    return np.arange(0, last + step, step).clip(max=last)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
