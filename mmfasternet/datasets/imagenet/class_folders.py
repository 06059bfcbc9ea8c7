"""Read data sets with one folder per class, such as ImageNet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from ...errors import DataError, first_few

#: The suffixes of images that mmpretrain's ImageNet reads.
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
_WNID = re.compile(r'n\d{8}')
#: Folders that file managers, archives and notebooks create, besides those whose name starts with a dot.
_LEFT_BEHIND = {'__MACOSX', '__pycache__', '@eaDir', '$RECYCLE.BIN', 'System Volume Information', 'lost+found'}


def _read_wnids(name: str) -> tuple[str, ...]:
    return tuple(files(__package__).joinpath(name).read_text().split())


#: The WordNet ids of ImageNet-1k's classes, in the order of a classifier's logits.
IMAGENET_WNIDS = _read_wnids('imagenet_wnids.txt')
#: The 200 of them in ImageNet-R.
IMAGENET_R_WNIDS = _read_wnids('imagenet_r_wnids.txt')


def list_class_folders(
    root: Path, classes: Sequence[str] = (), endings: Sequence[str] = IMAGE_ENDINGS
) -> dict[str, list[str]]:
    """List the images of each class as mmpretrain does, and check that every class has images.

    Args:
        root (Path): Folder with one folder per class.
        classes (Sequence[str], optional): If these are wnids, the folders must have these names; otherwise the number
            of folders must be equal. Defaults to ``()``: any folders.
        endings (Sequence[str], optional): Suffixes of the images. Defaults to those that mmpretrain reads.

    Returns:
        dict[str, list[str]]: For each folder, sorted, the names of its images, relative to it and sorted.

    Raises:
        DataError: A folder is missing, does not belong to the classes, or has no images.
    """
    if not root.is_dir():
        raise DataError(f'the folder {root} does not exist; expected one with a folder for each class')
    there = class_folders(root)
    left_behind = list(filter(_is_left_behind, there))
    if left_behind:
        raise DataError(
            f'{root}: {first_few(left_behind)} is among the class folders; mmpretrain reads it as a class, which '
            f'shifts the labels of all others; remove it: rm -r "{root / left_behind[0]}"'
        )
    if not there:
        raise DataError(f'{root} has no folders; expected one for each class, with its images')
    if classes and all(map(_WNID.fullmatch, classes)):
        _check_wnids(root, there, classes)
    elif classes and len(there) != len(classes):
        raise DataError(
            f'{root} has {len(there)} folders ({first_few(there)}), but there are {len(classes)} classes '
            f'({first_few(classes)}); expected one folder per class'
        )
    images: dict[str, list[str]] = {}
    no_bytes = []
    for name in there:
        found = dict(_list_images(root / name, tuple(ending.lower() for ending in endings)))
        images[name] = sorted(found)
        no_bytes += [f'{name}/{file}' for file in images[name] if not found[file]]
    hidden = [f'{name}/{file}' for name, found in images.items() for file in found if '/' in file and _in_hidden(file)]
    if hidden:
        raise DataError(
            f'{root}: {len(hidden)} images are in hidden folders, which mmpretrain reads too: {first_few(hidden)}; '
            f'remove the folders: rm -r "{root / Path(hidden[0]).parent}"'
        )
    no_images = [name for name, found in images.items() if not found]
    if no_images:
        raise DataError(
            f'{root}: {len(no_images)} of {len(images)} classes have no images: {first_few(no_images)}; extract them '
            f'again. Suffixes of images are {" ".join(endings)}'
        )
    if no_bytes:
        raise DataError(f'{root}: {len(no_bytes)} images are empty files: {first_few(no_bytes)}; extract them again')
    return images


def class_folders(root: Path) -> list[str]:
    """List the names of the folders, all of which mmpretrain reads as classes, in alphabetical order."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _list_images(folder: Path, endings: tuple[str, ...], prefix: str = '') -> Iterator[tuple[str, int]]:
    """Yield the images of a folder and its subfolders, except hidden files, with their sizes in bytes."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _list_images(Path(entry.path), endings, f'{prefix}{entry.name}/')
            elif not entry.name.startswith('.') and entry.name.lower().endswith(endings) and entry.is_file():
                yield f'{prefix}{entry.name}', entry.stat().st_size


def _is_left_behind(name: str) -> bool:
    return name.startswith('.') or name in _LEFT_BEHIND


def _in_hidden(file: str) -> bool:
    return any(map(_is_left_behind, file.split('/')[:-1]))


def _check_wnids(root: Path, there: Sequence[str], classes: Sequence[str]) -> None:
    no_wnids = [name for name in there if not _WNID.fullmatch(name)]
    if no_wnids:
        raise DataError(f'{root}: {first_few(no_wnids)} is not a WordNet id; expected names such as {classes[0]}')
    strangers = sorted(set(there) - set(classes))
    if strangers:
        raise DataError(
            f'{root}: {len(strangers)} folders are not among the {len(classes)} classes of the data set: '
            f'{first_few(strangers)}; remove them, or list the classes in metainfo'
        )
    missing = sorted(set(classes) - set(there))
    if missing:
        raise DataError(
            f'{root} lacks {len(missing)} of the {len(classes)} classes: {first_few(missing)}; extract it again'
        )


def check_label_file(path: Path, images: Path, classes: Sequence[str], known: int | None = None) -> int:
    """Check that a file of lines ``folder/image.JPEG label`` agrees with the folders.

    Args:
        path (Path): The label file.
        images (Path): The folder that its names are relative to.
        classes (Sequence[str]): The classes in the order of the labels, as names of folders or other names.
        known (int, optional): How many classes the model has; used if there are no ``classes``.

    Returns:
        int: The number of images in the file.

    Raises:
        DataError: A line is malformed, its image does not exist, or its label disagrees with the image's folder.
    """
    labels = {name: label for label, name in enumerate(classes)}
    listings: dict[str, set[str]] = {}
    known = len(classes) or known
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8') from error
    except OSError as error:
        raise DataError(f'{path} cannot be read: {error.strerror}') from error
    if not lines:
        raise DataError(f'{path} is empty; expected an image and a label on each line')
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal() or (known and int(label) >= known):
            limit = f' from 0 to {known - 1}' if known else ''
            raise DataError(f'{path}:{number}: {line!r}; expected an image and a label{limit}')
        folder, _, file = name.rpartition('/')
        # one listing per folder: checking each of a million files takes minutes on a network disk
        if folder not in listings:
            is_there = (images / folder).is_dir()
            listings[folder] = {path.name for path in (images / folder).iterdir()} if is_there else set()
        if file not in listings[folder]:
            raise DataError(f'{path}:{number}: {name} is not in {images}; download the images or the label file again')
        expected = labels.get(folder.rpartition('/')[2], int(label))
        if expected != int(label):
            raise DataError(
                f'{path}:{number}: {name} has label {label}, but its folder is class {expected}; remove the label file '
                'to use the folders as labels'
            )
    return len(lines)
