"""Check annotation files in the format of COCO without opening images: what is wrong, and what mmdet drops silently.

Training reads them with ``load_data_list``, ``parse_data_info`` and ``filter_data`` of mmdet's ``CocoDataset`` and with
its ``LoadAnnotations``; scoring reads them with ``COCO`` and ``COCOeval`` of pycocotools, which drop nothing.
"""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import DataError, first_few
from ..findings import Finding, Kind, Report, show
from .masks import LARGEST, NUMBERS, mask_fault, odd_masks

_STOPS = 'training stops'
MALFORMED = Kind('malformed', 'error', 'incomplete or malformed entries', _STOPS)
IMAGE_TWICE = Kind('image_twice', 'error', 'images with the id of another image', 'only the last is used')
ANNOTATION_TWICE = Kind('annotation_twice', 'error', 'annotations with the id of another annotation', _STOPS)
CATEGORY_TWICE = Kind(
    'category_twice', 'error', 'categories with the id or name of another category', 'classes are numbered wrongly'
)
MISSING_CLASS = Kind(
    'missing_class', 'error', 'classes of the config that are not categories', 'classes are numbered wrongly'
)
CLASS_TWICE = Kind('class_twice', 'error', 'classes that the config names twice', 'classes are numbered wrongly')
UNKNOWN_CATEGORY = Kind(
    'unknown_category', 'error', 'annotations of unknown categories', 'dropped; treated as background'
)
ID_TYPE = Kind('id_type', 'error', 'annotations whose image id has another type than the id of the image', 'dropped')
NO_MASK = Kind('no_mask', 'error', 'objects without a readable mask', _STOPS)
NO_SCORED_MASK = NO_MASK._replace(outcome='scoring stops')
BAD_CROWD = Kind('bad_crowd', 'error', 'values of iscrowd other than 0 and 1', 'all values but 0 mean crowd')
NO_CROWD = Kind('no_crowd', 'error', 'annotations without iscrowd', 'scoring stops')
BAD_ID = Kind('bad_id', 'error', 'annotations with the id 0', 'scoring counts their detections as false positives')
TEXT_ID = Kind('text_id', 'error', 'annotations whose id is not a number', 'scoring stops')
MIXED_IDS = Kind('mixed_ids', 'error', 'ids that are partly text and partly numbers', 'scoring leaves them out')
NOT_SCORED = Kind('not_scored', 'warning', 'objects larger than pycocotools scores', 'not scored')
CLASS_ORDER = Kind(
    'class_order', 'warning', 'classes in another order than the categories', 'results get the names of other classes'
)
UNKNOWN_IMAGE = Kind('unknown_image', 'warning', 'annotations of images that the file does not name', 'dropped')
NO_AREA = Kind('no_area', 'warning', 'objects without area, or less than one pixel wide or high', 'dropped')
OUTSIDE = Kind('outside', 'warning', 'boxes outside the image', 'dropped')
PARTLY_OUTSIDE = Kind('partly_outside', 'warning', 'boxes that reach beyond the image', 'clipped to the image')
IGNORED = Kind('ignored', 'note', "objects marked 'ignore'", 'dropped')
CROWD = Kind('crowd', 'note', 'crowds', 'ignored, neither objects nor background')
OTHER_CLASS = Kind('other_class', 'note', 'objects of categories that are not classes of the config', 'dropped')
NO_OBJECTS = Kind('no_objects', 'note', 'images without objects', 'dropped')
TOO_SMALL = Kind('too_small', 'note', 'images smaller than min_size', 'dropped')

#: By how many pixels a box may reach beyond its image; rounding causes this in COCO's boxes.
ROUNDING = 1.0
#: The largest area in pixels that pycocotools scores.
LARGEST_SCORED = 1e10


class Annotations(NamedTuple):
    """The valid entries of an annotation file that training keeps.

    Attributes:
        images: The images by id.
        objects: The annotations that mmdet does not drop.
    """

    images: dict[Any, dict[str, Any]]
    objects: list[dict[str, Any]]


def read_annotations(path: Path, needs_annotations: bool = True) -> dict[str, list]:
    """Read an annotation file in an encoding that pycocotools reads.

    Args:
        path (Path): The file.
        needs_annotations (bool): Whether it must have ``annotations``; a test that only predicts does not need them.
            Defaults to True.

    Returns:
        dict[str, list]: Its content, with at least ``images``, ``annotations`` and ``categories``.

    Raises:
        DataError: It cannot be read, or is not in the format of COCO.
    """
    try:
        with uncollected():
            # NaN and infinities, which Python writes although JSON has none, are not usable numbers
            content = json.loads(_read_text(path), parse_constant=lambda name: None)
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}') from error
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path} is not JSON: {error}; download the file again') from error
    if isinstance(content, dict) and not needs_annotations:
        content.setdefault('annotations', [])
    missing = [
        key
        for key in ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise DataError(f'{path} is not in the format of COCO: it lacks {", ".join(missing)}')
    return content


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    encoding = json.detect_encoding(data)
    if encoding != 'utf-8':
        named = 'has a byte order mark' if encoding == 'utf-8-sig' else f'is in {encoding[:6].upper()}'
        raise DataError(f'{path} is not JSON: it {named}, which pycocotools cannot read; save it as UTF-8 without BOM')
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path} is not JSON: it is not text in UTF-8 (byte {error.start}); save it as UTF-8 without BOM'
        ) from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable the garbage collector, which would search millions of new objects again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """List the files that do not exist.

    Args:
        folder (Path): The folder that names are relative to.
        names (Sequence[str]): Names of the files.

    Returns:
        list[str]: Names of the missing files.
    """
    # one listing per folder: checking each of 118,000 files takes minutes on a network disk
    listings: dict[str, set[str]] = {}
    missing = []
    for name in names:
        parent, file = os.path.split(os.path.join(folder, name))  # noqa: PTH118, as creating Paths takes a second
        if parent not in listings:
            try:
                listings[parent] = set(os.listdir(parent))  # noqa: PTH208
            except (OSError, ValueError):  # a ValueError if the name is not valid for a file
                listings[parent] = set()
        if file not in listings[parent]:
            missing.append(name)
    return missing


@uncollected()
def check_annotations(
    content: Mapping[str, list],
    classes: Sequence[str] = (),
    filters: Mapping[str, Any] | None = None,
    with_masks: bool = False,
    scored: Collection[str] = (),
) -> tuple[Annotations, Report]:
    """Check the entries of an annotation file; report each dropped object once, for the first reason.

    Args:
        content (Mapping[str, list]): The result of :func:`read_annotations`.
        classes (Sequence[str]): The classes of the config. Defaults to ``()``: all categories.
        filters (Mapping, optional): The ``filter_cfg`` of the data set, if training uses it. Defaults to None.
        with_masks (bool): Whether the config learns masks. Defaults to False.
        scored (Collection[str]): What mmdet's ``CocoMetric`` scores with the file, such as ``'bbox'`` and ``'segm'``.
            With ``'instances'``, it scores the objects that mmdet reads instead. Defaults to ``()``: nothing.

    Returns:
        tuple[Annotations, Report]: The valid entries, and the report.
    """
    filters = filters or {}
    reads_file = bool(scored) and 'instances' not in scored
    findings: list[Finding] = []
    images = _read_images(content, findings)
    categories = _read_categories(content, findings)
    class_ids = {key for key, name in categories.items() if not classes or name in classes}
    findings += _compare_classes(list(classes), list(categories.values()))
    objects = _read_objects(content, images, categories, findings)

    boxes = np.array([item['bbox'] for item in objects], dtype=float).reshape(-1, 4)
    frames = [images[item['image_id']] for item in objects]
    sizes = np.array([(image['width'], image['height']) for image in frames], dtype=float).reshape(-1, 2)
    starts, extents = boxes[:, :2], boxes[:, 2:]
    ends = starts + extents
    inside = (np.minimum(ends, sizes) - np.maximum(starts, 0)).clip(min=0)
    areas = [item['area'] for item in objects]
    crowds = [item.get('iscrowd') for item in objects]
    has_class = _true_for([item['category_id'] in class_ids for item in objects])
    is_crowd = _true_for(crowds)

    def add_findings(kind: Kind, are_meant: np.ndarray) -> None:
        for index in np.flatnonzero(are_meant):
            item, image = objects[index], frames[index]
            text = (
                f'{show(categories[item["category_id"]])}, box {item["bbox"]} of area {show(item["area"])} in an image '
                f'of {image["width"]}x{image["height"]}'
            )
            findings.append(describe(kind, item, image, text))

    are_left = np.ones(len(objects), dtype=bool)
    for kind, are_meant in (
        (IGNORED, _true_for([item.get('ignore') for item in objects])),
        (NO_AREA, _true_for([area <= 0 for area in areas]) | (extents < 1).any(axis=1)),
        (OUTSIDE, inside.prod(axis=1) == 0),
        (OTHER_CLASS, ~has_class),
    ):
        if reads_file and kind is not OTHER_CLASS:
            kind = kind._replace(severity='warning', outcome='still scored')
        add_findings(kind, are_left & are_meant)
        are_left &= ~are_meant
    add_findings(PARTLY_OUTSIDE, are_left & ((starts < -ROUNDING) | (ends > sizes + ROUNDING)).any(axis=1))
    add_findings(CROWD, are_left & is_crowd)
    are_scored = has_class & reads_file
    is_odd = _true_for([crowd not in (0, 1) for crowd in crowds])
    findings += _check_crowds(objects, frames, is_odd & (are_left | are_scored), are_scored)
    findings += _check_scored_ids(objects, frames, are_scored, images, categories)
    is_huge = _true_for([area > LARGEST_SCORED for area in areas])
    add_findings(NOT_SCORED, are_scored & ~is_crowd & is_huge)
    scores_masks = (are_scored if reads_file else are_left) & ('segm' in scored)
    if with_masks or scores_masks.any():
        indices = np.flatnonzero((are_left & with_masks) | scores_masks).tolist()
        for index in odd_masks([objects[index].get('segmentation') for index in indices], indices):
            item, image = objects[index], frames[index]
            fault = mask_fault(item.get('segmentation'), image, bool(scores_masks[index]))
            if fault:
                findings.append(describe(NO_SCORED_MASK if scores_masks[index] else NO_MASK, item, image, fault))

    with_objects = {objects[index]['image_id'] for index in np.flatnonzero(has_class)}
    dropped = set()
    for image_id, image in images.items():
        is_empty = filters.get('filter_empty_gt') and image_id not in with_objects
        if is_empty or min(image['width'], image['height']) < (filters.get('min_size') or 0):
            dropped.add(image_id)
            size = f'{image["width"]}x{image["height"]}'
            findings.append(Finding(NO_OBJECTS if is_empty else TOO_SMALL, image['file_name'], detail=size))
    if dropped:
        are_left &= _true_for([item['image_id'] not in dropped for item in objects])
    report = Report(
        len(content['images']),
        len(content['annotations']),
        len(images) - len(dropped),
        int(are_left.sum()),
        findings,
        learned=int((are_left & ~is_crowd).sum()),
        scored=int((has_class & ~is_crowd & ~is_huge & _true_for([area >= 0 for area in areas])).sum()),
    )
    return Annotations(images, [objects[index] for index in np.flatnonzero(are_left)]), report


def _check_crowds(
    objects: Sequence[dict[str, Any]], frames: Sequence[dict[str, Any]], are_odd: np.ndarray, are_scored: np.ndarray
) -> Iterator[Finding]:
    """Check ``iscrowd``: mmdet tests its truth value, pycocotools that and then its integer."""
    for index in np.flatnonzero(are_odd):
        item, image = objects[index], frames[index]
        if item.get('iscrowd') is not None:
            yield describe(BAD_CROWD, item, image, f'iscrowd is {show(item["iscrowd"])}; write 0 or 1')
        elif are_scored[index]:
            yield describe(NO_CROWD, item, image, "'iscrowd' is missing or null; write 0 or 1")


def _check_scored_ids(
    objects: Sequence[dict[str, Any]],
    frames: Sequence[dict[str, Any]],
    are_scored: np.ndarray,
    images: Collection[Any],
    categories: Collection[Any],
) -> Iterator[Finding]:
    """Check ids: pycocotools stores the id of the matched object of each detection as a number, 0 if unmatched."""
    if not are_scored.any():
        return
    for name, ids in (('images', images), ('categories', categories)):
        texts = [value for value in ids if isinstance(value, str)]
        if 0 < len(texts) < len(ids):
            yield Finding(MIXED_IDS, detail=f'{len(texts)} of {len(ids)} {name} have text as id, such as {texts[0]!r}')
    for index in np.flatnonzero(are_scored):
        item, image = objects[index], frames[index]
        try:
            if not float(item['id']) and not item.get('iscrowd'):
                yield describe(BAD_ID, item, image, f'{show(item["id"])} means "not matched"; number from 1')
        except (ValueError, OverflowError):
            yield describe(TEXT_ID, item, image, f'the id is {show(item["id"])}; number the annotations from 1')


def describe(
    kind: Kind, item: Mapping[str, Any], image: Mapping[str, Any], detail: str, outlines: Sequence[Sequence[float]] = ()
) -> Finding:
    """Create a finding for an annotation.

    Args:
        kind (Kind): Its kind.
        item (Mapping): The annotation.
        image (Mapping): The entry of its image.
        detail (str): The values that are wrong.
        outlines (Sequence[Sequence[float]]): Polygons to draw besides the box, in pixels. Defaults to none.

    Returns:
        Finding: The finding.
    """
    x, y, w, h = item['bbox']
    box = x, y, x + w, y, x + w, y + h, x, y + h
    name = image['file_name']
    return Finding(kind, name, item['id'], detail=detail, picture=name, outlines=[box, *outlines])


def _read_images(content: Mapping[str, list], findings: list[Finding]) -> dict[Any, dict[str, Any]]:
    images: dict[Any, dict[str, Any]] = {}
    for image in _sound(content, 'images', findings):
        other = images.get(image['id'])
        if other:
            detail = f'has the id {show(image["id"])}, as {show(other["file_name"])} does'
            findings.append(Finding(IMAGE_TWICE, image['file_name'], detail=detail))
        images[image['id']] = image
    return images


def _read_categories(content: Mapping[str, list], findings: list[Finding]) -> dict[Any, str]:
    categories: dict[Any, str] = {}
    names = set()
    for category in _sound(content, 'categories', findings):
        if category['id'] in categories or category['name'] in names:
            detail = f'category {show(category["name"])} with id {show(category["id"])}'
            findings.append(Finding(CATEGORY_TWICE, detail=detail))
        categories[category['id']] = category['name']
        names.add(category['name'])
    return categories


def _compare_classes(classes: list[str], categories: list[str]) -> Iterator[Finding]:
    """Compare the order: mmdet numbers classes in the order of the file and names them in the order of the config."""
    unknown = [name for name in classes if name not in categories]
    if unknown:
        yield Finding(
            MISSING_CLASS,
            detail=f'unknown class {first_few(unknown)} in metainfo.classes; the file has the categories '
            f'{first_few(list(map(show, categories)), 10)}. Name the classes as the file does',
        )
        return
    twice = [name for name, number in Counter(classes).items() if number > 1]
    if twice:
        yield Finding(CLASS_TWICE, detail=f'{first_few(twice)} in metainfo.classes; name each class once')
        return
    chosen = [name for name in categories if name in classes]
    for number, (config, file) in enumerate(zip(classes, chosen)):
        if config != file:
            detail = f'class {number} is {config} in metainfo.classes and {file} in the file'
            yield Finding(CLASS_ORDER, detail=detail)


def _read_objects(
    content: Mapping[str, list],
    images: Mapping[Any, dict[str, Any]],
    categories: Mapping[Any, str],
    findings: list[Finding],
) -> list[dict[str, Any]]:
    """Return the annotations whose image and category exist."""
    if _are_plain(content['annotations'], images, categories):
        return content['annotations']
    objects = []
    seen = set()
    image_twins: dict[str, Any] = {}
    category_twins = {_as_text(key): key for key in categories}
    for item in _sound(content, 'annotations', findings):
        image = images.get(item['image_id'])
        if image is None:
            name = f'image {show(item["image_id"])}'
            image_twins = image_twins or {_as_text(key): key for key in images}
            twin = image_twins.get(_as_text(item['image_id']))
            detail = '' if twin is None else _differ('image', item['image_id'], twin)
            findings.append(Finding(UNKNOWN_IMAGE if twin is None else ID_TYPE, name, item['id'], detail=detail))
            continue
        if item['id'] in seen:
            findings.append(describe(ANNOTATION_TWICE, item, image, ''))
        seen.add(item['id'])
        if item['category_id'] in categories:
            objects.append(item)
        else:
            twin = category_twins.get(_as_text(item['category_id']))
            name = f'category {show(item["category_id"])}'
            detail = name if twin is None else _differ('category', item['category_id'], twin)
            findings.append(describe(UNKNOWN_CATEGORY, item, image, detail))
    return objects


def _as_text(value: Any) -> str:
    """Return the same text for ids that look the same: 7, '7' and '007'."""
    try:
        return str(int(value))
    except (ValueError, OverflowError):
        return str(value)


def _differ(name: str, value: Any, twin: Any) -> str:
    return f'{name}_id is {value!r} and the {name} has the id {twin!r}; write both as numbers'


def _true_for(values: Sequence[Any]) -> np.ndarray:
    return np.fromiter(map(bool, values), dtype=bool, count=len(values))


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, float, str))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in NUMBERS


def _is_extent(value: Any) -> bool:
    return type(value) in NUMBERS and 0 < value <= LARGEST


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and NUMBERS.issuperset(map(type, value))
        and -LARGEST <= min(value) <= max(value) <= LARGEST
    )


_PLAIN = itemgetter('id', 'image_id', 'category_id', 'bbox', 'area')
#: The keys that mmdet reads of each entry, and their checks.
_NEEDED: dict[str, dict[str, Callable[[Any], bool]]] = {
    'images': dict(id=_is_id, file_name=_is_text, width=_is_extent, height=_is_extent),
    'annotations': dict(id=_is_id, image_id=_is_id, category_id=_is_id, bbox=_is_box, area=_is_number),
    'categories': dict(id=_is_id, name=_is_text),
}


def _sound(content: Mapping[str, list], key: str, findings: list[Finding]) -> Iterator[dict[str, Any]]:
    """Yield the entries that have all keys that mmdet needs."""
    for number, entry in enumerate(content[key]):
        fault = _fault_of(entry, _NEEDED[key])
        if fault is None:
            yield entry
        else:
            findings.append(Finding(MALFORMED, detail=f'{key}[{number}] {fault}'))


def _are_plain(annotations: Sequence[Any], images: Mapping[Any, Any], categories: Mapping[Any, Any]) -> bool:
    """Whether all annotations are valid and of the usual form; this is faster than checking each of a million."""
    try:
        rows = list(map(_PLAIN, annotations))
        numbers = list(chain.from_iterable(row[3] for row in rows))
    except (KeyError, TypeError):
        return False
    ids, image_ids, category_ids, boxes, areas = zip(*rows) if rows else [()] * 5
    return (
        {dict}.issuperset(map(type, annotations))
        and {int}.issuperset(map(type, chain(ids, image_ids, category_ids)))
        and {list}.issuperset(map(type, boxes))
        and {4}.issuperset(map(len, boxes))
        and NUMBERS.issuperset(map(type, chain(numbers, areas)))
        and min(numbers, default=0) >= -LARGEST
        and max(numbers, default=0) <= LARGEST
        and len(set(ids)) == len(ids)
        and images.keys() >= set(image_ids)
        and categories.keys() >= set(category_ids)
    )


def _fault_of(entry: Any, needed: Mapping[str, Callable[[Any], bool]]) -> str | None:
    if not isinstance(entry, dict):
        return f'is {show(entry)}'
    for key, is_sound in needed.items():
        if key not in entry:
            return f'has no {key}'
        if not is_sound(entry[key]):
            return f'has the {key} {show(entry[key])}'
    return None
