"""Miniatures: small data sets, drawn in seconds, in the layouts of well-known large ones."""

from .coco import make_coco

__all__ = ['make_coco']
