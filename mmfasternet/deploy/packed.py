"""Layers for inference on a CPU: weights in oneDNN's layout, features in channels last, without a compiler.

``torch.compile`` uses the same operators for convolutions and linear layers. Called directly, they accept images of any
size immediately. A compiled graph takes tens of seconds to start and, once sizes change, converts the weights at every
call.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..models.fasternet import FasterNetBlock

_ops = torch.ops.mkldnn
#: Activations that oneDNN computes while it writes the output: attribute, scalars, algorithm.
_FUSED: dict[type, tuple[str, list, str]] = {nn.ReLU: ('relu', [], ''), nn.GELU: ('gelu', [], 'none')}
_NOT_FUSED: tuple[str, list, str] = ('none', [], '')
#: For how many input shapes a convolution caches its weights: the levels of a feature pyramid, and some more.
_SHAPES = 8
#: The modules of the plain layers, and of mmcv's subclasses, which only differ for very old torch versions.
_PLAIN = (
    'torch.nn.modules.conv',
    'torch.nn.modules.linear',
    'mmcv.cnn.bricks.wrappers',
    'mmfasternet.models.layers',
)


class PackedConv2d(nn.Module):
    """A convolution, transposed or not.

    The best layout of the weights depends on the shape of the input, and converting them can cost many times the
    convolution itself. So the layer caches the weights for each shape; shapes with the same layout share them.

    Args:
        conv (Conv2d | ConvTranspose2d): The layer.
        dtype (dtype): What it computes in, and the dtype of its output.
    """

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.plain_weight = conv.weight.detach().to(dtype)
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.settings = [list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups]
        self.op, self.pack = _ops._convolution_pointwise, _ops._reorder_convolution_weight
        if isinstance(conv, nn.ConvTranspose2d):
            self.settings.insert(1, list(conv.output_padding))
            self.op, self.pack = _ops._convolution_transpose_pointwise, _ops._reorder_convolution_transpose_weight
        self._by_shape: OrderedDict[torch.Size, Tensor] = OrderedDict()
        self._by_layout: WeakValueDictionary[bytes, Tensor] = WeakValueDictionary()

    def weight_for(self, shape: torch.Size) -> Tensor:
        """Return the weights in the layout for inputs of a shape."""
        if shape in self._by_shape:
            self._by_shape.move_to_end(shape)
            return self._by_shape[shape]
        weight = self.pack(self.plain_weight, *self.settings, shape)
        layout = _ops._get_mkldnn_serialized_md(weight).numpy().tobytes()
        weight = self._by_shape[shape] = self._by_layout.setdefault(layout, weight)
        if len(self._by_shape) > _SHAPES:
            self._by_shape.popitem(last=False)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` of any dtype to ``(N, out_channels, H', W')`` in channels last."""
        return self.op(x.to(self.dtype), self.weight_for(x.shape), self.bias, *self.settings, *_NOT_FUSED)

    def add_to_(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """Add the output to ``shortcut`` ``(N, out_channels, H', W')`` in place, without storing it first."""
        return _ops._convolution_pointwise_.binary(
            shortcut, x, self.weight_for(x.shape), self.bias, *self.settings, 'add', 1.0, None, [], None
        )


class PackedLinear(nn.Module):
    """A linear layer. The layout of its weights is the same for every batch.

    Args:
        weight (Tensor): Of shape ``(out_features, in_features)``.
        bias (Tensor, optional): Of shape ``(out_features,)``.
        dtype (dtype): What it computes in, and the dtype of its output.
        activation (Module, optional): ReLU or GELU, fused into the layer. Defaults to None.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.weight = _ops._reorder_linear_weight(weight.detach().to(dtype).contiguous())
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.fused = _NOT_FUSED if activation is None else _FUSED[type(activation)]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` of any dtype to ``(..., out_features)``."""
        return _ops._linear_pointwise(x.to(self.dtype), self.weight, self.bias, *self.fused)


class PackedBlock(nn.Module):
    """A FasterNet block that works in place; its PConv does not copy the untouched channels.

    PConv writes its output to the first channels of the input, which the MLP reads. Then these channels are restored
    for the shortcut, to which the MLP's last convolution adds its output.

    Args:
        block (FasterNetBlock): The block, its norm folded away, with an activation of :data:`_FUSED`.
        dtype (dtype): The dtype that it computes in.
    """

    def __init__(self, block: FasterNetBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv_channels = block.spatial_mixing.conv_channels
        expand, _, activation, reduce = block.mlp
        if block.layer_scale is not None:
            reduce.weight.data *= block.layer_scale.data[:, None, None, None]
        self.partial_conv = PackedConv2d(block.spatial_mixing.partial_conv3, dtype)
        self.expand = PackedLinear(expand.weight.flatten(1), expand.bias, dtype, activation)
        self.reduce = PackedConv2d(reduce, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Replace features ``(N, C, H, W)``, in channels last, by the output of the block."""
        mixed = x[:, : self.conv_channels]
        kept = mixed.clone(memory_format=torch.channels_last)
        mixed.copy_(self.partial_conv(kept))
        branch = self.expand(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mixed.copy_(kept)
        return self.reduce.add_to_(x, branch)


def pack(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replace all convolutions, linear layers and FasterNet's blocks by packed layers.

    Args:
        module (Module): On the CPU, in evaluation mode, with norms folded where possible. It is changed.
        dtype (dtype): The dtype to compute in.

    Returns:
        Module: The module, or its replacement.
    """
    if isinstance(module, FasterNetBlock) and isinstance(module.mlp[1], nn.Identity) and _is_fused(module.mlp[2]):
        return PackedBlock(module, dtype)
    if _is_plain(module, nn.Conv2d, nn.ConvTranspose2d):
        return PackedConv2d(module, dtype)
    if _is_plain(module, nn.Linear):
        return PackedLinear(module.weight, module.bias, dtype)
    for name, child in module.named_children():
        setattr(module, name, pack(child, dtype))
    return module


def can_pack(module: nn.Module) -> bool:
    """Return whether a neck or head computes the same with packed layers, in channels last and in any dtype.

    It does if it consists of plain convolutions, linear layers and norms. Other modules with weights may use them
    differently, and mmcv's compiled operators silently misread channels-last features on the CPU.
    """
    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return all(
        not type(part).__module__.startswith('mmcv.ops')
        and (
            next(part.parameters(recurse=False), None) is None
            or _is_plain(part, *layers)
            or isinstance(part, (_NormBase, nn.GroupNorm, nn.LayerNorm))
        )
        for part in module.modules()
    )


def _is_fused(activation: nn.Module) -> bool:
    """Whether oneDNN can fuse an activation."""
    return type(activation) in _FUSED and getattr(activation, 'approximate', 'none') == 'none'


def _is_plain(module: nn.Module, *layers: type[nn.Module]) -> bool:
    """Whether a module is one of these layers and not a subclass that computes something else."""
    return (
        isinstance(module, layers)
        and type(module).__module__ in _PLAIN
        and not isinstance(getattr(module, 'padding', None), str)
        and getattr(module, 'padding_mode', 'zeros') == 'zeros'
    )
