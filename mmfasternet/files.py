"""Write a file completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from .errors import ConfigError

#: How many bytes a check writes; even a full disk can store an empty file.
PROBE = 4096
#: The prefix of files that are being written.
DRAFT = '.part-'


@contextmanager
def whole_file(path: Path, sync: bool = False) -> Iterator[Path]:
    """Give a draft to write in the same folder, which replaces the file if no error occurs.

    Args:
        path (Path): The file. An existing file is replaced; a missing folder is created.
        sync (bool): Wait until the file is on the disk, so that it survives a power failure. Defaults to False.

    Yields:
        Path: The draft, with the same suffix.
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


def check_writable(path: Path, setting: str, is_folder: bool = False) -> None:
    """Check that a file can be written, before its content is computed. Leaves no file or folder behind.

    Args:
        path (Path): The file. Neither the file nor its folder has to exist.
        setting (str): The option that names it, for the message.
        is_folder (bool): Whether the path is a folder for several files. Defaults to False.

    Raises:
        ConfigError: It cannot be written.
    """
    folder = path if is_folder else path.parent
    made: list[Path] = []
    try:
        if path.is_dir() and not is_folder:
            raise ConfigError(f'{setting} {path} is a folder; expected a file, choose another path')
        made += [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(prefix=DRAFT, dir=folder) as probe:
            probe.write(bytes(PROBE))
    except OSError as error:
        raise _cannot_write(path, setting, error) from error
    finally:
        for parent in made:
            with suppress(OSError):  # it was not created, or another process has put a file into it
                parent.rmdir()


@contextmanager
def write_faults(path: Path, setting: str) -> Iterator[None]:
    """Report an OSError while writing, such as a full disk or a removed folder, in one line.

    Args:
        path (Path): The file or folder that is written.
        setting (str): The option that names it, for the message.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, setting, error) from error


def _cannot_write(path: Path, setting: str, error: OSError) -> ConfigError:
    reason = error.strerror or str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        blocking = next((part for part in (path, *path.parents) if os.path.lexists(part) and not part.is_dir()), path)
        reason = f'{blocking} exists and is not a folder'
    return ConfigError(
        f'{setting} {path} cannot be written: {reason}; make room, change permissions, or choose another path'
    )


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
