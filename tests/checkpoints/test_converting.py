"""A file converted there and back is the same to the bit, and the new file is one that its library loads."""

import hashlib
from argparse import Namespace

import numpy as np
import pytest
import safetensors
import timm
import torch
from conftest import ARCHS, FORMS, as_released, make_timm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file, save_file

from mmfasternet.checkpoints import converting
from mmfasternet.checkpoints.converting import convert
from mmfasternet.checkpoints.formats import recognise
from mmfasternet.checkpoints.loading import read_checkpoint
from mmfasternet.errors import CheckpointError, ConfigError
from mmfasternet.models import ARCHITECTURES, FasterNet


def read(path):
    if path.suffix == '.safetensors':
        return load_file(path)
    return torch.load(path, weights_only=True)['state_dict']


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize(
    'name', [name for name in FORMS if name not in ('detector', 'mmdet 2, distributed', 'backbone')]
)
def test_every_classifier_becomes_timms_and_the_authors(name, ending, files, timm_file, tmp_path):
    torch.save(files[name], tmp_path / 'in.bin')
    for target, expected in (('timm', timm_file), ('released', as_released(timm_file))):
        out = tmp_path / f'{target}.{ending}'
        done = convert(tmp_path / 'in.bin', out, target)
        assert (done.written, done.left_out) == (len(expected), {})
        assert_same(read(out), expected)


@pytest.mark.parametrize('arch', ARCHS)
def test_there_and_back_for_every_variant(arch, tmp_path):
    """From the authors' to timm's, to a whole model's, and back."""
    original = as_released(make_timm(arch).state_dict())
    torch.save(original, tmp_path / 'a.pth')
    convert(tmp_path / 'a.pth', tmp_path / 'b.safetensors', 'timm')
    # timm takes it, all of it
    timm.create_model(f'fasternet_{arch}').load_state_dict(load_file(tmp_path / 'b.safetensors'), strict=True)
    convert(tmp_path / 'b.safetensors', tmp_path / 'c.pth', 'mmfasternet')
    convert(tmp_path / 'c.pth', tmp_path / 'd.pth', 'released')
    assert_same(read(tmp_path / 'd.pth'), original)


def test_a_converted_classifier_is_one_of_mmpretrain(timm_file, tmp_path):
    torch.save(timm_file, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'mmfasternet')
    init_default_scope('mmpretrain')
    head = dict(type='FasterNetClsHead', num_classes=1000, in_channels=320, act_cfg=ARCHITECTURES['t0']['act_cfg'])
    backbone = dict(type='FasterNet', arch='t0', out_indices=(3,), output_norm=False)
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    assert read(tmp_path / 'out.pth').keys() == model.state_dict().keys()
    load_checkpoint(model, str(tmp_path / 'out.pth'), strict=True)
    assert model.head.head.weight.equal(timm_file['classifier.weight'])


@pytest.mark.parametrize('name', ['detector', 'mmdet 2, distributed'])
def test_detectors(name, files, tmp_path):
    torch.save(files[name], tmp_path / 'in.pth')
    expected = files['detector']['state_dict']
    done = convert(tmp_path / 'in.pth', tmp_path / 'whole.pth', 'mmfasternet')
    assert done == ("detector's checkpoint", len(expected), {})
    assert_same(read(tmp_path / 'whole.pth'), expected)
    # the authors' names have no place for what is not the network, timm's none for its output norms either
    done = convert(tmp_path / 'in.pth', tmp_path / 'bare.pth', 'released')
    assert done.left_out == {'rpn_head': 1}
    assert_same(read(tmp_path / 'bare.pth'), FasterNet('t0').state_dict() | recognise(files[name]).backbone)
    done = convert(tmp_path / 'in.pth', tmp_path / 'timm.pth', 'timm')
    assert done.left_out == {'norm0': 5, 'norm2': 5, 'norm4': 5, 'norm6': 5, 'rpn_head': 1}


def test_averaged_weights_come_first(timm_file):
    averaged = {key: value + 1 for key, value in timm_file.items()}
    assert_same(recognise({'state_dict': timm_file, 'state_dict_ema': averaged}).as_timm(), averaged)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_the_new_file_tells_where_it_is_from(ending, files, tmp_path):
    torch.save(files['Lightning'], tmp_path / 'last.ckpt')
    convert(tmp_path / 'last.ckpt', tmp_path / f'out.{ending}', 'timm')
    if ending == 'pth':
        found = read_checkpoint(tmp_path / 'out.pth')['meta']
    else:
        with safetensors.safe_open(tmp_path / 'out.safetensors', 'pt') as file:
            found = file.metadata()
    assert found == {
        'source': 'last.ckpt',
        'source_sha256': hashlib.sha256((tmp_path / 'last.ckpt').read_bytes()).hexdigest(),
        'source_format': 'released ImageNet file',
        'converted_to': 'timm',
    }


def test_half_precision_stays(timm_file, tmp_path):
    half = {key: value.half() if value.is_floating_point() else value for key, value in timm_file.items()}
    save_file(half, tmp_path / 'in.safetensors')
    convert(tmp_path / 'in.safetensors', tmp_path / 'out.safetensors', 'released')
    assert_same(read(tmp_path / 'out.safetensors'), as_released(half))


def test_nothing_is_overwritten_or_written_half(files, tmp_path):
    torch.save(files['timm'], tmp_path / 'in.pth')
    (tmp_path / 'out.pth').write_text('precious')
    with pytest.raises(CheckpointError, match='out.pth already exists; choose another path, or replace it'):
        convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'released')
    assert (tmp_path / 'out.pth').read_text() == 'precious'
    torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
    with pytest.raises(CheckpointError, match='has no FasterNet'):
        convert(tmp_path / 'resnet.pth', tmp_path / 'out.pth', 'released', overwrite=True)
    assert (tmp_path / 'out.pth').read_text() == 'precious'
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'released', overwrite=True)
    assert_same(read(tmp_path / 'out.pth'), as_released(files['timm']))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in.pth', 'out.pth', 'resnet.pth']


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / 'in.pth')
    with pytest.raises(CheckpointError, match='in.pth'):
        convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'timm')
    assert not (tmp_path / 'out.pth').exists()


CLASSES = ('donut', 'hot dog', 'traffic light')
PALETTE = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
#: How libraries and their versions write the classes into a checkpoint.
METAS = {
    'MMEngine': dict(dataset_meta=dict(classes=CLASSES, palette=PALETTE)),
    'MMEngine, a list': dict(dataset_meta=dict(classes=list(CLASSES), palette=PALETTE)),
    'mmdet 3.0': dict(dataset_meta=dict(CLASSES=CLASSES, PALETTE=PALETTE)),
    'mmdet 2': dict(CLASSES=CLASSES, PALETTE=PALETTE),
    'mmcls 0.x': dict(CLASSES=list(CLASSES)),
}


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('meta', METAS)
@pytest.mark.parametrize('name', ['mmpretrain', 'detector', 'mmdet 2, distributed'])
def test_the_classes_stay(name, meta, ending, files, tmp_path):
    others = dict(epoch=12, cfg='model = dict()', mmengine_version='0.10.7')
    torch.save({**files[name], 'meta': {**METAS[meta], **others}}, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / f'out.{ending}', 'mmfasternet')
    found = read_checkpoint(tmp_path / f'out.{ending}')
    assert tuple(found['meta']['dataset_meta']['classes']) == CLASSES
    if meta != 'mmcls 0.x':
        assert list(map(tuple, found['meta']['dataset_meta']['palette'])) == PALETTE
    for key, value in others.items():
        assert str(found['meta'][key]) == str(value)
    assert found['meta']['converted_to'] == 'mmfasternet'
    # and once more
    convert(tmp_path / f'out.{ending}', tmp_path / 'again.pth', 'mmfasternet')
    again = read_checkpoint(tmp_path / 'again.pth')
    assert tuple(again['meta']['dataset_meta']['classes']) == CLASSES
    assert_same(again['state_dict'], found['state_dict'])


def test_what_was_not_read_is_left_out(files, tmp_path):
    meta = dict(
        dataset_meta=dict(classes=CLASSES), args=Namespace(lr=1), seed=np.int64(3), hook_msgs=dict(a=[Namespace()])
    )
    meta['itself'] = meta
    torch.save({**files['detector'], 'meta': meta}, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'mmfasternet')
    found = torch.load(tmp_path / 'out.pth', weights_only=True)['meta']
    assert found['dataset_meta'] == dict(classes=CLASSES) and found['seed'] == 3
    assert not {'args', 'hook_msgs', 'itself'} & found.keys()


def test_versions_of_modules_stay(tmp_path):
    init_default_scope('mmpretrain')
    backbone = dict(type='FasterNet', arch='t0', out_indices=(3,))
    head = dict(type='LinearClsHead', num_classes=3, in_channels=320)
    neck = dict(type='GlobalAveragePooling')
    state_dict = MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head)).state_dict()
    torch.save(dict(meta={}, state_dict=state_dict), tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'mmfasternet')
    found = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    assert found._metadata == state_dict._metadata
    assert found._metadata['backbone.patch_embed.norm'] == dict(version=2)


def test_what_only_a_training_needs_is_named(files, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(converting, 'print_log', lambda text, **settings: lines.append(text))
    whole = {**files['detector'], 'optimizer': dict(state={1: 2}), 'ema_state_dict': {'steps': 3}, 'message_hub': {}}
    torch.save(whole, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth', 'mmfasternet')
    assert lines == ['optimizer, ema_state_dict not converted: resume the training from the file as it was']


def test_where_nothing_can_be_written(files, tmp_path):
    torch.save(files['timm'], tmp_path / 'in.pth')
    for out, reason in (('in.pth/out.pth', 'in.pth exists and is not a folder'), ('there', 'there is a folder')):
        (tmp_path / 'there').mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=f'OUT .*{reason}'):
            # and that comes before anything is read
            convert(tmp_path / 'missing.pth', tmp_path / out, 'timm', overwrite=True)
