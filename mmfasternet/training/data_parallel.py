"""Data parallel training in several processes without a GPU, which MMEngine does not support."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """A synchronized batch norm for CPUs, which PyTorch's ``SyncBatchNorm`` refuses."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)`` with the statistics over the batches of all processes."""
        if not self.training or not is_distributed():
            return super().forward(x)
        dtype, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        shape, rest = (1, -1, *[1] * (x.dim() - 2)), [0, *range(2, x.dim())]
        # the batch size may differ between processes
        count = x.new_tensor([x.numel() // x.shape[1]])
        *total, number = all_reduce(torch.cat([x.sum(rest), count])).split(x.shape[1])
        mean = total[0] / number
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().sum(rest)) / number
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * number / (number - 1), share)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """Accept any number of dimensions."""


@MODEL_WRAPPERS.register_module()
class CPUDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` for processes without a GPU, with batch norms that synchronize on CPUs.

    Args:
        module (nn.Module): The model.
        device_ids (object): Not used; MMEngine passes the index of a GPU.
        kwargs: Arguments of ``MMDistributedDataParallel``.
    """

    def __init__(self, module: nn.Module, device_ids: object = None, **kwargs: Any) -> None:
        for part in module.modules():
            if type(part) is nn.SyncBatchNorm:
                part.__class__ = SyncBatchNorm  # keeps the weights and replaces only the forward pass
        super().__init__(module=module, device_ids=None, **kwargs)
