"""Who is measured: our network in each mode, timm's, and the networks that the paper compares with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmfasternet.deploy import optimize
from mmfasternet.deploy.export import use_backend
from mmfasternet.errors import ConfigError, DependencyError
from mmfasternet.models import ARCHITECTURES, FasterNet


class Network(NamedTuple):
    """A network of timm's.

    Args:
        timm (str): Its name there.
        title (str): Its name in the literature.
        family (str): What it is a variant of.
        top1 (float): Quoted accuracy on ImageNet-1k in percent; nothing of it was measured here.
        side (int): Side of the images in pixels at which that accuracy was reached.
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
RIVALS = tuple(name for name, network in NETWORKS.items() if network.family != 'FasterNet')

#: timm's network as it comes: what all others are compared with.
BASELINE = 'timm'
#: Modes of ours, each with the packages that it needs.
MODES = {
    'eager': (),
    'optimize float32': (),
    'optimize bfloat16': (),
    'onnxruntime float32': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino float32': ('onnx', 'onnxscript', 'openvino'),
    'openvino bfloat16': ('onnx', 'onnxscript', 'openvino'),
}
#: The largest relative error against timm's features that a mode may have.
TOLERANCES = {'float32': 1e-4, 'bfloat16': 5e-2}


def dtype_of(mode: str) -> str:
    """What a mode computes in."""
    return 'bfloat16' if mode.endswith('bfloat16') else 'float32'


def usable_modes(device: str) -> list[str]:
    """The modes of ours that can run here; for each other one line says what is missing.

    Args:
        device (str): Where they are to run.

    Returns:
        list[str]: Keys of :data:`MODES`.
    """
    usable = []
    for mode, packages in MODES.items():
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            text = f'{mode} is left out: not installed: {", ".join(missing)}'
            print_log(text, logger='current', level=logging.WARNING)
        elif not packages or device == 'cpu':  # exported networks run on the CPU alone
            usable.append(mode)
    return usable


class Contender(NamedTuple):
    """A backbone in a mode, on random images.

    Args:
        network (str): A key of :data:`NETWORKS`.
        mode (str): :data:`BASELINE`, ``'compiled'`` (timm's, by ``torch.compile`` with frozen weights) or a key of
            :data:`MODES`.
        height (int): Of the images, in pixels.
        width (int): Of the images, in pixels.
        batch (int): Number of images.
        device (str): Where it runs.
    """

    network: str
    mode: str = BASELINE
    height: int = 224
    width: int = 224
    batch: int = 1
    device: str = 'cpu'

    @property
    def dtype(self) -> str:
        """What it computes in."""
        return dtype_of(self.mode)

    def images(self) -> Tensor:
        """The images that it sees, of shape (N, 3, H, W)."""
        return random_images(self.batch, self.height, self.width, self.device)

    def build(self) -> Callable[[], tuple[Tensor, ...]]:
        """Make it, with the same weights in every mode.

        Returns:
            Callable: Computes the features of the stages.

        Raises:
            ConfigError: Network or mode is unknown.
            DependencyError: A library is not installed.
        """
        return runner(self.make_network(), self.images())

    def make_network(self) -> nn.Module:
        """Make the network alone, without images; raises as :meth:`build`."""
        reference = timm_network(self.network, self.height, self.width)
        if self.mode == BASELINE:
            return Features(reference).to(self.device)
        if self.mode == 'compiled':
            return torch.compile(Features(reference).to(self.device), options=dict(freezing=True))
        arch = self.network.removeprefix('fasternet_')
        if arch not in ARCHITECTURES or self.mode not in MODES:
            raise ConfigError(f'{self.network} in mode {self.mode!r}; choose a FasterNet and one of {", ".join(MODES)}')
        network = FasterNet(arch, output_norm=False).eval()
        network.load_state_dict(reference.state_dict())
        return in_mode(network.to(self.device), self.mode)

    def build_tiny(self) -> Callable[[], Any]:
        """Make the tiniest network in the same mode, to have its libraries and compilers loaded."""
        import_timm()
        network = FasterNet(dict(embed_dims=8, depths=(1, 1)), out_indices=(0, 1)).eval().to(self.device)
        images = random_images(1, 64, 64, self.device)
        if self.mode == 'compiled':
            return runner(torch.compile(network, options=dict(freezing=True)), images)
        return runner(network if self.mode == BASELINE else in_mode(network, self.mode), images)


class Features(nn.Module):
    """A network of timm's as a backbone: the features of its stages, nothing after them.

    Args:
        network (Module): Any network of timm's that tells its intermediate features.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.prune_intermediate_layers(prune_norm=True, prune_head=True)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to features, from the finest on."""
        return tuple(self.network.forward_intermediates(images, intermediates_only=True))


def in_mode(network: nn.Module, mode: str) -> nn.Module:
    """Bring a network of ours into a mode.

    Args:
        network (Module): A FasterNet, or a detector that has one, in evaluation mode.
        mode (str): A key of :data:`MODES`.

    Returns:
        Module: The network that is measured.
    """
    if mode == 'eager':
        return network
    way, dtype = mode.split()
    return optimize(network, dtype) if way == 'optimize' else use_backend(network, way, dtype)


def runner(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    """Give a call that infers and keeps nothing for a backward pass."""
    return torch.no_grad()(lambda: network(images))


def random_images(batch: int, height: int, width: int, device: str) -> Tensor:
    """The same images at every call."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)


def timm_network(name: str, height: int, width: int) -> nn.Module:
    """Make a network of timm's with random weights, the same at every call, in evaluation mode.

    Args:
        name (str): A key of :data:`NETWORKS`.
        height (int): Of the images, in pixels; Swin wants to know.
        width (int): Of the images, in pixels.

    Returns:
        Module: The network.

    Raises:
        ConfigError: The name is unknown.
        DependencyError: timm is not installed.
    """
    if name not in NETWORKS:
        raise ConfigError(f'unknown network {name!r}; choose from {", ".join(NETWORKS)}')
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


def count_flops(contender: Contender) -> int:
    """Count the floating-point operations of a contender's network, two for a multiply-add.

    Args:
        contender (Contender): Of whatever mode; timm's network is counted.

    Returns:
        int: Of convolutions and matrix products, for one call.
    """
    run = contender._replace(mode=BASELINE, batch=1, device='cpu').build()
    # the fused attention of the CPU is unknown to the counter
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops() * contender.batch


def relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest norm of a difference over the norm of what is expected, among features that correspond."""
    return max(
        float((own.float() - other.float()).norm() / other.float().norm())
        for own, other in zip(found, expected, strict=True)
    )


def check_equal(contender: Contender, found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """See that a contender computes what the baseline computes, so that times can be compared.

    Args:
        contender (Contender): Who computed.
        found (Sequence[Tensor]): Its features.
        expected (Sequence[Tensor]): Those of the baseline.

    Returns:
        float: The relative error.

    Raises:
        RuntimeError: It is too large for the dtype.
    """
    error = relative_error(found, expected)
    if not error <= TOLERANCES[contender.dtype]:
        raise RuntimeError(
            f'{contender.network}, {contender.mode}: features differ from those of timm by {error:.1e}, more than '
            f'{TOLERANCES[contender.dtype]:.0e}'
        )
    return error
