"""Export of trained networks to other runtimes: ONNX, OpenVINO, torch.export."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import ConfigError, MMFasterNetError
from ..files import whole_file
from ..models import FasterNet
from .runtime import ExportedNetwork, check_backend, need_packages

#: The formats, and the suffixes of their files.
FORMATS = {'onnx': '.onnx', 'openvino': '.xml', 'torch-export': '.pt2'}
#: The packages that each format needs, to write a file and to check it.
_PACKAGES = {
    'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino': ('onnx', 'onnxscript', 'openvino'),
    'torch-export': (),
}
#: The parts of a model that can be exported, in the order in which images go through them.
PARTS = ('backbone', 'neck', 'head')
#: The largest relative difference to PyTorch in the norm of an output.
TOLERANCE = 1e-4


class ExportError(ConfigError, RuntimeError):
    """A format cannot express a network, or the exported network computes something else."""


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: The file; for OpenVINO the ``.xml``, with the ``.bin`` beside it.
        size: Bytes of all files.
        metadata: The metadata in the file, such as ``inputs`` and ``outputs``.
        difference: The largest relative difference to PyTorch.
    """

    path: Path
    size: int
    metadata: dict[str, str]
    difference: float


def export(
    model: nn.Module,
    path: str | Path,
    format: str,
    parts: Sequence[str] = PARTS,
    metadata: dict[str, str] | None = None,
) -> Exported:
    """Write a trained network to a file, for images of any number and size.

    The file is written only if its outputs on random images of two sizes agree with PyTorch's. Weights stay in
    float32; in ONNX and OpenVINO files batch norms are folded into the convolutions before them.

    Args:
        model (Module): A :class:`~mmfasternet.models.FasterNet`, or a detector or classifier whose backbone it is, in
            evaluation mode.
        path (Path): The file: ``.onnx``, ``.xml`` for OpenVINO, which gets a ``.bin`` beside it, or ``.pt2``.
        format (str): ``'onnx'``, ``'openvino'`` or ``'torch-export'``.
        parts (Sequence[str]): Which of :data:`PARTS` to export, where the model has them. Defaults to all: the
            features of a detector's neck, the logits of a classifier.
        metadata (dict[str, str], optional): Further metadata for the file. Defaults to None.

    Returns:
        Exported: What was written.

    Raises:
        ConfigError: If format, path and parts do not fit together.
        DependencyError: If a package is missing.
        ExportError: If the model cannot be exported; a kind of ConfigError.

    Examples:
        >>> from mmfasternet import FasterNet
        >>> from mmfasternet.deploy import export
        >>> export(FasterNet('s').eval(), 'fasternet_s.onnx', 'onnx')
    """
    path = Path(path)
    check_format(path, format)
    backbone, network = _choose_parts(model, parts)
    # a copy, since the exporters may change it, and the model may be on a GPU or in half precision
    network = deepcopy(network).cpu().float().requires_grad_(False)
    images = [torch.randn(shape) for shape in _shapes(backbone.patch_embed.proj.in_channels, backbone.stride)]
    try:
        metadata, difference = _write(network, backbone.stride, images, path, format, metadata or {})
    except (MMFasterNetError, OSError):
        raise
    except Exception as error:  # the exporters and runtimes raise errors of many classes
        names = ' + '.join(type(part).__name__ for part in network)
        only = '' if len(network) == 1 else "; export the backbone alone, by --backbone-only or parts=('backbone',)"
        raise ExportError(f'export: {format} cannot express {names} ({_in_short(error)}){only}') from error
    written = [path, path.with_suffix('.bin')] if format == 'openvino' else [path]
    return Exported(path, sum(file.stat().st_size for file in written), metadata, difference)


def _write(
    network: nn.Sequential,
    stride: int,
    images: Sequence[Tensor],
    path: Path,
    format: str,
    metadata: dict[str, str],
) -> tuple[dict[str, str], float]:
    """Write the file and check it; return its metadata, and the largest relative difference to PyTorch."""
    with torch.no_grad():
        expected = [_as_tuple(network(x)) for x in images]
    metadata = {
        **metadata,
        'network': ' + '.join(type(part).__name__ for part in network),
        'inputs': f'images (N, {images[0].shape[1]}, H, W)',
        'outputs': ', '.join(_describe(expected[0], images[0])),
        'stride': str(stride),
    }
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch and the exporters warn about their internals
        with _WRITERS[format](network, images[0], path, metadata) as infer, torch.no_grad():
            difference = max(
                _relative_difference(output, reference)
                for x, references in zip(images, expected)
                for output, reference in zip(_as_tuple(infer(x)), references, strict=True)
            )
            if not difference <= TOLERANCE:
                raise ExportError(
                    f'{format} computes something else than PyTorch: a relative difference of {difference:.1g}, '
                    f'expected at most {TOLERANCE:.0g}; {path} is not written'
                )
    return metadata, difference


def _in_short(error: BaseException) -> str:
    """Summarize an exporter's error: its cause, and the first line of the message."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next(filter(str.strip, str(error).splitlines()), '')
    return f'{type(error).__name__}: {first.strip()[:160]}'


def check_format(path: Path, format: str) -> None:
    """Check that a format is known, fits the suffix of a file, and can be written.

    Args:
        path (Path): The file.
        format (str): A key of :data:`FORMATS`.

    Raises:
        ConfigError: If the format is unknown, or the suffix is that of another format.
        DependencyError: If a package is missing.
    """
    if format not in FORMATS:
        raise ConfigError(f'export: format is {format!r}; choose one of {", ".join(FORMATS)}')
    if path.suffix != FORMATS[format]:
        raise ConfigError(f'export: {path} has the wrong suffix for format {format}; expected {FORMATS[format]}')
    need_packages(*_PACKAGES[format])


def use_backend(model: nn.Module, backend: str, dtype: str = 'float32') -> nn.Module:
    """Let ONNX Runtime or OpenVINO compute the backbone and neck of a model, on the CPU.

    A neck that they cannot express, such as one with deformable convolutions, stays in PyTorch; the log says so.

    Args:
        model (Module): A :class:`~mmfasternet.models.FasterNet`, or a detector or classifier whose backbone it is, in
            evaluation mode. It is not changed.
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        dtype (str): As for :class:`~mmfasternet.deploy.ExportedNetwork`. Defaults to ``'float32'``.

    Returns:
        Module: A copy of the model, for inference only.

    Raises:
        ConfigError: If the model cannot be exported, or the backend does not support the dtype.
        DependencyError: If a package is missing.
    """
    check_backend(backend, dtype)
    if isinstance(model, FasterNet):
        return _exported(model, backend, dtype)
    model = deepcopy(model)
    # a model for test-time augmentation contains the one that has the backbone
    owners = [module for module in model.modules() if isinstance(getattr(module, 'backbone', None), FasterNet)]
    if not owners:
        raise ConfigError(f'{type(model).__name__} has no FasterNet as backbone; expected one for {backend}')
    for owner in owners:
        neck = getattr(owner, 'neck', None)
        try:
            owner.backbone = _exported(owner, backend, dtype, ('backbone', 'neck'))
            if neck is not None:
                owner.neck = nn.Identity()
        except ExportError as error:
            if neck is None:
                raise
            owner.backbone = _exported(owner, backend, dtype, ('backbone',))
            reason = str(error).partition('; export the backbone alone')[0]
            print_log(f'{backend} computes the backbone, PyTorch the neck: {reason}', logger='current')
    return model


def _exported(model: nn.Module, backend: str, dtype: str, parts: Sequence[str] = PARTS[:2]) -> ExportedNetwork:
    """Export parts of a model to a temporary file and read it."""
    format = 'onnx' if backend == 'onnxruntime' else 'openvino'
    with TemporaryDirectory() as folder:
        path = Path(folder, f'network{FORMATS[format]}')
        export(model, path, format, parts)
        return ExportedNetwork(path, backend, dtype)


def _choose_parts(model: nn.Module, parts: Sequence[str]) -> tuple[FasterNet, nn.Sequential]:
    """Find the backbone, and the parts of the model to export."""
    if not parts or not set(parts) <= set(PARTS) or parts[0] != PARTS[0]:
        raise ConfigError(f'export: parts are {tuple(parts)}; choose from {", ".join(PARTS)}, the backbone first')
    backbone = model if isinstance(model, FasterNet) else getattr(model, 'backbone', None)
    if not isinstance(backbone, FasterNet):
        raise ConfigError(f'export: the backbone of {type(model).__name__} is not a FasterNet')
    if model.training:
        raise ConfigError('export: the model is in training mode; call model.eval() first')
    others = {part: getattr(model, part, None) for part in PARTS[1:] if part in parts}
    chosen = dict(backbone=backbone, **{part: module for part, module in others.items() if module is not None})
    return backbone, nn.Sequential(OrderedDict(chosen))


def _shapes(channels: int, stride: int) -> Iterator[tuple[int, int, int, int]]:
    """Shapes of images to export and check with: large enough for a feature pyramid; the second is not divisible."""
    yield 2, channels, 8 * stride, 10 * stride
    yield 1, channels, 9 * stride + 5, 8 * stride + 3


def _describe(outputs: Sequence[Tensor], images: Tensor) -> Iterator[str]:
    for name, output in zip(_output_names(outputs), outputs):
        strides = [of // by for of, by in zip(images.shape[2:], output.shape[2:])]
        yield f'{name} ({", ".join(["N", str(output.shape[1]), *(f"{side}/{by}" for side, by in zip("HW", strides))])})'


def _output_names(outputs: Sequence[Tensor]) -> list[str]:
    if outputs[0].dim() == 2:
        return ['logits']
    return [f'features{index}' for index in range(len(outputs))]


def _as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _relative_difference(output: Tensor, expected: Tensor) -> float:
    if output.shape != expected.shape:
        return float('inf')
    return ((output - expected).norm() / expected.norm()).item()


# Each of these writes a draft, yields a function that runs it, and renames it unless the caller raises.


@contextmanager
def _write_onnx(
    network: nn.Module, images: Tensor, path: Path, metadata: dict[str, str]
) -> Iterator[Callable[[Tensor], Any]]:
    with whole_file(path) as draft:
        _to_onnx(network, images, draft, metadata)
        yield ExportedNetwork(draft, 'onnxruntime')


@contextmanager
def _write_openvino(
    network: nn.Module, images: Tensor, path: Path, metadata: dict[str, str]
) -> Iterator[Callable[[Tensor], Any]]:
    import openvino

    with TemporaryDirectory() as folder:
        # through ONNX, which keeps names and metadata and takes only a second to convert
        _to_onnx(network, images, Path(folder, 'network.onnx'), metadata)
        model = openvino.convert_model(Path(folder, 'network.onnx'))
        # OpenVINO names the .bin like the .xml, as whole_file expects
        with whole_file(path) as draft, whole_file(path.with_suffix('.bin')):
            openvino.save_model(model, draft, compress_to_fp16=False)
            yield ExportedNetwork(draft, 'openvino')
            # an old .xml must not be paired with the new .bin
            path.unlink(missing_ok=True)


@contextmanager
def _write_torch_export(
    network: nn.Module, images: Tensor, path: Path, metadata: dict[str, str]
) -> Iterator[Callable[[Tensor], Any]]:
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(network, (images,), dynamic_shapes=(sizes,))
    with whole_file(path) as draft:
        torch.export.save(program, draft, extra_files={'metadata.json': json.dumps(metadata)})
        # without guards: torch derives some from the size of its example that the network does not need
        yield torch.export.load(draft).module(check_guards=False)


_WRITERS = {'onnx': _write_onnx, 'openvino': _write_openvino, 'torch-export': _write_torch_export}


def _to_onnx(network: nn.Module, images: Tensor, path: Path, metadata: dict[str, str]) -> None:
    with torch.no_grad():
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            dynamic_shapes=({0: 'batch', 2: 'height', 3: 'width'},),
            input_names=['images'],
            output_names=_output_names(_as_tuple(network(images))),
            verbose=False,
        )
    graph = program.model.graph
    # the exporter records source files and lines of this machine
    for part in (graph, *graph):
        part.metadata_props.clear()
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)
