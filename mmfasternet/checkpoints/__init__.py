"""Checkpoints: download, safe reading, and names of tensors. Knows names and shapes, but no network."""

from .download import fetch
from .formats import BackboneFit, fit_backbone, fit_classifier
from .loading import names_not_read, read_checkpoint
from .mmengine_schemes import install

__all__ = ['BackboneFit', 'fetch', 'fit_backbone', 'fit_classifier', 'install', 'names_not_read', 'read_checkpoint']
