"""Writing a folder so that it is there as a whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import DataError


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which takes its place when all went well and vanishes when not.

    Args:
        out (Path): Where the folder is to be; one that is already there is replaced.

    Yields:
        Path: The empty folder to fill, on the same disk.

    Raises:
        DataError: Nothing can be written there.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f'.{out.name}-', dir=out.parent)
    except OSError as error:
        raise DataError(f'cannot write to {out.parent}: {error.strerror}; name another folder') from error
    with scratch as name:
        new = Path(name, 'new')
        new.mkdir()
        yield new
        if out.exists():
            out.rename(Path(name, 'old'))
        new.rename(out)
