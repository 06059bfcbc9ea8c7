"""FasterNet for OpenMMLab: ``backbone=dict(type='FasterNet', arch='s')`` in anyone's config.

Importing the package registers all its parts in MMEngine's root registry.
"""

from .datasets.imagenet.robustness import ImageNetC, ImageNetR
from .evaluation import CorruptionError, DOTASubmission, SubsetAccuracy, WholeImageDOTAMetric
from .installation import CONFIG_DIR
from .models import FasterNet, FasterNetClsHead
from .training import DurableCheckpointHook, ExactEpochLoop, ExactIterLoop, NonFiniteHook

__version__ = '0.1.0'

__all__ = [
    'CONFIG_DIR',
    'CorruptionError',
    'DOTASubmission',
    'DurableCheckpointHook',
    'ExactEpochLoop',
    'ExactIterLoop',
    'FasterNet',
    'FasterNetClsHead',
    'ImageNetC',
    'ImageNetR',
    'NonFiniteHook',
    'SubsetAccuracy',
    'WholeImageDOTAMetric',
    '__version__',
]
