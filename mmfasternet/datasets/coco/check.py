"""Check a data set in the format of COCO: its annotations, and whether masks and images agree with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ...errors import DataError, DependencyError
from ..data_files import DataFiles
from ..findings import Finding, Kind, Report
from ..image_files import DEFAULT, MISSING_IMAGE, UNREADABLE_IMAGE, Decoder, image_sizes
from .annotations import NO_MASK, Annotations, check_annotations, describe, missing_files, read_annotations, uncollected
from .masks import mask_fault, read_mask
from .masks import run_length_bounds as run_length_bounds

try:
    from tqdm import tqdm
except ImportError as error:
    raise DependencyError('checking masks needs tqdm, which is missing: pip install tqdm') from error

BROKEN_MASK = Kind(
    'broken_mask',
    'warning',
    'masks with malformed parts',
    'these parts are left out; an object without others is not learned',
)
MASK_UNLIKE_BOX = Kind('mask_unlike_box', 'warning', 'masks that do not fit their box', 'both learned unchanged')
SIZE = Kind('size', 'error', 'images whose size differs from the annotations', 'boxes and masks are misplaced')

#: A box fits its mask if no side differs by more pixels than this, which rounding and hand-drawn outlines explain,
SLACK = 2.0
#: or by more than this share of the longer side of the box; smaller differences hardly change an IoU.
SLACK_SHARE = 0.05


@uncollected()
def check(files: DataFiles, scored: Collection[str] = (), open_images: bool = False, decode: bool = False) -> Report:
    """Check the annotations of a data set, and whether its images exist.

    Args:
        files (DataFiles): The data set.
        scored (Collection[str]): What is scored with its annotations, such as ``'bbox'`` and ``'segm'``. Defaults to
            ``()``: nothing.
        open_images (bool): Also compare masks and images with the annotations, which takes longer. Defaults to False.
        decode (bool): Decode each image completely. Defaults to False: read only its header.

    Returns:
        Report: Counts and findings.

    Raises:
        DataError: The file is not in the format of COCO.
    """
    needs_annotations = bool(scored) or not files.config.get('test_mode')
    content = read_annotations(files.annotations, needs_annotations)
    annotations, report = check_annotations(content, files.classes, files.filters, files.with_masks, scored)
    report.take(files.config.get('indices'))
    if open_images and (files.with_masks or 'segm' in scored):
        report.findings += check_masks(annotations)
    if files.images:
        decoder = files.decoder if open_images else None
        report.findings += check_images(annotations, files.images, decode, decoder)
    return report


def check_masks(annotations: Annotations) -> list[Finding]:
    """Compare masks with boxes.

    Args:
        annotations (Annotations): The valid entries of an annotation file.

    Returns:
        list[Finding]: The findings.
    """
    findings = []
    for item in tqdm(annotations.objects, 'comparing masks with boxes', unit=' objects', leave=False):
        mask, image = item.get('segmentation'), annotations.images[item['image_id']]
        if mask_fault(mask, image):
            continue  # reported by check_annotations
        try:
            outlines, bounds, fault = read_mask(mask, image)
        except ValueError as error:
            findings.append(describe(NO_MASK, item, image, str(error)))
            continue
        if fault:
            findings.append(describe(BROKEN_MASK, item, image, fault, outlines))
        if bounds and not _fits(item['bbox'], bounds):
            left, top, right, bottom = bounds
            text = f'box {item["bbox"]}, mask {[round(side, 2) for side in (left, top, right - left, bottom - top)]}'
            findings.append(describe(MASK_UNLIKE_BOX, item, image, text, outlines))
    return findings


def check_images(
    annotations: Annotations,
    folder: Path,
    decode: bool = False,
    decoder: Decoder | None = DEFAULT,
) -> list[Finding]:
    """Compare image files with the annotations.

    Args:
        annotations (Annotations): The valid entries of an annotation file.
        folder (Path): The folder that the names of the images are relative to.
        decode (bool): Decode each image completely. Defaults to False: read only its header.
        decoder (Decoder, optional): How training decodes them; None to open no images. Defaults to
            ``LoadImageFromFile`` with its defaults.

    Returns:
        list[Finding]: The findings.
    """
    images = {image['file_name']: image for image in annotations.images.values()}
    missing = set(missing_files(folder, list(images)))
    findings = [Finding(MISSING_IMAGE, name, detail=f'not in {folder}') for name in images if name in missing]
    if decoder is None:
        return findings
    there = [image for name, image in images.items() if name not in missing]
    sizes = image_sizes([folder / image['file_name'] for image in there], 'opening images', decode, decoder)
    for size, image in zip(sizes, there):
        name, expected = image['file_name'], (image['width'], image['height'])
        if isinstance(size, DataError):
            findings.append(Finding(UNREADABLE_IMAGE, name, detail=str(size)))
        elif size != expected:
            width, height = expected
            frame = 0, 0, width, 0, width, height, 0, height
            text = f'the file has {size[0]}x{size[1]} pixels, the annotations say {width}x{height}'
            findings.append(Finding(SIZE, name, detail=text, picture=name, outlines=[frame]))
    return findings


def _fits(box: Sequence[float], bounds: Sequence[float]) -> bool:
    x, y, w, h = box
    slack = max(SLACK, SLACK_SHARE * max(w, h))
    return all(abs(side - bound) <= slack for side, bound in zip((x, y, x + w, y + h), bounds))
