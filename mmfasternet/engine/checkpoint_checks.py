"""Check that a checkpoint exists and has the classes of the config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoints import fetch
from ..datasets.data_files import is_remote
from ..errors import CheckpointError, first_few


def check_checkpoint(source: str | None, setting: str) -> None:
    """Check that a local checkpoint exists.

    Args:
        source (str, optional): Path, URL, or a name with a scheme of OpenMMLab's, such as ``torchvision://resnet50``.
        setting (str): The setting that names it, for the message.

    Raises:
        CheckpointError: It is a path, and the file does not exist.
    """
    if not source or not isinstance(source, str):
        raise CheckpointError(f'{setting}: no checkpoint is named; set a path or a URL')
    if not is_remote(source) and not Path(source).is_file():
        folder = Path(source).parent
        there = sorted(path.name for path in folder.glob('*.pth')) if folder.is_dir() else []
        found = f'{folder} has {first_few(there)}' if there else f'there is no .pth file in {folder.absolute()}'
        raise CheckpointError(f'{setting}: {source} does not exist; {found}')


def fetch_checkpoint(source: str, setting: str) -> None:
    """Download a checkpoint to torch's cache, where MMEngine looks for it, if it is a URL.

    Args:
        source (str): Path, URL, or a name with a scheme of OpenMMLab's.
        setting (str): The setting that names it, for the message.

    Raises:
        CheckpointError: The URL cannot be downloaded.
    """
    if not source.startswith(('http://', 'https://')):
        return
    try:
        fetch(source)
    except CheckpointError as error:
        without = ', or start without it: --cfg-options model.backbone.init_cfg=None' if setting == 'init_cfg' else ''
        raise CheckpointError(f'{setting}: {error}{without}') from error


def classes_of_checkpoint(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the names of the classes that a checkpoint was trained on.

    Args:
        checkpoint (Mapping[str, Any]): What the file holds.

    Returns:
        tuple[str, ...]: In the order of the labels; empty if it does not name them.
    """
    meta = checkpoint.get('meta')
    dataset_meta = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    for source, name in ((dataset_meta, 'classes'), (dataset_meta, 'CLASSES'), (meta, 'CLASSES'), (meta, 'classes')):
        names = source.get(name) if isinstance(source, Mapping) else None
        if names and not isinstance(names, str):
            return tuple(map(str, names))
    return ()


def compare_classes(trained: Sequence[str], configured: Sequence[str]) -> str:
    """Compare the classes of a checkpoint with those of a config.

    Args:
        trained (Sequence[str]): Those of the checkpoint; empty if it does not name them.
        configured (Sequence[str]): Those of the config; empty if it does not name them.

    Returns:
        str: How they differ; empty if they do not.
    """
    if not trained or not configured:
        return ''
    if len(trained) != len(configured):
        return (
            f'{len(trained)} classes ({first_few(trained)}), the config has {len(configured)} ({first_few(configured)})'
        )
    # ImageNet's classes go by WordNet ids or by English names, which say nothing about each other
    if all(map(_is_wnid, trained)) != all(map(_is_wnid, configured)):
        return ''
    plain = [list(map(_plain, names)) for names in (trained, configured)]
    differences = [
        f'class {number} is {trained[number]}, in the config {configured[number]}'
        for number, (one, other) in enumerate(zip(*plain))
        if one != other
    ]
    if not differences:
        return ''
    kind = 'the same classes in another order' if set(plain[0]) == set(plain[1]) else 'other classes'
    return f'{kind}: {first_few(differences)}'


def _is_wnid(name: str) -> bool:
    return re.fullmatch(r'n\d{8}', name) is not None


def _plain(name: str) -> str:
    """A name without what varies in its spelling: ``traffic light``, ``traffic_light``, ``Traffic-Light``."""
    return re.sub(r'[\s_-]+', ' ', name).strip().casefold()
