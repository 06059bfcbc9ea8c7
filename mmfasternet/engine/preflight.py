"""Is all there that a run needs? Told in one line before the model is built, not in a traceback after it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mmengine.config import Config
from mmengine.registry import DATASETS

from ..checkpoints import fetch
from ..datasets.class_folders import IMAGENET_WNIDS, check_label_file, list_class_folders
from ..errors import CheckpointError, ConfigError, DataError, first_few
from ..evaluation.dota_merged import label_folder
from ..models import FasterNet

_HINT_TILES = 'cut the images of DOTA into tiles: `python tools/split_dota.py --help`'
_HINT_IMAGENET = (
    '; expected a folder for each class in it, named by its WordNet id such as n01440764; '
    '`python tools/make_miniature.py imagenet` draws a small one for the mini configs'
)
_HINTS = {
    'CocoDataset': '. data/coco has COCO 2017 in its own layout: annotations/, train2017/, val2017/; '
    '`python tools/make_miniature.py coco data/coco` draws a small one',
    'DOTADataset': f'; {_HINT_TILES}',
    'ImageNet': _HINT_IMAGENET,
    'ImageNetR': _HINT_IMAGENET,
    'ImageNetC': '; extract all archives of ImageNet-C there, so that it has corruption/severity/wnid/*.JPEG',
}


def check(cfg: Config, mode: str) -> None:
    """Check the backbone's arch, the checkpoints and the data that a run will use.

    The first process checks for all; what it downloads the others find.

    Args:
        cfg (Config): The whole config, with the command line's options in it.
        mode (str): ``'train'`` or ``'test'``.

    Raises:
        ConfigError: If a FasterNet has an unknown ``arch``.
        CheckpointError: If a file of weights is not there.
        DataError: If images or annotations are not there, or the annotations do not fit the config.
    """
    if int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) != 0:
        return
    sources = []
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
            for dataset in leaf_datasets(loader['dataset']):
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
    if not source:
        raise CheckpointError(f'{setting}: no checkpoint is named; give a path or a URL')
    if not urlparse(source).scheme and not Path(source).is_file():
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
    if urlparse(source).scheme not in ('http', 'https'):
        return
    try:
        fetch(source)
    except CheckpointError as error:
        without = ', or start without it: --cfg-options model.backbone.init_cfg=None' if setting == 'init_cfg' else ''
        raise CheckpointError(f'{setting}: {error}{without}') from error


def check_dataset(dataset: dict[str, Any], setting: str) -> None:
    """Check that a data set's files are there and, for COCO's format, that they fit the config.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Where it stands in the config, for the message.

    Raises:
        DataError: If not.
    """
    dataset_type = dataset_class(dataset, setting)
    bases = {base.__name__ for base in dataset_type.__mro__}
    hint = next((text for name, text in _HINTS.items() if name in bases), '')
    data_root = dataset.get('data_root') or ''
    if urlparse(data_root).scheme:
        return  # on a store that only the data set's own backend can reach
    root = Path(data_root)
    if not root.is_dir():
        raise DataError(f'{setting}: no folder {root} (looked in {Path.cwd()}); put the data there or link to it{hint}')
    annotations = root / (dataset.get('ann_file') or '')
    if not annotations.exists():
        raise DataError(f'{setting}: no annotations {annotations} (looked in {Path.cwd()}){hint}')
    classes = _classes_of(dataset, setting)
    prefix = dataset.get('data_prefix') or {}
    if 'CocoDataset' in bases:
        content = _read_coco(annotations, setting)
        _check_classes(classes, content, annotations, setting)
        _check_images(root / prefix.get('img', ''), content, annotations, setting)
    elif 'DOTADataset' in bases:
        images = root / prefix.get('img_path', '')
        _check_tiles(images, annotations if dataset.get('ann_file') else None, classes, setting)
    elif 'CustomDataset' in bases and dataset.get('with_label', True):
        _check_class_folders(dataset, root, classes, setting)


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
    if not isinstance(dataset['type'], str):
        return dataset['type']
    with DATASETS.switch_scope_and_registry(None) as registry:
        found = registry.get(dataset['type'])
    if found is None:
        raise ConfigError(f'{setting}: unknown data set type {dataset["type"]!r}')
    return found


def _classes_of(dataset: dict[str, Any], setting: str) -> Sequence[str]:
    default = dataset_class(dataset, setting).METAINFO.get('classes', ())
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
    """
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for child in inner:
        yield from leaf_datasets(child)
    if not inner:
        yield dataset


def _read_coco(path: Path, setting: str) -> dict[str, list]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f'{setting}: {path} is not JSON: {error}; fetch the file again') from error
    missing = [
        key for key in ('images', 'annotations', 'categories') if not isinstance(content, dict) or key not in content
    ]
    if missing:
        raise DataError(f'{setting}: {path} is not in the format of COCO: it lacks {", ".join(missing)}')
    return content


def _check_classes(classes: list[str], content: dict[str, list], path: Path, setting: str) -> None:
    """Every class needs a category: mmdet would number the classes after a missing one wrongly, and say nothing."""
    categories = [category['name'] for category in content['categories']]
    unknown = [name for name in classes if name not in categories]
    if unknown:
        raise DataError(
            f'{setting}: unknown class {first_few(unknown)} in metainfo.classes; '
            f'{path} has the categories {first_few(categories, 10)}. '
            'Name the classes as the file does'
        )


def _check_images(folder: Path, content: dict[str, list], path: Path, setting: str) -> None:
    if not folder.is_dir():
        raise DataError(f'{setting}: the folder of images {folder} is not there; {path} names images in it')
    # one listing a folder: a look at each of 118,000 files takes minutes on a network disk
    listings: dict[Path, set[str]] = {}
    missing = []
    for image in content['images']:
        file = folder / image['file_name']
        if file.parent not in listings:
            listings[file.parent] = {path.name for path in file.parent.iterdir()} if file.parent.is_dir() else set()
        if file.name not in listings[file.parent]:
            missing.append(image['file_name'])
    if missing:
        raise DataError(
            f'{setting}: {len(missing)} of {len(content["images"])} images that {path} names are not in {folder}: '
            f'{first_few(missing)}. Fetch them again, or take them out of the file'
        )


def _check_tiles(images: Path, annotations: Path | None, classes: list[str], setting: str) -> None:
    """Every label file needs its tile, and every line a class of the config: mmrotate stops at the first without."""
    if not images.is_dir():
        raise DataError(f'{setting}: the folder of tiles {images} is not there; {_HINT_TILES}')
    there = {path.stem for path in images.iterdir()}
    if not there:
        raise DataError(f'{setting}: {images} has no tiles; {_HINT_TILES}')
    if annotations is None:
        return
    texts = sorted(annotations.glob('*.txt'))
    if not texts:
        raise DataError(f'{setting}: {annotations} has no label files; {_HINT_TILES}')
    missing = [text.name for text in texts if text.stem not in there]
    if missing:
        raise DataError(
            f'{setting}: {len(missing)} of the {len(texts)} label files in {annotations} have no tile in {images}: '
            f'{first_few(missing)}; {_HINT_TILES}'
        )
    for text in texts:
        for number, line in enumerate(text.read_text().splitlines(), 1):
            fields = line.split()
            if len(fields) != 10:
                raise DataError(f'{setting}: {text}:{number}: {len(fields)} fields, expected 10; {_HINT_TILES}')
            if fields[8] not in classes:
                raise DataError(
                    f'{setting}: {text}:{number}: {fields[8]!r} is not among the {len(classes)} classes of the config. '
                    'Take the config for this version of DOTA, or name the classes in metainfo'
                )


def _check_class_folders(dataset: dict[str, Any], root: Path, classes: Sequence[str], setting: str) -> None:
    """Every class needs images, and labels must be those of the folders: mmpretrain numbers what it finds."""
    split = dataset.get('split', '')
    prefix = dataset.get('data_prefix') or split
    images = root / (prefix if isinstance(prefix, str) else prefix.get('img_path', ''))
    if 'split' in dataset and len(classes) == len(IMAGENET_WNIDS):
        classes = IMAGENET_WNIDS  # mmpretrain's ImageNet has names such as 'tench', in this order
    label_file = root / (dataset.get('ann_file') or f'meta/{split}.txt')
    try:
        if label_file.is_file():
            check_label_file(label_file, images, classes)
        else:
            list_class_folders(images, classes)
    except DataError as error:
        raise DataError(f'{setting}: {error}') from None


def _check_number_of_classes(cfg: Config, dataset: dict[str, Any], setting: str) -> None:
    """A classifier must know as many classes as its data: mmpretrain finds out in the first step, or never."""
    known = (cfg.model.get('head') or {}).get('num_classes')
    classes = _classes_of(dataset, setting)
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
