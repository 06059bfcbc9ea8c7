"""Train Mask R-CNN on mini COCO from random weights and from those of mini ImageNet, and draw AP against steps.

Run `make demo-cls` first. Each pair of trainings runs in parallel, with one thread each. If interrupted, run it again
to resume.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from demo import ROOT, StepFailed
from matplotlib.figure import Figure
from mmengine.config import Config

from mmfasternet.errors import run_tool
from mmfasternet.files import whole_file

PRETRAINED = 'mask_rcnn_fasternet_t0_mini_coco_pretrained'
#: The config and the colour of each kind of initial weights.
STARTS = {
    'random weights': ('mask_rcnn_fasternet_t0_mini_coco', 'tab:orange'),
    'weights of mini ImageNet': (PRETRAINED, 'tab:blue'),
}
METRICS = {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'}


def work_dir(config: str, seed: int) -> Path:
    """The folder of a training."""
    return Path('work_dirs/pretraining_gain', f'{config}_seed{seed}')


def train_all(seed: int) -> None:
    """Train from each kind of initial weights, in parallel; raises StepFailed if a training fails."""
    processes = {}
    for config, _ in STARTS.values():
        folder = ROOT / work_dir(config, seed)
        folder.mkdir(parents=True, exist_ok=True)
        options = (
            '--work-dir',
            work_dir(config, seed),
            '--cfg-options',
            'train_cfg.val_interval=1',
            f'randomness.seed={seed}',
        )
        command = (sys.executable, 'tools/train.py', f'configs/{config}.py', '--resume', *options)
        with (folder / 'train.log').open('a') as log:
            environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
            processes[folder] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)
    for folder, process in processes.items():
        if process.wait():
            raise StepFailed(f'a training failed; see {folder}/train.log')


def read_curve(config: str, seed: int) -> dict[int, dict[str, float]]:
    """Read the metrics by epoch from MMEngine's log."""
    curve = {}
    for path in sorted((ROOT / work_dir(config, seed)).glob('*/vis_data/scalars.json')):
        for entry in map(json.loads, path.read_text().splitlines()):
            if METRICS['box AP'] in entry:
                curve[entry['step']] = {name: entry[key] for name, key in METRICS.items()}
    return curve


def steps_to(target: float, steps: np.ndarray, values: np.ndarray) -> float:
    """Find by linear interpolation the step at which a curve first reaches a value; infinity if it never does."""
    above = np.flatnonzero(values >= target)
    if not len(above):
        return float('inf')
    last = above[0]
    if last == 0:
        return float(steps[0])
    share = (target - values[last - 1]) / (values[last] - values[last - 1])
    return float(steps[last - 1] + share * (steps[last] - steps[last - 1]))


def main() -> None:
    """Train, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1], help='one pair of trainings for each (0 1)')
    parser.add_argument(
        '--out', type=Path, default='work_dirs/pretraining_gain/pretraining.png', help='the picture (%(default)s)'
    )
    arguments = parser.parse_args()
    settings = Config.fromfile(ROOT / f'configs/{PRETRAINED}.py')
    if not (ROOT / settings.weights).is_file():
        raise StepFailed(f'{settings.weights} does not exist; run `make demo-cls` first')
    subprocess.run([sys.executable, 'tools/make_miniature.py', 'coco', settings.data_root], cwd=ROOT, check=True)
    for seed in arguments.seeds:
        train_all(seed)

    annotations = ROOT / settings.data_root / 'annotations/instances_train2017.json'
    steps_an_epoch = -(-len(json.loads(annotations.read_text())['images']) // settings.train_dataloader.batch_size)
    epochs = np.arange(1, settings.train_cfg.max_epochs + 1)
    steps = epochs * steps_an_epoch
    figure = Figure(figsize=(10, 4), layout='constrained')
    for panel, name in zip(figure.subplots(1, len(METRICS)), METRICS):
        runs = {
            start: np.array([[read_curve(config, seed)[epoch][name] for epoch in epochs] for seed in arguments.seeds])
            for start, (config, _) in STARTS.items()
        }
        for start, values in runs.items():
            colour = STARTS[start][1]
            panel.plot(steps, values.T, color=colour, alpha=0.35, linewidth=1)
            panel.plot(steps, values.mean(axis=0), color=colour, linewidth=2.5, label=start)
        panel.set(title=f'{name} on mini COCO', xlabel='training steps', ylabel='AP', ylim=0)
        panel.grid(alpha=0.3)
        panel.legend(loc='lower right')
        scratch, pretrained = runs.values()
        reached = [steps_to(goal, steps, values) for goal, values in zip(scratch[:, -1], pretrained)]
        print(
            f'{name}: {scratch[:, -1].round(3)} after {steps[-1]} steps from random weights, reached after '
            f'{np.round(reached)} steps from those of mini ImageNet, which end at {pretrained[:, -1].round(3)}'
        )
    with whole_file(arguments.out) as draft:
        figure.savefig(draft, dpi=110)
    print(f'picture: {arguments.out}')


if __name__ == '__main__':
    run_tool(main)
