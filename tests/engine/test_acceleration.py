"""When the model of a test is made fast."""

from argparse import ArgumentParser, Namespace

import pytest
import torch
from conftest import randomize_
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmfasternet import FasterNet
from mmfasternet.deploy import ExportedNetwork
from mmfasternet.engine.acceleration import add_flags, check_flags
from mmfasternet.engine.hooks import AccelerateHook
from mmfasternet.errors import ConfigError


class Model(BaseModel):
    """A backbone, whose features are the predictions."""

    def __init__(self):
        super().__init__()
        self.backbone = randomize_(FasterNet(dict(embed_dims=16, depths=(1, 1)), out_indices=(1,)))

    def forward(self, inputs, mode='predict'):
        return [dict(features=self.backbone(inputs)[0])]


class Keep(BaseMetric):
    """Keeps what the model found."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        self.found = results[0]['features']
        return {}


class OtherAverage(Hook):
    """Gives the averaged model weights of its own, as training would have."""

    def before_test(self, runner):
        (ema,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        self.averaged = Model().eval()
        self.averaged.load_state_dict(runner.model.state_dict())
        # the hook averages parameters, not statistics
        for mine, parameter in zip(self.averaged.parameters(), ema.ema_model.module.parameters(), strict=True):
            parameter.data.add_(torch.randn(parameter.shape), alpha=0.1)
            mine.data.copy_(parameter)


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_averaged_weights_are_in_the_fast_model(tmp_path, backend):
    torch.manual_seed(0)
    average, metric, images = OtherAverage(), Keep(), torch.randn(3, 64, 48)
    runner = Runner(
        Model(),
        str(tmp_path),
        test_dataloader=DataLoader([dict(inputs=images)], batch_size=1),
        test_cfg=dict(),
        test_evaluator=metric,
        # given first, so that only its priority lets it come last
        custom_hooks=[dict(type='AccelerateHook', backend=backend), EMAHook(), average],
    )
    runner.test()
    assert isinstance(runner.model.backbone, ExportedNetwork)
    with torch.no_grad():
        expected = average.averaged.backbone(images[None])[0]
    assert expected.std() > 1e-2, 'nothing to compare'
    assert (metric.found - expected).norm() < 1e-4 * expected.norm()


def test_flags():
    parser = ArgumentParser()
    add_flags(parser)
    for line, expected in (
        ([], (None, None)),
        (['--optimize'], ('float32', None)),
        (['--optimize', 'bf16'], ('bf16', None)),
        (['--backend', 'openvino-bf16'], (None, 'openvino-bf16')),
    ):
        args = parser.parse_args(line)
        check_flags(args)
        assert (args.optimize, args.backend) == expected
        AccelerateHook(args.optimize, args.backend)
    with pytest.raises(ConfigError, match='--optimize and --backend openvino exclude each other; choose one'):
        check_flags(Namespace(optimize='bf16', backend='openvino'))
