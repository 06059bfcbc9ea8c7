"""Networks. They need torch and MMEngine only."""

from .architectures import ARCHITECTURES, resolve_arch
from .cls_head import FasterNetClsHead
from .fasternet import FasterNet
from .layers import PartialConv3x3

__all__ = ['ARCHITECTURES', 'FasterNet', 'FasterNetClsHead', 'PartialConv3x3', 'resolve_arch']
