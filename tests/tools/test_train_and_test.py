"""The project's own commands, run as a user runs them: real training, real files."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from conftest import ROOT, make_timm, newest_metrics
from PIL import Image, ImageDraw
from pycocotools.mask import decode

from mmfasternet.deploy import cpu_has_bfloat16

pytestmark = pytest.mark.slow

MINI = 'configs/mask_rcnn_fasternet_t0_mini_coco.py'
MISSION = 'configs/mask_rcnn_fasternet_s_coco.py'
MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
IN_PROCESS = ('train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False')
IN_PROCESS += tuple(option.replace('train', split) for split in ('val', 'test') for option in IN_PROCESS)
NO_WEIGHTS = 'model.backbone.init_cfg=None'


def losses(log, name='loss'):
    return [float(loss) for loss in re.findall(rf'Epoch\(train\).* {name}: ([\d.]+)', log)]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, mini_coco):
    """A T0 trained for 3 epochs on a part of the drawn COCO, killed in the second epoch and resumed."""
    folder = tmp_path_factory.mktemp('trained')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'data').mkdir()
    (folder / 'data' / 'mini_coco').symlink_to(mini_coco)
    command = [
        sys.executable, 'tools/train.py', MINI, '--cfg-options', 'train_dataloader.dataset.indices=60',
        'train_cfg.max_epochs=3', 'val_dataloader.dataset.indices=2', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    work_dir = folder / 'work_dirs' / Path(MINI).stem
    with (folder / 'first.log').open('w') as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + 300
        while not re.search(r'Epoch\(train\)\s+\[2\]\[\s*3/', (folder / 'first.log').read_text()):
            assert process.poll() is None, (folder / 'first.log').read_text()[-2000:]
            assert time.monotonic() < deadline, 'training does not get on'
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (work_dir / 'epoch_1.pth').is_file() and not (work_dir / 'epoch_3.pth').exists()
    resumed = subprocess.run([*command, '--resume'], cwd=folder, capture_output=True, text=True, timeout=600)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    return folder, (folder / 'first.log').read_text(), resumed.stdout, work_dir / 'epoch_3.pth'


def test_training_learns_and_goes_on_where_it_was_killed(trained):
    _, first, resumed, checkpoint = trained
    assert re.search(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/15\]', resumed).groups() == ('2', '1')
    assert len(losses(resumed)) == 30
    assert checkpoint.is_file()
    start, end = losses(first, 'loss_cls')[:3], losses(resumed, 'loss_cls')[-3:]
    assert sum(end) < 0.75 * sum(start)


def test_test_writes_metrics_predictions_and_pictures(trained):
    folder, _, _, checkpoint = trained
    command = [
        sys.executable, 'tools/test.py', MINI, checkpoint, '--out', 'predictions.pkl', '--show-dir', 'pictures',
        '--cfg-options', 'test_dataloader.dataset.indices=6',
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = newest_metrics(checkpoint.parent)
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics.keys()
    predictions = pickle.loads((folder / 'predictions.pkl').read_bytes())
    assert len(predictions) == 6
    assert {'bboxes', 'scores', 'labels', 'masks'} <= predictions[0]['pred_instances'].keys()
    pictures = list(checkpoint.parent.glob('*/pictures/*.jpg'))
    assert len(pictures) == 6
    # the drawn and the found objects side by side
    with Image.open(pictures[0]) as picture:
        assert picture.width >= 2 * 256


def test_fast_inference_finds_the_same(trained):
    folder, _, _, checkpoint = trained
    scores, boxes = [], []
    for flags in ((), ('--optimize',), ('--backend', 'onnxruntime'), ('--backend', 'openvino'), ('--optimize', 'bf16')):
        command = [
            sys.executable, 'tools/test.py', MINI, checkpoint, '--work-dir', folder / 'fast', '--out', 'fast.pkl',
            *flags, '--cfg-options', 'test_dataloader.dataset.indices=8', *IN_PROCESS,
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        predictions = pickle.loads((folder / 'fast.pkl').read_bytes())
        scores.append(torch.cat([image['pred_instances']['scores'][:5] for image in predictions]))
        boxes.append(torch.cat([image['pred_instances']['bboxes'][:1] for image in predictions]))
    assert scores[0].max() > 0.1, 'nothing to compare'
    for exact in (1, 2, 3):
        torch.testing.assert_close(scores[exact], scores[0], rtol=0, atol=1e-3)
        torch.testing.assert_close(boxes[exact], boxes[0], rtol=0, atol=0.1)
    # a CPU without bfloat16 computes in float32
    assert (1e-5 if cpu_has_bfloat16() else 0) <= (scores[4] - scores[0]).abs().max() < 0.1


def test_test_time_augmentation(trained):
    folder, _, _, checkpoint = trained
    command = [
        sys.executable, 'tools/test.py', MINI, checkpoint, '--tta', '--backend', 'openvino', '--cfg-options',
        'test_dataloader.dataset.indices=4', 'test_evaluator.metric=bbox', 'model.roi_head.mask_head=None',
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'bbox_mAP' in done.stdout


def test_mmdets_apis_find_everything_by_the_config(trained, tmp_path):
    """From another folder, with nothing of ours imported by hand."""
    folder, _, _, checkpoint = trained
    script = """
import sys
from mmdet.apis import DetInferencer, inference_detector, init_detector
config, checkpoint, image = sys.argv[1:]
model = init_detector(config, checkpoint, device='cpu')
alone = inference_detector(model, image).pred_instances
result = DetInferencer(config, checkpoint, device='cpu', show_progress=False)(image, pred_score_thr=0)
together = result['predictions'][0]
assert len(alone) == len(together['scores']) > 0
assert [round(s, 4) for s in alone.scores.tolist()] == [round(s, 4) for s in together['scores']]
print('backbone', type(model.backbone).__name__)
"""
    image = folder / 'data/mini_coco/val2017/000000000201.jpg'
    command = [sys.executable, '-c', script, folder / MINI, checkpoint, image]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'backbone FasterNet' in done.stdout


def test_predict_finds_what_mmdet_finds(trained, tmp_path):
    folder, _, _, checkpoint = trained
    with Image.open(folder / 'data/mini_coco/val2017/000000000201.jpg') as photo:
        # two decoders of JPEG differ by a level here and there
        photo.save(tmp_path / 'photo.png')
    script = """
import json, sys
from mmdet.apis import inference_detector, init_detector
config, checkpoint, image = sys.argv[1:]
found = inference_detector(init_detector(config, checkpoint, palette='none', device='cpu'), image).pred_instances
sure = found[found.scores >= 0.1]
masks = sure.masks.sum((1, 2)).tolist()
print(json.dumps([sure.scores.tolist(), sure.labels.tolist(), sure.bboxes.tolist(), masks]))
"""
    command = [sys.executable, '-c', script, folder / MINI, checkpoint, tmp_path / 'photo.png']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    scores, labels, boxes, masks = json.loads(done.stdout.splitlines()[-1])
    command = [
        sys.executable, 'tools/predict.py', MINI, checkpoint, tmp_path, '--out', tmp_path / 'found', '--score-thr', 0.1,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    objects = json.loads((tmp_path / 'found/photo.json').read_text())['objects']
    assert [item['score'] for item in objects] == pytest.approx(scores, abs=1e-5) and scores
    assert [item['label'] for item in objects] == labels
    assert [value for item in objects for value in item['bbox']] == pytest.approx(sum(boxes, []), abs=1e-2)
    assert [decode(item['mask']).sum() for item in objects] == masks
    with Image.open(tmp_path / 'found/photo.jpg') as picture, Image.open(tmp_path / 'photo.png') as photo:
        assert picture.size == photo.size
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(photo)).max() > 100
    fast = [*command, '--backend', 'onnxruntime', '--out', tmp_path / 'fast']
    done = subprocess.run(list(map(str, fast)), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    objects = json.loads((tmp_path / 'fast/photo.json').read_text())['objects']
    assert [item['score'] for item in objects] == pytest.approx(scores, abs=1e-4)


def test_the_missions_command(run_tool, checkout):
    """The config unchanged, on the drawn COCO at data/coco."""
    done = run_tool(
        'tools/train.py', MISSION, '--cfg-options', NO_WEIGHTS, 'train_dataloader.dataset.indices=2',
        'val_dataloader.dataset.indices=1', 'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1', *IN_PROCESS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(losses(done.stdout)) == 1
    checkpoint = 'work_dirs/mask_rcnn_fasternet_s_coco/epoch_1.pth'
    # one step teaches nothing: only without a score threshold is there anything to measure
    done = run_tool(
        'tools/test.py', MISSION, checkpoint, '--cfg-options', 'test_dataloader.dataset.indices=1',
        'model.test_cfg.rcnn.score_thr=0', *IN_PROCESS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert newest_metrics(checkout / 'work_dirs/mask_rcnn_fasternet_s_coco').keys() >= {
        'coco/bbox_mAP',
        'coco/segm_mAP',
    }
    assert 'FasterNet: loaded 188 tensors' in done.stdout and 'start fresh none' in done.stdout


def test_mmdets_own_tools_run_the_same_configs(run_tool):
    small = (
        'train_dataloader.dataset.indices=4',
        'test_dataloader.dataset.indices=2',
        'val_dataloader.dataset.indices=2',
    )
    done = run_tool(
        MMDET_TOOLS / 'train.py', MINI, '--cfg-options', *small, *IN_PROCESS, 'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1', 'default_hooks.logger.interval=1',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(losses(done.stdout)) == 1 and 'segm_mAP' in done.stdout
    checkpoint = f'work_dirs/{Path(MINI).stem}/epoch_1.pth'
    done = run_tool(MMDET_TOOLS / 'test.py', MINI, checkpoint, '--cfg-options', *small, *IN_PROCESS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'segm_mAP' in done.stdout


@pytest.mark.parametrize('command, message', [
    (('train.py', MISSION, '--cfg-options', NO_WEIGHTS, 'train_dataloader.dataset.data_root=data/gone/'),
     'error: train_dataloader: the folder data/gone does not exist'),
    (('train.py', MISSION, '--cfg-options', 'model.backbone.arch=xxl'), "error: FasterNet: unknown arch 'xxl'"),
    (('test.py', MISSION, 'epoch_99.pth'), 'error: checkpoint: epoch_99.pth does not exist'),
    (('train.py', 'configs/gone.py'), 'error: config configs/gone.py does not exist'),
])  # fmt: skip
def test_mistakes_are_one_line_and_exit_code_2(run_tool, command, message):
    done = run_tool(f'tools/{command[0]}', *command[1:])
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if 'error' in line.lower() or 'Traceback' in line]
    assert line.startswith(message)


def test_weights_of_another_variant_stop_the_training(run_tool, checkout):
    weights = checkout / 't1.pth'
    torch.save(make_timm('t1').state_dict(), weights)
    config = 'configs/mask_rcnn_fasternet_t0_coco.py'
    done = run_tool('tools/train.py', config, '--cfg-options', f'model.backbone.init_cfg.checkpoint={weights}')
    assert done.returncode == 2
    assert 'another FasterNet than this model: patch_embed.proj.weight is 64×3×4×4 in the file' in done.stderr
    assert 'Traceback' not in done.stderr


def draw_tiles(folder):
    """Eight tiles of DOTA's layout with a turned ship in each."""
    for name in ('images', 'annfiles'):
        (folder / name).mkdir(parents=True)
    for number in range(8):
        corners = [(20 + number, 30), (70, 50 + number), (60, 75), (12, 55)]
        picture = Image.new('RGB', (128, 128), (30, 80, 60))
        ImageDraw.Draw(picture).polygon(corners, fill=(220, 220, 210))
        picture.save(folder / 'images' / f'P{number:04}.png')
        line = ' '.join(f'{value:.1f}' for corner in corners for value in corner)
        (folder / 'annfiles' / f'P{number:04}.txt').write_text(f'{line} ship 0\n')


MMROTATE = """
_base_ = 'mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py'
custom_imports = dict(imports=['mmfasternet'])
model = dict(backbone=dict(_delete_=True, type='FasterNet'), neck=dict(in_channels=[40, 80, 160, 320]))
small = dict(data_root='data/dota/', ann_file='annfiles/', data_prefix=dict(img_path='images/'))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=small)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=small)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=2)  # its metric takes long, and the test has it too
for pipeline in (_base_.train_pipeline, _base_.val_pipeline):
    for step in pipeline:
        if 'Resize' in step['type']:
            step['scale'] = (128, 128)
small['pipeline'] = _base_.train_pipeline
val_dataloader['dataset'] = dict(small, pipeline=_base_.val_pipeline)
"""
MMPRETRAIN = """
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmfasternet'])
model = dict(
    backbone=dict(_delete_=True, type='FasterNet', out_indices=(3,), output_norm=False),
    head=dict(in_channels=320, num_classes=2, topk=(1,)),
)
images = dict(_delete_=True, type='CustomDataset', data_root='data/folders', pipeline=_base_.test_pipeline)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=images)
val_dataloader = dict(batch_size=4, num_workers=0, dataset=images)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.parametrize(
    'text, metric', [(MMROTATE, 'dota/mAP'), (MMPRETRAIN, 'accuracy/top1')], ids=['mmrotate', 'mmpretrain']
)
def test_the_other_toolboxes_configs_run_too(run_tool, checkout, mini_coco, text, metric):
    draw_tiles(checkout / 'data' / 'dota')
    for label, number in (('a', 1), ('b', 2)):
        (checkout / 'data/folders' / label).mkdir(parents=True)
        for index in range(4):
            source = mini_coco / 'train2017' / f'{10 * index + number:012}.jpg'
            (checkout / 'data/folders' / label / source.name).symlink_to(source)
    (checkout / 'own.py').write_text(text)
    done = run_tool('tools/train.py', 'own.py')
    assert done.returncode == 0, done.stderr[-2000:]
    done = run_tool('tools/test.py', 'own.py', 'work_dirs/own/epoch_1.pth')
    assert done.returncode == 0, done.stderr[-2000:]
    assert metric in newest_metrics(checkout / 'work_dirs/own')
