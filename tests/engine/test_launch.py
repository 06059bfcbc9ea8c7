import argparse
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmfasternet.engine import launch, overrides
from mmfasternet.errors import ConfigError, DataError, DependencyError, run_tool

TEXT = """
default_scope = 'mmdet'
model = dict(type='MaskRCNN', backbone=dict(type='FasterNet'))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW'))
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(visualization=dict(type='DetVisualizationHook'))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs', meta_keys=('img_id',))]
inner = dict(type='X', pipeline=pipeline)
test_dataloader = dict(num_workers=2, dataset=dict(type='RepeatDataset', times=1, dataset=inner))
"""


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Run train or test with some options up to the runner, and return the config that it gets."""
    monkeypatch.setattr(launch, 'check', lambda cfg, mode: None)
    monkeypatch.setattr(launch, 'joined_processes', lambda cfg: nullcontext())
    configs = []
    evaluator = argparse.Namespace(metrics=[])
    runner = argparse.Namespace(train=lambda: None, test=lambda: {}, test_evaluator=evaluator)
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: configs.append(cfg) or runner)

    def run(mode, text=TEXT, **options):
        config = tmp_path / 'some_config.py'
        config.write_text(text)
        defaults = dict(
            config=str(config), checkpoint='epoch_1.pth', work_dir=None, amp=False, auto_scale_lr=False, resume=None,
            cfg_options=None, launcher='none', local_rank=0, out=None, show=False, show_dir=None, wait_time=2,
            tta=False, optimize=None, backend=None, all_ious=False, submission=None, overwrite=False,
        )  # fmt: skip
        getattr(launch, mode)(argparse.Namespace(**(defaults | options)))
        return configs[-1]

    return run


def test_defaults(configured):
    cfg = configured('train')
    assert cfg.work_dir == 'work_dirs/some_config'
    assert cfg.launcher == 'none'
    assert configured('test').load_from == 'epoch_1.pth'


def test_flags_of_train(configured, monkeypatch):
    monkeypatch.setattr(overrides, 'get_device', lambda: 'cuda')
    cfg = configured(
        'train',
        work_dir='here',
        amp=True,
        auto_scale_lr=True,
        launcher='pytorch',
        cfg_options={'model.backbone.arch': 's'},
    )
    assert cfg.work_dir == 'here'
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.auto_scale_lr.enable
    assert cfg.launcher == 'pytorch'
    assert cfg.model.backbone.arch == 's'


@pytest.mark.parametrize('has_bfloat16', [True, False])
def test_amp_without_a_gpu(configured, monkeypatch, has_bfloat16):
    monkeypatch.setattr(overrides, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(overrides, 'cpu_has_bfloat16', lambda: has_bfloat16)
    cfg = configured('train', amp=True)
    assert cfg.model.backbone.bf16 is has_bfloat16
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    with pytest.raises(ConfigError, match="without a GPU only FasterNet .* is 'ResNet'"):
        configured('train', TEXT.replace("'FasterNet'", "'ResNet'"), amp=True)


def test_resume(configured, tmp_path, monkeypatch):
    assert not configured('train', resume='auto', work_dir=str(tmp_path)).get('resume')  # nothing is there yet
    cfg = configured('train', resume='some/epoch_3.pth')
    assert cfg.resume is True and cfg.load_from == 'some/epoch_3.pth'
    torch.save({}, tmp_path / 'epoch_2.pth')
    cfg = configured('train', resume='auto', work_dir=str(tmp_path))
    assert cfg.resume is True and cfg.load_from == str(tmp_path / 'epoch_2.pth')
    # torch's elastic launcher starts the same command again
    assert not configured('train', work_dir=str(tmp_path)).get('resume')
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    cfg = configured('train', work_dir=str(tmp_path))
    assert cfg.resume is True and cfg.load_from == str(tmp_path / 'epoch_2.pth')
    cfg = configured('train', resume='some/epoch_3.pth', work_dir=str(tmp_path / 'empty'))
    assert cfg.load_from == 'some/epoch_3.pth'


@pytest.mark.parametrize('text, loop, left', [
    ('', 'ExactEpochLoop', {}),
    ('train_cfg = dict(by_epoch=True, max_epochs=3)', 'ExactEpochLoop', dict(max_epochs=3)),
    ('train_cfg = dict(by_epoch=False, max_iters=3)', 'ExactIterLoop', dict(max_iters=3)),
    ("train_cfg = dict(type='IterBasedTrainLoop', max_iters=3)", 'ExactIterLoop', dict(max_iters=3)),
    ("train_cfg = dict(type='Own', by_epoch=1)", 'Own', dict(by_epoch=1)),
])  # fmt: skip
def test_mmengines_own_loops_and_hooks_are_replaced(configured, text, loop, left):
    cfg = configured('train', TEXT + text)
    assert cfg.train_cfg == dict(left, type=loop)
    assert cfg.default_hooks.checkpoint == dict(type='DurableCheckpointHook')
    assert cfg.custom_hooks == [dict(type='NonFiniteHook')]


def test_what_a_config_says_of_hooks_stays(configured):
    text = (
        TEXT
        + """
custom_hooks = [dict(type='NonFiniteHook', max_skips=3), dict(type='EMAHook')]
default_hooks.update(checkpoint=dict(type='CheckpointHook', interval=2))
"""
    )
    cfg = configured('train', text)
    assert cfg.default_hooks.checkpoint == dict(type='DurableCheckpointHook', interval=2)
    assert cfg.custom_hooks == [dict(type='NonFiniteHook', max_skips=3), dict(type='EMAHook')]
    for own in ('None', "dict(type='Own')"):
        cfg = configured('train', text.replace("dict(type='CheckpointHook', interval=2)", own))
        assert cfg.default_hooks.checkpoint == (None if own == 'None' else dict(type='Own'))


def test_a_work_dir_that_cannot_be_written_to(configured, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: Path(cfg.work_dir).mkdir())
    with pytest.raises(DataError, match='file/work cannot be opened or written: Not a directory; free space'):
        configured('train', work_dir=str(tmp_path / 'file' / 'work'))


def test_pictures(configured):
    hook = configured('test', show=True, show_dir='pictures', wait_time=1).default_hooks.visualization
    assert (hook.draw, hook.show, hook.wait_time, hook.test_out_dir) == (True, True, 1, 'pictures')
    text = TEXT.replace("'mmdet'", "'mmpretrain'").replace('Det', '')
    (hook,) = configured('test', text, show_dir='pictures').custom_hooks
    assert hook == dict(type='ClassPictures', out_dir='pictures', show=False, wait_time=2)


def test_fast_inference_comes_after_the_hooks_of_the_config(configured):
    text = TEXT + "custom_hooks = [dict(type='EMAHook')]\n"
    ema, hook = configured('test', text, optimize='bf16').custom_hooks
    assert hook == dict(type='AccelerateHook', optimize='bf16', backend=None)
    ema, hook = configured('test', text, backend='openvino').custom_hooks
    assert hook == dict(type='AccelerateHook', optimize=None, backend='openvino')


def test_tta_tests_the_mirror_image_too(configured):
    cfg = configured('test', tta=True)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'MaskRCNN'
    load, tta = cfg.test_dataloader.dataset.dataset.pipeline
    flips, (pack,) = tta.transforms
    assert [flip.prob for flip in flips] == [1.0, 0.0]
    assert pack.meta_keys == ('img_id', 'flip', 'flip_direction')


def test_tta_of_the_config_comes_first(configured):
    text = TEXT + "tta_model = dict(type='Mine')\ntta_pipeline = [dict(type='Steps')]\n"
    cfg = configured('test', text, tta=True)
    assert cfg.model.type == 'Mine'
    assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type='Steps')]


DOTA = """
default_scope = 'mmrotate'
model = dict(type='X')
pipeline = [dict(type=f'mmdet.{name}') for name in ('LoadImageFromFile', 'Resize', 'LoadAnnotations')]
pipeline += [dict(type='ConvertBoxType'), dict(type='mmdet.PackDetInputs')]
dataset = dict(type='DOTADataset', data_root='data/x/', ann_file='val/annfiles/', pipeline=pipeline)
test_dataloader = dict(dataset=dict(type='RepeatDataset', times=1, dataset=dataset))
test_evaluator = [dict(type='DOTAMetric'), dict(type='WholeImageDOTAMetric'), dict(type='Other')]
"""


def test_all_ious(configured):
    first, second, other = configured('test', DOTA, all_ious=True).test_evaluator
    assert first.iou_thrs == second.iou_thrs == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert 'iou_thrs' not in other
    text = DOTA + "test_evaluator = dict(type='Other')\n"
    with pytest.raises(ConfigError, match='the config has none'):
        configured('test', text, all_ious=True)


def test_submission(configured):
    cfg = configured('test', DOTA, submission='a/Task1.zip')
    dataset = cfg.test_dataloader.dataset.dataset
    assert (dataset.data_root, dataset.ann_file) == ('data/x/', '')
    assert dataset.data_prefix == dict(img_path='test/images/')
    types = [step.type for step in dataset.pipeline]
    assert types == ['mmdet.LoadImageFromFile', 'mmdet.Resize', 'mmdet.PackDetInputs']
    assert cfg.test_evaluator == dict(type='DOTASubmission', out='a/Task1.zip')


@pytest.mark.parametrize('answer, is_replaced', [('y', True), ('', False), (None, False)])
def test_a_submission_that_is_there_is_replaced_only_if_wanted(configured, tmp_path, monkeypatch, answer, is_replaced):
    out = tmp_path / 'Task1.zip'
    out.touch()
    monkeypatch.setattr('sys.stdin.isatty', lambda: answer is not None, raising=False)
    monkeypatch.setattr('builtins.input', lambda question: answer)
    assert configured('test', DOTA, submission=str(out), overwrite=True).test_evaluator.out == str(out)
    if is_replaced:
        assert configured('test', DOTA, submission=str(out)).test_evaluator.out == str(out)
    else:
        with pytest.raises(ConfigError, match='already exists; .* --overwrite'):
            configured('test', DOTA, submission=str(out))


def test_mmpretrain_gets_what_its_own_tools_add(configured):
    loader = configured('test', TEXT.replace("'mmdet'", "'mmpretrain'")).test_dataloader
    assert loader.pin_memory and loader.persistent_workers and loader.collate_fn.type == 'default_collate'
    assert 'collate_fn' not in configured('test').test_dataloader


@pytest.mark.parametrize('mode, text, options, message', [
    ('train', TEXT, dict(config='nowhere.py'), r'config nowhere.py does not exist \(looked in /'),
    ('train', 'model = dict(', {}, 'cannot be read: '),
    ('train', "_base_ = './nowhere.py'", {}, 'inherits from a file that does not exist'),
    ('train', TEXT.replace("'OptimWrapper'", "'Other'"), dict(amp=True), "optim_wrapper.type is 'Other'"),
    ('train', TEXT.replace('auto_scale_lr', 'other'), dict(auto_scale_lr=True), r'-lr: .* dict\(base_batch_size'),
    ('train', TEXT, dict(cfg_options={'custom_hooks.0.type': 'EMAHook'}), 'custom_hooks is .* list of dicts'),
    ('test', DOTA, dict(submission='Task1.txt'), 'name a .zip file'),
    ('test', TEXT, dict(submission='Task1.zip'), 'is for DOTA, but the config tests on a X'),
    ('test', TEXT, dict(optimize='bf16', backend='openvino'), '--optimize and --backend openvino exclude each other'),
    ('test', TEXT, dict(out='results.json'), '--out results.json: .* name a .pkl file'),
    ('test', TEXT.replace('visualization', 'other'), dict(show=True), 'need a visualization hook'),
    ('test', TEXT, dict(tta=True, cfg_options={'model.roi_head.mask_head.type': 'X'}), 'mmdet merges boxes, not masks'),
    ('test', TEXT.replace("'mmdet'", "'mmrotate'"), dict(tta=True), 'no tta_model, .* no default for mmrotate'),
])  # fmt: skip
def test_bad_input_is_one_clear_line(configured, monkeypatch, mode, text, options, message):
    monkeypatch.setattr(overrides, 'get_device', lambda: 'cuda')
    with pytest.raises(ConfigError, match=message):
        configured(mode, text, **options)


def test_a_missing_library_is_named(configured):
    with pytest.raises(DependencyError, match='mmyolo is not installed.*make setup'):
        configured('train', "_base_ = 'mmyolo::yolov5/yolov5_s.py'")


def test_run_tool_prints_one_line_and_exits_with_2(capsys):
    def tool():
        raise ConfigError('this is wrong')

    with pytest.raises(SystemExit) as caught:
        run_tool(tool)
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: this is wrong\n'
    with pytest.raises(SystemExit) as caught:
        run_tool(lambda: None)
    assert caught.value.code == 0


def test_run_tool_is_quiet_about_ctrl_c(capsys):
    def tool():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_tool(tool)
    assert caught.value.code == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 / 0)


def test_config_of_another_toolbox_without_a_scope(configured):
    assert isinstance(configured('train', TEXT.replace("default_scope = 'mmdet'", '')), Config)
