"""The corruptions of ImageNet-C, as the package imagecorruptions makes them for pictures of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from mmfasternet.errors import DependencyError

#: The corruptions that take a seed; the others draw from NumPy's global generator.
SEEDED = ('impulse_noise', 'glass_blur')


def load_corrupt() -> Callable[..., np.ndarray]:
    """Import the function ``corrupt``, late, since its compiler loads slowly and only mini ImageNet needs it.

    Raises:
        DependencyError: imagecorruptions is not installed.
    """
    try:
        from imagecorruptions import corrupt
    except ImportError as error:
        raise DependencyError(
            f"mini ImageNet needs {error.name}, which is not installed; run pip install 'mmfasternet[miniature]'"
        ) from error
    return corrupt


def stay_single() -> None:
    """Turn off threads of OpenCV in this process: a process forked from one that used them would hang."""
    import cv2

    cv2.setNumThreads(0)


def corrupt(rng: np.random.Generator, picture: Image.Image, corruption: str, severity: int) -> Image.Image:
    """Corrupt a picture of at least 32 x 32 pixels. This seeds NumPy's global generator.

    Args:
        corruption (str): Its name in ImageNet-C.
        severity (int): 1 to 5.

    Raises:
        DependencyError: imagecorruptions is not installed.
    """
    seed = int(rng.integers(2**32))
    np.random.seed(seed)
    options = {'seed': seed} if corruption in SEEDED else {}
    return Image.fromarray(load_corrupt()(np.asarray(picture), severity, corruption, **options))
