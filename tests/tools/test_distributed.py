"""Several processes on one machine without a GPU, by the commands that a user types."""

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from conftest import newest_metrics, randomize_
from mmdet.registry import MODELS

from mmfasternet.engine.config import read_config

pytestmark = pytest.mark.slow

CONFIG = 'configs/mask_rcnn_fasternet_t0_mini_coco.py'
TORCHRUN = (sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
ENVIRONMENT = os.environ | {'OMP_NUM_THREADS': '1'}


@pytest.fixture
def checkpoint(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    torch.manual_seed(0)
    cfg = read_config(CONFIG)
    model = randomize_(MODELS.build(cfg.model))
    torch.save(dict(meta=dict(dataset_meta=dict(cfg.metainfo)), state_dict=model.state_dict()), 'random.pth')
    return 'random.pth'


def test_two_processes_find_and_score_the_same_as_one(checkout, checkpoint):
    """Seven images, which two processes cannot share evenly."""

    def run(name, *start, launcher='none'):
        command = [*start, 'tools/test.py', CONFIG, checkpoint, '--work-dir', name, '--out', f'{name}.pkl']
        command += ['--launcher', launcher, '--cfg-options', 'test_dataloader.dataset.indices=7']
        command += ['model.test_cfg.rcnn.score_thr=0.001']
        done = subprocess.run(command, cwd=checkout, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        metrics = {key: value for key, value in newest_metrics(checkout / name).items() if 'time' not in key}
        return metrics, pickle.loads((checkout / f'{name}.pkl').read_bytes())

    metrics, found = run('one', sys.executable)
    both_metrics, both_found = run('two', *TORCHRUN, launcher='pytorch')
    assert both_metrics == metrics and len(found) == len(both_found) == 7
    assert sum(len(image['pred_instances']['scores']) for image in found) > 50
    for one, two in zip(found, both_found):
        assert one['img_id'] == two['img_id']
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(one['pred_instances'][key], two['pred_instances'][key])
        assert one['pred_instances']['masks'] == two['pred_instances']['masks']


def test_a_dead_process_is_replaced_and_at_last_ends_the_job(checkout):
    """Killed once, both start again from the newest checkpoint; killed once more, the job ends with its error."""
    options = ['train_dataloader.batch_size=1', 'train_dataloader.dataset.indices=40', 'train_cfg.max_epochs=3']
    options += ['default_hooks.logger.interval=1', 'default_hooks.checkpoint.by_epoch=False']
    options += ['default_hooks.checkpoint.interval=2', 'model.backbone.norm_cfg.type=SyncBN']
    command = [*TORCHRUN, '--max-restarts=1', 'tools/train.py', CONFIG, '--launcher', 'pytorch', '--cfg-options']
    process = subprocess.Popen(
        [*command, *options],
        cwd=checkout,
        env=ENVIRONMENT | {'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed, first_steps, text = [], [], ''
    for line in process.stdout:
        text += line
        step = re.search(r'Epoch\(train\)\s+\[1\]\[\s*(\d+)/20\]', line)
        if step and len(killed) == len(first_steps):
            first_steps.append(int(step[1]))
        if step and len(killed) < len(first_steps) and int(step[1]) >= first_steps[-1] + 4:
            workers = [child for child in psutil.Process(process.pid).children() if child.pid not in killed]
            killed.append(workers[-1].pid)
            workers[-1].kill()
    assert process.wait(timeout=120) == 1, text[-3000:]
    assert len(killed) == 2 and first_steps[0] == 1 and first_steps[1] >= 5, text[-3000:]
    assert 'resumed epoch: 0, iter: ' in text and 'a restart can fail to connect' not in text
    assert 'Signal 9 (SIGKILL) received by PID' in text


SLOW_DISK_CONFIG = f"""
_base_ = '{CONFIG}'
custom_imports = dict(imports=['mmfasternet', 'slow_disk'])
default_hooks = dict(logger=dict(interval=1), slow_disk=dict(type='SlowDisk'))
train_dataloader = dict(batch_size=1, dataset=dict(indices=40))
"""
SLOW_DISK = """
import time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class SlowDisk(Hook):
    def before_save_checkpoint(self, runner, checkpoint):
        time.sleep(3)
"""


def test_no_process_leaves_before_the_checkpoint_is_whole(checkout):
    """Two machines of one process each, both told to stop: slurm kills the first when the second has left."""
    (checkout / 'slow_disk.py').write_text(SLOW_DISK)
    (checkout / 'slow_disk_config.py').write_text(SLOW_DISK_CONFIG)
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = str(free.getsockname()[1])
    environment = ENVIRONMENT | {'NNODES': '2', 'PORT': port, 'PYTHONPATH': str(checkout)}
    environment['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    machines = [
        subprocess.Popen(
            ['bash', 'tools/dist_train.sh', 'slow_disk_config.py', '1'],
            cwd=checkout,
            env=environment | {'NODE_RANK': str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    started = ''
    for line in machines[0].stdout:
        started += line
        if 'Epoch(train)' in line:
            break
    assert 'Epoch(train)' in line, started[-3000:]
    processes = [psutil.Process(machine.pid).children()[0] for machine in machines]
    for process in processes:
        process.send_signal(signal.SIGTERM)
    processes[1].wait(timeout=60)
    saved = checkout / 'work_dirs/slow_disk_config/latest.pth'
    assert saved.is_file()
    for machine in machines:
        assert 'exitcode  : 75' in machine.communicate(timeout=60)[0]
