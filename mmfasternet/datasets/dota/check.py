"""Check the tiles of a DOTA data set and their label files."""

from __future__ import annotations

from collections.abc import Collection

from ..data_files import DataFiles
from ..findings import Finding, Report
from ..image_files import MISSING_IMAGE
from .tile_folders import MALFORMED_LINE, list_label_files, list_tiles, read_tile_labels


def check(files: DataFiles, scored: Collection[str] = (), open_images: bool = False, decode: bool = False) -> Report:
    """Check that every label file has a tile and that mmrotate can read every line.

    Args:
        files (DataFiles): The data set.
        scored (Collection[str]): Not used: DOTA's metrics score the objects that mmrotate reads.
        open_images (bool): Also open the tiles and check the shape of each object, which takes longer and needs
            shapely. Defaults to False.
        decode (bool): Decode each tile completely. Defaults to False: read only its header.

    Returns:
        Report: Counts and findings.

    Raises:
        DataError: There are no tiles or no label files.
        DependencyError: shapely is needed but not installed.
    """
    labels = files.annotations if files.config.get('ann_file') else None
    suffix = files.config.get('img_suffix', 'png')
    settings = dict(diff_thr=files.config.get('diff_thr', 100), drops_empty=files.filters.get('filter_empty_gt', False))
    if open_images:
        from .geometry import check_tiles

        report = check_tiles(
            files.images, labels, files.classes, suffix, **settings, decode=decode, decoder=files.decoder
        )
    else:
        tiles = set(list_tiles(files.images, suffix))
        label_files = [] if labels is None else list_label_files(labels)
        report = Report(len(tiles), 0, len(tiles) if labels is None else len(label_files), 0)
        for path in label_files:
            tile = f'{path.stem}.{suffix}'
            if tile not in tiles:
                report.findings.append(Finding(MISSING_IMAGE, tile, detail=f'the tile of {path}'))
            content = read_tile_labels(path, files.classes)
            report.findings += [
                Finding(MALFORMED_LINE, path.name, line=number, detail=text) for number, text in content.faults
            ]
            report.count_tile(content.difficulties, **settings)
    report.take(files.config.get('indices'))
    return report
