"""Find the size of the images that an oriented detector was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from ..config_types import type_names
from ..datasets.data_files import leaf_datasets
from ..datasets.dota.tiles import parse_tile_name
from ..datasets.image_files import read_size
from ..errors import DataError
from .input_images import image_endings

#: How many images of a folder are looked at.
SAMPLE = 64
#: Steps that set the size of an image, and the setting that says which.
_RESIZES = {
    'Resize': 'scale',
    'RandomResize': 'scale',
    'ResizeShortestEdge': 'scale',
    'RandomChoiceResize': 'scales',
}


class Tiles(NamedTuple):
    """The part of an image that a detector looks at.

    Attributes:
        size: Width and height in pixels of the image.
        is_padded: Whether smaller images are padded to this size, as the tiles of a training are.
    """

    size: int
    is_padded: bool


def training_tiles(cfg: Config, steps: Sequence[dict[str, Any]]) -> Tiles | None:
    """Find the size of the tiles that a detector was trained on, so that it sees objects at the same scale.

    Args:
        cfg (Config): The whole config.
        steps (Sequence[dict]): The steps of its test pipeline.

    Returns:
        Tiles | None: Those of its data, if that is on this machine; else as large as images are resized to; None if
        images are not resized.
    """
    for folder in _image_folders(cfg):
        tiles = _tiles_in(folder)
        if tiles:
            print_log(f'tiles of {tiles.size} pixels, as large as the images in {folder}', logger='current')
            return tiles
    sizes = [max(_numbers(step[setting])) for step in steps for setting in _resize_settings(step) if step.get(setting)]
    if not sizes:
        text = 'whole images, as the images of the config are not on this machine and are not resized'
        print_log(f'{text}; --tile-size cuts them into tiles', logger='current')
        return None
    text = f'tiles of {sizes[-1]} pixels, the size of the resize, as the images of the config are not on this machine'
    print_log(f'{text}; if they have another size, name it with --tile-size', logger='current')
    return Tiles(int(sizes[-1]), is_padded=True)


def _image_folders(cfg: Config) -> Iterator[Path]:
    """Find the folders of images, those of the training first."""
    for name in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        for dataset in leaf_datasets((cfg.get(name) or {}).get('dataset') or {}):
            prefix = dataset.get('data_prefix') or ''
            if not isinstance(prefix, str):
                prefix = prefix.get('img_path') or prefix.get('img') or ''
            folder = Path(dataset.get('data_root') or '', prefix).expanduser()
            if (dataset.get('data_root') or prefix) and folder.is_dir():
                yield folder


def _tiles_in(folder: Path) -> Tiles | None:
    try:
        # several scales lie around that of the images themselves
        sizes = json.loads((folder.parent / 'split.json').read_text(encoding='utf-8'))['settings']['sizes']
        return Tiles(int(median_low(sizes)), is_padded=True)
    except (OSError, ValueError, LookupError, TypeError):
        pass  # not cut by our tool
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in image_endings())
    sizes, are_tiles = [], True
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        try:
            sizes.append(read_size(path, decode=False, upright=True))
            parse_tile_name(path.stem)
        except DataError:
            are_tiles = False  # not named as a tile, or not an image
    if not sizes:
        return None
    sides = [max(size) for size in sizes]
    if all(width == height for width, height in sizes) and (are_tiles or len(set(sides)) == 1):
        return Tiles(median_low(sides), is_padded=True)
    # whole images of several sizes: so are those up to the largest looked at as a whole
    return Tiles(max(sides), is_padded=False)


def _resize_settings(step: dict[str, Any]) -> list[str]:
    names = type_names(step, TRANSFORMS)
    return [setting for name, setting in _RESIZES.items() if name in names]


def _numbers(scale: Any) -> list[float]:
    """Flatten a size, a pair of them, or a list of pairs."""
    if isinstance(scale, (int, float)):
        return [scale]
    return [number for part in scale for number in _numbers(part)]
