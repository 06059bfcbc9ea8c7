"""Writing a file so that it is there as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a file to write beside the wanted one, whose place it takes when all went well.

    Args:
        path (Path): The file wanted; one that is already there is replaced, and its folder is made if need be.

    Yields:
        Path: The file to write, with the same ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.part-{path.name}')
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
