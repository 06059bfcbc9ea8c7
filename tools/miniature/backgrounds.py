"""Pictures to place objects on: crops of photographs, tinted textures and drifting clouds of colour."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from skimage import data

from .colours import BLACK, PALETTE, WHITE, mix, pick

# Free of copyright (public domain or CC0), and inside scikit-image's own wheel: nothing is downloaded.
PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee', 'rocket', 'hubble_deep_field', 'immunohistochemistry', 'retina')
TEXTURES = ('brick', 'grass', 'gravel', 'camera', 'moon')


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Make a background: most often a photograph, else a texture, seldom clouds.

    Args:
        rng (Generator): The source of chance.
        size (tuple[int, int]): Width and height in pixels.

    Returns:
        Image: An RGB image.
    """
    make = rng.choice([photograph, texture, clouds], p=[0.6, 0.28, 0.12])
    # What lies behind the objects is a little out of focus and in haze, as in a photograph of near things.
    picture = make(rng, size).filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.2)))
    return ImageEnhance.Contrast(picture).enhance(rng.uniform(0.45, 0.8))


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Crop a photograph and change its hue, saturation and brightness.

    Args:
        rng (Generator): The source of chance.
        size (tuple[int, int]): Width and height in pixels.

    Returns:
        Image: An RGB image.
    """
    hue, saturation, value = crop(rng, PHOTOGRAPHS, size).convert('HSV').split()
    shift = round(rng.normal(0, 14))
    turned = Image.merge('HSV', (hue.point(lambda level: (level + shift) % 256), saturation, value)).convert('RGB')
    faded = ImageEnhance.Color(turned).enhance(rng.uniform(0.5, 1.2))
    return ImageEnhance.Brightness(faded).enhance(rng.uniform(0.75, 1.25))


def texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Crop a grey texture and tint it.

    Args:
        rng (Generator): The source of chance.
        size (tuple[int, int]): Width and height in pixels.

    Returns:
        Image: An RGB image.
    """
    return tint(rng, crop(rng, TEXTURES, size))


def clouds(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Add up noise of finer and finer grain over a vertical gradient, and tint it.

    Args:
        rng (Generator): The source of chance.
        size (tuple[int, int]): Width and height in pixels.

    Returns:
        Image: An RGB image.
    """
    width, height = size
    levels = np.linspace(0, rng.uniform(0.5, 2), height)[:, None] * np.ones(width)
    for cells in (2, 4, 8, 16, 32):
        noise = Image.fromarray(rng.random((cells, cells), dtype=np.float32)).resize(size, Image.Resampling.BICUBIC)
        levels += np.asarray(noise) * 2 / cells**0.8
    return tint(rng, Image.fromarray((255 * levels / levels.max()).astype(np.uint8)))


def crop(rng: np.random.Generator, names: tuple[str, ...], size: tuple[int, int]) -> Image.Image:
    """Cut a window out of one of scikit-image's pictures, in half of the cases mirrored.

    Args:
        rng (Generator): The source of chance.
        names (tuple[str, ...]): The pictures to choose from, as named in ``skimage.data``.
        size (tuple[int, int]): Width and height of the result in pixels. The window has the same aspect, and any place
            and scale.

    Returns:
        Image: The window, scaled to ``size``.
    """
    picture = load(rng.choice(names))
    window = np.array(size) * min(np.divide(picture.size, size)) * rng.uniform(0.5, 1)
    corner = rng.random(2) * (picture.size - window)
    cut = picture.resize(size, Image.Resampling.LANCZOS, box=(*corner, *(corner + window)))
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


@cache
def load(name: str) -> Image.Image:
    """Read one of the pictures that scikit-image ships.

    Args:
        name (str): Its name in ``skimage.data``.

    Returns:
        Image: The picture.
    """
    return Image.fromarray(getattr(data, name)())


def tint(rng: np.random.Generator, grey: Image.Image) -> Image.Image:
    """Map the levels of a grey picture to a way from a dark colour to a light one.

    Args:
        rng (Generator): The source of chance.
        grey (Image): The picture to tint.

    Returns:
        Image: An RGB image.
    """
    dark, light = pick(rng, PALETTE[:-1], number=2)
    dark, light = mix(dark, BLACK, rng.uniform(0.5, 0.85)), mix(light, WHITE, rng.uniform(0.2, 0.7))
    return ImageOps.colorize(ImageOps.autocontrast(grey, 1), dark, light)
