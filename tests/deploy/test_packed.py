"""Packed layers against torch's own."""

import copy
import gc

import pytest
import torch
from conftest import randomize_
from mmcv.cnn import ConvModule, build_upsample_layer
from mmcv.ops import DeformConv2dPack
from torch import nn

from mmfasternet.deploy.packed import PackedBlock, PackedConv2d, PackedLinear, can_pack, pack
from mmfasternet.models.fasternet import FasterNetBlock

#: oneDNN has no operators in bfloat16 for a CPU without AVX-512, on which `optimize` computes in float32 instead.
DTYPES = [(torch.float32, 1e-6), *[(torch.bfloat16, 1e-2)] * torch.ops.mkldnn._is_mkldnn_bf16_supported()]


def relative_error(found, expected):
    return ((found.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(('dtype', 'limit'), DTYPES)
@pytest.mark.parametrize(
    'conv',
    [
        nn.Conv2d(6, 8, 3, padding=1),
        nn.Conv2d(6, 8, 2, stride=2, bias=False),
        nn.Conv2d(6, 8, 3, dilation=2, groups=2),
        nn.ConvTranspose2d(6, 8, 2, stride=2),
        nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1),
    ],
    ids=str,
)
@torch.no_grad()
def test_convolutions_of_any_shape_one_after_the_other(conv, dtype, limit):
    torch.manual_seed(0)
    packed = PackedConv2d(conv, dtype)
    for shape in ((1, 6, 16, 16), (3, 6, 7, 21), (1, 6, 40, 8), (1, 6, 16, 16)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape).contiguous(memory_format=memory_format)
            found = packed(x)
            assert found.dtype == dtype
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert relative_error(found, conv(x)) < limit


@torch.no_grad()
def test_many_shapes_take_no_more_memory_than_a_few():
    packed = PackedConv2d(nn.Conv2d(4, 4, 3, padding=1), torch.float32)
    for side in range(8, 40):
        packed(torch.randn(1, 4, side, side))
    gc.collect()
    assert len(packed._by_shape) == 8
    assert len(packed._by_layout) <= 8


@pytest.mark.parametrize(('dtype', 'limit'), DTYPES)
@pytest.mark.parametrize('activation', [None, nn.ReLU(), nn.GELU()])
@torch.no_grad()
def test_linear_layers_of_any_batch(activation, dtype, limit):
    torch.manual_seed(0)
    linear = nn.Linear(12, 70)
    packed = PackedLinear(linear.weight, linear.bias, dtype, activation)
    for shape in ((1, 12), (50, 12), (2, 3, 4, 12)):
        x = torch.randn(shape)
        expected = linear(x) if activation is None else activation(linear(x))
        assert relative_error(packed(x), expected) < limit


@pytest.mark.parametrize('settings', [dict(), dict(partial_ratio=1.0), dict(layer_scale_init_value=0.5)])
@torch.no_grad()
def test_a_block_leaves_its_shortcut_as_it_was(settings):
    arguments = dict(partial_ratio=0.25, mlp_ratio=2, drop_path_rate=0.0, layer_scale_init_value=0)
    block = FasterNetBlock(16, **(arguments | settings), norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU')).eval()
    block.mlp[1] = nn.Identity()
    x = torch.randn(2, 16, 9, 5).contiguous(memory_format=torch.channels_last)
    expected = block(x)
    packed = pack(copy.deepcopy(block), torch.float32)
    assert isinstance(packed, PackedBlock)
    assert relative_error(packed(x.clone(memory_format=torch.channels_last)), expected) < 1e-6


@torch.no_grad()
def test_all_plain_layers_are_packed_and_no_others():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.Sequential(
        ConvModule(3, 8, 3, padding=1, norm_cfg=dict(type='BN')),
        Doubled(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding='same'),
        build_upsample_layer(dict(type='deconv', in_channels=8, out_channels=8, kernel_size=2, stride=2)),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect'),
        nn.Flatten(),
        nn.Linear(8 * 16 * 16, 4),
    )
    model = randomize_(model).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    packed = pack(model, torch.float32)
    kinds = [type(part).__name__ for part in packed]
    assert kinds == ['ConvModule', 'Doubled', 'Conv2d', 'PackedConv2d', 'Conv2d', 'Flatten', 'PackedLinear']
    assert isinstance(packed[0].conv, PackedConv2d)
    assert relative_error(packed(x), expected) < 1e-5


def test_what_cannot_be_packed_is_recognised():
    assert can_pack(nn.Sequential(ConvModule(3, 8, 3, norm_cfg=dict(type='BN')), nn.Linear(3, 3), nn.LayerNorm(3)))
    assert not can_pack(nn.Sequential(nn.Conv2d(3, 3, 1), nn.MultiheadAttention(4, 2)))
    assert not can_pack(nn.Sequential(DeformConv2dPack(3, 3, 3)))
