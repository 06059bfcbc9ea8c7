"""A type in a config is a class, a name, a name with a scope or a path: each is taken for what it is."""

from argparse import Namespace

import mmengine.registry
import mmengine.runner
import pytest
from conftest import ROOT, process_kept
from mmdet.models import MaskRCNN
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, LOOPS, MODELS, init_default_scope

from mmfasternet import FasterNet, NonFiniteHook
from mmfasternet.checkpoints import read_checkpoint
from mmfasternet.config_types import dicts_in, resolve_type, type_names
from mmfasternet.engine import launch, overrides
from mmfasternet.engine.config import read_config
from mmfasternet.engine.predict import predict

FORMS = {
    'class': lambda kind, scope: kind,
    'name': lambda kind, scope: kind.__name__,
    'scope': lambda kind, scope: f'{scope}.{kind.__name__}',
    'path': lambda kind, scope: f'{kind.__module__}.{kind.__qualname__}',
}


@pytest.fixture(params=FORMS)
def write(request):
    """Write a type in each form."""
    init_default_scope('mmdet')
    return lambda kind, scope='mmengine': FORMS[request.param](kind, scope)


def test_a_type_is_found(write):
    assert resolve_type(write(CheckpointHook), HOOKS) is CheckpointHook
    assert resolve_type(write(MaskRCNN, 'mmdet'), MODELS) is MaskRCNN
    assert {'MaskRCNN', 'TwoStageDetector'} <= type_names(dict(type=write(MaskRCNN, 'mmdet')), MODELS)


def test_the_scope_that_a_base_config_gives():
    init_default_scope('mmpretrain')
    assert 'TwoStageDetector' in type_names(dict(type='MaskRCNN', _scope_='mmdet'), MODELS)
    assert 'TwoStageDetector' not in type_names(dict(type='MaskRCNN'), MODELS)


def test_names_of_what_is_unknown():
    init_default_scope('mmdet')
    assert resolve_type('mmdet.NoSuchThing', MODELS) is None
    assert type_names(dict(type='mmdet.NoSuchThing'), MODELS) == {'NoSuchThing'}
    assert type_names(dict(), MODELS) == type_names(CheckpointHook(), HOOKS) == frozenset()
    assert list(dicts_in([dict(a=(dict(b=1),)), 3])) == [dict(a=(dict(b=1),)), dict(b=1)]


@pytest.mark.parametrize(
    ('kind', 'exact'), [('EpochBasedTrainLoop', 'ExactEpochLoop'), ('IterBasedTrainLoop', 'ExactIterLoop')]
)
def test_loops_and_hooks_are_replaced(write, kind, exact):
    loop = write(getattr(mmengine.runner, kind))
    own = dict(type=write(NonFiniteHook), max_skips=3)
    hooks = dict(checkpoint=dict(type=write(CheckpointHook), interval=2))
    cfg = Config(dict(train_cfg=dict(type=loop), default_hooks=hooks, custom_hooks=[own]))
    overrides.use_fault_tolerant_hooks(cfg)
    assert resolve_type(cfg.train_cfg.type, LOOPS).__name__ == exact
    assert cfg.default_hooks.checkpoint == dict(type='DurableCheckpointHook', interval=2)
    assert cfg.custom_hooks == [own]


def test_a_hook_of_a_users_own_stays(write):
    class Own(CheckpointHook):
        pass

    cfg = Config(dict(default_hooks=dict(checkpoint=dict(type=Own)), custom_hooks=[NonFiniteHook()]))
    overrides.use_fault_tolerant_hooks(cfg)
    assert cfg.default_hooks.checkpoint.type is Own and len(cfg.custom_hooks) == 1


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_amp(write, device, monkeypatch):
    monkeypatch.setattr(overrides, 'get_device', lambda: device)
    model = dict(type=write(MaskRCNN, 'mmdet'), backbone=dict(type=write(FasterNet)))
    cfg = Config(dict(model=model, optim_wrapper=dict(type=write(OptimWrapper), optimizer=dict(type='SGD'))))
    overrides.set_amp(cfg)
    if device == 'cpu':
        assert cfg.model.backbone.bf16 is overrides.cpu_has_bfloat16()
    else:
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


#: Where the types of a config are looked up, in this order.
REGISTRIES = [getattr(mmengine.registry, name) for name in (
    'LOOPS', 'HOOKS', 'OPTIM_WRAPPERS', 'OPTIMIZERS', 'PARAM_SCHEDULERS', 'DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS',
    'METRICS', 'VISUALIZERS', 'VISBACKENDS', 'LOG_PROCESSORS', 'TASK_UTILS', 'MODELS',
)]  # fmt: skip


def as_pure_python(cfg):
    """Write a config in MMEngine's pure Python style: imports, classes as types, and no default scope."""
    imports = set()

    def convert(node, key=''):
        if isinstance(node, (list, tuple)):
            inside = ''.join(f'{convert(item, key)}, ' for item in node)
            return f'[{inside}]' if isinstance(node, list) else f'({inside})'
        if not isinstance(node, dict):
            return repr(node)
        items = [f'{name!r}: {convert(value, name)}' for name, value in node.items() if name != 'type']
        if 'type' in node:
            # layers are looked up by mmcv, operators of NMS by name
            found = None if key.endswith(('norm_cfg', 'act_cfg', 'layer', 'nms', 'init_cfg')) else next(
                filter(None, (resolve_type(node['type'], registry) for registry in REGISTRIES)), None
            )  # fmt: skip
            if found:
                imports.add(f'from {found.__module__} import {found.__name__}')
            items.append(f'"type": {found.__name__ if found else repr(node["type"])}')
        return f'{{{", ".join(items)}}}'

    skipped = ('default_scope', 'custom_imports', 'data_root', 'metainfo', 'max_epochs')
    lines = [f'{name} = {convert(value, name)}' for name, value in cfg._cfg_dict.items() if name not in skipped]
    return '\n'.join([*sorted(imports), 'default_scope = None', *lines, ''])


def test_a_run_of_a_pure_python_config(mini_coco, tmp_path):
    """All types are classes and there is no scope: it trains with our loop and hooks, is tested, and predicts."""
    cfg = read_config(str(ROOT / 'configs/mask_rcnn_fasternet_t0_mini_coco.py'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=f'{mini_coco}/', indices=4)
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = f'{mini_coco}/annotations/instances_val2017.json'
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = []
    cfg.log_level = 'ERROR'
    config, work = tmp_path / 'pure.py', tmp_path / 'work'
    config.write_text(as_pure_python(cfg))
    pure = read_config(str(config))
    assert pure.get('default_scope') is None and pure.model.type is MaskRCNN
    common = dict(config=str(config), cfg_options=None, launcher='none', local_rank=0, work_dir=str(work))
    with process_kept():
        launch.train(Namespace(**common, amp=True, auto_scale_lr=False, resume=None))
    checkpoint = work / 'epoch_1.pth'
    assert 'progress' in read_checkpoint(checkpoint)  # the exact loop's
    options = dict.fromkeys(('show', 'tta', 'all_ious', 'submission', 'optimize', 'backend'))
    with process_kept():
        launch.test(
            Namespace(
                **common, **options, checkpoint=str(checkpoint), out=str(work / 'x.pkl'), show_dir='shown', wait_time=0
            )
        )
    assert len(list(work.glob('*/shown/*'))) == 4 and (work / 'x.pkl').is_file()
    image = next((mini_coco / 'val2017').iterdir())
    with process_kept():
        predict(
            Namespace(
                config=str(config), checkpoint=str(checkpoint), images=[str(image)], out=str(work / 'out'),
                device='cpu', score_thr=0.0, tile_size=None, overlap=None, optimize=None, backend=None,
            )
        )  # fmt: skip
    assert (work / 'out' / f'{image.stem}.json').is_file()
