"""What an aerial photograph shows, before it lies anywhere: an object seen from straight above."""

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
        difficult: Whether it is hard to make out.
    """

    corners: np.ndarray
    difficult: bool = False

    @property
    def width(self) -> float:
        """The width of the tight rectangle, in pixels."""
        return math.dist(*self.corners[:2])

    @property
    def length(self) -> float:
        """The length of the tight rectangle from its head to its tail, in pixels."""
        return math.dist(*self.corners[1:3])

    def map(self, transform: Callable[[np.ndarray], np.ndarray]) -> Overhead:
        """Move the object, and its rectangle with it.

        Args:
            transform (Callable[[ndarray], ndarray]): Takes and returns coordinates, N x 2; it mirrors nothing.

        Returns:
            Overhead: The moved object.
        """
        return replace(super().map(transform), corners=transform(self.corners))

    def at(self, x: float, y: float, heading: float = 0) -> Overhead:
        """Turn the object about the origin and move it.

        Args:
            x (float): How far to move it to the right, in pixels.
            y (float): How far to move it down, in pixels.
            heading (float, optional): How far to turn it, clockwise in radians.

        Returns:
            Overhead: The moved object.
        """
        return self.map(motion(x, y, heading))


def motion(x: float, y: float, heading: float) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function that turns coordinates about the origin and then moves them.

    Args:
        x (float): How far to move to the right, in pixels.
        y (float): How far to move down, in pixels.
        heading (float): How far to turn, clockwise in radians.

    Returns:
        Callable[[ndarray], ndarray]: Takes and returns coordinates, N x 2.
    """
    cosine, sine = math.cos(heading), math.sin(heading)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return lambda points: points @ turn + (x, y)


def from_above(name: str, outline: BaseGeometry, layers: Sequence[Layer], relief: float = 0) -> Overhead:
    """Make an object that is drawn with its head up.

    Args:
        name (str): The class, or what else it is.
        outline (BaseGeometry): Where the object is, in pixels about the origin.
        layers (Sequence[Layer]): The coloured shapes, the lowest first; together they cover the outline.
        relief (float, optional): How high it stands: 0 lies flat, 1 throws the longest shadow.

    Returns:
        Overhead: The object.
    """
    return Overhead(name, outline, layers, math.pi, relief, bounding_corners(outline))


def bounding_corners(shape: BaseGeometry) -> np.ndarray:
    """Give the corners of the upright rectangle around a shape.

    Args:
        shape (BaseGeometry): The shape, in pixels.

    Returns:
        ndarray: The corners, 4 x 2, clockwise from the upper left.
    """
    left, top, right, bottom = shape.bounds
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def is_within(thing: Overhead, area: Polygon) -> bool:
    """Tell whether the rectangle around an object lies in an area."""
    return area.contains(Polygon(thing.corners))
