"""Structures and trees, seen from straight above with their heads up, in pixels about the origin."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import Polygon
from shapely.affinity import rotate, scale, translate

from ..colours import BLACK, BLUE, BROWN, DOUGH, GREEN, GREY, ORANGE, PURPLE, RED, TEAL, WHITE, YELLOW, mix, pick, vary
from ..objects import Layer
from ..shapes import bar, disc, frame, panel, polar, rounded
from .overhead import Overhead, from_above

LINE = mix(WHITE, GREY, 0.08)
LAWN = (84, 150, 66)
CLAY = (178, 104, 68)
TARMAC = (98, 100, 106)
CONCRETE = (176, 172, 164)


def tennis_court(rng: np.random.Generator) -> Overhead:
    """Two halves with service boxes, white lines and a net, 46 to 56 pixels long."""
    length = rng.uniform(46, 56)
    width = 0.5 * length
    floor, inside = ((mix(GREEN, BLACK, 0.15), BLUE), (BLUE, mix(BLUE, TEAL, 0.6)), (GREEN, (190, 92, 62)))[
        rng.integers(3)
    ]
    ground, court = panel(width, length), panel(0.66 * width, 0.76 * length)
    lines = [frame(court, 0.9), bar(0.9, (0, -0.2 * length), (0, 0.2 * length))]
    lines += [panel(0.9, 0.76 * length, side * 0.25 * width) for side in (-1, 1)]
    lines += [panel(0.5 * width, 0.9, 0, side * 0.2 * length) for side in (-1, 1)]
    layers = [Layer(ground, vary(rng, floor)), Layer(court, vary(rng, inside)), Layer(shapely.union_all(lines), WHITE)]
    layers += [Layer(panel(0.8 * width, 1.3), mix(BLACK, GREY, 0.3)), Layer(panel(0.8 * width, 0.6, 0, -0.5), WHITE)]
    return from_above('tennis-court', ground, layers)


def basketball_court(rng: np.random.Generator) -> Overhead:
    """A wooden or orange floor with painted keys, three-point lines and a centre circle, 38 to 48 pixels long."""
    length = rng.uniform(38, 48)
    width = 0.54 * length
    floor, key = vary(rng, (DOUGH, ORANGE, mix(ORANGE, DOUGH, 0.5))[rng.integers(3)]), pick(rng, (RED, PURPLE, TEAL))[0]
    ground = panel(width, length)
    court = panel(width - 3, length - 3)
    layers = [Layer(ground, mix(key, BLACK, 0.15)), Layer(court, floor)]
    lines = [frame(court, 0.9), panel(width - 3, 0.9), frame(disc(0, 0, 0.15 * width), 0.8)]
    for side in (-1, 1):
        end = side * (length / 2 - 1.5)
        box = panel(0.3 * width, 0.2 * length, 0, end - side * 0.1 * length)
        layers += [Layer(box, key)]
        lines += [frame(disc(0, end - side * 2, 0.37 * width), 0.8) & court, frame(box, 0.7)]
    layers += [Layer(disc(0, 0, 0.15 * width), key), Layer(shapely.union_all(lines), WHITE)]
    return from_above('basketball-court', ground, layers)


def soccer_ball_field(rng: np.random.Generator, length: float | None = None) -> Overhead:
    """A mown lawn with the white lines of a football pitch, 84 to 98 pixels long by default."""
    length = length or rng.uniform(84, 98)
    width = length * rng.uniform(0.66, 0.68)
    grass = vary(rng, LAWN)
    ground = panel(width, length)
    pitch = panel(width - 5, length - 5)
    layers = [Layer(ground, grass)]
    edges = np.linspace(-length / 2, length / 2, 11)
    layers += [
        Layer(shapely.box(-width / 2, top, width / 2, bottom), mix(grass, BLACK, 0.17))
        for top, bottom in zip(edges[::2], edges[1::2])
    ]
    lines = [frame(pitch, 1.2), panel(width - 5, 1.2), frame(disc(0, 0, 0.14 * width), 1.1), disc(0, 0, 1)]
    for side in (-1, 1):
        end = side * (length / 2 - 2.5)
        lines += [
            frame(panel(share * width, depth * length, 0, end - side * depth * length / 2), 1.1)
            for share, depth in ((0.56, 0.16), (0.26, 0.06))
        ]
    layers += [Layer(shapely.union_all(lines), WHITE)]
    return from_above('soccer-ball-field', ground, layers)


def ground_track_field(rng: np.random.Generator) -> Overhead:
    """A running track of red lanes around a lawn, 136 to 150 pixels long."""
    length = rng.uniform(136, 150)
    radius = 0.315 * length
    straight = length / 2 - radius
    outline = bar(2 * radius, (0, -straight), (0, straight))
    lanes = vary(rng, (RED, CLAY, mix(RED, CLAY, 0.5))[rng.integers(3)])
    layers = [Layer(outline, lanes)]
    layers += [Layer(frame(outline.buffer(-depth), 0.6), mix(lanes, WHITE, 0.75)) for depth in (0.4, 2.8, 5.2)]
    layers += [Layer(outline.buffer(-8), vary(rng, mix(LAWN, YELLOW, 0.12)))]
    return from_above('ground-track-field', outline, layers)


def baseball_diamond(rng: np.random.Generator) -> Overhead:
    """A fan of lawn with a sandy infield, white bases and foul lines, 52 to 75 pixels wide."""
    radius = rng.uniform(52, 75) / np.sqrt(2)
    right = -np.pi / 4
    home = np.zeros((1, 2))
    outfield = Polygon(np.concatenate([home, polar(np.linspace(right, 3 * right, 24), radius)]))
    infield = Polygon(np.concatenate([home, polar(np.linspace(right, 3 * right, 24), 0.7 * radius)]))
    side = 0.46 * radius
    square = rotate(shapely.box(0, -side, side, 0), -45, origin=(0, 0))
    grass, sand = vary(rng, LAWN), mix(vary(rng, CLAY), DOUGH, 0.45)
    layers = [Layer(outfield, sand), Layer(outfield.buffer(-2.2), grass), Layer(infield, sand)]
    layers += [Layer(square.buffer(-0.07 * radius), grass), Layer(disc(0, -0.33 * radius, 0.065 * radius), sand)]
    layers += [Layer(disc(0, -0.04 * radius, 0.09 * radius) & outfield, sand)]
    lines = [bar(1.1, (0, 0), tuple(polar(np.array([angle]), radius)[0])) for angle in (right, 3 * right)]
    bases = [panel(2.6, 2.6, x, y) for x, y in square.exterior.coords[:-1]]
    layers += [Layer(shapely.union_all([*lines, *bases]), WHITE)]
    middle = translate(outfield, 0, radius / 2)
    return from_above(
        'baseball-diamond', middle, [Layer(translate(shape, 0, radius / 2), tone) for shape, tone in layers]
    )


def roundabout(rng: np.random.Generator) -> Overhead:
    """A ring of road around a green island, 44 to 62 pixels wide."""
    radius = rng.uniform(22, 31)
    island = disc(0, 0, radius - 11)
    tree = mix(GREEN, BLACK, 0.45)
    layers = [Layer(disc(0, 0, radius), LINE), Layer(disc(0, 0, radius - 1), vary(rng, TARMAC))]
    layers += [Layer(island.buffer(1.2), LINE), Layer(island, vary(rng, LAWN))]
    layers += [Layer(disc(0, 0, 0.45 * (radius - 11)), vary(rng, CLAY)), Layer(disc(0, 0, 0.25 * (radius - 11)), tree)]
    return from_above('roundabout', disc(0, 0, radius), layers)


def bridge(rng: np.random.Generator, length: float) -> Overhead:
    """A road between two pale railings, which carries a dashed line."""
    width = rng.uniform(17, 24)
    deck = panel(width, length)
    edge = mix(CONCRETE, WHITE, 0.55)
    dashes = [panel(1.2, 5, 0, y) for y in np.arange(-length / 2 + 5, length / 2 - 3, 9)]
    layers = [Layer(deck, edge), Layer(panel(width - 5, length), vary(rng, TARMAC))]
    layers += [Layer(panel(width - 5, 1, 0, side * (length / 2 - 0.5)), edge) for side in (-1, 1)]
    layers += [Layer(shapely.union_all(dashes), LINE)]
    return from_above('bridge', deck, layers, relief=0.4)


def harbor(rng: np.random.Generator, length: float) -> Overhead:
    """A pier of planks or concrete slabs; its head is the end in the water."""
    width = rng.uniform(12, 16)
    deck = panel(width, length)
    top = vary(rng, (mix(BROWN, DOUGH, 0.5), mix(CONCRETE, DOUGH, 0.3))[rng.integers(2)])
    joints = [panel(width - 2, 0.7, 0, y) for y in np.arange(-length / 2 + 4, length / 2 - 2, 4.5)]
    posts = [
        disc(side * (width / 2 - 1.6), y, 1.1) for side in (-1, 1) for y in np.arange(-length / 2 + 3, length / 2, 13)
    ]
    layers = [Layer(deck, mix(top, BLACK, 0.4)), Layer(panel(width - 2, length - 2), top)]
    layers += [Layer(shapely.union_all(joints), mix(top, BLACK, 0.25)), Layer(shapely.union_all(posts), BLACK)]
    return from_above('harbor', deck, layers, relief=0.25)


def swimming_pool(rng: np.random.Generator) -> Overhead:
    """Bright water in a pale rim, straight or kidney-shaped, 19 to 30 pixels long."""
    length = rng.uniform(19, 30)
    width = max(0.5 * length, 10.5)
    if rng.random() < 0.6:
        outline = rounded(panel(width, length), rng.uniform(1, 4))
    else:
        outline = disc(0, -length / 2 + 0.42 * width, 0.42 * width) | disc(0, length / 2 - width / 2, width / 2)
        outline |= panel(0.72 * width, 0.5 * length)
    water = vary(rng, (72, 196, 214))
    basin = outline.buffer(-1.5)
    layers = [Layer(outline, mix(WHITE, CONCRETE, 0.2)), Layer(basin, mix(water, BLACK, 0.15))]
    layers += [
        Layer(basin.buffer(-0.9), water),
        Layer(basin & panel(width, 3.2, 0, length / 2 - 3), mix(water, WHITE, 0.5)),
    ]
    return from_above('swimming-pool', outline, layers)


def storage_tank(rng: np.random.Generator) -> Overhead:
    """A round roof with a rim, rings and a stair, 22 to 48 pixels wide."""
    radius = rng.uniform(11, 24)
    paint = vary(rng, (WHITE, WHITE, mix(WHITE, GREY, 0.4), mix(WHITE, DOUGH, 0.4))[rng.integers(4)])
    layers = [
        Layer(disc(0, 0, radius), mix(paint, BLACK, 0.4)),
        Layer(disc(0, 0, radius - 1.4), mix(paint, WHITE, 0.4)),
    ]
    layers += [Layer(disc(0, 0, radius - 3), paint)]
    layers += [Layer(frame(disc(0, 0, 0.5 * radius), 0.8), mix(paint, BLACK, 0.2))]
    spokes = [bar(0.6, (0, 0), tuple(point)) for point in polar(np.arange(8) * np.pi / 4, radius - 3)]
    layers += [
        Layer(shapely.union_all(spokes), mix(paint, BLACK, 0.12)),
        Layer(disc(0, 0, 1.6), mix(paint, BLACK, 0.5)),
    ]
    layers += [Layer(bar(1.3, (radius - 1, 0), (0.4 * radius, 0)), mix(GREY, BLACK, 0.4))]
    return from_above('storage-tank', disc(0, 0, radius), layers, relief=1)


def house(rng: np.random.Generator) -> Overhead:
    """A gabled roof, one side in the light and one in the shade, 32 to 42 pixels long."""
    width, length = rng.uniform(26, 34), rng.uniform(32, 42)
    tiles = pick(rng, (mix(RED, BROWN, 0.6), BROWN, mix(GREY, BROWN, 0.4), mix(GREY, BLACK, 0.3)))[0]
    roof = panel(width, length)
    layers = [
        Layer(roof, mix(tiles, BLACK, 0.25)),
        Layer(panel(width / 2, length, -width / 4), mix(tiles, WHITE, 0.12)),
    ]
    layers += [Layer(panel(1.2, length), mix(tiles, WHITE, 0.35)), Layer(frame(roof, 0.8), mix(tiles, BLACK, 0.4))]
    layers += [Layer(panel(3, 3, 0.25 * width, -0.25 * length), mix(GREY, WHITE, 0.3))]
    return from_above('house', roof, layers, relief=0.6)


def hall(rng: np.random.Generator, width: float, length: float) -> Overhead:
    """A flat roof with skylights and fans."""
    cover = pick(rng, (GREY, mix(GREY, WHITE, 0.35), mix(BLUE, GREY, 0.7), mix(GREEN, GREY, 0.75)))[0]
    roof = panel(width, length)
    layers = [Layer(roof, mix(cover, BLACK, 0.35)), Layer(roof.buffer(-1.5, join_style='mitre'), cover)]
    layers += [
        Layer(panel(width - 8, 2, 0, y), mix(cover, WHITE, 0.4)) for y in np.arange(-length / 2 + 8, length / 2 - 6, 14)
    ]
    return from_above('hall', roof, layers, relief=0.7)


def container_stack(rng: np.random.Generator, columns: int, rows: int) -> Overhead:
    """A block of containers, ``columns`` side by side and ``rows`` one behind the other, 7 x 18 pixels each."""
    block = panel(7 * columns, 18 * rows)
    layers = [Layer(block, mix(GREY, BLACK, 0.5))]
    for column in range(columns):
        for row in range(rows):
            box = panel(6.4, 17.4, 7 * (column - (columns - 1) / 2), 18 * (row - (rows - 1) / 2))
            layers += [Layer(box, mix(pick(rng, (RED, BLUE, GREEN, ORANGE, GREY, BROWN))[0], GREY, 0.25))]
    return from_above('container', block, layers, relief=0.5)


def trees(rng: np.random.Generator) -> Overhead:
    """One to three ragged crowns of leaves, lighter in the middle."""
    layers = []
    for _ in range(rng.integers(1, 4)):
        radius = rng.uniform(4, 10)
        leaves = mix(vary(rng, GREEN), BLACK, rng.uniform(0.3, 0.5))
        angles = np.arange(0, 2 * np.pi, 0.35)
        crown = Polygon(polar(angles, radius * rng.uniform(0.78, 1.05, len(angles))) + rng.uniform(-11, 11, 2))
        layers += [Layer(crown, leaves), Layer(scale(crown, 0.6, 0.6), mix(leaves, LAWN, 0.3))]
    return from_above('trees', shapely.union_all([shape for shape, _ in layers]), layers, relief=0.5)
