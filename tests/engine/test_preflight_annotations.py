"""What a start says of the entries of COCO's annotations: errors stop it, the rest is one line of the log."""

import json
import logging

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmfasternet.datasets.data_files import resolve_all
from mmfasternet.engine.preflight import check_datasets
from mmfasternet.errors import DataError


@pytest.fixture
def start(own_data, caplog):
    """Change the annotations, check them as a start does, and give what is logged."""
    path = own_data / 'annotations/instances_train2017.json'
    dataset = dict(
        type='CocoDataset',
        data_root=str(own_data),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[dict(type='LoadAnnotations', with_mask=True)],
    )

    def start(damage, **options):
        content = json.loads(path.read_text())
        damage(content['annotations'])
        path.write_text(json.dumps(content))
        init_default_scope('mmdet')
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        try:
            check_datasets(resolve_all(Config(dict(d={**dataset, **options})).d, 'train_dataloader'))
        finally:
            logger.removeHandler(caplog.handler)
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    return start


def set_all(number, **values):
    def damage(annotations):
        for item in annotations[:number]:
            item.update(values)

    return damage


def test_good_annotations_are_passed_in_silence(start):
    assert start(set_all(0)) == []


def test_what_is_left_out_on_purpose_is_passed_in_silence(start):
    assert start(set_all(3, iscrowd=1)) == []


def test_what_is_dropped_in_silence_is_one_line(start):
    def damage(annotations):
        set_all(5, bbox=[1000, 10, 20, 20])(annotations)
        annotations[7]['area'] = 0

    (line,) = start(damage)
    assert line.startswith('train_dataloader: ') and '\n' not in line
    assert line.endswith(
        'instances_train2017.json: objects without area, or less than one pixel wide or high (1): dropped; boxes '
        'outside the image (5): dropped. `python tools/check_data.py CONFIG` lists them'
    )


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(id=1), r'annotations with the id of another annotation \(3\), training stops: annotation 1 of '),
        (dict(category_id=12), r'annotations of unknown categories \(4\), dropped; treated as background: '),
        (dict(bbox=[1, 2]), r'malformed entries \(4\), training stops: annotations\[0\] has the bbox \[1, 2\], '),
        (dict(segmentation=[]), r'objects without a readable mask \(4\), training stops: '),
    ],
)
def test_errors_stop_the_start(start, values, message):
    with pytest.raises(DataError, match=f'^train_dataloader: .*train2017.json: .*{message}.* lists all$'):
        start(set_all(4, **values))


def test_masks_are_needed_only_where_they_are_learned(start):
    assert start(set_all(4, segmentation=[]), pipeline=[dict(type='LoadAnnotations')]) == []


def test_relatives_of_coco_with_another_format_are_left_to_themselves(start):
    assert start(set_all(4, bbox='none'), type='CocoPanopticDataset') == []
