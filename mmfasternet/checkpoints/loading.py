"""Read checkpoints without running anything that is written in them.

A checkpoint is a pickle, and a pickle is a program. Importing this package has every file that MMEngine reads pass two
doors: an inspection that runs nothing and holds names, calls and sizes against a list of what MMEngine writes, and then
``torch.load(weights_only=True)`` with that list alone. What needs more is refused, except the one file that the
environment variable ``MMFASTERNET_TRUST`` names.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.config import ConfigDict
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import CheckpointError, DependencyError, first_few
from .download import fetch
from .formats import with_averaged_first

#: Names the one file that is read even if reading it runs code.
TRUST = 'MMFASTERNET_TRUST'

_HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_ONE_CYCLE = 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'
_CONFIG = 'mmengine.config.config.ConfigDict'
#: Functions that MMEngine writes as ``getattr(class, name)``, pickle's way of old to name what is inside a class.
_METHODS: dict[tuple[str, str], Callable] = {
    **{(_HISTORY, name): getattr(HistoryBuffer, name) for name in ('min', 'max', 'current', 'mean')},
    **{(_ONE_CYCLE, name): getattr(OneCycleParamScheduler, name) for name in ('_annealing_cos', '_annealing_linear')},
}
_HISTORY_STATE = {'max_length', '_log_history', '_count_history', 'statistics_methods'}
_NUMBER = re.compile(r'b1|[iufc]\d{1,2}')
_STORAGE = re.compile(r'torch\.(storage\.)?\w+Storage')
_DTYPE = re.compile(r'torch\.(bool|b?float\w+|u?int\d+|complex\d+|half|double|long)')
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5


_NOT_PLAIN = 'which is none of the plain types that MMEngine writes'


class _Refusal(Exception):
    """A pickle asks for something that is not on the list."""


class _Inert:
    """What stands in for a named class or function while a pickle is inspected: takes everything, does nothing."""

    name = ''

    def __new__(cls, *args: Any) -> Any:
        if not _may_call(cls.name, args):
            shown = ', '.join(repr(arg)[:40] for arg in args if isinstance(arg, (str, int)))
            raise _Refusal(f'needs {cls.name}({shown}), {_NOT_PLAIN}')
        if cls.name == '_codecs.encode':
            return args[0].encode('latin1')
        self = super().__new__(cls)
        self.args = args
        return self

    def __setstate__(self, state: Any) -> None:
        if not _may_take(self.name, state):
            raise _Refusal(f'needs {self.name} in an unknown state, {_NOT_PLAIN}')

    def __setitem__(self, key: Any, value: Any) -> None:
        """Dicts that are not of the built-in type are filled so."""


def _is(value: Any, *names: str) -> bool:
    return isinstance(value, _Inert) and value.name in names


def _is_name(value: Any, *names: str) -> bool:
    return isinstance(value, type) and issubclass(value, _Inert) and value.name in names


def _may_call(name: str, args: tuple) -> bool:
    """Hold a call against what torch, numpy and MMEngine write; the rest could fill the memory or upset numpy."""
    if name == '_codecs.encode':  # other codecs than this one turn few bytes into many
        return len(args) == 2 and isinstance(args[0], str) and args[1] == 'latin1'
    if name == 'builtins.getattr':
        return len(args) == 2 and isinstance(args[1], str) and (getattr(args[0], 'name', ''), args[1]) in _METHODS
    if name.endswith('multiarray._reconstruct'):
        return len(args) == 3 and _is_name(args[0], 'numpy.ndarray') and args[1:] == ((0,), b'b')
    if name.endswith('multiarray.scalar'):
        return len(args) == 2 and _is(args[0], 'numpy.dtype') and isinstance(args[1], bytes)
    if name == 'numpy.dtype':
        return len(args) == 3 and isinstance(args[0], str) and bool(_NUMBER.fullmatch(args[0]))
    if name.startswith('torch._utils._rebuild_tensor'):  # torch makes a storage larger that is too small
        storage, offset, size, stride = args[:4]
        return 0 in size or offset + sum((n - 1) * step for n, step in zip(size, stride)) < storage.args[0]
    if name == _HISTORY:
        return not args
    return name != 'numpy.ndarray' and name != _ONE_CYCLE and not _STORAGE.fullmatch(name)


def _may_take(name: str, state: Any) -> bool:
    """Hold the state that an object is given against what numpy and MMEngine write."""
    if name == 'numpy.dtype':  # numpy believes the other fields and takes bytes for pointers if they say so
        return state[1] in ('<', '>', '|', '=') and state[2:] == (None, None, None, -1, -1, 0)
    if name.endswith('multiarray._reconstruct'):
        return len(state) == 5 and _is(state[2], 'numpy.dtype') and isinstance(state[4], bytes)
    if name == _HISTORY:
        arrays = (value for key, value in state.items() if key.endswith('_history'))
        methods = state.get('statistics_methods', {})
        return (
            state.keys() <= _HISTORY_STATE
            and all(_is(array, *_names_in_numpy('_reconstruct')) for array in arrays)
            # these replace the methods of the class, for all that come after
            and all(_is(method, 'builtins.getattr') and method.args[1] == key for key, method in methods.items())
        )
    return name in ('collections.OrderedDict', _CONFIG)


def _names_in_numpy(name: str) -> list[str]:
    return [f'numpy.{core}.multiarray.{name}' for core in ('core', '_core')]


_NAMES = {
    'builtins.getattr',
    'builtins.set',
    'collections.Counter',
    'collections.OrderedDict',
    '_codecs.encode',
    'torch.Size',
    'torch.device',
    'torch._utils._rebuild_parameter',
    'torch._utils._rebuild_parameter_with_state',
    'torch._utils._rebuild_tensor',
    'torch._utils._rebuild_tensor_v2',
    'torch._utils._rebuild_tensor_v3',
    'numpy.dtype',
    'numpy.ndarray',
    *_names_in_numpy('_reconstruct'),
    *_names_in_numpy('scalar'),
    _CONFIG,
    _HISTORY,
    _ONE_CYCLE,
}


class _Inspector(pickle._Unpickler):  # the one in C reserves as much memory as a file asks for
    """Walks through a pickle with inert stand-ins for all that it names."""

    def __init__(self, file: BinaryIO, file_size: int) -> None:
        super().__init__(file)
        self.file, self.file_size = file, file_size
        self.stand_ins: dict[str, type[_Inert]] = {}

    def find_class(self, module: str, name: str) -> type[_Inert]:
        # names of Python 2, which torch.save writes
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f'{module}.{name}'
        if full not in _NAMES and not _STORAGE.fullmatch(full) and not _DTYPE.fullmatch(full):
            if self.proto < 4 and not self.file.read(1):
                raise EOFError  # half a name is no other type
            raise _Refusal(f'needs {full}, {_NOT_PLAIN}')
        return self.stand_ins.setdefault(full, type('stand-in', (_Inert,), {'name': full}))

    def persistent_load(self, pid: Any) -> _Inert:
        kind, storage, _, _, count = pid[:5]
        if kind != 'storage' or not _STORAGE.fullmatch(storage.name) or not 0 <= count <= self.file_size:
            raise ValueError('it has a tensor larger than the file')
        stand_in = object.__new__(_Inert)
        stand_in.args = (count,)
        return stand_in


def _inspect_zip(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        pickles = [entry for entry in entries if entry.filename.endswith('/data.pkl')]
        if len(pickles) != 1 or len({entry.filename for entry in entries}) != len(entries):
            raise ValueError('it is a zip archive, but not one of torch.save')
        if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
            raise ValueError('it is a compressed zip archive, which torch.save never writes')
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError('its entries overlap')
        with archive.open(pickles[0]) as data:
            _Inspector(data, size).load()
        damaged = archive.testzip()
        if damaged:  # torch itself does not look
            raise ValueError(f'the checksum of {damaged} does not match: it was changed on the way')


def _inspect(file: BinaryIO, size: int) -> None:
    """Refuse a file that is not what ``torch.save`` writes, whole, of the types on the list."""
    head = file.read(64)
    file.seek(0)
    if head.startswith(b'PK'):
        try:
            _inspect_zip(file, size)
        except zipfile.BadZipFile as error:
            raise ValueError(f'it is damaged or cut off ({error})') from error
    elif head.startswith(b'\x80'):
        for index in range(_LEGACY_PICKLES):
            read = _Inspector(file, size).load()
            if index == 0 and read != _LEGACY_MAGIC:
                raise ValueError('it is a pickle, but not one of torch.save')
    else:
        raise ValueError(_what_it_looks_like(head))


def _what_it_looks_like(head: bytes) -> str:
    if not head:
        return 'it is empty'
    if head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'it is a web page, as servers send instead of a file that they do not have'
    text = head.decode('latin1')
    return (
        f'it begins with {text[:20]!r}'
        if text.isascii() and not text.startswith('\0')
        else 'it is neither a zip archive nor a pickle'
    )


class _ReadConfigDict:
    """Reads a ConfigDict as MMEngine writes it since 0.8, and before that, when it was filled item by item."""

    def __new__(cls, *args: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], dict):
            return ConfigDict(args[0])
        return OrderedDict(args)  # torch fills only the dicts that it knows


def _read_method(owner: Any, name: str) -> Callable:
    """Stand in for ``getattr`` and give only what MMEngine asks of it."""
    return _METHODS[_HISTORY if owner is HistoryBuffer else owner, name]


def _safe_globals() -> list[Any]:
    """List what ``torch.load`` may use beside torch's own."""
    import numpy as np

    reconstruct, scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    return [
        HistoryBuffer,
        (_ONE_CYCLE, _ONE_CYCLE),  # its name is all that is needed
        (_ReadConfigDict, _CONFIG),
        (_read_method, 'builtins.getattr'),
        *((reconstruct, name) for name in _names_in_numpy('_reconstruct')),
        *((scalar, name) for name in _names_in_numpy('scalar')),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?'},
    ]


def read_checkpoint(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read a checkpoint and run nothing that is in it.

    Args:
        path (str | Path): A file of ``torch.save`` or, by its ending, of safetensors.
        map_location (Any): Where the tensors go, as in ``torch.load``. Defaults to ``'cpu'``.

    Returns:
        dict: What the file holds; a FasterNet's averaged weights under ``state_dict`` if it has both.

    Raises:
        CheckpointError: If there is no such file, if it is damaged or no checkpoint, or if it needs a type beyond
            those that MMEngine writes and ``MMFASTERNET_TRUST`` does not name it.
        DependencyError: If it is of safetensors and that is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise _error(f'{path} {"is a folder" if path.is_dir() else "does not exist"}; give a checkpoint file')
    try:
        if path.suffix == '.safetensors':
            return _read_safetensors(path, map_location)
        checkpoint = _read_pickle(path, map_location)
    except DependencyError:
        raise
    except _Refusal as refusal:
        raise _error(
            f'{path} {refusal}; reading it could run code, so it was not read. '
            f'If you trust who wrote it, set {TRUST}={path}'
        ) from refusal
    except Exception as error:  # whatever a damaged file makes of the readers
        reason = 'it ends too soon' if isinstance(error, EOFError) else str(error) or type(error).__name__
        raise _error(
            f'{path} cannot be read: {reason}; expected a whole file of torch.save or safetensors. Get the file again'
        ) from error
    if not isinstance(checkpoint, dict):
        raise _error(f'{path} holds a {type(checkpoint).__name__}; expected a dict: a state dict or a checkpoint of it')
    return with_averaged_first(checkpoint)


def _error(message: str) -> CheckpointError:
    """Make the error's message one printable line, whatever the file has put into it."""
    line = ' '.join(message.split())
    return CheckpointError(''.join(char if char.isprintable() else '?' for char in line))


def _read_pickle(path: Path, map_location: Any) -> Any:
    if os.environ.get(TRUST) and Path(os.environ[TRUST]).expanduser().resolve() == path.resolve():
        print_log(f'{path} is read with all the code in it, as {TRUST} says', 'current', logging.WARNING)
        return torch.load(path, map_location=map_location, weights_only=False)
    with path.open('rb') as file:
        _inspect(file, path.stat().st_size)
    # leaving the context takes away what it gave, even what a user had given before
    ours = set(_safe_globals()) - set(torch.serialization.get_safe_globals())
    try:
        with torch.serialization.safe_globals(list(ours)):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).rpartition('WeightsUnpickler error:')[2].strip().partition('\n')[0]
        raise _Refusal(f'is not in the form that torch reads safely ({reason})') from error


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


@CheckpointLoader.register_scheme('', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local file for MMEngine: :func:`read_checkpoint` with its arguments."""
    return read_checkpoint(filename, map_location)


@CheckpointLoader.register_scheme(('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: Any = None, model_dir: str | None = None, progress: bool = True) -> Any:
    """Fetch a file to torch's cache, unless it is there, and read it."""
    return read_checkpoint(fetch(filename, model_dir, progress), map_location)


@CheckpointLoader.register_scheme(('modelzoo://', 'torchvision://'), force=True)
def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Read what ``torchvision://name`` stands for."""
    return load_from_http(_look_up(filename, mmengine_checkpoint.get_torchvision_models()), map_location)


@CheckpointLoader.register_scheme(('open-mmlab://', 'openmmlab://'), force=True)
def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Read what ``open-mmlab://name`` stands for."""
    models, renamed = mmengine_checkpoint.get_external_models(), mmengine_checkpoint.get_deprecated_model_names()
    models |= {old: models[new] for old, new in renamed.items() if new in models}
    place = _look_up(filename, models)
    if place.startswith(('http://', 'https://')):
        return load_from_http(place, map_location)
    return read_checkpoint(Path(mmengine_checkpoint._get_mmengine_home(), place), map_location)


@CheckpointLoader.register_scheme('mmcls://', force=True)
def load_from_mmcls(filename: str, map_location: Any = None) -> Any:
    """Read the backbone of what ``mmcls://name`` stands for."""
    checkpoint = load_from_http(_look_up(filename, mmengine_checkpoint.get_mmcls_models()), map_location)
    state_dict = checkpoint.get('state_dict', checkpoint)
    prefix = 'backbone.'
    tensors = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    return dict(state_dict=OrderedDict(tensors))


@CheckpointLoader.register_scheme((r'(\S+\:)?s3://', r'(\S+\:)?petrel://'), force=True)
def load_from_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Read a file of an object store through a copy of it."""
    with get_file_backend(filename, backend_args=dict(backend=backend)).get_local_path(filename) as path:
        return read_checkpoint(path, map_location)


@CheckpointLoader.register_scheme('pavi://', force=True)
def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """Refuse the one place from which a file comes only by a reader that trusts it."""
    raise _error(f'{filename}: files at pavi:// are not read; download it and give its path')


def _look_up(filename: str, models: Mapping[str, str]) -> str:
    scheme, _, name = filename.partition('://')
    if name not in models:
        raise _error(f'{filename} is unknown; {scheme}:// has {first_few(sorted(models))}')
    return models[name]
