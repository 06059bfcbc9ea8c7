"""The errors of a classifier on ImageNet-C: of each corruption at each severity, and mCE.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.
The corruption error (CE) of a corruption is the error summed over its severities, divided by AlexNet's; mCE is the mean
CE of the 15 corruptions. All are in percent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from rich import box
from rich.console import Console
from rich.table import Table

from ..datasets.imagenet.robustness import CORRUPTIONS, FAMILIES, SEVERITIES, missing_cells
from ..errors import ConfigError
from ..files import whole_file

#: AlexNet's errors, averaged over the severities, in percent (the paper's repository).
ALEXNET = {
    'gaussian_noise': 88.6428,
    'shot_noise': 89.4468,
    'impulse_noise': 92.2640,
    'defocus_blur': 81.9880,
    'glass_blur': 82.6268,
    'motion_blur': 78.5948,
    'zoom_blur': 79.8360,
    'snow': 86.6816,
    'frost': 82.6572,
    'fog': 81.9324,
    'brightness': 56.4592,
    'contrast': 85.3204,
    'elastic_transform': 64.6056,
    'pixelate': 71.7840,
    'jpeg_compression': 60.6500,
}


@dataclass(frozen=True)
class CorruptionErrors:
    """A classifier's errors on the tested part of ImageNet-C. What depends on an untested part is NaN.

    Args:
        errors (ndarray): Top-1 errors in percent of the 15 corruptions at the 5 severities, of shape ``(15, 5)``; NaN
            where not tested.
    """

    errors: np.ndarray

    @property
    def missing(self) -> str:
        """Names of the untested parts of the benchmark; empty if it is complete."""
        return missing_cells([(CORRUPTIONS[row], SEVERITIES[column]) for row, column in np.argwhere(self._tested)])

    @property
    def ce(self) -> np.ndarray:
        """The corruption errors in percent of AlexNet's, of shape ``(15,)``."""
        return self._relative.mean(axis=1)

    @property
    def mce_by_severity(self) -> np.ndarray:
        """The mCE of each severity alone, of shape ``(5,)``; the mean is mCE."""
        return self._relative.mean(axis=0)

    @property
    def mce(self) -> float:
        """The mean corruption error in percent."""
        return float(self.ce.mean())

    @property
    def _tested(self) -> np.ndarray:
        return ~np.isnan(self.errors)

    @property
    def _relative(self) -> np.ndarray:
        return 100 * self.errors / np.array([[ALEXNET[corruption]] for corruption in CORRUPTIONS])

    def table(self) -> str:
        """Format the errors in percent: a row for each corruption, a column for each severity."""
        table = Table('corruption', box=box.ASCII2)
        for title in (*map(str, SEVERITIES), 'mean', 'AlexNet', 'CE'):
            table.add_column(title, justify='right')
        for corruption, errors, ce in zip(CORRUPTIONS, self.errors, self.ce):
            table.add_row(corruption, *map(_cell, (*errors, errors.mean(), ALEXNET[corruption], ce)))
        table.add_section()
        table.add_row('mCE', *map(_cell, self.mce_by_severity), '', '', _cell(self.mce))
        text = StringIO()
        Console(file=text, width=100).print(table)
        return text.getvalue()

    def as_json(self) -> dict[str, Any]:
        """Return all numbers for a JSON file, with null for what is missing."""
        return {
            'mCE': _or_none(self.mce),
            'missing': self.missing,
            'mCE by severity': dict(zip(SEVERITIES, map(_or_none, self.mce_by_severity))),
            'corruptions': {
                corruption: {
                    'CE': _or_none(ce),
                    'AlexNet': ALEXNET[corruption],
                    'error by severity': dict(zip(SEVERITIES, map(_or_none, errors))),
                }
                for corruption, ce, errors in zip(CORRUPTIONS, self.ce, self.errors)
            },
        }

    def plot(self, path: Path) -> None:
        """Draw error against severity to a PNG file: a line for each corruption, a panel for each family."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 4.8), layout='constrained')
        title = f'not tested, so no mCE: {self.missing}' if self.missing else f'mCE {self.mce:.1f}'
        figure.suptitle(f'Error on ImageNet-C ({title})', wrap=True)
        panels = figure.subplots(1, len(FAMILIES), sharey=True)
        errors = dict(zip(CORRUPTIONS, self.errors))
        for panel, (family, corruptions) in zip(panels, FAMILIES.items()):
            panel.plot(SEVERITIES, self.errors.mean(axis=0), color='0.8', linewidth=6, label='mean of all 15')
            for corruption in corruptions:
                panel.plot(SEVERITIES, errors[corruption], marker='o', label=corruption.replace('_', ' '))
            panel.set(title=family, xlabel='severity', xticks=SEVERITIES, ylim=(0, 100))
            panel.grid(alpha=0.3)
            panel.legend(fontsize='small', loc='upper center', bbox_to_anchor=(0.5, -0.18))
        panels[0].set_ylabel('top-1 error (%)')
        with whole_file(path) as draft:
            figure.savefig(draft, dpi=120)


def _cell(value: float) -> str:
    return '–' if np.isnan(value) else f'{value:.1f}'


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@METRICS.register_module()
class CorruptionError(BaseMetric):
    """The errors on ImageNet-C, as a table in the log and, with ``out_dir``, as a JSON file and a picture.

    The metrics are ``mCE``, if the benchmark is complete, the mCE of each severity, and the CE of each corruption. The
    samples must come from ``ImageNetC``.

    Args:
        out_dir (str, optional): Folder for ``corruption_error.json`` and ``corruption_error.png``. Defaults to None:
            they are not written; ``tools/test.py`` sets the folder of the run.
        **kwargs: Arguments of MMEngine's BaseMetric.
    """

    default_prefix = 'imagenet_c'

    def __init__(self, out_dir: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_dir = out_dir

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Record for each image of a batch whether it was classified correctly.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): With ``pred_score``, ``gt_label``, ``corruption`` and ``severity``.

        Raises:
            ConfigError: The samples lack their corruption, or their severity.
        """
        for sample in data_samples:
            if 'corruption' not in sample or 'severity' not in sample:
                raise ConfigError(
                    'CorruptionError: the samples lack their corruption and severity; test on an ImageNetC, and '
                    "end its pipeline with dict(type='PackInputs', meta_keys=('img_path', 'corruption', 'severity'))"
                )
            is_wrong = bool(sample['pred_score'].argmax() != sample['gt_label'])
            self.results.append((sample['corruption'], sample['severity'], is_wrong))

    def compute_metrics(self, results: list[tuple[str, int, bool]]) -> dict[str, float]:
        """Compute the errors, log them and write them.

        Args:
            results (list[tuple[str, int, bool]]): Corruption, severity, and whether misclassified, for each image.

        Returns:
            dict[str, float]: The metrics in percent.
        """
        images, wrong = np.zeros((2, len(CORRUPTIONS), len(SEVERITIES)))
        for corruption, severity, is_wrong in results:
            cell = CORRUPTIONS.index(corruption), SEVERITIES.index(severity)
            images[cell] += 1
            wrong[cell] += is_wrong
        with np.errstate(invalid='ignore'):  # 0 of 0 is NaN: not tested
            errors = CorruptionErrors(100 * wrong / images)
        logger = MMLogger.get_current_instance()
        logger.info(f'ImageNet-C, {len(results):,} images, top-1 error and CE in percent:\n{errors.table()}')
        if errors.missing:
            logger.warning(f'mCE is not reported, because these were not tested: {errors.missing}')
        if self.out_dir:
            with whole_file(Path(self.out_dir, 'corruption_error.json')) as draft:
                draft.write_text(json.dumps(errors.as_json(), indent=1) + '\n')
            errors.plot(Path(self.out_dir, 'corruption_error.png'))
            logger.info(f'table and plot: {self.out_dir}/corruption_error.json, corruption_error.png')
        metrics = {
            'mCE': errors.mce,
            **{f'mCE_severity_{severity}': mce for severity, mce in zip(SEVERITIES, errors.mce_by_severity)},
            **{f'CE_{corruption}': ce for corruption, ce in zip(CORRUPTIONS, errors.ce)},
        }
        return {name: float(value) for name, value in metrics.items() if not np.isnan(value)}
