"""Which library of OpenMMLab a config is of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, Registry

from ..config_types import dicts_in, resolve_type

#: The libraries that our tools know.
LIBRARIES = ('mmdet', 'mmrotate', 'mmpretrain')


def library_of(cfg: Config) -> str:
    """Find the library that a config is of.

    Args:
        cfg (Config): The whole config.

    Returns:
        str: Its ``default_scope``, if that is one of ours; otherwise the library whose classes its model and its test
        data consist of: ``'mmdet'``, ``'mmrotate'``, ``'mmpretrain'``, or ``'mmengine'`` for none of them.
    """
    scope = cfg.get('default_scope')
    if scope in LIBRARIES:
        return scope
    loader = cfg.get('test_dataloader') or {}
    parts = (*_packages(cfg.get('model'), MODELS), *_packages(loader.get('dataset'), DATASETS))
    found = [package for package in parts if package in LIBRARIES] or ['mmengine']
    # mmrotate stands on mmdet; a detector may have a backbone of mmpretrain
    return 'mmrotate' if found[0] == 'mmdet' and 'mmrotate' in found else found[0]


def _packages(part: Any, registry: Registry) -> Iterator[str]:
    """List the packages of the types in a part of a config and of their base classes, outer ones first."""
    for module in dicts_in(part):
        kind = module.get('type')
        found = resolve_type(kind, registry) if kind else None
        if found is None and isinstance(kind, str):
            yield kind.partition('.')[0]
        for base in getattr(found, '__mro__', (found,)):
            yield getattr(base, '__module__', '').partition('.')[0]
