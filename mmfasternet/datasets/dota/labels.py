"""Classes of DOTA, and its label files: one text file per image, one line per object.

The format is described at https://captain-whu.github.io/DOTA/dataset.html.
"""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import DependencyError

try:
    import shapely
except ImportError as error:
    raise DependencyError("DOTA's labels need shapely, which is missing: pip install 'mmfasternet[dota]'") from error

_CLASSES_1_0 = (
    'plane', 'baseball-diamond', 'bridge', 'ground-track-field', 'small-vehicle', 'large-vehicle', 'ship',
    'tennis-court', 'basketball-court', 'storage-tank', 'soccer-ball-field', 'roundabout', 'harbor', 'swimming-pool',
    'helicopter',
)  # fmt: skip
#: The classes of each version of DOTA, in mmrotate's order.
CLASSES: dict[str, tuple[str, ...]] = {'1.0': _CLASSES_1_0, '1.5': (*_CLASSES_1_0, 'container-crane')}
#: The folder of label files of each version, beside ``images``.
LABEL_FOLDERS = {'1.0': 'labelTxt', '1.5': 'labelTxt-v1.5'}
#: The prefixes of header lines, which describe the image and are optional.
HEADERS = ('imagesource:', 'gsd:')
#: The largest absolute coordinate in pixels; float32 distinguishes neighbouring pixels up to here.
LARGEST = 2.0**24
#: The smallest area of an object in square pixels.
LEAST_AREA = 1e-6
#: The fault of an object with a smaller area.
NO_AREA_FAULT = 'the quadrilateral has no area, or its sides cross'


class DotaObject(NamedTuple):
    """A line of a label file.

    Attributes:
        corners: x1, y1, x2, y2, x3, y3, x4, y4 of a quadrilateral, in pixels of the image.
        name: Name of the class.
        difficulty: 0 is easy, 1 is difficult.
        line: The number of the line, from 1.
    """

    corners: tuple[float, ...]
    name: str
    difficulty: int
    line: int


class Fault(NamedTuple):
    """Why a file or a line of it cannot be used.

    Attributes:
        path: The file.
        line: The number of the line, from 1; None for the whole file.
        message: The reason.
    """

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f'{self.path}: {self.message}' if self.line is None else f'{self.path}:{self.line}: {self.message}'


def read_labels(path: str | Path, classes: tuple[str, ...]) -> tuple[list[DotaObject], list[Fault]]:
    """Read a label file; malformed lines are left out and returned as faults.

    After the optional header lines ``imagesource:...`` and ``gsd:...``, each line is
    ``x1 y1 x2 y2 x3 y3 x4 y4 class [difficulty]``.

    Args:
        path (str | Path): The file.
        classes (tuple[str, ...]): The classes that may occur.

    Returns:
        tuple[list[DotaObject], list[Fault]]: The objects and the faults, in the order of the lines. A file without
        objects is not a fault.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').split('\n')
    except UnicodeDecodeError as error:
        return [], [Fault(str(path), None, f'is not text in UTF-8 (byte {error.start}); download the file again')]
    except OSError as error:
        return [], [Fault(str(path), None, f'cannot be read: {error.strerror}')]
    objects: list[DotaObject] = []
    faults: list[Fault] = []
    is_header = True
    for number, line in enumerate(lines, start=1):
        is_header = is_header and (not line.strip() or line.strip().startswith(HEADERS))
        if is_header or not line.strip():
            continue
        try:
            objects.append(_parse(line, number, classes))
        except ValueError as error:
            faults.append(Fault(str(path), number, str(error)))
    # tiles are cut in float32, in which a tiny object can lose its area
    corners = np.array([item.corners for item in objects], dtype=np.float32)
    quadrilaterals = shapely.polygons(corners.reshape(-1, 4, 2))
    are_sound = shapely.is_valid(quadrilaterals) & (shapely.area(quadrilaterals) >= LEAST_AREA)
    for item in itertools.compress(objects, ~are_sound):
        faults.append(Fault(str(path), item.line, NO_AREA_FAULT))
    return list(itertools.compress(objects, are_sound)), sorted(faults, key=lambda fault: fault.line)


def _parse(line: str, number: int, classes: tuple[str, ...]) -> DotaObject:
    """Parse the line of an object; raise a ValueError with the fault of a malformed line."""
    fields = line.split()
    if len(fields) not in (9, 10):
        raise ValueError(f'{len(fields)} fields; expected 8 numbers, a class and an optional difficulty')
    *texts, name = fields[:9]
    corners = tuple(map(_parse_coordinate, texts))
    if name not in classes:
        close = difflib.get_close_matches(name, classes, n=1)
        raise ValueError(
            f'unknown class {name!r}; ' + (f'is it {close[0]}?' if close else f'expected one of {", ".join(classes)}')
        )
    difficulty = fields[9] if len(fields) == 10 else '0'
    if not (difficulty.isascii() and difficulty.isdigit()):
        raise ValueError(f'difficulty {difficulty!r}; expected an integer of at least 0')
    return DotaObject(corners, name, int(difficulty), number)


def _parse_coordinate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f'{text!r} is not a number; expected 8 numbers, a class and an optional difficulty') from None
    # also false for NaN
    if not abs(value) <= LARGEST:
        raise ValueError(f'coordinate {text}; expected pixels from -{LARGEST:.0f} to {LARGEST:.0f}')
    return value
