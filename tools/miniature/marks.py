"""The folder of a miniature: written completely or not at all, and marked, so that no other data is replaced."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmfasternet.errors import DataError

#: Identifies a miniature: its ``kind``, ``seed`` and ``version``.
Mark = dict[str, Any]
#: The file that holds the mark, except in mini COCO, whose annotation files hold it.
MARK_FILE = 'miniature.json'
#: The name of each kind of miniature.
NAMES = {'coco': 'mini COCO', 'dota': 'mini DOTA', 'imagenet': 'mini ImageNet'}


def make_mark(kind: str, seed: int, version: int) -> Mark:
    """Build the mark of a miniature.

    Raises:
        DataError: The seed is negative.
    """
    if seed < 0:
        raise DataError(f'the seed is {seed}; expected 0 or more')
    return {'kind': kind, 'seed': seed, 'version': version}


def read_mark(path: Path, kind: str, *keys: str) -> Mark | None:
    """Read the mark at ``keys`` in a JSON file; None if the file holds no mark of this kind."""
    try:
        mark = json.loads(path.read_text())
        for key in keys:
            mark = mark[key]
        return mark if mark.keys() == {'kind', 'seed', 'version'} and mark['kind'] == kind else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def already_drawn(
    out: Path, wanted: Mark, found: Mark | None, is_complete: Callable[[Path], bool], overwrite: bool
) -> bool:
    """Return whether the wanted miniature exists, and refuse to replace anything else.

    Args:
        out (Path): The folder of the miniature.
        wanted (Mark): The mark that it must have.
        found (Mark | None): The mark that was read from it.
        is_complete (Callable[[Path], bool]): Returns whether all files of the miniature exist.
        overwrite (bool): Whether another miniature of this kind may be replaced.

    Raises:
        DataError: ``out`` is something else, or, unless it may be replaced, a miniature with another mark or one that
            lacks files.
    """
    name = NAMES[wanted['kind']]
    if not out.exists():
        return False
    if found is None:
        raise DataError(f'{out} exists and is not a {name}, so it is not replaced; choose another folder')
    if overwrite:
        return False
    if found != wanted:
        raise DataError(
            f'{out} is a {name} of seed {found["seed"]}, version {found["version"]}; expected seed {wanted["seed"]}, '
            f'version {wanted["version"]}; choose another folder, or replace it with --overwrite'
        )
    if not is_complete(out):
        raise DataError(f'{out} is a {name} that lacks files; draw it again with --overwrite')
    return True


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes ``out``, on failure it is deleted.

    Args:
        out (Path): The final path. An existing folder is replaced.

    Yields:
        Path: The empty folder to fill, on the same disk.

    Raises:
        DataError: The parent folder is not writable.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f'.{out.name}-', dir=out.parent)
    except OSError as error:
        raise DataError(f'cannot write to {out.parent}: {error.strerror}; choose another folder') from error
    with scratch as name:
        new = Path(name, 'new')
        new.mkdir()
        yield new
        if out.exists():
            out.rename(Path(name, 'old'))
        new.rename(out)
