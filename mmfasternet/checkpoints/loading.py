"""Read checkpoints without running anything that is written in them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import CheckpointError, DependencyError
from .formats import with_averaged_first
from .unpickling import Stub, Unpickler

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_checkpoint(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint and run nothing that is in it.

    Weights load from any file of ``torch.save``, and so does the state of a training by MMEngine. Other objects, such
    as an ``argparse.Namespace``, become a :class:`Stub` each.

    Args:
        path (str | Path): A file of ``torch.save`` or, by its suffix, of safetensors.
        map_location (Any): The device of the tensors, as in ``torch.load``. Defaults to ``'cpu'``.

    Returns:
        dict: The content of the file; a FasterNet's averaged weights under ``state_dict`` if it has both.

    Raises:
        CheckpointError: If the file does not exist, is damaged or is not a checkpoint.
        DependencyError: If it is a safetensors file and that package is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise error_in_one_line(
            f'{path} {"is a folder" if path.is_dir() else "does not exist"}; give a checkpoint file'
        )
    try:
        if path.suffix == '.safetensors':
            return _read_safetensors(path, map_location)
        with path.open('rb') as file:
            content = _read_pickle(file, path.stat().st_size, map_location)
    except DependencyError:
        raise
    except Exception as error:  # a corrupt file can raise anything
        reason = 'it ends too soon' if isinstance(error, EOFError) else str(error) or type(error).__name__
        raise error_in_one_line(
            f'{path} cannot be read: {reason}; expected a whole file of torch.save or safetensors. Get the file again'
        ) from error
    if not isinstance(content, dict):
        kind = content.name if isinstance(content, Stub) else type(content).__name__
        raise error_in_one_line(f'{path} holds a {kind}; expected a dict: a state dict or a checkpoint of it')
    if isinstance(content.get('state_dict'), Stub):
        raise error_in_one_line(f'{path}: its state_dict is {content["state_dict"]!r}; expected a dict of tensors')
    return with_averaged_first(content)


def names_not_read(content: Any) -> list[str]:
    """List the classes and functions in a checkpoint that only code of their own library could build.

    Args:
        content (Any): What :func:`read_checkpoint` returned, or a part of it.

    Returns:
        list[str]: Their full names, sorted.
    """
    names, seen, remaining = set(), set(), [content]
    while remaining:
        value = remaining.pop()
        if isinstance(value, Stub):
            names.add(value.name)
        elif isinstance(value, (Mapping, list, tuple, set, frozenset)) and id(value) not in seen:
            seen.add(id(value))
            remaining += [*value, *value.values()] if isinstance(value, Mapping) else value
    return sorted(names)


def error_in_one_line(message: str) -> CheckpointError:
    """Make the message of an error one printable line, even if a file has put other characters into it."""
    line = ' '.join(message.split())
    return CheckpointError(''.join(char if char.isprintable() else '?' for char in line))


def _read_pickle(file: BinaryIO, size: int, map_location: Any) -> Any:
    head = file.read(64)
    file.seek(0)
    if head.startswith(b'PK'):
        try:
            return _read_zip(file, size, map_location)
        except zipfile.BadZipFile as error:
            raise ValueError(f'it is damaged or cut off ({error})') from error
    if head.startswith(b'\x80'):
        return _read_legacy(file, size, map_location)
    if head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml')):
        raise ValueError('it is a web page, as servers send instead of a file that they do not have')
    raise ValueError(f'it begins with {head[:20].decode("latin1")!r}' if head else 'it is empty')


def _read_zip(file: BinaryIO, size: int, map_location: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        roots = [name.removesuffix('data.pkl') for name in names if name.endswith('/data.pkl')]
        if any(name.endswith('/constants.pkl') for name in names):
            raise ValueError('it is a TorchScript archive, which is a program; save the state_dict of its model')
        if len(roots) != 1 or len(names) != len(entries):
            raise ValueError('it is a zip archive, but not one of torch.save')
        if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
            raise ValueError('it is a compressed zip archive, which torch.save never writes')
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError('its entries overlap')
        unpickler = Unpickler(io.BytesIO(archive.read(f'{roots[0]}data.pkl')), size, map_location)
        content = unpickler.load()
        order = f'{roots[0]}byteorder'
        byteorder = archive.read(order).decode() if order in names else 'little'
        for key in unpickler.storages:
            with archive.open(f'{roots[0]}data/{key}') as data:  # compares the checksum at its end
                unpickler.fill(key, data, byteorder)
                if data.read(1):
                    raise ValueError('it has a tensor smaller than its data')
    return content


def _read_legacy(file: BinaryIO, size: int, map_location: Any) -> Any:
    """Read what PyTorch wrote before 1.6: five pickles, and the data of the tensors."""
    if Unpickler(file, size, map_location).load() != _LEGACY_MAGIC:
        raise ValueError('it is a pickle, but not one of torch.save')
    for _ in ('version', 'system'):
        Unpickler(file, size, map_location).load()
    unpickler = Unpickler(file, size, map_location)
    content = unpickler.load()
    keys = Unpickler(file, size, map_location).load()
    if set(keys) != set(unpickler.storages):
        raise ValueError('it lacks the data of its tensors')
    for key in keys:
        file.seek(8, io.SEEK_CUR)  # the number of elements, which the pickle has too
        unpickler.fill(key, file, 'little')
    return content


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    """Read the tensors and, if its metadata has the classes, as a converted file has, these where MMEngine has them."""
    try:
        from safetensors import safe_open
        from safetensors.torch import load_file
    except ImportError as error:
        raise DependencyError(f'{path} needs safetensors: pip install safetensors') from error
    tensors = load_file(path, device=str(map_location) if isinstance(map_location, (str, torch.device)) else 'cpu')
    with safe_open(path, 'pt') as file:
        metadata = file.metadata() or {}
    if 'dataset_meta' not in metadata:
        return tensors
    return dict(meta=dict(metadata, dataset_meta=json.loads(metadata['dataset_meta'])), state_dict=tensors)
