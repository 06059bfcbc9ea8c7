"""Check before the model is built that a run can succeed, and report what prevents it in one line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS, METRICS, MODELS, WEIGHT_INITIALIZERS

from ..config_types import dicts_in, type_names
from ..datasets.coco.check import check as check_coco
from ..datasets.data_files import DataFiles, count_samples, resolve_all
from ..datasets.dota.check import check as check_dota
from ..datasets.findings import Report, by_kind, check_use
from ..datasets.imagenet.check import check as check_class_folders
from ..errors import ConfigError, DataError, first_few
from ..evaluation.dota_merged import label_folder
from ..installation import tool
from ..models import resolve_arch
from ..training.processes import is_first_process, number_of_processes
from .checkpoint_checks import check_checkpoint, fetch_checkpoint
from .evaluators import check_evaluators, metrics_of, scored_by
from .heads import check_class_counts
from .loaders import check_loader
from .schedules import check_schedules

#: The check of each format of data sets.
_CHECKS = {'coco': check_coco, 'dota': check_dota, 'classes': check_class_folders}


def check(cfg: Config, mode: str) -> None:
    """Check the backbone's arch, the checkpoints and the data that a run will use.

    Only the first process checks; the others use what it downloads.

    Args:
        cfg (Config): The whole config, with the command line's options in it.
        mode (str): ``'train'`` or ``'test'``.

    Raises:
        ConfigError: A FasterNet has an unknown ``arch``, or a setting has the wrong type.
        CheckpointError: A file of weights does not exist.
        DataError: Images or annotations do not exist, are malformed, or do not fit the config.
    """
    if not is_first_process():
        return
    sources = []
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError(f'model is {cfg.get("model")!r}; expected a dict with the type of the model')
    for module in dicts_in(cfg.model):
        if 'FasterNet' in type_names(module, MODELS):
            resolve_arch(module.get('arch', 't0'))
        if mode == 'train' and 'PretrainedInit' in type_names(module, WEIGHT_INITIALIZERS):
            sources.append((module.get('checkpoint'), 'init_cfg'))
    if cfg.get('load_from'):
        sources.append((cfg.load_from, 'checkpoint' if mode == 'test' else 'load_from'))
    for source, setting in sources:
        check_checkpoint(source, setting)
    for split in ('train', 'val') if mode == 'train' else ('test',):
        if cfg.get(f'{split}_dataloader'):
            _check_split(cfg, split)
    if mode == 'train':
        check_schedules(cfg)
    # last, because it can take long
    for source, setting in sources:
        fetch_checkpoint(source, setting)


def _check_split(cfg: Config, split: str) -> None:
    """Check a data loader, its data, and what must fit the data: heads and evaluators."""
    setting = f'{split}_dataloader'
    loader = cfg[setting]
    if not isinstance(loader, dict):
        raise ConfigError(f'{setting} is {loader!r}; expected a dict with a dataset')
    check_loader(loader, setting)
    head = cfg.model.get('head')
    known = head.get('num_classes') if isinstance(head, dict) else None
    datasets = resolve_all(loader.get('dataset'), setting, known if isinstance(known, int) else None)
    scored = frozenset() if split == 'train' else scored_by(cfg, split)
    samples = count_samples(loader['dataset'], check_datasets(datasets, scored))
    if split == 'train' and samples is not None:
        _check_steps(loader, samples, number_of_processes(cfg.get('launcher', 'none')))
    for files in datasets:
        check_class_counts(cfg.model, files.meta, setting)
    if split != 'train':
        check_evaluators(cfg, split, [files.annotations for files in datasets if files.reads_json])
        _check_whole_images(cfg, split, datasets)


def _check_steps(loader: dict[str, Any], samples: int, processes: int) -> None:
    """Refuse an epoch without a step: it would end at once and save an untrained model."""
    drops_last = loader.get('drop_last') or (loader.get('batch_sampler') or {}).get('drop_last')
    is_endless = any(
        'Infinite' in name or 'MultiSource' in name for name in type_names(loader.get('sampler'), DATA_SAMPLERS)
    )
    of_each, batch_size = -(-samples // processes), loader.get('batch_size', 1)
    if drops_last and not is_endless and of_each < batch_size:
        raise DataError(
            f'train_dataloader: an epoch has no step: each process has {of_each} samples, which do not fill a batch of '
            f'{batch_size}, and drop_last leaves it out. Set train_dataloader.drop_last=False or '
            f'train_dataloader.batch_size={of_each}, or add data'
        )


def check_datasets(datasets: Sequence[DataFiles], scored: Collection[str] = ()) -> Iterator[int | None]:
    """Check that the data sets of a loader are sound and fit the config, without opening images.

    Args:
        datasets (Sequence[DataFiles]): The data sets.
        scored (Collection[str]): What is scored with their annotations, as :func:`scored_by` gives it. Defaults to
            ``()``: nothing.

    Returns:
        Iterator[int | None]: How many samples each has; None if only the class of the data set knows.

    Raises:
        DataError: They are not.
    """
    reports = []
    for files in datasets:
        report = check_files(files, scored)
        if report:
            _log(report, files)
        reports.append(report if files.drops_are_known else None)
    if None not in reports:
        finding = check_use(reports, datasets[0].setting.startswith('train'), bool(scored))
        if finding:
            raise DataError(f'{datasets[0].setting}: {finding.kind.title}, {finding.kind.outcome}: {finding}')
    return (None if report is None else report.kept_images for report in reports)


def check_files(
    files: DataFiles, scored: Collection[str] = (), open_images: bool = False, decode: bool = False
) -> Report | None:
    """Check a data set by the check of its format.

    Args:
        files (DataFiles): The data set.
        scored (Collection[str]): What is scored with its annotations. Defaults to ``()``: nothing.
        open_images (bool): Open its images, too. Defaults to False.
        decode (bool): Decode each image as a whole. Defaults to False: read its header alone.

    Returns:
        Report | None: The findings; None if only the class of the data set can read it.

    Raises:
        DataError: It cannot be read.
    """
    if not files.format:
        return None
    try:
        return _CHECKS[files.format](files, scored, open_images, decode)
    except DataError as error:
        raise DataError(f'{files.setting}: {error}') from None


def _log(report: Report, files: DataFiles) -> None:
    """Stop at errors, and log what is dropped or altered silently."""
    place = f'{files.setting}: {files.annotations if files.format == "coco" else files.images}'
    groups = by_kind(report.findings)
    for kind, found in groups.items():
        if kind.severity == 'error':
            raise DataError(
                f'{place}: {kind.title} ({len(found)}), {kind.outcome}: {first_few(list(map(str, found)))}; '
                f'`{tool("check_data")} CONFIG` lists all'
            )
    warnings = [
        f'{kind.title} ({len(found)}): {kind.outcome}' + ('' if found[0].place else f', as {found[0]}')
        for kind, found in groups.items()
        if kind.severity == 'warning'
    ]
    if warnings:
        text = f'{place}: {"; ".join(warnings)}. `{tool("check_data")} CONFIG` lists them'
        print_log(text, logger='current', level=logging.WARNING)


def _check_whole_images(cfg: Config, split: str, datasets: Sequence[DataFiles]) -> None:
    """Check what merging tiles into whole images reads, which comes after hours of testing."""
    for evaluator in metrics_of(cfg, split):
        names = type_names(evaluator, METRICS)
        if not names & {'WholeImageDOTAMetric', 'DOTASubmission'}:
            continue
        from ..datasets.dota.tiles import parse_tile_name

        for tile in [min(files.images.iterdir()) for files in datasets if files.images]:
            parse_tile_name(tile.stem)
            if 'WholeImageDOTAMetric' in names:
                label_folder(tile, evaluator.get('label_dir'))
