"""Read and check masks in the format of COCO: polygons and run lengths, as mmdet and pycocotools read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..findings import show

#: The largest absolute coordinate in pixels; float32 distinguishes neighbouring pixels up to here.
LARGEST = 2.0**24
#: The Python types of numbers in JSON; bool is not one of them.
NUMBERS = frozenset((int, float))


def mask_fault(mask: Any, image: Mapping[str, Any], scored: bool = False) -> str:
    """Describe why a mask cannot be read, as far as possible without decompressing it.

    Args:
        mask (Any): The ``segmentation`` of an annotation, or None.
        image (Mapping[str, Any]): The entry of its image.
        scored (bool): Whether pycocotools reads it, which does not leave out malformed parts. Defaults to False.

    Returns:
        str: The fault; empty if there is none.
    """
    if not mask:
        return 'no segmentation' if mask is None else f'the segmentation {show(mask)}'
    if isinstance(mask, dict):
        return _run_lengths_fault(mask, image, scored)
    if not isinstance(mask, list):
        return f'{show(mask)} where polygons or run lengths are expected'
    if type(mask[0]) is not list and NUMBERS.issuperset(map(type, mask)):
        return 'the segmentation is a flat list of coordinates, expected a list of polygons: [[x1, y1, x2, y2, ...]]'
    for polygon in mask:
        if type(polygon) is not list or not NUMBERS.issuperset(map(type, polygon)):
            return f'{show(polygon)} where the coordinates of a polygon are expected'
        # drawing larger polygons exhausts the memory
        if polygon and not -LARGEST <= min(polygon) <= max(polygon) <= LARGEST:
            return f'a coordinate is more than {LARGEST:.0f} pixels from 0'
    if scored and len(mask[0]) < 5:
        return f'the first polygon has {len(mask[0])} coordinates, expected at least 6, as pycocotools requires'
    return ''


def odd_masks(masks: Sequence[Any], indices: Sequence[int]) -> Sequence[int]:
    """Select the masks to check one by one: all but polygons that are valid, which most of a million are.

    Args:
        masks (Sequence[Any]): The ``segmentation`` of annotations.
        indices (Sequence[int]): The indices of the annotations.

    Returns:
        Sequence[int]: The indices of the masks to check.
    """
    polygons = [polygon for mask in masks if type(mask) is list for polygon in mask]
    are_plain = {list}.issuperset(map(type, polygons)) and min(map(len, polygons), default=6) >= 6
    numbers = list(chain.from_iterable(polygons)) if are_plain else []
    if (
        are_plain
        and NUMBERS.issuperset(map(type, numbers))
        and min(numbers, default=0) >= -LARGEST
        and max(numbers, default=0) <= LARGEST
    ):
        return [index for index, mask in zip(indices, masks) if type(mask) is not list or not mask]
    return indices


def _run_lengths_fault(mask: Mapping[str, Any], image: Mapping[str, Any], scored: bool) -> str:
    counts, size = mask.get('counts'), mask.get('size')
    if not isinstance(counts, (list, str)) or size is None:
        return 'run lengths without counts or size, which pycocotools requires' if scored else ''
    height, width = image['height'], image['width']
    if size != [height, width]:
        swapped = '; height and width are swapped' if size == [width, height] else ''
        return f'run lengths of size {show(size)} in an image of [{height}, {width}]{swapped}'
    if isinstance(counts, str):
        if not scored:
            return ''
        try:
            counts = _decompress(counts)
        except ValueError as error:
            return str(error)
    fault = _counts_fault(counts, width * height)
    # pycocotools loops forever on the overlap with a mask that ends early
    if not fault and scored and sum(counts) != width * height:
        fault = f'the run lengths cover {sum(counts)} of {width * height} pixels, expected all; pycocotools hangs'
    return fault


def _counts_fault(counts: Sequence[Any], pixels: float) -> str:
    if all(type(count) is int and count >= 0 for count in counts) and sum(counts) <= pixels:
        return ''
    return 'the counts of the run lengths are malformed, or more than the image has pixels'


def read_mask(mask: Any, image: Mapping[str, Any]) -> tuple[list[list[float]], Sequence[float] | None, str]:
    """Read a mask as mmdet does.

    Args:
        mask (Any): The ``segmentation`` of an annotation, for which :func:`mask_fault` returns an empty text.
        image (Mapping[str, Any]): The entry of its image.

    Returns:
        tuple: The polygons; left, top, right and bottom of the parts that mmdet keeps, or None if it keeps none; and
        the fault of the other parts.

    Raises:
        ValueError: mmdet raises an error for it.
    """
    if isinstance(mask, list):
        return _read_polygons(mask)
    if not isinstance(mask.get('counts'), (list, str)) or mask.get('size') is None:
        return [], None, 'run lengths without counts or size'
    return [], run_length_bounds(mask, image['width'], image['height']), ''


def _read_polygons(mask: list[list[float]]) -> tuple[list[list[float]], Sequence[float] | None, str]:
    kept = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
    fault = f'{len(mask) - len(kept)} of {len(mask)} polygons have an odd number of coordinates, or less than 6'
    if not kept:
        return [], None, fault
    left, top, right, bottom = (
        pick(pick(polygon[start::2]) for polygon in kept) for pick in (min, max) for start in (0, 1)
    )
    return kept, (left, top, right, bottom), fault if len(kept) < len(mask) else ''


def run_length_bounds(mask: Mapping[str, Any], width: int, height: int) -> tuple[int, ...]:
    """Find the bounds of a mask in run lengths.

    Args:
        mask (Mapping[str, Any]): Its ``size`` as height and width, and its ``counts``: the lengths of its runs down the
            columns, background and object in turns, as numbers or in COCO's compressed text.
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.

    Returns:
        tuple[int, int, int, int]: Left, top, right and bottom in pixels; all 0 if the mask is empty.

    Raises:
        ValueError: The run lengths are malformed, or their size differs from the image.
    """
    if mask['size'] != [height, width]:
        raise ValueError(f'run lengths of size {show(mask["size"])} in an image of [{height}, {width}]')
    counts = mask['counts'] if isinstance(mask['counts'], list) else _decompress(mask['counts'])
    fault = _counts_fault(counts, width * height)
    if fault:
        raise ValueError(fault)
    ends = np.cumsum(np.array(counts, dtype=np.int64))
    runs = np.stack([ends[:-1:2], ends[1::2] - 1])
    first, last = runs[:, runs[0] <= runs[1]]
    if not len(first):
        return 0, 0, 0, 0
    left, right = first.min() // height, last.max() // height + 1
    # a run that continues in the next column touches the lower edge in one and the upper edge in the other
    if (first // height != last // height).any():
        return int(left), 0, int(right), int(height)
    return int(left), int((first % height).min()), int(right), int((last % height).max() + 1)


def _decompress(text: str) -> list[int]:
    """Decompress run lengths in COCO's format.

    Each character has 5 bits of a number, the lowest first, and a sixth bit that is set if more follow. From the fourth
    number on, each is the difference to the last but one.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            break
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    else:
        if not shift:
            return counts
    raise ValueError(f'{show(text)} is not in the format of compressed run lengths')
