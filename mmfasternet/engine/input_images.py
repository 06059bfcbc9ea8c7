"""Find the images that a command line names, name their results, and read their pixels."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS
from PIL import EpsImagePlugin, Image, ImageFile, UnidentifiedImageError

from ..datasets.image_files import images_of_any_size
from ..errors import ConfigError, DataError, first_few

#: The endings of what a prediction writes.
RESULT_ENDINGS = ('.jpg', '.json')


@cache
def image_endings() -> frozenset[str]:
    """List the endings, in lower case, of the formats that this installation of Pillow decodes."""
    Image.init()
    # those that Pillow can identify alone
    others = {name for name, (kind, _) in Image.OPEN.items() if isinstance(kind, type) and _is_stub(kind)} | {'MPEG'}
    if not EpsImagePlugin.has_ghostscript():
        others.add('EPS')
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN and name not in others
    )


def _is_stub(kind: type) -> bool:
    return issubclass(kind, ImageFile.StubImageFile)


def find_images(sources: Sequence[str]) -> list[Path]:
    """List the images that the command line names.

    Args:
        sources (Sequence[str]): Images, and folders of images.

    Returns:
        list[Path]: The images, each once, sorted within each folder.

    Raises:
        DataError: A path does not exist or cannot be read, or a folder has no images.
    """
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        try:
            if not source or not path.exists():
                raise DataError(_missing(source))
            paths += _images_in(path) if path.is_dir() else [path]
        except OSError as error:
            raise DataError(f'{source} cannot be read: {error.strerror}') from error
    unique: dict[Path, Path] = {}
    for path in paths:
        unique.setdefault(_located(path), path)
    paths = list(unique.values())
    for path in paths:
        if path.exists() and not os.access(path, os.R_OK):
            raise DataError(f'{path} cannot be read: permission denied')
    return paths


def _missing(source: str) -> str:
    if re.match('[a-z][a-z0-9+.-]*://', source, re.IGNORECASE):
        return f'{source} is a URL, and predict reads files only; download it and name the file'
    return (
        f'{source or "an empty path"} does not exist (looked in {Path.cwd()}); expected an image or a folder of images'
    )


def _images_in(folder: Path) -> list[Path]:
    """List the images of a folder, and log what else is in it."""
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    images = [path for path in visible if path.suffix.lower() in image_endings() and not path.is_dir()]
    others = [f'{path.name}/' if path.is_dir() else path.name for path in visible if path not in set(images)]
    if not images:
        there = f'it has {first_few(others)}' if others else 'it is empty'
        raise DataError(f'{folder} has no images; expected files that end in {_common_endings()} and so on, {there}')
    if others:
        text = f'{folder}: skipped {len(others)} of {len(visible)}, which are not images: {first_few(others)}'
        print_log(text, logger='current')
    return images


def _common_endings() -> str:
    common = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.webp', '.gif', '.jp2', '.avif')
    return ' '.join(ending for ending in common if ending in image_endings())


def result_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Name the results of each image after the image, without its suffix if that is unique.

    Otherwise images of one folder keep their suffixes, and images of several folders get their folders.

    Args:
        paths (Sequence[Path]): The images.

    Returns:
        dict[Path, str]: The name of each image, without ending, no two of which differ in case alone.
    """
    root = os.path.commonpath([_located(path).parent for path in paths])
    choices = {}
    for path in paths:
        below = _located(path).relative_to(root)
        choices[path] = [path.stem, path.name, below.with_suffix('').as_posix(), below.as_posix()]
    level = dict.fromkeys(paths, 0)
    while True:
        groups = defaultdict(list)
        for path in paths:
            groups[choices[path][level[path]].casefold()].append(path)
        clashes = [group for group in groups.values() if len(group) > 1 and min(level[path] for path in group) < 3]
        if not clashes:
            return {path: choices[path][level[path]] for path in paths}
        for group in clashes:
            start = min(3, 1 + max(level[path] for path in group))
            chosen = next((number for number in range(start, 3) if _differ(choices[path][number] for path in group)), 3)
            level.update(dict.fromkeys(group, chosen))


def _located(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _differ(names: Any) -> bool:
    names = [name.casefold() for name in names]
    return len(set(names)) == len(names)


def check_results(names: dict[Path, str], out: Path) -> None:
    """Check that no result replaces an image.

    Args:
        names (dict[Path, str]): The name of the results of each image.
        out (Path): Where they go.

    Raises:
        ConfigError: One would.
    """
    images = {path.resolve() for path in names}
    for name in names.values():
        for ending in RESULT_ENDINGS:
            result = out / f'{name}{ending}'
            if result.resolve() in images:
                raise ConfigError(f'--out {out}: a result would replace the image {result}; choose another path')


class ImageReader:
    """Reads images like the pipeline of a config, and refuses truncated files.

    Args:
        step (dict): The step of the pipeline that reads a file, such as ``LoadImageFromFile``.
    """

    def __init__(self, step: dict[str, Any]) -> None:
        # the files are here, wherever those of the data set are
        step = {key: value for key, value in step.items() if key not in ('backend_args', 'file_client_args')}
        self.loaders = [TRANSFORMS.build(step)]
        if hasattr(self.loaders[0], 'imdecode_backend'):
            # the same settings for formats that OpenCV does not know
            self.loaders.append(TRANSFORMS.build({**step, 'imdecode_backend': 'pillow'}))

    def __call__(self, path: Path) -> np.ndarray:
        """Read an image.

        Args:
            path (Path): The file.

        Returns:
            ndarray: Of shape (H, W) or (H, W, C), BGR, as the pipeline takes it.

        Raises:
            DataError: It cannot be read; the message says why, and leaves it to the caller to name the file.
        """
        reason = _damage(path)
        for loader in () if reason else self.loaders:
            try:
                return loader(dict(img_path=str(path)))['img']
            except MemoryError:
                raise
            except Exception:  # a decoder can raise anything for a format that it does not know
                continue
        raise DataError(f'unreadable image: {reason or "unknown format"}')


def _damage(path: Path) -> str:
    """Describe the damage of a file if Pillow knows its format; OpenCV pads a truncated file silently."""
    try:
        with images_of_any_size(), Image.open(path) as image:
            image.load()
    except MemoryError:
        raise
    except UnidentifiedImageError:
        return '' if path.stat().st_size else 'the file is empty'
    except Exception as error:  # a malformed file can make Pillow raise anything
        return getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return ''


def as_picture(image: np.ndarray) -> Image.Image:
    """Convert the pixels that a pipeline reads to a picture.

    Args:
        image (ndarray): Of shape (H, W) or (H, W, C), BGR, of any type.

    Returns:
        Image: 8 bits a channel, RGB.
    """
    if image.ndim == 3 and image.shape[2] < 3:
        image = image[..., 0]
    if image.dtype != np.uint8:
        low, high = float(np.nanmin(image)), float(np.nanmax(image))
        if low < 0 or high > 255 or high <= 1:
            image = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
        image = np.nan_to_num(image).astype(np.uint8)
    return Image.fromarray(image if image.ndim == 2 else np.ascontiguousarray(image[..., 2::-1])).convert('RGB')
