"""DOTA's evaluation of oriented boxes (task 1), as its server does it.

Source: https://github.com/CAPTAIN-WHU/DOTA_devkit, ``dota_evaluation_task1.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from ..datasets.dota.labels import DotaObject

#: From this aspect ratio on an object's direction is plain to see.
LONG = 2.0


class Detections(NamedTuple):
    """What was found in an image.

    Attributes:
        corners: Corners of the boxes in pixels, of shape (N, 4, 2).
        scores: Their scores, of shape (N,).
        labels: Indices of their classes, of shape (N,).
    """

    corners: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class ClassResult(NamedTuple):
    """How well a class was found.

    Attributes:
        ap: Average precision, 0 to 1; 0 if there is nothing to find.
        recall: The share of the objects that was found.
        positives: The number of objects to find, difficult ones not counted.
        detections: The number of boxes found.
        angle_errors: By how many degrees the right ones are turned against their objects, 0 to 90, for the objects
            that are more than :data:`LONG` times as long as wide; of shape (K,).
    """

    ap: float
    recall: float
    positives: int
    detections: int
    angle_errors: np.ndarray


def evaluate(
    detections: Mapping[str, Detections],
    objects: Mapping[str, Sequence[DotaObject]],
    classes: Sequence[str],
    iou_thr: float = 0.5,
) -> dict[str, ClassResult]:
    """Score the detections in whole images against their labels.

    A detection is right if its intersection over union with the object that it overlaps most is above ``iou_thr`` and
    no surer one has that object; where that object is difficult, the detection counts neither as right nor as wrong.

    Args:
        detections (Mapping[str, Detections]): What was found, by the name of the image.
        objects (Mapping[str, Sequence[DotaObject]]): What is there, by the name of the image, for the same images.
        classes (Sequence[str]): Names of the classes in the order of the labels.
        iou_thr (float, optional): The intersection over union to exceed.

    Returns:
        dict[str, ClassResult]: The result of each class.
    """
    results = {}
    for label, name in enumerate(classes):
        boxes, scores, quads, difficult = (
            [np.zeros((0, 4, 2))],
            [np.zeros(0)],
            [np.zeros((0, 4, 2))],
            [np.zeros(0, bool)],
        )
        overlaps, targets = [np.zeros(0)], [np.zeros(0, int)]
        for image, found in detections.items():
            wanted = [item for item in objects[image] if item.name == name]
            of_class = found.labels == label
            boxes.append(found.corners[of_class])
            scores.append(found.scores[of_class])
            before = sum(map(len, quads))
            quads.append(np.array([item.corners for item in wanted], float).reshape(-1, 4, 2))
            difficult.append(np.array([item.difficulty > 0 for item in wanted], bool))
            overlap, target = best_overlaps(boxes[-1], quads[-1])
            overlaps.append(overlap)
            targets.append(target + before)
        results[name] = _score_class(
            *map(np.concatenate, (boxes, scores, overlaps, targets, quads, difficult)), iou_thr
        )
    return results


def mean_ap(results: Mapping[str, ClassResult]) -> float:
    """Average over the classes that have an object to find.

    Args:
        results (Mapping[str, ClassResult]): The result of each class.

    Returns:
        float: mAP, 0 to 1; 0 if no class has an object to find.
    """
    aps = [result.ap for result in results.values() if result.positives]
    return float(np.mean(aps)) if aps else 0.0


def best_overlaps(found: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the object that each detection overlaps most.

    Args:
        found (ndarray): Corners of the detections, of shape (N, 4, 2).
        wanted (ndarray): Corners of the objects, of shape (M, 4, 2).

    Returns:
        tuple[ndarray, ndarray]: Intersection over union with that object, 0 where there is none, and its index; both
        of shape (N,).
    """
    overlap, target = np.zeros(len(found)), np.zeros(len(found), int)
    ours, theirs = shapely.polygons(found), shapely.polygons(wanted)
    # pairs that touch at all; among equal overlaps the first object wins
    left, right = shapely.STRtree(theirs).query(ours)
    common = shapely.area(shapely.intersection(ours[left], theirs[right]))
    union = shapely.area(ours[left]) + shapely.area(theirs[right]) - common
    iou = common / np.maximum(union, np.finfo(float).tiny)
    order = np.lexsort((right, -iou, left))
    first = order[np.unique(left[order], return_index=True)[1]]
    overlap[left[first]], target[left[first]] = iou[first], right[first]
    return overlap, target


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """VOC 2007's average precision: the mean of the best precision at 11 recalls.

    Args:
        recall (ndarray): Recall after each detection, the surest first, of shape (N,).
        precision (ndarray): Precision after each detection, of shape (N,).

    Returns:
        float: The average precision, 0 to 1.
    """
    # np.arange as in the server's code, whose 0.1 × 3 is a little above 0.3
    return float(np.mean([precision[recall >= level].max(initial=0) for level in np.arange(0, 1.1, 0.1)]))


def long_axes(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find in which direction quadrilaterals are long.

    Args:
        corners (ndarray): Their corners in order, in pixels, of shape (N, 4, 2).

    Returns:
        tuple[ndarray, ndarray]: The angles of the long sides in degrees, and length over width; both of shape (N,).
    """
    # each side and the one opposite
    sides = corners[:, [1, 2]] - corners[:, [0, 1]] + corners[:, [2, 3]] - corners[:, [3, 0]]
    lengths = np.linalg.norm(sides, axis=-1)
    long = np.take_along_axis(sides, lengths.argmax(1)[:, None, None], axis=1)[:, 0]
    aspects = lengths.max(1) / np.maximum(lengths.min(1), np.finfo(float).tiny)
    return np.degrees(np.arctan2(long[:, 1], long[:, 0])), aspects


def _score_class(
    boxes: np.ndarray,
    scores: np.ndarray,
    overlaps: np.ndarray,
    targets: np.ndarray,
    quads: np.ndarray,
    difficult: np.ndarray,
    iou_thr: float,
) -> ClassResult:
    order = np.argsort(-scores, kind='stable')
    boxes, targets = boxes[order], targets[order]
    hit = overlaps[order] > iou_thr
    ignored = hit.copy()
    ignored[hit] = difficult[targets[hit]]
    candidates = np.flatnonzero(hit & ~ignored)
    right = np.zeros(len(order), bool)
    right[candidates[np.unique(targets[candidates], return_index=True)[1]]] = True

    found, wrong = np.cumsum(right), np.cumsum(~right & ~ignored)
    positives = int(np.sum(~difficult))
    recall = found / max(positives, 1)
    precision = found / np.maximum(found + wrong, 1)

    angles, aspects = long_axes(quads[targets[right]])
    difference = np.abs(angles - long_axes(boxes[right])[0]) % 180
    return ClassResult(
        ap=average_precision(recall, precision),
        recall=float(recall[-1]) if len(recall) else 0.0,
        positives=positives,
        detections=len(order),
        angle_errors=np.minimum(difference, 180 - difference)[aspects > LONG],
    )
