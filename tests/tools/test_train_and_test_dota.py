"""DOTA from raw images to a submission, by the commands that a user types: real mmrotate, real training, short."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, newest_metrics
from PIL import Image

from mmfasternet.datasets.dota.labels import CLASSES

pytestmark = pytest.mark.slow

CONFIG = 'configs/oriented_rcnn_fasternet_t0_mini_dota.py'
WORK_DIR = 'work_dirs/oriented_rcnn_fasternet_t0_mini_dota'
CHECKPOINT = f'{WORK_DIR}/epoch_1.pth'
MMROTATE_TOOLS = Path(sys.prefix) / 'lib/python3.11/site-packages/mmrotate/.mim/tools'
SMALL = ('test_dataloader.dataset.indices=12',)


def run(folder, *command, timeout=600):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope='module')
def trained(tmp_path_factory, mini_dota):
    """A checkout with the drawn DOTA cut into tiles, and a T0 trained on some of them for one epoch."""
    folder = tmp_path_factory.mktemp('trained_dota')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'data').mkdir()
    (folder / 'data/mini_dota_raw').symlink_to(mini_dota)
    run(
        folder, 'tools/split_dota.py', 'data/mini_dota_raw', 'data/mini_dota', '--size', 384, '--overlap', 160,
        '--splits', 'train', 'val', 'test',
    )  # fmt: skip
    log = run(
        folder, 'tools/train.py', CONFIG, '--cfg-options', 'train_dataloader.dataset.indices=120',
        'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1', 'val_dataloader.dataset.indices=2',
    )  # fmt: skip
    return folder, log


def test_training_learns(trained):
    folder, log = trained
    losses = [float(loss) for loss in re.findall(r'Epoch\(train\).* loss_cls: ([\d.]+)', log)]
    assert len(losses) == 30
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert (folder / CHECKPOINT).is_file()


def test_test_scores_tiles_and_whole_images(trained):
    folder, _ = trained
    # mmrotate's metric takes long for each threshold, so two of those of --all-ious have to do
    thresholds = [f'test_evaluator.{index}.iou_thrs=[0.5,0.75]' for index in range(2)]
    out = run(
        folder, 'tools/test.py', CONFIG, CHECKPOINT, '--show-dir', 'pictures', '--cfg-options', *SMALL, *thresholds
    )
    metrics = newest_metrics(folder / WORK_DIR)
    for prefix in ('dota', 'dota_whole'):
        assert 0 <= metrics[f'{prefix}/AP75'] <= metrics[f'{prefix}/AP50'] <= 1
        assert metrics[f'{prefix}/mAP'] == pytest.approx(
            (metrics[f'{prefix}/AP75'] + metrics[f'{prefix}/AP50']) / 2, abs=1e-3
        )
    assert 'whole images, IoU above 0.75' in out
    pictures = list((folder / WORK_DIR).glob('*/pictures/*.png'))
    assert len(pictures) == 12
    # the drawn and the found objects side by side
    with Image.open(pictures[0]) as picture:
        assert picture.size == (2 * 384, 384)


def test_mmrotates_own_tools_run_the_same_config(trained):
    folder, _ = trained
    own = ('--work-dir', 'work_dirs/mmrotate')
    log = run(
        folder, MMROTATE_TOOLS / 'train.py', CONFIG, *own, '--cfg-options', 'train_cfg.max_epochs=1',
        'train_dataloader.dataset.indices=4', 'val_dataloader.dataset.indices=1', 'default_hooks.logger.interval=1',
    )  # fmt: skip
    assert 'Epoch(train) [1][1/1]' in log and 'dota/mAP' in log
    run(folder, MMROTATE_TOOLS / 'test.py', CONFIG, CHECKPOINT, *own, '--cfg-options', *SMALL)
    assert newest_metrics(folder / 'work_dirs/mmrotate').keys() >= {'dota/AP50', 'dota_whole/AP50'}


def test_submission(trained):
    folder, _ = trained
    command = ('tools/test.py', CONFIG, CHECKPOINT, '--submission', 'out/Task1.zip', '--cfg-options', *SMALL)
    # so little training finds little: only without a threshold is there anything to write
    command += ('model.test_cfg.rcnn.score_thr=0.01',)
    out = run(folder, *command)
    with zipfile.ZipFile(folder / 'out/Task1.zip') as archive:
        assert {f'Task1_{name}.txt' for name in CLASSES['1.0']} == set(archive.namelist())
        lines = [line for name in archive.namelist() for line in archive.read(name).decode().splitlines()]
    images = {path.stem for path in (folder / 'data/mini_dota_raw/test/images').iterdir()}
    assert lines and {line.split(' ')[0] for line in lines} <= images
    assert f'{len(lines)} detections in ' in out
    again = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith('error: --submission out/Task1.zip already exists')
    before = (folder / 'out/Task1.zip').read_bytes()
    run(folder, *command[:5], '--overwrite', *command[5:])
    assert (folder / 'out/Task1.zip').read_bytes() == before


def test_predict_whole_images(trained, tmp_path):
    """A folder of images with a torn one among them, and a large one: the rest is done."""
    folder, _ = trained
    images = tmp_path / 'images'
    images.mkdir()
    source = sorted((folder / 'data/mini_dota_raw/val/images').iterdir())[0]
    shutil.copy(source, images / 'P1.png')
    with Image.open(source) as picture:
        large = Image.new('RGB', (1565, 1616))
        for x in range(0, large.width, picture.width):
            for y in range(0, large.height, picture.height):
                large.paste(picture, (x, y))
    large.save(images / 'P2.png')
    (images / 'P3.png').write_bytes(source.read_bytes()[:5000])
    command = [
        sys.executable, 'tools/predict.py', CONFIG, CHECKPOINT, images, '--out', tmp_path / 'found',
        '--score-thr', '0.1', '--overlap', '160',
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('error: 1 of 3 images cannot be read: ')
    assert 'P3.png' in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr
    assert {path.name for path in (tmp_path / 'found').iterdir()} == {'P1.jpg', 'P1.json', 'P2.jpg', 'P2.json'}
    content = json.loads((tmp_path / 'found/P2.json').read_text())
    assert (content['width'], content['height']) == (1565, 1616)
    with Image.open(tmp_path / 'found/P2.jpg') as picture:
        # the legend is below
        assert picture.width == 1565 and picture.height > 1616
    assert content['objects']
    assert max(item['cx'] for item in content['objects']) > 1000
    for item in content['objects']:
        assert item['class'] == CLASSES['1.0'][item['label']] and 0.1 <= item['score'] <= 1
        # the corners are those of the box
        quad = np.array(item['corners'])
        assert quad.mean(0) == pytest.approx((item['cx'], item['cy']), abs=0.02)
        sides = np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1)
        assert sorted(sides)[::2] == pytest.approx(sorted((item['w'], item['h'])), abs=0.03)
        long = quad[np.argmax(sides)] - quad[np.argmax(sides) - 1]
        along = item['angle'] if item['w'] >= item['h'] else item['angle'] + np.pi / 2
        assert np.sin(np.arctan2(*long[::-1]) - along) == pytest.approx(0, abs=0.05)


def test_mmrotates_apis_find_the_same(trained, tmp_path):
    """The tiles of an image through mmrotate's own code for large images, by the config and checkpoint alone."""
    folder, _ = trained
    script = """
import sys, json
from mmdet.apis import init_detector
from mmrotate.apis import inference_detector_by_patches
config, checkpoint, image = sys.argv[1:]
model = init_detector(config, checkpoint, palette='none', device='cpu')
nms = dict(type='nms_rotated', iou_threshold=0.1)
found = inference_detector_by_patches(model, image, [384], [224], [1.0], nms).pred_instances
sure = found[found.scores >= 0.1]
print(json.dumps(sorted(zip(sure.scores.tolist(), sure.labels.tolist(), sure.bboxes.tolist()))))
"""
    image = sorted((folder / 'data/mini_dota_raw/val/images').iterdir())[1]
    out = run(tmp_path, '-c', script, folder / CONFIG, folder / CHECKPOINT, image)
    theirs = json.loads(out.splitlines()[-1])
    run(
        folder, 'tools/predict.py', CONFIG, CHECKPOINT, image, '--out', tmp_path / 'found', '--score-thr', 0.1,
        '--overlap', 160,
    )  # fmt: skip
    content = json.loads((tmp_path / f'found/{image.stem}.json').read_text())
    ours = sorted(
        (item['score'], item['label'], [item[key] for key in ('cx', 'cy', 'w', 'h', 'angle')])
        for item in content['objects']
    )
    assert len(ours) == len(theirs) > 0
    for (score, label, box), (their_score, their_label, their_box) in zip(ours, theirs):
        assert (score, label) == (pytest.approx(their_score, abs=1e-5), their_label)
        assert box == pytest.approx(their_box, abs=1e-2)


def test_the_missions_commands(trained):
    """The recipe's config unchanged but for its weights, on tiles cut as the README says."""
    folder, _ = trained
    config = 'configs/oriented_rcnn_fasternet_t0_dota.py'
    run(folder, 'tools/split_dota.py', 'data/mini_dota_raw', 'data/split_ss_dota')
    assert {path.name for path in (folder / 'data/split_ss_dota').iterdir()} == {'trainval', 'val', 'test'}
    log = run(
        folder, 'tools/train.py', config, '--cfg-options', 'model.backbone.init_cfg=None',
        'train_dataloader.dataset.indices=2', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=2',
        'default_hooks.logger.interval=1',
    )  # fmt: skip
    losses = [float(loss) for loss in re.findall(r'Epoch\(train\).* loss: ([\d.]+)', log)]
    assert len(losses) == 1 and np.isfinite(losses).all()
    work_dir = f'work_dirs/{Path(config).stem}'
    run(
        folder, 'tools/test.py', config, f'{work_dir}/epoch_1.pth', '--cfg-options', 'test_dataloader.dataset.indices=1'
    )
    assert newest_metrics(folder / work_dir).keys() >= {'dota/AP50', 'dota_whole/AP50'}
