"""The machine: what it is, and its best rate in convolutions and matrix products."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import MMLogger
from torch import nn

from mmfasternet.deploy import cpu_has_bfloat16
from mmfasternet.deploy.packed import PackedConv2d
from mmfasternet.errors import ConfigError

#: Kernel, input and output channels, side of the features in pixels: large, so that reading weights costs little.
CONVOLUTIONS = ((1, 256, 512, 56), (1, 512, 1024, 28), (3, 64, 64, 112), (3, 128, 128, 56), (3, 256, 256, 56))
MATRIX_SIDES = (1024, 2048)
_LIBRARIES = ('torch', 'timm', 'onnxruntime', 'openvino', 'mmengine', 'onedl-mmengine', 'mmdet', 'onedl-mmdetection')


def set_up(device: str, threads: int | None) -> None:
    """Set torch's number of threads, if given; raises ConfigError if the device cannot be used."""
    quiet()
    if threads:
        torch.set_num_threads(threads)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either
        raise ConfigError(f'device {device} cannot be used: {str(error).splitlines()[0]}') from error


def quiet() -> None:
    """Log warnings only: messages about weights would disturb the progress bars."""
    MMLogger.get_current_instance().setLevel(logging.WARNING)


def describe(device: str) -> dict[str, Any]:
    """Describe the machine: processor, cores, instruction sets, GPU, threads, versions and date."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return dict(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        instruction_sets=sorted(name for name, has in torch.cpu.get_capabilities().items() if has is True),
        gpu=torch.cuda.get_device_name(device) if device.startswith('cuda') else None,
        device=device,
        threads=torch.get_num_threads(),
        system=platform.platform(),
        python=platform.python_version(),
        versions=versions,
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
    )


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), platform.processor()
    )


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device.startswith('cuda'):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bfloat16()


class Operation(NamedTuple):
    """A large operation with little but arithmetic to do."""

    kind: str  # convolution or matrix product
    dtype: str
    shape: str
    flops: int
    run: Callable[[], Any]


def peak_operations(device: str) -> dict[str, Operation]:
    """Make the operations, by name, the best of which is taken for the machine's peak."""
    operations = []
    for dtype in ('float32', 'bfloat16') if has_bfloat16(device) else ('float32',):
        numbers = dict(dtype=getattr(torch, dtype), device=device)
        for kernel, channels, out_channels, side in CONVOLUTIONS:
            features = torch.randn(1, channels, side, side, **numbers).to(memory_format=torch.channels_last)
            weight = torch.randn(out_channels, channels, kernel, kernel, **numbers)
            flops = 2 * kernel**2 * channels * out_channels * side**2
            shape = f'{kernel}x{kernel}, {channels} to {out_channels} channels, {side}x{side}'
            operations.append(Operation('convolution', dtype, shape, flops, _convolution(features, weight)))
        for side in MATRIX_SIDES:
            left, right = torch.randn(2, side, side, **numbers)
            run = torch.no_grad()(lambda left=left, right=right: left @ right)
            operations.append(Operation('matrix product', dtype, f'{side}x{side}', 2 * side**3, run))
    return {f'{operation.kind} {operation.dtype} {operation.shape}': operation for operation in operations}


def _convolution(features: torch.Tensor, weight: torch.Tensor) -> Callable[[], Any]:
    """Make a convolution that keeps the size, with weights laid out beforehand where oneDNN is available."""
    out_channels, channels, kernel, _ = weight.shape
    layer = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
    layer.weight = nn.Parameter(weight.to(memory_format=torch.channels_last))
    if features.device.type == 'cpu' and torch.backends.mkldnn.is_available():
        layer = PackedConv2d(layer, weight.dtype)
    return torch.no_grad()(lambda: layer(features))


def peaks(operations: Mapping[str, Operation], times: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Find the best operation of each kind and dtype.

    Args:
        operations (Mapping[str, Operation]): From :func:`peak_operations`.
        times (Mapping[str, Sequence[float]]): Their seconds, one a round.

    Returns:
        list[dict[str, Any]]: For each kind and dtype its ``kind``, ``dtype``, ``shape``, ``flops`` and ``times`` of
        the operation with the best median.
    """
    best: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
    for name, operation in operations.items():
        rate = operation.flops / float(np.median(times[name]))
        key = operation.kind, operation.dtype
        if key not in best or rate > best[key][0]:
            best[key] = rate, {**operation._asdict(), 'times': list(times[name])}
    for _, peak in best.values():
        del peak['run']
    return [peak for _, peak in best.values()]
