"""Joining processes: who started them, and what is missing if nobody did."""

import os

import pytest
import torch.distributed as dist
from mmengine.config import Config

from mmfasternet.errors import ConfigError
from mmfasternet.training import processes
from mmfasternet.training.processes import joined_processes

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in NAMES:
        # set first, so that what the code under test sets is undone
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


def test_nothing_to_join():
    cfg = Config(dict(launcher='none'))
    with joined_processes(cfg):
        assert not dist.is_initialized()
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize(
    ('launcher', 'start'), [('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun -x MASTER_ADDR')]
)
def test_a_process_that_nobody_started(launcher, start):
    expected = f'--launcher {launcher}: RANK, WORLD_SIZE.* start the processes with {start}'
    with pytest.raises(ConfigError, match=expected), joined_processes(Config(dict(launcher=launcher))):
        raise AssertionError('joined nobody')


STARTS = {
    'pytorch': dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1'),
    'slurm': dict(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0', SLURM_NODELIST='node[1-2]'),
    'mpi': dict(
        OMPI_COMM_WORLD_RANK='0', OMPI_COMM_WORLD_SIZE='1', OMPI_COMM_WORLD_LOCAL_RANK='0', MASTER_ADDR='127.0.0.1'
    ),
}


@pytest.mark.parametrize('launcher', STARTS)
def test_joins_without_a_gpu(launcher, monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'  # slurm's own, which turns a list of machines into names
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && printf "127.0.0.1\\nother\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for name, value in STARTS[launcher].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('MASTER_PORT', '29507')
    cfg = Config(dict(launcher=launcher, find_unused_parameters=True))
    with joined_processes(cfg):
        assert dist.get_backend() == 'gloo' and dist.get_rank() == 0 and dist.get_world_size() == 1
        assert os.environ['LOCAL_RANK'] == '0' and os.environ['MASTER_ADDR'] == '127.0.0.1'
    assert not dist.is_initialized()
    assert cfg.model_wrapper_cfg == dict(type='CPUDataParallel', broadcast_buffers=False, find_unused_parameters=True)


@pytest.mark.parametrize(
    ('shared', 'restarts', 'warned'), [('True', '1', True), ('True', '0', False), ('False', '1', False)]
)
def test_a_restart_that_can_find_addresses_of_the_dead(monkeypatch, shared, restarts, warned):
    told = []
    monkeypatch.setattr(processes, 'print_log', lambda text, **kwargs: told.append(text))
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', shared)
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', restarts)
    monkeypatch.setattr(processes, '_set_environment', lambda launcher: monkeypatch.setenv('RANK', '0'))
    monkeypatch.setattr(dist, 'init_process_group', lambda *args, **kwargs: None)
    with joined_processes(Config(dict(launcher='pytorch'))):
        assert [('TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1' in text) for text in told] == [True] * warned
