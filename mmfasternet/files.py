"""Writing a file so that it is there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from .errors import ConfigError

#: Bytes that a check writes: a full disk takes an empty file.
PROBE = 4096
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


def check_writable(path: Path, setting: str, is_folder: bool = False) -> None:
    """Check that a file can be written, before time goes into what will be in it. Leaves nothing behind.

    Args:
        path (Path): The file; it may exist, and its folder need not.
        setting (str): The option that names it, for the message.
        is_folder (bool): Whether it is a folder for several files instead. Defaults to False.

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
            with suppress(OSError):  # not made, or another process has put something there
                parent.rmdir()


@contextmanager
def write_faults(path: Path, setting: str) -> Iterator[None]:
    """Report in one line what prevents writing: a disk that is full by now, or a folder that is gone.

    Args:
        path (Path): The file or folder that is written.
        setting (str): The option that names it, for the message.

    Yields:
        None: Within, OSErrors become errors of the user.

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
    return ConfigError(f'{setting} {path} cannot be written: {reason}; make room, allow it, or choose another path')


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
