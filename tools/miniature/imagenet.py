"""Mini ImageNet: a drawn data set in the layouts of ImageNet-1k, ImageNet-C and ImageNet-R."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from mmfasternet.datasets.imagenet.class_folders import IMAGENET_R_WNIDS
from mmfasternet.datasets.imagenet.robustness import CORRUPTIONS, SEVERITIES

from . import corruptions
from .backgrounds import background
from .imagenet_objects import IMAGENET_OBJECTS
from .marks import MARK_FILE, already_drawn, make_mark, read_mark, whole_folder
from .objects import Drawing
from .renditions import STYLES
from .scenes import Light, develop, place, render

#: Incremented whenever the same seed gives different files.
VERSION = 1
#: The names of the classes by their WordNet ids, in ImageNet's order.
CLASSES = {wnid: name for wnid, (name, _) in IMAGENET_OBJECTS.items()}
#: The WordNet ids of each part: ImageNet-R has half of the classes.
WNIDS = {
    'train': tuple(CLASSES),
    'val': tuple(CLASSES),
    'imagenet-c': tuple(CLASSES),
    'imagenet-r': tuple(wnid for wnid in CLASSES if wnid in IMAGENET_R_WNIDS),
}
#: The number of images per class; those of ImageNet-C are the first of ``val``, each with all corruptions.
IMAGES = {'train': 120, 'val': 20, 'imagenet-c': 10, 'imagenet-r': 20}
#: The shortest and the longest side of an image in pixels.
IMAGE_SIDES = (144, 192)
#: The share of an image's short side that ImageNet's centre crop keeps: 224 of 256 pixels.
KEPT = 7 / 8
#: The side in pixels of the corrupted images; 224 in ImageNet-C.
CORRUPTED_SIDE = 128
#: The size of an object as a share of its image's short side.
EXTENT = (0.45, 0.85)
#: The share of an object's width or height that the centre crop may cut off.
MOST_CUT = 0.08


class ImageNetTask(NamedTuple):
    """An image to draw.

    Attributes:
        split: ``train``, ``val`` or ``imagenet-r``.
        number: Counted from 1 over all classes of the split.
        wnid: The WordNet id of its class.
    """

    split: str
    number: int
    wnid: str

    @property
    def style(self) -> str | None:
        """The kind of rendition; None except in ImageNet-R."""
        return list(STYLES)[self.number % len(STYLES)] if self.split == 'imagenet-r' else None

    @property
    def file(self) -> str:
        """The path of the image in its split's folder."""
        if self.split == 'val':
            return f'{self.wnid}/ILSVRC2012_val_{self.number:08}.JPEG'
        if self.style:
            return f'{self.wnid}/{self.style}_{(self.number - 1) % IMAGES[self.split] // len(STYLES)}.jpg'
        return f'{self.wnid}/{self.wnid}_{self.number}.JPEG'


def make_imagenet(out: str | Path, seed: int = 0, overwrite: bool = False) -> dict[str, Any]:
    """Draw mini ImageNet unless it exists.

    Args:
        out (str | Path): The folder to create. It appears only when the data set is complete.
        seed (int, optional): The same seed gives the same bytes. Defaults to 0.
        overwrite (bool, optional): Whether to replace another mini ImageNet at ``out``. Defaults to False.

    Returns:
        dict[str, Any]: ``made``, whether it was drawn now, and the numbers of ``images`` and ``classes`` of each part.

    Raises:
        DataError: ``out`` is not this mini ImageNet, or the seed is negative.
        DependencyError: imagecorruptions is not installed.
    """
    out = Path(out)
    mark = make_mark('imagenet', seed, VERSION)
    content = {'images': expected(), 'classes': {part: len(wnids) for part, wnids in WNIDS.items()}}
    if already_drawn(out, mark, read_mark(out / MARK_FILE, 'imagenet'), is_complete, overwrite):
        return {'made': False, **content}

    corruptions.load_corrupt()  # a missing package is reported before anything is drawn
    with whole_folder(out) as folder, ProcessPoolExecutor(initializer=corruptions.stay_single) as pool:
        tasks = [task for split in ('train', 'val', 'imagenet-r') for task in deal(seed, split)]
        for make, todo, title in (
            (save_image, tasks, 'drawing'),
            (save_corrupted, first_of_each_class(tasks), 'corrupting'),
        ):
            work = pool.map(partial(make, folder, seed), todo)
            for _ in tqdm(work, title, len(todo), unit=' images', leave=False):
                pass
        (folder / MARK_FILE).write_text(json.dumps(mark))
    return {'made': True, **content}


def deal(seed: int, split: str) -> list[ImageNetTask]:
    """List the images of a split, class by class; those of ``val`` are shuffled, as in ImageNet."""
    wnids = np.repeat(WNIDS[split], IMAGES[split])
    if split == 'val':
        wnids = np.random.default_rng((seed, list(IMAGES).index(split))).permutation(wnids)
    return [ImageNetTask(split, number, wnid) for number, wnid in enumerate(wnids.tolist(), 1)]


def first_of_each_class(tasks: list[ImageNetTask]) -> list[ImageNetTask]:
    """Select the validation images to corrupt: the first ones of each class."""
    return [
        task
        for wnid in WNIDS['imagenet-c']
        for task in [task for task in tasks if (task.split, task.wnid) == ('val', wnid)][: IMAGES['imagenet-c']]
    ]


def make_image(seed: int, task: ImageNetTask) -> Image.Image:
    """Draw an image."""
    rng = np.random.default_rng((seed, list(IMAGES).index(task.split), task.number))
    width, height = size = tuple(rng.integers(IMAGE_SIDES[0], IMAGE_SIDES[1] + 1, 2).tolist())
    _, draw = IMAGENET_OBJECTS[task.wnid]
    drawing = fit(rng, size, draw(rng))
    if task.style:
        return STYLES[task.style](rng, drawing, size)
    picture = background(rng, size)
    render(picture, [drawing], Light.draw(rng))
    return develop(rng, picture)


def fit(rng: np.random.Generator, size: tuple[int, int], drawing: Drawing) -> Drawing:
    """Place an object, given in its own units, so that the centre crop shows (nearly) all of it."""
    short = min(size)
    placed = place(rng, size, drawing, short)
    left, top, right, bottom = placed.outline.bounds
    factor = rng.uniform(*EXTENT) * short / max(right - left, bottom - top)
    extent = factor * np.array([right - left, bottom - top])
    room = (KEPT * short - extent) / 2 + MOST_CUT * extent
    centre = np.array(size) / 2 + rng.uniform(-room, room)
    return placed.map(lambda points: (points - ((left + right) / 2, (top + bottom) / 2)) * factor + centre)


def save_image(folder: Path, seed: int, task: ImageNetTask) -> None:
    """Draw an image and write its file."""
    save(make_image(seed, task), folder / task.split / task.file, 90)


def save_corrupted(folder: Path, seed: int, task: ImageNetTask) -> None:
    """Crop a validation image and write it with all corruptions at all severities."""
    rng = np.random.default_rng((seed, list(IMAGES).index('imagenet-c'), task.number))
    with Image.open(folder / task.split / task.file) as picture:
        clean = centre_crop(picture)
    for corruption, severity in product(CORRUPTIONS, SEVERITIES):
        corrupted = corruptions.corrupt(rng, clean, corruption, severity)
        save(corrupted, folder / 'imagenet-c' / corruption / str(severity) / task.file, 85)


def centre_crop(picture: Image.Image) -> Image.Image:
    """Cut out the middle square and scale it, as in ImageNet-C."""
    return ImageOps.fit(picture, (CORRUPTED_SIDE,) * 2, Image.Resampling.BILINEAR, bleed=(1 - KEPT) / 2)


def save(picture: Image.Image, path: Path, quality: int) -> None:
    """Write a JPEG file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=quality)


def expected() -> dict[str, int]:
    """The number of images of each part."""
    kinds = {'imagenet-c': len(CORRUPTIONS) * len(SEVERITIES)}
    return {part: len(WNIDS[part]) * number * kinds.get(part, 1) for part, number in IMAGES.items()}


def is_complete(folder: Path) -> bool:
    """Return whether all files of a mini ImageNet exist."""
    return all(len(list((folder / part).rglob('n*/*'))) == number for part, number in expected().items())
