"""Renditions: the same objects as artists show them, as in ImageNet-R."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import shapely
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from .backgrounds import clouds
from .colours import BLACK, BLUE, BROWN, PALETTE, RGB, WHITE, YELLOW, mix, pick, vary
from .objects import Drawing, Layer
from .scenes import Light, raster, render
from .shapes import frame


def sketch(rng: np.random.Generator, drawing: Drawing, size: tuple[int, int]) -> Image.Image:
    """Draw contours twice with a shaky hand, on paper."""
    paper = vary(rng, mix(WHITE, pick(rng, (YELLOW, BROWN, WHITE))[0], rng.uniform(0, 0.25)))
    ink = pick(rng, (BLACK, BLACK, BLUE, BROWN))[0]
    wash = rng.uniform(0, 0.5)

    def tone(colour: RGB) -> RGB:
        return mix(paper, ink, wash * (1 - np.mean(colour) / 255))

    width = rng.uniform(1, 1.8)
    passes = [paste(contour(shake(rng, drawing), width, ink, tone), size, paper) for _ in range(2)]
    return grain(rng, ImageChops.darker(*passes), 6)


def cartoon(rng: np.random.Generator, drawing: Drawing, size: tuple[int, int]) -> Image.Image:
    """Draw flat, bright colours inside thick black contours on a plain ground."""
    ground = mix(pick(rng, PALETTE[:-1])[0], WHITE, rng.uniform(0.3, 0.9))
    picture = paste(contour(drawing, rng.uniform(2.5, 4), (16, 16, 20)), size, ground)
    return ImageEnhance.Color(picture).enhance(1.4)


def painting(rng: np.random.Generator, drawing: Drawing, size: tuple[int, int]) -> Image.Image:
    """Paint layers of brush strokes, each finer than the last, along the edges in the picture."""
    model = clouds(rng, size)
    render(model, [drawing], Light.draw(rng))
    canvas = model.filter(ImageFilter.GaussianBlur(8))
    pen = ImageDraw.Draw(canvas)
    for width in (8, 4, 2):
        seen = np.asarray(model.filter(ImageFilter.GaussianBlur(width / 3)))
        down, right = np.gradient(np.asarray(model.convert('L').filter(ImageFilter.GaussianBlur(width)), dtype=float))
        number = round(1.5 * size[0] * size[1] / width**2)
        for x, y in rng.integers(0, size, (number, 2)):
            # strokes run along edges, and all in about one direction where the picture is even
            angle = np.arctan2(down[y, x] + 0.2, right[y, x] + 0.2) + np.pi / 2 + rng.normal(0, 0.2)
            reach = width * rng.uniform(0.8, 1.6) * np.array([np.cos(angle), np.sin(angle)])
            colour = np.clip(seen[y, x] + rng.normal(0, 12), 0, 255).astype(int)
            pen.line([*(x, y) - reach, *(x, y) + reach], tuple(colour.tolist()), width)
    return canvas


def videogame(rng: np.random.Generator, drawing: Drawing, size: tuple[int, int]) -> Image.Image:
    """Draw a cartoon with few pixels and few colours."""
    small = cartoon(rng, drawing, size).reduce(3).quantize(int(rng.integers(8, 14)))
    return small.convert('RGB').resize(size, Image.Resampling.NEAREST)


#: The function that draws each style, by its name in ImageNet-R's file names.
STYLES: dict[str, Callable[[np.random.Generator, Drawing, tuple[int, int]], Image.Image]] = {
    'sketch': sketch,
    'cartoon': cartoon,
    'painting': painting,
    'videogame': videogame,
}


def contour(drawing: Drawing, width: float, ink: RGB, tone: Callable[[RGB], RGB] = lambda colour: colour) -> Drawing:
    """Draw a line around every shape of an object.

    Args:
        width (float): The width of the line around the object in pixels; inner lines are half as wide.
        tone (Callable[[RGB], RGB], optional): Maps the colour of each shape.
    """
    layers = []
    for shape, colour in drawing.layers:
        inside = shape.buffer(-width / 2)
        layers += [Layer(shape, ink)] + [Layer(inside, tone(colour))] * (not inside.is_empty)
    return replace(drawing, layers=[*layers, Layer(frame(drawing.outline, width), ink)])


def shake(rng: np.random.Generator, drawing: Drawing) -> Drawing:
    """Shift the points of an object by about a pixel, nearby points alike, as a hand would."""
    waves, phase = rng.normal(0, 0.12, (2, 2)), rng.uniform(0, 2 * np.pi, 2)
    layers = [Layer(shapely.segmentize(shape, 4), colour) for shape, colour in drawing.layers]
    fine = replace(drawing, outline=shapely.segmentize(drawing.outline, 4), layers=layers)
    return fine.map(lambda points: points + 1.2 * np.sin(points @ waves + phase))


def paste(drawing: Drawing, size: tuple[int, int], ground: RGB) -> Image.Image:
    """Draw an object on a plain ground, without light or shadow."""
    picture, paint = Image.new('RGB', size, ground), raster(drawing.outline, drawing.layers, (0, 0, *size))
    picture.paste(paint, mask=paint.getchannel('A'))
    return picture


def grain(rng: np.random.Generator, picture: Image.Image, strength: float) -> Image.Image:
    """Add noise like the grain of paper; ``strength`` is its standard deviation in levels of 255."""
    noise = rng.normal(0, strength, (picture.height, picture.width, 1))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
