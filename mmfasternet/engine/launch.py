"""Train and test with mmdet, mmrotate and mmpretrain, as the command line asks."""

from __future__ import annotations

import errno
import os
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner

from ..checkpoints import install
from ..errors import ConfigError, DataError
from ..evaluation import CorruptionError
from ..training.processes import joined_processes
from . import hooks  # noqa: F401, registers them
from .acceleration import check_flags
from .config import library_of, read_config
from .overrides import (
    add_default_hook,
    add_hook,
    scale_lr,
    set_all_ious,
    set_amp,
    set_dataloader_defaults,
    set_resume,
    set_submission,
    set_tta,
    set_visualization,
    use_fault_tolerant_hooks,
)
from .preflight import check
from .unused_features import handle_unused_features

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def train(args: Namespace) -> None:
    """Train a model.

    Args:
        args (Namespace): The options of ``tools/train.py``.

    Raises:
        MMFasterNetError: Config, weights or data cannot work. Raised before the model is built.
    """
    cfg = _load_config(args)
    if args.amp:
        set_amp(cfg)
    if args.auto_scale_lr:
        scale_lr(cfg)
    use_fault_tolerant_hooks(cfg)
    set_resume(cfg, args)
    set_dataloader_defaults(cfg, 'train_dataloader', 'val_dataloader')
    check(cfg, 'train')
    handle_unused_features(cfg)
    if cfg.get('resume'):
        add_default_hook(cfg, 'checkpoint_classes', type='CheckpointClassesHook', split='train')
    with _faults_in_one_line(cfg), joined_processes(cfg):
        _build_runner(cfg).train()


def test(args: Namespace) -> dict[str, float]:
    """Test a checkpoint.

    Args:
        args (Namespace): The options of ``tools/test.py``.

    Returns:
        dict: The metrics.

    Raises:
        MMFasterNetError: Config, checkpoint or data cannot work. Raised before the model is built.
    """
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise ConfigError(f'--out {args.out}: the predictions are written as a pickle; name a .pkl file')
    check_flags(args)
    cfg = _load_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        set_visualization(cfg, args)
    if args.tta:
        set_tta(cfg)
    if args.all_ious:
        set_all_ious(cfg)
    if args.submission:
        set_submission(cfg, args)
    if args.optimize or args.backend:
        add_hook(cfg, type='AccelerateHook', optimize=args.optimize, backend=args.backend)
    add_default_hook(cfg, 'checkpoint_classes', type='CheckpointClassesHook', split='test')
    set_dataloader_defaults(cfg, 'test_dataloader')
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


def _load_config(args: Namespace) -> Config:
    """Read the config file and apply the options that both tools have."""
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    # torchrun sets it; torch.distributed.launch and srun leave it to us
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return cfg


def _build_runner(cfg: Config) -> Runner:
    install()
    add_default_hook(cfg, 'palette', type='DrawAllClasses')
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


@contextmanager
def _faults_in_one_line(cfg: Config) -> Iterator[None]:
    """Report errors that appear only during a run in one line: files that cannot be decoded or written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        raise DataError(
            f'{error.filename or cfg.work_dir} cannot be opened or written: {error.strerror}; free space, '
            'change the permissions, or choose another path'
        ) from error
    except AssertionError as error:
        # from a worker process comes the whole traceback, whose source lines match too
        names = re.findall('failed to load image: (.+)', str(error))
        if not names:
            raise
        raise DataError(
            f'{names[-1]} cannot be decoded; download it again, or remove it and its labels from the data set'
        ) from None
