"""Networks. They need torch and MMEngine alone."""

from .fasternet import ARCHITECTURES, FasterNet
from .partial_conv import PartialConv3x3

__all__ = ['ARCHITECTURES', 'FasterNet', 'PartialConv3x3']
