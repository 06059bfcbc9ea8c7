"""Mini COCO: a drawn data set in the layout of COCO 2017."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from PIL import Image
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry
from tqdm import tqdm

from .backgrounds import background
from .categories import CATEGORIES, IDS
from .marks import already_drawn, make_mark, read_mark, whole_folder
from .objects import COCO_OBJECTS
from .scenes import LEAST_SIDE, Light, compose, develop, pieces, render, visible

#: Incremented whenever the same seed gives different files.
VERSION = 1
#: The number of images of each split.
SPLITS = {'train2017': 200, 'val2017': 50}
#: Width and height in pixels.
IMAGE_SIZES = ((320, 256), (320, 256), (320, 240), (256, 320))
#: The side in pixels of a square of the same area as an object that COCO calls small, medium or large.
OBJECT_SIDES = {'small': (LEAST_SIDE, 31), 'medium': (38, 84), 'large': (102, 130)}
#: The classes and sizes that are dealt to the images, repeatedly, so that both are balanced.
DECK = [(name, size) for name in COCO_OBJECTS for size in ('small', 'medium', 'medium', 'large')]
#: Pieces of an object smaller than this, in square pixels, are left out of its annotation.
LEAST_PIECE = 1.0

#: An image's entry in the annotation file, and its annotations.
Record = tuple[dict[str, Any], list[dict[str, Any]]]


class CocoTask(NamedTuple):
    """An image to draw: its split, its number in the whole data set, and the classes and sizes of its objects."""

    split: str
    number: int
    hand: list[tuple[str, str]]


def make_coco(out: str | Path, seed: int = 0, overwrite: bool = False) -> dict[str, Any]:
    """Draw mini COCO unless it exists.

    Args:
        out (str | Path): The folder to create. It appears only when the data set is complete.
        seed (int, optional): The same seed gives the same bytes. Defaults to 0.
        overwrite (bool, optional): Whether to replace another mini COCO at ``out``. Defaults to False.

    Returns:
        dict[str, Any]: ``made``, whether it was drawn now, and the numbers of ``images`` and ``objects`` of each split.

    Raises:
        DataError: ``out`` is not this mini COCO, or the seed is negative.
    """
    out = Path(out)
    mark = make_mark('coco', seed, VERSION)
    # Read the smaller of the two files, since the folder may be the real COCO.
    found = read_mark(annotation_file(out, 'val2017'), 'coco', 'info', 'miniature')
    if already_drawn(out, mark, found, is_complete, overwrite):
        return {'made': False, **count(out)}

    with whole_folder(out) as folder, ProcessPoolExecutor() as pool:
        (folder / 'annotations').mkdir()
        for split in SPLITS:
            (folder / split).mkdir()
            tasks = deal(seed, split)
            work = pool.map(partial(save_image, folder, seed), tasks, chunksize=4)
            records = list(tqdm(work, f'drawing {split}', len(tasks), unit=' images', leave=False))
            annotation_file(folder, split).write_text(json.dumps(describe(split, mark, records)))
    return {'made': True, **count(out)}


def deal(seed: int, split: str) -> list[CocoTask]:
    """Deal classes and sizes to the images of a split, 3 to 7 objects each."""
    place = list(SPLITS).index(split)
    rng = np.random.default_rng((seed, place))
    numbers = rng.permutation(np.resize(np.arange(3, 8), SPLITS[split]))
    cards = [DECK[index] for _ in range(numbers.sum() // len(DECK) + 1) for index in rng.permutation(len(DECK))]
    first = 1 + sum(list(SPLITS.values())[:place])
    return [
        CocoTask(split, first + index, cards[end - number : end])
        for index, (number, end) in enumerate(zip(numbers, numbers.cumsum()))
    ]


def make_image(seed: int, task: CocoTask) -> tuple[Image.Image, list[dict[str, Any]]]:
    """Draw an image and annotate its objects."""
    rng = np.random.default_rng((seed, list(SPLITS).index(task.split), task.number))
    frame = IMAGE_SIZES[rng.integers(len(IMAGE_SIZES))]
    scene = compose(rng, frame, [(name, np.exp(rng.uniform(*np.log(OBJECT_SIDES[size])))) for name, size in task.hand])
    picture = background(rng, frame)
    render(picture, scene, Light.draw(rng))
    annotations = [
        {'id': 10 * task.number + index, 'image_id': task.number, 'category_id': IDS[drawing.name], **annotate(seen)}
        for index, (drawing, seen) in enumerate(zip(scene, visible([drawing.outline for drawing in scene], frame)))
    ]
    return develop(rng, picture), annotations


def annotate(shape: BaseGeometry) -> dict[str, Any]:
    """Describe the visible part of an object in COCO's format: polygons, area and box in pixels."""
    # Coordinates are rounded first, so that area and box agree with the polygons as written.
    parts = [part for part in pieces(shapely.set_precision(shape, 0.01)) if part.area >= LEAST_PIECE]
    left, top, right, bottom = MultiPolygon(parts).bounds
    return {
        'segmentation': [np.round(part.exterior.coords[:-1], 2).ravel().tolist() for part in parts],
        'area': round(sum(part.area for part in parts), 2),
        'bbox': [round(value, 2) for value in (left, top, right - left, bottom - top)],
        'iscrowd': 0,
    }


def save_image(folder: Path, seed: int, task: CocoTask) -> Record:
    """Draw an image and write its file; return its entry in the annotation file and its annotations."""
    image, annotations = make_image(seed, task)
    name = f'{task.number:012}.jpg'
    image.save(folder / task.split / name, quality=90)
    entry = {'id': task.number, 'file_name': name, 'width': image.width, 'height': image.height, 'license': 1}
    return entry, annotations


def describe(split: str, mark: dict[str, Any], records: Iterable[Record]) -> dict[str, Any]:
    """Assemble the content of the annotation file of a split."""
    images, annotations = zip(*records)
    return {
        'info': {'description': f'mini COCO, {split}: objects drawn on free photographs', 'miniature': mark},
        'licenses': [{'id': 1, 'name': 'Public domain', 'url': 'https://creativecommons.org/publicdomain/zero/1.0/'}],
        'images': images,
        'annotations': list(chain.from_iterable(annotations)),
        'categories': CATEGORIES,
    }


def annotation_file(folder: Path, split: str) -> Path:
    """Return the path at which COCO keeps the annotations of a split."""
    return folder / 'annotations' / f'instances_{split}.json'


def is_complete(folder: Path) -> bool:
    """Return whether all files of a mini COCO exist."""
    return all(
        annotation_file(folder, split).is_file() and len(list((folder / split).glob('*.jpg'))) == number
        for split, number in SPLITS.items()
    )


def count(folder: Path) -> dict[str, dict[str, int]]:
    """Count the images and objects of each split of a mini COCO."""
    content = {split: json.loads(annotation_file(folder, split).read_text()) for split in SPLITS}
    return {
        'images': {split: len(part['images']) for split, part in content.items()},
        'objects': {split: len(part['annotations']) for split, part in content.items()},
    }
