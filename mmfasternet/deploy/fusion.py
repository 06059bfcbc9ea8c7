"""Fast inference of trained models: folded norms, channels last, packed weights, bfloat16 on request."""

from __future__ import annotations

import logging
from copy import deepcopy

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import ConfigError
from ..models import FasterNet
from ..models.fasternet import FasterNetBlock
from ..models.layers import PatchEmbed, PatchMerging
from .packed import can_pack, pack
from .parts import CheckedForward, contiguous, find_parts, hands_on, log_plain
from .regions import RegionFeatures, has_fast_regions
from .runtime import check_size

#: The dtypes that the network can compute in.
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def optimize(model: nn.Module, dtype: str = 'float32') -> nn.Module:
    """Make a faster copy, for inference only, of a trained model with a FasterNet.

    On a CPU, oneDNN computes it with weights in oneDNN's own layout, also neck, heads and RoIAlign of a detector, where
    they consist of plain layers; the images may change their size. Each of these parts computes its first input both
    ways and stays in plain PyTorch if the outputs differ; the log says so. On other devices, the FasterNet is compiled
    at its first image, and again at the second image size; each takes some tens of seconds. The given model is not
    changed; the copy cannot be trained.

    Args:
        model (Module): A :class:`~mmfasternet.models.FasterNet`, or a detector or classifier that has one, in
            evaluation mode.
        dtype (str): What the network computes in: ``'float32'``, with a relative difference of the features below
            1e-4, or ``'bfloat16'``, which is faster and less exact. On a CPU without bfloat16 instructions it warns and
            uses float32. Defaults to ``'float32'``.

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
        raise ConfigError(f'optimize: {type(model).__name__} has no FasterNet; expected a model with one')
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
    """A FasterNet for inference only; made by :func:`optimize`.

    Args:
        network (FasterNet): The network, in evaluation mode. It is changed.
        dtype (dtype): The dtype that it computes in.
    """

    def __init__(self, network: FasterNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        #: Whether to make the features contiguous, in the dtype of the images. Optimized parts do not need that.
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
            tuple[Tensor]: The outputs of :meth:`FasterNet.forward`.

        Raises:
            DataError: If the images are smaller than the stride of the last stage.
        """
        check_size(x, self.stride)
        # two steps: PyTorch takes more than twice as long for both at once
        features = self._compute(x.to(memory_format=torch.channels_last).to(self.dtype))
        return tuple(contiguous(feature, x.dtype) for feature in features) if self.restores else features

    def train(self, mode: bool = True) -> OptimizedFasterNet:
        """Stay in evaluation mode.

        Raises:
            ConfigError: If the mode is training, as the norms are folded away.
        """
        if mode:
            raise ConfigError('an optimized FasterNet cannot be trained; train the model that it was made from')
        return super().train(mode)


def _optimize_neck_and_heads(model: nn.Module, dtype: torch.dtype) -> None:
    """Accelerate the parts after the backbone, each on its own, where packed layers compute the same."""
    parts = list(find_parts(model))
    weighty = [part for part in parts if next(part.parameters(), None) is not None]
    plain = [part for part in weighty if not can_pack(part)]
    if plain:
        log_plain(plain, 'not made of plain convolutions, linear layers and norms alone')
    # pass features on unchanged if nothing else reads them; outputs of heads are decoded in float32
    passes = hands_on(model)
    model.backbone.restores = not passes
    neck = set((getattr(model, 'neck', None) or nn.Identity()).modules())
    for part in parts:
        fast = None
        if has_fast_regions(part):
            fast = RegionFeatures(part)
        elif part in weighty and part not in plain:
            tensors = (*part.parameters(), *part.buffers())
            fast = pack(deepcopy(part, {id(tensor): tensor for tensor in tensors}), dtype)
        # a plain part may also get features that are not restored
        is_between = part in neck or has_fast_regions(part)
        part.forward = CheckedForward(part, fast, dtype, restores=not (passes and is_between))


def _fold(conv: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """Fold a batch norm's running statistics into the convolution before it; other norms stay."""
    if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
        return fuse_conv_bn_eval(conv, norm), nn.Identity()
    return conv, norm


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))


def _on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == 'cpu' for parameter in model.parameters())


def _packs(model: nn.Module) -> bool:
    """Whether oneDNN computes the model."""
    return _on_cpu(model) and torch.backends.mkldnn.is_available()


def _warn(text: str) -> None:
    print_log(f'optimize: {text}', logger='current', level=logging.WARNING)
