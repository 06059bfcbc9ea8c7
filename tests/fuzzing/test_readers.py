"""Whatever is in a file or a config: it is read, or our own error says in one line what is wrong.

Few generated inputs in every test run, the same ones each time; 12,000 others with ``FUZZING=long``.
"""

import contextlib
import io
import json
import os
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from damage import ODD, damaged, damaged_bytes, leaves, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.registry import init_default_scope
from PIL import Image

from mmfasternet.checkpoints.formats import fit_backbone, fit_classifier, recognise, with_averaged_first
from mmfasternet.checkpoints.loading import read_checkpoint
from mmfasternet.datasets.coco.annotations import check_annotations, read_annotations
from mmfasternet.datasets.coco.check import check_images, check_masks, run_length_bounds
from mmfasternet.datasets.dota.geometry import check_tiles
from mmfasternet.datasets.dota.labels import CLASSES, read_labels
from mmfasternet.datasets.image_files import read_size
from mmfasternet.engine.config import read_config
from mmfasternet.engine.preflight import check
from mmfasternet.errors import MMFasterNetError
from mmfasternet.models import FasterNet

COMMON = dict(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile('short', max_examples=25, derandomize=True, **COMMON)
settings.register_profile('long', max_examples=1200, **COMMON)
settings.load_profile(os.environ.get('FUZZING', 'short'))

COCO = {
    'images': [
        {'id': 1, 'file_name': 'a.png', 'width': 40, 'height': 30},
        {'id': 2, 'file_name': 'b.png', 'width': 40, 'height': 30},
    ],
    'annotations': [
        {
            'id': 1,
            'image_id': 1,
            'category_id': 1,
            'bbox': [2, 3, 10, 10],
            'area': 100,
            'iscrowd': 0,
            'segmentation': [[2, 3, 12, 3, 12, 13, 2.5, 13]],
        },
        {
            'id': 2,
            'image_id': 2,
            'category_id': 2,
            'bbox': [0, 5, 2, 3],
            'area': 6.0,
            'iscrowd': 1,
            'segmentation': {'size': [30, 40], 'counts': [5, 3, 27, 3]},
        },
        {
            'id': 3,
            'image_id': 2,
            'category_id': 2,
            'bbox': [0, 5, 2, 3],
            'area': 6,
            'segmentation': {'size': [30, 40], 'counts': '53k00'},
        },
    ],
    'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
}
SQUARE = '10 20 30 20 30 40 10 40 ship 0'


@contextlib.contextmanager
def only_our_errors():
    """Let our own errors pass, if they are one printable line."""
    try:
        yield
    except MMFasterNetError as error:
        assert str(error) and str(error).isprintable()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fuzzing')
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (40, 30)).save(folder / name)
    for name in ('images', 'annfiles'):
        (folder / name).mkdir()
    Image.new('RGB', (64, 64)).save(folder / 'images/P1.png')
    return folder


def check_coco(data, folder):
    path = folder / 'annotations.json'
    path.write_bytes(data)
    with only_our_errors():
        annotations, report = check_annotations(read_annotations(path), ['cat', 'dog'], {'min_size': 5}, True)
        findings = report.findings + check_masks(annotations) + check_images(annotations, folder, decode=True)
        assert 0 <= report.kept_objects <= report.objects and 0 <= report.kept_images <= report.images
        assert all(str(finding).isprintable() for finding in findings)


@given(content=damaged(COCO))
def test_entries_of_annotations(folder, content):
    check_coco(json.dumps(content).encode(), folder)


@given(data=damaged_bytes(json.dumps(COCO).encode()))
def test_bytes_of_annotations(folder, data):
    check_coco(data, folder)


@given(
    counts=st.lists(st.integers(-1, 40) | leaves, max_size=12) | st.text(st.characters(max_codepoint=130), max_size=12),
    size=st.just([6, 7]) | values,
)
def test_run_lengths(counts, size):
    with contextlib.suppress(ValueError):
        left, top, right, bottom = run_length_bounds(dict(counts=counts, size=size), 7, 6)
        assert 0 <= left <= right <= 7 and 0 <= top <= bottom <= 6


def pictures():
    for file_format in ('JPEG', 'PNG', 'BMP', 'TIFF'):
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new('RGB', (20, 10), 'red').save(file, file_format, exif=exif)
        yield file.getvalue()


PICTURES = list(pictures())


@given(data=st.sampled_from(PICTURES).flatmap(damaged_bytes), decode=st.booleans())
def test_bytes_of_images(folder, data, decode):
    path = folder / 'image'
    path.write_bytes(data)
    with only_our_errors():
        assert min(read_size(path, decode, upright=True)) >= 0


numbers = st.floats().map(str) | st.integers(-100, 100).map(str) | st.text(max_size=5)
lines = st.builds(
    lambda fields, name, rest: ' '.join([*fields, name, *rest]),
    st.lists(numbers, min_size=7, max_size=9),
    st.sampled_from(['ship', 'plane', 'boat', '']) | st.text(max_size=8),
    st.lists(st.sampled_from(['0', '1', '-1', '2.0', '٣', '9' * 5000]) | st.text(max_size=3), max_size=2),
)
labels = st.lists(lines | st.just(SQUARE) | st.text(max_size=20), max_size=6).map('\n'.join)


@given(data=labels.map(lambda text: text.encode(errors='surrogatepass')) | damaged_bytes(f'{SQUARE}\n'.encode() * 3))
def test_label_files(folder, data):
    path = folder / 'annfiles/P1.txt'
    path.write_bytes(data)
    with only_our_errors():
        objects, faults = read_labels(path, CLASSES['1.0'])
        report = check_tiles(folder / 'images', folder / 'annfiles', CLASSES['1.0'], drops_empty=True)
        assert len(objects) <= report.objects
        assert all(str(item).isprintable() for item in (*faults, *report.findings))


NETWORK = FasterNet(dict(embed_dims=8, depths=(1, 1)), out_indices=(0, 1)).state_dict()
tensors = st.sampled_from([torch.zeros(3), torch.zeros(8, 3, 4, 4), torch.zeros(())])
parts = st.sampled_from(
    [
        'stages',
        'blocks',
        'downsample',
        'conv_head',
        'classifier',
        'head',
        'backbone',
        'module',
        'norm0',
        '0',
        '٣',
        '9' * 5000,
    ]
)
names = (
    st.lists(parts | st.text(max_size=3), max_size=5).map('.'.join)
    | st.sampled_from(list(NETWORK))
    | st.integers()
    | st.none()
)


@st.composite
def checkpoints(draw):
    """A small FasterNet's, with tensors missing and added, under other names, and nested."""
    missing = draw(st.lists(st.sampled_from(list(NETWORK)), max_size=3))
    prefix = draw(st.sampled_from(['', 'module.', 'backbone.', 'model.backbone.', '_orig_mod.', '.']))
    content = {prefix + name: value for name, value in NETWORK.items() if name not in missing}
    content |= draw(st.dictionaries(names, tensors | values, max_size=4))
    for nest in draw(st.lists(st.sampled_from(['state_dict', 'model', 'state_dict_ema', 'model_ema']), max_size=3)):
        content = {nest: content, **draw(st.dictionaries(names, tensors | values, max_size=2))}
    if draw(st.integers(0, 9)) == 9:
        content['state_dict'] = content
    return content


@given(content=checkpoints())
def test_names_of_tensors(content):
    averaged = with_averaged_first(content)
    with only_our_errors():
        weights = recognise(averaged)
        for convert in (weights.as_timm, weights.as_released, weights.as_model):
            assert all(isinstance(name, str) for name in convert())
        assert fit_classifier(averaged).keys() == weights.as_model().keys()
        fit = fit_backbone(averaged, NETWORK)
        assert {name: value.shape for name, value in fit.tensors.items()} == {
            name: value.shape for name, value in NETWORK.items()
        }


def checkpoint_files():
    weights = {'w': torch.arange(4.0)}
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = {'state_dict': weights, 'meta': ConfigDict(epoch=3), 'message_hub': OrderedDict(loss=history)}
    for is_zip in (True, False):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=is_zip)
        yield '.pth', file.getvalue()
    yield '.safetensors', safetensors.torch.save(weights, {'a': 'b'})


CHECKPOINT_FILES = list(checkpoint_files())


@st.composite
def damaged_checkpoints(draw):
    suffix, data = draw(st.sampled_from(CHECKPOINT_FILES))
    return suffix, draw(damaged_bytes(data))


@given(file=damaged_checkpoints())
def test_bytes_of_checkpoints(folder, file):
    path = (folder / 'checkpoint').with_suffix(file[0])
    path.write_bytes(file[1])
    with only_our_errors():
        assert isinstance(read_checkpoint(path), dict)


def mostly(*good):
    return st.sampled_from(good) | st.sampled_from(good) | st.sampled_from(ODD) | values


arguments = st.fixed_dictionaries(
    {
        'arch': mostly('t0', 'l')
        | st.fixed_dictionaries(
            {'embed_dims': mostly(8, 12), 'depths': mostly((1, 1), [2, 1, 1])},
            optional={'drop_path_rate': mostly(0.1), 'act_cfg': mostly(dict(type='ReLU')), 'odd': values},
        )
    },
    optional={
        'drop_path_rate': mostly(None, 0, 0.3),
        'in_channels': mostly(1, 3),
        'partial_ratio': mostly(0.25, 0.5, 1),
        'mlp_ratio': mostly(2, 1.5),
        'patch_size': mostly(2, 4),
        'layer_scale_init_value': mostly(0, 1e-6),
        'out_indices': mostly((0,), [1, 0]),
        'norm_cfg': mostly(dict(type='BN'), dict(type='GN', num_groups=4), dict(type='LN2d')),
        'act_cfg': mostly(dict(type='GELU'), dict(type='Linear'), dict(type='ReLU', odd=1)),
        'frozen_stages': mostly(-1, 1),
        'init_cfg': mostly(None, dict(type='Kaiming', layer='Conv2d')),
        'with_cp': st.booleans(),
        'compile': st.booleans(),
    },
)


@given(arguments=arguments)
def test_arguments_of_the_backbone(arguments):
    # the sizes are real, the memory is not
    with only_our_errors(), torch.device('meta'):
        model = FasterNet(**arguments)
        assert len(list(model.parameters())) > 0


statements = st.sampled_from(
    [
        "model = dict(type='A', b=[1, 2])",
        "_base_ = 'nowhere.py'",
        "_base_ = 'mmdet::nowhere.py'",
        "_base_ = 'nowhere::a.py'",
        '_base_ = 3',
        'a = _base_.b',
        "a = '{{_base_.b}}'",
        "a = '{{ fileDirname }}'",
        'a = 1 / 0',
        'a = b',
        'import nowhere',
        'from mmengine.config import read_base',
        'with read_base():',
        '    from .nowhere import *',
        'default_scope = 3',
        "default_scope = 'mmdet'",
        "custom_imports = dict(imports=['nowhere'])",
        "custom_imports = dict(imports=['nowhere'], allow_failed_imports=False)",
        "custom_imports = 'nowhere'",
        'env_cfg = None',
        'filename = 1',
        'a = (lambda: a)()',
        'a = object()',
        'class A: pass',
    ]
)
options = st.dictionaries(
    st.sampled_from(['model', 'model.b', 'model.b.0', 'model.b.9', 'model.type.c', 'a', '', '.', 'default_scope']),
    values,
    max_size=2,
)


@given(text=st.lists(statements | st.text(max_size=10), max_size=4).map('\n'.join), options=options)
def test_configs(folder, text, options):
    path = folder / 'config.py'
    path.write_bytes(text.encode(errors='surrogatepass'))
    with only_our_errors():
        assert isinstance(read_config(str(path), options), Config)


@given(cfg=st.data())
def test_settings_that_a_start_looks_at(folder, cfg):
    (folder / 'annotations.json').write_text(json.dumps(COCO))
    (folder / 'annfiles/P1.txt').write_text(SQUARE)
    coco = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='annotations.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=['cat', 'dog']),
        filter_cfg=dict(filter_empty_gt=True, min_size=4),
        pipeline=[dict(type='LoadAnnotations', with_mask=True)],
    )
    dota = dict(
        type='mmrotate.DOTADataset',
        data_root=str(folder),
        ann_file='annfiles',
        data_prefix=dict(img_path='images'),
        img_suffix='png',
    )
    good = dict(
        model=dict(backbone=dict(type='FasterNet', arch='t0'), head=dict(num_classes=3)),
        load_from=None,
        train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[coco, dict(type='X', dataset=dota)])),
    )
    init_default_scope('mmdet')
    content = cfg.draw(damaged(good))
    # a path in the message is as odd as in the config
    with contextlib.suppress(MMFasterNetError):
        check(Config(content), 'train')
