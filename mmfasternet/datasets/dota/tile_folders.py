"""Read the folders of DOTA's tiles as mmrotate does: ``images``, and ``annfiles`` with a label file for each tile."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import DataError
from ...installation import tool
from ..findings import Kind

#: How to create these folders.
HINT = f'cut the images of DOTA into tiles: `{tool("split_dota")} --help`'
MALFORMED_LINE = Kind('malformed_line', 'error', 'malformed lines', 'training stops, or learns wrong objects')


def list_tiles(folder: Path, suffix: str = 'png') -> list[str]:
    """List the tiles that mmrotate finds in a folder.

    Args:
        folder (Path): The folder.
        suffix (str): Suffix of tiles, the data set's ``img_suffix``. Defaults to ``'png'``.

    Returns:
        list[str]: Their names, sorted.

    Raises:
        DataError: The folder does not exist, or has no tiles.
    """
    if not folder.is_dir():
        raise DataError(f'the folder of tiles {folder} does not exist; {HINT}')
    names = sorted(path.name for path in folder.glob(f'[!.]*.{suffix}'))
    if not names:
        raise DataError(f'{folder} has no tiles (files that end in .{suffix}); {HINT}')
    return names


def list_label_files(folder: Path) -> list[Path]:
    """List the label files that mmrotate finds in a folder.

    Args:
        folder (Path): The folder.

    Returns:
        list[Path]: The files, sorted.

    Raises:
        DataError: The folder has none.
    """
    # as in mmrotate, which treats brackets in the name of a folder as a pattern
    files = sorted(map(Path, glob.glob(f'{folder}/*.txt')))  # noqa: PTH207
    if not files:
        brackets = '; mmrotate treats the [ in its name as a pattern, rename it' if '[' in str(folder) else ''
        raise DataError(f'{folder} has no label files{brackets or f"; {HINT}"}')
    return files


class TileLabels(NamedTuple):
    """Content of the label file of a tile.

    Attributes:
        difficulties: Difficulty of each object.
        faults: For each line that mmrotate cannot read, its number from 1, or None for the whole file, and the reason.
    """

    difficulties: list[int]
    faults: list[tuple[int | None, str]]


def read_tile_labels(label_file: Path, classes: Sequence[str]) -> TileLabels:
    """Read the label file of a tile as mmrotate does; unlike raw labels, it has no header lines.

    Args:
        label_file (Path): The label file.
        classes (Sequence[str]): The classes of the config.

    Returns:
        TileLabels: Its content.
    """
    labels = TileLabels([], [])
    labels.faults.extend(_read_lines(label_file, classes, labels.difficulties))
    return labels


def malformed_lines(label_file: Path, classes: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    """Find the lines of a tile's label file that mmrotate cannot read.

    Args:
        label_file (Path): The label file.
        classes (Sequence[str]): The classes of the config.

    Yields:
        tuple[int | None, str]: The number of the line, from 1, or None for the whole file, and the reason.
    """
    yield from read_tile_labels(label_file, classes).faults


def _read_lines(label_file: Path, classes: Sequence[str], difficulties: list[int]) -> Iterator[tuple[int | None, str]]:
    try:
        with label_file.open(encoding='utf-8') as lines:
            for number, line in enumerate(lines, start=1):
                fields = line.split()
                if len(fields) != 10:
                    yield number, f'{len(fields)} fields, expected 10; {HINT}'
                elif fields[8] not in classes:
                    yield (
                        number,
                        f'{fields[8]!r} is not among the {len(classes)} classes of the config. Use the config for '
                        'this version of DOTA, or set the classes in metainfo',
                    )
                elif fault := _number_fault(fields):
                    yield number, fault
                else:
                    difficulties.append(int(fields[9]))
    except UnicodeDecodeError as error:
        yield None, f'is not text in UTF-8 (byte {error.start}); {HINT}'
    except OSError as error:
        yield None, f'cannot be read: {error.strerror}'


def _number_fault(fields: Sequence[str]) -> str:
    for kind, values, fault in (
        (float, fields[:8], '{!r} is not a number'),
        (int, fields[9:], 'difficulty {!r}; expected an integer'),
    ):
        for value in values:
            try:
                kind(value)
            except ValueError:
                return fault.format(value)
    return ''
