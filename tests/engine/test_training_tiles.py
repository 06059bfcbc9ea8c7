"""The tiles that an oriented detector looks at are as large as those that it was trained on."""

import json

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmfasternet.engine.training_tiles import Tiles, training_tiles

RESIZE = dict(type='mmdet.Resize', scale=(384, 256), keep_ratio=True)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmrotate')


def config(**loaders):
    """Data sets in folders, by the names of their loaders."""
    return Config(
        {
            f'{name}_dataloader': dict(
                dataset=dict(type='DOTADataset', data_root=str(root), data_prefix=dict(img_path='images'))
            )
            for name, root in loaders.items()
        }
    )


def draw(folder, *sizes, named='{number}'):
    (folder / 'images').mkdir(parents=True)
    for number, size in enumerate(sizes):
        Image.new('L', size).save(folder / 'images' / f'{named.format(number=number, size=size[0])}.png')
    return folder


def test_tiles_of_the_training(tmp_path):
    """170 pixels, enlarged to 384 for training: enlarged from 384 pixels, objects would look smaller."""
    train, other = draw(tmp_path / 'train', *[(170, 170)] * 3), draw(tmp_path / 'test', (200, 200))
    assert training_tiles(config(train=train, test=other), [RESIZE]) == Tiles(170, is_padded=True)
    assert training_tiles(config(train=tmp_path / 'gone', test=other), [RESIZE]) == Tiles(200, is_padded=True)
    wrapped = config(train=train)
    wrapped.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=wrapped.train_dataloader.dataset)
    assert training_tiles(wrapped, [RESIZE]).size == 170


def test_tiles_of_several_scales(tmp_path):
    sizes = [(side, side) for side in (682, 1024, 2048)]
    folder = draw(tmp_path / 'theirs', *sizes, named='P{number}__{size}__0___0')
    assert training_tiles(config(train=folder), [RESIZE]) == Tiles(1024, is_padded=True)
    # ours say how they were cut
    folder = draw(tmp_path / 'ours', *sizes[:1] * 9)
    (folder / 'split.json').write_text(json.dumps(dict(settings=dict(sizes=[2048, 1024, 682]))))
    assert training_tiles(config(train=folder), [RESIZE]) == Tiles(1024, is_padded=True)


def test_images_that_are_not_cut_into_tiles(tmp_path):
    """Ships of SSDD or HRSC: whole images of several sizes, each resized as a whole."""
    folder = draw(tmp_path / 'ships', (500, 350), (300, 410), (520, 300))
    assert training_tiles(config(train=folder), [RESIZE]) == Tiles(520, is_padded=False)


@pytest.mark.parametrize(
    ('steps', 'expected'),
    [
        ([RESIZE], 384),
        ([dict(type='mmdet.Resize', scale=300)], 300),
        ([dict(type='mmdet.FixShapeResize', width=9, height=9, scale=(512, 512))], 512),
        ([dict(type='mmdet.RandomResize', scale=[(800, 600), (1024, 768)])], 1024),
        ([dict(type='mmdet.RandomChoiceResize', scales=[(800, 600), (640, 640)])], 800),
        ([dict(type='mmdet.Resize', scale_factor=2.0), dict(type='mmdet.Pad', size_divisor=32)], None),
        ([RESIZE, dict(type='mmdet.Resize', scale=(512, 512))], 512),
        ([], None),
    ],
)
def test_without_the_data_the_resize_tells(tmp_path, steps, expected):
    (tmp_path / 'empty/images').mkdir(parents=True)
    found = training_tiles(config(train=tmp_path / 'gone', test=tmp_path / 'empty'), steps)
    assert (found.size if found else None) == expected
