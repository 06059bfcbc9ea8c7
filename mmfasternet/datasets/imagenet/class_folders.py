"""Images in folders, one folder a class, as ImageNet and its relatives come."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from ...errors import DataError, first_few

#: Endings of the images that mmpretrain's ImageNet takes.
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
_WNID = re.compile(r'n\d{8}')
#: Folders that file managers, archives and notebooks leave behind, besides those whose name starts with a dot.
_LEFT_BEHIND = {'__MACOSX', '__pycache__', '@eaDir', '$RECYCLE.BIN', 'System Volume Information', 'lost+found'}


def _read_wnids(name: str) -> tuple[str, ...]:
    return tuple(files(__package__).joinpath(name).read_text().split())


#: The WordNet ids of ImageNet-1k's classes, in the order of a classifier's logits.
IMAGENET_WNIDS = _read_wnids('imagenet_wnids.txt')
#: Those 200 of them that ImageNet-R has.
IMAGENET_R_WNIDS = _read_wnids('imagenet_r_wnids.txt')


def list_class_folders(
    root: Path, classes: Sequence[str] = (), endings: Sequence[str] = IMAGE_ENDINGS
) -> dict[str, list[str]]:
    """List the images of each class as mmpretrain does, and see that every class has some.

    Args:
        root (Path): The folder with a folder for each class.
        classes (Sequence[str], optional): If these are wnids, the folders must have these names; if not, there must be
            as many. Defaults to ``()``: any folders.
        endings (Sequence[str], optional): Of the images. Defaults to those that mmpretrain takes.

    Returns:
        dict[str, list[str]]: The names of the images, relative to their folder and sorted, for each folder, sorted too.

    Raises:
        DataError: A folder is missing, is not of these classes, or has no image.
    """
    if not root.is_dir():
        raise DataError(f'there is no folder {root}; expected it, with a folder for each class in it')
    there = class_folders(root)
    left_behind = list(filter(_is_left_behind, there))
    if left_behind:
        raise DataError(
            f'{root}: {first_few(left_behind)} is among the class folders; mmpretrain takes it as a class, which '
            f'shifts the labels of all others: remove it, rm -r "{root / left_behind[0]}"'
        )
    if not there:
        raise DataError(f'{root} has no folders; expected one for each class, with its images in it')
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
        found = dict(_list_images(root / name, tuple(ending.lower() for ending in endings)))
        images[name] = sorted(found)
        no_bytes += [f'{name}/{file}' for file in images[name] if not found[file]]
    hidden = [f'{name}/{file}' for name, found in images.items() for file in found if '/' in file and _in_hidden(file)]
    if hidden:
        raise DataError(
            f'{root}: {len(hidden)} images are in hidden folders, which mmpretrain reads too: {first_few(hidden)}; '
            f'remove the folders, rm -r "{root / Path(hidden[0]).parent}"'
        )
    no_images = [name for name, found in images.items() if not found]
    if no_images:
        raise DataError(
            f'{root}: {len(no_images)} of {len(images)} classes have no images: {first_few(no_images)}; extract them '
            f'again. Images end in {" ".join(endings)}'
        )
    if no_bytes:
        raise DataError(f'{root}: {len(no_bytes)} images are empty files: {first_few(no_bytes)}; extract them again')
    return images


def class_folders(root: Path) -> list[str]:
    """List the folders that mmpretrain takes as classes: all of them, in alphabetical order.

    Args:
        root (Path): The folder with a folder for each class.

    Returns:
        list[str]: Their names.
    """
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _list_images(folder: Path, endings: tuple[str, ...], prefix: str = '') -> Iterator[tuple[str, int]]:
    """Give the images of a folder and of all folders in it, with their sizes in bytes; no hidden files."""
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


def check_label_file(path: Path, images: Path, classes: Sequence[str], known: int | None = None) -> int:
    """Check that a file of lines ``folder/image.JPEG label`` agrees with the folders.

    Args:
        path (Path): The label file.
        images (Path): What its names are relative to.
        classes (Sequence[str]): The classes in the order of the labels, by the names of their folders or by others.
        known (int, optional): How many classes the model knows, which counts where there are no ``classes``.

    Returns:
        int: How many images it names.

    Raises:
        DataError: A line is malformed, its image is not there, or its label is not that of the image's folder.
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
        raise DataError(f'{path} is empty; expected lines of an image and a label')
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ')
        if not name or not label.isdecimal() or (known and int(label) >= known):
            limit = f' from 0 to {known - 1}' if known else ''
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
    return len(lines)
