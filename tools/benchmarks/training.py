"""A training step of the backbone, against timm's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfasternet.models import FasterNet

from .networks import Features, import_timm, timm_network
from .runner import Plan
from .workloads import TIMM, Workload, random_images, relative_error

#: For each mode the arguments of the backbone, None for timm's network, and whether all is under bfloat16 autocast.
TRAINING_MODES: dict[str, tuple[dict[str, Any] | None, bool]] = {
    TIMM: (None, False),
    'timm, bfloat16': (None, True),
    'ours': ({}, False),
    'ours, checkpointing': (dict(with_cp=True), False),
    'ours, channels last': (dict(channels_last=True), False),
    'ours, channels last, compiled': (dict(channels_last=True, compile=True), False),
    'ours, channels last, bfloat16': (dict(channels_last=True, bf16=True), False),
    'ours, channels last, bfloat16, checkpointing': (dict(channels_last=True, with_cp=True, bf16=True), False),
    'ours, channels last, bfloat16, compiled': (dict(channels_last=True, compile=True, bf16=True), False),
}


class TrainingStep(Workload):
    """Forward pass, a loss over all features, and backward pass, in one of :data:`TRAINING_MODES`."""

    def build(self) -> Callable[[], Tensor]:
        """Build a step without stochastic depth that returns the gradient of the first convolution's weights."""
        reference = timm_network(self.network, self.height, self.width)
        settings, bfloat16 = TRAINING_MODES[self.mode]
        if settings is None:
            for module in reference.modules():
                if hasattr(module, 'drop_path'):
                    module.drop_path = nn.Identity()
            network, first = Features(reference), reference.patch_embed.proj
        else:
            arch = self.network.removeprefix('fasternet_')
            network = FasterNet(arch, output_norm=False, drop_path_rate=0.0, **settings)
            network.load_state_dict(reference.state_dict())
            first = network.patch_embed.proj
        return _step(network.to(self.device).train(), first, self.random_images(), bfloat16)

    def build_tiny(self) -> Callable[[], Tensor]:
        """Build a step of a tiny network in the same mode."""
        import_timm()
        settings, bfloat16 = TRAINING_MODES[self.mode]
        network = FasterNet(dict(embed_dims=8, depths=(1, 1)), out_indices=(0, 1), **(settings or {})).to(self.device)
        return _step(network.train(), network.patch_embed.proj, random_images(2, 64, 64, self.device), bfloat16)

    def difference(self, output: Tensor, expected: Tensor) -> float:
        """The relative error of the gradient."""
        return relative_error([output], [expected])


def _step(network: nn.Module, first: nn.Conv2d, images: Tensor, bfloat16: bool) -> Callable[[], Tensor]:
    def step() -> Tensor:
        network.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            features = network(images)
        sum(feature.float().square().mean() for feature in features).backward()
        return first.weight.grad

    return step


def plan_training(
    arch: str = 's',
    size: tuple[int, int] = (256, 256),
    batch: int = 2,
    modes: Sequence[str] = tuple(TRAINING_MODES),
    device: str = 'cpu',
) -> Plan:
    """Compare time and peak memory of a training step.

    Args:
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        size (tuple[int, int]): Height and width of the images in pixels. Defaults to 256x256.
        batch (int): Images in a step. Defaults to 2.
        modes (Sequence[str]): Keys of :data:`TRAINING_MODES`, :data:`.workloads.TIMM` first. Defaults to all.
        device (str): Where they run. Defaults to ``'cpu'``.
    """
    workloads = [TrainingStep(f'fasternet_{arch}', mode, *size, batch, device) for mode in modes]
    return Plan(workloads, rounds=15, difference_title="gradient's relative error")
