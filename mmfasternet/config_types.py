"""What a ``type`` in a config means: a class, or a registered name with or without a scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.registry import Registry


def resolve_type(kind: Any, registry: Registry, scope: str | None = None) -> Any:
    """Find the class that a ``type`` means.

    Args:
        kind (type | str): Such as ``CocoDataset``, ``'CocoDataset'``, ``'mmdet.CocoDataset'`` or
            ``'mmdet.datasets.coco.CocoDataset'``.
        registry (Registry): Where names are looked up, in a scope and its parents.
        scope (str, optional): The scope, as ``_scope_`` in a config gives it. Defaults to None: the default scope.

    Returns:
        type | Callable | None: The class or function; None if the name is not registered.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    with registry.switch_scope_and_registry(scope) as current:
        return current.get(kind)


def type_names(config: Any, registry: Registry) -> frozenset[str]:
    """List the names by which the type of a config is known: those of its class and of all its base classes.

    Names, as the class to compare with can be of a library that is not installed.

    Args:
        config (dict): The config of a module, hook, data set and so on.
        registry (Registry): Where names are looked up.

    Returns:
        frozenset[str]: Without scopes. A name that is not registered stands for itself; empty if there is no type.
    """
    kind = config.get('type') if isinstance(config, dict) else None
    if not kind:
        return frozenset()
    found = resolve_type(kind, registry, config.get('_scope_'))
    if found is None:
        return frozenset([str(kind).rpartition('.')[2]])
    bases = found.__mro__ if isinstance(found, type) else ()
    return frozenset([*(base.__name__ for base in bases if base is not object), getattr(found, '__name__', str(found))])


def dicts_in(node: Any) -> Iterator[dict[str, Any]]:
    """Walk over all dicts in a config, outer ones first.

    Args:
        node (Any): A config, or a part of one.

    Yields:
        dict: Each dict.
    """
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts_in(child)
