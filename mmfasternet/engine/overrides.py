"""Change a config as the flags of the tools ask."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, OPTIM_WRAPPERS, TRANSFORMS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from ..config_types import dicts_in, resolve_type, type_names
from ..datasets.data_files import leaf_datasets
from ..deploy import cpu_has_bfloat16
from ..errors import ConfigError
from ..training import NonFiniteHook, newest_whole_checkpoint
from .config import library_of
from .evaluators import metrics_of

#: MMEngine's training loops, and ours that resume exactly.
_EXACT_LOOPS = {EpochBasedTrainLoop: 'ExactEpochLoop', IterBasedTrainLoop: 'ExactIterLoop'}


def add_hook(cfg: Config, **hook: Any) -> None:
    """Add a hook to the custom hooks of a config."""
    hooks = cfg.get('custom_hooks') or []
    if not isinstance(hooks, (list, tuple)):
        raise ConfigError(
            f'custom_hooks is {hooks!r}; expected a list of dicts (to add a hook by an option, name it: '
            'default_hooks.ema.type=EMAHook)'
        )
    cfg.custom_hooks = [*hooks, hook]


def add_default_hook(cfg: Config, name: str, **hook: Any) -> None:
    """Add a hook to the default hooks of a config, so that its list of custom hooks stays as it is."""
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, **{name: hook})


def use_fault_tolerant_hooks(cfg: Config) -> None:
    """Replace MMEngine's own loops and checkpoint hook with ours: exact resume, whole files, a stop at NaN."""
    loop = dict(cfg.get('train_cfg') or {})
    kind = loop.get('type') or ('EpochBasedTrainLoop' if loop.pop('by_epoch', True) else 'IterBasedTrainLoop')
    cfg.train_cfg = loop | dict(type=_EXACT_LOOPS.get(resolve_type(kind, LOOPS), kind))
    defaults = dict(cfg.get('default_hooks') or {})
    checkpoint = defaults.get('checkpoint', {})
    if checkpoint is not None and resolve_type(checkpoint.get('type', CheckpointHook), HOOKS) is CheckpointHook:
        cfg.default_hooks = defaults | dict(checkpoint=dict(checkpoint, type='DurableCheckpointHook'))
    hooks = cfg.get('custom_hooks') or []
    if not any(isinstance(hook, NonFiniteHook) or 'NonFiniteHook' in type_names(hook, HOOKS) for hook in hooks):
        add_hook(cfg, type='NonFiniteHook')


def set_resume(cfg: Config, args: Namespace) -> None:
    """Resume from a checkpoint if the command line asks, or if torch's elastic launcher restarted the run."""
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    newest = newest_whole_checkpoint(cfg.work_dir) if args.resume == 'auto' or restarted else None
    source = newest or (args.resume if args.resume != 'auto' else None)
    if source:
        cfg.resume, cfg.load_from = True, str(source)
    elif args.resume or restarted:
        print_log(f'nothing to resume from in {cfg.work_dir}: the run starts from the beginning', logger='current')


def set_amp(cfg: Config) -> None:
    """Train with automatic mixed precision: on a GPU by MMEngine's wrapper, on a CPU with the backbone in bfloat16."""
    if get_device() == 'cpu':
        networks = [part for part in dicts_in(cfg.get('model')) if 'FasterNet' in type_names(part, MODELS)]
        if not networks:
            backbone = cfg.model.get('backbone') or {}
            raise ConfigError(
                f'--amp: without a GPU only FasterNet trains in mixed precision; model.backbone.type is '
                f'{backbone.get("type")!r}. Leave --amp out'
            )
        for network in networks:
            network['bf16'] = cpu_has_bfloat16()
        text = 'the backbone trains in bfloat16' if cpu_has_bfloat16() else 'this CPU has no bfloat16, so in float32'
        print_log(f'--amp: there is no GPU; {text}', logger='current')
        return
    wrapper = cfg.optim_wrapper.get('type', OptimWrapper)
    if resolve_type(wrapper, OPTIM_WRAPPERS) not in (OptimWrapper, AmpOptimWrapper):
        raise ConfigError(f'--amp replaces an OptimWrapper, but optim_wrapper.type is {wrapper!r}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the batch size of all processes over the one that the config is for."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ConfigError(
            f'--auto-scale-lr: {cfg.filename} does not say for which batch size its learning rate is; '
            'add auto_scale_lr = dict(base_batch_size=16)'
        )
    cfg.auto_scale_lr.enable = True


def set_visualization(cfg: Config, args: Namespace) -> None:
    """Draw the predictions."""
    if library_of(cfg) == 'mmpretrain':
        add_hook(cfg, type='ClassPictures', out_dir=args.show_dir, show=args.show, wait_time=args.wait_time)
        return
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not hook:
        raise ConfigError(
            '--show and --show-dir need a visualization hook: add it to default_hooks, '
            "in mmdet as visualization=dict(type='DetVisualizationHook')"
        )
    hook.draw, hook.show, hook.wait_time = True, args.show, args.wait_time
    if args.show_dir:
        hook.test_out_dir = args.show_dir


def set_tta(cfg: Config) -> None:
    """Test each image and its mirror image, and merge the predictions."""
    library = library_of(cfg)
    models: dict[str, dict[str, Any]] = {
        'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
        'mmpretrain': dict(type='AverageClsScoreTTA'),
    }
    if 'tta_model' not in cfg and library not in models:
        raise ConfigError(f'--tta: the config has no tta_model, and there is no default for {library}')
    if library == 'mmdet' and (cfg.model.get('roi_head') or {}).get('mask_head'):
        raise ConfigError(
            '--tta: mmdet merges boxes, not masks; test the boxes alone with '
            '--cfg-options model.roi_head.mask_head=None test_evaluator.metric=bbox'
        )
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    if 'tta_pipeline' not in cfg:
        *steps, pack = deepcopy(dataset['pipeline'])
        if 'meta_keys' in pack:
            pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    cfg.model = ConfigDict(**cfg.get('tta_model', models.get(library)), module=cfg.model)
    dataset['pipeline'] = cfg.tta_pipeline


def set_all_ious(cfg: Config) -> None:
    """Score DOTA at the ten thresholds of COCO."""
    of_dota = {'DOTAMetric', 'WholeImageDOTAMetric'}
    metrics = [metric for metric in metrics_of(cfg, 'test') if type_names(metric, METRICS) & of_dota]
    if not metrics:
        raise ConfigError('--all-ious is for the metrics of DOTA, and the config has none; COCO has all of them anyway')
    for metric in metrics:
        metric['iou_thrs'] = [percent / 100 for percent in range(50, 100, 5)]


def set_submission(cfg: Config, args: Namespace) -> None:
    """Predict DOTA's test split, which has no labels, and write the predictions to a zip."""
    out = Path(args.submission)
    if out.suffix != '.zip':
        raise ConfigError(f'--submission {out}: the server takes a zip; name a .zip file')
    if out.exists() and not args.overwrite and not _confirm(f'{out} already exists. Replace it?'):
        raise ConfigError(f'--submission {out} already exists; choose another path, or replace it with --overwrite')
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    if 'DOTADataset' not in type_names(dataset, DATASETS):
        raise ConfigError(f'--submission is for DOTA, but the config tests on a {dataset["type"]}')
    dataset.update(ann_file='', data_prefix=dict(img_path='test/images/'))
    needs_labels = {'LoadAnnotations', 'ConvertBoxType', 'ConvertMask2BoxType'}
    dataset['pipeline'] = [step for step in dataset['pipeline'] if not type_names(step, TRANSFORMS) & needs_labels]
    cfg.test_evaluator = dict(type='DOTASubmission', out=str(out))


def _confirm(question: str) -> bool:
    """Ask for confirmation if there is a terminal."""
    return sys.stdin.isatty() and input(f'{question} [y/N] ').strip().lower() in ('y', 'yes')


def set_dataloader_defaults(cfg: Config, *names: str) -> None:
    """Let workers end with their parent, and add the defaults of mmpretrain's own tools."""
    for name in names:
        loader = cfg.get(name)
        if not loader:
            continue
        loader.setdefault('worker_init_fn', dict(type='exit_with_parent'))
        if library_of(cfg) == 'mmpretrain':
            loader.setdefault('pin_memory', True)
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', dict(type='default_collate'))
