"""Miniatures: small data sets, drawn in seconds, in the layouts of well-known large ones."""

from .coco import make_coco
from .dota import make_dota

__all__ = ['make_coco', 'make_dota']
