"""Unpickle a checkpoint without calling anything that it names.

A pickle is a program: it names classes and functions, and calls them. Here a few names stand for functions of this
module that build tensors, plain containers, NumPy arrays and MMEngine's types, and are harmless with any arguments.
Every other name becomes a :class:`Stub`, which takes everything and does nothing.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from torch.serialization import _get_restore_location
from torch.storage import TypedStorage

_ONE_CYCLE = 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'
#: Data types of NumPy without pointers and fields, and objects, which a pickle lists.
_SIMPLE_DTYPE = re.compile(r'b1|[iufc]\d{1,2}|[SU]\d{1,9}|O8?')
#: A tensor that repeats a value, as ``expand`` makes it, can have more elements than its storage, up to this number.
_MOST_REPEATED = 2**24
#: Opcodes that take objects from outside of the file, or reserve memory before they read.
_REFUSED = (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
_OPCODES = {code: load for code, load in pickle._Unpickler.dispatch.items() if bytes([code]) not in _REFUSED}


class Stub:
    """Stands for a class, a function or an object that only code of its own library could build.

    Args:
        name (str): The full name of the class or function.
    """

    __slots__ = ('name',)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Stub:
        """Stand for the result of a call."""
        return Stub(self.name)

    def __bool__(self) -> bool:
        return False  # for its users it is as good as missing

    def __repr__(self) -> str:
        return f'<{self.name}, not read>'

    def append(self, value: Any) -> None:
        """Drop what a pickle appends to a list of another type."""

    extend = append


def _tensor(storage: TypedStorage, offset: int, size: Any, stride: Any, *_: Any, dtype: Any = None) -> torch.Tensor:
    data = storage._untyped_storage  # without the warning of its public name
    flat = torch.empty(0, dtype=dtype or storage.dtype, device=data.device).set_(data)
    if math.prod(size) > max(flat.numel(), _MOST_REPEATED):
        raise ValueError('it has a tensor larger than its storage')
    return flat.as_strided(size, stride, offset).data  # checks the bounds


def _tensor_of_dtype(*args: Any) -> torch.Tensor:
    return _tensor(*args[:4], dtype=args[6])


def _parameter(data: Any, requires_grad: Any, *_: Any) -> Any:
    return torch.nn.Parameter(data, requires_grad is True) if isinstance(data, torch.Tensor) else data


def _encode(text: str, encoding: str) -> Any:
    """Undo how pickle writes bytes; other codecs than this one make much of a few bytes."""
    return text.encode('latin1') if encoding == 'latin1' else Stub('_codecs.encode')


def _dtype(code: Any, *_: Any) -> Any:
    return np.dtype(code, copy=True) if isinstance(code, str) and _SIMPLE_DTYPE.fullmatch(code) else Stub('numpy.dtype')


def _scalar(dtype: Any, data: Any) -> Any:
    return np.frombuffer(data, dtype, 1)[0] if isinstance(dtype, np.dtype) else Stub('numpy.generic')


def _config_dict(*items: Any) -> ConfigDict:
    """Fill it as a plain dict: its own way copies nested dicts, over and over where they are shared."""
    config = ConfigDict()
    dict.update(config, items[0] if len(items) == 1 and isinstance(items[0], dict) else items)
    return config


def _attribute(owner: Any, name: Any) -> Any:
    """Find one of the two functions that MMEngine's ``OneCycleLR`` keeps in its state."""
    if getattr(owner, 'name', '') == _ONE_CYCLE and name in ('_annealing_cos', '_annealing_linear'):
        from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

        return getattr(OneCycleParamScheduler, name)
    return Stub('builtins.getattr')


#: What each name in a pickle stands for; all of these are harmless with any arguments.
_BUILDERS: dict[str, Callable] = {
    '_codecs.encode': _encode,
    'builtins.bytes': lambda *args: Stub('builtins.bytes') if args else b'',
    'builtins.frozenset': frozenset,
    'builtins.getattr': _attribute,
    'builtins.set': set,
    'collections.Counter': Counter,
    'collections.OrderedDict': OrderedDict,
    'torch.Size': torch.Size,
    'torch.device': torch.device,
    'torch._tensor._rebuild_from_type_v2': lambda rebuild, kind, args, state: rebuild(*args),
    'torch._utils._rebuild_parameter': _parameter,
    'torch._utils._rebuild_parameter_with_state': _parameter,
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _tensor_of_dtype,
    'numpy.dtype': _dtype,
    **{f'numpy.{core}.multiarray._reconstruct': lambda *_: np.empty(0) for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': _scalar for core in ('core', '_core')},
    'mmengine.config.config.ConfigDict': _config_dict,
    'mmengine.logging.history_buffer.HistoryBuffer': lambda *_: HistoryBuffer(),
}


def _set_state(target: Any, state: Any) -> None:
    """Give an object its state, as far as that cannot change what its methods do."""
    set_state = getattr(target, '__setstate__', None)
    if isinstance(target, OrderedDict) and '_metadata' in state:
        vars(target)['_metadata'] = state['_metadata']
    elif isinstance(target, HistoryBuffer):
        vars(target).update({name: state[name] for name in vars(target) if name in state})
    elif isinstance(target, np.dtype) and target.kind in 'iufc' and state[1] in ('<', '>', '|', '='):
        # NumPy believes the other fields, and takes bytes for pointers if they say so
        set_state((3, state[1], None, None, None, -1, -1, 0))
    elif isinstance(target, np.ndarray):
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, np.dtype):
            shape, dtype, data = (1,), np.dtype(object), [dtype]
        set_state((1, shape, dtype, bool(is_fortran), data))


_PythonUnpickler: Any = pickle._Unpickler  # the one in C reserves as much memory as a file asks for


class Unpickler(_PythonUnpickler):
    """Reads a pickle of ``torch.save``.

    Args:
        file (BinaryIO): The pickle.
        size (int): Size of the checkpoint in bytes, which its tensors cannot exceed.
        map_location (Any): As in ``torch.load``.
    """

    def __init__(self, file: BinaryIO, size: int, map_location: Any) -> None:
        super().__init__(file, encoding='utf-8')
        self.restore, self.bytes_left = _get_restore_location(map_location), size
        self.storages: dict[str, tuple[torch.Tensor, torch.UntypedStorage, torch.dtype]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Find what a name stands for."""
        # torch.save writes the names of Python 2
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        found = vars(torch).get(name) if module in ('torch', 'torch.storage') else None
        if isinstance(found, torch.dtype):
            return found
        if name == 'UntypedStorage':
            return torch.uint8
        if name.endswith('Storage') and isinstance(getattr(found, '_dtype', None), torch.dtype):
            return found._dtype
        return _BUILDERS.get(f'{module}.{name}') or Stub(f'{module}.{name}')

    def persistent_load(self, pid: Any) -> Any:
        """Make a storage, which is filled when the pickle has been read."""
        if pid[0] == 'module':  # a class and its source
            return pid[1]
        _, dtype, key, location, count, *view = pid
        if any(view):
            raise ValueError('it has views of storages, as PyTorch wrote them before 0.4')
        if key not in self.storages:
            self.bytes_left -= count * dtype.itemsize
            if count < 0 or self.bytes_left < 0:
                raise ValueError('it has tensors larger than the file')
            buffer = torch.empty(count * dtype.itemsize, dtype=torch.uint8)
            self.storages[key] = buffer, self.restore(buffer.untyped_storage(), location), dtype
        return TypedStorage(wrap_storage=self.storages[key][1], dtype=dtype, _internal=True)

    def fill(self, key: str, data: Any, byteorder: str) -> None:
        """Read the bytes of a storage."""
        buffer, storage, dtype = self.storages[key]
        if data.readinto(buffer.numpy()) != buffer.numel():
            raise EOFError
        if byteorder != sys.byteorder:
            buffer.untyped_storage().byteswap(dtype)
        if storage.data_ptr() != buffer.data_ptr():
            torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage).copy_(buffer)

    def load_build(self) -> None:
        """Give an object its state."""
        state = self.stack.pop()
        _set_state(self.stack[-1], state)

    def load_newobj(self) -> None:
        """Make an object, as a call would."""
        args = self.stack.pop()
        self.stack[-1] = self.stack[-1](*args)

    def load_newobj_ex(self) -> None:
        """Make an object without its keyword arguments."""
        self.stack.pop()
        self.load_newobj()

    def load_setitem(self) -> None:
        """Put an item into a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        """Put items into a dict."""
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            for key, value in zip(items[::2], items[1::2]):
                self.stack[-1][key] = value

    dispatch = _OPCODES | {
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }
