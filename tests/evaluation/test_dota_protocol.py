"""The evaluation of DOTA's server against cases worked out by hand, and against a second implementation."""

import itertools
import math

import numpy as np
import pytest

from mmfasternet.datasets.dota.labels import DotaObject
from mmfasternet.evaluation.dota_protocol import (
    Detections,
    average_precision,
    best_overlaps,
    evaluate,
    long_axes,
    mean_ap,
)

SQUARE = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)


def quad(x, y, w=10, h=10, turn=0.0):
    """Corners of a box of w × h around (x, y), turned by some radians."""
    points = (SQUARE / 10 - 0.5) * (w, h)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return points @ rotation + (x, y)


def objects(*quads, name='ship', difficult=()):
    return [
        DotaObject(tuple(corners.ravel()), name, int(index in difficult), index + 1)
        for index, corners in enumerate(quads)
    ]


def detections(*found):
    """From (score, quad) or (score, quad, label)."""
    found = [(*item, 0)[:3] for item in found]
    return Detections(
        np.array([item[1] for item in found]).reshape(-1, 4, 2),
        np.array([item[0] for item in found], float),
        np.array([item[2] for item in found], int),
    )


def ap(found, wanted, iou_thr=0.5):
    return evaluate({'P1': found}, {'P1': wanted}, ['ship'], iou_thr)['ship'].ap


@pytest.mark.parametrize('other, expected', [
    (quad(5, 0), 1 / 3),
    (quad(2.5, 0), 0.6),
    (quad(0, 0, 5, 5), 0.25),
    (quad(10, 0), 0),
    (quad(30, 0), 0),
    # an octagon: the square less four corners, by the side of a square turned by half a right angle
    (quad(0, 0, turn=math.pi / 4), 2 * (math.sqrt(2) - 1) / (2 - 2 * (math.sqrt(2) - 1))),
    (quad(0, 0, 10, 10, math.pi / 2), 1),
    # a cross of two bars
    (quad(0, 0, 30, 2), 20 / (100 + 60 - 20)),
])  # fmt: skip
def test_overlap_by_hand(other, expected):
    overlap, _ = best_overlaps(other[None], quad(0, 0)[None])
    assert overlap[0] == pytest.approx(expected, abs=1e-6)


def test_the_best_of_several_objects_and_the_first_of_equals():
    wanted = np.stack([quad(100, 0), quad(4, 0), quad(1, 0), quad(-1, 0)])
    overlap, target = best_overlaps(np.stack([quad(0, 0), quad(500, 0)]), wanted)
    assert target[0] == 2 and overlap[0] == pytest.approx(9 / 11)
    assert overlap[1] == 0


def test_average_precision_by_hand():
    # right, wrong, right of 4 objects: recall 1/4, 1/4, 1/2 at precision 1, 1/2, 2/3: 0, .1, .2 see 1; .3 .4 .5 see 2/3
    recall, precision = np.array([0.25, 0.25, 0.5]), np.array([1, 0.5, 2 / 3])
    assert average_precision(recall, precision) == pytest.approx((3 * 1 + 3 * 2 / 3) / 11, abs=1e-12)
    assert average_precision(np.zeros(0), np.zeros(0)) == 0


@pytest.mark.parametrize('turn', [0, 0.4, 1.5, 1.6, 3.0, -1.2])
@pytest.mark.parametrize('first', range(4))
def test_long_axes(turn, first):
    """Whichever corner comes first, and whether length or width does."""
    for w, h, along in ((30, 10, turn), (10, 30, turn + math.pi / 2)):
        angle, aspect = long_axes(np.roll(quad(5, 5, w, h, turn), first, axis=0)[None])
        assert aspect[0] == pytest.approx(3)
        assert math.sin(math.radians(angle[0]) - along) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize('first', range(4))
def test_angle_errors_across_the_end_of_the_range(first):
    """A box of 0.02 against -0.02, whichever corner comes first."""
    found = detections((0.9, np.roll(quad(50, 50, 40, 10, -0.02), first, axis=0)))
    results = evaluate({'P1': found}, {'P1': objects(quad(50, 50, 40, 10, 0.02))}, ['ship'])
    assert results['ship'].angle_errors == pytest.approx(math.degrees(0.04))


FAR = quad(500, 500)
TWO = (quad(0, 0), quad(100, 0))


@pytest.mark.parametrize('found, wanted, expected', [
    # all found
    (detections((0.9, TWO[0]), (0.8, TWO[1])), objects(*TWO), 1),
    # nothing found, nothing there
    (detections(), objects(*TWO), 0),
    (detections((0.9, FAR)), [], 0),
    # one of two: recall 1/2 covers 0 to 0.5
    (detections((0.9, TWO[0])), objects(*TWO), 6 / 11),
    # the wrong one is surer: precision 1/2 up to recall 1/2, then 2/3 for all
    (detections((0.9, FAR), (0.8, TWO[0]), (0.7, TWO[1])), objects(*TWO), 2 / 3),
    # found twice: the second counts as wrong
    (detections((0.9, TWO[0]), (0.8, TWO[0] + 1), (0.7, TWO[1])), objects(*TWO), (6 * 1 + 5 * 2 / 3) / 11),
    # the difficult one is neither right nor wrong, nor missed, however often it is found
    (detections((0.9, TWO[1]), (0.85, TWO[1]), (0.8, TWO[0])), objects(*TWO, difficult=[1]), 1),
    (detections((0.8, TWO[0])), objects(*TWO, difficult=[1]), 1),
    (detections((0.8, TWO[1])), objects(*TWO, difficult=[0, 1]), 0),
    # the overlap has to be above the threshold: 10 × 5 of 10 × 10 is just 0.5
    (detections((0.9, quad(0, 2.5, 10, 5))), objects(TWO[0]), 0),
    (detections((0.9, quad(0, 2.5, 10, 5.001))), objects(TWO[0]), 1),
    # an object of another class in its place
    (detections((0.9, TWO[0])), objects(TWO[0], name='plane'), 0),
])  # fmt: skip
def test_cases_by_hand(found, wanted, expected):
    assert ap(found, wanted) == pytest.approx(expected, abs=1e-6)


def test_classes_without_objects_do_not_count():
    results = evaluate(
        {'P1': detections((0.9, TWO[0], 0), (0.9, FAR, 1)), 'P2': detections()},
        {'P1': objects(TWO[0]), 'P2': objects(TWO[0], TWO[1])},
        ['ship', 'plane'],
    )
    assert (results['ship'].positives, results['ship'].detections) == (3, 1)
    assert results['ship'].recall == pytest.approx(1 / 3)
    assert results['plane'].positives == 0 and results['plane'].detections == 1
    assert mean_ap(results) == results['ship'].ap == pytest.approx(4 / 11)
    assert mean_ap({}) == 0


def clip(subject, clipper):
    """Sutherland and Hodgman: the part of one convex polygon inside another."""
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(clipper, np.roll(clipper, -1, 0)))
    clipper = clipper if area > 0 else clipper[::-1]
    output = [tuple(point) for point in subject]
    for start, end in zip(clipper, np.roll(clipper, -1, 0)):
        sides = [(end[0] - start[0]) * (y - start[1]) - (end[1] - start[1]) * (x - start[0]) for x, y in output]
        points, output = output, []
        for index, point in enumerate(points):
            previous, side, side_before = points[index - 1], sides[index], sides[index - 1]
            if (side > 0) != (side_before > 0):
                share = side_before / (side_before - side)
                output.append(tuple(p + share * (q - p) for p, q in zip(previous, point)))
            if side > 0:
                output.append(point)
    return output


def area(points):
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1]))) / 2


def reference(found, wanted, name, label, iou_thr):
    """The evaluation once more, in plain loops without any of the package's code."""
    rows = sorted(
        (-score, order, image, corners)
        for image, of_image in found.items()
        for order, (corners, score, its_label) in enumerate(zip(*of_image))
        if its_label == label
    )
    taken, flags = set(), []
    for _, _, image, corners in rows:
        best, match = -1.0, None
        for item in wanted[image]:
            if item.name != name:
                continue
            other = np.reshape(item.corners, (4, 2))
            common = area(clip(corners, other)) if len(clip(corners, other)) > 2 else 0.0
            iou = common / (area(list(map(tuple, corners))) + area(list(map(tuple, other))) - common)
            if iou > best:
                best, match = iou, item
        if best > iou_thr and match.difficulty == 0:
            flags.append((image, match.line) not in taken)
            taken.add((image, match.line))
        elif best <= iou_thr:
            flags.append(False)
    total = sum(item.name == name and item.difficulty == 0 for items in wanted.values() for item in items)
    right = list(itertools.accumulate(map(int, flags)))
    curve = [(count / total, count / (index + 1)) for index, count in enumerate(right)]
    levels = np.arange(0.0, 1.1, 0.1)
    return sum(max((p for r, p in curve if r >= level), default=0) for level in levels) / 11


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('iou_thr', [0.5, 0.75])
def test_equals_a_second_implementation(seed, iou_thr):
    rng = np.random.default_rng(seed)
    names = ['ship', 'plane']
    found, wanted = {}, {}
    for image in ('P1', 'P2', 'P3'):
        places = [
            (*rng.uniform(0, 150, 2), *rng.uniform((20, 8), (40, 20)), rng.uniform(0, math.pi)) for _ in range(20)
        ]
        wanted[image] = [
            DotaObject(tuple(quad(*place).ravel()), names[rng.integers(2)], int(rng.random() < 0.2), line)
            for line, place in enumerate(places)
        ]
        near = [place + rng.normal(0, (2, 2, 2, 1, 0.1)) for place in places for _ in range(2)]
        label = {item.line: names.index(item.name) for item in wanted[image]}
        found[image] = Detections(
            np.stack([quad(*place) for place in near]),
            rng.random(len(near)),
            np.array([label[index // 2] if rng.random() < 0.9 else rng.integers(2) for index in range(len(near))]),
        )
    results = evaluate(found, wanted, names, iou_thr)
    expected = [reference(found, wanted, name, label, iou_thr) for label, name in enumerate(names)]
    assert min(expected) > 0.05 and max(expected) < 1
    assert [results[name].ap for name in names] == pytest.approx(expected, abs=1e-6)
