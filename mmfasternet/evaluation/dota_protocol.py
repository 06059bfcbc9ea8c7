"""DOTA's evaluation of oriented boxes (task 1), as its server does it.

Source: https://github.com/CAPTAIN-WHU/DOTA_devkit, ``dota_evaluation_task1.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from ..datasets.dota.labels import DotaObject

#: Objects with a larger aspect ratio have a clear direction.
LONG = 2.0


class Detections(NamedTuple):
    """The detections in an image.

    Attributes:
        corners: Corners of the boxes in pixels, of shape (N, 4, 2).
        scores: Their scores, of shape (N,).
        labels: Indices of their classes, of shape (N,).
    """

    corners: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class ClassResult(NamedTuple):
    """The scores of a class.

    Attributes:
        ap: Average precision, 0 to 1; 0 if the class has no objects.
        recall: The share of the objects that were detected.
        positives: The number of objects, without difficult ones.
        detections: The number of detections.
        angle_errors: Angles in degrees between the true positives and their objects, 0 to 90, for objects that are more
            than :data:`LONG` times as long as wide; of shape (K,).
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
    """Score the detections in whole images with the ground truth.

    A detection is a true positive if its IoU with the object that it overlaps most is above ``iou_thr`` and no
    detection with a higher score matched that object. If that object is difficult, the detection is ignored.

    Args:
        detections (Mapping[str, Detections]): The detections, by the name of the image.
        objects (Mapping[str, Sequence[DotaObject]]): The ground truth of the same images, by the name of the image.
        classes (Sequence[str]): Names of the classes in the order of the labels.
        iou_thr (float, optional): The IoU threshold.

    Returns:
        dict[str, ClassResult]: The result of each class.
    """
    results = {}
    for label, name in enumerate(classes):
        boxes: list[np.ndarray] = [np.zeros((0, 4, 2))]
        scores: list[np.ndarray] = [np.zeros(0)]
        overlaps: list[np.ndarray] = [np.zeros(0)]
        targets: list[np.ndarray] = [np.zeros(0, int)]
        quads: list[np.ndarray] = [np.zeros((0, 4, 2))]
        difficult: list[np.ndarray] = [np.zeros(0, bool)]
        for image, predictions in detections.items():
            ground_truth = [item for item in objects[image] if item.name == name]
            of_class = predictions.labels == label
            boxes.append(predictions.corners[of_class])
            scores.append(predictions.scores[of_class])
            before = sum(map(len, quads))
            quads.append(np.array([item.corners for item in ground_truth], float).reshape(-1, 4, 2))
            difficult.append(np.array([item.difficulty > 0 for item in ground_truth], bool))
            overlap, target = best_overlaps(boxes[-1], quads[-1])
            overlaps.append(overlap)
            targets.append(target + before)
        results[name] = _score_class(
            np.concatenate(boxes),
            np.concatenate(scores),
            np.concatenate(overlaps),
            np.concatenate(targets),
            np.concatenate(quads),
            np.concatenate(difficult),
            iou_thr,
        )
    return results


def mean_ap(results: Mapping[str, ClassResult]) -> float:
    """Average the AP, 0 to 1, over the classes that have objects; 0 if there are none."""
    aps = [result.ap for result in results.values() if result.positives]
    return float(np.mean(aps)) if aps else 0.0


def best_overlaps(boxes: np.ndarray, quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the object that each detection overlaps most.

    Args:
        boxes (ndarray): Corners of the detections, of shape (N, 4, 2).
        quads (ndarray): Corners of the objects, of shape (M, 4, 2).

    Returns:
        tuple[ndarray, ndarray]: IoU with that object, 0 if there is none, and its index; both of shape (N,).
    """
    overlap, target = np.zeros(len(boxes)), np.zeros(len(boxes), int)
    ours, theirs = shapely.polygons(boxes), shapely.polygons(quads)
    # pairs that touch; among equal overlaps the first object wins
    left, right = shapely.STRtree(theirs).query(ours)
    common = shapely.area(shapely.intersection(ours[left], theirs[right]))
    union = shapely.area(ours[left]) + shapely.area(theirs[right]) - common
    iou = common / np.maximum(union, np.finfo(float).tiny)
    order = np.lexsort((right, -iou, left))
    first = order[np.unique(left[order], return_index=True)[1]]
    overlap[left[first]], target[left[first]] = iou[first], right[first]
    return overlap, target


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Compute VOC 2007's average precision: the mean of the best precision at 11 recalls.

    Args:
        recall (ndarray): Recall after each detection, by descending score, of shape (N,).
        precision (ndarray): Precision after each detection, of shape (N,).

    Returns:
        float: The average precision, 0 to 1.
    """
    # np.arange as in the server's code: its 3 × 0.1 is slightly above 0.3
    return float(np.mean([precision[recall >= level].max(initial=0) for level in np.arange(0, 1.1, 0.1)]))


def long_axes(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the directions of the long sides of quadrilaterals.

    Args:
        corners (ndarray): Their corners in order, in pixels, of shape (N, 4, 2).

    Returns:
        tuple[ndarray, ndarray]: The angles of the long sides in degrees, and length over width; both of shape (N,).
    """
    # each side plus the opposite one
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
    is_true = np.zeros(len(order), bool)
    is_true[candidates[np.unique(targets[candidates], return_index=True)[1]]] = True

    true, false = np.cumsum(is_true), np.cumsum(~is_true & ~ignored)
    positives = int(np.sum(~difficult))
    recall = true / max(positives, 1)
    precision = true / np.maximum(true + false, 1)

    angles, aspects = long_axes(quads[targets[is_true]])
    difference = np.abs(angles - long_axes(boxes[is_true])[0]) % 180
    return ClassResult(
        ap=average_precision(recall, precision),
        recall=float(recall[-1]) if len(recall) else 0.0,
        positives=positives,
        detections=len(order),
        angle_errors=np.minimum(difference, 180 - difference)[aspects > LONG],
    )
