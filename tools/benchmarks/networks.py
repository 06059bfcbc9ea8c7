"""The networks that are measured, all as timm makes them: FasterNet, and the baselines of its paper."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmfasternet.errors import ConfigError, DependencyError


class Network(NamedTuple):
    """A network of timm's.

    Args:
        timm (str): Its name in timm.
        title (str): Its name in the literature.
        family (str): The architecture that it is a variant of.
        top1 (float): Quoted accuracy on ImageNet-1k in percent; it was not measured here.
        side (int): Side of the images in pixels at which that accuracy was reached. Defaults to 224.
    """

    timm: str
    title: str
    family: str
    top1: float
    side: int = 224


# The quoted accuracies are those of the networks' own authors, all trained on ImageNet-1k alone:
# - FasterNet: table of the released models, https://github.com/JierunChen/FasterNet
# - MobileViT, at 256x256: https://arxiv.org/abs/2110.02178 (mmpretrain measured 69.02 and 74.75 with their weights)
# - ResNet-50: 78.8 by the training of https://arxiv.org/abs/2201.03545, section 2.1 (76.1 by that of 2015)
# - Swin: 81.3, 83.0, 83.5, https://arxiv.org/abs/2103.14030, table 1
# - ConvNeXt: 82.1, 83.1, 83.8, https://arxiv.org/abs/2201.03545, table 1
NETWORKS = {
    network.timm: network
    for network in (
        Network('fasternet_t0', 'FasterNet-T0', 'FasterNet', 71.9),
        Network('fasternet_t1', 'FasterNet-T1', 'FasterNet', 76.2),
        Network('fasternet_t2', 'FasterNet-T2', 'FasterNet', 78.9),
        Network('fasternet_s', 'FasterNet-S', 'FasterNet', 81.3),
        Network('fasternet_m', 'FasterNet-M', 'FasterNet', 83.0),
        Network('fasternet_l', 'FasterNet-L', 'FasterNet', 83.5),
        Network('mobilevit_xxs', 'MobileViT-XXS', 'MobileViT', 69.0, 256),
        Network('mobilevit_xs', 'MobileViT-XS', 'MobileViT', 74.8, 256),
        Network('resnet50', 'ResNet-50', 'ResNet', 78.8),
        Network('swin_tiny_patch4_window7_224', 'Swin-T', 'Swin', 81.3),
        Network('swin_small_patch4_window7_224', 'Swin-S', 'Swin', 83.0),
        Network('swin_base_patch4_window7_224', 'Swin-B', 'Swin', 83.5),
        Network('convnext_tiny', 'ConvNeXt-T', 'ConvNeXt', 82.1),
        Network('convnext_small', 'ConvNeXt-S', 'ConvNeXt', 83.1),
        Network('convnext_base', 'ConvNeXt-B', 'ConvNeXt', 83.8),
    )
}
#: The networks that the paper compares FasterNet with.
PAPER_BASELINES = tuple(name for name, network in NETWORKS.items() if network.family != 'FasterNet')


def find_network(name: str) -> Network:
    """Look up a key of :data:`NETWORKS`; raises ConfigError if it is unknown."""
    if name not in NETWORKS:
        raise ConfigError(f'unknown network {name!r}; choose from {", ".join(NETWORKS)}')
    return NETWORKS[name]


def timm_network(name: str, height: int, width: int) -> nn.Module:
    """Make a network of timm's in evaluation mode, with the same random weights at every call.

    Args:
        name (str): A key of :data:`NETWORKS`.
        height (int): Height of the images in pixels; Swin needs it.
        width (int): Width of the images in pixels.

    Returns:
        Module: The network.

    Raises:
        ConfigError: The name is unknown.
        DependencyError: timm is not installed.
    """
    find_network(name)
    torch.manual_seed(0)
    settings = dict(img_size=(height, width)) if name.startswith('swin') else {}
    return import_timm().create_model(name, **settings).eval()


def import_timm() -> ModuleType:
    """Import timm; raises DependencyError if it is not installed."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise DependencyError("the benchmark compares with timm's networks; pip install timm") from error
    return timm


class Features(nn.Module):
    """A network of timm's as a backbone: it computes the features of its stages and nothing after them.

    Args:
        network (Module): Any network of timm's that can return its intermediate features.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.prune_intermediate_layers(prune_norm=True, prune_head=True)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to features, finest first."""
        return tuple(self.network.forward_intermediates(images, intermediates_only=True))
