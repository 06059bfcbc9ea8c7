"""Cut tiles from DOTA's images: their windows, objects, names and pixels.

The windows and their objects follow the published settings of mmrotate's ``img_split.py``
(https://github.com/open-mmlab/mmrotate/tree/1.x/tools/data/dota), so that results are comparable.
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

#: The suffixes of images, in lower case.
IMAGE_ENDINGS = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')
#: A window is kept if more than this share of its area lies in the image.
LEAST_IN_IMAGE = 0.6
#: If no window is, those are kept whose share differs from the largest by less than this.
NEARLY_BEST = 0.01
#: A window holds an object if this share of the object's area lies in it.
LEAST_IN_WINDOW = 0.7
#: RGB colour of the parts of a tile outside its image.
PADDING = (124, 116, 104)
#: Pillow's modes that convert to RGB almost without loss.
_MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK')
_TILE_NAME = re.compile(r'(.+)__([0-9]+)__([0-9]+)___([0-9]+)')


def tile_windows(width: int, height: int, sizes: Sequence[int], overlaps: Sequence[int]) -> np.ndarray:
    """Cover an image with overlapping square windows.

    The last window of a row or column is moved back to the image's edge. Windows with at most :data:`LEAST_IN_IMAGE`
    of their area in the image are left out, unless no window would be left.

    Args:
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.
        sizes (Sequence[int]): Side of the square windows in pixels, for each scale.
        overlaps (Sequence[int]): Overlap of neighbouring windows in pixels, for each scale.

    Returns:
        ndarray: x1, y1, x2, y2 of each window in pixels, of shape (N, 4) and integer type. They may reach beyond the
        right and lower edge of a smaller image.
    """
    windows = all_windows(width, height, sizes, overlaps)
    inside = windows.clip(max=[width, height, width, height])
    shares = _areas(inside) / _areas(windows)
    is_kept = shares > LEAST_IN_IMAGE
    return windows[is_kept if is_kept.any() else shares > shares.max() - NEARLY_BEST]


def parse_tile_name(name: str) -> tuple[str, int, int, int]:
    """Parse the name of a tile.

    Args:
        name (str): The name without folder and suffix, such as ``P0001__1024__824___0``.

    Returns:
        tuple[str, int, int, int]: The name of the image, and the size, left edge and upper edge of the window in
        pixels of the image.

    Raises:
        DataError: It is not the name of a tile.
    """
    found = _TILE_NAME.fullmatch(name)
    if found is None:
        raise DataError(f'{name} is not the name of a tile; expected IMAGE__SIZE__X___Y, such as P0001__1024__824___0')
    image, size, x, y = found.groups()
    return image, int(size), int(x), int(y)


def all_windows(width: int, height: int, sizes: Sequence[int], overlaps: Sequence[int]) -> np.ndarray:
    """Cover an image as :func:`tile_windows` does, without leaving out windows.

    Args:
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.
        sizes (Sequence[int]): Side of the square windows in pixels, for each scale.
        overlaps (Sequence[int]): Overlap of neighbouring windows in pixels, for each scale.

    Returns:
        ndarray: x1, y1, x2, y2 of each window in pixels, of shape (N, 4) and integer type.
    """
    scales = []
    for size, overlap in zip(sizes, overlaps):
        lefts, tops = (_starts(extent, size, size - overlap) for extent in (width, height))
        # column by column, as in mmrotate
        corners = np.stack(np.meshgrid(lefts, tops, indexing='ij'), axis=-1).reshape(-1, 2)
        scales.append(np.hstack([corners, corners + size]))
    return np.concatenate(scales)


def assign_objects(corners: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the objects of each window: those with at least :data:`LEAST_IN_WINDOW` of their area in it.

    Args:
        corners (ndarray): Corners of the objects in pixels of the image, of shape (M, 8) and type float32.
        windows (ndarray): x1, y1, x2, y2 of the windows in pixels, of shape (N, 4).

    Returns:
        tuple[ndarray, ndarray, ndarray]: Indices of the windows, indices of their objects, and whether a part of the
        object lies outside the window; each of shape (K,), sorted by window and object.
    """
    quadrilaterals = shapely.polygons(corners.reshape(-1, 4, 2))
    frames = shapely.box(*windows.T)
    window, item = shapely.STRtree(quadrilaterals).query(frames)
    # Rounded to float32 for results equal to mmrotate's: there, too, the difficulty of an object inside the window
    # becomes 2 if rounding increases its area.
    areas = shapely.area(quadrilaterals).astype(np.float32)
    shares = shapely.area(shapely.intersection(quadrilaterals[item], frames[window])) / areas[item]
    belongs = shares >= LEAST_IN_WINDOW
    window, item, shares = window[belongs], item[belongs], shares[belongs]
    order = np.lexsort([item, window])
    return window[order], item[order], shares[order] < 1


def read_image(path: Path) -> Image.Image:
    """Decode an image of 8 bits per channel with Pillow, which raises an error for a truncated file.

    Args:
        path (Path): The file.

    Returns:
        Image: The image, in any mode.

    Raises:
        DataError: It cannot be read. The message does not name the file.
    """
    try:
        with images_of_any_size():
            image = Image.open(path)
            image.load()
        if image.mode not in _MODES:
            raise ValueError(f'mode {image.mode}; convert it to 8-bit RGB or grey')
    except MemoryError:
        raise
    except Exception as error:  # a malformed file can make Pillow raise anything
        # some errors contain the full path, which depends on the machine
        reason = 'unknown format' if isinstance(error, UnidentifiedImageError) else getattr(error, 'strerror', None)
        raise DataError(f'unreadable image: {reason or error}') from error
    return image


def cut_tile(image: Image.Image, window: Sequence[int]) -> Image.Image:
    """Cut a tile from an image; parts outside the image get the colour :data:`PADDING`.

    Args:
        image (Image): The image.
        window (Sequence[int]): x1, y1, x2, y2 in pixels, the upper left corner inside the image.

    Returns:
        Image: The tile in RGB, of the size of the window.
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
