"""The masks and images of a data set in the format of COCO: do they agree with its annotations?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, DependencyError
from .coco_annotations import LARGEST, NO_MASK, NUMBERS, Annotations, describe, missing_files
from .findings import Finding, Kind, show
from .image_files import MISSING_IMAGE, UNREADABLE_IMAGE, image_sizes

try:
    from tqdm import tqdm
except ImportError as error:
    raise DependencyError('checking masks needs tqdm, which is missing: pip install tqdm') from error

BROKEN_MASK = Kind(
    'broken_mask',
    'warning',
    'masks with malformed parts',
    'these are left out; an object with no other is not learned',
)
MASK_UNLIKE_BOX = Kind('mask_unlike_box', 'warning', 'masks that do not fit their box', 'both learned as they are')
SIZE = Kind('size', 'error', 'images of another size than the annotations say', 'boxes and masks lie in wrong places')

#: A box fits its mask if no side is farther off than so many pixels, which rounding and outlines drawn by hand explain,
SLACK = 2.0
#: or than this share of the longer side of the box: by less, no IoU that is trained on or scored changes much.
SLACK_SHARE = 0.05


def check_masks(annotations: Annotations) -> list[Finding]:
    """Compare masks with boxes.

    Args:
        annotations (Annotations): What is sound of an annotation file.

    Returns:
        list[Finding]: What was found.
    """
    findings = []
    for item in tqdm(annotations.objects, 'comparing masks with boxes', unit=' objects', leave=False):
        mask, image = item.get('segmentation'), annotations.images[item['image_id']]
        if not mask:
            continue  # told by check_annotations
        try:
            outlines, bounds, fault = _read_mask(mask, image)
        except ValueError as error:
            findings.append(describe(NO_MASK, item, image, str(error)))
            continue
        if fault:
            findings.append(describe(BROKEN_MASK, item, image, fault, outlines))
        if bounds and not _fits(item['bbox'], bounds):
            left, top, right, bottom = bounds
            text = f'box {item["bbox"]}, mask {[round(side, 2) for side in (left, top, right - left, bottom - top)]}'
            findings.append(describe(MASK_UNLIKE_BOX, item, image, text, outlines))
    return findings


def check_images(annotations: Annotations, folder: Path, decode: bool = False, upright: bool = True) -> list[Finding]:
    """Compare the files of images with the annotations.

    Args:
        annotations (Annotations): What is sound of an annotation file.
        folder (Path): What the names of the images are relative to.
        decode (bool): Decode each image as a whole. Defaults to False: read its header alone.
        upright (bool): Whether images are turned as their EXIF orientation says, as mmcv does. Defaults to True.

    Returns:
        list[Finding]: What was found.
    """
    images = {image['file_name']: image for image in annotations.images.values()}
    missing = set(missing_files(folder, list(images)))
    findings = [Finding(MISSING_IMAGE, name) for name in images if name in missing]
    there = [image for name, image in images.items() if name not in missing]
    sizes = image_sizes([folder / image['file_name'] for image in there], 'opening images', decode, upright)
    for size, image in zip(sizes, there):
        name, expected = image['file_name'], (image['width'], image['height'])
        if isinstance(size, DataError):
            findings.append(Finding(UNREADABLE_IMAGE, name, detail=str(size)))
        elif size != expected:
            width, height = expected
            frame = 0, 0, width, 0, width, height, 0, height
            text = f'the file has {size[0]}x{size[1]} pixels, the annotations say {width}x{height}'
            findings.append(Finding(SIZE, name, detail=text, picture=name, outlines=[frame]))
    return findings


def _fits(box: Sequence[float], bounds: Sequence[float]) -> bool:
    x, y, w, h = box
    slack = max(SLACK, SLACK_SHARE * max(w, h))
    return all(abs(side - bound) <= slack for side, bound in zip((x, y, x + w, y + h), bounds))


def _read_mask(mask: Any, image: Mapping[str, Any]) -> tuple[list[list[float]], Sequence[float] | None, str]:
    """Give the polygons, the left, top, right and bottom of what mmdet keeps, if it keeps any, and what it does not.

    A ValueError says what mmdet stops at.
    """
    if isinstance(mask, list):
        return _read_polygons(mask)
    if not isinstance(mask, dict):
        raise ValueError(f'{show(mask)} where polygons or run lengths are expected')
    if not isinstance(mask.get('counts'), (list, str)) or mask.get('size') is None:
        return [], None, 'run lengths without counts or size'
    return [], run_length_bounds(mask, image['width'], image['height']), ''


def _read_polygons(mask: list) -> tuple[list[list[float]], Sequence[float] | None, str]:
    for polygon in mask:
        if not isinstance(polygon, list) or not NUMBERS.issuperset(map(type, polygon)):
            raise ValueError(f'{show(polygon)} where the coordinates of a polygon are expected')
    kept = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
    fault = f'{len(mask) - len(kept)} of {len(mask)} polygons have an odd number of coordinates, or less than 6'
    if not kept:
        return [], None, fault
    left, top, right, bottom = (
        pick(pick(polygon[start::2]) for polygon in kept) for pick in (min, max) for start in (0, 1)
    )
    if not all(-LARGEST <= side <= LARGEST for side in (left, top, right, bottom)):
        raise ValueError(f'a coordinate is more than {LARGEST:.0f} pixels from 0')
    return kept, (left, top, right, bottom), fault if len(kept) < len(mask) else ''


def run_length_bounds(mask: Mapping[str, Any], width: int, height: int) -> tuple[int, ...]:
    """Find the bounds of a mask in run lengths.

    Args:
        mask (Mapping[str, Any]): Its ``size`` as height and width, and ``counts``: the lengths of its runs down the
            columns, of background and object in turns, as numbers or in COCO's compressed text.
        width (int): Of the image in pixels.
        height (int): Of the image in pixels.

    Returns:
        tuple[int, int, int, int]: Left, top, right and bottom in pixels; all 0 if the mask is empty.

    Raises:
        ValueError: They are malformed, or of another size than the image.
    """
    if mask['size'] != [height, width]:
        raise ValueError(f'run lengths of size {show(mask["size"])} in an image of [{height}, {width}]')
    counts = mask['counts'] if isinstance(mask['counts'], list) else _decompress(mask['counts'])
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) > width * height:
        raise ValueError('the counts of the run lengths are malformed, or more than the image has pixels')
    ends = np.cumsum(np.array(counts, dtype=np.int64))
    runs = np.stack([ends[:-1:2], ends[1::2] - 1])
    first, last = runs[:, runs[0] <= runs[1]]
    if not len(first):
        return 0, 0, 0, 0
    left, right = first.min() // height, last.max() // height + 1
    # a run that goes on in the next column has the lower edge of one and the upper edge of the other
    if (first // height != last // height).any():
        return int(left), 0, int(right), int(height)
    return int(left), int((first % height).min()), int(right), int((last % height).max() + 1)


def _decompress(text: str) -> list[int]:
    """Read run lengths as COCO compresses them.

    Each character has 5 bits of a number, the low ones first, and a sixth that says whether more follow; from the
    fourth number on, each is the difference to the last but one.
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
    raise ValueError(f'{show(text)} is not of compressed run lengths')
