"""Runs that are stopped, by SIGTERM after any step or by a kill, end bit-equal to those that never were."""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from weakref import WeakSet

import pytest
import torch
from conftest import ROOT, process_kept
from kill_test import differences, logged
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader

from mmfasternet.checkpoints import read_checkpoint
from mmfasternet.engine import test as run_test
from mmfasternet.engine import train
from mmfasternet.errors import CheckpointError, DataError
from mmfasternet.training.checkpoints import STOPPED
from mmfasternet.training.exact_resume import Position, iterate_seeded

pytestmark = pytest.mark.slow

#: Two epochs of three steps, or six steps, with everything that has a state or draws numbers.
CONFIG = """
_base_ = '{root}/configs/mask_rcnn_fasternet_t0_mini_coco.py'
custom_imports = dict(imports=['mmfasternet', 'test_exact_resume'], allow_failed_imports=False)
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, depths=(1, 1)), out_indices=(0, 1), drop_path_rate=0.5),
    neck=dict(in_channels=[16, 32]),
)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomChoiceResize', scales=[(96, 96), (128, 128)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=2, num_workers={workers}, persistent_workers={persistent},
    dataset=dict(data_root='{data}/', indices=6, pipeline=pipeline),
    sampler=dict(type='{sampler}'),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}/', indices=3),
)
val_evaluator = dict(ann_file='{data}/annotations/instances_val2017.json')
train_cfg = dict(_delete_=True, {loop}, val_interval={val_interval})
optim_wrapper = dict(accumulative_counts=2, optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
    dict(type='{decay}', begin=0, end=6, by_epoch={by_epoch}),
]
custom_hooks = [dict(type='EMAHook', momentum=0.3), dict(type='StopAfter')]
default_hooks = dict(
    logger=dict(interval=1, log_metric_by_epoch={by_epoch}),
    checkpoint=dict(by_epoch={by_epoch}, interval={interval}, save_best='{best}'),
)
log_processor = dict(by_epoch={by_epoch})
log_level = 'WARNING'
"""
EPOCHS = dict(
    loop='max_epochs=2', val_interval=1, by_epoch=True, interval=1, sampler='DefaultSampler', decay='CosineAnnealingLR'
)
STEPS = dict(
    loop='by_epoch=False, max_iters=6', val_interval=2, by_epoch=False, interval=4, sampler='InfiniteSampler',
    decay='CosineAnnealingLR',
)  # fmt: skip
ENDS = {'epochs': 'epoch_2.pth', 'steps': 'iter_6.pth', 'passes': 'iter_6.pth'}
LOOPS = {'epochs': EPOCHS, 'steps': STEPS, 'passes': STEPS | dict(sampler='DefaultSampler')}


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """Sends this process SIGTERM in a step, or in a validation."""

    step: 'int | None' = None
    validation: 'int | None' = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == StopAfter.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == StopAfter.validation:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope='module')
def write_config(mini_coco, tmp_path_factory):
    def write(kind, workers=0):
        path = tmp_path_factory.mktemp('config') / 'config.py'
        best = 'coco/bbox_mAP' if kind == 'epochs' else 'coco/segm_mAP'
        settings = dict(LOOPS[kind], root=ROOT, data=mini_coco, workers=workers, persistent=workers > 0, best=best)
        path.write_text(CONFIG.format(**settings))
        return path

    return write


def run(config, work_dir, resume=None, step=None, validation=None):
    StopAfter.step, StopAfter.validation = step, validation
    options = dict(amp=False, auto_scale_lr=False, cfg_options=None, launcher='none', local_rank=0)
    with process_kept():
        train(Namespace(config=str(config), work_dir=str(work_dir), resume=resume, **options))


@pytest.fixture(scope='module')
def uninterrupted(write_config, tmp_path_factory):
    """The end of each kind of run that is never stopped: its folder and its last checkpoint."""
    ends = {}

    def end(kind):
        if kind not in ends:
            work_dir = tmp_path_factory.mktemp(kind)
            run(write_config(kind), work_dir)
            ends[kind] = work_dir, read_checkpoint(str(work_dir / ENDS[kind]))
        return ends[kind]

    return end


def assert_equal_end(work_dir, kind, uninterrupted):
    expected_dir, expected = uninterrupted(kind)
    assert differences(expected, read_checkpoint(str(work_dir / ENDS[kind]))) == []
    assert differences(logged(expected_dir), logged(work_dir)) == []
    assert len(logged(work_dir)) > 6
    best = [path.name for path in expected_dir.glob('best_*')]
    assert [path.name for path in work_dir.glob('best_*')] == best
    for name in best:
        assert differences(read_checkpoint(str(expected_dir / name)), read_checkpoint(str(work_dir / name))) == []


@pytest.mark.parametrize('kind', LOOPS)
def test_the_run_itself_trains_and_can_be_repeated(kind, uninterrupted, write_config, tmp_path):
    expected_dir, expected = uninterrupted(kind)
    log = logged(expected_dir)
    losses = [log['train', step]['loss'] for step in range(1, 7)]
    assert len(set(losses)) == 6 and all(0 < loss < 50 for loss in losses)
    assert sum(where == 'val' for where, _ in log) == (2 if kind == 'epochs' else 3)
    # as differences() is all that the other tests go by, see that it sees one
    changed = read_checkpoint(str(expected_dir / ENDS[kind]))
    changed['optimizer']['state'][0]['exp_avg'].view(-1)[0] += 1e-7
    assert differences(expected, changed) == ['/optimizer/state/0/exp_avg']
    run(write_config(kind, workers=2), tmp_path)
    assert_equal_end(tmp_path, kind, uninterrupted)


@pytest.mark.parametrize(
    ('kind', 'step'),
    [(kind, step) for kind in ('epochs', 'steps') for step in range(1, 7)]
    + [('passes', 2), ('passes', 3), ('passes', 5)],
)
def test_a_run_stopped_after_any_step(kind, step, uninterrupted, write_config, tmp_path):
    config = write_config(kind)
    with pytest.raises(SystemExit) as end:
        run(config, tmp_path, step=step)
    assert end.value.code == STOPPED
    assert read_checkpoint((tmp_path / 'last_checkpoint').read_text())['meta']['iter'] == step
    run(config, tmp_path, resume='auto')
    assert_equal_end(tmp_path, kind, uninterrupted)
    assert not (tmp_path / 'latest.pth').exists()


@pytest.mark.parametrize(('kind', 'after'), [('epochs', 3), ('epochs', 6), ('steps', 2), ('steps', 6)])
def test_a_run_stopped_while_it_validates(kind, after, uninterrupted, write_config, tmp_path):
    config = write_config(kind)
    with pytest.raises(SystemExit) as end:
        run(config, tmp_path, validation=after)
    assert end.value.code == STOPPED
    run(config, tmp_path, resume='auto')
    assert_equal_end(tmp_path, kind, uninterrupted)


def test_a_run_stopped_after_every_step(uninterrupted, write_config, tmp_path):
    config = write_config('epochs', workers=1)
    for step in range(1, 7):
        with pytest.raises(SystemExit):
            run(config, tmp_path, resume='auto', step=step)
    run(config, tmp_path, resume='auto')
    assert_equal_end(tmp_path, 'epochs', uninterrupted)


def test_a_run_whose_seed_was_drawn(write_config, tmp_path):
    """Without a seed in the config, the checkpoint knows it."""
    config = write_config('epochs')
    config.write_text(config.read_text() + 'randomness = dict(seed=None)\n')
    with pytest.raises(SystemExit):
        run(config, tmp_path / 'stopped', step=4)
    seed = read_checkpoint(str(tmp_path / 'stopped' / 'latest.pth'))['meta']['seed']
    run(config, tmp_path / 'stopped', resume='auto')
    config.write_text(config.read_text() + f'randomness = dict(seed={seed})\n')
    run(config, tmp_path / 'whole')
    ends = [read_checkpoint(str(tmp_path / name / 'epoch_2.pth')) for name in ('whole', 'stopped')]
    assert differences(*ends) == []


def test_a_run_that_is_made_longer(write_config, tmp_path):
    """MMEngine would restore the schedule's old end, and train on with a learning rate of 0."""
    config = write_config('epochs')
    # without accumulation, which would end with the first epoch
    text = (
        config.read_text()
        + "param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, eta_min=0)]\n"
        + 'optim_wrapper.update(accumulative_counts=1)\n'
    )
    config.write_text(text)
    run(config, tmp_path / 'whole')
    config.write_text(text + 'train_cfg.update(max_epochs=1)\n')
    run(config, tmp_path / 'longer')
    config.write_text(text)
    run(config, tmp_path / 'longer', resume='auto')
    ends = [read_checkpoint(str(tmp_path / name / 'epoch_2.pth')) for name in ('whole', 'longer')]
    assert differences(ends[0]['state_dict'], ends[1]['state_dict']) == []
    rates = [logged(tmp_path / name)['train', 5]['lr'] for name in ('whole', 'longer')]
    assert rates[0] == rates[1] > 0


CLASSES = "('traffic light', 'stop sign', 'umbrella', 'frisbee', 'kite', 'banana', 'donut', 'clock')"
OTHER_CLASSES = {
    'another order': (
        "metainfo = dict(classes=('clock', *{classes}[:-1]))",
        'class 0 is traffic light, in the config clock',
    ),
    'fewer': (
        'metainfo = dict(classes={classes}[:-1])\n'
        'model.update(roi_head=dict(bbox_head=dict(num_classes=7), mask_head=dict(num_classes=7)))',
        '8 classes .*the config has 7',
    ),
}


@pytest.mark.parametrize('case', OTHER_CLASSES)
@pytest.mark.parametrize('resumes', [True, False])
def test_a_checkpoint_of_other_classes(resumes, case, uninterrupted, write_config, tmp_path):
    checkpoint = uninterrupted('epochs')[0] / 'epoch_2.pth'
    config = write_config('epochs')
    change, line = OTHER_CLASSES[case]
    config.write_text(
        config.read_text()
        + change.format(classes=CLASSES)
        + "\nfor loader in (train_dataloader, val_dataloader):\n    loader['dataset'].update(metainfo=metainfo)\n"
        + 'test_dataloader, test_evaluator = val_dataloader, val_evaluator\ndel loader\n'
    )
    options = dict.fromkeys(('out', 'show', 'show_dir', 'tta', 'all_ious', 'submission', 'optimize', 'backend'))
    with pytest.raises(CheckpointError, match=f'epoch_2.pth was trained on .*{line}'), process_kept():
        if resumes:
            run(config, tmp_path, resume=str(checkpoint))
        else:
            run_test(Namespace(config=str(config), checkpoint=str(checkpoint), work_dir=str(tmp_path), cfg_options=None,
                               launcher='none', local_rank=0, **options))  # fmt: skip


def test_a_head_of_another_size(uninterrupted, write_config, tmp_path):
    """Where the checkpoint names no classes, the shapes differ."""
    checkpoint = read_checkpoint(str(uninterrupted('epochs')[0] / 'epoch_2.pth'))
    del checkpoint['meta']['dataset_meta']
    checkpoint['state_dict']['roi_head.mask_head.conv_logits.bias'] = torch.zeros(3)
    torch.save(checkpoint, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other.pth does not fit .*conv_logits.bias has the shape \(3,\), exp'):
        run(write_config('epochs'), tmp_path / 'work', resume=str(tmp_path / 'other.pth'))


def test_a_run_goes_on_with_other_batches_and_says_so(write_config, tmp_path, caplog, monkeypatch):
    config = write_config('epochs')
    with pytest.raises(SystemExit):
        run(config, tmp_path, step=5)  # two of the second epoch's three
    config.write_text(config.read_text().replace('batch_size=2', 'batch_size=1'))
    told = []
    monkeypatch.setattr('mmfasternet.training.exact_resume.print_log', lambda text, **_: told.append(text))
    run(config, tmp_path, resume='auto')
    assert told == ['an epoch had 3 steps when the run was interrupted and has 6 now: the run resumes, but not exactly']
    assert read_checkpoint(str(tmp_path / 'epoch_2.pth'))['meta']['iter'] == 5 + 2


def test_two_processes(write_config, tmp_path):
    """Stopped by a scheduler and resumed, with the gradients that each of the two has of its own."""
    config = write_config('epochs', workers=1)
    config.write_text(config.read_text().replace('indices=6', 'indices=12').replace("'EMAHook'", "'EMAHook'"))
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(sys.path)}

    def launch(work_dir, stop_after=None):
        command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', ROOT / 'tools' / 'train.py']
        command += [config, '--launcher', 'pytorch', '--work-dir', tmp_path / work_dir, '--resume']
        stop = {'STOP_AFTER': str(stop_after)} if stop_after else {}
        return subprocess.run(
            [sys.executable, *map(str, command)],
            env=environment | stop, cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    done = launch('whole')
    assert done.returncode == 0, done.stderr[-3000:]
    stopped = launch('stopped', stop_after=5)
    assert stopped.returncode != 0 and f'exitcode  : {STOPPED}' in stopped.stderr, stopped.stderr[-3000:]
    saved = read_checkpoint(str(tmp_path / 'stopped' / 'latest.pth'))
    assert saved['meta']['iter'] == 5
    first, second = saved['progress']['gradients']
    assert first.keys() == second.keys() and differences(first, second)
    done = launch('stopped')
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [read_checkpoint(str(tmp_path / name / 'epoch_2.pth')) for name in ('whole', 'stopped')]
    assert differences(*ends) == []
    assert differences(logged(tmp_path / 'whole'), logged(tmp_path / 'stopped')) == []


if 'STOP_AFTER' in os.environ and os.environ.get('RANK') == '0':
    StopAfter.step = int(os.environ['STOP_AFTER'])


# the parts


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return index, torch.rand(()).item()


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('drop_last', [False, True])
def test_batches_begin_anywhere(workers, drop_last):
    def load(step, skip):
        loader = DataLoader(Numbers(), 2, drop_last=drop_last, num_workers=workers, collate_fn=list)
        return list(iterate_seeded(loader, Position((0, 0), step, skip), WeakSet()))

    whole = load(0, 0)
    assert [index for batch in whole for index, _ in batch] == list(range(6 if drop_last else 7))
    assert len({draw for batch in whole for _, draw in batch}) == sum(map(len, whole))
    for skip in range(5):
        assert load(skip, skip) == whole[skip:]
    assert load(1, 0) != whole  # the same samples in other steps are augmented otherwise


def test_a_data_set_too_small_for_a_step(write_config, tmp_path):
    config = write_config('epochs')
    config.write_text(
        config.read_text() + 'train_dataloader.update(drop_last=True, batch_sampler=None, batch_size=7)\n'
    )
    line = 'an epoch has no step: each process has 6 samples, which do not fill a batch of 7.*drop_last=False'
    with pytest.raises(DataError, match=line):
        run(config, tmp_path)
    assert not list(tmp_path.glob('*.pth'))
