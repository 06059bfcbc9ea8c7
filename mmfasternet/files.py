"""Writing a file so that it is there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How the names of files start that are being written.
DRAFT = '.part-'


@contextmanager
def whole_file(path: Path, sync: bool = False) -> Iterator[Path]:
    """Give a file to write beside the wanted one, whose place it takes when all went well.

    Args:
        path (Path): The file wanted; one that is already there is replaced, and its folder is made if need be.
        sync (bool): Whether to wait until it is on the disk, so that it outlives a power cut too. Defaults to False.

    Yields:
        Path: The file to write, with the same ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'{DRAFT}{path.name}')
    try:
        yield draft
        if sync:
            _sync(draft)
        draft.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
