"""Resolve a ``type`` in a config: a class, or a registered name with or without a scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.registry import Registry


def resolve_type(kind: Any, registry: Registry, scope: str | None = None) -> Any:
    """Find the class that a ``type`` refers to.

    Args:
        kind (type | str): Such as ``CocoDataset``, ``'CocoDataset'``, ``'mmdet.CocoDataset'`` or
            ``'mmdet.datasets.coco.CocoDataset'``.
        registry (Registry): Registry to look names up in, with its parents.
        scope (str, optional): The scope, such as ``_scope_`` of a config. Defaults to None: the default scope.

    Returns:
        type | Callable | None: The class or function; None if the name is not registered.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    with registry.switch_scope_and_registry(scope) as current:
        return current.get(kind)


def type_names(config: Any, registry: Registry) -> frozenset[str]:
    """Return the names of the class that a config builds, and of all its base classes.

    Names and not classes, because the class to compare with can belong to a library that is not installed.

    Args:
        config (dict): The config of a module, hook, data set and so on.
        registry (Registry): Registry to look names up in.

    Returns:
        frozenset[str]: Names without scopes; the name as written if it is not registered; empty if there is no type.
    """
    kind = config.get('type') if isinstance(config, dict) else None
    if not kind:
        return frozenset()
    found = resolve_type(kind, registry, config.get('_scope_'))
    if found is None:
        return frozenset([str(kind).rpartition('.')[2]])
    bases = found.__mro__ if isinstance(found, type) else ()
    return frozenset([*(base.__name__ for base in bases if base is not object), getattr(found, '__name__', str(found))])


def shown_type(config: dict[str, Any]) -> str:
    """Return the type of a config for a message, whether it is a class or a name."""
    kind = config.get('type')
    return kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def dicts_in(node: Any) -> Iterator[dict[str, Any]]:
    """Iterate over all dicts in a config, outer ones first.

    Args:
        node (Any): A config, or a part of one.

    Yields:
        dict: Each dict.
    """
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts_in(child)
