"""Read the sizes of many images, most of them from the header alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, DependencyError
from .findings import Kind

try:
    from PIL import ExifTags, Image, UnidentifiedImageError
    from tqdm import tqdm
except ImportError as error:
    raise DependencyError(f'opening images needs {error.name}, which is missing: pip install pillow tqdm') from error

_STOPS = 'training stops when it reads them'
MISSING_IMAGE = Kind('missing_image', 'error', 'images that do not exist', _STOPS)
UNREADABLE_IMAGE = Kind('unreadable_image', 'error', 'images that cannot be read', _STOPS)

#: How many files are read at a time. More than there are cores, because reading mostly waits for the disk.
THREADS = 16
#: How many files a thread reads per task.
BATCH = 32
#: The EXIF orientations that swap width and height.
ON_SIDE = (5, 6, 7, 8)
#: The formats, by Pillow's names, that OpenCV always decodes; for others, only decoding shows whether it can.
SURE = ('JPEG', 'MPO', 'PNG', 'BMP', 'WEBP')
#: Those of them to which OpenCV applies the EXIF orientation.
TURNED = ('JPEG', 'MPO', 'PNG')


class Decoder(NamedTuple):
    """How training decodes images: the settings of ``LoadImageFromFile``.

    Attributes:
        backend: ``imdecode_backend``.
        flag: ``color_type``.
    """

    backend: str = 'cv2'
    flag: str = 'color'

    @property
    def upright(self) -> bool:
        """Whether the EXIF orientation is applied."""
        return self.backend in ('cv2', 'pillow') and not self.flag.endswith(('unchanged', 'ignore_orientation'))

    def decode(self, path: Path) -> tuple[int, int]:
        """Decode an image as training does, and return its width and height.

        Args:
            path (Path): The file.

        Returns:
            tuple[int, int]: Width and height in pixels.

        Raises:
            DataError: It cannot be decoded. The message does not name the file.
        """
        # imported here, because reading headers does not need it
        import mmcv

        try:
            image = mmcv.imfrombytes(path.read_bytes(), flag=self.flag, backend=self.backend)
        except MemoryError:
            raise
        except Exception as error:  # a malformed file can make a decoder raise anything
            raise DataError(_reason(error)) from error
        if image is None:
            raise DataError(f'{self.backend} cannot decode it')
        return image.shape[1], image.shape[0]


#: ``LoadImageFromFile`` with its defaults.
DEFAULT = Decoder()


@contextmanager
def images_of_any_size() -> Iterator[None]:
    """Let Pillow open large images: aerial images exceed its limit for decompression bombs."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def image_sizes(
    paths: Sequence[Path], title: str, decode: bool = False, decoder: Decoder = DEFAULT
) -> Iterator[tuple[int, int] | DataError]:
    """Read the sizes of images, with a progress bar.

    Args:
        paths (Sequence[Path]): The files.
        title (str): Title of the progress bar.
        decode (bool): Decode each image completely. Defaults to False: read only the header if it proves that the
            image can be decoded.
        decoder (Decoder): How training decodes them. Defaults to ``LoadImageFromFile`` with its defaults.

    Yields:
        tuple[int, int] | DataError: Width and height in pixels, or why the file cannot be read, in the order of paths.
    """
    work = partial(_read_sizes, decode=decode, decoder=decoder)
    batches = (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))
    with images_of_any_size(), ThreadPoolExecutor(THREADS) as pool:  # Pillow's limit applies to all threads
        sizes = chain.from_iterable(pool.map(work, batches))
        yield from tqdm(sizes, title, len(paths), unit=' images', leave=False)


def read_size(path: Path, decode: bool, upright: bool = True, decoder: Decoder | None = None) -> tuple[int, int]:
    """Read the size of an image.

    Args:
        path (Path): The file.
        decode (bool): Decode it completely.
        upright (bool): Whether to apply the EXIF orientation if no decoder is given. Defaults to True.
        decoder (Decoder, optional): How training decodes it. Defaults to None: with OpenCV.

    Returns:
        tuple[int, int]: Width and height in pixels.

    Raises:
        DataError: Training cannot decode it. The message does not name the file.
    """
    decoder = decoder or Decoder(flag='color' if upright else 'color_ignore_orientation')
    try:
        size, is_sure = _read_header(path, decoder)
    except DataError as fault:
        # OpenCV reads some formats that Pillow does not
        try:
            return decoder.decode(path)
        except DataError:
            raise fault from None
    if is_sure and not decode:
        return size
    try:
        return decoder.decode(path)
    except DataError as error:
        raise DataError(_fault_of_content(path) or f'{error}; save it as JPEG or PNG') from error


def _read_header(path: Path, decoder: Decoder) -> tuple[tuple[int, int], bool]:
    """Return width and height, and whether the header proves that the decoder can decode the image."""
    try:
        with images_of_any_size(), Image.open(path) as image:
            width, height = image.size
            exif = image.info.get('exif') if decoder.upright and image.format in TURNED else None
            is_sure = decoder.backend == 'cv2' and image.format in SURE
    except MemoryError:
        raise
    except Exception as error:  # a malformed file can make Pillow raise anything
        raise DataError(_reason(error)) from error
    return (height, width) if exif and _orientation(exif) in ON_SIDE else (width, height), is_sure


def _fault_of_content(path: Path) -> str:
    """Return why Pillow cannot decode a file; empty if it can."""
    try:
        with images_of_any_size(), Image.open(path) as image:
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # a malformed file can make Pillow raise anything
        return _reason(error)
    return ''


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return 'unknown format'
    text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return text.strip().splitlines()[-1]


def _orientation(data: bytes) -> int | None:
    """Read the orientation as OpenCV does: only from EXIF, and None if that is malformed."""
    exif = Image.Exif()
    try:
        exif.load(data)
        return exif.get(ExifTags.Base.Orientation)
    except Exception:  # malformed EXIF can make Pillow raise anything
        return None


def _read_sizes(paths: Sequence[Path], decode: bool, decoder: Decoder) -> list[tuple[int, int] | DataError]:
    sizes: list[tuple[int, int] | DataError] = []
    for path in paths:
        try:
            sizes.append(read_size(path, decode, decoder=decoder))
        except DataError as error:
            sizes.append(error)
    return sizes
