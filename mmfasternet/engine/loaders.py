"""Check that a data loader can be built from its settings."""

from __future__ import annotations

import warnings
from typing import Any

from torch.utils.data import DataLoader

from ..errors import ConfigError

#: Settings that MMEngine removes before it builds the PyTorch loader.
_OF_MMENGINE = {
    'dataset', 'sampler', 'batch_sampler', 'worker_init_fn', 'collate_fn', 'disable_subprocess_warning',
    'num_batch_per_epoch',
}  # fmt: skip
#: Settings that need workers, and their values without workers.
_OF_WORKERS = {'persistent_workers': False, 'prefetch_factor': None, 'multiprocessing_context': None, 'timeout': 0}


def check_loader(loader: dict[str, Any], setting: str) -> None:
    """Check the settings of a data loader against each other, by PyTorch's own rules.

    Args:
        loader (dict): Config of the data loader.
        setting (str): Its name, for the message.

    Raises:
        ConfigError: PyTorch or MMEngine would refuse them.
    """
    options = {name: value for name, value in loader.items() if name not in _OF_MMENGINE}
    if options.get('num_workers', 0) == 0:
        useless = {name: value for name, value in _OF_WORKERS.items() if options.get(name) not in (None, value)}
        if useless:
            given = ' and '.join(f'{name}={options[name]!r}' for name in useless)
            remedy = ' '.join(f'{setting}.{name}={value}' for name, value in useless.items())
            raise ConfigError(
                f'{setting} has num_workers=0 and {given}, which needs workers; add --cfg-options {remedy}, or set '
                f'{setting}.num_workers=1'
            )
    order: dict[str, Any] = {'sampler': [0]}
    if loader.get('batch_sampler'):
        if 'batch_size' not in options:
            raise ConfigError(f'{setting} has a batch_sampler but no batch_size; set {setting}.batch_size')
        del options['batch_size']
        order = {'batch_sampler': [[0]]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about the number of workers: the real loader repeats it
            DataLoader([0], **order, **options)
    except (ValueError, TypeError, AssertionError) as error:
        reason = ' '.join(str(error).replace('DataLoader.__init__() ', '').split())
        raise ConfigError(f'{setting}: PyTorch cannot build the data loader: {reason}; change its settings') from error
