"""From a config and the command line to a finished training or test, for mmdet, mmrotate and mmpretrain alike."""

from __future__ import annotations

import errno
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import (
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    RUNNERS,
    TRANSFORMS,
    init_default_scope,
)
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ..config_types import dicts_in, resolve_type, type_names
from ..deploy import cpu_has_bfloat16
from ..errors import ConfigError, DataError, DependencyError
from ..evaluation import CorruptionError
from ..installation import how_to_install_libraries
from ..training import NonFiniteHook, newest_whole_checkpoint
from ..training.processes import joined_processes
from . import checkpoint_classes, class_pictures, palette  # noqa: F401, register hooks
from .acceleration import check_flags
from .evaluators import metrics_of
from .library import library_of
from .preflight import check, leaf_datasets
from .unused_features import handle_unused_features

_EXACT_LOOPS = {EpochBasedTrainLoop: 'ExactEpochLoop', IterBasedTrainLoop: 'ExactIterLoop'}
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def train(args: Namespace) -> None:
    """Train as the command line says.

    Args:
        args (Namespace): The options of ``tools/train.py``.

    Raises:
        MMFasterNetError: If config, weights or data cannot work; before the model is built.
    """
    cfg = _load_config(args)
    if args.amp:
        _set_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ConfigError(
                f'--auto-scale-lr: {args.config} does not say for which batch size its learning rate is; '
                'add auto_scale_lr = dict(base_batch_size=16)'
            )
        cfg.auto_scale_lr.enable = True
    _set_survival(cfg)
    _set_resume(cfg, args)
    _set_dataloader_defaults(cfg, 'train_dataloader', 'val_dataloader')
    check(cfg, 'train')
    handle_unused_features(cfg)
    if cfg.get('resume'):
        _add_default_hook(cfg, 'checkpoint_classes', type='CheckpointClassesHook', split='train')
    with _faults_in_one_line(cfg), joined_processes(cfg):
        _build_runner(cfg).train()


def test(args: Namespace) -> dict[str, float]:
    """Test a checkpoint as the command line says.

    Args:
        args (Namespace): The options of ``tools/test.py``.

    Returns:
        dict: The metrics.

    Raises:
        MMFasterNetError: If config, checkpoint or data cannot work; before the model is built.
    """
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise ConfigError(f'--out {args.out}: the predictions are written as a pickle; name a .pkl file')
    check_flags(args)
    cfg = _load_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        _set_visualization(cfg, args)
    if args.tta:
        _set_tta(cfg)
    if args.all_ious:
        _set_all_ious(cfg)
    if args.submission:
        _set_submission(cfg, args)
    if args.optimize or args.backend:
        _add_hook(cfg, type='AccelerateHook', optimize=args.optimize, backend=args.backend)
    _add_default_hook(cfg, 'checkpoint_classes', type='CheckpointClassesHook', split='test')
    _set_dataloader_defaults(cfg, 'test_dataloader')
    check(cfg, 'test')
    with _faults_in_one_line(cfg), joined_processes(cfg):
        runner = _build_runner(cfg)
        if args.out:
            dump = 'mmdet.DumpDetResults' if library_of(cfg) == 'mmdet' else 'DumpResults'
            runner.test_evaluator.metrics.append(METRICS.build(dict(type=dump, out_file_path=args.out)))
        for metric in runner.test_evaluator.metrics:
            if isinstance(metric, CorruptionError):
                metric.out_dir = metric.out_dir or runner.log_dir
        return runner.test()


def read_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file, and make the library that it is of the one that short type names belong to.

    Args:
        path (str): The file.
        options (dict, optional): Settings to change, by their dotted names.

    Returns:
        Config: The config.

    Raises:
        ConfigError: There is no such file, or it is not a config.
        DependencyError: It needs a library that is not installed.
    """
    if not Path(path).is_file():
        raise ConfigError(f'config {path} does not exist (looked in {Path.cwd()})')
    try:
        cfg = Config.fromfile(path)
    except FileNotFoundError as error:
        raise ConfigError(f'config {path} inherits from a file that is not there: {error}') from error
    except ImportError as error:
        # MMEngine lists the whole sys.path, a line each
        reason = str(error).partition(', the current sys.path')[0]
        raise DependencyError(
            f'config {path} needs a library that is not installed: {reason}; {how_to_install_libraries()}'
        ) from error
    except RecursionError as error:
        raise ConfigError(f'config {path} inherits from itself; name another file as _base_') from error
    except Exception as error:  # a config is a program, which can raise anything
        raise ConfigError(f'config {path} cannot be read: {_in_one_line(error)}') from error
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:  # whatever MMEngine makes of settings that do not fit
        raise ConfigError(f'--cfg-options do not fit {path}: {_in_one_line(error)}') from error
    scope = cfg.get('default_scope') or 'mmengine'  # pure Python configs leave it out, as their types are classes
    if not isinstance(scope, str):
        raise ConfigError(f'config {path}: default_scope is {scope!r}; expected the name of a library')
    init_default_scope(scope)
    return cfg


def _in_one_line(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def _load_config(args: Namespace) -> Config:
    """Read the config file and put the options in that both tools have."""
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    # torchrun sets it; torch.distributed.launch and srun leave it to us
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return cfg


def _build_runner(cfg: Config) -> Runner:
    _add_default_hook(cfg, 'palette', type='DrawAllClasses')
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _add_hook(cfg: Config, **hook: Any) -> None:
    hooks = cfg.get('custom_hooks') or []
    if not isinstance(hooks, (list, tuple)):
        raise ConfigError(
            f'custom_hooks is {hooks!r}; expected a list of dicts (to add a hook by an option, name it: '
            'default_hooks.ema.type=EMAHook)'
        )
    cfg.custom_hooks = [*hooks, hook]


def _add_default_hook(cfg: Config, name: str, **hook: Any) -> None:
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, **{name: hook})


def _set_survival(cfg: Config) -> None:
    """Resume exactly, save whole files, stop at NaN: wherever the config has MMEngine's own loops and hooks."""
    loop = dict(cfg.get('train_cfg') or {})
    kind = loop.get('type') or ('EpochBasedTrainLoop' if loop.pop('by_epoch', True) else 'IterBasedTrainLoop')
    cfg.train_cfg = loop | dict(type=_EXACT_LOOPS.get(resolve_type(kind, LOOPS), kind))
    defaults = dict(cfg.get('default_hooks') or {})
    checkpoint = defaults.get('checkpoint', {})
    if checkpoint is not None and resolve_type(checkpoint.get('type', CheckpointHook), HOOKS) is CheckpointHook:
        cfg.default_hooks = defaults | dict(checkpoint=dict(checkpoint, type='DurableCheckpointHook'))
    hooks = cfg.get('custom_hooks') or []
    if not any(isinstance(hook, NonFiniteHook) or 'NonFiniteHook' in type_names(hook, HOOKS) for hook in hooks):
        _add_hook(cfg, type='NonFiniteHook')


def _set_resume(cfg: Config, args: Namespace) -> None:
    """Go on from a checkpoint if the command line, or torch's elastic launcher after a fault, says so."""
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    newest = newest_whole_checkpoint(cfg.work_dir) if args.resume == 'auto' or restarted else None
    source = newest or (args.resume if args.resume != 'auto' else None)
    if source:
        cfg.resume, cfg.load_from = True, str(source)
    elif args.resume or restarted:
        print_log(f'nothing to resume from in {cfg.work_dir}: the run starts anew', logger='current')


def _set_amp(cfg: Config) -> None:
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


def _set_visualization(cfg: Config, args: Namespace) -> None:
    """Draw the predictions."""
    if library_of(cfg) == 'mmpretrain':
        _add_hook(cfg, type='ClassPictures', out_dir=args.show_dir, show=args.show, wait_time=args.wait_time)
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


def _set_tta(cfg: Config) -> None:
    """Test the image and its mirror image, and merge the two."""
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
        *steps, pack = deepcopy(dataset.pipeline)
        if 'meta_keys' in pack:
            pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    cfg.model = ConfigDict(**cfg.get('tta_model', models.get(library)), module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def _set_all_ious(cfg: Config) -> None:
    """Score DOTA at the ten thresholds of COCO."""
    of_dota = {'DOTAMetric', 'WholeImageDOTAMetric'}
    metrics = [metric for metric in metrics_of(cfg, 'test') if type_names(metric, METRICS) & of_dota]
    if not metrics:
        raise ConfigError('--all-ious is for the metrics of DOTA, and the config has none; COCO has all of them anyway')
    for metric in metrics:
        metric['iou_thrs'] = [percent / 100 for percent in range(50, 100, 5)]


def _set_submission(cfg: Config, args: Namespace) -> None:
    """Predict DOTA's test split, which has no labels, and write what is found to a zip."""
    out = Path(args.submission)
    if out.suffix != '.zip':
        raise ConfigError(f'--submission {out}: the server takes a zip; name a .zip file')
    if out.exists() and not args.overwrite and not _confirm(f'{out} is there already. Replace it?'):
        raise ConfigError(f'--submission {out} is there already; name another file, or replace it with --overwrite')
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    if 'DOTADataset' not in type_names(dataset, DATASETS):
        raise ConfigError(f'--submission is for DOTA, but the config tests on a {dataset.type}')
    dataset.update(ann_file='', data_prefix=dict(img_path='test/images/'))
    needs_labels = {'LoadAnnotations', 'ConvertBoxType', 'ConvertMask2BoxType'}
    dataset.pipeline = [step for step in dataset.pipeline if not type_names(step, TRANSFORMS) & needs_labels]
    cfg.test_evaluator = dict(type='DOTASubmission', out=str(out))


def _confirm(question: str) -> bool:
    """Ask who sits at the terminal, if anybody does."""
    return sys.stdin.isatty() and input(f'{question} [y/N] ').strip().lower() in ('y', 'yes')


@contextmanager
def _faults_in_one_line(cfg: Config) -> Iterator[None]:
    """Tell in one line what comes up only while a run goes on: a file that cannot be decoded, or written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        raise DataError(
            f'{error.filename or cfg.work_dir} cannot be opened or written: {error.strerror}; make room, allow it, or '
            'name another place'
        ) from error
    except AssertionError as error:
        # from a worker process comes the whole traceback, whose source lines match too
        names = re.findall('failed to load image: (.+)', str(error))
        if not names:
            raise
        raise DataError(
            f'{names[-1]} cannot be decoded; fetch it again, or take it and its labels out of the data set'
        ) from None


def _set_dataloader_defaults(cfg: Config, *names: str) -> None:
    """Add what ends a worker in good time, and what mmpretrain's own tools add to its configs."""
    for name in names:
        loader = cfg.get(name)
        if not loader:
            continue
        loader.setdefault('worker_init_fn', dict(type='heed_parent_alone'))
        if library_of(cfg) == 'mmpretrain':
            loader.setdefault('pin_memory', True)
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', dict(type='default_collate'))
