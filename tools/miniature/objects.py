"""The objects of the miniature data sets, each drawn by one function in units of about half its size.

The origin is near the middle of the object. A function returns it upright and from the front; :mod:`.scenes` turns,
tilts, scales and lights it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import shapely
from matplotlib.ft2font import FT2Font
from matplotlib.path import Path as Curves
from shapely import Polygon
from shapely.affinity import rotate, scale, translate
from shapely.geometry.base import BaseGeometry

from .colours import (
    BLACK,
    BLUE,
    BROWN,
    DOUGH,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    PINK,
    PURPLE,
    RED,
    RGB,
    TEAL,
    WHITE,
    YELLOW,
    mix,
    pick,
    vary,
)
from .shapes import bar, disc, polar


class Layer(NamedTuple):
    """A shape filled with one colour."""

    shape: BaseGeometry
    colour: RGB


@dataclass(frozen=True)
class Drawing:
    """An object in flat colours: an outline, and coloured shapes inside it.

    Attributes:
        name: The class of the object.
        outline: The area of the object. Parts of layers outside it are not drawn.
        layers: The coloured shapes, the lowest first; together they cover the outline.
        turn: How far the object may be turned to either side, in radians.
        relief: How much the object bulges towards the viewer, from 0 (a sheet) to 1 (a ball).
    """

    name: str
    outline: BaseGeometry
    layers: Sequence[Layer]
    turn: float
    relief: float

    def map(self, transform: Callable[[np.ndarray], np.ndarray]) -> Drawing:
        """Apply a function of coordinates, N x 2, to the outline and all layers."""
        layers = [Layer(shapely.transform(shape, transform), colour) for shape, colour in self.layers]
        return replace(self, outline=shapely.transform(self.outline, transform), layers=layers)


@cache
def _lettering(text: str) -> BaseGeometry:
    """The shape of a text in bold type, 2 units wide, with its middle in the origin."""
    font = FT2Font(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans-Bold.ttf'))
    font.set_size(64, 72)
    shape, position = Polygon(), 0.0
    for letter in text:
        glyph = font.load_char(ord(letter))
        for ring in Curves(*font.get_path()).to_polygons():
            shape ^= Polygon(ring + (position, 0))  # a ring inside another one is a hole
        position += glyph.linearHoriAdvance / 65536
    left, bottom, right, top = shape.bounds
    factor = 2 / (right - left)
    return scale(translate(shape, -(left + right) / 2, -(bottom + top) / 2), factor, -factor, origin=(0, 0))


def stop_sign(rng: np.random.Generator) -> Drawing:
    """A red octagon with a pale border that says STOP."""
    plate = Polygon(polar(np.pi / 8 + np.arange(8) * np.pi / 4, 1))
    red, white = vary(rng, RED), vary(rng, WHITE)
    letters = scale(_lettering('STOP'), 0.74, rng.uniform(0.9, 1.2), origin=(0, 0))
    field = scale(plate, 0.91, 0.91)
    bolts = disc(0, -0.72, 0.05) | disc(0, 0.72, 0.05)
    layers = [Layer(plate, white), Layer(field, red), Layer(letters, white), Layer(bolts, mix(red, BLACK, 0.5))]
    return Drawing('stop sign', plate, layers, turn=0.3, relief=0.15)


def traffic_light(rng: np.random.Generator) -> Drawing:
    """A housing with three lamps under hoods, one of them lit."""
    housing = shapely.box(-0.4, -1, 0.4, 1).buffer(rng.uniform(0.06, 0.16))
    colour = pick(rng, (BLACK, BLACK, YELLOW, GREY))[0]
    layers = [Layer(housing, mix(colour, WHITE, 0.35)), Layer(housing.buffer(-0.06), colour)]
    lit = rng.integers(3)
    for index, lamp in enumerate((RED, ORANGE, GREEN)):
        y = (index - 1) * 0.7
        bright = mix(lamp, (80, 255, 160) if lamp is GREEN else (255, 90, 40), 0.35)
        layers += [Layer(disc(0, y - 0.05, 0.35) - disc(0, y + 0.1, 0.37), mix(colour, BLACK, 0.75))]
        layers += [Layer(disc(0, y, 0.29), mix(bright, BLACK, 0 if index == lit else 0.72))]
        if index == lit:
            layers += [
                Layer(disc(0, y, 0.19), mix(bright, WHITE, 0.35)),
                Layer(disc(0, y, 0.1), mix(bright, WHITE, 0.8)),
            ]
        else:
            layers += [Layer(disc(-0.08, y - 0.08, 0.06), mix(lamp, WHITE, 0.2))]
    return Drawing('traffic light', housing, layers, turn=0.1, relief=0.3)


def umbrella(rng: np.random.Generator) -> Drawing:
    """An open umbrella with panels of one or two colours and a hooked handle."""
    panels = rng.choice([5, 7])
    edges = np.linspace(-1, 1, panels + 1)
    dome = scale(disc(0, 0, 1), 1, rng.uniform(0.75, 1))
    canopy = dome & shapely.box(-1, -1, 1, 0)
    for left, right in zip(edges, edges[1:]):
        canopy -= translate(scale(disc(0, 0, (right - left) / 2), 1, 0.55), (left + right) / 2)
    top = -canopy.bounds[1]
    handle = bar(0.2, (0, -0.2), (0, 0.4), *(polar(np.linspace(np.pi, 0, 12), 0.16) + (0.16, 0.4)))
    tip = bar(0.08, (0, -top), (0, -top - 0.12))
    first, second = pick(rng, number=2)
    if rng.random() < 0.4:
        second = mix(first, BLACK if sum(first) > 300 else WHITE, 0.22)
    layers = [Layer(handle, vary(rng, BROWN)), Layer(tip, BLACK)]
    for index, edge in enumerate(edges[panels // 2 + 1 :][::-1]):
        panel = scale(dome, edge, 1, origin=(0, 0)) & canopy
        layers += [Layer(panel, mix(first, BLACK, 0.45)), Layer(panel.buffer(-0.012), (first, second)[index % 2])]
    return Drawing('umbrella', canopy | handle | tip, layers, turn=0.25, relief=0.35)


def frisbee(rng: np.random.Generator) -> Drawing:
    """A flying disc seen from the side and above, with rings and a star."""
    tilt = rng.uniform(0.42, 0.62)
    rim, middle, mark = pick(rng, number=3)
    points = rng.integers(5, 9)
    star = Polygon(polar(np.arange(2 * points) * np.pi / points, np.resize([0.36, 0.17], 2 * points)))
    face = scale(disc(0, 0, 1), 1, tilt)
    edge = shapely.union(face, translate(face, 0, 0.17 * np.sqrt(1 - tilt**2))).convex_hull
    rings = [(1, mix(rim, WHITE, 0.25)), (0.93, rim), (0.74, mix(rim, BLACK, 0.35)), (0.71, rim), (0.56, middle)]
    layers = [Layer(edge, mix(rim, BLACK, 0.4))]
    layers += [Layer(scale(face, radius, radius), colour) for radius, colour in rings]
    layers += [Layer(scale(rotate(star, rng.uniform(0, 360)), 1.2, 1.2 * tilt, origin=(0, 0)), mark)]
    return Drawing('frisbee', edge, layers, turn=0.35, relief=0.3)


def kite(rng: np.random.Generator) -> Drawing:
    """A diamond of four panels with spars and a short tail with a bow."""
    half_width, shoulder = rng.uniform(0.6, 0.85), rng.uniform(-0.4, -0.15)
    top, right, bottom, left, middle = (0, -1), (half_width, shoulder), (0, 1), (-half_width, shoulder), (0, shoulder)
    sail = Polygon([top, right, bottom, left])
    colours = pick(rng, PALETTE[:9], number=3)  # a grey sail looks dull
    fourth = rng.choice(3)
    panels = [Polygon([top, right, middle]), Polygon([right, bottom, middle])]
    panels += [Polygon([bottom, left, middle]), Polygon([left, top, middle])]
    if rng.random() < 0.5:
        colours[2] = colours[0]
    down = np.linspace(1, 1.3, 30)
    sway = rng.choice([-1, 1]) * 0.1 * np.sin((down - 1) * rng.uniform(5, 7))
    string = np.stack([sway, down], axis=1)
    tail = bar(0.16, *string)
    bow = shapely.make_valid(Polygon([(-0.3, -0.18), (0.3, 0.18), (0.3, -0.18), (-0.3, 0.18)]))
    bow = translate(bow, *string[-4])
    spar = mix(colours[0], BLACK, 0.6)
    layers = [Layer(tail, vary(rng, GREY))]
    layers += [Layer(bow, colours[1])]
    layers += [Layer(panel, colour) for panel, colour in zip(panels, [*colours, colours[fourth]])]
    layers += [Layer(bar(0.05, top, bottom), spar), Layer(bar(0.05, left, right), spar)]
    return Drawing('kite', shapely.union_all([sail, tail, bow]), layers, turn=0.35, relief=0.1)


def banana(rng: np.random.Generator) -> Drawing:
    """A crescent with a stem, a ridge and a dark tip."""
    along = np.linspace(0, 1, 40)
    angles = np.pi / 2 + (along - 0.5) * rng.uniform(1.7, 2.4)
    thickness = rng.uniform(0.25, 0.31) * np.sin(np.pi * (0.06 + 0.88 * along)) ** 0.6

    def band(inner: float, outer: float) -> Polygon:
        sides = polar(angles, 1 + inner * thickness), polar(angles, 1 + outer * thickness)
        return Polygon(np.concatenate([sides[0], sides[1][::-1]])).buffer(0.02)

    fruit = band(-1, 1)
    stem = bar(0.13, *(polar(angles[[0, 0]] - np.array([0, 0.2]), np.array([1, 0.93]))))
    tip = bar(0.1, *polar(angles[[-1, -1]] + np.array([-0.02, 0.05]), 1.0))
    skin = pick(rng, (YELLOW, YELLOW, YELLOW, mix(YELLOW, GREEN, 0.5)))[0]
    layers = [Layer(fruit, mix(skin, BROWN, 0.3)), Layer(band(-1, 0.55), skin)]
    layers += [Layer(band(-0.45, -0.1), mix(skin, WHITE, 0.4)), Layer(stem, mix(skin, BROWN, 0.6))]
    layers += [Layer(tip, mix(BROWN, BLACK, 0.5))]
    for point in polar(rng.choice(angles[5:-5], rng.integers(6)), 1.0) + rng.normal(0, 0.05, 2):
        layers += [Layer(scale(disc(*point, 0.03), rng.uniform(1, 2), 1), mix(BROWN, skin, 0.3))]
    shape = shapely.union_all([fruit, stem, tip])
    middle = shape.centroid.coords[0]
    return Drawing('banana', shape, layers, turn=0.5, relief=0.7).map(lambda points: points - middle)


def donut(rng: np.random.Generator) -> Drawing:
    """A ring of dough with icing and sprinkles."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)

    def blob(radius: float, waves: int, height: float) -> Polygon:
        return Polygon(polar(angles, radius * (1 + height * np.sin(waves * angles + rng.uniform(0, 6)))))

    hole = disc(0, 0, rng.uniform(0.24, 0.32))
    ring = blob(1, 3, 0.02) - hole
    icing = blob(0.86, rng.integers(6, 10), 0.035) - hole.buffer(0.07)
    crust = vary(rng, DOUGH)
    glaze = pick(rng, (PINK, BROWN, WHITE, RED, YELLOW, TEAL, mix(BROWN, BLACK, 0.4), GREEN, BLUE))[0]
    layers = [Layer(ring, crust), Layer(blob(0.95, 3, 0.02), mix(crust, WHITE, 0.25)), Layer(icing, glaze)]
    for angle, radius in zip(rng.uniform(0, 2 * np.pi, 34), rng.uniform(0.45, 0.76, 34)):
        sprinkle = rotate(bar(0.055, (-0.05, 0), (0.05, 0)), rng.uniform(0, 180))
        spot = polar(np.array([angle]), radius)[0]
        layers += [Layer(translate(sprinkle, *spot), pick(rng, (WHITE, YELLOW, TEAL, RED, PURPLE, ORANGE))[0])]
    return Drawing('donut', ring, layers, turn=np.pi, relief=0.9)


def clock(rng: np.random.Generator) -> Drawing:
    """A round wall clock or an alarm clock with bells and feet."""
    case, accent = pick(rng, number=2)
    face = pick(rng, (WHITE, WHITE, WHITE, mix(YELLOW, WHITE, 0.6), BLACK))[0]
    ink = BLACK if sum(face) > 380 else WHITE
    body = disc(0, 0, 1)
    outline, layers = body, []
    if rng.random() < 0.5:
        bells = [rotate(scale(disc(0, -1.12, 0.42), 1, 0.75), turn, origin=(0, 0)) for turn in (-36, 36)]
        feet = [bar(0.2, (side * 0.5, 0.8), (side * 0.68, 1.12)) for side in (-1, 1)]
        outline = shapely.union_all([body, *bells, *feet])
        layers += [Layer(outline, mix(case, BLACK, 0.4)), *(Layer(bell, accent) for bell in bells)]
    layers += [Layer(body, case), Layer(disc(0, 0, 0.84), mix(case, BLACK, 0.55)), Layer(disc(0, 0, 0.8), face)]
    for hour in range(12):
        mark = bar(0.05 if hour % 3 else 0.1, (0, -0.72), (0, -0.64 if hour % 3 else -0.6))
        layers += [Layer(rotate(mark, hour * 30, origin=(0, 0)), ink)]
    time = rng.uniform(0, 12)
    hands = [(0.12, 0.42, time * 30, ink), (0.08, 0.62, time * 360, ink), (0.035, 0.66, rng.uniform(0, 360), RED)]
    for width, length, turn, colour in hands:
        layers += [Layer(rotate(bar(width, (0, 0.1), (0, -length)), turn, origin=(0, 0)), colour)]
    layers += [Layer(disc(0, 0, 0.08), ink)]
    return Drawing('clock', outline, layers, turn=0.35, relief=0.25)


#: The function that draws each of mini COCO's classes.
COCO_OBJECTS: dict[str, Callable[[np.random.Generator], Drawing]] = {
    'traffic light': traffic_light,
    'stop sign': stop_sign,
    'umbrella': umbrella,
    'frisbee': frisbee,
    'kite': kite,
    'banana': banana,
    'donut': donut,
    'clock': clock,
}
