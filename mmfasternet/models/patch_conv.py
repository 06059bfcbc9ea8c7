"""Convolutions over patches that do not overlap: all of FasterNet's but the one in PConv."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchConv2d(nn.Conv2d):
    """A convolution whose stride is its kernel size, as in the stem, the downsampling and the 1×1 of the blocks.

    In bfloat16 it is computed on channels-last features as what it is, a product of patches and weights, whose backward
    pass is faster on a CPU than that of a convolution.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        patch_size (int): Side and stride of the patches in pixels. Defaults to 1.
    """

    def __init__(self, in_channels: int, out_channels: int, patch_size: int = 1) -> None:
        super().__init__(in_channels, out_channels, patch_size, stride=patch_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / patch_size, W / patch_size)``."""
        # a compiler has its own ways, and fails over ours for images of several sizes
        as_product = x.dtype == torch.bfloat16 and not torch.compiler.is_compiling()
        if not (as_product and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)
        side = self.kernel_size[0]
        if side > 1:
            height, width = (length // side * side for length in x.shape[-2:])
            x = F.pixel_unshuffle(x[..., :height, :width], side)
        # linear wants the channels last in the shape too, which they are in memory
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)
