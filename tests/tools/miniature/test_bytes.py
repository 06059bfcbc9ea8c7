"""The drawn data sets are the same to the byte as when their versions were set."""

from __future__ import annotations

import hashlib

import pytest

#: SHA-256 over names and contents, with the pinned versions of NumPy, Pillow, shapely, OpenCV and scikit-image.
CHECKSUMS = {
    'mini_coco': 'cc4de1343b2584dbf2119407a23c280c747c6db7025f9428b1598efbc405eaed',
    'mini_dota': '49eb9f0175c58917748f5a873c8d623bb8398a8c11294cf3376bfa9d0576bce4',
    'mini_imagenet': '85f4e0d5b850f3b127c3985b13476868193881cf256f27666c76336bc48158af',
}


def checksum(folder):
    total = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()):
        content = (folder / name).read_bytes()
        total.update(f'{name}\0{len(content)}\0'.encode() + content)
    return total.hexdigest()


@pytest.mark.parametrize('name', CHECKSUMS)
def test_bytes_have_not_changed(request, name):
    """If a change is intended, raise the data set's VERSION together with its checksum."""
    assert checksum(request.getfixturevalue(name)) == CHECKSUMS[name]
