"""Runs that survive: loops that resume exactly, checkpoints that are whole, and what watches over both."""

from .checkpoints import DurableCheckpointHook, newest_whole_checkpoint
from .data_parallel import CPUDataParallel
from .exact_resume import ExactEpochLoop, ExactIterLoop, ExactResumeHook
from .non_finite import NonFiniteHook
from .workers import heed_parent_alone

__all__ = [
    'CPUDataParallel',
    'DurableCheckpointHook',
    'ExactEpochLoop',
    'ExactIterLoop',
    'ExactResumeHook',
    'NonFiniteHook',
    'heed_parent_alone',
    'newest_whole_checkpoint',
]
