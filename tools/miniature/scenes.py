"""Scenes: objects placed in a picture, lit, shaded and drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFilter
from shapely import LineString, Polygon
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry
from shapely.ops import split

from .colours import RGB
from .objects import COCO_OBJECTS, Drawing, Layer

#: Points drawn per pixel in each direction, for smooth edges.
OVERSAMPLING = 4
#: The share of its outline that stays visible of every object.
LEAST_VISIBLE = 0.9
#: The share of the smaller of two objects that may overlap with the other.
MOST_SHARED = 0.15
#: The side in pixels of a square of the same area as the smallest object.
LEAST_SIDE = 24


class Light(NamedTuple):
    """Direction and strength of the light in a scene.

    Attributes:
        x: Horizontal part of the unit vector towards the light.
        y: Vertical part of the unit vector towards the light.
        strength: How much it shades the objects, from 0 (a dull day) to 1 (a sunny one).
        shadow: How dark the cast shadows are, from 0 to 1.
    """

    x: float
    y: float
    strength: float
    shadow: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        """Draw a random light that comes from above."""
        angle = rng.uniform(-0.8, 0.8) - np.pi / 2
        return cls(math.cos(angle), math.sin(angle), rng.uniform(0.5, 1), rng.uniform(0.25, 0.5))


def compose(rng: np.random.Generator, size: tuple[int, int], hand: Iterable[tuple[str, float]]) -> list[Drawing]:
    """Draw objects and place them so that none is hidden.

    Args:
        hand (Iterable[tuple[str, float]]): The class and the size of each object: the side in pixels of a square of the
            same area.

    Returns:
        list[Drawing]: The objects in pixels of the picture, the hindmost first.
    """
    scene: list[Drawing] = []
    # Small ones tend to lie on top, since large ones would hide them.
    for name, side in sorted(hand, key=lambda item: -item[1] * rng.uniform(0.5, 2)):
        drawing = COCO_OBJECTS[name](rng)
        for attempt in count():
            placed = place(rng, size, drawing, max(side * 0.98**attempt, LEAST_SIDE))
            outlines = [other.outline for other in (*scene, placed)]
            seen = visible(outlines, size)
            is_seen = all(part.area >= LEAST_VISIBLE * outline.area for part, outline in zip(seen, outlines))
            if is_seen and not any(are_piled(placed.outline, other.outline) for other in scene):
                break
        scene.append(placed)
    return scene


def are_piled(first: BaseGeometry, second: BaseGeometry) -> bool:
    """Return whether two objects lie on one another rather than overlap at their edges."""
    return (first & second).area > MOST_SHARED * min(first.area, second.area)


def place(rng: np.random.Generator, size: tuple[int, int], drawing: Drawing, side: float) -> Drawing:
    """Turn, shear, tilt, scale and move an object.

    Args:
        drawing (Drawing): The object in its own units.
        side (float): The side in pixels of a square of the same area as the placed object.

    Returns:
        Drawing: The object in pixels of the picture.
    """
    turn = rng.uniform(-drawing.turn, drawing.turn)
    stretch, shear = rng.uniform(0.9, 1.1), rng.normal(0, 0.05)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation @ [[stretch, shear], [0, 1 / stretch]]
    tilt = rng.uniform(-0.08, 0.08, 2)
    upright = drawing.map(lambda points: points @ matrix.T / (1 + points @ tilt)[:, None])
    scale = side / np.sqrt(upright.outline.area)
    centre = rng.uniform(0.12, 0.88, 2) * size
    return upright.map(lambda points: points * scale + centre)


def visible(outlines: Sequence[BaseGeometry], size: tuple[int, int]) -> list[BaseGeometry]:
    """Return the visible part of each outline, the hindmost first: inside the picture and not under a later one."""
    frame = shapely.box(0, 0, *size)
    return [(outline & frame) - shapely.union_all(outlines[index + 1 :]) for index, outline in enumerate(outlines)]


def pieces(shape: BaseGeometry) -> list[Polygon]:
    """Cut the areas of any geometry into polygons without holes; its points and lines are left out."""
    found = []
    for part in shapely.get_parts(shape):
        if part.geom_type != 'Polygon' or part.is_empty:
            continue
        if part.interiors:
            _, top, _, bottom = part.bounds
            x = Polygon(part.interiors[0]).centroid.x
            found += pieces(split(part, LineString([(x, top - 1), (x, bottom + 1)])))
        else:
            found.append(part)
    return found


def render(canvas: Image.Image, scene: Iterable[Drawing], light: Light) -> None:
    """Draw objects, the hindmost first, over a picture, which is changed."""
    frame = shapely.box(0, 0, *canvas.size)
    for drawing in scene:
        outline, side = drawing.outline, math.sqrt(drawing.outline.area)
        reach = 0.06 * side + 1
        left, top, right, bottom = (outline.envelope.buffer(3 * reach) & frame).bounds
        box = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))

        shadow = raster(translate(outline, -light.x * reach, -light.y * reach), [], box).getchannel('A')
        shadow = shadow.filter(ImageFilter.GaussianBlur(0.7 * reach)).point(lambda level: level * light.shadow)
        canvas.paste((0, 0, 0), box, shadow)

        paint = raster(outline, drawing.layers, box)
        mask = paint.getchannel('A')
        colours = np.asarray(paint.convert('RGB')) * shade(mask, side, drawing.relief, light)[..., None]
        canvas.paste(Image.fromarray(colours.clip(0, 255).astype(np.uint8)), box, mask)


def raster(outline: BaseGeometry, layers: Iterable[Layer], box: tuple[int, int, int, int]) -> Image.Image:
    """Draw an object in a window of the picture.

    Args:
        layers (Iterable[Layer]): Its coloured shapes, the lowest first.
        box (tuple[int, int, int, int]): Left, top, right and bottom of the window in pixels.

    Returns:
        Image: An RGBA image of the window, opaque inside the outline.
    """
    image = _fill('RGB', layers, box)
    image.putalpha(_fill('L', [(outline, 255)], box))
    return image.reduce(OVERSAMPLING)


def coverage(shape: BaseGeometry, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a grey image of a window: the share of each pixel that lies in a shape, from 0 to 255."""
    return _fill('L', [(shape, 255)], box).reduce(OVERSAMPLING)


def _fill(mode: str, layers: Iterable[tuple[BaseGeometry, RGB | int]], box: tuple[int, int, int, int]) -> Image.Image:
    """Draw shapes one over the other in a window of the picture, enlarged by the oversampling."""
    corner, size = np.array(box[:2]), (np.array(box[2:]) - box[:2]) * OVERSAMPLING
    image = Image.new(mode, tuple(size.tolist()))
    pen = ImageDraw.Draw(image)
    for shape, colour in layers:
        for piece in pieces(shape):
            # Integers are the middles of pixels in Pillow, and the corners here.
            points = (np.array(piece.exterior.coords) - corner) * OVERSAMPLING - 0.5
            pen.polygon(points.ravel().tolist(), fill=colour)
    return image


def shade(mask: Image.Image, side: float, relief: float, light: Light) -> np.ndarray:
    """Light an object as if it bulged where it is far from its edge.

    Args:
        mask (Image): The object, 0 to 255.
        side (float): The side in pixels of a square of the same area as the object.
        relief (float): How much it bulges, 0 to 1.

    Returns:
        ndarray: The factor of the colours at each pixel.
    """
    height = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.11 * side)), dtype=np.float32) / 255
    down, right = np.gradient(height)
    slope = -side * (right * light.x + down * light.y)
    rows, columns = np.indices(height.shape)
    sheen = ((columns - columns.mean()) * light.x + (rows - rows.mean()) * light.y) / side
    return 1 + light.strength * (0.22 * relief * slope + 0.12 * sheen)


def develop(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Finish a picture as a camera would: exposure, colour cast and grain."""
    gain = rng.uniform(0.85, 1.12) * rng.uniform(0.95, 1.05, 3)
    grain = rng.normal(0, rng.uniform(0.5, 2.5), (picture.height, picture.width, 1))
    return Image.fromarray(np.clip(np.asarray(picture) * gain + grain, 0, 255).astype(np.uint8))
