"""What is timed: a network in a mode, on random images."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmfasternet.deploy import optimize
from mmfasternet.deploy.export import use_backend
from mmfasternet.errors import ConfigError
from mmfasternet.models import ARCHITECTURES, FasterNet

from .comparison import Result
from .networks import Features, find_network, import_timm, timm_network

#: The mode of timm's network, unchanged.
TIMM = 'timm'
#: The mode of timm's network under ``torch.compile`` with frozen weights.
COMPILED = 'compiled'
#: The modes of our network in inference, each with the packages that it needs.
INFERENCE_MODES = {
    'eager': (),
    'optimize float32': (),
    'optimize bfloat16': (),
    'onnxruntime float32': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino float32': ('onnx', 'onnxscript', 'openvino'),
    'openvino bfloat16': ('onnx', 'onnxscript', 'openvino'),
}
#: The largest relative error against timm's features that a mode may have.
TOLERANCES = {'float32': 1e-4, 'bfloat16': 5e-2}


@dataclass(frozen=True)
class Workload(ABC):
    """A network in a mode, on random images. It is picklable: another process builds it to measure its memory.

    Args:
        network (str): A key of :data:`.networks.NETWORKS`.
        mode (str): How the network runs. Defaults to :data:`TIMM`.
        height (int): Height of the images in pixels. Defaults to 224.
        width (int): Width of the images in pixels. Defaults to 224.
        batch (int): Number of images. Defaults to 1.
        device (str): Where it runs. Defaults to ``'cpu'``.
    """

    network: str
    mode: str = TIMM
    height: int = 224
    width: int = 224
    batch: int = 1
    device: str = 'cpu'

    #: The mode that the others of the same network are compared with.
    baseline: ClassVar[str | None] = TIMM
    #: Floating-point operations of a call, where they are counted.
    flops: ClassVar[int | None] = None
    #: Quoted accuracy of the network in percent.
    top1: ClassVar[float | None] = None

    @abstractmethod
    def build(self) -> Callable[[], Any]:
        """Build the call that is timed, with the same weights in every mode.

        Raises:
            MMFasterNetError: The network or the mode is unknown, or a library is not installed.
        """

    @abstractmethod
    def build_tiny(self) -> Callable[[], Any]:
        """Build the same call with a tiny network, which loads the libraries and compilers of the mode."""

    @abstractmethod
    def difference(self, output: Any, expected: Any) -> float:
        """Compare the output with that of the baseline, so that times can be compared.

        Raises:
            RuntimeError: They differ too much.
        """

    @property
    def name(self) -> str:
        """The name of the network in the table."""
        return find_network(self.network).title

    @property
    def images(self) -> str:
        """Number and size of the images, such as ``1x224x224``."""
        return f'{self.batch}x{self.height}x{self.width}'

    @property
    def dtype(self) -> str:
        """The dtype that the mode computes in."""
        return 'bfloat16' if 'bfloat16' in self.mode else 'float32'

    def result(self) -> Result:
        """Make a row of the table that lacks what is measured."""
        return Result(
            name=self.name,
            mode=self.mode,
            images=self.images,
            batch=self.batch,
            baseline=self.baseline if self.mode != self.baseline else None,
            dtype=self.dtype,
            flops=self.flops,
            top1=self.top1,
        )

    def random_images(self) -> Tensor:
        """Make the images, of shape (N, 3, H, W)."""
        return random_images(self.batch, self.height, self.width, self.device)

    def __str__(self) -> str:
        return f'{self.name}, {self.mode}, {self.images}'


class Backbone(Workload):
    """Inference of a backbone, in mode :data:`TIMM`, :data:`COMPILED` or one of :data:`INFERENCE_MODES`."""

    def build(self) -> Callable[[], tuple[Tensor, ...]]:
        """Build the call that computes the features of the stages."""
        return inference(self._make_network(), self.random_images())

    def _make_network(self) -> nn.Module:
        reference = timm_network(self.network, self.height, self.width)
        if self.mode == TIMM:
            return Features(reference).to(self.device)
        if self.mode == COMPILED:
            return torch.compile(Features(reference).to(self.device), options=dict(freezing=True))
        arch = self.network.removeprefix('fasternet_')
        if arch not in ARCHITECTURES or self.mode not in INFERENCE_MODES:
            modes = ', '.join(INFERENCE_MODES)
            raise ConfigError(f'{self.network} in mode {self.mode!r}; choose a FasterNet and one of {modes}')
        network = FasterNet(arch, output_norm=False).eval()
        network.load_state_dict(reference.state_dict())
        return in_mode(network.to(self.device), self.mode)

    def build_tiny(self) -> Callable[[], Any]:
        """Build a tiny network in the same mode."""
        import_timm()
        network = FasterNet(dict(embed_dims=8, depths=(1, 1)), out_indices=(0, 1)).eval().to(self.device)
        if self.mode == COMPILED:
            network = torch.compile(network, options=dict(freezing=True))
        elif self.mode != TIMM:
            network = in_mode(network, self.mode)
        return inference(network, random_images(1, 64, 64, self.device))

    def difference(self, output: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
        """The relative error of the features; it must be within :data:`TOLERANCES`."""
        error, tolerance = relative_error(output, expected), TOLERANCES[self.dtype]
        if not error <= tolerance:
            raise RuntimeError(
                f'{self.network}, {self.mode}: features differ from those of timm by {error:.1e}, more than '
                f'{tolerance:.0e}'
            )
        return error

    @property
    def flops(self) -> int:
        """Floating-point operations of convolutions and matrix products in a call, two for a multiply-add."""
        return self.batch * _count_flops(self.network, self.height, self.width)

    @property
    def top1(self) -> float:
        """Quoted accuracy in percent."""
        return find_network(self.network).top1


@cache
def _count_flops(network: str, height: int, width: int) -> int:
    """Count the operations of timm's network for one image."""
    run = Backbone(network, TIMM, height, width).build()
    # the counter does not know the CPU's fused attention
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def usable_modes(device: str) -> list[str]:
    """List the modes of :data:`INFERENCE_MODES` that can run here, and log which packages the others lack."""
    usable = []
    for mode, packages in INFERENCE_MODES.items():
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            text = f'{mode} is left out: not installed: {", ".join(missing)}'
            print_log(text, logger='current', level=logging.WARNING)
        elif not packages or device == 'cpu':  # exported networks run on the CPU alone
            usable.append(mode)
    return usable


def in_mode(network: nn.Module, mode: str) -> nn.Module:
    """Bring a FasterNet in evaluation mode, or a detector that has one, into one of :data:`INFERENCE_MODES`."""
    if mode == 'eager':
        return network
    way, dtype = mode.split()
    return optimize(network, dtype) if way == 'optimize' else use_backend(network, way, dtype)


def inference(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    """Make a call that computes without gradients."""
    return torch.no_grad()(lambda: network(images))


def random_images(batch: int, height: int, width: int, device: str) -> Tensor:
    """Make images of shape (N, 3, H, W), the same at every call."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)


def relative_error(output: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest of the tensors' relative errors: norm of the difference over norm of the expected tensor."""
    return max(
        float((own.float() - other.float()).norm() / other.float().norm())
        for own, other in zip(output, expected, strict=True)
    )
