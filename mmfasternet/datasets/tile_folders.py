"""Tiles of DOTA in the folders that mmrotate reads: ``images``, and ``annfiles`` with a label file for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import DataError

#: What to do where they are not right.
HINT = 'cut the images of DOTA into tiles: `python tools/split_dota.py --help`'


def list_tiles(folder: Path, suffix: str = 'png') -> list[str]:
    """List the tiles that mmrotate finds in a folder.

    Args:
        folder (Path): The folder.
        suffix (str): The ending of tiles, the data set's ``img_suffix``. Defaults to ``'png'``.

    Returns:
        list[str]: Their names, sorted.

    Raises:
        DataError: There is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise DataError(f'the folder of tiles {folder} is not there; {HINT}')
    names = sorted(path.name for path in folder.glob(f'[!.]*.{suffix}'))
    if not names:
        raise DataError(f'{folder} has no tiles, files that end in .{suffix}; {HINT}')
    return names


def list_label_files(folder: Path) -> list[Path]:
    """List the label files that mmrotate finds in a folder.

    Args:
        folder (Path): The folder.

    Returns:
        list[Path]: The files, sorted.

    Raises:
        DataError: There is none.
    """
    files = sorted(folder.glob('[!.]*.txt'))
    if not files:
        raise DataError(f'{folder} has no label files; {HINT}')
    return files


def malformed_lines(label_file: Path, classes: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    """Find the lines that mmrotate stops at, as far as their fields tell: unlike raw labels, a tile's have no headers.

    Args:
        label_file (Path): The label file.
        classes (Sequence[str]): The classes of the config.

    Yields:
        tuple[int | None, str]: The number of the line, from 1, or None for the whole file, and what is wrong.
    """
    try:
        with label_file.open(encoding='utf-8') as lines:
            for number, line in enumerate(lines, start=1):
                fields = line.split()
                if len(fields) != 10:
                    yield number, f'{len(fields)} fields, expected 10; {HINT}'
                elif fields[8] not in classes:
                    yield (
                        number,
                        f'{fields[8]!r} is not among the {len(classes)} classes of the config. Take the config for '
                        'this version of DOTA, or name the classes in metainfo',
                    )
    except UnicodeDecodeError as error:
        yield None, f'is not text in UTF-8 (byte {error.start}); {HINT}'
    except OSError as error:
        yield None, f'cannot be read: {error.strerror}'
