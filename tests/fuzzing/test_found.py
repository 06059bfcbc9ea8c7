"""What generated inputs have found, as examples."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfasternet.checkpoints.formats import recognise
from mmfasternet.datasets.coco.annotations import check_annotations
from mmfasternet.engine.config import read_config
from mmfasternet.engine.preflight import check
from mmfasternet.errors import CheckpointError, ConfigError, DependencyError
from mmfasternet.models import FasterNet

ANCHOR = {'patch_embed.proj.weight': torch.zeros(8, 3, 4, 4)}


def test_keys_that_are_no_names():
    weights = recognise({3: torch.zeros(1), None: torch.zeros(1), **ANCHOR})
    assert list(weights.as_released()) == list(ANCHOR)


def test_numbers_of_stages_with_thousands_of_digits():
    name = f'stages.{"9" * 5000}.blocks.0'
    assert name in recognise({name: torch.zeros(1), 'conv_head.weight': torch.zeros(1), **ANCHOR}).as_timm()


def test_a_state_dict_in_itself():
    content = dict(ANCHOR)
    content['state_dict'] = content
    with pytest.raises(CheckpointError, match='state dicts in state dicts, more than 16; expected one'):
        recognise(content)


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ("_base_ = './config.py'", ConfigError, 'config .*config.py inherits from itself'),
        ('a = b', ConfigError, "cannot be read: NameError: name 'b' is not defined"),
        ('a = 1 / 0', ConfigError, 'cannot be read: ZeroDivisionError'),
        ('a = (', ConfigError, 'cannot be read: SyntaxError'),
        ('default_scope = 3', ConfigError, 'default_scope is 3; expected the name of a library'),
        (
            "custom_imports = dict(imports=['nowhere'], allow_failed_imports=False)",
            DependencyError,
            r"not installed: Failed to import custom modules from \{'imports': \['nowhere'\].*\}; `make setup`",
        ),
    ],
)
def test_configs_that_cannot_be_read(tmp_path, text, error, message):
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(error, match=message) as caught:
        read_config(str(tmp_path / 'config.py'))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('options', [{'a.b': 1}, {'a.c.d': 2}, {'e.9': 3}, {'e.x': 4}])
def test_options_that_do_not_fit_the_config(tmp_path, options):
    (tmp_path / 'config.py').write_text('a = 3\ne = [1, 2]')
    with pytest.raises(ConfigError, match='--cfg-options do not fit .*config.py: '):
        read_config(str(tmp_path / 'config.py'), options)


def test_settings_of_a_data_set_that_are_none():
    content = dict(images=[dict(id=1, file_name='a', width=9, height=9)], annotations=[], categories=[])
    _, report = check_annotations(content, filters=dict(min_size=None, filter_empty_gt=None))
    assert report.kept_images == 1


@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        (3, 'a data set is 3; expected a dict with its type'),
        (dict(type='ConcatDataset', datasets=3), 'the datasets of a data set are 3; expected a list'),
        (dict(data_root='.'), 'train_dataloader: unknown data set type None'),
        (dict(type=3), 'train_dataloader.dataset.type is 3; expected a str or type'),
        (dict(type='CocoDataset', data_root=3), 'train_dataloader.dataset.data_root is 3; expected a str'),
        (dict(type='CocoDataset', data_prefix='a'), "dataset.data_prefix is 'a'; expected a dict"),
        (dict(type='CocoDataset', data_prefix=dict(img=1)), 'dataset.data_prefix.img is 1; expected a str'),
        (dict(type='CocoDataset', pipeline=['Resize']), "dataset.pipeline has 'Resize' in it; expected only dicts"),
        (dict(type='CocoDataset', metainfo=dict(classes=[1])), 'metainfo.classes has 1 in it; expected only str'),
    ],
)
def test_settings_of_a_data_set_that_are_of_another_kind(dataset, message):
    init_default_scope('mmdet')
    with pytest.raises(ConfigError, match=message):
        check(Config(dict(model=dict(), train_dataloader=dict(dataset=dataset))), 'train')


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(), 'model is None; expected a dict with the type of the model'),
        (dict(model=[1]), r'model is \[1\]; expected a dict'),
        (dict(model={}, train_dataloader=7), 'train_dataloader is 7; expected a dict with a dataset'),
    ],
)
def test_configs_without_what_a_start_needs(cfg, message):
    with pytest.raises(ConfigError, match=message):
        check(Config(cfg), 'train')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            dict(arch=dict(embed_dims=8.5, depths=(1,))),
            r'embed_dims 8.5 and depths \(1,\); expected a number of channels',
        ),
        (dict(arch=dict(embed_dims=8, depths=3)), 'embed_dims 8 and depths 3; expected'),
        (dict(arch=dict(embed_dims=8, depths=[])), r'depths \[\]; expected'),
        (dict(arch=dict(embed_dims=8, depths=[0])), r'depths \[0\]; expected'),
        (dict(in_channels='3'), "in_channels is '3'; expected a whole number, at least 1"),
        (dict(patch_size=0), 'patch_size is 0; expected a whole number'),
        (dict(mlp_ratio=0), 'mlp_ratio is 0; it must make 1 channel or more of 40'),
        (dict(mlp_ratio=float('nan')), 'mlp_ratio is nan'),
        (dict(partial_ratio='all'), "partial_ratio is 'all'"),
        (dict(drop_path_rate='0.1'), "drop_path_rate is '0.1'"),
        (dict(layer_scale_init_value=-1), 'layer_scale_init_value is -1'),
        (dict(out_indices=3), 'out_indices is 3; choose from 0 to 3'),
        (dict(out_indices=[[1]]), r'out_indices is \[\[1\]\]; choose from 0 to 3'),
        (dict(frozen_stages=None), 'frozen_stages is None; choose from -1 to 4'),
        (dict(norm_cfg='BN'), "norm_cfg is 'BN'; expected a dict with the type of a layer"),
        (
            dict(norm_cfg=dict(type='GN', num_groups=7)),
            "norm_cfg: GN cannot be built with {'num_groups': 7}: num_channels",
        ),
        (dict(norm_cfg=dict(type='GN')), 'norm_cfg: GN cannot be built with {}: '),
        (dict(act_cfg=dict(type='ReLU', slope=1)), "act_cfg: ReLU cannot be built with {'slope': 1}: "),
        (dict(act_cfg=dict(type='Parameter')), 'act_cfg: Parameter is not an `nn.Module`'),
    ],
)
def test_arguments_of_the_backbone(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FasterNet(**arguments)
    assert '\n' not in str(caught.value)


def test_a_backbone_without_memory():
    with torch.device('meta'):
        assert FasterNet('l').stages[6].blocks[2].drop_path.drop_prob == pytest.approx(0.3)
