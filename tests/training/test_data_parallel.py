"""Two processes without a GPU compute what one does with both halves of the batch."""

import os
import subprocess
import sys

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import mmfasternet  # noqa: F401
from mmfasternet.training.data_parallel import CPUDataParallel, SyncBatchNorm

pytestmark = pytest.mark.slow

HALVES = (3, 5)


def make_model(norm):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='FasterNet', arch='t0', norm_cfg=dict(type=norm)),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=320),
        )
    )
    return model.double().train()


def make_batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 64, 64, generator=generator, dtype=torch.float64)
    return images, [DataSample().set_gt_label(n % 4) for n in range(8)]


def work(out):
    """What each of the two processes does."""
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    model = CPUDataParallel(make_model('SyncBN'), device_ids=[0], find_unused_parameters=True)
    images, samples = make_batch()
    half = slice(0, HALVES[0]) if rank == 0 else slice(HALVES[0], None)
    # DDP takes the mean over processes; weighted by size it is that over images
    loss = model(images[half], samples[half], mode='loss')['loss'] * HALVES[rank] / 4
    loss.backward()
    plain = model.module
    torch.save(
        dict(
            gradients={name: p.grad for name, p in plain.named_parameters() if p.grad is not None},
            buffers=dict(plain.named_buffers()),
            layers={type(part).__name__ for part in plain.modules() if 'BatchNorm' in type(part).__name__},
            wrapped=isinstance(model, DistributedDataParallel),
        ),
        f'{out}/{rank}.pth',
    )
    torch.distributed.destroy_process_group()


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    model = make_model('BN')
    images, samples = make_batch()
    model(images, samples, mode='loss')['loss'].backward()
    for rank in range(2):
        found = torch.load(tmp_path / f'{rank}.pth')
        assert found['layers'] == {'SyncBatchNorm'} and found['wrapped']
        expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert found['gradients'].keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found['gradients'][name], gradient, rtol=1e-9, atol=1e-12)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(found['buffers'][name], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('momentum', [0.1, None])
def test_alone_it_is_a_batch_norm(momentum, tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/join', rank=0, world_size=1)
    try:
        norm, sync = nn.BatchNorm2d(5, momentum=momentum), SyncBatchNorm(5, momentum=momentum)
        for _ in range(3):
            x = torch.randn(4, 5, 6, 7) * 3 + 2
            torch.testing.assert_close(sync(x), norm(x), rtol=1e-5, atol=1e-5)
        for name, value in norm.state_dict().items():
            torch.testing.assert_close(sync.state_dict()[name], value)
        x = torch.randn(4, 5, 6, 7)
        torch.testing.assert_close(sync.eval()(x), norm.eval()(x))
        assert sync.train()(x.bfloat16()).dtype == torch.bfloat16
    finally:
        torch.distributed.destroy_process_group()


if __name__ == '__main__':
    work(sys.argv[1])
