"""Places of an aerial photograph: groups of objects on their ground, in pixels about the origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from ..colours import BLACK, GREY, WHITE, YELLOW, mix
from ..objects import Layer
from ..shapes import bar, disc, frame, panel, rounded
from .overhead import Overhead, motion
from .structures import (
    LINE,
    baseball_diamond,
    basketball_court,
    container_stack,
    ground_track_field,
    hall,
    harbor,
    house,
    roundabout,
    soccer_ball_field,
    storage_tank,
    swimming_pool,
    tennis_court,
    trees,
)
from .vehicles import boat, cargo_ship, container_crane, helicopter, large_vehicle, plane, small_vehicle

UP, RIGHT, DOWN, LEFT = 0.0, np.pi / 2, np.pi, -np.pi / 2
#: The size of the tiniest vehicles relative to the others.
TINY = 0.42


class Patch(NamedTuple):
    """A piece of ground and its material."""

    shape: BaseGeometry
    material: str


class Place(NamedTuple):
    """A part of a scene.

    Attributes:
        footprint: The area that it needs for itself.
        ground: Its pieces of ground, the lowest first.
        marks: The markings painted on the ground.
        things: The objects on it.
    """

    footprint: Polygon
    ground: Sequence[Patch]
    marks: Sequence[Layer]
    things: Sequence[Overhead]

    def at(self, x: float, y: float, heading: float) -> Place:
        """Turn the place about the origin, then move it."""
        move = motion(x, y, heading)
        return Place(
            shapely.transform(self.footprint, move),
            [Patch(shapely.transform(shape, move), material) for shape, material in self.ground],
            [Layer(shapely.transform(shape, move), colour) for shape, colour in self.marks],
            [thing.map(move) for thing in self.things],
        )


def dashes(line: LineString, width: float, length: float, gap: float) -> BaseGeometry:
    """Draw a dashed line; all lengths are in pixels."""
    starts = np.arange(gap / 2, line.length - length, length + gap)
    points = shapely.line_interpolate_point(line, np.stack([starts, starts + length], axis=1))
    return shapely.union_all([bar(width, *(point.coords[0] for point in pair)) for pair in points])


def car_park(rng: np.random.Generator) -> Place:
    """Two rows of parking places on either side of a lane, most of them taken, and up to two tiny vehicles."""
    bays, pitch = rng.integers(8, 11), 14.0
    yard = panel(bays * pitch + 14, 84)
    columns = (np.arange(bays) - (bays - 1) / 2) * pitch
    lines, things = [], []
    for side in (-1, 1):
        edges = [*(columns - pitch / 2), columns[-1] + pitch / 2]
        lines += [panel(0.9, 26, x, side * 26) for x in edges]
        for index in rng.permutation(bays)[: bays - rng.integers(1, 4)]:
            car, heading = small_vehicle(rng), rng.choice([UP, DOWN])
            things += [car.at(columns[index] + rng.normal(0, 0.4), side * 26 + rng.normal(0, 1), heading)]
    for index in rng.permutation(bays)[: rng.integers(3)]:
        tiny = small_vehicle(rng).map(lambda points: TINY * points)
        things += [tiny.at(columns[index], rng.uniform(-5, 5), rng.choice([LEFT, RIGHT]))]
    return Place(yard, [Patch(rounded(yard, 4), 'asphalt')], [Layer(shapely.union_all(lines), LINE)], things)


def depot(rng: np.random.Generator) -> Place:
    """A row of lorries and buses beside a hall."""
    number, pitch = rng.integers(6, 9), 19.0
    yard = panel(number * pitch + 16, 118)
    columns = (np.arange(number) - (number - 1) / 2) * pitch
    things = [hall(rng, 34, number * pitch).at(0, -36, RIGHT)]
    things += [large_vehicle(rng).at(x, 28 + rng.normal(0, 1.5), rng.choice([UP, DOWN])) for x in columns]
    lines = [panel(0.9, 52, x, 28) for x in [*(columns - pitch / 2), columns[-1] + pitch / 2]]
    ground = rng.choice(['asphalt', 'concrete'])
    return Place(yard, [Patch(rounded(yard, 4), ground)], [Layer(shapely.union_all(lines), LINE)], things)


def marina(rng: np.random.Generator) -> Place:
    """Three piers that reach from a quay into the water, with boats moored on both sides."""
    pitch, length = 86.0, rng.uniform(70, 104)
    whole = panel(3 * pitch + 12, length + 64)
    quay = 0.5 * length + 6  # the y coordinate of its edge
    water = whole & shapely.box(-500, -500, 500, quay)
    things = []
    for x in (-pitch, 0, pitch):
        pier = harbor(rng, length * rng.uniform(0.88, 1))
        end, width = pier.length / 2, pier.width / 2
        things += [pier.at(x, quay - end)]
        for side in (-1, 1):
            if rng.random() < 0.2:
                ship = cargo_ship(rng)
                beam, berth = ship.width / 2, quay - 3 - ship.length / 2
                things += [ship.at(x + side * (width + beam + 2.5), berth, rng.choice([UP, DOWN]))]
                continue
            berths = np.arange(quay - 2 * end + 7, quay - 8, 13.0)
            for index in rng.permutation(len(berths))[: max(3, len(berths) - rng.integers(4))]:
                vessel = boat(rng, rng.uniform(24, 31))
                bow = rng.choice([-1, 1])
                reach = width + 2.5 + vessel.length / 2
                things += [vessel.at(x + side * reach, berths[index], bow * RIGHT)]
    ground = [Patch(rounded(whole, 6), 'concrete'), Patch(rounded(water.buffer(-1), 5), 'water')]
    return Place(whole, ground, [], things)


def terminal(rng: np.random.Generator) -> Place:
    """Container cranes at a quay, with stacks behind them and a ship or two in front."""
    pitch = rng.uniform(58, 70)
    whole = panel(3 * pitch + 20, 168)
    water = whole & shapely.box(-500, -500, 500, -16)
    things = []
    for x in (-pitch, 0, pitch):
        crane = container_crane(rng)
        things += [crane.at(x + rng.uniform(-8, 8), -12 + rng.uniform(-3, 3))]
        things += [container_stack(rng, rng.integers(4, 7), 2).at(x + rng.uniform(-3, 3), 62)]
    for x in (-0.85 * pitch, 0.85 * pitch):
        things += [cargo_ship(rng).at(x, -62, rng.choice([LEFT, RIGHT]))]
    things += [large_vehicle(rng).at(x, 33, rng.choice([LEFT, RIGHT])) for x in (-0.8 * pitch, 0.8 * pitch)]
    rails = [panel(3 * pitch + 10, 0.8, 0, y) for y in (-13, 8)]
    marks = [Layer(shapely.union_all(rails), mix(GREY, BLACK, 0.4)), Layer(panel(3 * pitch + 16, 2, 0, -17), LINE)]
    ground = [Patch(rounded(whole, 4), 'concrete'), Patch(rounded(water, 4), 'water')]
    return Place(whole, ground, marks, things)


def apron(rng: np.random.Generator) -> Place:
    """Planes in a row in front of a terminal building, and a taxiway behind them."""
    fleet = [plane(rng) for _ in range(rng.integers(3, 5))]
    spans = [each.width + 10 for each in fleet]
    width = sum(spans)
    whole = panel(width + 16, 158)
    things = [hall(rng, 24, 0.9 * width).at(0, -64, RIGHT)]
    marks = [Layer(bar(1.4, (-width / 2, 58), (width / 2, 58)), YELLOW)]
    for each, x in zip(fleet, np.cumsum(spans) - np.divide(spans, 2) - width / 2):
        things += [each.at(x, -2 + rng.uniform(-3, 3), rng.choice([0, np.pi], p=[0.8, 0.2]) + rng.normal(0, 0.06))]
        marks += [Layer(bar(1.2, (x, -46), (x, 58)), YELLOW)]
    return Place(whole, [Patch(rounded(whole, 6), 'concrete')], marks, things)


def heliport(rng: np.random.Generator) -> Place:
    """Three pads with a ring, a helicopter on each."""
    pitch = 62.0
    whole = panel(3 * pitch, 60)
    marks, things = [], []
    colour = (YELLOW, LINE)[rng.integers(2)]
    for x in (-pitch, 0, pitch):
        marks += [Layer(frame(disc(x, 0, 26), 1.8), colour), Layer(frame(panel(58, 56, x), 1), colour)]
        things += [helicopter(rng).at(x + rng.uniform(-2, 2), rng.uniform(-2, 2), rng.uniform(0, 2 * np.pi))]
    return Place(whole, [Patch(rounded(whole, 4), rng.choice(['asphalt', 'concrete']))], marks, things)


def tank_farm(rng: np.random.Generator) -> Place:
    """Two rows of storage tanks with a pipe between them."""
    number, pitch = rng.integers(2, 4), 60.0
    whole = panel(number * pitch + 4, 2 * pitch + 8)
    columns = (np.arange(number) - (number - 1) / 2) * pitch
    things = [storage_tank(rng).at(x, side * 31 + rng.uniform(-2, 2)) for x in columns for side in (-1, 1)]
    pipes = [panel(number * pitch - 30, 2.2), *(panel(1.6, 60, x) for x in columns)]
    marks = [Layer(shapely.union_all(pipes), mix(GREY, WHITE, 0.35))]
    return Place(whole, [Patch(rounded(whole, 4), rng.choice(['sand', 'asphalt', 'soil']))], marks, things)


def sports_club(rng: np.random.Generator) -> Place:
    """Three or four tennis courts side by side, and three basketball courts."""
    rows = [[tennis_court(rng) for _ in range(rng.integers(3, 5))], [basketball_court(rng) for _ in range(3)]]
    things, widths = [], []
    for courts, y in zip(rows, (-30, 29)):
        pitch = max(court.width for court in courts) + rng.uniform(5, 9)
        columns = (np.arange(len(courts)) - (len(courts) - 1) / 2) * pitch
        things += [court.at(x, y, rng.choice([UP, DOWN])) for court, x in zip(courts, columns)]
        widths += [pitch * len(courts)]
    whole = panel(max(widths) + 8, 124)
    return Place(whole, [Patch(rounded(whole, 4), rng.choice(['concrete', 'meadow', 'asphalt']))], [], things)


def ball_park(rng: np.random.Generator) -> Place:
    """Two baseball diamonds, turned to any side."""
    whole = panel(172, 88)
    things = [baseball_diamond(rng).at(x, 0, rng.uniform(0, 2 * np.pi)) for x in (-43, 43)]
    return Place(whole, [Patch(rounded(whole, 16), 'meadow')], [], things)


def stadium(rng: np.random.Generator) -> Place:
    """A running track, most often around a football pitch."""
    track = ground_track_field(rng)
    things = [track]
    if rng.random() < 0.85:
        things += [soccer_ball_field(rng, 0.57 * track.length)]
    whole = panel(track.width + 14, track.length + 14)
    return Place(whole, [Patch(rounded(whole, 20), rng.choice(['grass', 'meadow', 'concrete']))], [], things)


def pitch(rng: np.random.Generator) -> Place:
    """A football pitch by itself."""
    field = soccer_ball_field(rng)
    whole = panel(field.width + 12, field.length + 12)
    return Place(whole, [Patch(rounded(whole, 4), rng.choice(['sand', 'meadow', 'soil']))], [], [field])


def neighbourhood(rng: np.random.Generator) -> Place:
    """Houses with gardens and pools on both sides of a street with cars."""
    lot, lots = 58.0, 4
    whole = panel(lots * lot, 204)
    street = panel(lots * lot, 30)
    columns = (np.arange(lots) - (lots - 1) / 2) * lot
    sites = [(x, side) for x in columns for side in (-1, 1)]
    with_pool = rng.permutation(len(sites))[:5]
    things = []
    for index, (x, side) in enumerate(sites):
        things += [house(rng).at(x + rng.uniform(-4, 4), side * 42, rng.choice([RIGHT, LEFT]))]
        if index in with_pool:
            things += [swimming_pool(rng).at(x + rng.uniform(-8, 8), side * 82, rng.uniform(0, 2 * np.pi))]
        else:
            things += [trees(rng).at(x + rng.uniform(-9, 9), side * 80)]
    for side in (-1, 1):
        for x in rng.permutation(np.arange(-lots * lot / 2 + 18, lots * lot / 2 - 15, 29))[: rng.integers(2, 5)]:
            things += [small_vehicle(rng).at(x, side * 9, -side * RIGHT)]
    middle = dashes(LineString([(-lots * lot / 2, 0), (lots * lot / 2, 0)]), 1, 6, 7)
    return Place(whole, [Patch(rounded(whole, 4), 'grass'), Patch(street, 'asphalt')], [Layer(middle, LINE)], things)


def crossing(rng: np.random.Generator) -> Place:
    """A roundabout where four roads meet, with cars and lorries on them."""
    reach = 80.0
    island = roundabout(rng)
    radius = island.width / 2
    roads = panel(24, 2 * reach) | panel(2 * reach, 24)
    marks, things = [], [island]
    for arm in range(4):
        move = motion(0, 0, arm * np.pi / 2)
        middle = dashes(LineString([(0, -radius - 2), (0, -reach)]), 1, 5, 5)
        marks += [Layer(shapely.transform(middle, move), LINE)]
        for side in rng.permutation([-1, 1])[: rng.integers(1, 3)]:
            y = -rng.uniform(radius + 14, reach - 12)
            things += [small_vehicle(rng).at(side * 6.2, y, UP if side == 1 else DOWN).map(move)]
    whole = roads | disc(0, 0, radius + 3)
    return Place(whole, [Patch(whole, 'asphalt')], marks, things)


#: The places that can lie anywhere in a scene.
PLACES: dict[str, Callable[[np.random.Generator], Place]] = {
    'car park': car_park,
    'depot': depot,
    'marina': marina,
    'terminal': terminal,
    'apron': apron,
    'heliport': heliport,
    'tank farm': tank_farm,
    'sports club': sports_club,
    'ball park': ball_park,
    'stadium': stadium,
    'pitch': pitch,
    'neighbourhood': neighbourhood,
    'crossing': crossing,
}
