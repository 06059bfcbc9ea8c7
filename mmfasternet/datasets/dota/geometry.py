"""Check DOTA's tiles in depth: open each tile, and check the shape and position of each object.

Training reads them with ``load_data_list`` and ``filter_data`` of mmrotate's ``DOTADataset``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import DataError, DependencyError
from ..findings import Finding, Kind, Report
from ..image_files import DEFAULT, MISSING_IMAGE, UNREADABLE_IMAGE, Decoder, image_sizes
from .labels import NO_AREA_FAULT, DotaObject, read_labels
from .tile_folders import MALFORMED_LINE, list_label_files, list_tiles, malformed_lines

try:
    import shapely
    from tqdm import tqdm
except ImportError as error:
    raise DependencyError(
        f"checking DOTA's tiles needs {error.name}, which is missing: pip install 'mmfasternet[dota]'"
    ) from error

NO_LABELS = Kind('no_labels', 'warning', 'tiles without a label file', 'dropped')
NO_AREA = Kind('no_area', 'warning', 'objects without area, or with crossing sides', 'learned unchanged')
OUTSIDE = Kind('outside', 'warning', 'objects with their centre outside the tile', 'learned unchanged')
DIFFICULT = Kind('difficult', 'note', 'objects more difficult than diff_thr', 'ignored, neither objects nor background')
NO_OBJECTS = Kind('no_objects', 'note', 'tiles without objects', 'dropped')


def check_tiles(
    images: Path,
    labels: Path | None,
    classes: Sequence[str],
    suffix: str = 'png',
    diff_thr: int = 100,
    drops_empty: bool = False,
    decode: bool = False,
    decoder: Decoder | None = DEFAULT,
) -> Report:
    """Check tiles and their label files.

    Args:
        images (Path): Folder of the tiles.
        labels (Path, optional): Folder of the label files; None if the split has none.
        classes (Sequence[str]): Classes of the config.
        suffix (str): Suffix of tiles, the data set's ``img_suffix``. Defaults to ``'png'``.
        diff_thr (int): mmrotate ignores objects with a higher difficulty. Defaults to 100.
        drops_empty (bool): Whether mmrotate drops tiles without objects. Defaults to False.
        decode (bool): Decode each tile completely. Defaults to False: read only its header.
        decoder (Decoder, optional): How training decodes them; None to open no tiles. Defaults to
            ``LoadImageFromFile`` with its defaults.

    Returns:
        Report: Counts and findings.

    Raises:
        DataError: There are no tiles or no label files.
    """
    tiles = list_tiles(images, suffix)
    files = [] if labels is None else list_label_files(labels)
    findings: list[Finding] = []
    sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(tiles)
    found = image_sizes([images / name for name in tiles], 'opening tiles', decode, decoder) if decoder else ()
    for size, name in zip(found, tiles):
        if isinstance(size, DataError):
            findings.append(Finding(UNREADABLE_IMAGE, name, detail=str(size)))
        else:
            sizes[name] = size
    report = Report(len(tiles), 0, len(tiles) if labels is None else len(files), 0, findings)
    labelled = set()
    for file in tqdm(files, 'reading labels', unit=' files', leave=False):
        tile = f'{file.stem}.{suffix}'
        labelled.add(tile)
        if tile not in sizes:
            findings.append(Finding(MISSING_IMAGE, tile, detail=f'the tile of {file}'))
        number, ignored = _check_labels(file, tile, sizes.get(tile), classes, diff_thr, findings)
        report.objects += number
        report.learned += number - ignored
        if drops_empty and not number:
            findings.append(Finding(NO_OBJECTS, tile))
            report.kept_images -= 1
    report.kept_objects, report.scored = report.objects, report.learned
    if labels is not None:
        findings += [Finding(NO_LABELS, tile) for tile in tiles if tile not in labelled]
    return report


def _check_labels(
    file: Path,
    tile: str,
    size: tuple[int, int] | None,
    classes: Sequence[str],
    diff_thr: int,
    findings: list[Finding],
) -> tuple[int, int]:
    """Check a label file; return the number of its lines, and of the objects that mmrotate ignores."""
    objects, faults = read_labels(file, tuple(classes))
    malformed = {fault.line: fault.message for fault in faults if fault.message != NO_AREA_FAULT}
    malformed |= malformed_lines(file, classes)
    without_area = [fault.line for fault in faults if fault.line not in malformed]
    for line, text in sorted(malformed.items(), key=lambda item: item[0] or 0):
        findings.append(Finding(MALFORMED_LINE, file.name, line=line, detail=text))
    findings += [Finding(NO_AREA, file.name, line=line) for line in without_area]

    objects = [item for item in objects if item.line not in malformed]
    for item in objects:
        if item.difficulty > diff_thr:
            findings.append(_describe(DIFFICULT, file, tile, item, f'difficulty {item.difficulty}'))
    if size:
        corners = np.array([item.corners for item in objects]).reshape(-1, 4, 2)
        centres = shapely.get_coordinates(shapely.centroid(shapely.polygons(corners)))
        # at least 0.7 of an object that reaches beyond its tile lies in the tile, so its centre does too
        for index in np.flatnonzero(((centres < 0) | (centres > size)).any(axis=1)):
            x, y = centres[index]
            text = f'{objects[index].name} with its centre at {x:.1f}, {y:.1f} in a tile of {size[0]}x{size[1]}'
            findings.append(_describe(OUTSIDE, file, tile, objects[index], text))
    number = len(objects) + len(without_area) + sum(line is not None for line in malformed)
    return number, sum(item.difficulty > diff_thr for item in objects)


def _describe(kind: Kind, file: Path, tile: str, item: DotaObject, detail: str) -> Finding:
    return Finding(kind, file.name, line=item.line, detail=detail, picture=tile, outlines=[item.corners])
