"""Draw miniatures: small data sets in the layouts of well-known large ones.

Conventions in all modules: every random choice draws from the argument ``rng``. A ``size`` is (width, height) in
pixels. The x axis points right and the y axis down. Angles are in radians, clockwise from the right; a ``heading`` is
clockwise from up. Pictures are RGB, and shapes are in pixels of the picture, unless stated otherwise.
"""

from .coco import make_coco
from .dota import make_dota
from .imagenet import make_imagenet

__all__ = ['make_coco', 'make_dota', 'make_imagenet']
