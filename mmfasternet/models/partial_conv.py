"""Partial convolution (PConv), the operator that FasterNet is made of."""

import torch
from torch import Tensor, nn


class PartialConv3x3(nn.Module):
    """A 3×3 convolution over the first channels; the others pass through untouched.

    Source: section 3.2 of the `FasterNet paper <https://arxiv.org/abs/2303.03667>`_.

    Args:
        channels (int): Number of input and output channels.
        ratio (float): Share of the channels that are convolved, in (0, 1]. Defaults to 1/4.
    """

    def __init__(self, channels: int, ratio: float = 1 / 4) -> None:
        super().__init__()
        self.conv_channels = int(channels * ratio)
        # the name that the released checkpoints use
        self.partial_conv3 = nn.Conv2d(self.conv_channels, self.conv_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the first channels in space.

        Args:
            x (Tensor): Features of shape ``(N, C, H, W)``, in either memory format. They are not changed: the block's
                shortcut needs them as they are.

        Returns:
            Tensor: Features of the same shape.
        """
        mixed, untouched = x.split((self.conv_channels, x.shape[1] - self.conv_channels), dim=1)
        if mixed.requires_grad:
            # the convolution keeps its input for the backward pass: a view would keep all channels of x
            mixed = mixed.clone()
        return torch.cat((self.partial_conv3(mixed), untouched), dim=1)

    def extra_repr(self) -> str:
        """Show the setting in the printed network."""
        return f'conv_channels={self.conv_channels}'
