"""Metrics that OpenMMLab lacks: DOTA's on whole images, and its submission."""

from .dota_merged import WholeImageDOTAMetric
from .dota_submission import DOTASubmission

__all__ = ['DOTASubmission', 'WholeImageDOTAMetric']
