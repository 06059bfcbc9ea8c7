"""Is all there that a run needs? Told in one line before the model is built, not in a traceback after it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS, METRICS, MODELS, WEIGHT_INITIALIZERS

from ..checkpoints import fetch
from ..config_types import dicts_in, type_names
from ..datasets.coco.annotations import Annotations, check_annotations, missing_files, read_annotations, uncollected
from ..datasets.data_files import (
    DataFiles,
    classes_of,
    count_samples,
    dataset_class,
    drops_as_coco,
    find_data,
    is_remote,
    label_file_of,
    leaf_datasets,
    steps_of,
)
from ..datasets.dota.tile_folders import HINT, list_label_files, list_tiles, read_tile_labels
from ..datasets.findings import Report, by_kind, check_use
from ..datasets.imagenet.class_folders import IMAGE_ENDINGS, IMAGENET_WNIDS, check_label_file, list_class_folders
from ..errors import CheckpointError, ConfigError, DataError, first_few
from ..evaluation.dota_merged import label_folder
from ..installation import tool
from ..models import FasterNet
from ..training.processes import is_first_process, number_of_processes
from .evaluators import check_evaluators, metrics_of, scored_by
from .heads import check_class_counts
from .loaders import check_loader
from .schedules import check_schedules


def check(cfg: Config, mode: str) -> None:
    """Check the backbone's arch, the checkpoints and the data that a run will use.

    The first process checks for all; what it downloads the others find.

    Args:
        cfg (Config): The whole config, with the command line's options in it.
        mode (str): ``'train'`` or ``'test'``.

    Raises:
        ConfigError: If a FasterNet has an unknown ``arch``, or a setting is not of the kind that is needed.
        CheckpointError: If a file of weights is not there.
        DataError: If images or annotations are not there, are malformed, or do not fit the config.
    """
    if not is_first_process():
        return
    sources = []
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError(f'model is {cfg.get("model")!r}; expected a dict with the type of the model')
    for module in dicts_in(cfg.model):
        if 'FasterNet' in type_names(module, MODELS):
            FasterNet.resolve_arch(module.get('arch', 't0'))
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
    else:
        _check_whole_images(cfg)
    # last, as it can take long
    for source, setting in sources:
        fetch_checkpoint(source, setting)


def _check_split(cfg: Config, split: str) -> None:
    """Check a data loader, its data, and what is compared with the data: heads and evaluators."""
    setting = f'{split}_dataloader'
    loader = cfg[setting]
    if not isinstance(loader, dict):
        raise ConfigError(f'{setting} is {loader!r}; expected a dict with a dataset')
    check_loader(loader, setting)
    annotations = []
    scored = frozenset() if split == 'train' else scored_by(cfg, split)
    head = cfg.model.get('head')
    known = head.get('num_classes') if isinstance(head, dict) else None
    samples = check_dataset(loader.get('dataset'), setting, scored, known if isinstance(known, int) else None)
    if split == 'train' and samples is not None:
        _check_steps(loader, samples, number_of_processes(cfg.get('launcher', 'none')))
    for dataset in leaf_datasets(loader.get('dataset')):
        check_class_counts(cfg.model, _class_meta(dataset, setting), setting)
        files = find_data(dataset, setting)
        if files and files.annotations.suffix == '.json':
            annotations.append(files.annotations)
    if split != 'train':
        check_evaluators(cfg, split, annotations)


def _check_steps(loader: dict[str, Any], samples: int, processes: int) -> None:
    """An epoch without a step would end at once, with checkpoints of the model as it was."""
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


def _class_meta(dataset: dict[str, Any], setting: str) -> dict[str, Any]:
    """What a data set says of its classes: its own defaults, and what the config puts in their place."""
    meta = {**getattr(dataset_class(dataset, setting), 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    return {**meta, 'classes': classes_of(dataset, setting)}


def check_checkpoint(source: str | None, setting: str) -> None:
    """Check that a local checkpoint is there.

    Args:
        source (str, optional): Path, URL, or a name with a scheme of OpenMMLab's, such as ``torchvision://resnet50``.
        setting (str): Where it is named, for the message.

    Raises:
        CheckpointError: If it is a path and there is no such file.
    """
    if not source or not isinstance(source, str):
        raise CheckpointError(f'{setting}: no checkpoint is named; give a path or a URL')
    if not is_remote(source) and not Path(source).is_file():
        folder = Path(source).parent
        there = sorted(path.name for path in folder.glob('*.pth')) if folder.is_dir() else []
        found = f'{folder} has {first_few(there)}' if there else f'there is no .pth file in {folder.absolute()}'
        raise CheckpointError(f'{setting}: {source} does not exist; {found}')


def fetch_checkpoint(source: str, setting: str) -> None:
    """Bring a checkpoint to torch's cache, where MMEngine looks for it, if it is a URL and not there yet.

    Args:
        source (str): Path, URL, or a name with a scheme of OpenMMLab's.
        setting (str): Where it is named, for the message.

    Raises:
        CheckpointError: If the URL cannot be fetched.
    """
    if not source.startswith(('http://', 'https://')):
        return
    try:
        fetch(source)
    except CheckpointError as error:
        without = ', or start without it: --cfg-options model.backbone.init_cfg=None' if setting == 'init_cfg' else ''
        raise CheckpointError(f'{setting}: {error}{without}') from error


def check_dataset(
    dataset: dict[str, Any], setting: str, scored: Collection[str] = (), known: int | None = None
) -> int | None:
    """Check that the files of a data set are there and, as far as it is quickly done, that they fit the config.

    Args:
        dataset (dict): Config of the data set, or of a wrapper of several.
        setting (str): Where it stands in the config, for the message.
        scored (Collection[str]): What is scored with its annotations, as :func:`scored_by` gives it. Defaults to
            ``()``: nothing.
        known (int, optional): How many classes the model knows, for labels without names. Defaults to None: any.

    Returns:
        int | None: How many samples it has; None if only its own class can say.

    Raises:
        DataError: If not.
    """
    reports = [_check_leaf(leaf, setting, scored, known) for leaf in leaf_datasets(dataset)]
    if None not in reports:
        finding = check_use(reports, setting.startswith('train'), bool(scored))
        if finding:
            raise DataError(f'{setting}: {finding.kind.title}, {finding.kind.outcome}: {finding}')
    return count_samples(dataset, (report and report.kept_images for report in reports))


@uncollected()
def _check_leaf(dataset: dict[str, Any], setting: str, scored: Collection[str], known: int | None) -> Report | None:
    files = find_data(dataset, setting)
    if files is None or not files.format:
        return None
    if files.format == 'coco':
        annotations, report = check_coco(dataset, files, setting, scored)
        _tell(report, f'{setting}: {files.annotations}')
        if files.images:
            _check_images(annotations, files, setting)
        # such as Cityscapes, which drops images that have nothing but crowds, too
        return report if drops_as_coco(dataset, setting) else None
    check = _check_tiles if files.format == 'dota' else partial(_check_class_folders, known=known)
    report = check(dataset, files, setting)
    report.take(dataset.get('indices'))
    _tell(report, f'{setting}: {files.images}')
    return report


def check_coco(
    dataset: dict[str, Any], files: DataFiles, setting: str, scored: Collection[str] = ()
) -> tuple[Annotations, Report]:
    """Check the annotations of a data set in the format of COCO.

    Args:
        dataset (dict): Config of the data set.
        files (DataFiles): Where its files are.
        setting (str): Where it stands in the config, for the message.
        scored (Collection[str]): What is scored with its annotations. Defaults to ``()``: nothing.

    Returns:
        tuple[Annotations, Report]: What of them is sound, and what was found.

    Raises:
        DataError: The file is not in the format of COCO.
    """
    with _named(setting):
        content = read_annotations(files.annotations, bool(scored) or not dataset.get('test_mode'))
    filters = {} if dataset.get('test_mode') else dataset.get('filter_cfg')
    with_masks = any(step.get('with_mask') for step in steps_of(dataset))
    annotations, report = check_annotations(content, classes_of(dataset, setting), filters, with_masks, scored)
    report.take(dataset.get('indices'))
    return annotations, report


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Say in errors which part of the config they are about."""
    try:
        yield
    except DataError as error:
        raise DataError(f'{setting}: {error}') from None


def _tell(report: Report, place: str) -> None:
    """Stop at errors, and log what is dropped or altered in silence."""
    groups = by_kind(report.findings)
    for kind, found in groups.items():
        if kind.severity == 'error':
            raise DataError(
                f'{place}: {kind.title} ({len(found)}), {kind.outcome}: {first_few(list(map(str, found)))}; '
                f'`{tool("check_data")} CONFIG` lists all'
            )
    told = [
        f'{kind.title} ({len(found)}): {kind.outcome}' for kind, found in groups.items() if kind.severity == 'warning'
    ]
    if told:
        text = f'{place}: {"; ".join(told)}. `{tool("check_data")} CONFIG` lists them'
        print_log(text, logger='current', level=logging.WARNING)


def _check_images(annotations: Annotations, files: DataFiles, setting: str) -> None:
    names = [image['file_name'] for image in annotations.images.values()]
    missing = missing_files(files.images, names)
    if missing:
        raise DataError(
            f'{setting}: {len(missing)} of {len(names)} images that {files.annotations} names are not in '
            f'{files.images}: {first_few(missing)}. Fetch them again, or take them out of the file'
        )


def _check_tiles(dataset: dict[str, Any], files: DataFiles, setting: str) -> Report:
    """Every label file needs its tile, and every line a class of the config: mmrotate stops at the first without."""
    with _named(setting):
        suffix = dataset.get('img_suffix', 'png')
        tiles = set(list_tiles(files.images, suffix))
        if not dataset.get('ann_file'):
            return Report(len(tiles), 0, len(tiles), 0)
        label_files = list_label_files(files.annotations)
        missing = [path.name for path in label_files if f'{path.stem}.{suffix}' not in tiles]
        if missing:
            raise DataError(
                f'{len(missing)} of the {len(label_files)} label files in {files.annotations} have no tile in '
                f'{files.images}: {first_few(missing)}; {HINT}'
            )
        classes = classes_of(dataset, setting)
        report = Report(len(tiles), 0, len(label_files), 0)
        drops_empty = not dataset.get('test_mode') and (dataset.get('filter_cfg') or {}).get('filter_empty_gt')
        for path in label_files:
            labels = read_tile_labels(path, classes)
            for number, text in labels.faults:
                raise DataError(f'{path}:{number}: {text}')
            report.count_tile(labels.difficulties, dataset.get('diff_thr', 100), drops_empty)
        return report


def _check_class_folders(dataset: dict[str, Any], files: DataFiles, setting: str, known: int | None) -> Report:
    """Every class needs images, and labels must be those of the folders: mmpretrain numbers what it finds."""
    classes = classes_of(dataset, setting)
    if 'split' in dataset and len(classes) == len(IMAGENET_WNIDS):
        classes = IMAGENET_WNIDS  # mmpretrain's ImageNet has names such as 'tench', in this order
    with _named(setting):
        label_file = label_file_of(dataset, files)
        if label_file:
            number = check_label_file(label_file, files.images, classes, known)
        else:
            folders = list_class_folders(files.images, classes, dataset.get('extensions') or IMAGE_ENDINGS)
            number = sum(map(len, folders.values()))
            _compare_order(list(classes), list(folders), f'{setting}: {files.images}')
    return Report(number, number, number, number, learned=number, scored=number)


def _compare_order(classes: list[str], folders: list[str], place: str) -> None:
    if classes != folders and sorted(classes) == folders:
        print_log(
            f'{place}: mmpretrain numbers the folders in alphabetical order, {first_few(folders)}, and the config '
            f'names {first_few(classes)}: predictions get the names of other classes. Name the classes in that order',
            logger='current',
            level=logging.WARNING,
        )


def _check_whole_images(cfg: Config) -> None:
    """Scoring whole images comes after hours of testing: see first that there is what it reads."""
    for evaluator in metrics_of(cfg, 'test'):
        names = type_names(evaluator, METRICS)
        if not names & {'WholeImageDOTAMetric', 'DOTASubmission'}:
            continue
        from ..datasets.dota.tiles import parse_tile_name

        for dataset in leaf_datasets(cfg.test_dataloader.dataset):
            images = Path(dataset.get('data_root') or '', (dataset.get('data_prefix') or {}).get('img_path', ''))
            tile = min(images.iterdir())
            parse_tile_name(tile.stem)
            if 'WholeImageDOTAMetric' in names:
                label_folder(tile, evaluator.get('label_dir'))
