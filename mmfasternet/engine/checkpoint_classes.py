"""Is a checkpoint of the classes of the config?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import CheckpointError, first_few
from ..models import FasterNet


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


@HOOKS.register_module()
class CheckpointClassesHook(Hook):
    """Stops a test or a resumed training whose checkpoint is of other classes than the config.

    The labels of such a model mean other classes: its metrics are wrong, and so are the names in what it writes.

    Args:
        split (str): Whose data set names the classes of the config: ``'train'`` or ``'test'``.
    """

    priority = 'VERY_HIGH'

    def __init__(self, split: str) -> None:
        self.split = split

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the classes, and the sizes of what depends on their number.

        Args:
            runner (Runner): The runner of the test or training.
            checkpoint (dict): What the file holds.

        Raises:
            CheckpointError: If they differ.
        """
        dataset = getattr(runner, f'{self.split}_loop').dataloader.dataset
        classes = getattr(dataset, 'metainfo', {}).get('classes') or ()
        fault = compare_classes(classes_of_checkpoint(checkpoint), classes)
        if fault:
            raise CheckpointError(
                f'{runner._load_from} was trained on {fault}. Name the classes in metainfo as the checkpoint does, or '
                'take the checkpoint of this config'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # a FasterNet compares its own part, whatever its names are in the file
        networks = tuple(f'{name}.' for name, module in model.named_modules() if isinstance(module, FasterNet))
        sizes = {name: value.shape for name, value in model.state_dict().items() if not name.startswith(networks)}
        wrong = [
            f'{name} has the shape {tuple(value.shape)}, expected {tuple(sizes[name])}'
            for name, value in (checkpoint.get('state_dict') or {}).items()
            if name in sizes and hasattr(value, 'shape') and value.shape != sizes[name]
        ]
        if wrong:
            raise CheckpointError(
                f'{runner._load_from} does not fit the model of the config: {first_few(wrong, 2)}. Take the checkpoint '
                'of this config, or set its number of classes as in the checkpoint'
            )
