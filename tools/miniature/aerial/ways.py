"""Ways that cross a whole aerial photograph: a river with its bridges, and an avenue with its roundabouts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from shapely import LineString, Point, Polygon

from ..colours import WHITE
from ..objects import Layer
from ..shapes import bar, disc
from .overhead import Overhead, is_within
from .places import Patch, Place, dashes
from .structures import LINE, bridge, roundabout
from .vehicles import boat, cargo_ship, large_vehicle, small_vehicle

#: The width of a road with two lanes in pixels, and the distance of the middle of a lane from that of the road.
ROAD, LANE = 26.0, 6.5


def river(rng: np.random.Generator, size: tuple[int, int], angle: float) -> Place:
    """A river with six bridges between the roads on its banks, and moving ships."""
    picture = shapely.box(0, 0, *size)
    width = rng.uniform(52, 84)
    course = winding(rng, size, angle, 14)
    bank = width / 2 + 6 + ROAD / 2
    roads = [course.offset_curve(side * bank) for side in (-1, 1)]
    footprint = course.buffer(bank + ROAD / 2 + 2) & picture
    ground = [Patch(footprint, 'grass'), *(Patch(road.buffer(ROAD / 2), 'asphalt') for road in roads)]
    ground += [Patch(course.buffer(width / 2 + 3), 'sand'), Patch(course.buffer(width / 2), 'water')]
    stops = spread(course, picture, 6, bank + 20)
    spans = [bridge(rng, width + rng.uniform(9, 11)).at(*along(course, stop, 0, np.pi / 2)) for stop in stops]
    ships, wakes = [], []
    for start, end in zip(stops, stops[1:]):
        space = end - start - 42
        if space < 24 or rng.random() < 0.25:
            continue
        ship = cargo_ship(rng) if space > 80 else boat(rng, rng.uniform(24, min(34, space)))
        way, side = (0, -1) if rng.random() < 0.5 else (np.pi, 1)
        ships += [ship.at(*along(course, (start + end) / 2, side * 0.18 * width, way))]
        stern = np.mean(ships[-1].corners[2:], axis=0)
        back = stern - np.mean(ships[-1].corners[:2], axis=0)
        aside = np.array([-back[1], back[0]]) * 0.16
        wakes += [bar(1.4, stern, stern + 0.6 * back + turn * aside) for turn in (-1, 1)]
    marks = [Layer(dashes(road & picture, 1.1, 7, 8), LINE) for road in roads]
    marks += [Layer(shapely.union_all(wakes), WHITE)]
    return Place(footprint, ground, marks, [*spans, *ships, *traffic(rng, roads, picture, [])])


def avenue(rng: np.random.Generator, size: tuple[int, int], angle: float) -> Place:
    """A road with four roundabouts, at which side streets begin."""
    picture = shapely.box(0, 0, *size)
    course = winding(rng, size, angle, 5)
    islands, streets = [], []
    for stop in spread(course, picture, 4, 60):
        islands += [roundabout(rng).at(*along(course, stop, 0, 0))]
        for side in (-1, 1):
            ends = [along(course, stop, distance * side, 0)[:2] for distance in (0, 78)]
            streets += [LineString(ends)]
    roads = [course, *streets]
    rings = shapely.union_all([island.outline for island in islands]).buffer(3)
    asphalt = shapely.union_all([*(road.buffer(ROAD / 2, cap_style='flat') for road in roads), rings]) & picture
    lines = [dashes(part, 1.1, 7, 8) for road in roads for part in shapely.get_parts((road & picture) - rings)]
    things = [*islands, *traffic(rng, roads, picture, islands)]
    return Place(asphalt, [Patch(asphalt, 'asphalt')], [Layer(shapely.union_all(lines), LINE)], things)


def winding(rng: np.random.Generator, size: tuple[int, int], angle: float, sway: float) -> LineString:
    """Draw a course from beyond one edge of the picture to beyond another, which passes near its middle.

    Args:
        angle (float): Its direction.
        sway (float): How far it swings to either side, in pixels.
    """
    phase, length = rng.uniform(0, 2 * np.pi), rng.uniform(350, 600)
    forward = np.array([np.cos(angle), np.sin(angle)])
    steps = np.linspace(-1, 1, 161)[:, None] * np.hypot(*size) * 0.65
    sideways = sway * np.sin(2 * np.pi * steps / length + phase)
    middle = np.divide(size, 2) + rng.uniform(-0.08, 0.08, 2) * min(size)
    return LineString(middle + steps * forward + sideways * (-forward[1], forward[0]))


def along(course: LineString, distance: float, aside: float, heading: float) -> tuple[float, float, float]:
    """Find a place beside a course.

    Args:
        distance (float): The distance from its start in pixels.
        aside (float): The distance to its right in pixels.
        heading (float): Clockwise from the direction of the course, in radians.

    Returns:
        tuple[float, float, float]: x and y in pixels, and the heading clockwise from up in radians.
    """
    ahead, behind = (course.interpolate(distance + step).coords[0] for step in (1, -1))
    forward = np.subtract(ahead, behind) / np.hypot(*np.subtract(ahead, behind))
    x, y = np.add(ahead, behind) / 2 + aside * np.array([-forward[1], forward[0]])
    return x, y, np.arctan2(forward[0], -forward[1]) + heading


def spread(course: LineString, picture: Polygon, number: int, margin: float) -> np.ndarray:
    """Spread stops evenly along the part of a course that is at least ``margin`` pixels inside the picture.

    Returns:
        ndarray: The distance of each stop from the start of the course, in pixels.
    """
    inside = course & picture.buffer(-margin)
    ends = [course.project(Point(point)) for point in shapely.get_coordinates(inside)]
    return np.linspace(min(ends), max(ends), number)


def traffic(
    rng: np.random.Generator, roads: list[LineString], picture: Polygon, islands: list[Overhead]
) -> list[Overhead]:
    """Let vehicles drive on the right of two-lane roads.

    Args:
        roads (list[LineString]): The middles of the roads.
        picture (Polygon): The area that contains every vehicle entirely.
        islands (list[Overhead]): The roundabouts, which stay free.
    """
    free = picture.buffer(-2) - shapely.union_all([disc(*each.outline.centroid.coords[0], 36) for each in islands])
    shapely.prepare(free)
    found: list[Overhead] = []
    for road in roads:
        for side, way in ((1, 0.0), (-1, np.pi)):
            distance = rng.uniform(0, 50)
            while distance < road.length - 10:
                x, y, heading = along(road, distance, side * LANE, way)
                if free.contains(Point(x, y)):
                    vehicle = (large_vehicle if rng.random() < 0.2 else small_vehicle)(rng).at(x, y, heading)
                    near = shapely.dwithin([other.outline for other in found], vehicle.outline, 5)
                    if is_within(vehicle, free) and not near.any():
                        found.append(vehicle)
                distance += rng.uniform(55, 120)
    return found


#: The ways that a scene may have.
WAYS: dict[str, Callable[[np.random.Generator, tuple[int, int], float], Place]] = {'river': river, 'avenue': avenue}
