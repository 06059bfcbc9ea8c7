"""The sizes of many images, most of them without decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from ..errors import DataError, DependencyError
from .findings import Kind

try:
    from PIL import ExifTags, Image, UnidentifiedImageError
    from tqdm import tqdm
except ImportError as error:
    raise DependencyError(f'looking at images needs {error.name}, which is missing: pip install pillow tqdm') from error

_STOPS = 'training stops when it comes to them'
MISSING_IMAGE = Kind('missing_image', 'error', 'images that are not there', _STOPS)
UNREADABLE_IMAGE = Kind('unreadable_image', 'error', 'images that cannot be read', _STOPS)

#: How many files are read at a time. More than there are cores: most of the time goes into waiting for the disk.
THREADS = 16
#: How many files a thread takes at a time.
BATCH = 32
#: The EXIF orientations of images that lie on their side.
ON_SIDE = (5, 6, 7, 8)


def image_sizes(
    paths: Sequence[Path], title: str, decode: bool = False, upright: bool = True
) -> Iterator[tuple[int, int] | DataError]:
    """Read the sizes of images, with a progress bar.

    Args:
        paths (Sequence[Path]): The files.
        title (str): Of the progress bar.
        decode (bool): Decode each as a whole, to see whether that works. Defaults to False: read its header alone.
        upright (bool): Whether images are turned as their EXIF orientation says, as mmcv does. Defaults to True.

    Yields:
        tuple[int, int] | DataError: Width and height in pixels, or what is wrong with the file, in their order.
    """
    work = partial(_read_sizes, decode=decode, upright=upright)
    batches = (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = chain.from_iterable(pool.map(work, batches))
        yield from tqdm(sizes, title, len(paths), unit=' images', leave=False)


def read_size(path: Path, decode: bool, upright: bool) -> tuple[int, int]:
    """Read the size of an image.

    Args:
        path (Path): The file.
        decode (bool): Decode it as a whole, with Pillow, which never takes a part of a file for the whole.
        upright (bool): Whether it is turned as its EXIF orientation says.

    Returns:
        tuple[int, int]: Width and height in pixels.

    Raises:
        DataError: It cannot be read; the message says why, and leaves it to the caller to name the file.
    """
    # the images of DOTA are larger than what Pillow takes for an attack
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            if decode:
                image.load()
            width, height = image.size
            exif = image.info.get('exif')
    except MemoryError:
        raise
    except Exception as error:  # a malformed file can make Pillow raise anything
        reason = 'of no known format' if isinstance(error, UnidentifiedImageError) else getattr(error, 'strerror', None)
        raise DataError(reason or str(error) or type(error).__name__) from error
    return (height, width) if upright and exif and _orientation(exif) in ON_SIDE else (width, height)


def _orientation(data: bytes) -> int | None:
    """Read an orientation as OpenCV does: from EXIF alone, and none if that is malformed."""
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(ExifTags.Base.Orientation)
    except Exception:  # whatever Pillow raises
        return None


def _read_sizes(paths: Sequence[Path], decode: bool, upright: bool) -> list[tuple[int, int] | DataError]:
    sizes: list[tuple[int, int] | DataError] = []
    for path in paths:
        try:
            sizes.append(read_size(path, decode, upright))
        except DataError as error:
            sizes.append(error)
    return sizes
