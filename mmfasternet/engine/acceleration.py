"""Flags for fast inference, shared by testing and prediction."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from torch import nn

from ..deploy import check_backend, optimize, use_backend
from ..errors import ConfigError

#: The values of ``--optimize``, and the dtype of each.
DTYPES = {'float32': 'float32', 'bf16': 'bfloat16', 'bfloat16': 'bfloat16'}
#: The values of ``--backend``, and the runtime and dtype of each.
BACKENDS = {
    'onnxruntime': ('onnxruntime', 'float32'),
    'openvino': ('openvino', 'float32'),
    'openvino-bf16': ('openvino', 'bfloat16'),
}


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags for fast inference to a tool.

    Args:
        parser (ArgumentParser): The parser of the tool.
    """
    parser.add_argument(
        '--optimize',
        nargs='?',
        const='float32',
        choices=DTYPES,
        help='run the model faster in PyTorch with the same numbers; bf16 is faster still and less exact',
    )
    parser.add_argument(
        '--backend',
        choices=BACKENDS,
        help="run backbone and neck in another runtime, on the CPU; needs pip install 'mmfasternet[deploy]'",
    )


def check_flags(args: Namespace) -> None:
    """Check the flags before the model is loaded.

    Args:
        args (Namespace): With ``optimize`` and ``backend``.

    Raises:
        ConfigError: If both are given.
        DependencyError: If the backend is not installed.
    """
    if args.optimize and args.backend:
        raise ConfigError(f'--optimize and --backend {args.backend} exclude each other; choose one')
    if args.backend:
        check_backend(*BACKENDS[args.backend])


def accelerate(model: nn.Module, optimize_to: str | None, backend: str | None) -> nn.Module:
    """Make a model fast.

    Args:
        model (Module): A trained model, in evaluation mode.
        optimize_to (str, optional): The value of ``--optimize``.
        backend (str, optional): The value of ``--backend``.

    Returns:
        Module: A fast copy; the model itself, if neither is given.
    """
    if optimize_to:
        return optimize(model, DTYPES[optimize_to])
    return use_backend(model, *BACKENDS[backend]) if backend else model
