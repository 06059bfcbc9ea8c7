"""Mini DOTA: a drawn data set of aerial photographs in the raw layout of DOTA 1.0 and 1.5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmfasternet.datasets.dota.labels import CLASSES, LABEL_FOLDERS

from .aerial.overhead import Overhead, bounding_corners
from .aerial.scenes import lay_out, paint
from .aerial.ways import WAYS
from .marks import MARK_FILE, already_drawn, make_mark, read_mark, whole_folder

#: Incremented whenever the same seed gives different files.
VERSION = 1
#: The number of images of each split; as in DOTA, test images have no labels.
SPLITS = {'train': 24, 'val': 8, 'test': 2}
#: The number of times that each place is dealt to 8 images, so that each class has its share of the objects.
DECK = {
    'stadium': 14,
    'pitch': 6,
    'car park': 8,
    'depot': 6,
    'marina': 8,
    'terminal': 8,
    'apron': 8,
    'heliport': 8,
    'tank farm': 7,
    'sports club': 8,
    'ball park': 8,
    'neighbourhood': 7,
    'crossing': 5,
}
#: The numbers of places in 8 images; their sum is the size of the deck.
HANDS = (8, 10, 11, 12, 13, 14, 16, 17)
#: Shorter objects have no labels in DOTA 1.0, in pixels.
LEAST_LENGTH = 10
#: Objects without a direction are labelled with a horizontal square.
ROUND = ('roundabout', 'storage-tank')
#: The first lines of a label file: the source of the image, and the metres per pixel.
HEADER = ('imagesource:GoogleEarth', 'gsd:0.3')


class DotaTask(NamedTuple):
    """An image to draw.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        number: Counted from 1 over all splits.
        way: The way that crosses it, a key of :data:`.aerial.ways.WAYS`.
        angle: The direction of the way.
        hand: The places beside the way, keys of :data:`.aerial.places.PLACES`.
    """

    split: str
    number: int
    way: str
    angle: float
    hand: Sequence[str]


def make_dota(out: str | Path, seed: int = 0, overwrite: bool = False) -> dict[str, Any]:
    """Draw mini DOTA unless it exists.

    Args:
        out (str | Path): The folder to create. It appears only when the data set is complete.
        seed (int, optional): The same seed gives the same bytes. Defaults to 0.
        overwrite (bool, optional): Whether to replace another mini DOTA at ``out``. Defaults to False.

    Returns:
        dict[str, Any]: ``made``, whether it was drawn now, and the numbers of ``images`` and (DOTA 1.5) ``objects`` of
            each split.

    Raises:
        DataError: ``out`` is not this mini DOTA, or the seed is negative.
    """
    out = Path(out)
    mark = make_mark('dota', seed, VERSION)
    if already_drawn(out, mark, read_mark(out / MARK_FILE, 'dota'), is_complete, overwrite):
        return {'made': False, **count(out)}

    with whole_folder(out) as folder, ProcessPoolExecutor() as pool:
        for split in SPLITS:
            for name in folders(split):
                (folder / split / name).mkdir(parents=True)
        tasks = [task for split in SPLITS for task in deal(seed, split)]
        work = pool.map(partial(save_image, folder, seed), tasks)
        for _ in tqdm(work, 'drawing', len(tasks), unit=' images', leave=False):
            pass
        (folder / MARK_FILE).write_text(json.dumps(mark))
    return {'made': True, **count(out)}


def deal(seed: int, split: str) -> list[DotaTask]:
    """Deal places to the images of a split, 8 to 17 places each.

    Half of the images have a river and half an avenue, in directions that are spread evenly.
    """
    place = list(SPLITS).index(split)
    rng = np.random.default_rng((seed, place))
    shown: list[tuple[str, float, Sequence[str]]] = []
    while len(shown) < SPLITS[split]:
        cards = rng.permutation(np.repeat(list(DECK), list(DECK.values())))
        hands = np.split(cards, np.cumsum(rng.permutation(HANDS))[:-1])
        number = len(HANDS) // len(WAYS)
        ways = [(way, np.pi * (step + rng.random()) / number) for way in WAYS for step in range(number)]
        shown += [(*ways[index], hand) for index, hand in zip(rng.permutation(len(ways)), hands)]
    first = 1 + sum(list(SPLITS.values())[:place])
    return [DotaTask(split, first + index, *parts) for index, parts in enumerate(shown[: SPLITS[split]])]


def make_image(seed: int, task: DotaTask) -> tuple[Image.Image, list[Overhead]]:
    """Draw an image; return it and the objects in it that have one of DOTA's classes."""
    rng = np.random.default_rng((seed, list(SPLITS).index(task.split), task.number))
    scene = lay_out(rng, task.way, task.angle, task.hand)
    return paint(rng, scene), [thing for thing in scene.things if thing.name in CLASSES['1.5']]


def save_image(folder: Path, seed: int, task: DotaTask) -> None:
    """Draw an image and write its file and its label files."""
    image, objects = make_image(seed, task)
    name = f'P{task.number:04}'
    image.save(folder / task.split / 'images' / f'{name}.png', compress_level=1)
    for version, labels in LABEL_FOLDERS.items():
        if labels in folders(task.split):
            (folder / task.split / labels / f'{name}.txt').write_text(describe(objects, version))


def describe(objects: Sequence[Overhead], version: str) -> str:
    """Assemble the content of a label file.

    DOTA 1.0 leaves out the smallest objects and the classes that were added later.
    """
    lines = [*HEADER]
    for thing in objects:
        if thing.name not in CLASSES[version] or (version == '1.0' and thing.length < LEAST_LENGTH):
            continue
        corners = bounding_corners(thing.outline) if thing.name in ROUND else thing.corners
        numbers = ' '.join(f'{value:.1f}' for value in corners.ravel())
        lines.append(f'{numbers} {thing.name} {thing.difficult:d}')
    return '\n'.join(lines) + '\n'


def folders(split: str) -> tuple[str, ...]:
    """List the folders of a split."""
    return ('images',) if split == 'test' else ('images', *LABEL_FOLDERS.values())


def is_complete(folder: Path) -> bool:
    """Return whether all files of a mini DOTA exist."""
    return all(
        len(list((folder / split / name).glob('P*'))) == number
        for split, number in SPLITS.items()
        for name in folders(split)
    )


def count(folder: Path) -> dict[str, dict[str, int]]:
    """Count the images and labelled objects of each split of a mini DOTA."""
    labels = {split: list((folder / split / LABEL_FOLDERS['1.5']).glob('*.txt')) for split in SPLITS}
    return {
        'images': dict(SPLITS),
        'objects': {
            split: sum(len(path.read_text().splitlines()) - len(HEADER) for path in paths)
            for split, paths in labels.items()
        },
    }
