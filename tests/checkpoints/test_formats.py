import pytest
import torch
from conftest import FORMS, as_released, randomize_
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint

from mmfasternet.checkpoints import fit_backbone
from mmfasternet.errors import CheckpointError
from mmfasternet.models import FasterNet

HEADS = {'timm': '(conv_head, classifier)', 'released': '(avgpool_pre_head.1, head)'}


def assert_loaded(model, timm_file):
    expected = as_released(timm_file)
    for name, value in model.state_dict().items():
        if not name.startswith('norm'):
            assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize('name', FORMS)
def test_load_state_dict_takes_every_form(name, files, timm_file, log_lines):
    model = FasterNet('t0')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(files[name])
    assert_loaded(model, timm_file)
    (line,) = log_lines()
    has_norms = name in ('detector', 'mmdet 2, distributed', 'backbone')
    assert f'loaded {148 if has_norms else 128} tensors' in line
    if has_norms:
        assert torch.equal(model.norm6.weight, files['backbone']['norm6.weight'])
        assert "detector's checkpoint" in line and 'start fresh none' in line
        assert ('left out none' if name == 'backbone' else 'left out 1 (rpn_head.rpn_cls)') in line
    else:
        assert torch.equal(model.norm6.weight, before['norm6.weight'])
        assert 'start fresh 20 (norm0, norm2, norm4, norm6)' in line
        kinds = {
            'timm': 'timm state dict',
            'timm, averaged': 'timm state dict',
            'mmpretrain': "classifier's checkpoint",
        }
        assert kinds.get(name, 'released ImageNet file') in line
        assert 'left out 3' in line and ('conv_head, ' if 'timm' in name else 'avgpool_pre_head.1, ') in line


@pytest.mark.parametrize('name', FORMS)
@pytest.mark.parametrize('inside', [False, True], ids=['alone', 'inside a detector'])
def test_init_cfg_takes_every_form(name, inside, files, timm_file, tmp_path, log_lines):
    torch.save(files[name], tmp_path / 'weights.pth')
    model = FasterNet('t0', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    if inside:
        detector = BaseModule()
        detector.backbone = model
        detector.init_weights()
    else:
        model.init_weights()
    assert_loaded(model, timm_file)
    assert len(log_lines()) == 1


def test_init_cfg_with_a_prefix(files, timm_file, tmp_path):
    torch.save(files['detector'], tmp_path / 'weights.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'), prefix='backbone.')
    model = FasterNet('t0', init_cfg=init_cfg)
    model.init_weights()
    assert_loaded(model, timm_file)


class Detector(BaseModule):
    def __init__(self, arch='t0'):
        super().__init__()
        self.backbone = FasterNet(arch)
        self.head = torch.nn.Linear(2, 2)


def test_whole_models_round_trip(tmp_path):
    source, target = randomize_(Detector()), Detector()
    torch.save(source.state_dict(), tmp_path / 'detector.pth')
    load_checkpoint(target, str(tmp_path / 'detector.pth'))
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name
    target.load_state_dict(Detector().state_dict(), strict=True)


@pytest.mark.parametrize('load', ['torch', 'torch, not strict', 'MMEngine'])
@pytest.mark.parametrize('wrong, message', [
    ('t1', 'patch_embed.proj.weight is 64×3×4×4 in the file and 40×3×4×4 here.*and [0-9]+ more'),
    ('deeper', r'stages.4.blocks.8.* is in the file and not here'),
    ('shallower', r'stages.4.blocks.7.* is not in the file'),
    ('resnet', 'no FasterNet: looked for patch_embed.proj.weight, found conv1.weight'),
    ('swin', 'another FasterNet than this model: .*is not in the file'),
    ('empty', 'found no tensor'),
])  # fmt: skip
def test_a_file_that_does_not_fit_is_an_error(load, wrong, message, tmp_path):
    t0 = dict(embed_dims=40, act_cfg=dict(type='GELU'))
    source = {
        't1': lambda: FasterNet('t1').state_dict(),
        'deeper': lambda: FasterNet(dict(t0, depths=(1, 2, 9, 2))).state_dict(),
        'shallower': lambda: FasterNet(dict(t0, depths=(1, 2, 7, 2))).state_dict(),
        'resnet': lambda: __import__('timm').create_model('resnet18').state_dict(),
        'swin': lambda: {
            'patch_embed.proj.weight': torch.zeros(40, 3, 4, 4),
            'layers.0.blocks.0.norm1.weight': torch.ones(40),
        },
        'empty': lambda: {'epoch': 3},
    }[wrong]()
    model = FasterNet('t0')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        if load == 'MMEngine':
            torch.save(source, tmp_path / 'weights.pth')
            load_checkpoint(model, str(tmp_path / 'weights.pth'))
        else:
            model.load_state_dict(source, strict=load == 'torch')
    assert '\n' not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), 'half loaded'


def test_imagenet_weights_in_load_from_are_an_error(files, tmp_path):
    torch.save(files['released'], tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=r"no FasterNet under 'backbone'.*belong in its `init_cfg`"):
        load_checkpoint(Detector(), str(tmp_path / 'weights.pth'))


def test_fewer_stages_and_no_output_norms_leave_out_what_they_lack(files):
    model = FasterNet('t0', out_indices=(0, 2), output_norm=False)
    fit = fit_backbone(files['backbone'], model.state_dict())
    assert not fit.fresh
    assert {name.split('.')[0] for name in fit.left_out if not name.startswith('stages')} == {
        'norm0',
        'norm2',
        'norm4',
        'norm6',
    }
    assert {name.split('.')[1] for name in fit.left_out if name.startswith('stages')} == {'5', '6'}


def test_group_norm_takes_the_weights_and_leaves_the_statistics(files):
    model = FasterNet('t0', norm_cfg=dict(type='GN', num_groups=4), output_norm=False)
    fit = fit_backbone(files['released'], model.state_dict())
    assert set(fit.loaded) == set(model.state_dict())
    assert 'patch_embed.norm.running_mean' in fit.left_out


def test_layer_scale_starts_fresh(files):
    model = FasterNet('t0', layer_scale_init_value=0.1, output_norm=False)
    fit = fit_backbone(files['released'], model.state_dict())
    assert len(fit.fresh) == 13 and all(name.endswith('layer_scale') for name in fit.fresh)


def test_a_layer_scale_in_the_file_alone_is_an_error():
    source = FasterNet('t0', layer_scale_init_value=0.1).state_dict()
    with pytest.raises(CheckpointError, match='layer_scale is in the file and not here'):
        FasterNet('t0').load_state_dict(source)
