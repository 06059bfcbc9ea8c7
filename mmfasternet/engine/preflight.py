"""Is all there that a run needs? Told in one line before the model is built, not in a traceback after it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..errors import CheckpointError, ConfigError, DataError
from ..models import FasterNet

_SHOWN = 3
_HINT_COCO = (
    '. data/coco has COCO 2017 in its own layout: annotations/, train2017/, val2017/; '
    '`python tools/make_miniature.py coco data/coco` draws a small one'
)


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
            for dataset in _leaf_datasets(loader['dataset']):
                check_dataset(dataset, setting=f'{name}_dataloader')
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
        found = f'{folder} has {_first(there)}' if there else f'there is no .pth file in {folder.absolute()}'
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
    target = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(source).path).name
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # writes beside the target and renames at the end
        torch.hub.download_url_to_file(source, str(target))
    except OSError as error:
        raise CheckpointError(
            f'{setting}: {source} cannot be fetched ({getattr(error, "reason", error)}). Put the file at {target}, '
            'or start without it: --cfg-options model.backbone.init_cfg=None'
        ) from error


def check_dataset(dataset: dict[str, Any], setting: str) -> None:
    """Check that a data set's files are there and, for COCO's format, that they fit the config.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Where it stands in the config, for the message.

    Raises:
        DataError: If not.
    """
    with DATASETS.switch_scope_and_registry(None) as registry:
        dataset_type = registry.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    if dataset_type is None:
        raise ConfigError(f'{setting}: unknown data set type {dataset["type"]!r}')
    is_coco = any(base.__name__ == 'CocoDataset' for base in dataset_type.__mro__)
    hint = _HINT_COCO if is_coco else ''
    data_root = dataset.get('data_root') or ''
    if urlparse(data_root).scheme:
        return  # on a store that only the data set's own backend can reach
    root = Path(data_root)
    if not root.is_dir():
        raise DataError(f'{setting}: no folder {root} (looked in {Path.cwd()}); put the data there or link to it{hint}')
    annotations = root / (dataset.get('ann_file') or '')
    if not annotations.exists():
        raise DataError(f'{setting}: no annotations {annotations} (looked in {Path.cwd()}){hint}')
    if not is_coco:
        return
    content = _read_coco(annotations, setting)
    classes = (dataset.get('metainfo') or {}).get('classes') or dataset_type.METAINFO.get('classes', ())
    _check_classes([classes] if isinstance(classes, str) else classes, content, annotations, setting)
    _check_images(root / (dataset.get('data_prefix') or {}).get('img', ''), content, annotations, setting)


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
            f'{setting}: unknown class {_first(unknown)} in metainfo.classes; '
            f'{path} has the categories {_first(categories, 10)}. '
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
            f'{_first(missing)}. Fetch them again, or take them out of the file'
        )


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """All dicts in a config, from the outside in."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _dicts(child)


def _leaf_datasets(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for child in inner:
        yield from _leaf_datasets(child)
    if not inner:
        yield dataset


def _first(names: list[str], count: int = _SHOWN) -> str:
    more = len(names) - count
    return ', '.join(names[:count]) + (f' and {more} more' if more > 0 else '')
