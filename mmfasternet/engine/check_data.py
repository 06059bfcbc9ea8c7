"""The data of a config looked through: what stops a training, and what is dropped or altered in silence."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..datasets.coco.check import check_images, check_masks
from ..datasets.data_files import DataFiles, classes_of, decoder_of, find_data, leaf_datasets, steps_of
from ..datasets.findings import Finding, Report, by_kind, check_use
from ..errors import ConfigError
from ..files import check_writable, whole_file, write_faults
from .evaluators import scored_by
from .finding_pictures import save_sheet
from .launch import read_config
from .preflight import check_coco, check_dataset

#: How many findings of a kind are printed.
SHOWN = 3


def check_data(args: Namespace) -> int:
    """Check the data of a config, print what was found, and write all of it to a file, with pictures of some.

    Args:
        args (Namespace): The options of ``tools/check_data.py``.

    Returns:
        int: 1 if there are errors, else 0.

    Raises:
        MMFasterNetError: The config cannot be read, or the data is not there.
    """
    out, name = Path(args.out), Path(args.config).stem
    check_writable(out, '--out', is_folder=True)
    cfg = read_config(args.config, args.cfg_options)
    written: dict[str, Any] = {}
    pictured = {}
    for setting, datasets in _data_sets(cfg, args.splits).items():
        split = setting.removesuffix('_dataloader')
        scored = scored_by(cfg, split) if split in ('val', 'test') else frozenset()
        reports = []
        for dataset, files in datasets:
            if files is None or files.format not in ('coco', 'dota'):
                check_dataset(dataset, setting)
                print(f'{setting}: {dataset["type"]}: no more to check than each start of a run does, which passed')
                continue
            report = _check(dataset, files, setting, args.decode, scored)
            reports.append(report)
            finding = check_use(reports, split == 'train', bool(scored)) if len(reports) == len(datasets) else None
            if finding:
                report.findings.append(finding)
            place = f'{setting}: {files.annotations if dataset.get("ann_file") else files.images}'
            print(f'{place}\n{_describe(report)}')
            written[place] = _as_json(report)
            pictured.setdefault(files.images, []).extend(report.findings)
    if not written:
        return 0
    pictures = out / f'{name}.jpg'
    with write_faults(out, '--out'):
        with whole_file(out / f'{name}.json') as draft:
            draft.write_text(json.dumps(written, indent=1))
        has_pictures = save_sheet(pictures, pictured)
    print(f'all findings: {out / name}.json' + (f', pictures of some: {pictures}' if has_pictures else ''))
    severities = {finding.kind.severity for findings in pictured.values() for finding in findings}
    return int('error' in severities)


def _data_sets(cfg: Config, splits: list[str]) -> dict[str, list[tuple[dict[str, Any], DataFiles | None]]]:
    """Find the data sets of each loader; a loader with the same files and uses as another is left out."""
    loaders = [f'{split}_dataloader' for split in splits if cfg.get(f'{split}_dataloader')]
    if not loaders:
        raise ConfigError(f'--splits {" ".join(splits)}: the config has no such data')
    found: dict[str, list[tuple[dict[str, Any], DataFiles | None]]] = {}
    seen = []
    for setting in loaders:
        datasets = [(dataset, find_data(dataset, setting)) for dataset in leaf_datasets(cfg[setting].dataset)]
        split = setting.removesuffix('_dataloader')
        use = [files for _, files in datasets], None if split == 'train' else scored_by(cfg, split)
        if None in use[0] or use not in seen:
            found[setting] = datasets
        seen.append(use)
    return found


def _check(dataset: dict[str, Any], files: DataFiles, setting: str, decode: bool, scored: Collection[str]) -> Report:
    decoder = decoder_of(dataset)
    if files.format == 'coco':
        annotations, report = check_coco(dataset, files, setting, scored)
        if 'segm' in scored or any(step.get('with_mask') for step in steps_of(dataset)):
            report.findings += check_masks(annotations)
        if files.images:
            report.findings += check_images(annotations, files.images, decode, decoder)
        return report
    # here, so that COCO needs no shapely
    from ..datasets.dota.check import check_tiles

    filters = {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}
    report = check_tiles(
        files.images,
        files.annotations if dataset.get('ann_file') else None,
        classes_of(dataset, setting),
        suffix=dataset.get('img_suffix', 'png'),
        diff_thr=dataset.get('diff_thr', 100),
        drops_empty=filters.get('filter_empty_gt', False),
        decode=decode,
        decoder=decoder,
    )
    report.take(dataset.get('indices'))
    return report


def _describe(report: Report) -> str:
    """Give a table of the kinds of findings, with the first of each."""
    lines = [
        f'{report.images:,} images, {report.objects:,} objects; kept are {report.kept_images:,} images, '
        f'{report.kept_objects:,} objects'
    ]
    for kind, found in by_kind(report.findings).items():
        lines.append(f'{kind.severity:8}{len(found):9,}  {kind.title}: {kind.outcome}')
        lines += [f'{"":19}{finding}' for finding in found[:SHOWN]]
    return '\n'.join(f'  {line}' for line in lines)


def _as_json(report: Report) -> dict[str, Any]:
    kinds = {
        kind.name: dict(
            severity=kind.severity,
            title=kind.title,
            outcome=kind.outcome,
            count=len(found),
            findings=[_told(finding, 'file', 'annotation', 'line', 'detail') for finding in found],
        )
        for kind, found in by_kind(report.findings).items()
    }
    return {**_told(report, 'images', 'objects', 'kept_images', 'kept_objects'), 'findings': kinds}


def _told(item: Report | Finding, *names: str) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, '')}
