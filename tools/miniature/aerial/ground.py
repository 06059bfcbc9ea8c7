"""The ground of an aerial photograph: fields around the places, and the textures of all materials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import shapely
from PIL import Image, ImageFilter, ImageOps
from shapely import MultiPoint
from shapely.geometry.base import BaseGeometry

from ..backgrounds import sample_picture
from ..colours import RGB, vary
from ..scenes import coverage
from .places import Patch

#: The texture of each material, and the colours of its darkest and lightest parts.
MATERIALS: dict[str, tuple[str, RGB, RGB]] = {
    'grass': ('grass', (66, 92, 50), (112, 134, 78)),
    'meadow': ('grass', (104, 116, 68), (150, 152, 104)),
    'crop': ('furrows', (92, 112, 58), (134, 146, 86)),
    'soil': ('gravel', (122, 98, 74), (158, 132, 104)),
    'field': ('furrows', (132, 108, 80), (164, 140, 108)),
    'sand': ('gravel', (178, 162, 128), (208, 194, 160)),
    'asphalt': ('gravel', (96, 98, 104), (122, 124, 130)),
    'concrete': ('gravel', (142, 142, 138), (174, 172, 166)),
    'water': ('waves', (36, 68, 88), (62, 100, 116)),
}
#: The materials of fields; one that is named twice is drawn twice as often.
FIELDS = ('grass', 'grass', 'meadow', 'crop', 'soil', 'field')


def lay(rng: np.random.Generator, size: tuple[int, int], patches: Sequence[Patch]) -> Image.Image:
    """Draw the ground of a scene, the lowest patch first."""
    picture = Image.new('RGB', size)
    covers = {name: cover(rng, name, size) for name in dict.fromkeys(patch.material for patch in patches)}
    for shape, material in patches:
        stencil(picture, shape, covers[material])
    return picture


def stencil(
    picture: Image.Image, shape: BaseGeometry, paint: Image.Image | RGB, opacity: float = 1, blur: float = 0
) -> None:
    """Paint through a stencil.

    Args:
        picture (Image): It is changed.
        shape (BaseGeometry): The stencil; it may extend beyond the picture.
        paint (Image | RGB): A colour, or an image as large as the picture.
        opacity (float, optional): From 0 (paints nothing) to 1 (covers everything below). Defaults to 1.
        blur (float, optional): The softness of the edge in pixels. Defaults to 0.
    """
    # Soft edges extend beyond the shape; parts outside the picture are cut off to save time.
    reach = 3 * blur
    seen = shape.envelope.buffer(reach) & shapely.box(0, 0, *picture.size)
    if seen.is_empty:
        return
    left, top, right, bottom = seen.bounds
    window = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    mask = coverage(shape & shapely.box(*window).buffer(1), window)
    mask = mask.filter(ImageFilter.GaussianBlur(blur)).point(lambda level: level * opacity)
    picture.paste(paint.crop(window) if isinstance(paint, Image.Image) else paint, window, mask)


def fields(rng: np.random.Generator, size: tuple[int, int]) -> list[Patch]:
    """Divide the ground into fields, which together cover the picture."""
    picture = shapely.box(0, 0, *size)
    number = max(4, round(picture.area / 40000))
    cells = shapely.voronoi_polygons(MultiPoint(rng.random((number, 2)) * size), extend_to=picture)
    return [Patch(cell & picture, rng.choice(FIELDS)) for cell in cells.geoms if cell.intersects(picture)]


def cover(rng: np.random.Generator, material: str, size: tuple[int, int]) -> Image.Image:
    """Draw a whole picture of one of the :data:`MATERIALS`."""
    texture, dark, light = MATERIALS[material]
    grey = {'furrows': furrows, 'waves': waves}.get(texture, tiles)(rng, texture, size)
    return ImageOps.colorize(grey, vary(rng, dark), vary(rng, light))


def tiles(rng: np.random.Generator, texture: str, size: tuple[int, int]) -> Image.Image:
    """Repeat one of scikit-image's textures as a grey image, mirrored so that no seam is visible."""
    tile = seamless(texture)
    tile = np.roll(tile, tuple(rng.integers(tile.shape)), (0, 1))
    repeats = -(-size[1] // tile.shape[0]), -(-size[0] // tile.shape[1])
    return Image.fromarray(np.tile(tile, repeats)[: size[1], : size[0]])


@cache
def seamless(texture: str) -> np.ndarray:
    """Read a texture at a quarter of its size, as grey levels, with its mirror images beside and below it."""
    picture = ImageOps.autocontrast(sample_picture(texture).reduce(4), 2)
    tile = np.asarray(picture)
    return np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]])


def furrows(rng: np.random.Generator, _: str, size: tuple[int, int]) -> Image.Image:
    """Draw the furrows of a ploughed field as a grey image."""
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(5, 8)
    x, y = (np.arange(side, dtype=np.float32) * 2 * np.pi / pitch for side in size)
    lines = np.sin(x * np.float32(np.cos(angle)) + y[:, None] * np.float32(np.sin(angle)))
    levels = 60 + 44 * lines + np.float32(0.55) * np.asarray(tiles(rng, 'gravel', size))
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def waves(rng: np.random.Generator, _: str, size: tuple[int, int]) -> Image.Image:
    """Draw gentle waves on water of varying depth as a grey image."""
    levels = np.zeros(size[::-1], dtype=np.float32)
    for width, height, weight in ((9, 4, 0.35), (30, 18, 0.3), (160, 160, 0.5)):
        cells = rng.random((size[1] // height + 2, size[0] // width + 2), dtype=np.float32)
        levels += weight * np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray((levels * 220).clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
