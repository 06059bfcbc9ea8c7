"""The colours that all objects and tinted backgrounds share, so that colour alone does not reveal a class."""

from __future__ import annotations

import colorsys

import numpy as np

RGB = tuple[int, int, int]

RED, ORANGE, YELLOW, GREEN, TEAL, BLUE, PURPLE, PINK, WHITE, GREY, BLACK = PALETTE = (
    (200, 32, 40),
    (236, 122, 40),
    (242, 200, 56),
    (64, 148, 72),
    (40, 156, 160),
    (44, 92, 176),
    (116, 68, 156),
    (232, 120, 160),
    (240, 236, 226),
    (136, 140, 146),
    (36, 38, 44),
)
BROWN: RGB = (122, 78, 44)
DOUGH: RGB = (214, 158, 92)


def vary(rng: np.random.Generator, colour: RGB) -> RGB:
    """Draw a colour near another one, as paint, age and weather change it."""
    hue, saturation, value = colorsys.rgb_to_hsv(*np.divide(colour, 255))
    hue += rng.normal(0, 0.015)
    saturation *= rng.uniform(0.75, 1.1)
    value *= rng.uniform(0.8, 1.1)
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, min(saturation, 1), min(value, 1)))


def pick(rng: np.random.Generator, colours: tuple[RGB, ...] = PALETTE, number: int = 1) -> list[RGB]:
    """Draw different colours and vary each."""
    return [vary(rng, colours[index]) for index in rng.choice(len(colours), number, replace=False)]


def mix(colour: RGB, other: RGB, share: float) -> RGB:
    """Blend two colours; ``share`` is that of the second one, 0 to 1."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other))
