"""Kill a training run repeatedly, and check that nothing is lost.

A Mask R-CNN trains on the drawn COCO twice: without interruption, and with SIGKILLs at random moments, about half of
them while a checkpoint is being written, resumed with --resume each time. After each kill a complete checkpoint must
exist that is not older than the one before. At the end, weights, optimizer, averaged weights, schedules, logged losses
and metrics must be bit-equal to those of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from tqdm import tqdm

from mmfasternet.checkpoints import read_checkpoint
from mmfasternet.errors import MMFasterNetError, run_tool
from mmfasternet.files import DRAFT
from mmfasternet.training import newest_whole_checkpoint

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'mask_rcnn_fasternet_t0_mini_coco.py'
#: Short epochs, a checkpoint every third step, and features with a state: averaged weights, accumulated gradients.
SETTINGS = """
_base_ = '{config}'
train_dataloader = dict(batch_size=2, dataset=dict(data_root='{data}/', indices=24))
val_dataloader = dict(dataset=dict(data_root='{data}/', indices=4))
val_evaluator = dict(ann_file='{data}/annotations/instances_val2017.json')
train_cfg = dict(max_epochs={epochs}, val_interval=3)
optim_wrapper = dict(accumulative_counts=2)
custom_hooks = [dict(type='EMAHook')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3), logger=dict(interval=1))
"""
STEPS_PER_EPOCH = 12
#: What may differ between equal runs: times, names of folders, and when MMEngine last recorded the step.
INCIDENTAL = (
    '/time', '/data_time', '/memory', '/cfg', '/experiment_name', '/mmengine_version', '/last_ckpt', '/best_ckpt',
    '/runtime_info/iter', '/runtime_info/epoch',
)  # fmt: skip


class KillTestError(MMFasterNetError):
    """Something was lost, or differs from the uninterrupted run."""


def differences(one: Any, other: Any, where: str = '') -> list[str]:
    """List the parts of two checkpoints that are not bit-equal; ``where`` is the name of the given part."""
    if isinstance(one, HistoryBuffer):
        one, other = one.data, getattr(other, 'data', None)
    if isinstance(one, dict) and isinstance(other, dict):
        names = {key: f'{where}/{key}' for key in {**one, **other} if not f'{where}/{key}'.endswith(INCIDENTAL)}
        return [
            found
            for key, name in names.items()
            for found in (differences(one[key], other[key], name) if key in one and key in other else [name])
        ]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return [where]
        return [found for i, pair in enumerate(zip(one, other)) for found in differences(*pair, f'{where}/{i}')]
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        same = np.array_equal(one, other, equal_nan=one.dtype.kind == 'f')
    else:
        same = one == other
    return [] if same else [where]


def logged(work_dir: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Read what a run has logged since its first start.

    Returns:
        dict: Losses, rates and metrics by ``'train'`` or ``'val'`` and step; of repeated steps, the last values.
    """
    found = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            if line.endswith('}'):  # a kill can cut the last one
                scalars = json.loads(line)
                kind = 'train' if 'loss' in scalars else 'val'
                found[kind, scalars['step']] = scalars
    return found


def start(work_dir: Path, config: Path) -> subprocess.Popen:
    """Start or resume the training."""
    command = [sys.executable, ROOT / 'tools' / 'train.py', config, '--work-dir', work_dir, '--resume']
    with (work_dir / 'log.txt').open('ab') as log:
        return subprocess.Popen(
            [str(word) for word in command],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {'OMP_NUM_THREADS': '1'},
        )


def kill(process: subprocess.Popen, work_dir: Path, chance: random.Random) -> bool:
    """Kill the training and its workers at a random moment after the first step; return False if it ended before."""
    steps = set(work_dir.glob('*/vis_data/scalars.json'))
    while process.poll() is None and not set(work_dir.glob('*/vis_data/scalars.json')) - steps:
        time.sleep(0.05)
    while_saving = chance.random() < 0.5
    time.sleep(chance.uniform(0, 8))
    while while_saving and process.poll() is None and not list(work_dir.glob(f'{DRAFT}*')):
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.01) if while_saving else 0)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def step_of(path: Path | None) -> int:
    """Read the step of a checkpoint; 0 if there is none."""
    return read_checkpoint(str(path))['meta']['iter'] if path else 0


def run(out: Path, kills: int, epochs: int, seed: int) -> None:
    """Train without interruption, then with kills, in as many rounds as needed, and compare.

    Args:
        out (Path): Folder for data and runs; existing runs are replaced.
        kills (int): Number of kills.
        epochs (int): Number of epochs of a run.
        seed (int): Seed of the moments.

    Raises:
        KillTestError: Something was lost, or differs from the uninterrupted run.
    """
    data, chance = (out / 'data').resolve(), random.Random(seed)
    if not data.is_dir():
        subprocess.run([sys.executable, ROOT / 'tools/make_miniature.py', 'coco', data], check=True)
    whole = _fresh(out / 'uninterrupted')
    config = out / 'kill_test.py'
    config.write_text(SETTINGS.format(config=CONFIG, data=data, epochs=epochs))
    print(f'training without interruption: {whole}/log.txt')
    if start(whole, config).wait():
        raise KillTestError(f'the uninterrupted run failed; see {whole}/log.txt')
    steps = epochs * STEPS_PER_EPOCH
    expected, expected_log = read_checkpoint(str(whole / f'iter_{steps}.pth')), logged(whole)
    done, torn, rounds = 0, 0, 0
    with tqdm(total=kills, desc='kills') as bar:
        while done < kills:
            rounds += 1
            work_dir, before = _fresh(out / f'round_{rounds}'), 0
            while True:
                process = start(work_dir, config)
                if done == kills:
                    process.wait()
                elif kill(process, work_dir, chance):
                    done += 1
                    torn += bool(list(work_dir.glob(f'{DRAFT}*')))
                    bar.update()
                    pointer = work_dir / 'last_checkpoint'
                    newest = newest_whole_checkpoint(work_dir)
                    if pointer.exists() and str(newest) != str(Path(pointer.read_text())):
                        raise KillTestError(f'{pointer} names {pointer.read_text()!r}, the newest is {newest}')
                    if step_of(newest) < before:
                        raise KillTestError(
                            f'step {before} was saved in {work_dir}, the newest is of {step_of(newest)}'
                        )
                    before = step_of(newest)
                    continue
                if process.returncode:
                    raise KillTestError(f'{work_dir} ended with {process.returncode}; see its log.txt')
                break
            found = differences(expected, read_checkpoint(str(work_dir / f'iter_{steps}.pth')))
            found += differences(expected_log, logged(work_dir), 'logged')
            if found:
                raise KillTestError(f'{work_dir} differs from {whole} in {len(found)} parts: {", ".join(found[:5])}')
    print(
        f'{done} kills of {kills} survived in {rounds} rounds of {steps} steps, {torn} of them while a checkpoint was '
        'being written; every round ended bit-equal to the uninterrupted run'
    )


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder.resolve()


def main() -> None:
    """Run the test that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=50, help='number of kills (%(default)s)')
    parser.add_argument('--epochs', type=int, default=12, help='epochs of 12 steps in a run (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the moments of the kills (%(default)s)')
    parser.add_argument('--out', type=Path, default='work_dirs/kill_test', help='folder of the runs (%(default)s)')
    args = parser.parse_args()
    run(args.out, args.kills, args.epochs, args.seed)


if __name__ == '__main__':
    run_tool(main)
