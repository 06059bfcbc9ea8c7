"""Checkpoints: whose file is it, and what are its tensors called here? Knows names and shapes, no network."""

from .formats import BackboneFit, fit_backbone, fit_classifier

__all__ = ['BackboneFit', 'fit_backbone', 'fit_classifier']
