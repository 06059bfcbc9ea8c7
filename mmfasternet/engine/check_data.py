"""Check the data of a config: report what stops training and what training drops or changes silently."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config_types import shown_type
from ..datasets.data_files import DataFiles, resolve_all
from ..datasets.findings import Finding, Report, by_kind, check_use
from ..errors import ConfigError
from ..files import check_writable, whole_file, write_faults
from .config import read_config
from .evaluators import scored_by
from .finding_pictures import save_sheet
from .preflight import check_files

#: How many findings of a kind are printed.
SHOWN = 3


def check_data(args: Namespace) -> int:
    """Check the data of a config, print a summary, and write all findings to a JSON file and some as pictures.

    Args:
        args (Namespace): The options of ``tools/check_data.py``.

    Returns:
        int: 1 if there are errors, else 0.

    Raises:
        MMFasterNetError: The config cannot be read, or the data does not exist.
    """
    out, name = Path(args.out), Path(args.config).stem
    check_writable(out, '--out', is_folder=True)
    cfg = read_config(args.config, args.cfg_options)
    written: dict[str, Any] = {}
    pictured: dict[Path, list[Finding]] = {}
    for setting, datasets in _data_sets(cfg, args.splits).items():
        split = setting.removesuffix('_dataloader')
        scored = scored_by(cfg, split) if split in ('val', 'test') else frozenset()
        reports = []
        for files in datasets:
            report = check_files(files, scored, open_images=True, decode=args.decode)
            if report is None:
                print(f'{setting}: {shown_type(files.config)}: not checked, because only this class can read the data')
                continue
            reports.append(report)
            finding = check_use(reports, split == 'train', bool(scored)) if len(reports) == len(datasets) else None
            if finding:
                report.findings.append(finding)
            place = f'{setting}: {files.annotations if files.config.get("ann_file") else files.images}'
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


def _data_sets(cfg: Config, splits: list[str]) -> dict[str, list[DataFiles]]:
    """Resolve the data sets of each loader; a loader with the same files and uses as another is left out."""
    loaders = [f'{split}_dataloader' for split in splits if cfg.get(f'{split}_dataloader')]
    if not loaders:
        raise ConfigError(f'--splits {" ".join(splits)}: the config has no such data')
    resolved: dict[str, list[DataFiles]] = {}
    seen = []
    for setting in loaders:
        datasets = resolve_all(cfg[setting].dataset, setting)
        split = setting.removesuffix('_dataloader')
        places = [(files.annotations, files.images) for files in datasets]
        use = places, None if split == 'train' else scored_by(cfg, split)
        if (None, None) in places or use not in seen:
            resolved[setting] = datasets
        seen.append(use)
    return resolved


def _describe(report: Report) -> str:
    """Format a table of the kinds of findings with the first of each."""
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
            findings=[_values(finding, 'file', 'annotation', 'line', 'detail') for finding in found],
        )
        for kind, found in by_kind(report.findings).items()
    }
    return {**_values(report, 'images', 'objects', 'kept_images', 'kept_objects'), 'findings': kinds}


def _values(item: Report | Finding, *names: str) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, '')}
