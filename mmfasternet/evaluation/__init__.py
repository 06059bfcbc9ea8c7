"""Metrics that OpenMMLab lacks: DOTA on whole images and its submission, ImageNet-C and ImageNet-R."""

from .corruption_error import CorruptionError
from .dota_merged import WholeImageDOTAMetric
from .dota_submission import DOTASubmission
from .subset_accuracy import SubsetAccuracy

__all__ = ['CorruptionError', 'DOTASubmission', 'SubsetAccuracy', 'WholeImageDOTAMetric']
