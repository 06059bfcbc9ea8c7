"""The backbone's switches in a detector's training, by MMEngine's runner."""

import pytest
import torch
from conftest import ROOT
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from mmfasternet.engine.config import read_config

pytestmark = pytest.mark.slow


@pytest.fixture
def train(checkout, monkeypatch):
    """Train the drawn COCO's Mask R-CNN for an epoch of 3 steps, or go on with a second, and return the runner."""
    monkeypatch.chdir(checkout)

    def run(epochs=1, **switches):
        cfg = read_config(str(ROOT / 'configs/mask_rcnn_fasternet_t0_mini_coco.py'))
        cfg.work_dir, cfg.resume = 'work', epochs > 1
        cfg.model.backbone.update(arch=dict(embed_dims=16, depths=(1, 1)), out_indices=(0, 1), **switches)
        cfg.merge_from_dict(
            {
                'model.neck.in_channels': [16, 32],
                'train_dataloader': dict(batch_size=2, num_workers=0, persistent_workers=False),
                'train_dataloader.dataset.indices': 6,
                'train_cfg.max_epochs': epochs,
                'optim_wrapper.accumulative_counts': 2,
                'default_hooks.logger.interval': 1,
                'custom_hooks': [dict(type='EMAHook')],
                'log_level': 'ERROR',
            }
        )
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
        cfg.experiment_name = f'{epochs}_{"_".join(switches)}'
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run


@pytest.mark.parametrize('switch', ['channels_last', 'bf16', 'with_cp', 'compile'])
def test_a_detector_trains_and_resumes_without_the_switch(train, switch):
    runner = train(**{switch: True})
    losses = [value for value, _ in zip(runner.message_hub.get_scalar('train/loss').data[0], range(3))]
    assert len(losses) == 3 and all(0 < loss < 20 for loss in losses)
    resumed = train(epochs=2)
    assert resumed.iter == 6
    averaged = next(hook for hook in resumed.hooks if isinstance(hook, EMAHook)).ema_model.module.backbone
    for (name, value), mean in zip(resumed.model.backbone.named_parameters(), averaged.parameters(), strict=True):
        assert value.dtype == torch.float32 and value.isfinite().all() and mean.isfinite().all(), name
        assert not torch.equal(value, dict(runner.model.backbone.named_parameters())[name]), name


def test_bf16_and_channels_last_lose_like_neither(train):
    plain, switched = train(), train(bf16=True, channels_last=True)
    losses = [runner.message_hub.get_scalar('train/loss').data[0][0] for runner in (plain, switched)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
