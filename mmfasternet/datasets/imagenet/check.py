"""Check a data set with one folder per class."""

from __future__ import annotations

from collections.abc import Collection

from ...errors import first_few
from ..data_files import DataFiles
from ..findings import Finding, Kind, Report
from .class_folders import IMAGE_ENDINGS, IMAGENET_WNIDS, check_label_file, list_class_folders

FOLDER_ORDER = Kind(
    'folder_order',
    'warning',
    'classes in another order than their folders',
    'predictions get the names of other classes',
)


def check(files: DataFiles, scored: Collection[str] = (), open_images: bool = False, decode: bool = False) -> Report:
    """Check that every class has images, and that the labels agree with the folders.

    Args:
        files (DataFiles): The data set.
        scored (Collection[str]): Not used: each image has one label.
        open_images (bool): Not used: opening more than a million images takes hours.
        decode (bool): Not used.

    Returns:
        Report: Counts and findings.

    Raises:
        DataError: Folders, images or labels are missing or wrong.
    """
    classes = files.classes
    if 'split' in files.config and len(classes) == len(IMAGENET_WNIDS):
        classes = IMAGENET_WNIDS  # mmpretrain's ImageNet has names such as 'tench', in this order
    findings = []
    if files.label_file:
        number = check_label_file(files.label_file, files.images, classes, files.known_classes)
    else:
        folders = list_class_folders(files.images, classes, files.config.get('extensions') or IMAGE_ENDINGS)
        number = sum(map(len, folders.values()))
        if list(classes) != list(folders) and sorted(classes) == list(folders):
            text = f'mmpretrain numbers the folders in alphabetical order, {first_few(list(folders))}; the config names'
            findings.append(
                Finding(FOLDER_ORDER, detail=f'{text} {first_few(classes)}. Name the classes in that order')
            )
    report = Report(number, number, number, number, findings, learned=number, scored=number)
    report.take(files.config.get('indices'))
    return report
