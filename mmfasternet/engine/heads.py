"""Check the number of classes of all heads of a model against its data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.registry import MODELS

from ..config_types import dicts_in, resolve_type, type_names
from ..errors import ConfigError, first_few

#: Parts of a model whose ``num_classes`` does not count the classes of the data.
_OTHER_PARTS = ('backbone', 'neck', 'rpn_head', 'data_preprocessor', 'train_cfg', 'test_cfg', 'reid', 'tracker')
#: The same by type: heads of several tasks, and of the stuff of COCO, with labels of their own.
_OTHER_TYPES = {'MultiTaskHead', 'FusedSemanticHead'}


def check_class_counts(model: dict[str, Any], meta: dict[str, Any], setting: str) -> None:
    """Compare ``num_classes`` of every head with the data.

    A head with fewer classes than the data stops in the first step; one with more trains, and fails after the first
    validation or never.

    Args:
        model (dict): Config of the model.
        meta (dict): The classes of the data set: ``classes`` and, in panoptic data sets, ``thing_classes`` and
            ``stuff_classes``.
        setting (str): Where the data set stands in the config, for the message.

    Raises:
        ConfigError: If the number of a head differs.
    """
    # one is given the names of the classes, and takes any number; the other tracks some of those that its data has
    if 'tracker' in model or any('language_model' in part for part in dicts_in(model)):
        return
    objects = meta.get('thing_classes') or meta.get('classes') or ()
    expected = {
        'num_classes': len(objects),
        'num_things_classes': len(meta.get('thing_classes') or ()),
        'num_stuff_classes': len(meta.get('stuff_classes') or ()),
    }
    wrong = [
        (path, number, expected[path.rpartition('.')[2]])
        for path, number in _class_counts(model, 'model')
        if number != expected[path.rpartition('.')[2]] > 0
    ]
    if wrong:
        heads = first_few([f'{path} is {number}' for path, number, _ in wrong], 6)
        options = ' '.join(f'{path}={count}' for path, _, count in wrong)
        raise ConfigError(
            f'{setting}: the data has {len(objects)} classes ({first_few(list(objects))}), {heads}; make them the '
            f'same: --cfg-options {options}'
        )


def _class_counts(node: Any, path: str) -> Iterator[tuple[str, int]]:
    """Find the settings that count classes, and their values, given or by default."""
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _class_counts(child, f'{path}.{index}')
    if not isinstance(node, dict) or type_names(node, MODELS) & _OTHER_TYPES:
        return
    kind = resolve_type(node.get('type'), MODELS)
    is_head = any('head' in name for name in path.split('.')[-2:])  # the last can be the number in a list
    counts = {}
    for name in ('num_classes', 'num_things_classes', 'num_stuff_classes'):
        counts[name] = node[name] if name in node else _default(kind, name) if is_head else None
    if counts['num_things_classes']:
        counts['num_classes'] = None  # a panoptic head counts both
    for name, number in counts.items():
        if isinstance(number, int) and number >= 0:
            yield f'{path}.{name}', number
    for key, child in node.items():
        if key not in _OTHER_PARTS:
            yield from _class_counts(child, f'{path}.{key}')


def _default(kind: Any, name: str) -> int | None:
    """Find the default of an argument, in base classes too if keyword arguments are passed on."""
    for base in kind.__mro__ if isinstance(kind, type) else ():
        if '__init__' not in vars(base):
            continue
        arguments = inspect.signature(vars(base)['__init__']).parameters
        if name in arguments:
            default = arguments[name].default
            return default if isinstance(default, int) else None
        if not any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
            return None
    return None
