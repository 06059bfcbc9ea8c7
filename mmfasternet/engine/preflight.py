"""Is all there that a run needs? Told in one line before the model is built, not in a traceback after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..checkpoints import fetch
from ..datasets.class_folders import IMAGENET_WNIDS, check_label_file, list_class_folders
from ..datasets.coco_annotations import Annotations, check_annotations, missing_files, read_annotations
from ..datasets.findings import Report, by_kind
from ..datasets.tile_folders import HINT, list_label_files, list_tiles, malformed_lines
from ..errors import CheckpointError, ConfigError, DataError, first_few
from ..evaluation.dota_merged import label_folder
from ..models import FasterNet
from ..training.processes import is_first_process

_HINT_IMAGENET = (
    '; expected a folder for each class in it, named by its WordNet id such as n01440764; '
    '`python tools/make_miniature.py imagenet` draws a small one for the mini configs'
)
_HINTS = {
    'CocoDataset': '. data/coco has COCO 2017 in its own layout: annotations/, train2017/, val2017/; '
    '`python tools/make_miniature.py coco data/coco` draws a small one',
    'DOTADataset': f'; {HINT}',
    'ImageNet': _HINT_IMAGENET,
    'ImageNetR': _HINT_IMAGENET,
    'ImageNetC': '; extract all archives of ImageNet-C there, so that it has corruption/severity/wnid/*.JPEG',
}
#: What the settings of a data set must be that are looked at here, if they are there.
_SETTINGS = {
    'type': (str, type),
    'data_root': str,
    'ann_file': str,
    'data_prefix': (str, dict),
    'data_prefix.img': str,
    'data_prefix.img_path': str,
    'img_suffix': str,
    'split': str,
    'metainfo': dict,
    'metainfo.classes': (str, list, tuple),
    'filter_cfg': dict,
    'filter_cfg.min_size': (int, float),
    'pipeline': (list, tuple),
}


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
    for module in _dicts(cfg.model):
        if module.get('type') in ('FasterNet', FasterNet):
            FasterNet.resolve_arch(module.get('arch', 't0'))
        if mode == 'train' and module.get('type') == 'Pretrained':
            sources.append((module.get('checkpoint'), 'init_cfg'))
    if cfg.get('load_from'):
        sources.append((cfg.load_from, 'checkpoint' if mode == 'test' else 'load_from'))
    for source, setting in sources:
        check_checkpoint(source, setting)
    for name in ('train', 'val') if mode == 'train' else ('test',):
        loader = cfg.get(f'{name}_dataloader')
        if loader:
            if not isinstance(loader, dict):
                raise ConfigError(f'{name}_dataloader is {loader!r}; expected a dict with a dataset')
            for dataset in leaf_datasets(loader.get('dataset')):
                check_dataset(dataset, setting=f'{name}_dataloader')
                _check_number_of_classes(cfg, dataset, setting=f'{name}_dataloader')
    if mode == 'test':
        _check_whole_images(cfg)
    # last, as it can take long
    for source, setting in sources:
        fetch_checkpoint(source, setting)


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
    if not _is_remote(source) and not Path(source).is_file():
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


class DataFiles(NamedTuple):
    """Where the files of a data set are.

    Attributes:
        format: ``'coco'``, ``'dota'``, ``'classes'`` (a folder each), or ``''``: one that its own class alone can read.
        annotations: The annotation file, or the folder of label files.
        images: The folder of images.
    """

    format: str
    annotations: Path
    images: Path


def check_dataset(dataset: dict[str, Any], setting: str) -> None:
    """Check that a data set's files are there and, as far as it is quickly done, that they fit the config.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Where it stands in the config, for the message.

    Raises:
        DataError: If not.
    """
    files = find_data(dataset, setting)
    if files is None:
        return
    if files.format == 'coco':
        annotations, report = check_coco(dataset, files, setting)
        _tell(report, f'{setting}: {files.annotations}')
        _check_images(annotations, files, setting)
    elif files.format == 'dota':
        _check_tiles(dataset, files, setting)
    elif files.format == 'classes':
        _check_class_folders(dataset, files, setting)


def find_data(dataset: dict[str, Any], setting: str) -> DataFiles | None:
    """Find the files of a data set.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Where it stands in the config, for the message.

    Returns:
        DataFiles | None: Where they are, or None if that is a store that only the data set's own backend can reach.

    Raises:
        ConfigError: A setting is not of the kind that is needed.
        DataError: They are not there.
    """
    _check_settings(dataset, setting)
    dataset_type = dataset_class(dataset, setting)
    bases = {base.__name__ for base in dataset_type.__mro__}
    hint = next((text for name, text in _HINTS.items() if name in bases), '')
    data_root = dataset.get('data_root') or ''
    if _is_remote(data_root):
        return None
    root = Path(data_root)
    if not root.is_dir():
        raise DataError(f'{setting}: no folder {root} (looked in {Path.cwd()}); put the data there or link to it{hint}')
    annotations = root / (dataset.get('ann_file') or '')
    if not annotations.exists():
        raise DataError(f'{setting}: no annotations {annotations} (looked in {Path.cwd()}){hint}')
    prefix = dataset.get('data_prefix') or {}
    if bases & {'CocoDataset', 'DOTADataset'} and isinstance(prefix, str):
        raise ConfigError(f'{setting}.dataset.data_prefix is {prefix!r}; expected a dict')
    if 'CocoDataset' in bases and _reads_as_coco(dataset_type):
        images = root / (prefix.get('img') or '')
        if not images.is_dir():
            raise DataError(f'{setting}: the folder of images {images} is not there; {annotations} names images in it')
        return DataFiles('coco', annotations, images)
    if 'DOTADataset' in bases:
        return DataFiles('dota', annotations, root / (prefix.get('img_path') or ''))
    if 'CustomDataset' in bases and dataset.get('with_label', True):
        prefix = prefix or dataset.get('split', '')
        return DataFiles(
            'classes', annotations, root / (prefix if isinstance(prefix, str) else prefix.get('img_path') or '')
        )
    return DataFiles('', annotations, root)


def _is_remote(place: str) -> bool:
    return '://' in place


def _check_settings(dataset: dict[str, Any], setting: str) -> None:
    for name, types in _SETTINGS.items():
        outer, _, inner = name.partition('.')
        value = dataset.get(outer)
        if inner:
            value = value.get(inner) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, types):
            expected = ' or '.join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
            raise ConfigError(f'{setting}.dataset.{name} is {value!r}; expected a {expected}')
    for name, values, kind in (
        ('pipeline', dataset.get('pipeline'), dict),
        ('metainfo.classes', (dataset.get('metainfo') or {}).get('classes'), str),
    ):
        odd = [value for value in values or () if not isinstance(value, kind)]
        if odd:
            raise ConfigError(f'{setting}.dataset.{name} has {odd[0]!r} in it; expected a {kind.__name__} each')


def _reads_as_coco(dataset_type: type) -> bool:
    """Tell CocoDataset from its relatives with formats of their own, such as LVIS and panoptic COCO."""
    methods = ('load_data_list', 'parse_data_info')
    return all(getattr(dataset_type, name).__qualname__ == f'CocoDataset.{name}' for name in methods)


def check_coco(dataset: dict[str, Any], files: DataFiles, setting: str) -> tuple[Annotations, Report]:
    """Check the annotations of a data set in the format of COCO.

    Args:
        dataset (dict): Config of the data set.
        files (DataFiles): Where its files are.
        setting (str): Where it stands in the config, for the message.

    Returns:
        tuple[Annotations, Report]: What of them is sound, and what was found.

    Raises:
        DataError: The file is not in the format of COCO.
    """
    with _named(setting):
        content = read_annotations(files.annotations)
    filters = {} if dataset.get('test_mode') else dataset.get('filter_cfg')
    with_masks = any(step.get('with_mask') for step in dataset.get('pipeline') or ())
    return check_annotations(content, classes_of(dataset, setting), filters, with_masks)


def dataset_class(dataset: dict[str, Any], setting: str) -> type:
    """Find the class of a data set.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Where it stands in the config, for the message.

    Returns:
        type: The class.

    Raises:
        ConfigError: No library has a class of this name.
    """
    kind = dataset.get('type')
    if isinstance(kind, type):
        return kind
    with DATASETS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind) if kind else None
    if found is None:
        raise ConfigError(f'{setting}: unknown data set type {kind!r}')
    return found


def classes_of(dataset: dict[str, Any], setting: str) -> Sequence[str]:
    """List the classes of a data set.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Where it stands in the config, for the message.

    Returns:
        Sequence[str]: Their names, in the order of the labels; none if any will do.
    """
    default = getattr(dataset_class(dataset, setting), 'METAINFO', {}).get('classes', ())
    classes = (dataset.get('metainfo') or {}).get('classes') or default
    return [classes] if isinstance(classes, str) else classes


def test_metrics(cfg: Config) -> list[dict[str, Any]]:
    """List the metrics that a test computes, be they one or several.

    Args:
        cfg (Config): The whole config.

    Returns:
        list[dict]: Their configs.
    """
    metrics = cfg.get('test_evaluator') or []
    return metrics if isinstance(metrics, list) else [metrics]


def leaf_datasets(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Find the data sets inside wrappers such as RepeatDataset and ConcatDataset.

    Args:
        dataset (dict): Config of a data set.

    Yields:
        dict: Config of a data set that is no wrapper; itself, if it is none.

    Raises:
        ConfigError: One is no dict.
    """
    if not isinstance(dataset, dict):
        raise ConfigError(f'a data set is {dataset!r}; expected a dict with its type')
    if not isinstance(dataset.get('datasets') or [], (list, tuple)):
        raise ConfigError(f'the datasets of a data set are {dataset["datasets"]!r}; expected a list')
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for child in inner:
        yield from leaf_datasets(child)
    if not inner:
        yield dataset


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
                '`python tools/check_data.py CONFIG` lists all'
            )
    told = [
        f'{kind.title} ({len(found)}): {kind.outcome}' for kind, found in groups.items() if kind.severity == 'warning'
    ]
    if told:
        text = f'{place}: {"; ".join(told)}. `python tools/check_data.py CONFIG` lists them'
        print_log(text, logger='current', level=logging.WARNING)


def _check_images(annotations: Annotations, files: DataFiles, setting: str) -> None:
    names = [image['file_name'] for image in annotations.images.values()]
    missing = missing_files(files.images, names)
    if missing:
        raise DataError(
            f'{setting}: {len(missing)} of {len(names)} images that {files.annotations} names are not in '
            f'{files.images}: {first_few(missing)}. Fetch them again, or take them out of the file'
        )


def _check_tiles(dataset: dict[str, Any], files: DataFiles, setting: str) -> None:
    """Every label file needs its tile, and every line a class of the config: mmrotate stops at the first without."""
    with _named(setting):
        suffix = dataset.get('img_suffix', 'png')
        tiles = set(list_tiles(files.images, suffix))
        if not dataset.get('ann_file'):
            return
        label_files = list_label_files(files.annotations)
        missing = [path.name for path in label_files if f'{path.stem}.{suffix}' not in tiles]
        if missing:
            raise DataError(
                f'{len(missing)} of the {len(label_files)} label files in {files.annotations} have no tile in '
                f'{files.images}: {first_few(missing)}; {HINT}'
            )
        classes = classes_of(dataset, setting)
        for path in label_files:
            for number, text in malformed_lines(path, classes):
                raise DataError(f'{path}:{number}: {text}')


def _check_class_folders(dataset: dict[str, Any], files: DataFiles, setting: str) -> None:
    """Every class needs images, and labels must be those of the folders: mmpretrain numbers what it finds."""
    classes = classes_of(dataset, setting)
    if 'split' in dataset and len(classes) == len(IMAGENET_WNIDS):
        classes = IMAGENET_WNIDS  # mmpretrain's ImageNet has names such as 'tench', in this order
    label_file = files.annotations
    if not dataset.get('ann_file'):
        label_file = label_file / f'meta/{dataset.get("split", "")}.txt'
    with _named(setting):
        if label_file.is_file():
            check_label_file(label_file, files.images, classes)
        else:
            list_class_folders(files.images, classes)


def _check_number_of_classes(cfg: Config, dataset: dict[str, Any], setting: str) -> None:
    """A classifier must know as many classes as its data: mmpretrain finds out in the first step, or never."""
    head = cfg.model.get('head')
    known = head.get('num_classes') if isinstance(head, dict) else None
    classes = classes_of(dataset, setting)
    if known and classes and known != len(classes):
        raise ConfigError(
            f'{setting}: the data has {len(classes)} classes ({first_few(classes)}), model.head.num_classes '
            f'is {known}; make them the same'
        )


def _check_whole_images(cfg: Config) -> None:
    """Scoring whole images comes after hours of testing: see first that there is what it reads."""
    for evaluator in test_metrics(cfg):
        if evaluator.get('type') not in ('WholeImageDOTAMetric', 'DOTASubmission'):
            continue
        from ..datasets.dota_tiles import parse_tile_name

        for dataset in leaf_datasets(cfg.test_dataloader.dataset):
            images = Path(dataset.get('data_root') or '', (dataset.get('data_prefix') or {}).get('img_path', ''))
            tile = min(images.iterdir())
            parse_tile_name(tile.stem)
            if evaluator.type == 'WholeImageDOTAMetric':
                label_folder(tile, evaluator.get('label_dir'))


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """All dicts in a config, from the outside in."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _dicts(child)
