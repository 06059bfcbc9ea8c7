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
    """Draw a background: most often a photograph, sometimes a texture, seldom clouds."""
    make = rng.choice([photograph, texture, clouds], p=[0.6, 0.28, 0.12])
    # What lies behind the objects is a little out of focus and in haze, as in a photograph of near things.
    picture = make(rng, size).filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.2)))
    return ImageEnhance.Contrast(picture).enhance(rng.uniform(0.45, 0.8))


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Crop a photograph and change its hue, saturation and brightness."""
    hue, saturation, value = crop(rng, PHOTOGRAPHS, size).convert('HSV').split()
    shift = round(rng.normal(0, 14))
    turned = Image.merge('HSV', (hue.point(lambda level: (level + shift) % 256), saturation, value)).convert('RGB')
    faded = ImageEnhance.Color(turned).enhance(rng.uniform(0.5, 1.2))
    return ImageEnhance.Brightness(faded).enhance(rng.uniform(0.75, 1.25))


def texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Crop a grey texture and tint it."""
    return tint(rng, crop(rng, TEXTURES, size))


def clouds(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Add up noise of finer and finer grain over a vertical gradient, and tint it."""
    width, height = size
    levels = np.linspace(0, rng.uniform(0.5, 2), height)[:, None] * np.ones(width)
    for cells in (2, 4, 8, 16, 32):
        noise = Image.fromarray(rng.random((cells, cells), dtype=np.float32)).resize(size, Image.Resampling.BICUBIC)
        levels += np.asarray(noise) * 2 / cells**0.8
    return tint(rng, Image.fromarray((255 * levels / levels.max()).astype(np.uint8)))


def crop(rng: np.random.Generator, names: tuple[str, ...], size: tuple[int, int]) -> Image.Image:
    """Cut a window out of one of the named pictures of ``skimage.data`` and scale it to ``size``.

    The window has the same aspect and a random place and scale; half of the windows are mirrored.
    """
    picture = sample_picture(rng.choice(names))
    window = np.array(size) * min(np.divide(picture.size, size)) * rng.uniform(0.5, 1)
    corner = rng.random(2) * (picture.size - window)
    cut = picture.resize(size, Image.Resampling.LANCZOS, box=(*corner, *(corner + window)))
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


@cache
def sample_picture(name: str) -> Image.Image:
    """Read one of the pictures that scikit-image ships, by its name in ``skimage.data``."""
    return Image.fromarray(getattr(data, name)())


def tint(rng: np.random.Generator, grey: Image.Image) -> Image.Image:
    """Map the levels of a grey picture to a range from a dark colour to a light one."""
    dark, light = pick(rng, PALETTE[:-1], number=2)
    dark, light = mix(dark, BLACK, rng.uniform(0.5, 0.85)), mix(light, WHITE, rng.uniform(0.2, 0.7))
    return ImageOps.colorize(ImageOps.autocontrast(grey, 1), dark, light)
