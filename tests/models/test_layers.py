import pytest
import torch
import torch.nn.functional as F

from mmfasternet.models import PartialConv3x3
from mmfasternet.models.layers import PatchConv2d


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('training', [True, False])
def test_convolves_the_first_channels_and_passes_the_others(memory_format, training):
    operator = PartialConv3x3(16).train(training)
    x = torch.randn(2, 16, 9, 7).to(memory_format=memory_format)
    before = x.clone()
    out = operator(x)
    expected = F.conv2d(x[:, :4].contiguous(), operator.partial_conv3.weight, padding=1)
    torch.testing.assert_close(out[:, :4], expected)
    assert torch.equal(out[:, 4:], before[:, 4:])
    assert torch.equal(x, before), 'the input was changed'
    assert out.is_contiguous(memory_format=memory_format)


def test_gradients_reach_both_parts():
    operator = PartialConv3x3(8).double()
    x = torch.randn(1, 8, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(operator, x)


@pytest.mark.parametrize('ratio, channels', [(1 / 4, 10), (1 / 2, 20), (1, 40)])
def test_ratio(ratio, channels):
    operator = PartialConv3x3(40, ratio)
    assert operator.partial_conv3.weight.shape == (channels, channels, 3, 3)
    assert operator(torch.randn(1, 40, 4, 4)).shape == (1, 40, 4, 4)


@pytest.mark.parametrize('patch_size', [1, 2, 4])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_patches_in_bf16_equal_a_convolution(patch_size, memory_format):
    layer = PatchConv2d(8, 16, patch_size).bfloat16()
    x = torch.randn(2, 8, 13, 18, dtype=torch.bfloat16).to(memory_format=memory_format)
    expected = F.conv2d(x.float(), layer.weight.float(), stride=patch_size)
    torch.testing.assert_close(layer(x).float(), expected, rtol=2e-2, atol=2e-2)
