"""Images in folders, one folder a class, as ImageNet and its relatives come."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.resources import files
from operator import attrgetter
from pathlib import Path

from ..errors import DataError, first_few

#: Endings of the images that mmpretrain's ImageNet takes.
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
_WNID = re.compile(r'n\d{8}')
_name = attrgetter('name')


def _read_wnids(name: str) -> tuple[str, ...]:
    return tuple(files(__package__).joinpath(name).read_text().split())


#: The WordNet ids of ImageNet-1k's classes, in the order of a classifier's logits.
IMAGENET_WNIDS = _read_wnids('imagenet_wnids.txt')
#: Those 200 of them that ImageNet-R has.
IMAGENET_R_WNIDS = _read_wnids('imagenet_r_wnids.txt')


def list_class_folders(root: Path, classes: Sequence[str] = ()) -> dict[str, list[str]]:
    """List the images of each class, and see that every class has some.

    Args:
        root (Path): The folder with a folder for each class.
        classes (Sequence[str], optional): If these are wnids, the folders must have these names; if not, there must be
            as many. Defaults to ``()``: any folders.

    Returns:
        dict[str, list[str]]: The names of the images, sorted, for each folder, sorted too.

    Raises:
        DataError: A folder is missing, is not of these classes, or has no image.
    """
    if not root.is_dir():
        raise DataError(f'there is no folder {root}; expected it, with a folder for each class in it')
    with os.scandir(root) as entries:
        there = sorted(entry.name for entry in entries if entry.is_dir())
    if classes and all(map(_WNID.fullmatch, classes)):
        _check_wnids(root, there, classes)
    elif classes and len(there) != len(classes):
        raise DataError(
            f'{root} has {len(there)} folders ({first_few(there)}), but there are {len(classes)} classes '
            f'({first_few(classes)}); expected one folder a class'
        )
    images: dict[str, list[str]] = {}
    no_bytes = []
    for name in there:
        with os.scandir(root / name) as entries:
            found = sorted((entry for entry in entries if entry.name.lower().endswith(IMAGE_ENDINGS)), key=_name)
        images[name] = list(map(_name, found))
        no_bytes += [f'{name}/{entry.name}' for entry in found if not entry.stat().st_size]
    no_images = [name for name, found in images.items() if not found]
    if no_images:
        raise DataError(
            f'{root}: {len(no_images)} of {len(images)} classes have no images: {first_few(no_images)}; extract them '
            f'again. Images end in {" ".join(IMAGE_ENDINGS)}'
        )
    if no_bytes:
        raise DataError(f'{root}: {len(no_bytes)} images are empty files: {first_few(no_bytes)}; extract them again')
    return images


def _check_wnids(root: Path, there: Sequence[str], classes: Sequence[str]) -> None:
    no_wnids = [name for name in there if not _WNID.fullmatch(name)]
    if no_wnids:
        raise DataError(f'{root}: {first_few(no_wnids)} is not a WordNet id; expected folders named as {classes[0]} is')
    strangers = sorted(set(there) - set(classes))
    if strangers:
        raise DataError(
            f'{root}: {len(strangers)} folders are not among the {len(classes)} classes of the data set: '
            f'{first_few(strangers)}; take them away, or name the classes in metainfo'
        )
    missing = sorted(set(classes) - set(there))
    if missing:
        raise DataError(
            f'{root} lacks {len(missing)} of the {len(classes)} classes: {first_few(missing)}; extract it again'
        )


def check_label_file(path: Path, images: Path, classes: Sequence[str]) -> None:
    """Check that a file of lines ``folder/image.JPEG label`` agrees with the folders.

    Args:
        path (Path): The label file.
        images (Path): What its names are relative to.
        classes (Sequence[str]): The classes in the order of the labels, by the names of their folders or by others.

    Raises:
        DataError: A line is malformed, its image is not there, or its label is not that of the image's folder.
    """
    labels = {name: label for label, name in enumerate(classes)}
    listings: dict[str, set[str]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal() or (classes and int(label) >= len(classes)):
            limit = f' from 0 to {len(classes) - 1}' if classes else ''
            raise DataError(f'{path}:{number}: {line!r}; expected an image and a label{limit}')
        folder, _, file = name.rpartition('/')
        # one listing a folder: a look at each of a million files takes minutes on a network disk
        if folder not in listings:
            is_there = (images / folder).is_dir()
            listings[folder] = {path.name for path in (images / folder).iterdir()} if is_there else set()
        if file not in listings[folder]:
            raise DataError(f'{path}:{number}: {name} is not in {images}; fetch the images or the label file again')
        expected = labels.get(folder.rpartition('/')[2], int(label))
        if expected != int(label):
            raise DataError(
                f'{path}:{number}: {name} has label {label}, but its folder is class {expected}; remove the label file '
                'to take the labels from the folders'
            )
