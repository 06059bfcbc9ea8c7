"""Training, testing and prediction, as the tools run them."""

from .launch import test, train
from .preflight import check

__all__ = ['check', 'test', 'train']
