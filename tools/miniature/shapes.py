"""Simple shapes, of which objects are composed."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import LineString, Point, Polygon


def disc(x: float, y: float, radius: float) -> Polygon:
    """A filled circle."""
    return Point(x, y).buffer(radius)


def bar(width: float, *points: tuple[float, float]) -> Polygon:
    """A thick line with round ends."""
    return LineString(points).buffer(width / 2)


def polar(angles: np.ndarray, radii: np.ndarray | float) -> np.ndarray:
    """Points by their angles in radians, clockwise from the right, and their distances from the origin."""
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def panel(width: float, height: float, x: float = 0, y: float = 0) -> Polygon:
    """A horizontal box by its width, its height and its middle."""
    return shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def rounded(shape: Polygon, radius: float) -> Polygon:
    """The same shape with its outer corners rounded."""
    return shape.buffer(-radius).buffer(radius)


def frame(shape: Polygon, width: float) -> Polygon:
    """A line along the inside of a shape's edge."""
    return shape - shape.buffer(-width, join_style='mitre')
