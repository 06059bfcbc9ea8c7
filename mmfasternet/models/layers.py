"""The layers that FasterNet is made of, and the builders of its norms and activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError

#: mmcv's names for torch's layers, so that they are known without mmcv too.
_NORMS = dict(BN=nn.BatchNorm2d, SyncBN=nn.SyncBatchNorm, GN=nn.GroupNorm)


class PartialConv3x3(nn.Module):
    """Partial convolution (PConv): a 3×3 convolution over the first channels; the others pass through unchanged.

    Source: section 3.2 of the `FasterNet paper <https://arxiv.org/abs/2303.03667>`_.

    Args:
        channels (int): Number of input and output channels.
        ratio (float): Share of the channels that are convolved, in (0, 1]. Defaults to 1/4.
    """

    def __init__(self, channels: int, ratio: float = 1 / 4) -> None:
        super().__init__()
        self.conv_channels = int(channels * ratio)
        self.partial_conv3 = nn.Conv2d(self.conv_channels, self.conv_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to the same shape; the input is not changed, as the shortcut needs it."""
        mixed, untouched = x.split((self.conv_channels, x.shape[1] - self.conv_channels), dim=1)
        if mixed.requires_grad:
            # the convolution keeps its input for the backward pass: a view would keep all channels of x
            mixed = mixed.clone()
        return torch.cat((self.partial_conv3(mixed), untouched), dim=1)

    def extra_repr(self) -> str:
        """Show the setting in the printed network."""
        return f'conv_channels={self.conv_channels}'


class PatchConv2d(nn.Conv2d):
    """A convolution over patches that do not overlap: all of FasterNet's except the one in PConv.

    In bfloat16 and channels-last, it is computed as a matrix product of patches and weights, whose backward pass is
    faster on a CPU than that of a convolution.

    Args:
        in_channels (int): Number of input channels.
        out_channels (int): Number of output channels.
        patch_size (int): Side and stride of the patches in pixels. Defaults to 1.
    """

    def __init__(self, in_channels: int, out_channels: int, patch_size: int = 1) -> None:
        super().__init__(in_channels, out_channels, patch_size, stride=patch_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / patch_size, W / patch_size)``."""
        # torch.compile optimizes convolutions itself, and fails on this product for images of several sizes
        as_product = x.dtype == torch.bfloat16 and not torch.compiler.is_compiling()
        if not (as_product and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)
        side = self.kernel_size[0]
        if side > 1:
            height, width = (length // side * side for length in x.shape[-2:])
            x = F.pixel_unshuffle(x[..., :height, :width], side)
        # F.linear needs the channels last in the shape too, not only in memory
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """The stem: a convolution over patches that do not overlap, then a norm.

    Args:
        in_channels (int): Number of image channels.
        channels (int): Number of output channels.
        patch_size (int): Side and stride of the patches in pixels.
        norm_cfg (dict): Normalization layer.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int, norm_cfg: Mapping[str, Any]) -> None:
        super().__init__()
        self.proj = PatchConv2d(in_channels, channels, patch_size)
        self.norm = build_norm(norm_cfg, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, in_channels, H, W)`` to ``(N, C, H / patch_size, W / patch_size)``."""
        return self.norm(self.proj(x))


class PatchMerging(nn.Module):
    """The downsampling between two stages: a 2×2 convolution of stride 2 that doubles the channels, then a norm.

    Args:
        channels (int): Number of input channels.
        norm_cfg (dict): Normalization layer.
    """

    def __init__(self, channels: int, norm_cfg: Mapping[str, Any]) -> None:
        super().__init__()
        self.reduction = PatchConv2d(channels, 2 * channels, 2)
        self.norm = build_norm(norm_cfg, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to ``(N, 2C, H / 2, W / 2)``."""
        return self.norm(self.reduction(x))


class DropPath(nn.Module):
    """Drop the residual branch of whole samples (`stochastic depth <https://arxiv.org/abs/1603.09382>`_).

    As mmcv's ``DropPath``, for environments without mmcv.

    Args:
        drop_prob (float): Probability that a sample's branch is dropped in training.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Set some samples of ``x`` ``(N, C, H, W)`` to zero and scale the others so that the mean is kept."""
        if self.drop_prob == 0 or not self.training:
            return x
        keep_prob = 1 - self.drop_prob
        mask = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(keep_prob)
        return x * (mask / keep_prob)

    def extra_repr(self) -> str:
        """Show the setting in the printed network."""
        return f'drop_prob={self.drop_prob:.3f}'


def build_norm(cfg: Mapping[str, Any], channels: int) -> nn.Module:
    """Build the normalization layer of a ``norm_cfg`` for features ``(N, channels, H, W)``."""
    kind, settings = _split_type('norm_cfg', cfg)
    requires_grad = bool(settings.pop('requires_grad', True))
    layer_type = _NORMS.get(kind) or MODELS.get(kind)
    if layer_type is None:
        raise ConfigError(f'norm_cfg: unknown type {kind!r}; use BN, SyncBN, GN or a layer registered in MODELS')
    if layer_type is nn.GroupNorm:
        layer_type = partial(nn.GroupNorm, num_channels=channels)
    else:
        layer_type = partial(layer_type, channels)
    return _build(f'norm_cfg: {kind}', layer_type, settings).requires_grad_(requires_grad)


def build_act(cfg: Mapping[str, Any]) -> nn.Module:
    """Build the activation of an ``act_cfg``, whose ``type`` is a class of ``torch.nn`` or registered in ``MODELS``."""
    kind, settings = _split_type('act_cfg', cfg)
    layer_type = getattr(nn, kind, None) or MODELS.get(kind)
    if layer_type is None:
        raise ConfigError(f'act_cfg: unknown type {kind!r}; use a class of torch.nn, such as ReLU or GELU')
    return _build(f'act_cfg: {kind}', layer_type, settings)


def _split_type(setting: str, cfg: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if not isinstance(cfg, Mapping) or not isinstance(cfg.get('type'), str):
        raise ConfigError(f'{setting} is {cfg!r}; expected a dict with the type of a layer')
    settings = dict(cfg)
    return settings.pop('type'), settings


def _build(what: str, layer_type: Callable[..., Any], settings: dict[str, Any]) -> nn.Module:
    try:
        layer = layer_type(**settings)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'{what} cannot be built with {settings}: {reason}') from error
    if not isinstance(layer, nn.Module):
        raise ConfigError(f'{what} is not an `nn.Module`')
    return layer


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """Compute a block without keeping its activations; the backward pass computes them again."""
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block)))


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms, so that the repeated forward pass does not count the batch twice."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
