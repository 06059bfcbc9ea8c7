"""The objects of aerial photographs, seen from straight above."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from ..objects import Drawing, Layer


@dataclass(frozen=True)
class Overhead(Drawing):
    """An object seen from straight above, in pixels.

    Attributes:
        corners: Corners of the tight rectangle in line with the object, 4 x 2, clockwise from the left of its head.
        difficult: Whether it is hard to see.
    """

    corners: np.ndarray
    difficult: bool = False

    @property
    def width(self) -> float:
        """The width of the tight rectangle in pixels."""
        return math.dist(*self.corners[:2])

    @property
    def length(self) -> float:
        """The length of the tight rectangle from head to tail in pixels."""
        return math.dist(*self.corners[1:3])

    def map(self, transform: Callable[[np.ndarray], np.ndarray]) -> Overhead:
        """Apply a function of coordinates, N x 2, which must not mirror, to the object and its rectangle."""
        return replace(super().map(transform), corners=transform(self.corners))

    def at(self, x: float, y: float, heading: float = 0) -> Overhead:
        """Turn the object about the origin, then move it."""
        return self.map(motion(x, y, heading))


def motion(x: float, y: float, heading: float) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function of coordinates, N x 2, that turns them about the origin and then moves them."""
    cosine, sine = math.cos(heading), math.sin(heading)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return lambda points: points @ turn + (x, y)


def from_above(name: str, outline: BaseGeometry, layers: Sequence[Layer], relief: float = 0) -> Overhead:
    """Make an object that is drawn with its head up.

    Args:
        name (str): Its class, or another name for what DOTA does not label.
        outline (BaseGeometry): The area of the object, in pixels about the origin.
        layers (Sequence[Layer]): The coloured shapes, the lowest first; together they cover the outline.
        relief (float, optional): Its height, from 0 (flat) to 1 (the longest shadow). Defaults to 0.
    """
    return Overhead(name, outline, layers, math.pi, relief, bounding_corners(outline))


def bounding_corners(shape: BaseGeometry) -> np.ndarray:
    """Return the corners of the horizontal box of a shape, 4 x 2, clockwise from the upper left."""
    left, top, right, bottom = shape.bounds
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def is_within(thing: Overhead, area: Polygon) -> bool:
    """Return whether the rectangle of an object lies in an area."""
    return area.contains(Polygon(thing.corners))
