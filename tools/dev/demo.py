"""Draw a small COCO, DOTA or ImageNet, train a FasterNet-T0 model on it, test it, and print where the pictures are.

Run it through `make demo`, `make demo-dota` or `make demo-cls`. If interrupted, run it again to resume. After a
finished training it only tests.
"""

from __future__ import annotations

import argparse
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
CONFIGS = {
    'coco': 'configs/mask_rcnn_fasternet_t0_mini_coco.py',
    'dota': 'configs/oriented_rcnn_fasternet_t0_mini_dota.py',
    'imagenet': 'configs/fasternet_t0_mini_imagenet.py',
}
RAW_DOTA = 'data/mini_dota_raw'
#: More pixels than the longest object has, so that each is whole in a tile.
OVERLAP = '160'
PICTURES = 'pictures'
TRAIN_LINE = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\].* loss: ([\d.]+)')
TEST_LINE = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/(\d+)\]')


class StepFailed(MMFasterNetError):
    """A command of the demo ended with an error."""


class Demo:
    """The commands of one demo, run as a user would.

    Args:
        kind (str): ``'coco'``, ``'dota'`` or ``'imagenet'``.
    """

    def __init__(self, kind: str) -> None:
        self.config = CONFIGS[kind]
        self.settings = Config.fromfile(ROOT / self.config)
        self.work_dir = Path('work_dirs') / Path(self.config).stem
        self.checkpoint = str(self.work_dir / f'epoch_{self.settings.train_cfg.max_epochs}.pth')

    def run(self, *command: str, bar: tqdm | None = None) -> float:
        """Run one of the project's commands and return its time in seconds.

        Args:
            command (str): The tool and its arguments.
            bar (tqdm, optional): Moved along with the lines that the tool logs; the lines go to a file. Defaults to
                None: they are shown.

        Raises:
            StepFailed: If the command fails.
        """
        tqdm.write(f'$ python {" ".join(command)}')
        start = time.monotonic()
        if bar is None:
            if subprocess.run([sys.executable, *command], cwd=ROOT).returncode:
                raise StepFailed(f'{command[0]} failed')
            return time.monotonic() - start
        log = ROOT / self.work_dir / f'{Path(command[0]).stem}.log'
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

    def train(self, images: int) -> float:
        """Train on so many images, and return the time in seconds."""
        steps = -(-images // self.settings.train_dataloader.batch_size) * self.settings.train_cfg.max_epochs
        return self.run('tools/train.py', self.config, '--resume', bar=tqdm(total=steps, desc='training', unit='step'))

    def test(self, images: int, *options: str, config: str | None = None) -> tuple[dict[str, float], Path]:
        """Test on so many images, optionally by another config, and return the metrics and the folder of the run."""
        config = config or self.config
        steps = -(-images // self.settings.test_dataloader.batch_size)
        bar = tqdm(total=steps, desc='testing', unit='step')
        self.run('tools/test.py', config, self.checkpoint, *options, bar=bar)
        runs = (ROOT / 'work_dirs' / Path(config).stem).glob('2*/2*.json')
        result = max(runs, key=lambda path: path.stat().st_mtime)
        return json.loads(result.read_text()), result.parent


def make_sheet(folder: Path, columns: int, cell: tuple[int, int]) -> Path:
    """Put pictures from all over a folder on one sheet of three rows, which lands beside it."""
    rows = 3
    paths = sorted(folder.glob('*.jpg'))
    paths = paths[:: max(1, len(paths) // (columns * rows))][: columns * rows]
    sheet = Image.new('RGB', (columns * cell[0], rows * cell[1]), 'white')
    for index, path in enumerate(paths):
        with Image.open(path) as picture:
            sheet.paste(
                ImageOps.pad(picture, cell, color='white'), (index % columns * cell[0], index // columns * cell[1])
            )
    out = folder.with_suffix('.jpg')
    sheet.save(out, quality=88)
    return out


def demo_coco(demo: Demo) -> None:
    """Draw mini COCO, train and test Mask R-CNN."""
    demo.run('tools/make_miniature.py', 'coco', demo.settings.data_root)
    annotations = ROOT / demo.settings.data_root / 'annotations'
    images = {
        s: len(json.loads((annotations / f'instances_{s}2017.json').read_text())['images']) for s in ('train', 'val')
    }
    seconds = demo.train(images['train'])
    metrics, folder = demo.test(images['val'], '--show-dir', PICTURES)
    pictures = folder / PICTURES
    table = Table('', 'AP', 'AP50', 'AP75', 'small', 'medium', 'large', title='Mask R-CNN, FasterNet-T0, mini COCO')
    for name, key in (('boxes', 'bbox'), ('masks', 'segm')):
        table.add_row(
            name, *(f'{metrics[f"coco/{key}_mAP{kind}"]:.3f}' for kind in ('', '_50', '_75', '_s', '_m', '_l'))
        )
    sheet = make_sheet(pictures, columns=3, cell=(640, 320))
    report(demo, seconds, table, f'{sheet.relative_to(ROOT)} (ground truth left, predictions right)', pictures)


def demo_dota(demo: Demo) -> None:
    """Draw mini DOTA, cut it into tiles, train and test oriented R-CNN, predict whole images, write a submission."""
    size = demo.settings.resize.scale[0]
    tiles = ('--size', str(size), '--overlap', OVERLAP)
    splits = ('train', 'val', 'test')
    demo.run('tools/make_miniature.py', 'dota', RAW_DOTA)
    demo.run('tools/split_dota.py', RAW_DOTA, demo.settings.data_root, *tiles, '--splits', *splits)
    images = {split: len(list((ROOT / demo.settings.data_root / split / 'images').iterdir())) for split in splits}
    seconds = demo.train(images['train'])
    metrics, _ = demo.test(images['val'])
    submission = str(demo.work_dir / 'Task1.zip')
    demo.test(images['test'], '--submission', submission, '--overwrite')
    pictures = ROOT / demo.work_dir / PICTURES
    whole = (f'{RAW_DOTA}/val/images', '--overlap', OVERLAP, '--out', str(pictures.relative_to(ROOT)))
    demo.run('tools/predict.py', demo.config, demo.checkpoint, *whole)

    table = Table('', 'AP50', title='Oriented R-CNN, FasterNet-T0, mini DOTA')
    table.add_row('tiles', f'{metrics["dota/AP50"]:.3f}')
    table.add_row('whole images', f'{metrics["dota_whole/AP50"]:.3f}')
    table.caption = f'boxes of long objects are turned by {metrics["dota_whole/angle_error"]:.1f}° on average'
    sheet = make_sheet(pictures, columns=2, cell=(800, 800))
    report(demo, seconds, table, str(sheet.relative_to(ROOT)), pictures)
    tqdm.write(f'submission: {submission}')


def demo_imagenet(demo: Demo) -> None:
    """Draw mini ImageNet, train a classifier, and test it as it is, corrupted, and in other styles."""
    demo.run('tools/make_miniature.py', 'imagenet', demo.settings.data_root)
    root = ROOT / demo.settings.data_root
    images = {
        part: sum(1 for path in (root / part).rglob('*') if path.is_file())
        for part in ('train', 'val', 'imagenet-c', 'imagenet-r')
    }
    seconds = demo.train(images['train'])
    metrics, folder = demo.test(images['val'], '--show-dir', PICTURES)
    corrupted, plots = demo.test(images['imagenet-c'], config=demo.config.replace('.py', '_c.py'))
    renditions, _ = demo.test(images['imagenet-r'], config=demo.config.replace('.py', '_r.py'))

    table = Table('', '', title='FasterNet-T0, mini ImageNet')
    table.add_row('top-1 on val', f'{metrics["accuracy/top1"]:.1f} %')
    table.add_row('top-1 on mini ImageNet-R', f'{renditions["imagenet_r/top1"]:.1f} %')
    table.add_row('mCE on mini ImageNet-C', f'{corrupted["imagenet_c/mCE"]:.1f}')
    severities = ', '.join(f'{corrupted[f"imagenet_c/mCE_severity_{severity}"]:.1f}' for severity in range(1, 6))
    table.add_row('its mCE at severity 1 to 5', severities)
    sheet = make_sheet(folder / PICTURES, columns=6, cell=(256, 256))
    report(demo, seconds, table, str(sheet.relative_to(ROOT)), folder / PICTURES)
    tqdm.write(f'error against severity: {(plots / "corruption_error.png").relative_to(ROOT)}')


def report(demo: Demo, seconds: float, table: Table, sheet: str, pictures: Path) -> None:
    """Print the results."""
    console = Console()
    console.print(table)
    console.print(f'training took {seconds / 60:.1f} minutes; checkpoint: {demo.checkpoint}', soft_wrap=True)
    console.print(f'pictures: {sheet}', soft_wrap=True)
    console.print(f'all of them: {pictures.relative_to(ROOT)}/', soft_wrap=True)


def main() -> None:
    """Run the demo that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kind', choices=CONFIGS, help='the data set')
    kind = parser.parse_args().kind
    {'coco': demo_coco, 'dota': demo_dota, 'imagenet': demo_imagenet}[kind](Demo(kind))


if __name__ == '__main__':
    run_tool(main)
