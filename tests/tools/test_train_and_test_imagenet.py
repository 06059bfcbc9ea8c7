"""Classification by the commands that a user types: real mmpretrain, real training, short."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from conftest import ALEXNET, ROOT, make_timm, newest_metrics
from PIL import Image

from mmfasternet.datasets.imagenet.class_folders import IMAGENET_R_WNIDS, IMAGENET_WNIDS

pytestmark = pytest.mark.slow

MINI = 'configs/fasternet_t0_mini_imagenet.py'
WORK_DIR = 'work_dirs/fasternet_t0_mini_imagenet'
CHECKPOINT = f'{WORK_DIR}/epoch_2.pth'
MMPRETRAIN_TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


def run(folder, *command, code=0):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout if code == 0 else done.stderr.splitlines()[-1]


def link(root, mini_imagenet):
    """A checkout with the drawn ImageNet, of whose corrupted images each class keeps one."""
    for name in ('configs', 'tools'):
        (root / name).symlink_to(ROOT / name)
    data = root / 'data/mini_imagenet'
    data.mkdir(parents=True)
    for name in ('train', 'val', 'imagenet-r'):
        (data / name).symlink_to(mini_imagenet / name)
    for folder in (mini_imagenet / 'imagenet-c').glob('*/*/*'):
        image = min(folder.iterdir())
        copy = data / image.relative_to(mini_imagenet)
        copy.parent.mkdir(parents=True)
        copy.symlink_to(image)
    return root


@pytest.fixture(scope='module')
def trained(tmp_path_factory, mini_imagenet):
    """A T0 trained for two epochs on a part of the drawn ImageNet."""
    folder = link(tmp_path_factory.mktemp('trained_imagenet'), mini_imagenet)
    log = run(
        folder, 'tools/train.py', MINI, '--cfg-options', 'train_dataloader.dataset.indices=800',
        'train_cfg.max_epochs=2', 'default_hooks.logger.interval=1', 'val_dataloader.dataset.indices=20',
    )  # fmt: skip
    return folder, log


@pytest.fixture
def checkout(tmp_path, trained, mini_imagenet):
    """A checkout of its own for a test that damages the data, with the trained weights."""
    folder = link(tmp_path, mini_imagenet)
    shutil.copy(trained[0] / CHECKPOINT, folder / 'epoch_2.pth')
    return folder


def test_training_learns(trained):
    _, log = trained
    losses = [float(loss) for loss in re.findall(r'Epoch\(train\).* loss: ([\d.]+)', log)]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2
    assert 'accuracy/top1' in log


@pytest.mark.parametrize('tta', [(), ('--tta',)])
def test_pictures_have_the_colours_of_the_images(trained, tta):
    folder, _ = trained
    out = Path('work_dirs/pictures', *tta)
    options = ('--show-dir', 'pictures', '--work-dir', out, '--cfg-options', 'test_dataloader.dataset.indices=3')
    run(folder, 'tools/test.py', MINI, CHECKPOINT, *tta, *options)
    pictures = sorted((folder / out).glob('*/pictures/*.jpg'))
    assert len(pictures) == 3
    right, swapped = 0.0, 0.0
    for path in pictures:
        wnid, _, name = path.stem.partition('_')
        with Image.open(path) as picture, Image.open(folder / f'data/mini_imagenet/val/{wnid}/{name}.JPEG') as image:
            # the text is at the top; the test crops 128 of 142
            drawn = np.asarray(picture.resize((64, 64)), float)[20:]
            side = min(image.size) * 128 / 142
            left, top = (image.width - side) / 2, (image.height - side) / 2
            square = image.resize((64, 64), box=(left, top, left + side, top + side))
            true = np.asarray(square, float)[20:]
        right += np.abs(drawn - true).mean()
        swapped += np.abs(drawn[..., ::-1] - true).mean()
    assert right < swapped / 2, (right, swapped)


def test_imagenet_c_in_one_run(trained):
    folder, _ = trained
    config = MINI.replace('.py', '_c.py')
    out = run(folder, 'tools/test.py', config, CHECKPOINT, '--out', 'found.pkl')
    assert out.count('Load checkpoint from') == 1
    metrics = newest_metrics(folder / f'{WORK_DIR}_c')
    (report,) = (folder / f'{WORK_DIR}_c').glob('*/corruption_error.json')
    assert report.with_suffix('.png').is_file()
    written = json.loads(report.read_text())
    assert written['mCE'] == pytest.approx(metrics['imagenet_c/mCE'], abs=1e-3) and written['missing'] == ''
    # counted anew from the predictions
    with (folder / 'found.pkl').open('rb') as file:
        found = pickle.load(file)
    assert len(found) == 15 * 5 * 10
    wrong = {name: [] for name in ALEXNET}
    for sample in found:
        *_, corruption, severity, wnid, _ = Path(sample['img_path']).parts
        label = sorted({path.name for path in (folder / 'data/mini_imagenet/val').iterdir()}).index(wnid)
        wrong[corruption].append((severity, int(sample['pred_label']) != label))
    for corruption, results in wrong.items():
        errors = [np.mean([is_wrong for at, is_wrong in results if at == severity]) for severity in '12345']
        assert list(written['corruptions'][corruption]['error by severity'].values()) == pytest.approx(
            [100 * error for error in errors]
        )
        assert metrics[f'imagenet_c/CE_{corruption}'] == pytest.approx(
            100 * np.mean(errors) / ALEXNET[corruption], abs=1e-3
        )
    assert 0 < written['mCE'] < 150


def test_a_part_of_imagenet_c(checkout):
    shutil.rmtree(checkout / 'data/mini_imagenet/imagenet-c/fog')
    shutil.rmtree(checkout / 'data/mini_imagenet/imagenet-c/snow/4')
    out = run(checkout, 'tools/test.py', MINI.replace('.py', '_c.py'), 'epoch_2.pth')
    assert 'missing, so mCE is not reported: snow (severity 4), fog' in out
    assert 'mCE is not reported, because these were not tested: snow (severity 4), fog' in out
    metrics = newest_metrics(checkout / f'{WORK_DIR}_c')
    assert 'imagenet_c/mCE' not in metrics and 'imagenet_c/CE_frost' in metrics


def test_imagenet_r_with_released_weights(tmp_path, mini_imagenet):
    """The published layout of 200 classes, by the config of ImageNet-R and a bare file of a thousand classes."""
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    images = sorted((mini_imagenet / 'imagenet-r').rglob('*.jpg'))
    for index, wnid in enumerate(IMAGENET_R_WNIDS):
        (tmp_path / 'data/imagenet-r' / wnid).mkdir(parents=True)
        (tmp_path / 'data/imagenet-r' / wnid / 'art_0.jpg').symlink_to(images[index % len(images)])
    torch.save(make_timm('t0').state_dict(), tmp_path / 'released.pth')
    config = 'configs/fasternet_t0_imagenet_r.py'
    few = ('--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
    out = run(tmp_path, 'tools/test.py', config, 'released.pth', '--out', 'found.pkl', *few)
    assert 'loaded a classifier of 1000 classes' in out
    with (tmp_path / 'found.pkl').open('rb') as file:
        found = pickle.load(file)
    right = 0
    for sample in found:
        scores = dict(zip(IMAGENET_WNIDS, sample['pred_score'].tolist()))
        wnid = Path(sample['img_path']).parent.name
        right += max(IMAGENET_R_WNIDS, key=scores.get) == wnid
    top1 = newest_metrics(tmp_path / 'work_dirs/fasternet_t0_imagenet_r')['imagenet_r/top1']
    assert len(found) == 200 and top1 == pytest.approx(100 * right / 200, abs=1e-3)


#: A hook that shows the size of the images that are trained on.
SIDES = """
from mmengine.hooks import Hook

class PrintSide(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        print('side', data_batch['inputs'].shape[-1])
"""


def test_both_tools_run_the_imagenet_recipe(tmp_path, mini_imagenet, monkeypatch):
    """A thousand classes of one image each, the switch of pipelines moved to the second epoch; also resumed."""
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    images = sorted((mini_imagenet / 'train').rglob('*.JPEG'))
    for split in ('train', 'val'):
        for wnid, image in zip(IMAGENET_WNIDS, images):
            (tmp_path / 'data/imagenet' / split / wnid).mkdir(parents=True)
            (tmp_path / 'data/imagenet' / split / wnid / 'image.JPEG').symlink_to(image)
    in_process = [
        f'{loader}_dataloader.{option}'
        for loader in ('train', 'val', 'test')
        for option in ('num_workers=0', 'persistent_workers=False', 'batch_size=8', 'dataset.indices=16')
    ]
    (tmp_path / 'sides.py').write_text(SIDES)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    options = [*in_process, 'custom_hooks.0.schedule.0.action_epoch=2', 'default_hooks.sides.type=sides.PrintSide']
    for tool in (MMPRETRAIN_TOOLS / 'train.py', 'tools/train.py'):
        log = run(
            tmp_path, tool, 'configs/fasternet_t1_imagenet.py', '--cfg-options', *options, 'train_cfg.max_epochs=2',
            'default_hooks.logger.interval=1',
        )  # fmt: skip
        assert 'Switch train pipeline at epoch 2' in log
        assert re.search(r'Epoch\(train\) \[2\]\[2/2\]', log)
        assert re.findall(r'side (\d+)', log) == ['192', '192', '224', '224']
    log = run(
        tmp_path, 'tools/train.py', 'configs/fasternet_t1_imagenet.py', '--resume', '--cfg-options', *options,
        'train_cfg.max_epochs=3',
    )  # fmt: skip
    assert re.findall(r'side (\d+)', log) == ['224', '224']
    assert 'param_scheduler.1 (CosineAnnealingLR) ends at epoch 300: its values after epoch 3 are not reached' in log
    checkpoint = 'work_dirs/fasternet_t1_imagenet/epoch_2.pth'
    config = 'configs/fasternet_t1_imagenet.py'
    run(tmp_path, MMPRETRAIN_TOOLS / 'test.py', config, checkpoint, '--cfg-options', *in_process)
    theirs = newest_metrics(tmp_path / 'work_dirs/fasternet_t1_imagenet')
    run(tmp_path, 'tools/test.py', config, checkpoint, '--cfg-options', *in_process)
    ours = newest_metrics(tmp_path / 'work_dirs/fasternet_t1_imagenet')
    assert ours['accuracy/top5'] == theirs['accuracy/top5']


def test_a_classification_run_starts_a_detector(trained, mini_coco):
    folder, _ = trained
    (folder / 'data/mini_coco').symlink_to(mini_coco)
    log = run(
        folder, 'tools/train.py', 'configs/mask_rcnn_fasternet_t0_mini_coco_pretrained.py', '--cfg-options',
        f'model.backbone.init_cfg.checkpoint={CHECKPOINT}', 'train_dataloader.dataset.indices=4',
        'train_cfg.max_epochs=1', 'val_dataloader.dataset.indices=1', 'default_hooks.logger.interval=1',
    )  # fmt: skip
    assert "FasterNet: loaded 128 tensors from a classifier's checkpoint; left out 3" in log
    assert 'Epoch(train) [1][1/1]' in log


def rename_class(data):
    (data / 'imagenet-c/fog/2/n01443537').rename(data / 'imagenet-c/fog/2/goldfish')


def lose_class(data):
    shutil.rmtree(data / 'imagenet-c/fog/2/n01443537')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (rename_class, 'error: data/mini_imagenet/imagenet-c/fog/2: goldfish is not a WordNet id'),
        (lose_class, 'error: data/mini_imagenet/imagenet-c/fog/2 lacks 1 of the 10 classes: n01443537'),
    ],
)
def test_faults_of_imagenet_c_end_in_one_line(checkout, damage, message):
    damage(checkout / 'data/mini_imagenet')
    assert run(checkout, 'tools/test.py', MINI.replace('.py', '_c.py'), 'epoch_2.pth', code=2).startswith(message)


def test_an_image_that_cannot_be_decoded_is_named(checkout, mini_imagenet):
    val = checkout / 'data/mini_imagenet/val'
    val.unlink()
    shutil.copytree(mini_imagenet / 'val', val)
    broken = sorted(val.rglob('*.JPEG'))[7]
    broken.write_text('<html>not found</html>')
    message = run(checkout, 'tools/test.py', MINI, 'epoch_2.pth', code=2)
    assert message.startswith(f'error: {broken.relative_to(checkout)} cannot be decoded; download it again')
