"""Networks. They need torch and MMEngine alone."""

from .classification import FasterNetClsHead
from .fasternet import ARCHITECTURES, FasterNet
from .partial_conv import PartialConv3x3

__all__ = ['ARCHITECTURES', 'FasterNet', 'FasterNetClsHead', 'PartialConv3x3']
