"""Trained models for inference: norms folded into convolutions, channels last, packed, in bfloat16 on request."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_map_only

from ..errors import ConfigError
from ..models import FasterNet
from ..models.fasternet import FasterNetBlock, PatchEmbed, PatchMerging
from .packed import can_pack, pack
from .regions import RegionFeatures, has_fast_regions
from .runtime import check_size

#: What the network can compute in.
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}

#: From how many values on PyTorch transposes a matrix faster than it makes features contiguous.
_LARGE = 1 << 17


def optimize(model: nn.Module, dtype: str = 'float32') -> nn.Module:
    """Make a trained model with a FasterNet fast, for inference alone.

    On a CPU, oneDNN computes it, from weights that are laid out for it, and neck, heads and RoIAlign of a detector
    become fast too, as far as they are made of plain layers; images may change their size. Elsewhere the FasterNet is
    compiled at its first image, and once more when a second size comes, for some tens of seconds each. The model that
    was given stays as it is; what is returned cannot be trained.

    Args:
        model (Module): A :class:`~mmfasternet.models.FasterNet`, or a detector or classifier that has one, in
            evaluation mode.
        dtype (str): What the network computes in: ``'float32'``, in which features change by less than 1e-4 relative,
            or ``'bfloat16'``, which is faster and less exact. A CPU without bfloat16 instructions gets
            float32, and a warning. Defaults to ``'float32'``.

    Returns:
        Module: The fast copy.

    Raises:
        ConfigError: If the model is in training mode or has no FasterNet, or the dtype is unknown.

    Examples:
        >>> from mmfasternet import FasterNet
        >>> from mmfasternet.deploy import optimize
        >>> network = optimize(FasterNet('s').eval(), dtype='bfloat16')
    """
    if dtype not in DTYPES:
        raise ConfigError(f'optimize: dtype is {dtype!r}; choose one of {", ".join(DTYPES)}')
    networks = [module for module in model.modules() if isinstance(module, FasterNet)]
    if not networks:
        raise ConfigError(f'optimize: {type(model).__name__} has no FasterNet; this is for models whose backbone it is')
    if model.training or any(network.training for network in networks):
        raise ConfigError('optimize: the model is in training mode; call model.eval() first')
    if dtype == 'bfloat16' and _on_cpu(model) and not cpu_has_bfloat16():
        _warn('this CPU has no bfloat16 instructions; computing in float32')
        dtype = 'float32'
    model = deepcopy(model).requires_grad_(False)
    if isinstance(model, FasterNet):
        return OptimizedFasterNet(model, DTYPES[dtype])
    for name, module in list(model.named_modules()):
        if isinstance(module, FasterNet):
            model.set_submodule(name, OptimizedFasterNet(module, DTYPES[dtype]))
    if _packs(model):
        for module in model.modules():
            if isinstance(getattr(module, 'backbone', None), OptimizedFasterNet):
                _optimize_neck_and_heads(module, DTYPES[dtype])
    return model


class OptimizedFasterNet(nn.Module):
    """A FasterNet that only infers; made by :func:`optimize`.

    Args:
        network (FasterNet): The network, in evaluation mode. It is changed.
        dtype (dtype): What it computes in.
    """

    def __init__(self, network: FasterNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        #: Whether the features go as they came: contiguous, in the dtype of the images. What is optimized too takes
        #: them as they are.
        self.restores = True
        self.stride = network.stride
        for module in network.modules():
            if isinstance(module, PatchEmbed):
                module.proj, module.norm = _fold(module.proj, module.norm)
            elif isinstance(module, PatchMerging):
                module.reduction, module.norm = _fold(module.reduction, module.norm)
            elif isinstance(module, FasterNetBlock):
                module.mlp[0], module.mlp[1] = _fold(module.mlp[0], module.mlp[1])
        network = network.to(dtype=dtype, memory_format=torch.channels_last)
        packs = _packs(network)
        self.network = pack(network, dtype) if packs else network
        self.eval()
        self._compute = network.features if packs else torch.compile(network.features, options=dict(freezing=True))

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of the stages in ``out_indices``.

        Args:
            x (Tensor): Images of shape ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor]: As :meth:`FasterNet.forward` gives them.

        Raises:
            DataError: If the images are smaller than the stride of the last stage.
        """
        check_size(x, self.stride)
        # one after the other: PyTorch takes more than twice as long for both at once
        features = self._compute(x.to(memory_format=torch.channels_last).to(self.dtype))
        return tuple(_contiguous(feature, x.dtype) for feature in features) if self.restores else features

    def train(self, mode: bool = True) -> OptimizedFasterNet:
        """Stay in evaluation mode.

        Raises:
            ConfigError: If the mode is training, for which the norms are gone.
        """
        if mode:
            raise ConfigError('an optimized FasterNet cannot be trained; train the model that it was made from')
        return super().train(mode)


def _optimize_neck_and_heads(model: nn.Module, dtype: torch.dtype) -> None:
    """Pack what stands behind the backbone, as far as it computes the same with packed layers."""
    extractors = {name: module for name, module in model.named_modules() if has_fast_regions(module)}
    for name, extractor in extractors.items():
        model.set_submodule(name, RegionFeatures(extractor))
    parts = {name: part for name, part in model.named_children() if name not in ('backbone', 'data_preprocessor')}
    if not all(map(can_pack, parts.values())):
        # the heads get what they expect, from the neck if that can be packed
        parts = {name: part for name, part in parts.items() if name == 'neck' and can_pack(part)}
        for name, extractor in extractors.items():
            model.set_submodule(name, extractor)
    model.backbone.restores = not parts
    for name, part in parts.items():
        setattr(model, name, pack(part, dtype))
    # what comes last gives float32: the heads, from whose outputs boxes are decoded, if they are packed
    for name in parts.keys() - {'neck'} or parts:
        for module in getattr(model, name).modules():
            if isinstance(module, BaseModule):
                module.register_forward_hook(lambda module, inputs, outputs: _restore(outputs, torch.float32))


def _restore(features: Any, dtype: torch.dtype) -> Any:
    """Give tensors the dtype and a contiguous format: mmcv's RoIAlign on the CPU misreads channels last."""
    return tree_map_only(Tensor, lambda x: _contiguous(x, dtype), features)


def _contiguous(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Copy, if need be, to a dtype in the contiguous format; large features on a CPU as matrices, in blocks."""
    is_large = x.device.type == 'cpu' and x.dim() == 4 and x.numel() > _LARGE
    if x.dtype != dtype or not is_large or not x.is_contiguous(memory_format=torch.channels_last):
        return x.to(dtype, memory_format=torch.contiguous_format)
    copy = torch.empty(x.shape, dtype=dtype)
    for of_image, image in zip(copy, x):
        of_image.flatten(1).copy_(image.permute(1, 2, 0).flatten(0, 1).t())
    return copy


def _fold(conv: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """Put a batch norm's running statistics into the convolution before it; other norms stay."""
    if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
        return fuse_conv_bn_eval(conv, norm), nn.Identity()
    return conv, norm


def cpu_has_bfloat16() -> bool:
    """Tell whether this CPU has instructions for bfloat16.

    Returns:
        bool: Whether it does.
    """
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))


def _on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == 'cpu' for parameter in model.parameters())


def _packs(model: nn.Module) -> bool:
    """Whether oneDNN computes the model."""
    return _on_cpu(model) and torch.backends.mkldnn.is_available()


def _warn(text: str) -> None:
    print_log(f'optimize: {text}', logger='current', level=logging.WARNING)
