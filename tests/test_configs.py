"""Every file in configs/ parses, inherits what it should, and builds."""

from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmfasternet.datasets.data_files import dataset_class
from mmfasternet.models import ARCHITECTURES

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
    assert 'detector' not in cfg, 'a copy of the backbone that nothing reads'
    assert MODELS.build(cfg.model).backbone.__class__.__name__ == 'FasterNet'


@pytest.mark.parametrize('arch', WEIGHTS)
def test_mask_rcnn_coco_is_the_papers_recipe(arch):
    path = ROOT / f'configs/mask_rcnn_fasternet_{arch}_coco.py'
    cfg = load(path)
    backbone = cfg.model.backbone
    assert backbone.arch == arch
    # where no drop path is given, it is that of ImageNet
    drop_path_rates = dict(t0=0.0, t1=0.02, t2=0.05, s=0.15, m=0.2, l=0.3)
    assert backbone.get('drop_path_rate', ARCHITECTURES[arch]['drop_path_rate']) == drop_path_rates[arch]
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=RELEASES + WEIGHTS[arch])
    # the authors halve the learning rate for M and L, and have no configs for T0 to T2, as those say
    lr = 1e-4 if arch in 'ml' else 2e-4
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=lr, weight_decay=1e-4)
    assert ('published no COCO setting' in path.read_text()) == arch.startswith('t')
    assert not {'clip_grad', 'paramwise_cfg'} & cfg.optim_wrapper.keys()
    assert not {'frozen_stages', 'norm_eval'} & backbone.keys()
    assert cfg.train_cfg.max_epochs == 12
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.start_factor, warm_up.end, warm_up.by_epoch) == (0.001, 500, False)
    assert (decay.milestones, decay.gamma) == ([8, 11], 0.1)
    assert cfg.auto_scale_lr.base_batch_size == 16
    dataset = cfg.train_dataloader.dataset
    assert dataset.data_root == 'data/coco/'
    steps = {step.type: step for step in dataset.pipeline}
    assert steps['Resize'].scale == (1333, 800) and steps['RandomFlip'].prob == 0.5
    model = MODELS.build(cfg.model)
    if arch in MASK_RCNN_PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == MASK_RCNN_PARAMETERS[arch]


@pytest.mark.parametrize('arch', WEIGHTS)
def test_what_the_detectors_of_a_variant_share_exists_once(arch):
    channels = [ARCHITECTURES[arch]['embed_dims'] * 2**i for i in range(4)]
    for fact in (WEIGHTS[arch], str(channels)):
        files = [path.name for path in (ROOT / 'configs').rglob('*.py') if fact in path.read_text()]
        assert files == [f'fasternet_{arch}.py'], fact
    detectors = [path for path in CONFIGS if f'rcnn_fasternet_{arch}_' in path.stem]
    assert len(detectors) >= 3
    for path in detectors:
        assert Config.fromfile(path).model.neck.in_channels == channels, path


def test_files_are_short():
    assert CONFIGS
    for path in CONFIGS:
        if 'mini' not in path.stem:
            assert len(Path(path).read_text().splitlines()) <= 12, path


@pytest.mark.parametrize('arch', WEIGHTS)
@pytest.mark.parametrize('version', ['dota', 'dotav15'])
@pytest.mark.parametrize('scale', ['', '_ms'])
def test_oriented_rcnn_dota_is_the_recipe(arch, version, scale):
    path = ROOT / f'configs/oriented_rcnn_fasternet_{arch}_{version}{scale}.py'
    if scale and arch not in 'sl':
        assert not path.exists()
        return
    cfg = load(path)
    backbone = cfg.model.backbone
    assert backbone.arch == arch
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=RELEASES + WEIGHTS[arch])
    coders = cfg.model.rpn_head.bbox_coder, cfg.model.roi_head.bbox_head.bbox_coder
    assert [coder.angle_version for coder in coders] == ['le90', 'le90']
    assert cfg.model.roi_head.bbox_head.num_classes == {'dota': 15, 'dotav15': 16}[version]
    root = f'data/split_{"ms" if scale else "ss"}_{dict(dota="dota", dotav15="dota1_5")[version]}/'
    for loader, split in (
        (cfg.train_dataloader, 'trainval'),
        (cfg.val_dataloader, 'val'),
        (cfg.test_dataloader, 'val'),
    ):
        dataset = loader.dataset
        assert (dataset.data_root, dataset.ann_file) == (root, f'{split}/annfiles/')
        assert dataset.data_prefix == dict(img_path=f'{split}/images/')
        assert len(dataset_class(dataset, '').METAINFO['classes']) == cfg.model.roi_head.bbox_head.num_classes
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    flip, turn = steps['mmdet.RandomFlip'], steps['RandomRotate']
    assert flip.prob / len(flip.direction) == 0.25
    assert (turn.prob, turn.angle_range, turn.rect_obj_labels) == (0.5, 180, [9, 11])
    assert list(steps)[-1] == 'mmdet.PackDetInputs'
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=2e-4, weight_decay=0.05)
    assert cfg.optim_wrapper.clip_grad.max_norm == 35
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.start_factor, warm_up.end, warm_up.by_epoch) == (1 / 3, 500, False)
    assert (decay.milestones, decay.end, cfg.train_cfg.max_epochs) == ([16, 22, 27], 30, 30)
    assert cfg.auto_scale_lr.base_batch_size == 8
    assert [metric.type for metric in cfg.test_evaluator] == ['DOTAMetric', 'WholeImageDOTAMetric']


#: MixUp, RandAugment, weight decay, batch, learning rate, clipping: the recipe's table.
IMAGENET = dict(
    t0=(0.05, None, 0.005, 4096, 4e-3, None),
    t1=(0.1, 3, 0.01, 4096, 4e-3, None),
    t2=(0.1, 5, 0.02, 4096, 4e-3, None),
    s=(0.3, 7, 0.03, 4096, 4e-3, None),
    m=(0.5, 7, 0.05, 2048, 2e-3, 1.0),
    l=(0.7, 7, 0.05, 2048, 2e-3, 0.01),
)
CLASSIFIER_PARAMETERS = dict(t0=3_905_500, t1=7_595_368, t2=14_982_888, s=31_181_032, m=53_521_464, l=93_465_192)


@pytest.mark.parametrize('arch', IMAGENET)
def test_imagenet_is_the_papers_recipe(arch):
    mixup, magnitude, weight_decay, batch, lr, clip = IMAGENET[arch]
    cfg = load(ROOT / f'configs/fasternet_{arch}_imagenet.py')
    assert cfg.model.backbone == dict(type='FasterNet', arch=arch, out_indices=(3,), output_norm=False)
    first, second = cfg.model.train_cfg.augments
    assert (first, second) == (dict(type='Mixup', alpha=mixup), dict(type='CutMix', alpha=1.0))
    (switch,) = cfg.custom_hooks[0].schedule
    # the 281st epoch is the first after 280
    assert switch.action_epoch == 281
    for pipeline, side in ((cfg.train_dataloader.dataset.pipeline, 192), (switch.train_pipeline, 224)):
        steps = {step.type: step for step in pipeline}
        assert steps['RandomResizedCrop'].interpolation == 'bicubic' and steps['RandomResizedCrop']['scale'] == side
        assert steps.get('RandAugment', {}).get('magnitude_level') == magnitude and 'RandomErasing' not in steps
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize['scale'], resize.interpolation, crop.crop_size) == (int(224 / 0.9), 'bicubic', 224)
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=lr, weight_decay=weight_decay)
    assert (cfg.optim_wrapper.get('clip_grad') or {}).get('max_norm') == clip
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.start_factor * lr == pytest.approx(1e-6) and warm_up.end == cosine.begin == 20
    assert (cosine.eta_min, cosine.end, cfg.train_cfg.max_epochs) == (1e-5, 300, 300)
    assert cosine.get('by_epoch', True) and not cosine.get('convert_to_iter_based')
    assert cfg.train_dataloader.drop_last
    if magnitude:
        assert steps['RandAugment'].hparams.pad_val == [round(x) for x in reversed(cfg.data_preprocessor.mean)]
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.model.head.loss.label_smooth_val == 0.1
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == CLASSIFIER_PARAMETERS[arch]
    activation = dict(t0='GELU', t1='GELU').get(arch, 'ReLU')
    activations = model.head.avgpool_pre_head[2], model.backbone.stages[0].blocks[0].mlp[2]
    assert {type(module).__name__ for module in activations} == {activation}


@pytest.mark.parametrize('arch', IMAGENET)
def test_robustness_is_tested_with_the_imagenet_config(arch):
    plain = load(ROOT / f'configs/fasternet_{arch}_imagenet.py')
    for name, dataset, metric in (('c', 'ImageNetC', 'CorruptionError'), ('r', 'ImageNetR', 'SubsetAccuracy')):
        cfg = load(ROOT / f'configs/fasternet_{arch}_imagenet_{name}.py')
        assert cfg.model == plain.model and cfg.val_dataloader == plain.val_dataloader
        found = cfg.test_dataloader.dataset
        assert (found.type, found.data_root) == (dataset, f'data/imagenet-{name}')
        assert 'metainfo' not in found and cfg.test_evaluator == dict(type=metric)
        assert cfg.test_dataloader.sampler.shuffle is False
        pipeline = [step.type for step in found.pipeline]
        if name == 'c':
            # the published images are cropped already; resizing them anew would change them
            assert pipeline == ['LoadImageFromFile', 'CenterCrop', 'PackInputs']
            assert found.pipeline[1].crop_size == 224
        else:
            assert found.pipeline == plain.test_dataloader.dataset.pipeline
