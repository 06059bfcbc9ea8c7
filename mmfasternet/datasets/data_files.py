"""Resolve the data sets of a config: find their classes and files as the libraries do."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.utils import is_abs

from ..config_types import resolve_type, type_names
from ..errors import ConfigError, DataError
from ..installation import IS_CHECKOUT
from .dota.tile_folders import HINT
from .image_files import Decoder
from .imagenet.class_folders import class_folders

_CLASS_FOLDERS = '; expected a folder for each class in it, named by its WordNet id such as n01440764'
_HINTS = {
    'CocoDataset': '. data/coco has COCO 2017 in its own layout: annotations/, train2017/, val2017/',
    'DOTADataset': f'; {HINT}',
    'ImageNet': _CLASS_FOLDERS,
    'ImageNetR': _CLASS_FOLDERS,
    'ImageNetC': '; extract all archives of ImageNet-C there, so that it has corruption/severity/wnid/*.JPEG',
}
if IS_CHECKOUT:
    _HINTS['CocoDataset'] += '; `python tools/make_miniature.py coco data/coco` draws a small one'
    _HINTS['ImageNet'] += '; `python tools/make_miniature.py imagenet` draws a small one for the mini configs'
#: The types of the settings that are read here, if they are set.
_SETTINGS: dict[str, Any] = {
    'type': (str, type, FunctionType),
    'data_root': str,
    'ann_file': str,
    'data_prefix': (str, dict),
    'data_prefix.img': str,
    'data_prefix.img_path': str,
    'img_suffix': str,
    'split': str,
    'extensions': (list, tuple),
    'indices': (int, list, tuple),
    'backend_args': dict,
    'file_client_args': dict,
    'metainfo': dict,
    'metainfo.classes': (str, list, tuple),
    'filter_cfg': dict,
    'filter_cfg.min_size': (int, float),
    'pipeline': (list, tuple),
}
#: The libraries whose data sets read local files at the paths in their settings.
_LIBRARIES = ('mmengine', 'mmdet', 'mmrotate', 'mmpretrain', 'mmseg', 'mmfasternet')
#: The wrappers of data sets, and how often each repeats a sample of the data set inside; None if that is unknown.
_WRAPPERS = {
    'RepeatDataset': lambda wrapper: wrapper.get('times'),
    'ConcatDataset': lambda wrapper: 1,
    'MultiImageMixDataset': lambda wrapper: 1,
    'ClassBalancedDataset': lambda wrapper: None,
    'KFoldDataset': lambda wrapper: None,
}


@dataclass(frozen=True)
class DataFiles:
    """A resolved data set of a config: its format, its files, and how training reads them.

    Attributes:
        config: Config of the data set.
        setting: Its key in the whole config, for messages.
        meta: The ``METAINFO`` of its class, updated by the config, with the class names as ``classes`` in the order of
            the labels; empty if any names are valid.
        format: ``'coco'``, ``'dota'``, ``'classes'`` (one folder per class), or ``''`` if only the class of the data
            set can read it.
        annotations: The annotation file, or the folder of label files. None if only its own class can find its files:
            it reads a remote store, downloads its data, or is a custom class.
        images: The folder of images; None if only its own file backend can read them.
        known_classes: How many classes the model has, for labels without names. None: any number.
    """

    config: dict[str, Any]
    setting: str
    meta: dict[str, Any]
    format: str = ''
    annotations: Path | None = None
    images: Path | None = None
    known_classes: int | None = None

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return self.meta['classes']

    @property
    def filters(self) -> Mapping[str, Any]:
        """The ``filter_cfg`` by which training drops images."""
        return {} if self.config.get('test_mode') else self.config.get('filter_cfg') or {}

    @property
    def with_masks(self) -> bool:
        """Whether the pipeline loads masks."""
        return any(step.get('with_mask') for step in _steps_of(self.config))

    @property
    def decoder(self) -> Decoder | None:
        """How training decodes the images; None if the pipeline loads them with a custom class."""
        return _decoder_of(self.config)

    @property
    def reads_json(self) -> bool:
        """Whether the annotations are a JSON file such as COCO's."""
        return self.annotations is not None and self.annotations.suffix == '.json'

    @property
    def drops_are_known(self) -> bool:
        """Whether the check knows which images training drops; Cityscapes, for example, drops more than COCO."""
        return self.format != 'coco' or _is_coco_s(dataset_class(self.config, self.setting), 'filter_data')

    @property
    def label_file(self) -> Path | None:
        """The file that lists the images and labels of class folders; None if the folders are the labels."""
        if self.config.get('ann_file'):
            return self.annotations
        path = self.annotations / f'meta/{self.config.get("split") or ""}.txt'
        return path if path.is_file() else None


def resolve(dataset: dict[str, Any], setting: str, known_classes: int | None = None) -> DataFiles:
    """Find the classes and files of a data set, as its library does.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Its key in the whole config, for the message.
        known_classes (int, optional): How many classes the model knows. Defaults to None: any number.

    Returns:
        DataFiles: The data set.

    Raises:
        ConfigError: A setting has the wrong type.
        DataError: The files do not exist.
    """
    _check_settings(dataset, setting)
    meta = class_meta(dataset, setting)
    dataset_type = dataset_class(dataset, setting)
    data_format, annotations, images = '', None, None
    if _reads_local_files(dataset, dataset_type):
        try:
            data_format, annotations, images = _find_files(dataset, dataset_type, setting)
        except (ConfigError, DataError):
            if _is_of_library(getattr(dataset_type, '__init__', None)):
                raise  # a custom class can set other paths in its __init__
    files = DataFiles(dataset, setting, meta, data_format, annotations, images, known_classes)
    if data_format == 'classes' and not meta['classes'] and images.is_dir() and not files.label_file:
        meta['classes'] = class_folders(images)
    return files


def resolve_all(dataset: dict[str, Any], setting: str, known_classes: int | None = None) -> list[DataFiles]:
    """Find the classes and files of a data set, or of the data sets in a wrapper such as ConcatDataset.

    Args:
        dataset (dict): Config of the data set or wrapper.
        setting (str): Its key in the whole config, for the message.
        known_classes (int, optional): How many classes the model knows. Defaults to None: any number.

    Returns:
        list[DataFiles]: In the order of :func:`leaf_datasets`.

    Raises:
        ConfigError: A setting has the wrong type.
        DataError: The files do not exist.
    """
    return [resolve(leaf, setting, known_classes) for leaf in leaf_datasets(dataset)]


def class_meta(dataset: dict[str, Any], setting: str) -> dict[str, Any]:
    """Read the classes of a data set from its config; its files do not have to exist.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Its key in the whole config, for the message.

    Returns:
        dict: The ``METAINFO`` of its class, updated by the config, with the class names as ``classes`` in the order of
        the labels; empty if the config does not name them.

    Raises:
        ConfigError: The classes are neither a list of names nor a file of names.
    """
    meta = {**getattr(dataset_class(dataset, setting), 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    return {**meta, 'classes': _named_classes(dataset, setting)}


def _find_files(dataset: dict[str, Any], dataset_type: Any, setting: str) -> tuple[str, Path | None, Path | None]:
    """Find the format of a data set, its annotations and its images."""
    bases = {base.__name__ for base in dataset_type.__mro__}
    hint = next((text for name, text in _HINTS.items() if name in bases), '')
    prefixes = dataset.get('data_prefix') or {}
    if bases & {'CocoDataset', 'DOTADataset'} and isinstance(prefixes, str):
        raise ConfigError(f'{setting}.dataset.data_prefix is {prefixes!r}; expected a dict')
    is_coco = 'CocoDataset' in bases and _reads_as_coco(dataset_type)
    if is_coco and 'img' not in prefixes:
        raise ConfigError(f"{setting}.dataset.data_prefix is {dict(prefixes)!r}; expected dict(img='FOLDER')")
    has_folders = 'CustomDataset' in bases and _has_labels(dataset, bases)
    root, ann_file = dataset.get('data_root') or '', dataset.get('ann_file') or ''
    prefix = prefixes if isinstance(prefixes, str) else prefixes.get('img' if is_coco else 'img_path') or ''
    prefix = prefix or (has_folders and dataset.get('split')) or ''
    if _expands_home(dataset_type):
        ann_file = os.path.expanduser(ann_file)  # noqa: PTH111, which would change URLs
        prefix = os.path.expanduser(prefix) if isinstance(prefixes, str) else prefix  # noqa: PTH111
    annotations, images = _join(root, ann_file), _join(root, prefix)
    if is_remote(root) or is_remote(annotations):
        return '', None, None
    needs_root = not is_abs(prefix) or not is_abs(ann_file or '/')
    if root and needs_root and not Path(root).is_dir():
        raise DataError(
            f'{setting}: the folder {Path(root)} does not exist (looked in {Path.cwd()}){_of_home(root)}; put or link '
            f'the data there{hint}'
        )
    if ann_file and not Path(annotations).exists():
        raise DataError(
            f'{setting}: the annotations {annotations} do not exist (looked in {Path.cwd()}){_of_home(annotations)}'
            f'{hint}'
        )
    folder = None if is_remote(images) or not _loads_local_images(dataset) else Path(images)
    if is_coco:
        if folder and not folder.is_dir():
            raise DataError(
                f'{setting}: the folder of images {folder} does not exist{_of_home(images)}; {annotations} names '
                'images in it'
            )
        return 'coco', Path(annotations), folder
    if 'DOTADataset' in bases and folder:
        return 'dota', Path(annotations), folder
    if has_folders and folder:
        return 'classes', Path(annotations), folder
    return '', Path(annotations), folder


def _join(root: str, path: str) -> str:
    """Join paths as MMEngine does; two empty paths give the current folder."""
    return path if is_abs(path) or is_remote(path) else os.path.join(root, path) or '.'  # noqa: PTH118, for URLs


def is_remote(place: str) -> bool:
    """Whether a path is a URL or in an object store."""
    return '://' in place


def _of_home(path: str) -> str:
    return '; ~ is not expanded here, write the full path' if path.startswith('~') else ''


def _expands_home(dataset_type: Any) -> bool:
    """Whether ~ is expanded: mmpretrain does so in ``ann_file``, ``classes`` and a str as ``data_prefix``."""
    return hasattr(dataset_type, '_compat_classes')


def _is_local(settings: dict[str, Any]) -> bool:
    stores = [settings.get(name) for name in ('backend_args', 'file_client_args')]
    return all(store.get('backend') in (None, 'local', 'disk') for store in stores if isinstance(store, dict))


def _is_of_library(method: Any) -> bool:
    return str(getattr(method, '__module__', '')).partition('.')[0] in _LIBRARIES


def _reads_local_files(dataset: dict[str, Any], dataset_type: Any) -> bool:
    """Whether a data set reads local files at the paths in its settings."""
    if not _is_local(dataset) or not _is_of_library(getattr(dataset_type, 'load_data_list', None)):
        return False
    downloads = inspect.signature(dataset_type).parameters.get('download')
    return downloads is None or not dataset.get('download', downloads.default)


def _has_labels(dataset: dict[str, Any], bases: Collection[str]) -> bool:
    """Whether a data set has labels; mmpretrain reads none for the test split of ImageNet."""
    return dataset.get('with_label', True) and not ('ImageNet' in bases and dataset.get('split') == 'test')


def _steps_of(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """List the steps of the pipeline of a data set that are configs."""
    return [step for step in dataset.get('pipeline') or () if isinstance(step, dict)]


def _loads_local_images(dataset: dict[str, Any]) -> bool:
    return all(_is_local(step) for step in _steps_of(dataset) if 'LoadImageFromFile' in type_names(step, TRANSFORMS))


def _decoder_of(dataset: dict[str, Any]) -> Decoder | None:
    for step in _steps_of(dataset):
        if 'LoadImageFromFile' in type_names(step, TRANSFORMS):
            loads = getattr(resolve_type(step['type'], TRANSFORMS), 'transform', None)
            if getattr(loads, '__module__', '').partition('.')[0] != 'mmcv':
                return None
            return Decoder(step.get('imdecode_backend', 'cv2'), step.get('color_type', 'color'))
        if not type_names(step, TRANSFORMS) & {'LoadAnnotations', 'LoadImageFromFile'}:
            return None
    return Decoder()


def _check_settings(dataset: dict[str, Any], setting: str) -> None:
    for name, types in _SETTINGS.items():
        outer, _, inner = name.partition('.')
        value = dataset.get(outer)
        if inner:
            value = value.get(inner) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, types):
            expected = ' or '.join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
            raise ConfigError(f'{setting}.dataset.{name} is {value!r}; expected a {expected}')
    odd = [step for step in dataset.get('pipeline') or () if not isinstance(step, dict) and not callable(step)]
    if odd:
        raise ConfigError(f'{setting}.dataset.pipeline has {odd[0]!r} in it; expected only dicts')


def _reads_as_coco(dataset_type: type) -> bool:
    """Whether a class reads the format of CocoDataset; subclasses such as LVIS and panoptic COCO read others."""
    return all(_is_coco_s(dataset_type, name) for name in ('load_data_list', 'parse_data_info'))


def _is_coco_s(dataset_type: type, method: str) -> bool:
    return getattr(getattr(dataset_type, method, None), '__qualname__', '') == f'CocoDataset.{method}'


def dataset_class(dataset: dict[str, Any], setting: str) -> Any:
    """Find the class of a data set.

    Args:
        dataset (dict): Config of the data set.
        setting (str): Its key in the whole config, for the message.

    Returns:
        type: The class, or a function that builds the data set.

    Raises:
        ConfigError: No library has a class of this name.
    """
    kind = dataset.get('type')
    found = resolve_type(kind, DATASETS) if kind else None
    if found is None:
        raise ConfigError(f'{setting}: unknown data set type {kind!r}')
    return found


def _named_classes(dataset: dict[str, Any], setting: str) -> Sequence[str]:
    kind = dataset_class(dataset, setting)
    if 'HRSCDataset' in type_names(dataset, DATASETS) and not dataset.get('classwise'):
        return ('ship',)  # its 31 classes are used only with classwise=True
    known = getattr(kind, 'METAINFO', None) or {}
    metainfo = dataset.get('metainfo') or {}
    if 'CLASSES' in metainfo and 'CLASSES' not in known:
        raise ConfigError(f'{setting}.dataset.metainfo has CLASSES, which is not read; write classes in lower case')
    if metainfo.get('classes') is not None:
        return _read_classes(metainfo['classes'], f'{setting}.dataset.metainfo.classes')
    if dataset.get('classes') is not None and _expands_home(kind):
        classes = dataset['classes']
        classes = os.path.expanduser(classes) if isinstance(classes, str) else classes  # noqa: PTH111
        return _read_classes(classes, f'{setting}.dataset.classes')
    return known.get('classes') or ()


def _read_classes(classes: Any, name: str) -> Sequence[str]:
    """Read classes as MMEngine does: a str is the path of a file with one name per line."""
    if isinstance(classes, str):
        if is_remote(classes):
            return ()
        if not Path(classes).is_file():
            raise ConfigError(
                f'{name} is the str {classes!r} and no file of this name exists in {Path.cwd()}; write a tuple of one '
                f'class with a comma, ({classes!r},)'
            )
        try:
            classes = list_from_file(classes)
        except (OSError, ValueError) as error:
            raise ConfigError(f'{name}: {classes} cannot be read as a file of class names: {error}') from error
    if not isinstance(classes, (list, tuple)):
        raise ConfigError(f'{name} is {classes!r}; expected a list of names')
    odd = [value for value in classes if not isinstance(value, str)]
    if odd:
        raise ConfigError(f'{name} has {odd[0]!r} in it; expected only str')
    return classes


def leaf_datasets(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Find the data sets inside wrappers such as RepeatDataset and ConcatDataset.

    Args:
        dataset (dict): Config of a data set.

    Yields:
        dict: Config of each data set that is not a wrapper.

    Raises:
        ConfigError: A data set is not a dict.
    """
    inner = _wrapped(dataset)
    for child in inner:
        yield from leaf_datasets(child)
    if not inner:
        yield dataset


def _wrapped(dataset: dict[str, Any]) -> Sequence[dict[str, Any]]:
    if not isinstance(dataset, dict):
        raise ConfigError(f'a data set is {dataset!r}; expected a dict with its type')
    if not isinstance(dataset.get('datasets') or [], (list, tuple)):
        raise ConfigError(f'the datasets of a data set are {dataset["datasets"]!r}; expected a list')
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    # in other classes, a `dataset` that is not a dict is a name or similar
    is_wrapper = all(isinstance(child, dict) for child in inner) or type_names(dataset, DATASETS) & _WRAPPERS.keys()
    return inner if is_wrapper else []


def count_samples(dataset: dict[str, Any], leaves: Iterator[int | None]) -> int | None:
    """Count the samples of a data set, or of a wrapper of data sets.

    Args:
        dataset (dict): Its config.
        leaves (Iterator[int | None]): The numbers of samples of the :func:`leaf_datasets`, in their order.

    Returns:
        int | None: The number of samples; None if that is unknown.
    """
    inner = _wrapped(dataset)
    if not inner:
        return next(leaves)
    counts = [count_samples(child, leaves) for child in inner]
    names = type_names(dataset, DATASETS) & _WRAPPERS.keys()
    times = _WRAPPERS[min(names)](dataset) if names else None
    return None if None in counts or not isinstance(times, int) else times * sum(counts)
