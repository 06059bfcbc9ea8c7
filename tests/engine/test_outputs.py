"""JSON files and pictures of what was found."""

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image
from pycocotools.mask import decode

from mmfasternet.engine.outputs import Mask, draw_oriented, write_json

META = dict(classes=('plane', 'ship'), palette=[(200, 0, 0), (0, 0, 200)])


def found(*boxes, **others):
    count = len(boxes)
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(count, -1 if count else 5),
        scores=torch.linspace(0.9, 0.5, count),
        labels=torch.arange(count) % 2,
        **others,
    )


def test_a_mask_at_its_place():
    whole = Mask(3, 1, np.ones((2, 4), bool)).whole(height=4, width=6)
    # what reaches over the right edge is cut
    assert np.argwhere(whole).tolist() == [[1, 3], [1, 4], [1, 5], [2, 3], [2, 4], [2, 5]]


def test_oriented_json(tmp_path):
    write_json(
        tmp_path / 'a.json', 'x/P1.png', (90, 60), found((30, 20, 20, 10, 0), (50, 40, 8, 4, 0.5)), META['classes']
    )
    content = json.loads((tmp_path / 'a.json').read_text())
    assert (content['image'], content['width'], content['height']) == ('x/P1.png', 90, 60)
    plane, ship = content['objects']
    assert plane == {
        'class': 'plane', 'label': 0, 'score': pytest.approx(0.9),
        'cx': 30, 'cy': 20, 'w': 20, 'h': 10, 'angle': 0,
        'corners': [[40, 25], [40, 15], [20, 15], [20, 25]],
    }  # fmt: skip
    assert (ship['class'], ship['angle']) == ('ship', 0.5)
    # a line an object
    assert len((tmp_path / 'a.json').read_text().splitlines()) == 4


def test_upright_json(tmp_path):
    mask = Mask(10, 20, np.ones((5, 6), bool))
    write_json(tmp_path / 'a.json', 'P1.png', (90, 60), found((10, 20, 16, 25), masks=[mask]), META['classes'])
    (item,) = json.loads((tmp_path / 'a.json').read_text())['objects']
    assert item['bbox'] == [10, 20, 16, 25]
    whole = decode(item['mask'])
    assert whole.shape == (60, 90) and whole.sum() == whole[20:25, 10:16].sum() == 30


def test_nothing_found(tmp_path):
    write_json(tmp_path / 'a.json', 'P1.png', (90, 60), found(), META['classes'])
    assert json.loads((tmp_path / 'a.json').read_text())['objects'] == []
    draw_oriented(tmp_path / 'a.jpg', Image.new('RGB', (90, 60)), found(), META)
    assert Image.open(tmp_path / 'a.jpg').size == (90, 60)


def test_oriented_picture(tmp_path):
    """Lines where the boxes are, in the colours of their classes, and a legend below the image."""
    draw_oriented(
        tmp_path / 'a.jpg', Image.new('RGB', (200, 100)), found((60, 50, 40, 20, 0), (150, 50, 40, 20, 0)), META
    )
    with Image.open(tmp_path / 'a.jpg') as picture:
        pixels = np.asarray(picture.convert('RGB')).astype(int)
    assert pixels.shape[0] > 100 and pixels.shape[1] == 200
    assert pixels[40, 60, 0] > 120 > pixels[40, 60, 2]
    assert pixels[40, 150, 2] > 120 > pixels[40, 150, 0]
    assert pixels[50, 60].max() < 60
    assert (pixels[100:].min(axis=(0, 1)) < 60).all() and np.median(pixels[100:]) > 240


def test_a_picture_that_fails_leaves_the_old_one(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'old')
    with pytest.raises(KeyError):
        draw_oriented(tmp_path / 'a.jpg', Image.new('RGB', (9, 9)), found((5, 5, 4, 2, 0)), {})
    with pytest.raises(TypeError):
        write_json(tmp_path / 'a.json', 'P1.png', (90, 60), found((5, 5, 4, 2, 0)), [object()])
    assert [path.name for path in tmp_path.iterdir()] == ['a.jpg']
    assert (tmp_path / 'a.jpg').read_bytes() == b'old'
