"""Long runs: loops that resume exactly, complete checkpoints, and hooks that stop training on errors."""

from .checkpoints import DurableCheckpointHook, newest_whole_checkpoint
from .data_parallel import CPUDataParallel
from .exact_resume import ExactEpochLoop, ExactIterLoop, ExactResumeHook
from .non_finite import NonFiniteHook
from .workers import exit_with_parent

__all__ = [
    'CPUDataParallel',
    'DurableCheckpointHook',
    'ExactEpochLoop',
    'ExactIterLoop',
    'ExactResumeHook',
    'NonFiniteHook',
    'exit_with_parent',
    'newest_whole_checkpoint',
]
