"""ImageNet-C, the corrupted validation images of ImageNet, and ImageNet-R, its classes in other styles.

Sources: https://github.com/hendrycks/robustness and https://github.com/hendrycks/imagenet-r
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from ...errors import ConfigError, DataError, first_few
from .class_folders import IMAGENET_R_WNIDS, IMAGENET_WNIDS, list_class_folders

#: The corruptions of ImageNet-C by family.
FAMILIES: dict[str, tuple[str, ...]] = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
CORRUPTIONS: tuple[str, ...] = sum(FAMILIES.values(), ())
SEVERITIES = (1, 2, 3, 4, 5)


class _ClassFolders(BaseDataset):
    """Base of data sets with class folders under ``data_root``.

    Args:
        data_root (str): The folder of the data set.
        metainfo (dict, optional): With ``classes``, the wnids in the order of the model's logits. Defaults to None:
            the 1000 of ImageNet-1k.
        **kwargs: Arguments of MMEngine's ``BaseDataset``, such as ``pipeline``.
    """

    METAINFO = dict(classes=IMAGENET_WNIDS)

    def __init__(self, data_root: str, metainfo: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data_root=data_root, metainfo=metainfo, **kwargs)

    @property
    def root(self) -> Path:
        """The folder of the data set."""
        return Path(self.data_root)


@DATASETS.register_module()
class ImageNetC(_ClassFolders):
    """ImageNet-C: 15 corruptions at 5 severities, in ``corruption/severity/wnid/*.JPEG``.

    Missing corruptions and severities are logged, and the metric ``CorruptionError`` leaves them out. Each sample has a
    ``corruption`` and a ``severity``: add both to the ``meta_keys`` of ``PackInputs``.

    Args:
        data_root (str): Folder with one folder per corruption.
        metainfo (dict, optional): With ``classes``, the wnids in the order of the model's logits. Defaults to None:
            the 1000 of ImageNet-1k.
        **kwargs: Arguments of MMEngine's ``BaseDataset``, such as ``pipeline``.

    Raises:
        DataError: There is no corruption, a class is missing or empty, or the severities have different numbers of
            images.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images of all corruptions and severities.

        Returns:
            list[dict]: With ``img_path``, ``gt_label``, ``corruption`` and ``severity``.
        """
        cells = [
            (corruption, severity)
            for corruption in CORRUPTIONS
            for severity in SEVERITIES
            if (self.root / corruption / str(severity)).is_dir()
        ]
        if not cells:
            there = sorted(path.name for path in self.root.iterdir())
            raise DataError(
                f'{self.root} has none of the 15 corruptions of ImageNet-C; expected {CORRUPTIONS[0]}/1/'
                f'{self.metainfo["classes"][0]}/*.JPEG and so on, found {first_few(there) or "nothing"}'
            )
        missing = missing_cells(cells)
        if missing:
            MMLogger.get_current_instance().warning(f'{self.root}: missing, so mCE is not reported: {missing}')
        samples = [sample for cell in cells for sample in self._list_cell(*cell)]
        sizes = Counter((sample['corruption'], sample['severity']) for sample in samples)
        usual = max(sizes.values())
        short = [f'{corruption}/{severity}' for (corruption, severity), size in sizes.items() if size < usual]
        if short:
            raise DataError(
                f'{self.root}: fewer than {usual:,} images in {first_few(short)}; extract the archive of that '
                'corruption again'
            )
        return samples

    def _list_cell(self, corruption: str, severity: int) -> Iterator[dict[str, Any]]:
        folder = self.root / corruption / str(severity)
        images = list_class_folders(folder, self.metainfo['classes'])
        for label, wnid in enumerate(self.metainfo['classes']):
            for name in images[wnid]:
                path = f'{folder}/{wnid}/{name}'
                yield dict(img_path=path, gt_label=label, corruption=corruption, severity=severity)


@DATASETS.register_module()
class ImageNetR(_ClassFolders):
    """ImageNet-R: art, cartoons, toys and other renditions of 200 of ImageNet's classes, in ``wnid/*.jpg``.

    Labels are indices of the model's classes. The metric ``SubsetAccuracy`` keeps only the logits of
    ``metainfo['labels']``.

    Args:
        data_root (str): Folder with one folder per class.
        metainfo (dict, optional): With ``classes``, the wnids in the order of the model's logits. Defaults to None:
            the 1000 of ImageNet-1k.
        folders (Sequence[str], optional): Wnids of the folders. Defaults to the 200 of ImageNet-R.
        **kwargs: Arguments of MMEngine's ``BaseDataset``, such as ``pipeline``.

    Raises:
        ConfigError: A folder is not a class of the model.
        DataError: A class is missing or empty, or there are other folders.
    """

    def __init__(
        self,
        data_root: str,
        metainfo: Mapping[str, Any] | None = None,
        folders: Sequence[str] = IMAGENET_R_WNIDS,
        **kwargs: Any,
    ) -> None:
        self.folders = folders
        classes = list((metainfo or self.METAINFO)['classes'])
        strangers = sorted(set(folders) - set(classes))
        if strangers:
            raise ConfigError(f'ImageNetR: {first_few(strangers)} of `folders` is not among the classes of the model')
        metainfo = dict(classes=classes, labels=[classes.index(wnid) for wnid in folders])
        super().__init__(data_root=data_root, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images.

        Returns:
            list[dict]: With ``img_path`` and ``gt_label``.
        """
        images = list_class_folders(self.root, self.folders)
        return [
            dict(img_path=f'{self.root}/{wnid}/{name}', gt_label=label)
            for label, wnid in zip(self.metainfo['labels'], self.folders)
            for name in images[wnid]
        ]


def missing_cells(found: Sequence[tuple[str, int]]) -> str:
    """List the missing corruptions and severities of a benchmark.

    Args:
        found (Sequence[tuple[str, int]]): The existing corruptions and severities.

    Returns:
        str: Such as ``fog, snow (severity 4, 5)``; empty if nothing is missing.
    """
    parts = []
    for corruption in CORRUPTIONS:
        missing = [str(severity) for severity in SEVERITIES if (corruption, severity) not in found]
        if len(missing) == len(SEVERITIES):
            parts.append(corruption)
        elif missing:
            parts.append(f'{corruption} (severity {", ".join(missing)})')
    return ', '.join(parts)
