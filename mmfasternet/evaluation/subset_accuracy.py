"""Accuracy on a data set that has only some of the model's classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..errors import ConfigError


@METRICS.register_module()
class SubsetAccuracy(BaseMetric):
    """Top-1 accuracy among the classes of the data set, as ImageNet-R is scored.

    The logits of the other classes are dropped before the arg max. ``labels`` in the ``metainfo`` of the data set lists
    its classes.

    Args:
        **kwargs: Arguments of MMEngine's BaseMetric.
    """

    default_prefix = 'imagenet_r'

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Record for each image of a batch whether it was classified correctly.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): With ``pred_score`` and ``gt_label``.

        Raises:
            ConfigError: The data set has no labels, or the model has fewer classes.
        """
        labels = self.dataset_meta.get('labels')
        if labels is None:
            raise ConfigError('SubsetAccuracy: the data set has no `labels` in its metainfo; test on an ImageNetR')
        for sample in data_samples:
            scores = sample['pred_score']
            if max(labels) >= len(scores):
                raise ConfigError(
                    f'SubsetAccuracy: the model has {len(scores)} classes, but the data set has label {max(labels)}; '
                    'name the classes of the model in `metainfo` of the data set'
                )
            self.results.append(labels[int(scores[labels].argmax())] == int(sample['gt_label']))

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """Compute the accuracy.

        Args:
            results (list[bool]): Whether each image was classified correctly.

        Returns:
            dict[str, float]: ``top1``, in percent.
        """
        return dict(top1=100 * float(np.mean(results)))
