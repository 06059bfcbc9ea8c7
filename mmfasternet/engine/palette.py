"""Complete a palette, so that every class has a colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ImageColor

from ..errors import ConfigError

Colour = tuple[int, int, int]
#: The palettes that mmdet and mmrotate know by name.
NAMED = {
    **dict.fromkeys(('coco', 'citys', 'voc'), 'mmdet.visualization.palette'),
    **dict.fromkeys(('dota', 'sar', 'hrsc'), 'mmrotate.visualization.palette'),
}
#: Added colours keep away from these, too.
_BLACK_AND_WHITE = ((0, 0, 0), (255, 255, 255))


def complete_palette(palette: Any, count: int) -> list[Colour]:
    """Give every class a colour: first the given ones, then colours that differ most from all others.

    Args:
        palette (list | tuple | str, optional): Colours as RGB, names or hexadecimal; one colour for all classes; a
            name of mmdet's or mmrotate's such as ``'coco'`` or ``'random'``; or None.
        count (int): Number of classes.

    Returns:
        list[tuple[int, int, int]]: RGB, at least ``count`` colours.

    Raises:
        ConfigError: It is not a palette.
    """
    colours = _given(palette, count)
    missing = count - len(colours)
    if missing > 0:
        # evenly spread, and more than are needed
        levels = np.linspace(0, 255, max(9, int((2 * count) ** (1 / 3)))).astype(int)
        candidates = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(-1, 3)
        distances = np.full(len(candidates), np.inf)
        for colour in (*_BLACK_AND_WHITE, *colours):
            distances = np.minimum(distances, np.square(candidates - colour).sum(1))
        for _ in range(missing):
            colour = candidates[distances.argmax()]
            colours.append(tuple(colour.tolist()))
            distances = np.minimum(distances, np.square(candidates - colour).sum(1))
    return colours


def with_palette(dataset_meta: dict[str, Any]) -> dict[str, Any]:
    """Complete the palette of a data set.

    Args:
        dataset_meta (dict): With the names of the ``classes`` and, maybe, their ``palette``.

    Returns:
        dict: The same with a colour for every class.
    """
    classes = dataset_meta.get('classes') or ()
    return {**dataset_meta, 'palette': complete_palette(dataset_meta.get('palette'), len(classes))}


def _given(palette: Any, count: int) -> list[Colour]:
    if palette is None or isinstance(palette, str) and palette in ('random', 'none', ''):
        return []
    if isinstance(palette, str) and palette in NAMED:
        from importlib import import_module

        get_palette = import_module(NAMED[palette]).get_palette
        try:
            return list(map(_colour, get_palette(palette, count)))
        except AssertionError:  # it has fewer colours
            return list(map(_colour, get_palette(palette, 0)))
    is_list = isinstance(palette, (list, tuple, np.ndarray))
    if not is_list or len(palette) == 3 and all(isinstance(value, (int, float)) for value in palette):
        return [_colour(palette)] * count
    return list(map(_colour, palette))


def _colour(value: Any) -> Colour:
    numbers: Sequence[Any] = re.findall(r'[\d.]+', value) if isinstance(value, str) and value[:1].isdigit() else value
    try:
        if isinstance(numbers, str):
            numbers = ImageColor.getrgb(numbers)
        red, green, blue, *_ = (min(max(round(float(number)), 0), 255) for number in numbers)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f'palette has {value!r}; expected red, green and blue from 0 to 255 or a name such as red, in '
            'metainfo=dict(palette=...) of the data set, or one of ' + ', '.join(NAMED)
        ) from error
    return red, green, blue
