"""Aerial scenes: places side by side among fields, seen from straight above and lit from one side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import numpy as np
import shapely
from PIL import Image, ImageFilter
from shapely import Point, Polygon, STRtree
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from ..colours import BLACK, mix
from ..objects import Layer
from ..scenes import Light, develop, render
from .ground import fields, lay, stencil
from .overhead import Overhead, is_within, motion
from .places import PLACES, Patch
from .structures import house, trees
from .ways import WAYS

#: The shortest and the longest side of a picture in pixels.
IMAGE_SIDES = (700, 2000)
#: The share of a picture that the places may fill before it is made larger.
FILLING = 0.43
#: Attempts to place something before the picture is made larger, and the pixels between two places.
TRIES, GAP = 200, 4
#: The length in pixels of the shadow of the highest objects.
LONGEST_SHADOW = 13
#: The colour that covers hazy objects, and its opacity.
HAZE, HAZE_SHARE = (112, 116, 112), 0.5
#: An object is small below this area in square pixels; the share of small and of other objects that are hazy.
SMALL, SMALL_HAZY, OTHER_HAZY = 260, 0.05, 0.015


class Scene(NamedTuple):
    """The content of a picture.

    Attributes:
        size: Width and height in pixels.
        ground: Its pieces of ground, the lowest first.
        marks: The markings painted on the ground.
        things: The objects on it.
    """

    size: tuple[int, int]
    ground: list[Patch]
    marks: list[Layer]
    things: list[Overhead]


def lay_out(rng: np.random.Generator, way: str, angle: float, hand: Sequence[str]) -> Scene:
    """Lay out places along a river or an avenue, in a picture that is just large enough for them.

    All objects of the scene lie entirely within the picture, and none hides another.

    Args:
        way (str): A key of :data:`.ways.WAYS`.
        angle (float): The direction of the way.
        hand (Sequence[str]): Keys of :data:`.places.PLACES`.
    """
    # The largest come first: the others fit into the remaining space.
    places = sorted((PLACES[name](rng) for name in hand), key=lambda place: -place.footprint.area)
    area, aspect = sum(place.footprint.area for place in places) / FILLING, math.exp(rng.uniform(-0.5, 0.5))
    for attempt in count():
        side = math.sqrt(area) * 1.04**attempt + 80
        width, height = (round(np.clip(side * factor, *IMAGE_SIDES)) for factor in (aspect**0.5, aspect**-0.5))
        crossing, picture = WAYS[way](rng, (width, height), angle), shapely.box(0, 0, width, height)
        positions = settle(rng, [place.footprint for place in places], crossing.footprint, picture.buffer(-GAP))
        if positions:
            break
    settled = [crossing, *(place.at(*position) for place, position in zip(places, positions))]
    ground = fields(rng, (width, height))
    things = [haze(rng, thing) for place in settled for thing in place.things]
    wild = overgrow(rng, ground, picture - shapely.union_all([place.footprint for place in settled]))
    return Scene(
        (width, height),
        [*ground, *(patch for place in settled for patch in place.ground)],
        [mark for place in settled for mark in place.marks],
        [*things, *wild],
    )


def settle(
    rng: np.random.Generator, footprints: Sequence[Polygon], taken: Polygon, area: Polygon
) -> list[tuple[float, float, float]] | None:
    """Find room for places beside one whose position is fixed.

    Args:
        footprints (Sequence[Polygon]): The areas that the places need, in pixels about the origin.
        taken (Polygon): The area of the fixed place.
        area (Polygon): The area to place them in, a horizontal box.

    Returns:
        list[tuple[float, float, float]] | None: x, y and heading of each place, or None if there was not enough room.
    """
    found, others = [], [taken]
    for footprint in footprints:
        for _ in range(TRIES):
            heading = rng.uniform(0, 2 * np.pi)
            turned = shapely.transform(footprint, motion(0, 0, heading))
            left, top, right, bottom = np.subtract(area.bounds, turned.bounds)
            if left > right or top > bottom:
                continue
            x, y = rng.uniform(left, right), rng.uniform(top, bottom)
            moved = translate(turned, x, y)
            if not shapely.dwithin(others, moved, GAP).any():
                break
        else:
            return None
        found.append((x, y, heading))
        others.append(moved)
    return found


def haze(rng: np.random.Generator, thing: Overhead) -> Overhead:
    """Make a few objects hazy, most often small ones, and mark these as difficult."""
    if rng.random() >= (SMALL_HAZY if thing.outline.area < SMALL else OTHER_HAZY):
        return thing
    layers = [Layer(shape, mix(colour, HAZE, HAZE_SHARE)) for shape, colour in thing.layers]
    return replace(thing, layers=layers, difficult=True)


def overgrow(rng: np.random.Generator, ground: Sequence[Patch], free: Polygon) -> list[Overhead]:
    """Build a few houses, and plant trees along the edges of the fields and elsewhere.

    Args:
        ground (Sequence[Patch]): The fields.
        free (Polygon): The area for houses and trees.
    """
    hedges = shapely.union_all([patch.shape.boundary for patch in ground])
    left, top, right, bottom = free.bounds
    spots = [(house, spot) for spot in rng.uniform((left, top), (right, bottom), (round(free.area / 9000), 2))]
    for distance in np.arange(0, hedges.length, 30):
        spots += [(trees, np.add(hedges.interpolate(distance).coords[0], rng.normal(0, 3, 2)))]
    spots += [(trees, spot) for spot in rng.uniform((left, top), (right, bottom), (round(free.area / 6000), 2))]
    shapely.prepare(free)
    wild = [make(rng).at(*spot, rng.uniform(0, 2 * np.pi)) for make, spot in spots if free.contains(Point(spot))]
    wild = [thing for thing in wild if is_within(thing, free)]
    near = STRtree([thing.outline for thing in wild])
    kept: set[int] = set()
    for index, thing in enumerate(wild):
        if kept.isdisjoint(near.query(thing.outline, 'dwithin', 0.5)):
            kept.add(index)
    return [wild[index] for index in sorted(kept)]


def paint(rng: np.random.Generator, scene: Scene) -> Image.Image:
    """Draw a scene as a camera above it sees it."""
    picture = lay(rng, scene.size, scene.ground)
    for shape, colour in scene.marks:
        stencil(picture, shape, colour)
    angle = rng.uniform(0, 2 * np.pi)
    sun = Light(math.cos(angle), math.sin(angle), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.5))
    flat, raised = ([thing for thing in scene.things if (thing.relief > 0) == high] for high in (False, True))
    render(picture, flat, sun._replace(shadow=0))
    stencil(picture, shadows(raised, sun), BLACK, sun.shadow, blur=1)
    render(picture, raised, sun)
    return develop(rng, picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.25, 0.55))))


def shadows(things: Sequence[Overhead], sun: Light) -> BaseGeometry:
    """Return the area in the shadows of objects."""
    return shapely.union_all(
        [
            translate(thing.outline, -sun.x * distance, -sun.y * distance)
            for thing in things
            for distance in np.arange(0, thing.relief * LONGEST_SHADOW, 2)
        ]
    )
