"""Vehicles, ships and aircraft, seen from straight above with their heads up, in pixels about the origin."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import Polygon
from shapely.affinity import scale, translate

from ..colours import BLACK, BLUE, BROWN, GREEN, GREY, ORANGE, RED, TEAL, WHITE, YELLOW, mix, pick, vary
from ..objects import Layer
from ..shapes import bar, disc, frame, panel, rounded
from .overhead import Overhead, from_above

SILVER = mix(GREY, WHITE, 0.6)
GLASS = mix(BLACK, BLUE, 0.15)


def small_vehicle(rng: np.random.Generator) -> Overhead:
    """A car, 16 to 22 pixels long, with dark windows before and behind its roof."""
    length = rng.uniform(16, 22)
    width = 0.42 * length + rng.uniform(0.2, 1)
    paint = pick(rng, (WHITE, WHITE, SILVER, BLACK, RED, RED, BLUE, BLUE, YELLOW, TEAL))[0]
    body = rounded(panel(width, length), 2.2)
    layers = [Layer(body, mix(paint, BLACK, 0.35)), Layer(body.buffer(-0.8), paint)]
    layers += [Layer(panel(0.8 * width, 0.16 * length, 0, -0.17 * length), GLASS)]
    layers += [Layer(panel(0.74 * width, 0.1 * length, 0, 0.34 * length), GLASS)]
    layers += [Layer(panel(0.68 * width, 0.34 * length, 0, 0.09 * length), mix(paint, WHITE, 0.3))]
    return from_above('small-vehicle', body, layers, relief=0.2)


def large_vehicle(rng: np.random.Generator) -> Overhead:
    """A lorry or a bus, 32 to 50 pixels long."""
    return (lorry if rng.random() < 0.6 else bus)(rng)


def lorry(rng: np.random.Generator) -> Overhead:
    """A coloured cab in front of a long ribbed box."""
    length, width = rng.uniform(36, 50), rng.uniform(10.5, 13)
    top = -length / 2
    cab = rounded(shapely.box(-0.46 * width, top, 0.46 * width, top + 8.5), 1.5)
    coupling = shapely.box(-0.2 * width, top + 6, 0.2 * width, top + 13)
    box = shapely.box(-width / 2, top + 10.5, width / 2, length / 2)
    paint, cover = pick(rng, (RED, BLUE, WHITE, ORANGE, GREEN))[0], pick(rng, (WHITE, WHITE, SILVER, YELLOW))[0]
    layers = [Layer(coupling, mix(GREY, BLACK, 0.6)), Layer(cab, paint)]
    layers += [Layer(panel(0.8 * width, 1.8, 0, top + 2.2), GLASS)]
    layers += [Layer(box, mix(cover, BLACK, 0.3)), Layer(box.buffer(-0.8, join_style='mitre'), cover)]
    layers += [
        Layer(panel(width - 2, 0.6, 0, y), mix(cover, BLACK, 0.22)) for y in np.arange(top + 14, length / 2 - 2, 3.5)
    ]
    return from_above('large-vehicle', cab | coupling | box, layers, relief=0.4)


def bus(rng: np.random.Generator) -> Overhead:
    """A long roof with hatches between a windscreen and a rear window."""
    length, width = rng.uniform(32, 46), rng.uniform(10, 12)
    paint = pick(rng, (YELLOW, RED, ORANGE, WHITE, TEAL))[0]
    body = rounded(panel(width, length), 2)
    layers = [Layer(body, mix(paint, BLACK, 0.4)), Layer(body.buffer(-0.9), mix(paint, WHITE, 0.12))]
    layers += [Layer(panel(0.86 * width, 2.4, 0, -length / 2 + 2.4), GLASS)]
    layers += [Layer(panel(0.8 * width, 1.2, 0, length / 2 - 1.6), GLASS)]
    hatch = frame(panel(0.5 * width, 5), 0.8)
    layers += [Layer(translate(hatch, 0, y * length), mix(paint, BLACK, 0.45)) for y in (-0.2, 0.08, 0.32)]
    return from_above('large-vehicle', body, layers, relief=0.4)


def boat(rng: np.random.Generator, length: float | None = None) -> Overhead:
    """A white boat with a pointed bow, a windscreen and an open cockpit, 24 to 34 pixels long by default."""
    length = length or rng.uniform(24, 34)
    width = length / rng.uniform(3, 3.5)
    outline = hull(length, width, bow=0.42)
    deck = scale(outline, 0.82, 0.9)
    cockpit = rounded(panel(0.62 * width, 0.3 * length, 0, 0.24 * length), 0.8)
    inside = pick(rng, (BROWN, BLUE, GREY, mix(BROWN, WHITE, 0.4)))[0]
    layers = [Layer(outline, mix(vary(rng, WHITE), pick(rng, (BLUE, RED, GREY))[0], 0.3)), Layer(deck, WHITE)]
    layers += [Layer(cockpit, inside)]
    layers += [Layer(bar(0.13 * width + 0.8, (-0.26 * width, 0), (0, -0.05 * length), (0.26 * width, 0)), GLASS)]
    layers += [Layer(bar(0.7, (0, -0.44 * length), (0, -0.14 * length)), mix(GREY, WHITE, 0.4))]
    return from_above('ship', outline, layers, relief=0.2)


def cargo_ship(rng: np.random.Generator) -> Overhead:
    """A long coloured ship with hatches and a white bridge near its stern, 48 to 70 pixels long."""
    length = rng.uniform(48, 70)
    width = length / rng.uniform(3.4, 4)
    outline = hull(length, width, bow=0.24)
    paint, deck = pick(rng, (RED, GREEN, GREY, BLACK))[0], pick(rng, (mix(RED, BROWN, 0.5), GREEN, GREY, BROWN))[0]
    layers = [Layer(outline, mix(paint, WHITE, 0.15)), Layer(scale(outline, 0.8, 0.94), mix(deck, WHITE, 0.25))]
    hatch = pick(rng, (WHITE, YELLOW, SILVER, ORANGE))[0]
    for y in np.linspace(-0.22, 0.18, 4):
        layers += [Layer(panel(0.54 * width, 0.1 * length, 0, y * length), hatch)]
    layers += [Layer(panel(0.78 * width, 0.12 * length, 0, 0.36 * length), WHITE)]
    layers += [Layer(panel(0.6 * width, 0.03 * length, 0, 0.32 * length), GLASS)]
    layers += [Layer(panel(0.24 * width, 0.05 * length, 0, 0.39 * length), pick(rng, (RED, ORANGE, BLACK))[0])]
    return from_above('ship', outline, layers, relief=0.45)


def hull(length: float, width: float, bow: float) -> Polygon:
    """The outline of a ship, bow up; ``bow`` is the share of the length over which it narrows to its tip."""
    taper = np.linspace(1, 0, 12)
    side = np.stack([width / 2 * (1 - taper**1.8), -length / 2 + bow * length * (1 - taper)], axis=1)
    stern = [(width / 2, 0.38 * length), (0.4 * width, length / 2)]
    right = np.concatenate([side, stern])
    return Polygon([*right, *(right[::-1] * (-1, 1))])


def plane(rng: np.random.Generator) -> Overhead:
    """An airliner with swept wings and engines, 50 to 80 pixels long."""
    length = rng.uniform(50, 80)
    span, sweep = length * rng.uniform(0.88, 1), rng.uniform(0.16, 0.24) * length
    radius = 0.055 * length
    body = bar(2 * radius, (0, -length / 2 + radius), (0, 0.36 * length))
    body |= Polygon([(-radius, 0.34 * length), (radius, 0.34 * length), (0, length / 2)])
    wings = _wings(span, -0.14 * length, sweep, 0.2 * length, 0.05 * length)
    tail = _wings(0.36 * span, 0.34 * length, 0.08 * length, 0.1 * length, 0.04 * length)
    engines = [panel(0.05 * length, 0.12 * length, side * 0.17 * span, -0.03 * length) for side in (-1, 1)]
    if length > 66:
        engines += [panel(0.045 * length, 0.1 * length, side * 0.31 * span, 0.045 * length) for side in (-1, 1)]
    paint = vary(rng, pick(rng, (WHITE, WHITE, SILVER))[0])
    accent = pick(rng, (RED, BLUE, TEAL, ORANGE, GREEN))[0]
    wing = mix(paint, GREY, 0.3)
    layers = [Layer(engine, mix(GREY, BLACK, 0.25)) for engine in engines]
    layers += [Layer(wings, wing), Layer(tail, accent), Layer(body, mix(paint, GREY, 0.25))]
    layers += [Layer(scale(body, 0.6, 0.96), mix(paint, WHITE, 0.6))]
    layers += [Layer(bar(0.025 * length, (0, 0.34 * length), (0, 0.48 * length)), accent)]
    layers += [Layer(panel(0.06 * length, 0.018 * length, 0, -0.45 * length), GLASS)]
    return from_above('plane', shapely.union_all([body, wings, tail, *engines]), layers, relief=0.5)


def _wings(span: float, root: float, sweep: float, chord: float, tip: float) -> Polygon:
    """A pair of swept wings, whose front edge begins at ``root`` on the middle line."""
    half = span / 2
    right = [(0, root), (half, root + sweep), (half, root + sweep + tip), (0, root + chord)]
    return Polygon(right) | Polygon(np.multiply(right, (-1, 1)))


def helicopter(rng: np.random.Generator) -> Overhead:
    """A drop-shaped body with a tail boom under a cross of rotor blades, 32 to 42 pixels long."""
    length = rng.uniform(32, 42)
    paint = pick(rng, (RED, ORANGE, YELLOW, BLUE, TEAL))[0]
    cabin = scale(disc(0, -0.22 * length, 1), 0.15 * length, 0.28 * length)
    boom = Polygon(
        [(-0.05 * length, 0), (0.05 * length, 0), (0.02 * length, 0.5 * length), (-0.02 * length, 0.5 * length)]
    )
    fin = panel(0.2 * length, 0.06 * length, 0, 0.43 * length)
    reach, turn = 0.38 * length, rng.uniform(0.5, 1.07)
    tips = [(reach * np.cos(angle), reach * np.sin(angle) - 0.12 * length) for angle in turn + np.arange(4) * np.pi / 2]
    blades = bar(1.5, tips[0], tips[2]) | bar(1.5, tips[1], tips[3])
    layers = [Layer(boom, mix(paint, BLACK, 0.15)), Layer(fin, mix(paint, BLACK, 0.35)), Layer(cabin, paint)]
    layers += [Layer(scale(disc(0, -0.35 * length, 1), 0.085 * length, 0.08 * length), GLASS)]
    layers += [Layer(blades, BLACK), Layer(disc(0, -0.12 * length, 0.045 * length), mix(paint, BLACK, 0.5))]
    return from_above('helicopter', shapely.union_all([cabin, boom, fin, blades]), layers, relief=0.5)


def container_crane(rng: np.random.Generator) -> Overhead:
    """A gantry on four legs with two long girders, 46 to 64 pixels long; its head is the end over the water."""
    length, width = rng.uniform(46, 64), rng.uniform(18, 25)
    paint = pick(rng, (RED, BLUE, ORANGE, YELLOW))[0]
    girders = [panel(2.4, length, side * 3.6) for side in (-1, 1)]
    rungs = [bar(1.2, (-3.6, y), (3.6, y + 4)) for y in np.arange(-length / 2 + 1, length / 2 - 6, 5.5)]
    legs = [panel(width, 4, 0, y * length) for y in (-0.02, 0.3)]
    sills = [panel(3, 0.36 * length, side * (width / 2 - 1.5), 0.14 * length) for side in (-1, 1)]
    house = panel(9.5, 0.14 * length, 0, 0.38 * length)
    outline = shapely.union_all([*girders, *rungs, *legs, *sills, house])
    layers = [Layer(shapely.union_all([*legs, *sills]), mix(paint, BLACK, 0.3))]
    layers += [Layer(shapely.union_all([*girders, *rungs]), mix(paint, WHITE, 0.12)), Layer(house, vary(rng, WHITE))]
    layers += [Layer(panel(6, 4, 0, rng.uniform(-0.35, 0.2) * length), GLASS)]
    return from_above('container-crane', outline, layers, relief=0.9)
