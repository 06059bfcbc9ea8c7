"""Train for thousands of steps, and check that memory, open files and processes do not grow.

A small Mask R-CNN trains on the drawn COCO, with two workers, and a validation and a checkpoint every thousand steps.
Memory is what the process and its workers hold: shared pages count once, and pages of the libraries' files do not
count, because the kernel attributes fewer of them while other programs use them. Caches and free blocks of the
allocator fill in the first half. So the criterion is the trend of a line fitted to the second half, extrapolated to
the whole run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmfasternet.engine import train
from mmfasternet.errors import MMFasterNetError, run_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = '{root}/configs/mask_rcnn_fasternet_t0_mini_coco.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, depths=(1, 1)), out_indices=(0, 1)),
    neck=dict(in_channels=[16, 32]),
)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomChoiceResize', scales=[(64, 64), (80, 80), (96, 96)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=1, num_workers=2, sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root='{data}/', pipeline=pipeline),
)
val_dataloader = dict(dataset=dict(data_root='{data}/', indices=8))
val_evaluator = dict(ann_file='{data}/annotations/instances_val2017.json')
train_cfg = dict(_delete_=True, by_epoch=False, max_iters={steps}, val_interval=1000)
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]
custom_hooks = [dict(type='EMAHook'), dict(type='Gauge', out='{out}/gauge.json')]
default_hooks = dict(
    logger=dict(interval=100), checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
"""


class SoakTestError(MMFasterNetError):
    """Memory, files or processes grow."""


@HOOKS.register_module()
class Gauge(Hook):
    """Records at every tenth step what the run holds.

    Args:
        out (str): The JSON file.
    """

    def __init__(self, out: str) -> None:
        self.out = Path(out)
        self.readings: list[dict[str, int]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Read /proc."""
        if not self.every_n_train_iters(runner, 10):
            return
        own = psutil.Process()
        processes = [own, *own.children(recursive=True)]
        self.readings.append(
            dict(
                step=runner.iter + 1,
                bytes=sum(_own_bytes(process.pid) for process in processes),
                files=own.num_fds(),
                processes=len(processes),
            )
        )

    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        self.out.write_text(json.dumps(self.readings))


def _own_bytes(pid: int) -> int:
    """Read a process's share of the memory that is not backed by files."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(('Pss_Anon:', 'Pss_Shmem:')))


def run(out: Path, steps: int, limit: float) -> None:
    """Train, and check what grows.

    Args:
        out (Path): Folder for data, config and run.
        steps (int): Number of steps.
        limit (float): The fraction by which memory may grow according to the trend of the second half.

    Raises:
        SoakTestError: Memory grows by more, or the number of files or processes grows.
    """
    data = (out / 'data').resolve()
    if not data.is_dir():
        subprocess.run([sys.executable, ROOT / 'tools/make_miniature.py', 'coco', data], check=True)
    config = out / 'soak_test.py'
    config.write_text(CONFIG.format(root=ROOT, data=data, steps=steps, out=out))
    options = dict(amp=False, auto_scale_lr=False, resume=None, cfg_options=None, launcher='none', local_rank=0)
    train(argparse.Namespace(config=str(config), work_dir=str(out / 'run'), **options))
    readings = json.loads((out / 'gauge.json').read_text())
    tenth, half = len(readings) // 10, len(readings) // 2
    early, late = readings[tenth : 2 * tenth], readings[-tenth:]
    before, after = (np.mean([reading['bytes'] for reading in part]) for part in (early, late))
    slope, _ = np.polyfit(*([reading[key] for reading in readings[half:]] for key in ('step', 'bytes')), 1)
    trend = slope * steps / after
    text = f'{steps} steps: memory {before / 1e6:.1f} MB in the second tenth, {after / 1e6:.1f} MB in the last '
    text += f'({after / before - 1:+.2%}), trend of the second half {trend:+.2%}'
    grown = trend > limit
    for kind in ('files', 'processes'):
        most = [max(reading[kind] for reading in part) for part in (early, late)]
        text += f', {kind} {most[0]} -> {most[1]}'
        grown |= most[1] > most[0]
    if grown:
        raise SoakTestError(f'{text}; every reading is in {out}/gauge.json')
    print(text)


def main() -> None:
    """Run the test that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--steps', type=int, default=10_000, help='number of steps (%(default)s)')
    parser.add_argument('--limit', type=float, default=0.02, help='fraction by which memory may grow (%(default)s)')
    parser.add_argument('--out', type=Path, default='work_dirs/soak_test', help='folder of the run (%(default)s)')
    args = parser.parse_args()
    run(args.out, args.steps, args.limit)


if __name__ == '__main__':
    run_tool(main)
