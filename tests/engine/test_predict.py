"""The parts of prediction that need no trained network; the whole is tested by its tool."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from pycocotools.mask import decode

from mmfasternet.engine.outputs import write_json
from mmfasternet.engine.predict import Detector, find_images, load_model
from mmfasternet.errors import CheckpointError, ConfigError, DataError

ORIENTED = 'configs/oriented_rcnn_fasternet_t0_mini_dota.py'
UPRIGHT = 'configs/mask_rcnn_fasternet_t0_mini_coco.py'


@pytest.fixture
def make_detector(checkout, tmp_path):
    """A detector with random weights, all of whose boxes pass."""

    def make(config, device='cpu', **options):
        cfg = Config.fromfile(checkout / config)
        cfg.model.test_cfg.rcnn.score_thr = 0.0
        init_default_scope(cfg.default_scope)
        checkpoint = tmp_path / 'random.pth'
        torch.manual_seed(0)
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), checkpoint)
        return Detector(cfg, str(checkpoint), device, score_thr=0.0, **options)

    return make


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_find_images(tmp_path):
    folder = touch(tmp_path / 'a', 'P2.png', 'P1.JPG', 'notes.txt')
    single = touch(tmp_path / 'b', 'P3.tif') / 'P3.tif'
    # given twice, predicted once
    assert find_images([str(single), str(folder), str(single)]) == [single, folder / 'P1.JPG', folder / 'P2.png']


def test_folders_without_images_and_two_of_a_name(tmp_path):
    with pytest.raises(DataError, match='a has no images; expected files that end in .png'):
        find_images([str(touch(tmp_path / 'a', 'notes.txt'))])
    folders = [str(touch(tmp_path / name, 'P1.png')) for name in 'bc']
    with pytest.raises(DataError, match='b/P1.png and .*c/P1.png would write the same P1.json'):
        find_images(folders)


def test_which_tiles_are_looked_at(make_detector):
    oriented = make_detector(ORIENTED)
    # as large as in training, padded where the image is smaller, a fifth shared
    assert oriented.windows(300, 200).tolist() == [[0, 0, 384, 384]]
    assert oriented.windows(690, 384).tolist() == [[0, 0, 384, 384], [306, 0, 690, 384]]
    assert oriented.windows(694, 384)[:, 0].tolist() == [0, 308, 310]
    assert make_detector(ORIENTED, overlap=300).windows(600, 384)[:, 0].tolist() == [0, 84, 168, 216]
    assert make_detector(ORIENTED, tile_size=1024).windows(600, 384).tolist() == [[0, 0, 1024, 1024]]
    upright = make_detector(UPRIGHT)
    assert upright.windows(6000, 5000).tolist() == [[0, 0, 6000, 5000]]
    tiled = make_detector(UPRIGHT, tile_size=320)
    assert tiled.windows(300, 200).tolist() == [[0, 0, 300, 200]]
    assert tiled.windows(500, 320).tolist() == [[0, 0, 320, 320], [180, 0, 500, 320]]
    with pytest.raises(ConfigError, match='tiles of 320 pixels that overlap by 320'):
        make_detector(UPRIGHT, tile_size=320, overlap=320)


def test_masks_of_tiles_lie_where_their_boxes_do(make_detector, tmp_path, mini_coco):
    """A photograph in four tiles: boxes, and masks in run lengths of the whole image's size."""
    detector = make_detector(UPRIGHT, tile_size=160, overlap=32)
    path = sorted((mini_coco / 'val2017').iterdir())[0]
    with Image.open(path) as image:
        image = image.convert('RGB')
    found = detector(image)
    assert len(found) > 4
    assert len(found.masks) == len(found.bboxes) == len(found.scores)
    write_json(tmp_path / 'new' / 'a.json', path, image.size, found, detector.dataset_meta['classes'])
    content = json.loads((tmp_path / 'new' / 'a.json').read_text())
    assert (content['image'], content['width'], content['height']) == (str(path), *image.size)
    assert max(item['bbox'][2] for item in content['objects']) > 160
    for item in content['objects']:
        assert item['class'] == detector.dataset_meta['classes'][item['label']]
        mask = decode(item['mask'])
        assert mask.shape == (image.height, image.width)
        if mask.any():
            rows, columns = np.nonzero(mask)
            left, top, right, bottom = item['bbox']
            assert left - 2 <= columns.min() and columns.max() <= right + 2
            assert top - 2 <= rows.min() and rows.max() <= bottom + 2


def test_one_tile_is_the_whole_image(make_detector, mini_coco):
    with Image.open(sorted((mini_coco / 'val2017').iterdir())[0]) as image:
        image = image.convert('RGB')
    whole = make_detector(UPRIGHT)(image)
    assert make_detector(UPRIGHT, tile_size=1000)(image).bboxes.equal(whole.bboxes)


def test_weights_of_another_model(checkout, tmp_path):
    init_default_scope('mmdet')
    cfg = Config.fromfile(checkout / UPRIGHT)
    state = MODELS.build(cfg.model).state_dict()
    del state['rpn_head.rpn_cls.weight']
    torch.save(state, tmp_path / 'less.pth')
    with pytest.raises(
        CheckpointError, match='less.pth does not fit the model of the config: .*rpn_head.rpn_cls'
    ) as caught:
        load_model(cfg, str(tmp_path / 'less.pth'))
    assert '\n' not in str(caught.value)
    del state['roi_head.mask_head.upsample.weight'], state['rpn_head.rpn_cls.bias']
    torch.save(state, tmp_path / 'less.pth')
    with pytest.raises(CheckpointError, match='of the config: .{20,300}$'):
        load_model(cfg, str(tmp_path / 'less.pth'))


def test_what_is_no_detector_and_a_device_that_is_not_there(make_detector, checkout):
    with pytest.raises(ConfigError, match='device cuda:99 cannot be used'):
        make_detector(UPRIGHT, device='cuda:99')
    cfg = Config(dict(default_scope='mmpretrain'))
    with pytest.raises(ConfigError, match='expected the config of a detector .* this is one of mmpretrain'):
        Detector(cfg, 'a.pth', 'cpu', score_thr=0.3)
