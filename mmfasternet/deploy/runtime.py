"""An exported network as a PyTorch module: ONNX Runtime or OpenVINO computes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import ConfigError, DataError, DependencyError

#: The runtimes, and the dtypes that each can compute in.
BACKENDS = {'onnxruntime': ('float32',), 'openvino': ('float32', 'bfloat16')}


class ExportedNetwork(nn.Module):
    """A network in a file, for inference on the CPU with the number of threads that torch has when it is read.

    Args:
        path (Path): A file from :func:`~mmfasternet.deploy.export`: an ``.onnx`` for ONNX Runtime, or an ``.xml`` for
            OpenVINO, with its ``.bin`` beside it.
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        dtype (str): What it computes in: ``'float32'``, or with OpenVINO ``'bfloat16'``, which is faster and less
            exact. On a CPU without bfloat16 instructions it warns and uses float32. Defaults to ``'float32'``.

    Raises:
        ConfigError: If the backend does not support the dtype, or the file was not written by this package.
        DependencyError: If the backend is not installed.
    """

    def __init__(self, path: str | Path, backend: str, dtype: str = 'float32') -> None:
        super().__init__()
        check_backend(backend, dtype)
        read = _read_onnxruntime if backend == 'onnxruntime' else _read_openvino
        self.backend = backend
        self.infer, self.metadata = read(Path(path), dtype)
        if 'stride' not in self.metadata:
            raise ConfigError(f'{path} was not written by mmfasternet: it lacks its metadata; export the network again')

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of the exported network.

        Args:
            x (Tensor): Images of shape ``(N, C, H, W)``, on any device.

        Returns:
            tuple[Tensor]: The outputs, contiguous, on the device and in the dtype of ``x``.

        Raises:
            DataError: If the images are smaller than the stride of the network.
        """
        check_size(x, int(self.metadata['stride']))
        outputs = self.infer(x.detach().to('cpu', torch.float32).contiguous())
        return tuple(output.to(x) for output in outputs)

    def extra_repr(self) -> str:
        """Show the backend in the printed model."""
        return f'backend={self.backend}'


def check_size(images: Tensor, stride: int) -> None:
    """Check that images (N, C, H, W) are at least as large as the network's stride, in pixels.

    Raises:
        DataError: If they are smaller.
    """
    height, width = images.shape[-2:]
    if min(height, width) < stride:
        raise DataError(
            f'images of {width}x{height} pixels are smaller than the stride of the network, {stride}; enlarge or pad '
            'them'
        )


def check_backend(backend: str, dtype: str = 'float32') -> None:
    """Check that a backend is known and installed, and supports a dtype.

    Args:
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        dtype (str): ``'float32'`` or ``'bfloat16'``. Defaults to ``'float32'``.

    Raises:
        ConfigError: If the backend is unknown or does not support the dtype.
        DependencyError: If it is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f'backend is {backend!r}; choose one of {", ".join(BACKENDS)}')
    if dtype not in BACKENDS[backend]:
        raise ConfigError(f'{backend} computes in {" or ".join(BACKENDS[backend])}, not in {dtype!r}')
    need_packages(backend)


def need_packages(*names: str) -> None:
    """Check that optional packages are installed; raises DependencyError if not."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"not installed: {', '.join(missing)}; install the extra: pip install 'mmfasternet[deploy]'"
        )


def _read_onnxruntime(path: Path, dtype: str) -> tuple[Callable[[Tensor], tuple[Tensor, ...]], dict[str, str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # spinning threads would take the cores from the heads, which run next
    options.add_session_config_entry('session.force_spinning_stop', '1')
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    (images,) = session.get_inputs()

    def infer(x: Tensor) -> tuple[Tensor, ...]:
        # DLPack copies nothing, and a tensor keeps its memory alive
        inputs = {images.name: onnxruntime.OrtValue.from_dlpack(x)}
        return tuple(map(torch.from_dlpack, session.run_with_ort_values(None, inputs)))

    return infer, session.get_modelmeta().custom_metadata_map


def _read_openvino(path: Path, dtype: str) -> tuple[Callable[[Tensor], tuple[Tensor, ...]], dict[str, str]]:
    import openvino
    from openvino.properties import hint

    core = openvino.Core()
    if dtype == 'bfloat16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        print_log(
            'openvino: this CPU has no bfloat16 instructions; computing in float32',
            logger='current',
            level=logging.WARNING,
        )
        dtype = 'float32'
    model = core.read_model(path)
    settings = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: openvino.Type.bf16 if dtype == 'bfloat16' else openvino.Type.f32,
        openvino.properties.inference_num_threads: torch.get_num_threads(),
    }
    compiled = core.compile_model(model, 'CPU', settings)

    def infer(x: Tensor) -> tuple[Tensor, ...]:
        # a new request for each call has output memory of its own; copying the outputs costs more
        request = compiled.create_infer_request()
        request.infer({0: x.numpy()}, share_inputs=True, share_outputs=True)
        return tuple(torch.from_numpy(output.data) for output in request.output_tensors)

    # where OpenVINO stores the metadata of a converted ONNX file
    info = model.get_rt_info('framework').value if model.has_rt_info('framework') else {}
    return infer, {key: str(value) for key, value in info.items()}
