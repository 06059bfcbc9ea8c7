"""Prediction by networks with random weights; trained ones are tested by the tool."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image
from pycocotools.mask import decode
from small_models import from_checkout, gliding_vertex, retinanet, run_predict, save

from mmfasternet.datasets.dota.split import split_dota
from mmfasternet.engine.outputs import write_json
from mmfasternet.engine.predict import Classifier, Detector, load_model
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
    with pytest.raises(ConfigError, match='^model is None; expected a dict'):
        load_model(Config(dict(default_scope='mmdet')), 'a.pth')
    cfg = Config(dict(default_scope='mmpretrain'))
    with pytest.raises(ConfigError, match='expected the config of a detector .* this is one of mmpretrain'):
        Detector(cfg, 'a.pth', 'cpu', score_thr=0.3)


LAZY = """
from mmcv.ops import nms
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.models import FPN, DetDataPreprocessor, FocalLoss, L1Loss, RetinaHead, RetinaNet
from mmdet.models.task_modules import AnchorGenerator
from mmdet.visualization import DetLocalVisualizer

from mmfasternet.models import FasterNet

default_scope = None
model = dict(
    type=RetinaNet,
    data_preprocessor=dict(type=DetDataPreprocessor, mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32),
    backbone=dict(type=FasterNet, arch='t0'),
    neck=dict(
        type=FPN, in_channels=[40, 80, 160, 320], out_channels=32, start_level=1, add_extra_convs='on_input', num_outs=4
    ),
    bbox_head=dict(
        type=RetinaHead, num_classes=3, in_channels=32, feat_channels=32, stacked_convs=1,
        anchor_generator=dict(
            type=AnchorGenerator, octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32, 64]
        ),
        loss_cls=dict(type=FocalLoss, use_sigmoid=True),
        loss_bbox=dict(type=L1Loss),
    ),
    test_cfg=dict(
        nms_pre=50, score_thr=0.0, nms=dict(type=nms, iou_threshold=0.5), max_per_img=10, min_bbox_size=0
    ),
)
pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=(320, 320), keep_ratio=True),
    dict(type=LoadAnnotations, with_bbox=True),
    dict(type=PackDetInputs),
]
test_dataloader = dict(
    dataset=dict(type=CocoDataset, metainfo=dict(classes=('a', 'b', 'c')), pipeline=pipeline)
)
visualizer = dict(type=DetLocalVisualizer)
"""


def photo(path, width=96, height=64, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def objects_in(path):
    return json.loads(path.read_text())['objects']


def test_configs_in_pure_python(tmp_path):
    """Types that are classes, and no default scope; a head has defaults that are names."""
    image = photo(tmp_path / 'a.png')
    files = save(retinanet(), tmp_path)
    run_predict(files, [image], tmp_path / 'names')
    (tmp_path / 'lazy.py').write_text(LAZY)
    run_predict((tmp_path / 'lazy.py', files[1]), [image], tmp_path / 'classes')
    assert objects_in(tmp_path / 'classes/a.json') == objects_in(tmp_path / 'names/a.json') != []
    assert (tmp_path / 'classes/a.jpg').read_bytes() == (tmp_path / 'names/a.jpg').read_bytes()


@pytest.mark.parametrize(
    ('meta', 'names'),
    [
        ({}, ['a', 'b', 'c']),
        (dict(dataset_meta=dict(classes=('x', 'y', 'z'), palette=[(1, 2, 3)])), ['x', 'y', 'z']),
        (dict(dataset_meta=dict(CLASSES=('x', 'y', 'z'))), ['x', 'y', 'z']),
        # mmdet 2
        (dict(CLASSES=('x', 'y', 'z'), PALETTE=[[1, 2, 3]]), ['x', 'y', 'z']),
        (dict(dataset_meta=None), ['a', 'b', 'c']),
        # fewer names than the model has classes
        (dict(dataset_meta=dict(classes=('x',))), ['x', 'class 1', 'class 2']),
    ],
)
def test_names_of_classes(tmp_path, meta, names):
    cfg = retinanet()
    cfg.test_dataloader.dataset.metainfo.palette = [(9, 9, 9)]
    run_predict(save(cfg, tmp_path, meta), [photo(tmp_path / 'a.png')], tmp_path / 'out')
    found = objects_in(tmp_path / 'out/a.json')
    assert found and all(item['class'] == names[item['label']] for item in found)


def test_a_hundred_and_twenty_classes(tmp_path):
    """More than CocoDataset has colours."""
    cfg = retinanet(num_classes=120)
    cfg.test_dataloader.dataset.metainfo.classes = tuple(map(str, range(120)))
    files = save(cfg, tmp_path)
    content = torch.load(files[1])
    content['state_dict']['bbox_head.retina_cls.bias'] += torch.arange(120) / 10
    torch.save(content, files[1])
    run_predict(files, [photo(tmp_path / 'a.png')], tmp_path / 'out')
    assert max(item['label'] for item in objects_in(tmp_path / 'out/a.json')) >= 80
    assert (tmp_path / 'out/a.jpg').is_file()


def test_eighteen_classes_of_aerial_images(tmp_path):
    cfg = from_checkout('oriented_rcnn_fasternet_t0_mini_dota')
    cfg.model.roi_head.bbox_head.num_classes = 18
    cfg.test_dataloader.dataset.metainfo = dict(classes=tuple(map(str, range(18))))
    files = save(cfg, tmp_path)
    content = torch.load(files[1])
    content['state_dict']['roi_head.bbox_head.fc_cls.bias'] += torch.arange(19)
    torch.save(content, files[1])
    run_predict(files, [photo(tmp_path / 'a.png')], tmp_path / 'out', tile_size=96)
    found = objects_in(tmp_path / 'out/a.json')
    assert max(item['label'] for item in found) >= 15 and {'cx', 'angle', 'corners'} <= found[0].keys()


def test_quadrilaterals_in_tiles(tmp_path):
    """Gliding vertex predicts four corners; those of the right tile lie in the right half of the image."""
    run_predict(save(gliding_vertex(), tmp_path), [photo(tmp_path / 'a.png', 160, 96)], tmp_path / 'out', tile_size=96)
    found = objects_in(tmp_path / 'out/a.json')
    assert found and 'bbox' not in found[0] and 'cx' not in found[0]
    quads = np.array([item['corners'] for item in found])
    assert quads.shape[1:] == (4, 2) and quads[..., 0].max() > 96
    assert (quads.mean(1) >= -8).all() and (quads.mean(1) <= (168, 104)).all()
    with Image.open(tmp_path / 'out/a.jpg') as picture:
        assert picture.width == 160 and picture.height > 96  # the legend


def test_horizontal_boxes_of_mmrotate(tmp_path):
    files = save(retinanet('mmrotate'), tmp_path)
    run_predict(files, [photo(tmp_path / 'a.png', 160, 96)], tmp_path / 'out', tile_size=96)
    found = objects_in(tmp_path / 'out/a.json')
    assert max(item['bbox'][2] for item in found) > 96 and 'cx' not in found[0]
    assert (tmp_path / 'out/a.jpg').is_file()


def test_tiles_are_as_large_as_in_training(tmp_path):
    photo(tmp_path / 'raw/test/images/P1.png', 400, 170)
    split_dota(tmp_path / 'raw', tmp_path / 'tiles', size=170, overlap=40, splits=['test'], workers=1)
    cfg = from_checkout('oriented_rcnn_fasternet_t0_mini_dota')
    cfg.test_dataloader.dataset.update(data_root=f'{tmp_path}/tiles/', data_prefix=dict(img_path='test/images/'))
    config, checkpoint = save(cfg, tmp_path)
    detector = Detector(Config.fromfile(config), checkpoint, 'cpu', score_thr=0.3)
    # not of the 384 pixels to which they are enlarged
    assert detector.windows(300, 170).tolist() == [[0, 0, 170, 170], [130, 0, 300, 170]]


def test_classifier(tmp_path):
    """The five best classes, as mmpretrain itself finds them."""
    cfg = from_checkout('fasternet_t0_mini_imagenet')
    config, checkpoint = save(cfg, tmp_path, dict(dataset_meta=dict(classes=tuple('abcdefghij'))))
    image = photo(tmp_path / 'a.png', 200, 150)
    run_predict((config, checkpoint), [image], tmp_path / 'out')
    content = json.loads((tmp_path / 'out/a.json').read_text())
    assert (content['image'], content['width'], content['height']) == (str(image), 200, 150)
    from mmpretrain import ImageClassificationInferencer

    cfg.model.data_preprocessor = cfg.data_preprocessor
    (theirs,) = ImageClassificationInferencer(cfg, pretrained=checkpoint, device='cpu')(str(image))
    order = np.argsort(-theirs['pred_scores'])[:5]
    assert [item['label'] for item in content['classes']] == order.tolist()
    assert [item['class'] for item in content['classes']] == ['abcdefghij'[label] for label in order]
    scores = [item['score'] for item in content['classes']]
    assert scores == pytest.approx(theirs['pred_scores'][order], abs=1e-6) and scores == sorted(scores)[::-1]
    with Image.open(tmp_path / 'out/a.jpg') as picture:
        # below the image, which is enlarged for the text
        assert picture.width == 256 and picture.height > 192 + 30
        assert np.asarray(picture)[192:].min() < 60 < 240 < np.median(np.asarray(picture)[192:])


def test_what_predicts_neither_objects_nor_classes(tmp_path):
    cfg = from_checkout('fasternet_t0_mini_imagenet')
    files = save(cfg, tmp_path)
    classifier = Classifier(Config.fromfile(files[0]), files[1], 'cpu')
    classifier.model.test_step = lambda data: [InstanceData()]
    with pytest.raises(ConfigError, match='the model predicts no scores of classes'):
        classifier(Image.new('RGB', (64, 64)))
    files = save(retinanet(), tmp_path)
    detector = Detector(Config.fromfile(files[0]), files[1], 'cpu', score_thr=0.0)
    detector.model.test_step = lambda data: [InstanceData()]
    with pytest.raises(ConfigError, match='the model predicts no objects with boxes'):
        detector(Image.new('RGB', (64, 64)))


def test_images_and_output_are_checked_first(tmp_path):
    """Before config and checkpoint, which need not exist here."""
    files, image = ('no.py', 'no.pth'), photo(tmp_path / 'photos/a.jpg')
    for images, out, options, expected in (
        ([tmp_path / 'gone.png'], 'out', {}, 'gone.png does not exist'),
        ([image, 'https://example.com/a.jpg'], 'out', {}, 'https://example.com/a.jpg is a URL'),
        ([image], 'photos/a.jpg', {}, '--out .*a.jpg cannot be written: .*a.jpg exists and is not a folder'),
        ([image], 'photos', {}, 'a result would replace the image'),
        ([image], 'out', dict(score_thr=2), '--score-thr 2: scores are between 0 and 1'),
        ([image], 'out', dict(tile_size=0), '--tile-size 0: expected at least 1 pixel'),
        ([image], 'out', {}, 'no.pth does not exist'),
    ):
        with pytest.raises((DataError, ConfigError, CheckpointError), match=expected) as caught:
            run_predict(files, images, tmp_path / out, **options)
        assert '\n' not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ['photos']


def test_images_of_the_same_name_and_unreadable_ones(tmp_path, capsys):
    """Each has its own results; the readable ones are done, and one line reports the others."""
    files = save(retinanet(), tmp_path)
    images = [photo(tmp_path / name) for name in ('x/a.png', 'x/a.webp', 'y/b.gif', 'z/b.gif')]
    torn = tmp_path / 'x/c.png'
    torn.write_bytes(images[0].read_bytes()[:3000])
    expected = '^1 of 5 images cannot be read: .*c.png: unreadable image: .*truncated[^\n]*$'
    with pytest.raises(DataError, match=expected):
        run_predict(files, [*(tmp_path / name for name in 'xyz')], tmp_path / 'out')
    assert f'4 images: pictures and JSON files in {tmp_path}/out' in capsys.readouterr().out
    written = {path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*.*')}
    names = ('a.png', 'a.webp', 'y/b', 'z/b')
    assert written == {f'{name}{ending}' for name in names for ending in ('.jpg', '.json')}
    assert json.loads((tmp_path / 'out/z/b.json').read_text())['image'] == str(images[3])
    # nothing is done, so nothing is said to be
    with pytest.raises(DataError, match='^1 of 1 images cannot be read'):
        run_predict(files, [torn], tmp_path / 'none')
    assert 'pictures' not in capsys.readouterr().out


def test_a_disk_that_is_full_later(tmp_path, monkeypatch):
    files, image = save(retinanet(), tmp_path), photo(tmp_path / 'a.png')

    def no_room(path, *_args, **_kwargs):
        Path('/dev/full').write_bytes(b'picture')

    monkeypatch.setattr('mmfasternet.engine.predict.draw_upright', no_room)
    with pytest.raises(ConfigError, match='^--out .*/out cannot be written: No space left on device; make room'):
        run_predict(files, [image], tmp_path / 'out')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.json']


def test_images_of_sixteen_bits(tmp_path):
    """A model of one channel, and a loader that leaves images as they are."""
    cfg = retinanet()
    cfg.model.backbone.in_channels = 1
    cfg.model.data_preprocessor.update(mean=[30000.0], std=[10000.0])
    cfg.test_dataloader.dataset.pipeline[0] = dict(
        type='LoadImageFromFile', color_type='unchanged', imdecode_backend='cv2', to_float32=True
    )
    pixels = np.random.default_rng(0).integers(0, 65536, (64, 96), dtype=np.uint16)
    for name in ('a.png', 'b.tif'):
        Image.fromarray(pixels).save(tmp_path / name)
    run_predict(save(cfg, tmp_path), [tmp_path / 'a.png', tmp_path / 'b.tif'], tmp_path / 'out')
    assert objects_in(tmp_path / 'out/a.json') == objects_in(tmp_path / 'out/b.json') != []
    with Image.open(tmp_path / 'out/a.jpg') as picture:
        assert picture.size == (96, 64)
