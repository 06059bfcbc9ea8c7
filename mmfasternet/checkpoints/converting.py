"""Write a file with a FasterNet anew, under the names of another library."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError, DependencyError
from ..files import whole_file
from .formats import Weights, recognise
from .loading import read_checkpoint

#: What a file can be converted to.
TARGETS: dict[str, Callable[[Weights], dict[str, Tensor]]] = {
    'mmfasternet': Weights.as_model,
    'timm': Weights.as_timm,
    'released': Weights.as_released,
}


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

    The new file tells where it is from: name, SHA-256 and format of the old one, under ``meta``, in ``.safetensors`` as
    its metadata.

    Args:
        path (Path): The file, of any format that :func:`recognise` knows.
        out (Path): The file to write; ``.safetensors`` or a file of torch's.
        target (str): A key of :data:`TARGETS`.
        overwrite (bool): Replace a file that is there already. Defaults to False.

    Returns:
        Conversion: What became of it.

    Raises:
        CheckpointError: It cannot be read, holds no FasterNet, or ``out`` cannot be written.
        DependencyError: safetensors is needed and not installed.
    """
    if out.exists() and not overwrite:
        raise CheckpointError(f'{out} is there already; name another file, or replace it with --overwrite')
    weights = recognise(read_checkpoint(path))
    tensors = TARGETS[target](weights)
    provenance = {
        'source': path.name,
        'source_sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
        'source_format': weights.source,
        'converted_to': target,
    }
    _write(tensors, provenance, out)
    kept = {id(value) for value in tensors.values()}
    everything = {**weights.backbone, **weights.classifier, **weights.others}
    left_out = Counter(name.split('.')[0] for name, value in everything.items() if id(value) not in kept)
    return Conversion(weights.source, len(tensors), dict(left_out))


def _write(tensors: dict[str, Tensor], provenance: dict[str, str], out: Path) -> None:
    try:
        with whole_file(out) as draft:
            if out.suffix == '.safetensors':
                try:
                    from safetensors.torch import save_file
                except ImportError as error:
                    raise DependencyError(f'{out} needs safetensors: pip install safetensors') from error
                # it refuses views and shared memory
                save_file({name: value.contiguous().clone() for name, value in tensors.items()}, draft, provenance)
            else:
                torch.save(dict(meta=provenance, state_dict=tensors), draft)
    except OSError as error:
        raise CheckpointError(f'{out} cannot be written: {error.strerror}; name another place') from error
