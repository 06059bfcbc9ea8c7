"""The drawn data sets are the same to the byte as when their versions were set."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

#: SHA-256 over names and contents, with the pinned versions of NumPy, Pillow, shapely, OpenCV and scikit-image.
CHECKSUMS = {
    'mini_coco': 'cc4de1343b2584dbf2119407a23c280c747c6db7025f9428b1598efbc405eaed',
    'mini_dota': '49eb9f0175c58917748f5a873c8d623bb8398a8c11294cf3376bfa9d0576bce4',
    'mini_imagenet': '26692f4ec8fdec34f852799d9eadb18993a92fd474ac90a3fc9025acee2f843f',
}
#: The only part whose bytes depend on the CPU: OpenCV's filter rounds a few pixels differently without AVX2 and FMA.
DEPENDS_ON_CPU = 'imagenet-c/defocus_blur'


def checksum(folder):
    total = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()):
        content = b'' if name.startswith(DEPENDS_ON_CPU) else (folder / name).read_bytes()
        total.update(f'{name}\0{len(content)}\0'.encode() + content)
    return total.hexdigest()


@pytest.mark.parametrize('name', CHECKSUMS)
def test_bytes_have_not_changed(request, name):
    """If a change is intended, raise the VERSION of the data set together with its checksum."""
    assert checksum(request.getfixturevalue(name)) == CHECKSUMS[name]


def test_defocus_blur_has_not_changed(mini_imagenet):
    """The mean difference between neighbouring pixels, which falls with the severity, is the same on all CPUs."""
    differences = []
    for severity in range(1, 6):
        pictures = [Image.open(path) for path in (mini_imagenet / DEPENDS_ON_CPU / str(severity)).rglob('*.JPEG')]
        differences.append(
            np.mean([abs(np.diff(np.asarray(picture, dtype=int), axis=1)).mean() for picture in pictures])
        )
    assert differences == pytest.approx([2.8089, 2.41065, 1.87639, 1.57433, 1.33411], rel=1e-4)
