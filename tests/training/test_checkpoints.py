"""Checkpoints are whole: through kills while saving, damage, full disks and forbidden folders."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmfasternet.errors import CheckpointError
from mmfasternet.training import DurableCheckpointHook, newest_whole_checkpoint
from mmfasternet.training import checkpoints as module


class Points(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.full((2,), float(index)))


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x, mode):
        return dict(loss=self.layer(torch.stack(x)).square().mean())


def make_runner(work_dir, epochs=3, **checkpoint):
    return Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type=Points), sampler=dict(type='DefaultSampler', shuffle=True), batch_size=2
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type='DurableCheckpointHook', **checkpoint), logger=None),
        experiment_name=work_dir.name,
        log_level='ERROR',
    )


def names(folder):
    return sorted(path.name for path in folder.glob('*') if path.is_file() and path.suffix != '.py')


def test_keeps_as_many_as_it_is_told(tmp_path):
    make_runner(tmp_path, interval=1, max_keep_ckpts=2).train()
    assert names(tmp_path) == ['epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
    assert torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['message_hub']['runtime_info']['keep_ckpt_ids'] == [
        2,
        3,
    ]


def test_there_is_a_whole_one_at_every_moment(tmp_path, monkeypatch):
    """Whenever a file appears, goes or is written to, a whole checkpoint is there and last_checkpoint names one."""
    moments = []

    def look():
        if moments or (tmp_path / 'last_checkpoint').exists():
            named = Path((tmp_path / 'last_checkpoint').read_text())
            moments.append(named.name)
            assert module._fault(named) is None

    def watched(call):
        def wrapper(*args, **kwargs):
            look()
            result = call(*args, **kwargs)
            look()
            return result

        return wrapper

    for where, name in ((Path, 'replace'), (Path, 'write_bytes'), (os, 'remove'), (os, 'fsync')):
        monkeypatch.setattr(where, name, watched(getattr(where, name)))
    make_runner(tmp_path, interval=1, max_keep_ckpts=1).train()
    assert set(moments) == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'} and len(moments) > 20


def test_synced_before_it_takes_its_place(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, 'fsync', lambda fd: events.append(('sync', str(Path(f'/proc/self/fd/{fd}').readlink()))) or fsync(fd)
    )
    monkeypatch.setattr(Path, 'replace', lambda self, to: events.append(('replace', str(to))) or replace(self, to))
    get_file_backend('x', backend_args=dict(backend='durable')).put(b'1', tmp_path / 'a.pth')
    assert events == [
        ('sync', str(tmp_path / '.part-a.pth')),
        ('replace', str(tmp_path / 'a.pth')),
        ('sync', str(tmp_path)),
    ]


def test_a_full_disk_leaves_the_last_one(tmp_path):
    make_runner(tmp_path, epochs=1, interval=1, max_keep_ckpts=1).train()
    before = (tmp_path / 'epoch_1.pth').read_bytes()
    runner = make_runner(tmp_path, epochs=2, interval=1, max_keep_ckpts=1)
    runner._resume, runner._load_from = True, str(tmp_path / 'epoch_1.pth')
    # writing there fails as it does on a disk without room
    hook = next(hook for hook in runner.hooks if isinstance(hook, DurableCheckpointHook))
    start = hook.before_train

    def fill_the_disk(runner):
        start(runner)
        (tmp_path / '.part-epoch_2.pth').symlink_to('/dev/full')

    hook.before_train = fill_the_disk
    with pytest.raises(CheckpointError, match=r'epoch_2.pth cannot be written: No space left on device \(0.\d MB'):
        runner.train()
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert newest_whole_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / '.part-epoch_9.pth').write_bytes(b'half')
    assert newest_whole_checkpoint(tmp_path) is None
    make_runner(tmp_path, epochs=1, interval=1).train()
    assert not (tmp_path / '.part-epoch_9.pth').exists()


def test_a_damaged_one_is_told_and_the_one_before_taken(tmp_path, caplog, monkeypatch):
    told = []
    monkeypatch.setattr(module, 'print_log', lambda text, logger, level: told.append((text, level)))
    make_runner(tmp_path, interval=1).train()
    newest = tmp_path / 'epoch_3.pth'
    assert newest_whole_checkpoint(tmp_path) == newest and not told
    content = newest.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], b'', content[: -1 - 30], content[:900] + bytes(64) + content[964:]):
        newest.write_bytes(damaged)
        assert newest_whole_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
        ((text, level),) = told
        assert text.startswith(f'{newest} is damaged') and level == logging.WARNING
        told.clear()
    newest.unlink()
    assert newest_whole_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
    assert told.pop()[0].startswith(f'{newest} does not exist')
    # the best has no optimizer in it, and cannot be resumed from
    for path in tmp_path.glob('*.pth'):
        path.rename(path.with_name(f'best_{path.name}'))
    assert newest_whole_checkpoint(tmp_path) is None


def test_a_moved_folder_is_resumed_from(tmp_path):
    make_runner(tmp_path / 'here', epochs=1, interval=1).train()
    (tmp_path / 'here').rename(tmp_path / 'there')
    assert newest_whole_checkpoint(tmp_path / 'there') == tmp_path / 'there' / 'epoch_1.pth'


def test_listening_to_sigterm_ends_with_the_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    make_runner(tmp_path, epochs=1).train()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ('number', 'code', 'told'),
    [(signal.SIGTERM, module.STOPPED, 'SIGTERM: the run is saved in'), (signal.SIGINT, 130, 'interrupted\n')],
)
def test_a_signal_to_all_processes_of_a_run(checkout, number, code, told):
    """A scheduler and a terminal send it to the workers too, of training and validation; none of them stays behind."""
    command = [sys.executable, 'tools/train.py', 'configs/mask_rcnn_fasternet_t0_mini_coco.py', '--cfg-options']
    command += ['train_dataloader.batch_size=1', 'train_dataloader.num_workers=2', 'train_cfg.val_interval=1']
    command += ['train_dataloader.dataset.indices=8', 'val_dataloader.dataset.indices=2']
    process = subprocess.Popen(
        [*command, 'default_hooks.logger.interval=1'],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` ignores it
    )
    for line in process.stdout:
        if 'Epoch(train) [2]' in line.replace('  ', ' '):
            break
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 3
    os.killpg(process.pid, number)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == code, rest[-3000:]
    assert told in rest and 'Traceback' not in rest
    assert not psutil.wait_procs(workers, timeout=10)[1]
    if number == signal.SIGTERM:
        work_dir = checkout / 'work_dirs/mask_rcnn_fasternet_t0_mini_coco'
        assert newest_whole_checkpoint(work_dir) == work_dir / 'latest.pth'
