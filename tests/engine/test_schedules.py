"""Schedules that do not end with the training."""

import re

import pytest
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR

from mmfasternet.engine import schedules
from mmfasternet.engine.schedules import check_schedules

STEPS = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
COSINE = [
    dict(type='LinearLR', start_factor=0.01, end=20, convert_to_iter_based=True),
    dict(type=CosineAnnealingLR, T_max=280, begin=20, end=300),
]
YOLOX = [
    dict(type='mmdet.QuadraticWarmupLR', by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, T_max=285, end=285, by_epoch=True),
    dict(type='ConstantLR', by_epoch=True, factor=1, begin=285, end=300),
]
#: train_cfg, param_scheduler, and the line: none where they match.
CASES = {
    'steps': (dict(max_epochs=12), STEPS, None),
    'more epochs': (
        dict(max_epochs=24), STEPS,
        'param_scheduler.1 (MultiStepLR) ends at epoch 12: from epoch 13 to 24 the last value stays, as training ends '
        'at epoch 24 (train_cfg.max_epochs). To have both end together: --cfg-options '
        'param_scheduler.1.milestones=[16,22] param_scheduler.1.end=24',
    ),
    'fewer epochs': (dict(max_epochs=6), STEPS, r'ends at epoch 12: its values after epoch 6 .*milestones=\[4,5\] '),
    'cosine': (dict(type='EpochBasedTrainLoop', max_epochs=300), COSINE, None),
    'cosine, longer': (dict(type='mmengine.EpochBasedTrainLoop', max_epochs=400), COSINE, 'T_max=380 .*end=400'),
    'cosine without end': (dict(max_epochs=30), [dict(type='CosineAnnealingLR')], None),
    'cosine that would rise again': (
        dict(max_epochs=30), [dict(type='CosineAnnealingLR', T_max=20)], 'param_scheduler.0.T_max=30$',
    ),
    'one scheduler': (dict(max_epochs=30), dict(type='CosineAnnealingLR', end=12), 'param_scheduler.end=30$'),
    'two optimizers': (
        dict(max_epochs=30), dict(a=[dict(type='CosineAnnealingLR', end=12)], b=dict(type='PolyLR')),
        'param_scheduler.a.0.end=30$',
    ),
    'milestones alone': (
        dict(max_epochs=60), [dict(type='MultiStepLR', milestones=[30, 60, 90])], r'not reached: \[60, 90\]',
    ),
    'constant after a warm-up': (dict(max_epochs=30), [dict(type='LinearLR', start_factor=0.1, end=5)], None),
    'linear to zero': (
        dict(max_epochs=30), [dict(type='LinearLR', start_factor=1, end_factor=0, end=5)], 'param_scheduler.0.end=30$',
    ),
    'constant': (dict(max_epochs=30), None, None),
    'steps of iterations': (
        dict(by_epoch=False, type='IterBasedTrainLoop', max_iters=9000),
        [dict(type='MultiStepLR', by_epoch=False, end=6000, milestones=[4000, 5000])],
        r'ends at step 6000.*milestones=\[6000,7500\]',
    ),
    'warm-up of the wrong unit': (dict(max_epochs=12), [STEPS[0]], None),
    'momentum': (
        dict(max_epochs=12), [dict(type='CosineAnnealingMomentum', end=6, eta_min=0.5)], 'param_scheduler.0.end=12$',
    ),
}  # fmt: skip


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(schedules, 'print_log', lambda text, **_: lines.append(text))
    return lines


@pytest.mark.parametrize('case', CASES)
def test_a_line_for_each_schedule_that_does_not_match(case, told):
    loop, schedulers, expected = CASES[case]
    loop = dict(type='ExactEpochLoop') | loop
    check_schedules(Config(dict(train_cfg=loop, param_scheduler=schedulers)))
    assert bool(told) == (expected is not None)
    if expected:
        assert told == [expected] or re.search(expected, told[0]), told


@pytest.mark.parametrize('case', [case for case in CASES if CASES[case][2]])
def test_the_options_of_the_line_make_them_match(case, told):
    loop, schedulers, _ = CASES[case]
    cfg = Config(dict(train_cfg=dict(type='ExactEpochLoop') | loop, param_scheduler=schedulers))
    check_schedules(cfg)
    (line,) = told
    options = dict(option.split('=') for option in line.partition('--cfg-options ')[2].split())
    cfg.merge_from_dict(
        {name: eval(value) for name, value in options.items()}
    )  # numbers and lists, as DictAction reads
    check_schedules(cfg)
    assert told == [line]


def test_yolox_has_a_constant_end(told):
    loop = dict(type='ExactEpochLoop', max_epochs=300)
    check_schedules(Config(dict(train_cfg=loop, param_scheduler=YOLOX)))
    assert told == []
