"""Every file in configs/ parses, inherits what it should, and builds."""

from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
MASK_RCNN_PARAMETERS = dict(s=48_989_936, m=71_228_448, l=110_866_416)
RELEASES = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/'
WEIGHTS = dict(
    t0='fasternet_t0-epoch.281-val_acc1.71.9180.pth',
    t1='fasternet_t1-epoch.291-val_acc1.76.2180.pth',
    t2='fasternet_t2-epoch.289-val_acc1.78.8860.pth',
    s='fasternet_s-epoch.299-val_acc1.81.2840.pth',
    m='fasternet_m-epoch.291-val_acc1.82.9620.pth',
    l='fasternet_l-epoch.299-val_acc1.83.5060.pth',
)


def load(path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_builds_with_nothing_imported_by_hand(path):
    cfg = load(path)
    assert cfg.custom_imports == dict(imports=['mmfasternet'], allow_failed_imports=False)
    assert MODELS.build(cfg.model).backbone.__class__.__name__ == 'FasterNet'


@pytest.mark.parametrize('arch', WEIGHTS)
def test_mask_rcnn_coco_is_the_papers_recipe(arch):
    cfg = load(ROOT / f'configs/mask_rcnn_fasternet_{arch}_coco.py')
    backbone = cfg.model.backbone
    assert backbone.arch == arch
    assert backbone.get('drop_path_rate') == {'s': 0.15}.get(arch)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=RELEASES + WEIGHTS[arch])
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=2e-4, weight_decay=1e-4)
    assert 'clip_grad' not in cfg.optim_wrapper
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[-1].milestones == [8, 11]
    assert cfg.auto_scale_lr.base_batch_size == 16
    dataset = cfg.train_dataloader.dataset
    assert dataset.data_root == 'data/coco/'
    steps = {step.type: step for step in dataset.pipeline}
    assert steps['Resize'].scale == (1333, 800) and steps['RandomFlip'].prob == 0.5
    model = MODELS.build(cfg.model)
    if arch in MASK_RCNN_PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == MASK_RCNN_PARAMETERS[arch]


def test_files_are_short():
    assert CONFIGS
    for path in CONFIGS:
        if 'mini' not in path.stem:
            assert len(Path(path).read_text().splitlines()) <= 8, path
