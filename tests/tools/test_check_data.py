"""tools/check_data.py as a user runs it."""

import json
import runpy
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from mmfasternet.datasets.dota.split import split_dota

pytestmark = pytest.mark.slow

TOOL = ROOT / 'tools/check_data.py'
COCO = ROOT / 'configs/mask_rcnn_fasternet_t0_mini_coco.py'


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the tool in this process; gives its exit code, output and errors."""

    def run(config, root, *arguments):
        options = [f'{split}_dataloader.dataset.data_root={root}/' for split in ('train', 'val', 'test')]
        command = [TOOL, config, '--out', tmp_path / 'out', *arguments]
        command += ['--cfg-options', *options] if root else []
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL), run_name='__main__')
        captured = capsys.readouterr()
        # the first imports of mmdet and mmpretrain print something, too
        printed = [line for line in captured.out.splitlines(True) if not line.startswith('Could not import OneDL')]
        return end.value.code, ''.join(printed), captured.err

    return run


def test_good_data(run, mini_coco, tmp_path):
    code, printed, _ = run(COCO, mini_coco)
    train, counted, val, _, last = printed.splitlines()
    assert code == 0
    assert train == f'train_dataloader: {mini_coco}/annotations/instances_train2017.json'
    assert counted.startswith('  200 images, ') and '; kept are 200 images, ' in counted
    # the test uses the same
    assert val == f'val_dataloader: {mini_coco}/annotations/instances_val2017.json'
    assert last == f'all findings: {tmp_path}/out/{COCO.stem}.json'
    assert not (tmp_path / f'out/{COCO.stem}.jpg').exists()


def test_damaged_data(run, own_data, tmp_path):
    path = own_data / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    for item in content['annotations'][:5]:
        item['bbox'] = [400, 10, 50, 50]
    content['annotations'][5]['iscrowd'] = 1
    path.write_text(json.dumps(content))
    (own_data / 'train2017/000000000007.jpg').unlink()
    code, printed, _ = run(COCO, own_data, '--splits', 'train')
    assert code == 1
    lines = printed.splitlines()
    assert lines[2:4] == [
        '  error           1  images that do not exist: training stops when it reads them',
        f'{"":21}000000000007.jpg: not in {own_data}/train2017',
    ]
    assert lines[4] == '  warning         5  boxes outside the image: dropped'
    first = content['annotations'][0]
    assert (
        lines[5].split()
        == (
            f'annotation {first["id"]} of 000000000001.jpg: {name_of(content, first)}, box [400, 10, 50, 50] of area '
            f'{first["area"]} in an image of {content["images"][0]["width"]}x{content["images"][0]["height"]}'
        ).split()
    )
    assert lines[8] == '  note            1  crowds: ignored, neither objects nor background'
    assert len(lines) == 11 and lines[10].endswith(f', pictures of some: {tmp_path}/out/{COCO.stem}.jpg')
    (report,) = json.loads((tmp_path / f'out/{COCO.stem}.json').read_text()).values()
    assert report['objects'] - report['kept_objects'] == 5 == report['findings']['outside']['count']
    told = [finding['annotation'] for finding in report['findings']['outside']['findings']]
    assert told == [item['id'] for item in content['annotations'][:5]]
    with Image.open(tmp_path / f'out/{COCO.stem}.jpg') as sheet:
        assert sheet.size == (1600, 688)
        red, green, blue = np.asarray(sheet)[44:344, 300:400].astype(int).transpose(2, 0, 1)
    # right of the first image is nothing but the box
    is_red = (red > 150) & (green < 80) & (blue < 80)
    assert 100 < is_red.sum() < 1000 and is_red.any(axis=0).nonzero()[0].min() > 30


def name_of(content, item):
    return next(category['name'] for category in content['categories'] if category['id'] == item['category_id'])


def test_warnings_alone_are_no_failure(run, own_data):
    path = own_data / 'annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['area'] = 0
    path.write_text(json.dumps(content))
    code, printed, _ = run(COCO, own_data, '--splits', 'val')
    assert code == 0 and 'warning         1  objects without area' in printed


def test_images_are_decoded_if_asked_for(run, own_data):
    path = own_data / 'val2017/000000000203.jpg'
    path.write_bytes(path.read_bytes()[:-1000])
    assert run(COCO, own_data)[0] == 0
    code, printed, _ = run(COCO, own_data, '--decode')
    assert code == 1 and '000000000203.jpg: image file is truncated' in printed


def test_images_are_decoded_with_the_backend_of_the_config(run, own_data, tmp_path):
    path = own_data / 'val2017/000000000203.jpg'
    with Image.open(path) as image:
        image.save(path, 'TGA')
    code, printed, _ = run(COCO, own_data, '--splits', 'val')
    assert code == 1 and '000000000203.jpg: cv2 cannot decode it; save it as JPEG or PNG' in printed
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{COCO}'\nval_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile', "
        "imdecode_backend='pillow')]))\n"
    )
    assert run(config, own_data, '--splits', 'val', '--decode')[0] == 0


def test_tiles_of_dota(run, mini_dota, tmp_path):
    split_dota(mini_dota, tmp_path / 'tiles', splits=['train', 'val'], size=384, overlap=160)
    config = ROOT / 'configs/oriented_rcnn_fasternet_t0_mini_dota.py'
    code, printed, _ = run(config, tmp_path / 'tiles')
    assert code == 0 and f'train_dataloader: {tmp_path}/tiles/train/annfiles\n' in printed
    label = min((tmp_path / 'tiles/val/annfiles').glob('*.txt'))
    label.write_text('60 20 70 20 70 40 60 40 shi 0\n' + label.read_text())
    code, printed, _ = run(config, tmp_path / 'tiles', '--splits', 'val')
    assert code == 1 and f"{label.name}:1: 'shi' is not among the 15 classes of the config" in printed


def test_tiles_of_the_test_split_have_no_labels(run, tmp_path, mini_dota):
    split_dota(mini_dota, tmp_path / 'tiles', splits=['val', 'test'], size=384, overlap=160)
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/oriented_rcnn_fasternet_t0_mini_dota.py'\n"
        "test_dataloader = dict(dataset=dict(ann_file='', data_prefix=dict(img_path='test/images/')))\n"
    )
    code, printed, _ = run(config, tmp_path / 'tiles', '--splits', 'test')
    number = len(list((tmp_path / 'tiles/test/images').iterdir()))
    assert code == 0 and printed.startswith(
        f'test_dataloader: {tmp_path}/tiles/test/images\n  {number} images, 0 objects'
    )


def test_class_folders_are_checked_as_at_the_start(run, mini_imagenet):
    config = ROOT / 'configs/fasternet_t0_mini_imagenet.py'
    code, printed, _ = run(config, mini_imagenet)
    assert code == 0
    assert printed.startswith(f'train_dataloader: {mini_imagenet}/train\n  1,200 images, 1,200 objects')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('nowhere.py', 'x'), 'config nowhere.py does not exist'),
        ((COCO, 'data/nowhere'), 'train_dataloader: the folder data/nowhere does not exist'),
    ],
)
def test_mistakes_are_one_line(run, arguments, message):
    code, printed, error = run(*arguments)
    assert code == 2 and printed == '' and error.startswith(f'error: {message}') and error.count('\n') == 1


def test_a_split_that_the_config_lacks(run, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{COCO}'\nval_dataloader = None\n")
    code, _, error = run(config, None, '--splits', 'val')
    assert code == 2 and error.startswith('error: --splits val: the config has no such data')


def test_a_report_that_cannot_be_written(run, tmp_path):
    """Checked before the data, which does not exist here."""
    (tmp_path / 'out').touch()
    code, printed, errors = run(COCO, tmp_path / 'nowhere')
    assert (code, printed) == (2, '')
    assert errors.startswith(
        f'error: --out {tmp_path}/out cannot be written: {tmp_path}/out exists and is not a folder'
    )
    assert len(errors.splitlines()) == 1
