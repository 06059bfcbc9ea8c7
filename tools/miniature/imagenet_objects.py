"""The objects of mini ImageNet: five of mini COCO's and five others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from shapely import Polygon
from shapely.affinity import rotate, scale, skew, translate
from shapely.geometry.base import BaseGeometry

from .colours import BLACK, BROWN, DOUGH, GREEN, GREY, ORANGE, PINK, PURPLE, RED, WHITE, YELLOW, mix, pick, vary
from .objects import Drawing, Layer, banana, clock, stop_sign, traffic_light, umbrella
from .shapes import bar, disc, frame, polar, rounded


def oval(x: float, y: float, half_width: float, half_height: float) -> Polygon:
    """A filled ellipse."""
    return scale(disc(x, y, 1), half_width, half_height)


def mirror(shape: BaseGeometry) -> BaseGeometry:
    """Mirror a shape at the vertical axis."""
    return scale(shape, -1, 1, origin=(0, 0))


def goldfish(rng: np.random.Generator) -> Drawing:
    """A plump fish from the side, with scales, a veil of a tail and other fins."""
    height, spread, length = rng.uniform(0.4, 0.56), rng.uniform(0.4, 0.65), rng.uniform(0.95, 1.25)
    body = shapely.union(oval(0, 0, 0.75, height), oval(-0.4, 0, 0.36, 0.75 * height)).convex_hull
    root = (0.62, 0)
    lobe = Polygon([root, (0.85, -0.3), (length, -spread), (length + 0.06, -0.5 * spread), (0.98, 0)]).buffer(0.06)
    tail = lobe | scale(lobe, 1, -rng.uniform(0.7, 1.2), origin=root)
    top = rounded(
        Polygon([(-0.4, -0.5 * height), (-0.2, -height - 0.32), (0.25, -height - 0.2), (0.5, -0.3 * height)]), 0.03
    )
    fins = [
        rounded(Polygon([(x, 0.6 * height), (x + 0.3, 0.6 * height), (x + 0.34, height + 0.22)]), 0.02)
        for x in (-0.3, 0.2)
    ]
    side = rotate(oval(-0.02, 0.12, 0.22, 0.11), rng.uniform(10, 40), origin=(-0.2, 0.1))

    gold = pick(rng, (ORANGE, ORANGE, mix(ORANGE, RED, 0.6), mix(ORANGE, YELLOW, 0.6), WHITE, BLACK))[0]
    patch = pick(rng, (ORANGE, mix(ORANGE, RED, 0.5), gold))[0]
    pale, veil = mix(gold, WHITE, 0.45), mix(patch, WHITE, rng.uniform(0.1, 0.45))
    rays = [bar(0.025, root, (length, y)) for y in np.linspace(-spread, spread, 9)]
    rays += [bar(0.025, (x, -0.5 * height), (x + 0.15, -height - 0.4)) for x in np.linspace(-0.3, 0.4, 5)]
    layers = [Layer(shapely.union_all([tail, top, *fins, body.buffer(0.02)]), veil)]
    layers += [Layer(ray, mix(veil, BROWN, 0.35)) for ray in rays]
    layers += [Layer(body, gold), Layer(oval(-0.1, height, 0.7, 0.55 * height) & body, pale)]
    layers += [Layer(oval(*rng.uniform((-0.5, -0.4), (0.5, 0)), 0.3, 0.2) & body, patch)]
    spots = [(-0.2 + 0.1 * column, (row - 3) * 0.15 + 0.075 * (column % 2)) for row, column in np.ndindex(7, 9)]
    scales = [frame(disc(x, y, 0.09), 0.02) & shapely.box(x, -1, 1, 1) for x, y in spots]
    layers += [Layer(shapely.union_all(scales) & body, mix(gold, BROWN, 0.35))]
    head = body & oval(-0.72, 0, 0.42, 0.9)
    layers += [Layer(head, mix(gold, BROWN, 0.3)), Layer(head & oval(-0.75, 0, 0.42, 0.9), mix(gold, WHITE, 0.1))]
    layers += [Layer(side.buffer(0.02), mix(gold, BROWN, 0.4)), Layer(side, veil)]
    layers += [
        Layer(disc(-0.55, -0.12, radius), ink) for radius, ink in ((0.115, BLACK), (0.095, WHITE), (0.065, BLACK))
    ]
    layers += [
        Layer(disc(-0.57, -0.14, 0.02), WHITE),
        Layer(bar(0.04, (-0.8, 0.12), (-0.66, 0.16)), mix(gold, BLACK, 0.5)),
    ]
    outline = shapely.union_all([body, tail, top, *fins])
    flip = rng.choice([-1, 1])
    return Drawing('goldfish', outline, layers, turn=0.4, relief=0.6).map(
        lambda points: (points - (0.15, 0)) * (flip, 1)
    )


def ladybug(rng: np.random.Generator) -> Drawing:
    """A beetle from above: two wing cases with spots, a dark head with pale cheeks, six legs and two feelers."""
    wings = oval(0, 0.12, rng.uniform(0.74, 0.86), 0.86)
    shield = oval(0, -0.6, 0.48, 0.27)
    head = oval(0, -0.83, 0.27, 0.2)
    right = [
        bar(0.08, (0.5, y), (0.88, y + slant), (1.02, y + 2.6 * slant))
        for y, slant in ((-0.35, -0.1), (0.1, 0.06), (0.5, 0.12))
    ]
    right += [bar(0.05, (0.1, -0.9), (0.24, -1.1), (0.34, -1.12))]
    limbs = shapely.union_all([*right, *map(mirror, right)])

    spot = vary(rng, BLACK)
    shell = pick(rng, (RED, RED, RED, mix(RED, ORANGE, 0.5), ORANGE, mix(ORANGE, YELLOW, 0.6)))[0]
    if rng.random() < 0.15:
        shell, spot = spot, shell
    dark = mix(BLACK, BROWN, rng.uniform(0, 0.3))
    layers = [
        Layer(limbs, dark),
        Layer(head, dark),
        Layer(wings, mix(shell, BLACK, 0.5)),
        Layer(wings.buffer(-0.03), shell),
    ]
    layouts = (
        [(0.4, -0.1), (0.42, 0.42)],
        [(0.3, -0.16), (0.5, 0.2), (0.26, 0.55)],
        [(0.25, -0.25), (0.56, 0.0), (0.3, 0.26), (0.52, 0.48), (0.2, 0.68)],
    )
    radius = rng.uniform(0.11, 0.16)
    for x, y in layouts[rng.integers(len(layouts))] + rng.normal(0, 0.02, 2):
        dot = oval(x, y, radius * 0.9, radius)
        layers += [Layer(dot & wings, spot), Layer(mirror(dot) & wings, spot)]
    if rng.random() < 0.6:
        layers += [Layer(oval(0, -0.3, 0.13, 0.16) & wings, spot)]
    layers += [Layer(bar(0.045, (0, -0.7), (0, 1)), dark), Layer(shield, dark)]
    cheek = rotate(oval(0.32, -0.62, 0.11, 0.15), -20)
    layers += [Layer(each & shield, WHITE) for each in (cheek, mirror(cheek))]
    eye = disc(0.13, -0.93, 0.05)
    layers += [Layer(each, WHITE) for each in (eye, mirror(eye))]
    return Drawing('ladybug', shapely.union_all([wings, shield, head, limbs]), layers, turn=np.pi, relief=0.9)


def starfish(rng: np.random.Generator) -> Drawing:
    """Five plump arms with a ridge and rows of warts."""
    waist, angles = rng.uniform(0.3, 0.42), np.arange(5) * 2 * np.pi / 5 - np.pi / 2 + rng.normal(0, 0.09, 5)
    lengths = rng.uniform(0.85, 1.05, 5)
    tips, notches = polar(angles, lengths), polar(angles + np.pi / 5, waist)
    body = Polygon(np.stack([tips, notches], axis=1).reshape(-1, 2))
    body = body.buffer(rng.uniform(0.07, 0.12)).buffer(-0.1).buffer(0.1)
    skin = pick(rng, (ORANGE, ORANGE, RED, PURPLE, PINK, DOUGH, BROWN, mix(YELLOW, ORANGE, 0.4)))[0]
    pale = mix(skin, WHITE, rng.uniform(0.35, 0.6))
    dots = rng.random() < 0.8
    layers = [Layer(body, mix(skin, BLACK, 0.3)), Layer(body.buffer(-0.05), skin)]
    for angle, length in zip(angles, lengths):
        layers += [Layer(bar(0.07, (0, 0), *polar(np.array([angle]), 0.9 * length)), mix(skin, WHITE, 0.25))]
        for distance in np.linspace(0.2, 0.95, 7) * length if dots else ():
            for aside in (-0.11, 0, 0.11) if distance < 0.6 else (0,):
                spot = polar(np.array([angle]), distance)[0] + polar(np.array([angle + np.pi / 2]), aside)[0]
                layers += [Layer(disc(*spot, 0.045 - 0.02 * distance), pale)]
    layers += [Layer(disc(0, 0, 0.08), pale)]
    return Drawing('starfish', body, layers, turn=np.pi, relief=0.8)


def coffee_mug(rng: np.random.Generator) -> Drawing:
    """A mug from the side and above, with a handle and some pattern, full of coffee."""
    foot, height, tilt = rng.uniform(0.46, 0.68), rng.uniform(0.68, 0.92), rng.uniform(0.2, 0.36)
    rim, floor = oval(0, -height, 0.7, 0.7 * tilt), oval(0, height, foot, foot * tilt)
    cup = shapely.union(rim, floor).convex_hull
    grip = rng.uniform(0.4, 0.62) * height
    ear = oval((foot + 0.7) / 2, -0.05, rng.uniform(0.4, 0.52), grip)
    ear = ear - ear.buffer(-rng.uniform(0.13, 0.19))

    paint, accent = pick(rng, number=2)
    lip = mix(paint, WHITE, 0.35)
    layers = [Layer(ear, mix(paint, BLACK, 0.4)), Layer(ear.buffer(-0.025), mix(paint, BLACK, 0.08)), Layer(cup, paint)]
    pattern = rng.integers(4)
    if pattern == 0:  # stripes that follow the curve of the cup
        for y in rng.uniform(-0.25, 0.2) + np.array([0, 0.3]):
            band = shapely.union(oval(0, y, 0.75, 0.7 * tilt), oval(0, y + 0.16, 0.75, 0.7 * tilt)).convex_hull
            layers += [Layer((band - oval(0, y - 0.02, 0.75, 0.7 * tilt)) & cup, accent)]
    elif pattern == 1:  # a heart
        heart = shapely.union_all(
            [disc(-0.13, 0, 0.16), disc(0.13, 0, 0.16), Polygon([(-0.28, 0.06), (0.28, 0.06), (0, 0.36)])]
        )
        layers += [Layer(translate(heart, rng.uniform(-0.15, 0.15), 0.1), accent)]
    elif pattern == 2:  # dots
        spots = [((column - 2 + 0.5 * (row % 2)) * 0.3, (row - 1) * 0.36 + 0.1) for row, column in np.ndindex(4, 5)]
        layers += [Layer(shapely.union_all([disc(*spot, 0.09) for spot in spots]) & cup, accent)]
    sheen = skew(bar(0.1, (-0.45, -0.4 * height), (-0.45, 0.7 * height)), -6 * (0.7 - foot) / 0.24)
    layers += [
        Layer(sheen, mix(paint, WHITE, 0.3)),
        Layer(rim, mix(paint, BLACK, 0.35)),
        Layer(rim.buffer(-0.015), lip),
    ]
    hollow = scale(rim, 0.88, 0.8)
    coffee = mix(BROWN, BLACK, rng.uniform(0.2, 0.6)) if rng.random() < 0.7 else mix(BROWN, DOUGH, 0.6)
    layers += [Layer(hollow, mix(paint, BLACK, 0.3)), Layer(translate(hollow, 0, 0.08) & hollow, coffee)]
    flip = rng.choice([-1, 1])
    return Drawing('coffee mug', cup | ear, layers, turn=0.15, relief=0.5).map(
        lambda points: (points - (0.2, 0)) * (flip, 1)
    )


def strawberry(rng: np.random.Generator) -> Drawing:
    """A berry that tapers downwards, with seeds, a crown of leaves and a stem."""
    width, point = rng.uniform(0.6, 0.8), rng.uniform(0.12, 0.3)
    shoulder = oval(0, -0.35, width, 0.45)
    berry = shapely.union(shoulder, disc(rng.normal(0, 0.06), 0.95 - point, point)).convex_hull
    berry = shapely.union(berry, oval(0, 0, 0.86 * width, 0.55))
    stem = bar(0.09, (0, -0.6), (rng.normal(0, 0.08), -0.95), (rng.normal(0, 0.15), -1.1))
    number = rng.integers(5, 8)
    leaf = Polygon([(0, 0), (0.16, 0.16), (0, rng.uniform(0.45, 0.6)), (-0.16, 0.16)]).buffer(0.03)
    turns = np.linspace(-100, 100, number) + rng.normal(0, 7, number)
    leaves = [translate(scale(rotate(leaf, turn, origin=(0, 0)), 1.1, 0.75, origin=(0, 0)), 0, -0.7) for turn in turns]

    skin, green = pick(rng, (RED, RED, mix(RED, BLACK, 0.25), mix(RED, PINK, 0.5)))[0], vary(rng, GREEN)
    unripe = mix(skin, mix(WHITE, YELLOW, 0.3), rng.uniform(0.1, 0.7))
    layers = [Layer(berry, mix(skin, BLACK, 0.3)), Layer(berry.buffer(-0.03), skin)]
    for part in np.linspace(0, 1, 6):  # it ripens from the point upwards
        layers += [Layer(berry.buffer(-0.03) & shapely.box(-1, -1, 1, -0.35 - 0.3 * part), mix(skin, unripe, part))]
    pip = oval(0, 0, 0.035, 0.055)
    seed = pick(rng, (YELLOW, mix(YELLOW, WHITE, 0.5), DOUGH))[0]
    for row, column in np.ndindex(8, 9):
        spot = (column - 4 + 0.5 * (row % 2)) * 0.21, -0.62 + 0.2 * row
        if berry.buffer(-0.1).contains(shapely.Point(spot)):
            layers += [Layer(translate(pip.buffer(0.015), spot[0], spot[1] - 0.01), mix(skin, BLACK, 0.45))]
            layers += [Layer(translate(pip, *spot), seed)]
    for each in leaves:
        layers += [Layer(each, mix(green, BLACK, 0.5)), Layer(each.buffer(-0.025), green)]
    layers += [Layer(stem, mix(green, GREY, 0.3))]
    return Drawing('strawberry', shapely.union_all([berry, stem, *leaves]), layers, turn=1.2, relief=0.8)


#: The name of each class and the function that draws it, by WordNet id in ImageNet's order.
IMAGENET_OBJECTS: dict[str, tuple[str, Callable[[np.random.Generator], Drawing]]] = {
    'n01443537': ('goldfish', goldfish),
    'n02165456': ('ladybug', ladybug),
    'n02317335': ('starfish', starfish),
    'n02708093': ('analog clock', clock),
    'n03063599': ('coffee mug', coffee_mug),
    'n04507155': ('umbrella', umbrella),
    'n06794110': ('street sign', stop_sign),
    'n06874185': ('traffic light', traffic_light),
    'n07745940': ('strawberry', strawberry),
    'n07753592': ('banana', banana),
}
