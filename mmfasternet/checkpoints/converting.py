"""Convert a file with a FasterNet to the names of another library."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from ..errors import CheckpointError, DependencyError
from ..files import check_writable, whole_file, write_faults
from .formats import Weights, recognise
from .loading import read_checkpoint

#: What a file can be converted to.
TARGETS: dict[str, Callable[[Weights], dict[str, Tensor]]] = {
    'mmfasternet': Weights.as_model,
    'timm': Weights.as_timm,
    'released': Weights.as_released,
}
#: What checkpoints hold beside weights, under the names of MMEngine and Lightning.
_TRAINING_STATE = (
    'optimizer',
    'param_schedulers',
    'message_hub',
    'ema_state_dict',
    'optimizer_states',
    'lr_schedulers',
    'loops',
    'callbacks',
)


class Conversion(NamedTuple):
    """What became of a file.

    Attributes:
        source: The format of the file, for people.
        written: How many tensors were written.
        left_out: The modules whose tensors the target has no place for, and how many tensors each had.
    """

    source: str
    written: int
    left_out: dict[str, int]


def convert(path: Path, out: Path, target: str, overwrite: bool = False) -> Conversion:
    """Convert a file to another library's names, keeping every bit of its tensors.

    The new file keeps the old one's ``meta``, as far as that is plain data: the names of the classes, the config and so
    on. It says where it is from: name, SHA-256 and format of the old one. In ``.safetensors`` all of that is its
    metadata. Optimizer and schedules are not converted, which one line of the log says.

    Args:
        path (Path): The file, of any format that :func:`recognise` knows.
        out (Path): The file to write; ``.safetensors`` or a file of torch's.
        target (str): A key of :data:`TARGETS`.
        overwrite (bool): Replace a file that already exists. Defaults to False.

    Returns:
        Conversion: What became of it.

    Raises:
        CheckpointError: It cannot be read, or holds no FasterNet.
        ConfigError: ``out`` cannot be written.
        DependencyError: safetensors is needed and not installed.
    """
    if out.exists() and not overwrite:
        raise CheckpointError(f'{out} already exists; choose another path, or replace it with --overwrite')
    check_writable(out, 'OUT')
    content = read_checkpoint(path)
    weights = recognise(content)
    tensors = TARGETS[target](weights)
    meta = {
        **_plain_meta(content),
        'source': path.name,
        'source_sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
        'source_format': weights.source,
        'converted_to': target,
    }
    with write_faults(out, 'OUT'), whole_file(out) as draft:
        if out.suffix == '.safetensors':
            _save_safetensors(tensors, meta, draft)
        else:
            torch.save(dict(meta=meta, state_dict=_with_versions(tensors, content)), draft)
    _log_training_state(content)
    kept = {id(value) for value in tensors.values()}
    everything = {**weights.backbone, **weights.classifier, **weights.others}
    left_out = Counter(name.split('.')[0] for name, value in everything.items() if id(value) not in kept)
    return Conversion(weights.source, len(tensors), dict(left_out))


def dataset_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Find the names and colours of the classes that a checkpoint was trained on.

    Args:
        meta (dict): The ``meta`` of a checkpoint of MMEngine, or of mmdet 2 and its contemporaries.

    Returns:
        dict: ``classes``, ``palette`` and so on, as far as there are any.
    """
    found = meta.get('dataset_meta')
    if not isinstance(found, Mapping):
        found = {name: meta[name] for name in ('CLASSES', 'classes', 'PALETTE', 'palette') if meta.get(name)}
    return {str(name).lower(): value for name, value in found.items()}


def _plain_meta(content: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the plain data of a checkpoint's ``meta``, with the classes where MMEngine looks."""
    meta = content.get('meta')
    if not isinstance(meta, Mapping):
        return {}
    kept = {}
    for name, value in {**meta, 'dataset_meta': dataset_meta(meta)}.items():
        with suppress(TypeError, RecursionError):  # a file can nest a dict in itself
            kept[str(name)] = _as_plain(value)
    if not kept.get('dataset_meta'):
        kept.pop('dataset_meta', None)
    return kept


def _as_plain(value: Any) -> Any:
    """Copy data into built-in types, which every reader accepts; raise a TypeError for other types."""
    if isinstance(value, Mapping):
        return {_as_plain(key): _as_plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_as_plain, value)) if type(value) in (list, tuple) else list(map(_as_plain, value))
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError


def _with_versions(tensors: dict[str, Tensor], content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Keep the versions of the modules, which torch notes in a state dict, as far as they have the same names.

    A module that finds no version takes its tensors for old ones, and some of mmdet's then rename them.
    """
    versions = getattr(content.get('state_dict', content), '_metadata', None) or {}
    versions = {name.removeprefix('module.'): value for name, value in versions.items()}
    tensors = OrderedDict(tensors)
    if all(name.rpartition('.')[0] in versions for name in tensors):
        vars(tensors)['_metadata'] = OrderedDict(versions)
    return tensors


def _save_safetensors(tensors: dict[str, Tensor], meta: dict[str, Any], path: Path) -> None:
    """Write tensors and their metadata as strings: text unchanged, everything else as JSON."""
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise DependencyError(f'{path} needs safetensors: pip install safetensors') from error
    strings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in meta.items()}
    # it refuses views and shared memory
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path, strings)


def _log_training_state(content: Mapping[str, Any]) -> None:
    """Log what a converted file lacks for resuming a training."""
    names = [name for name in _TRAINING_STATE if content.get(name)]
    if names:
        print_log(f'{", ".join(names)} not converted: resume the training from the file as it was', logger='current')
