"""Several processes on one machine without a GPU, by the commands that a user types."""

import os
import pickle
import subprocess
import sys

import pytest
import torch
from conftest import newest_metrics, randomize_
from mmdet.registry import MODELS

from mmfasternet.engine.launch import read_config

CONFIG = 'configs/mask_rcnn_fasternet_t0_mini_coco.py'
TORCHRUN = (sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
ENVIRONMENT = os.environ | {'OMP_NUM_THREADS': '1'}


@pytest.fixture
def checkpoint(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    torch.manual_seed(0)
    model = randomize_(MODELS.build(read_config(CONFIG).model))
    torch.save(dict(meta=dict(dataset_meta=dict(classes=('a',) * 8)), state_dict=model.state_dict()), 'random.pth')
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
