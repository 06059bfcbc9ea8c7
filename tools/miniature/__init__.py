"""Miniatures: small data sets, drawn in seconds, in the layouts of well-known large ones."""

from .coco import make_coco
from .dota import make_dota
from .imagenet import make_imagenet

__all__ = ['make_coco', 'make_dota', 'make_imagenet']
