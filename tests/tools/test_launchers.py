"""The shell scripts that start several processes."""

import subprocess

import pytest
from conftest import ROOT

SCRIPTS = {
    'dist_train.sh': (('CONFIG', '2'), 'train.py CONFIG --launcher pytorch --amp'),
    'dist_test.sh': (('CONFIG', 'CHECKPOINT', '2'), 'test.py CONFIG CHECKPOINT --launcher pytorch --amp'),
    'slurm_train.sh': (('PARTITION', 'JOB', 'CONFIG'), 'train.py CONFIG --launcher slurm --amp'),
    'slurm_test.sh': (('PARTITION', 'JOB', 'CONFIG', 'CHECKPOINT'), 'test.py CONFIG CHECKPOINT --launcher slurm --amp'),
}


@pytest.fixture
def echo(tmp_path):
    """A PATH on which python and srun print how they were called."""
    for name in ('python', 'srun'):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho "$(basename $0) $*"\n')
        program.chmod(0o755)
    return {'PATH': f'{tmp_path}:/usr/bin:/bin'}


@pytest.mark.parametrize('script', SCRIPTS)
def test_passes_everything_on(script, echo):
    arguments, expected = SCRIPTS[script]
    environment = echo | {'NNODES': '3', 'NODE_RANK': '1', 'GPUS': '2', 'SRUN_ARGS': '--mem 9G --exclusive'}
    done = subprocess.run(
        [ROOT / 'tools' / script, *arguments, '--amp'], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f'tools/{expected}')
    if script.startswith('dist'):
        assert '--nnodes=3 --node_rank=1' in done.stdout and '--nproc_per_node=2' in done.stdout
    else:
        assert '--partition=PARTITION --job-name=JOB' in done.stdout and '--ntasks=2' in done.stdout
        assert '--mem 9G --exclusive python -u' in done.stdout


@pytest.mark.parametrize('script', SCRIPTS)
def test_says_how_to_call_it(script, echo):
    done = subprocess.run([ROOT / 'tools' / script], env=echo, capture_output=True, text=True)
    assert done.returncode == 2
    assert f'tools/{script} ' in done.stderr
