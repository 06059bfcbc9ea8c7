import email
import io
import json
import shutil
from urllib.error import URLError

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmfasternet.checkpoints import download
from mmfasternet.engine import check
from mmfasternet.engine.checkpoint_checks import check_checkpoint, fetch_checkpoint
from mmfasternet.errors import CheckpointError, ConfigError, DataError
from mmfasternet.models import FasterNet

CLASSES = ('traffic light', 'stop sign', 'kite')


def annotations_of(root, split='train'):
    return root / 'annotations' / f'instances_{split}2017.json'


def make_cfg(root, **backbone):
    def loader(split):
        dataset = dict(
            type='CocoDataset',
            data_root=f'{root}/',
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix=dict(img=f'{split}2017/'),
            metainfo=dict(classes=CLASSES),
        )
        return dict(dataset=dataset)

    init_default_scope('mmdet')
    return Config(
        dict(
            model=dict(type='MaskRCNN', backbone=dict(type='FasterNet', **backbone)),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            test_dataloader=loader('val'),
        )
    )


def test_good_config_and_data_pass(mini_coco):
    check(make_cfg(mini_coco), 'train')
    check(make_cfg(mini_coco), 'test')


def test_all_80_classes_pass(mini_coco):
    cfg = make_cfg(mini_coco)
    del cfg.train_dataloader.dataset['metainfo']
    check(cfg, 'train')


def test_wrapped_data_sets_are_looked_into(mini_coco):
    cfg = make_cfg(mini_coco)
    inner = cfg.train_dataloader.dataset
    broken = Config(dict(inner, ann_file='nowhere.json'))._cfg_dict
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    check(cfg, 'train')
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, broken])
    with pytest.raises(DataError, match='nowhere.json'):
        check(cfg, 'train')


def break_arch(root, cfg):
    cfg.model.backbone.arch = 'huge'


def break_root(root, cfg):
    cfg.train_dataloader.dataset.data_root = 'data/nowhere'


def break_annotations(root, cfg):
    annotations_of(root).unlink()


def break_json(root, cfg):
    annotations_of(root).write_bytes(annotations_of(root).read_bytes()[:1000])


def break_keys(root, cfg):
    annotations_of(root).write_text('{"images": []}')


def break_list(root, cfg):
    annotations_of(root).write_text('[]')


def break_image(root, cfg):
    for number in (3, 5):
        (root / 'train2017' / f'{number:012}.jpg').unlink()


def break_folder(root, cfg):
    (root / 'train2017').rename(root / 'elsewhere')


def break_class(root, cfg):
    cfg.train_dataloader.dataset.metainfo.classes = (*CLASSES, 'unicorn')


def break_category(root, cfg):
    content = json.loads(annotations_of(root).read_text())
    content['categories'] = [c for c in content['categories'] if c['name'] != 'kite']
    annotations_of(root).write_text(json.dumps(content))


def break_type(root, cfg):
    cfg.train_dataloader.dataset.type = 'CocoaDataset'


def break_weights(root, cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=f'{root}/weights.pth')


def break_load_from(root, cfg):
    (root / 'epoch_11.pth').touch()
    cfg.load_from = f'{root}/epoch_12.pth'


@pytest.mark.parametrize('damage, error, message', [
    (break_arch, ConfigError, "unknown arch 'huge'; choose one of t0, t1"),
    (break_root, DataError, r'train_dataloader: the folder data/nowhere does not exist .* /.*make_miniature.py coco'),
    (break_annotations, DataError, 'train_dataloader: the annotations .*instances_train2017.json do not exist'),
    (break_json, DataError, 'instances_train2017.json is not JSON: '),
    (break_keys, DataError, 'not in the format of COCO: it lacks annotations, categories'),
    (break_list, DataError, 'it lacks images, annotations, categories'),
    (break_image, DataError, r'images that do not exist \(2\), .*: 000000000003.jpg: not in .*train2017, 000'),
    (break_folder, DataError, 'the folder of images .*train2017 does not exist'),
    (break_class, DataError, 'unknown class unicorn in metainfo.classes; .*has the categories person, .*and 70 more'),
    (break_category, DataError, 'unknown class kite'),
    (break_type, ConfigError, "unknown data set type 'CocoaDataset'"),
    (break_weights, CheckpointError, 'init_cfg: .*weights.pth does not exist; there is no .pth file in'),
    (break_load_from, CheckpointError, 'load_from: .*epoch_12.pth does not exist; .* has epoch_11.pth'),
])  # fmt: skip
def test_each_fault_is_one_clear_line(damage, error, message, own_data):
    cfg = make_cfg(own_data)
    damage(own_data, cfg)
    with pytest.raises(error, match=message) as caught:
        check(cfg, 'train')
    assert '\n' not in str(caught.value)


def test_a_test_needs_no_initial_weights_and_no_training_data(own_data):
    cfg = make_cfg(own_data, init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth'))
    annotations_of(own_data, 'train').unlink()
    check(cfg, 'test')
    with pytest.raises(CheckpointError):
        check(cfg, 'train')


def test_only_the_first_process_checks(own_data, monkeypatch):
    cfg = make_cfg(own_data, arch='huge')
    monkeypatch.setenv('RANK', '1')
    check(cfg, 'train')
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(ConfigError):
        check(cfg, 'train')


def test_data_on_a_remote_store_is_left_to_its_backend(own_data):
    cfg = make_cfg(own_data)
    cfg.train_dataloader.dataset.data_root = 's3://bucket/coco/'
    check(cfg, 'train')


def test_an_unnamed_checkpoint():
    with pytest.raises(CheckpointError, match='init_cfg: no checkpoint is named'):
        check_checkpoint(None, 'init_cfg')


class Answer(io.BytesIO):
    """What a server sends."""

    status = 200

    @property
    def headers(self):
        return email.message_from_string(f'Content-Length: {len(self.getvalue())}')


def test_weights_are_fetched_once_to_torchs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    content = io.BytesIO()
    torch.save(FasterNet('t0').state_dict(), content)
    calls = []

    def urlopen(request, timeout):
        calls.append(request.full_url)
        return Answer(content.getvalue())

    monkeypatch.setattr(download, 'urlopen', urlopen)
    for _ in range(2):
        fetch_checkpoint('https://example.org/files/t0.pth', 'init_cfg')
    assert calls == ['https://example.org/files/t0.pth']
    assert (tmp_path / 'hub/checkpoints/t0.pth').read_bytes() == content.getvalue()
    model = FasterNet('t0', init_cfg=dict(type='Pretrained', checkpoint='https://example.org/files/t0.pth'))
    model.init_weights()


def test_offline_the_error_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def urlopen(request, timeout):
        raise URLError('no network')

    monkeypatch.setattr(download, 'urlopen', urlopen)
    place = f'{tmp_path}/hub/checkpoints/t0.pth'
    message = f'init_cfg: https://example.org/t0.pth cannot be fetched .no network.*{place}'
    with pytest.raises(CheckpointError, match=message):
        fetch_checkpoint('https://example.org/t0.pth', 'init_cfg')
    # a start without weights is no help to who tests or resumes
    for setting, can_do_without in (('init_cfg', True), ('checkpoint', False)):
        with pytest.raises(CheckpointError) as caught:
            fetch_checkpoint('https://example.org/t0.pth', setting)
        assert str(caught.value).endswith('model.backbone.init_cfg=None') == can_do_without


@pytest.mark.parametrize('source', ['file:///t0.pth', 'torchvision://resnet50', 'work_dirs/t0.pth'])
def test_only_http_is_fetched(source, monkeypatch):
    monkeypatch.setattr(download, 'urlopen', None)
    fetch_checkpoint(source, 'init_cfg')


@pytest.fixture
def tiles(tmp_path):
    """Two tiles of DOTA v1.5 with their labels, as split_dota.py leaves them."""
    for name in ('images', 'annfiles', 'labelTxt'):
        (tmp_path / 'val' / name).mkdir(parents=True)
    for name, label in (('P1__1024__0___0', 'ship'), ('P1__1024__824___0', 'container-crane')):
        (tmp_path / f'val/images/{name}.png').touch()
        (tmp_path / f'val/annfiles/{name}.txt').write_text(f'1.0 1.0 9.0 1.0 9.0 5.0 1.0 5.0 {label} 0\n')
    return tmp_path


def make_dota_cfg(root, version='v15'):
    dataset = dict(
        type=f'DOTA{version}Dataset',
        data_root=f'{root}/',
        ann_file='val/annfiles/',
        data_prefix=dict(img_path='val/images/'),
    )
    init_default_scope('mmrotate')
    return Config(
        dict(
            model=dict(type='X'),
            test_dataloader=dict(dataset=dataset),
            test_evaluator=[dict(type='DOTAMetric'), dict(type='WholeImageDOTAMetric')],
        )
    )


def test_good_tiles_pass(tiles):
    check(make_dota_cfg(tiles), 'test')
    # a split without labels
    (tiles / 'test/images').mkdir(parents=True)
    (tiles / 'test/images/P9__1024__0___0.png').touch()
    cfg = make_dota_cfg(tiles)
    cfg.test_dataloader.dataset.update(ann_file='', data_prefix=dict(img_path='test/images/'))
    cfg.test_evaluator = dict(type='DOTASubmission', out='a.zip')
    check(cfg, 'test')


def test_the_classes_of_another_version(tiles):
    with pytest.raises(DataError, match="824___0.txt:1: 'container-crane' is not among the 15 classes"):
        check(make_dota_cfg(tiles, version=''), 'test')


def remove_images(val):
    shutil.rmtree(val / 'images')


def empty_images(val):
    remove_images(val)
    (val / 'images').mkdir()


def remove_tile(val):
    (val / 'images/P1__1024__824___0.png').unlink()


def empty_labels(val):
    shutil.rmtree(val / 'annfiles')
    (val / 'annfiles').mkdir()


def shorten_line(val):
    (val / 'annfiles/P1__1024__0___0.txt').write_text('\n1.0 2.0\n')


def remove_raw_labels(val):
    shutil.rmtree(val / 'labelTxt')


def rename_tile(val):
    for folder, suffix in (('images', 'png'), ('annfiles', 'txt')):
        (val / folder / f'P1__1024__0___0.{suffix}').rename(val / folder / f'P0001.{suffix}')


@pytest.mark.parametrize('damage, message', [
    (remove_images, 'the folder of tiles .*images does not exist; cut the images of DOTA into tiles'),
    (empty_images, 'images has no tiles'),
    (remove_tile, r'not exist \(1\), .*: P1__1024__824___0.png: the tile of .*annfiles/P1__1024__824___0.txt'),
    (empty_labels, 'annfiles has no label files'),
    (shorten_line, 'P1__1024__0___0.txt:1: 0 fields, expected 10'),
    (remove_raw_labels, 'the folder .*labelTxt does not exist; cut the tiles with'),
    (rename_tile, 'P0001 is not the name of a tile'),
])  # fmt: skip
def test_faults_of_tiles_are_one_clear_line(tiles, damage, message):
    damage(tiles / 'val')
    with pytest.raises(DataError, match=message) as caught:
        check(make_dota_cfg(tiles), 'test')
    assert '\n' not in str(caught.value)


@pytest.fixture
def imagenet(tmp_path):
    """Three classes under their wnids, two images each."""
    for split in ('train', 'val'):
        for wnid in WNIDS:
            (tmp_path / split / wnid).mkdir(parents=True)
            for name in ('a.JPEG', 'b.JPEG'):
                Image.new('RGB', (32, 32)).save(tmp_path / split / wnid / name)
    return tmp_path


WNIDS = ('n01443537', 'n02165456', 'n02317335')


def make_imagenet_cfg(root, classes=WNIDS):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/fasternet_t0_imagenet.py')
    cfg.train_dataloader.batch_size = 2
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
        loader.dataset.metainfo = dict(classes=classes)
    cfg.model.head.num_classes = len(classes)
    return cfg


def test_a_head_of_another_number_of_classes(imagenet):
    cfg = make_imagenet_cfg(imagenet)
    cfg.model.head.num_classes = 1000
    with pytest.raises(ConfigError, match=r'data has 3 classes \(n01443537, .*\), model.head.num_classes is 1000'):
        check(cfg, 'train')


@pytest.mark.parametrize('mode', ['train', 'test'])
@pytest.mark.parametrize('classes', [WNIDS, ('goldfish', 'ladybug', 'starfish')])
def test_good_class_folders_pass(imagenet, mode, classes):
    check(make_imagenet_cfg(imagenet, classes), mode)
    (imagenet / 'meta').mkdir()
    (imagenet / 'meta/val.txt').write_text(''.join(f'{wnid}/a.JPEG {label}\n' for label, wnid in enumerate(WNIDS)))
    check(make_imagenet_cfg(imagenet, classes), mode)


def rename_class(root):
    (root / 'val' / WNIDS[0]).rename(root / 'val/goldfish')


def empty_class(root):
    for path in (root / 'val' / WNIDS[2]).iterdir():
        path.unlink()


def empty_image(root):
    (root / 'val' / WNIDS[2] / 'b.JPEG').write_bytes(b'')


def wrong_label(root):
    (root / 'meta').mkdir()
    (root / 'meta/val.txt').write_text(f'{WNIDS[0]}/a.JPEG 0\n{WNIDS[1]}/a.JPEG 2\n')


def remove_split(root):
    shutil.rmtree(root / 'val')


@pytest.mark.parametrize('damage, message', [
    (rename_class, 'test_dataloader: .*val: goldfish is not a WordNet id'),
    (empty_class, 'test_dataloader: .*val: 1 of 3 classes have no images: n02317335'),
    (empty_image, 'test_dataloader: .*val: 1 images are empty files: n02317335/b.JPEG'),
    (wrong_label, 'test_dataloader: .*val.txt:2: n02165456/a.JPEG has label 2, but its folder is class 1'),
    (remove_split, 'test_dataloader: the folder .*val does not exist; expected one with a folder for each class'),
])  # fmt: skip
def test_faults_of_class_folders_are_one_clear_line(imagenet, damage, message):
    damage(imagenet)
    with pytest.raises(DataError, match=message) as caught:
        check(make_imagenet_cfg(imagenet), 'test')
    assert '\n' not in str(caught.value)


def test_the_thousand_classes_are_those_of_imagenet(imagenet):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/fasternet_t0_imagenet.py')
    cfg.train_dataloader.batch_size = 2
    cfg.test_dataloader.dataset.data_root = str(imagenet)
    with pytest.raises(DataError, match='lacks 997 of the 1000 classes: n01440764, n01484850, n01491361 and 994 more'):
        check(cfg, 'test')
