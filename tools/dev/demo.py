"""Draw a small COCO, train a small Mask R-CNN with FasterNet-T0 on it, test it, and say where the pictures are.

Run it through `make demo`. Stopped, it goes on where it was; run again when it is done, it only tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmfasternet.errors import MMFasterNetError, run_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/mask_rcnn_fasternet_t0_mini_coco.py'
WORK_DIR = Path('work_dirs') / Path(CONFIG).stem
PICTURES = 'pictures'
#: Columns and rows of the sheet of pictures, and the size in pixels of a cell: two images side by side.
SHEET = (3, 3)
CELL = (640, 320)
TRAIN_LINE = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\].* loss: ([\d.]+)')
TEST_LINE = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/(\d+)\]')


class StepFailed(MMFasterNetError):
    """A command of the demo ended with an error."""


def run(*command: str, bar: tqdm | None = None) -> float:
    """Run one of the project's commands as a user would and return its time in seconds.

    Args:
        command (str): The tool and its arguments.
        bar (tqdm, optional): Moved along with the lines that the tool logs; the lines go to a file. Defaults to None:
            they are shown.

    Raises:
        StepFailed: If the command fails.
    """
    tqdm.write(f'$ python {" ".join(command)}')
    start = time.monotonic()
    if bar is None:
        if subprocess.run([sys.executable, *command], cwd=ROOT).returncode:
            raise StepFailed(f'{command[0]} failed')
        return time.monotonic() - start
    log = ROOT / WORK_DIR / f'{Path(command[0]).stem}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with log.open('w') as file, bar:
        for line in process.stdout:
            file.write(line)
            lines.append(line)
            if match := TRAIN_LINE.search(line):
                epoch, step, steps, loss = match.groups()
                bar.set_postfix_str(f'loss {loss}')
                bar.update((int(epoch) - 1) * int(steps) + int(step) - bar.n)
            elif match := TEST_LINE.search(line):
                bar.update(int(match[1]) - bar.n)
        if process.wait():
            raise StepFailed(f'{command[0]} failed; the end of {log}:\n{"".join(lines[-5:])}')
        bar.update(bar.total - bar.n)
    return time.monotonic() - start


def make_sheet(folder: Path) -> Path:
    """Put the first of the pictures in a folder on one sheet, which lands beside it."""
    columns, rows = SHEET
    sheet = Image.new('RGB', (columns * CELL[0], rows * CELL[1]), 'white')
    for index, path in enumerate(sorted(folder.iterdir())[: columns * rows]):
        with Image.open(path) as picture:
            cell = ImageOps.pad(picture, CELL, color='white')
        sheet.paste(cell, (index % columns * CELL[0], index // columns * CELL[1]))
    out = folder.with_suffix('.jpg')
    sheet.save(out, quality=88)
    return out


def main() -> None:
    """Run the demo."""
    config = Config.fromfile(ROOT / CONFIG)
    run('tools/make_miniature.py', 'coco', config.data_root)
    annotations = ROOT / config.data_root / 'annotations'
    images = {
        s: len(json.loads((annotations / f'instances_{s}2017.json').read_text())['images']) for s in ('train', 'val')
    }
    steps = -(-images['train'] // config.train_dataloader.batch_size) * config.train_cfg.max_epochs
    seconds = run('tools/train.py', CONFIG, '--resume', bar=tqdm(total=steps, desc='training', unit='step'))
    checkpoint = str(WORK_DIR / f'epoch_{config.train_cfg.max_epochs}.pth')
    bar = tqdm(total=images['val'], desc='testing', unit='image')
    run('tools/test.py', CONFIG, checkpoint, '--show-dir', PICTURES, bar=bar)

    result = max((ROOT / WORK_DIR).glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    metrics = json.loads(result.read_text())
    table = Table('', 'AP', 'AP50', 'AP75', 'small', 'medium', 'large', title='Mask R-CNN, FasterNet-T0, mini COCO')
    for name, key in (('boxes', 'bbox'), ('masks', 'segm')):
        table.add_row(
            name, *(f'{metrics[f"coco/{key}_mAP{kind}"]:.3f}' for kind in ('', '_50', '_75', '_s', '_m', '_l'))
        )
    console = Console()
    console.print(table)
    console.print(f'training took {seconds / 60:.1f} minutes; checkpoint: {checkpoint}', soft_wrap=True)
    pictures = result.parent / PICTURES
    console.print(f'pictures (left what was drawn, right what was found): {make_sheet(pictures).relative_to(ROOT)}')
    console.print(f'all of them: {pictures.relative_to(ROOT)}/', soft_wrap=True)


if __name__ == '__main__':
    run_tool(main)
