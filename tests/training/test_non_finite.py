"""NaN and infinity stop a run, or cost a step, before they reach the weights."""

import logging

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

from mmfasternet.errors import DivergenceError
from mmfasternet.training import non_finite

pytestmark = pytest.mark.slow


class Samples(Dataset):
    """Eight samples; those named in ``bad`` make the loss, or the gradient alone, infinite."""

    bad: dict = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        sample = BaseDataElement(metainfo=dict(img_path=f'images/{index}.jpg', img_id=100 + index))
        return dict(x=torch.full((3,), index / 8), data_samples=sample)


class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, x, data_samples, mode):
        x = torch.stack(x)
        for row, sample in zip(x, data_samples):
            if Samples.bad.get(sample.img_id - 100) == 'loss':
                row[0] = float('nan')
        loss = self.layer(self.norm(x)).square().mean()
        if any(Samples.bad.get(sample.img_id - 100) == 'gradient' for sample in data_samples):
            # finite, but its derivative at 0 is not
            loss = loss + (self.layer.weight * 0).abs().sum().sqrt()
        return dict(loss_a=loss, loss_b=loss.detach() * 0 + 1.5)


def make_runner(work_dir, bad, epochs=1, clip_grad=dict(max_norm=10), accumulate=1, **hook):
    Samples.bad = bad
    torch.manual_seed(0)
    return Runner(
        model=Tiny(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type=Samples), sampler=dict(type='DefaultSampler', shuffle=False), batch_size=2
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1), clip_grad=clip_grad, accumulative_counts=accumulate
        ),
        default_hooks=dict(checkpoint=None, logger=None),
        custom_hooks=[dict(type='NonFiniteHook', **hook)],
        experiment_name=work_dir.name,
        log_level='ERROR',
        randomness=dict(seed=0),
    )


def state(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.mark.parametrize('kind', ['loss', 'gradient'])
def test_a_run_stops_before_the_weights_are_touched(kind, tmp_path):
    runner = make_runner(tmp_path / 'a', {4: kind}, clip_grad=None)
    with pytest.raises(DivergenceError) as error:
        runner.train()
    expected = (
        'step 3: the loss is not finite: loss nan, loss_a nan'
        if kind == 'loss'
        else 'step 3: gradients are not finite: layer.weight'
    )
    text = str(error.value)
    assert text.startswith(expected)
    assert 'images of the batch: images/4.jpg (id 104), images/5.jpg (id 105); no step was taken' in text
    assert "custom_hooks=[dict(type='NonFiniteHook', max_skips=10)]" in text
    assert '\n' not in text
    weights = {name: value for name, value in state(runner).items() if 'running' not in name}
    good = make_runner(tmp_path / 'b', {}, clip_grad=None)
    seen = []
    good.register_hook(_Remember(seen))
    good.train()
    for name, value in weights.items():
        if name != 'norm.num_batches_tracked':
            assert torch.equal(value, seen[2][name]), name


def _Remember(seen):
    from mmengine.hooks import Hook

    class Remember(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append(state(runner))

    return Remember()


@pytest.mark.parametrize('kind', ['loss', 'gradient'])
def test_a_step_is_left_out_as_if_it_had_not_been(kind, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(non_finite, 'print_log', lambda text, logger, level: told.append((text, level)))
    runner = make_runner(tmp_path / 'a', {2: kind}, max_skips=1)
    seen = []
    runner.register_hook(_Remember(seen))
    runner.train()
    ((text, level),) = told
    assert text.startswith('step 2: ') and text.endswith('skipped (1 of at most 1)') and level == logging.WARNING
    for name, value in seen[1].items():
        assert torch.equal(value, seen[2][name]), name
    assert not torch.equal(seen[3]['layer.weight'], seen[2]['layer.weight'])
    assert all(value.isfinite().all() for value in state(runner).values())
    assert runner.message_hub.get_info('skipped_steps') == 1
    # neither does the optimizer remember it
    assert runner.optim_wrapper.optimizer.state_dict()['state'][0]['step'] == 3


def test_what_is_still_to_be_accumulated_is_left_out(tmp_path):
    with pytest.raises(DivergenceError, match='^step 1: the loss is not finite'):
        make_runner(tmp_path / 'a', {0: 'loss'}, accumulate=2).train()
    runner = make_runner(tmp_path / 'b', {0: 'loss'}, accumulate=2, max_skips=1)
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 1
    assert runner.optim_wrapper.optimizer.state_dict()['state'][0]['step'] == 2


def test_no_more_are_left_out_than_allowed(tmp_path):
    runner = make_runner(tmp_path, {0: 'loss', 3: 'gradient', 6: 'loss'}, max_skips=2)
    with pytest.raises(DivergenceError, match=r'^step 4: .*; 2 such steps were skipped before\. .*max_skips=12'):
        runner.train()


def test_a_healthy_run_is_the_same_with_and_without(tmp_path):
    plain = make_runner(tmp_path / 'a', {}, epochs=2)
    plain._hooks = [hook for hook in plain.hooks if type(hook).__name__ != 'NonFiniteHook']
    watched = make_runner(tmp_path / 'b', {}, epochs=2, max_skips=3)
    plain.train(), watched.train()
    for name, value in state(plain).items():
        assert torch.equal(value, state(watched)[name]), name


def test_a_detector_stops_with_its_losses_and_images(run_tool, checkout):
    done = run_tool(
        'tools/train.py', 'configs/mask_rcnn_fasternet_t0_mini_coco.py', '--cfg-options',
        'optim_wrapper.optimizer.lr=1e30', 'param_scheduler=[]', 'optim_wrapper.clip_grad=None',
        'train_dataloader.batch_size=2',
    )  # fmt: skip
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith('error: step ') and 'loss_cls' in line and 'train2017/' in line and '(id ' in line
