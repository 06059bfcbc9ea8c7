"""FasterNet for OpenMMLab: ``backbone=dict(type='FasterNet', arch='s')`` in anyone's config.

Importing the package registers all its parts in MMEngine's root registry.
"""

from pathlib import Path

from .datasets.imagenet_robustness import ImageNetC, ImageNetR
from .evaluation import CorruptionError, DOTASubmission, SubsetAccuracy, WholeImageDOTAMetric
from .models import FasterNet, FasterNetClsHead
from .training import DurableCheckpointHook, ExactEpochLoop, ExactIterLoop, NonFiniteHook

__version__ = '0.1.0'

_PACKAGE = Path(__file__).resolve().parent
_installed = _PACKAGE / '.mim' / 'configs'
#: Folder of the config files: inside the package when installed from a wheel, beside it in a checkout.
CONFIG_DIR = _installed if _installed.is_dir() else _PACKAGE.parent / 'configs'

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
