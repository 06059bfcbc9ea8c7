"""Checkpoints: fetched whole, read safely, and their tensors named as here. Knows names and shapes, no network.

Importing it makes MMEngine read every checkpoint through :func:`read_checkpoint`.
"""

from .download import fetch
from .formats import BackboneFit, fit_backbone, fit_classifier
from .loading import read_checkpoint

__all__ = ['BackboneFit', 'fetch', 'fit_backbone', 'fit_classifier', 'read_checkpoint']
