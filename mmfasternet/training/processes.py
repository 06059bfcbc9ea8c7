"""Join the processes of a run, with or without GPUs."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from ..errors import ConfigError

_NEEDED = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@contextmanager
def joined_processes(cfg: Config) -> Iterator[None]:
    """Join the other processes where MMEngine cannot, which is without a GPU, and leave them at the end.

    Args:
        cfg (Config): The whole config with the ``launcher`` that started the processes. Without a GPU, its model
            wrapper is set to :class:`CPUDataParallel`.

    Raises:
        ConfigError: The launcher did not start this process.
    """
    if cfg.launcher == 'none':
        yield
        return
    _set_environment(cfg.launcher)
    _warn_of_shared_store()
    if get_device() == 'cpu':
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
        dist.init_process_group('gloo', timeout=timedelta(seconds=timeout))
        wrapper = cfg.get('model_wrapper_cfg') or dict(
            broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False)
        )
        cfg.model_wrapper_cfg = dict(wrapper, type='CPUDataParallel')
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this is the process of rank 0, also before the processes have joined."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0


def number_of_processes(launcher: str) -> int:
    """Count the processes of a run, also before they have joined.

    Args:
        launcher (str): The launcher that started them; ``'none'`` for a single process.

    Returns:
        int: The number of processes.
    """
    names = ('WORLD_SIZE', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE') if launcher != 'none' else ()
    return next((int(os.environ[name]) for name in names if name in os.environ), 1)


def _warn_of_shared_store() -> None:
    """Warn that a restart can fail to connect, because torchrun's store keeps the addresses of earlier processes.

    It shares one store among all restarts: https://github.com/pytorch/pytorch/issues/135712.
    """
    shared = os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'
    if shared and int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0)) > 0 and is_first_process():
        print_log(
            'torchrun --max-restarts: a restart can fail to connect, because torchrun keeps the addresses of earlier '
            'processes; start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1',
            logger='current',
            level=logging.WARNING,
        )


def _set_environment(launcher: str) -> None:
    """Set the environment variables of torchrun, which PyTorch reads, from those of the launcher."""
    environment = os.environ
    if launcher == 'slurm' and 'SLURM_PROCID' in environment:
        environment.update(
            RANK=environment['SLURM_PROCID'],
            WORLD_SIZE=environment['SLURM_NTASKS'],
            LOCAL_RANK=environment['SLURM_LOCALID'],
        )
        if 'MASTER_ADDR' not in environment:
            listing = ['scontrol', 'show', 'hostnames', environment['SLURM_NODELIST']]
            hosts = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
            environment['MASTER_ADDR'] = hosts[0]
        environment.setdefault('MASTER_PORT', '29500')
    elif launcher == 'mpi' and 'OMPI_COMM_WORLD_RANK' in environment:
        environment.update(
            RANK=environment['OMPI_COMM_WORLD_RANK'],
            WORLD_SIZE=environment['OMPI_COMM_WORLD_SIZE'],
            LOCAL_RANK=environment['OMPI_COMM_WORLD_LOCAL_RANK'],
        )
        environment.setdefault('MASTER_PORT', '29500')
    missing = [name for name in _NEEDED if name not in environment]
    if missing:
        starts = {
            'pytorch': 'torchrun --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch, or tools/dist_train.sh',
            'slurm': 'srun, as tools/slurm_train.sh does',
            'mpi': 'mpirun -x MASTER_ADDR',
        }
        raise ConfigError(
            f'--launcher {launcher}: {", ".join(missing)} is not set in the environment; '
            f'start the processes with {starts[launcher]}'
        )
