"""Evaluators read the ground truth of the images that are predicted."""

import json
import shutil

import pytest
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfasternet.engine.evaluators import check_evaluators, metrics_of, scored_by
from mmfasternet.errors import ConfigError, DataError


@pytest.fixture
def files(mini_coco):
    init_default_scope('mmdet')
    return {split: mini_coco / 'annotations' / f'instances_{split}2017.json' for split in ('train', 'val')}


@pytest.mark.parametrize(
    'evaluator',
    [
        dict(type='CocoMetric', ann_file='a.json', metric=['bbox', 'segm']),
        dict(type=CocoMetric, ann_file='a.json', metric=['bbox', 'segm']),
        dict(type='mmdet.CocoMetric', ann_file='a.json', metric=('bbox', 'segm')),
        [dict(type='CocoMetric', ann_file='a.json', metric='bbox'), dict(type='CocoMetric', metric='segm')],
        dict(type='Evaluator', metrics=[dict(type='CocoMetric', ann_file='a.json', metric=['bbox', 'segm'])]),
        dict(metrics=dict(type='CocoMetric', ann_file='a.json', metric=['bbox', 'segm'])),
    ],
)
def test_evaluators_of_every_form(evaluator):
    init_default_scope('mmdet')
    assert scored_by(Config(dict(val_evaluator=evaluator)), 'val') == {'bbox', 'segm'}
    assert metrics_of(Config(dict()), 'test') == []


def test_what_is_written_alone_is_not_scored():
    init_default_scope('mmdet')
    cfg = Config(dict(test_evaluator=dict(type='CocoMetric', format_only=True, metric='segm')))
    assert scored_by(cfg, 'test') == frozenset()


@pytest.mark.parametrize('split', ['val', 'test'])
@pytest.mark.parametrize('kind', ['CocoMetric', 'LVISMetric', 'CocoPanopticMetric', 'CrowdHumanMetric'])
def test_a_missing_file(kind, split, files):
    cfg = Config({f'{split}_evaluator': [dict(type='DumpDetResults'), dict(type=kind, ann_file='data/none.json')]})
    with pytest.raises(
        DataError, match=f'{split}_evaluator: ann_file data/none.json of {kind} does not exist .*val2017'
    ):
        check_evaluators(cfg, split, [files['val']])


def test_the_file_of_another_split(files):
    cfg = Config(dict(val_evaluator=dict(type='CocoMetric', ann_file=str(files['train']))))
    with pytest.raises(
        ConfigError, match=r'ann_file .*train2017.json does not list the images of the data set.*val2017'
    ):
        check_evaluators(cfg, 'val', [files['val']])
    check_evaluators(cfg, 'val', [files['train']])


@pytest.mark.parametrize('kind', ['LVISMetric', 'CocoPanopticMetric', 'CocoOccludedSeparatedMetric'])
def test_the_file_of_another_split_in_other_evaluators(kind, files):
    evaluator = [dict(type='DumpDetResults'), dict(type=kind, ann_file=str(files['train']))]
    with pytest.raises(ConfigError, match='test_evaluator: ann_file .*train2017.json does not list the images'):
        check_evaluators(Config(dict(test_evaluator=evaluator)), 'test', [files['val']])


def test_files_of_other_formats(files, tmp_path):
    other = tmp_path / 'questions.json'
    other.write_text('{"questions": []}')
    check_evaluators(Config(dict(val_evaluator=dict(type='VQAAcc', ann_file=str(other)))), 'val', [files['val']])
    check_evaluators(Config(dict(val_evaluator=dict(type='X', ann_file=str(files['val'])))), 'val', [other])


def test_a_copy_will_do(files, tmp_path):
    copy = shutil.copy(files['val'], tmp_path / 'copy.json')
    cfg = Config(dict(val_evaluator=dict(type='CocoMetric', ann_file=str(copy))))
    check_evaluators(cfg, 'val', [files['val']])
    content = json.loads(copy.read_text())
    content['images'].pop()
    copy.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match='1 images of the data set are not in it'):
        check_evaluators(cfg, 'val', [files['val']])


def test_places_that_are_not_local(files):
    remote = dict(type='CocoMetric', ann_file='s3://bucket/val.json')
    stored = dict(type='CocoMetric', ann_file='val.json', backend_args=dict(backend='petrel'))
    check_evaluators(Config(dict(val_evaluator=[remote, stored])), 'val', [files['val']])
