"""FasterNet for inference: norms folded into the convolutions, channels last, compiled, in bfloat16 on request."""

from __future__ import annotations

import logging
import os
import shutil
from copy import deepcopy

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import ConfigError, DataError
from ..models import FasterNet
from ..models.fasternet import FasterNetBlock, PatchEmbed, PatchMerging

#: What the network can compute in.
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def optimize(model: nn.Module, dtype: str = 'float32') -> nn.Module:
    """Make the FasterNet in a trained model fast, for inference alone.

    The network is compiled at its first image, and once more when a second size comes, for some tens of seconds each.
    The model that was given stays as it is; what is returned has features of the same dtype as before, and cannot be
    trained.

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
    if dtype == 'bfloat16' and next(networks[0].parameters()).device.type == 'cpu' and not _cpu_has_bfloat16():
        _warn('this CPU has no bfloat16 instructions; computing in float32')
        dtype = 'float32'
    if isinstance(model, FasterNet):
        return OptimizedFasterNet(deepcopy(model), DTYPES[dtype])
    model = deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, FasterNet):
            model.set_submodule(name, OptimizedFasterNet(module, DTYPES[dtype]))
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
        self.stride = network.patch_embed.proj.stride[0] * 2 ** max(network.out_indices)
        for module in network.modules():
            if isinstance(module, PatchEmbed):
                module.proj, module.norm = _fold(module.proj, module.norm)
            elif isinstance(module, PatchMerging):
                module.reduction, module.norm = _fold(module.reduction, module.norm)
            elif isinstance(module, FasterNetBlock):
                module.mlp[0], module.mlp[1] = _fold(module.mlp[0], module.mlp[1])
        network = network.requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
        self.network = torch.compile(network, options=dict(freezing=True)) if _can_compile(network) else network
        self.eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of the stages in ``out_indices``.

        Args:
            x (Tensor): Images of shape ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor]: As :meth:`FasterNet.forward` gives them, in the dtype of ``x``.

        Raises:
            DataError: If the images are smaller than the stride of the last stage.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.stride:
            raise DataError(
                f'images of {width}x{height} pixels are smaller than the stride of the last stage, {self.stride}; '
                'enlarge or pad them'
            )
        features = self.network(x.to(dtype=self.dtype, memory_format=torch.channels_last))
        # contiguous: mmcv's RoIAlign on the CPU reads channels-last features as if they were not, and finds nothing
        return tuple(feature.to(x.dtype, memory_format=torch.contiguous_format) for feature in features)

    def train(self, mode: bool = True) -> OptimizedFasterNet:
        """Stay in evaluation mode.

        Raises:
            ConfigError: If the mode is training, for which the norms are gone.
        """
        if mode:
            raise ConfigError('an optimized FasterNet cannot be trained; train the model that it was made from')
        return super().train(mode)


def _fold(conv: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """Put a batch norm's running statistics into the convolution before it; other norms stay."""
    if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
        return fuse_conv_bn_eval(conv, norm), nn.Identity()
    return conv, norm


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))


def _can_compile(network: nn.Module) -> bool:
    """Whether torch.compile has what it needs: on a CPU a C++ compiler."""
    if next(network.parameters()).device.type != 'cpu':
        return True
    compiler = os.environ.get('CXX', 'g++')
    if shutil.which(compiler):
        return True
    _warn(f'the C++ compiler {compiler} is not there, so the network is not compiled; install g++ or set CXX')
    return False


def _warn(text: str) -> None:
    print_log(f'optimize: {text}', logger='current', level=logging.WARNING)
