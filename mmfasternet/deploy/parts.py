"""The parts of a detector after its backbone: which can be accelerated, and a check that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

#: The largest relative difference between a fast part and the plain one in the norm of an output.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
#: For more values, PyTorch transposes a matrix faster than it makes features contiguous.
_LARGE = 1 << 17
#: Methods that only pass features on to necks, extractors and heads, in any memory format and dtype.
_HAND_ON = {
    *(f'{kind}Detector.{name}' for kind in ('SingleStage', 'TwoStage') for name in ('extract_feat', 'predict')),
    *(f'{kind}Head.predict' for kind in ('BaseDense', 'BaseRoI')),
    *(
        f'{kind}RoIHead.{name}'
        for kind in ('Standard', 'Cascade')
        for name in ('predict_bbox', 'predict_mask', '_bbox_forward', '_mask_forward')
    ),
}
_HANDING = {name.partition('.')[2] for name in _HAND_ON}


class CheckedForward:
    """A faster forward pass of a module, which must return the same as the module itself.

    Everything else in the module stays: attributes, other methods, and the plain layers, which these may use. Both
    compute the first input that is not empty. If the faster one raises, then or later, or its output differs, the
    module itself computes from then on, and the log says so.

    Args:
        module (Module): The module. This object is to be set as its ``forward``.
        fast (Callable, optional): Computes the same; accepts features in any memory format, in float32 or ``dtype``. If
            None, the module itself computes, from restored inputs; see :func:`restore`.
        dtype (dtype): The dtype that ``fast`` computes in.
        restores (bool): Whether to restore the outputs.
    """

    def __init__(self, module: nn.Module, fast: Callable | None, dtype: torch.dtype, restores: bool) -> None:
        self.module, self.fast, self.dtype, self.restores = module, fast, dtype, restores
        self.is_checked = False

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's outputs."""
        if self.fast is None:
            return self._compute_plainly(args, kwargs)
        # a forward pass may change its inputs in place
        kept = (args, kwargs) if self.is_checked else tree_map_only(Tensor, torch.clone, (args, kwargs))
        try:
            outputs = self.fast(*args, **kwargs)
        except Exception as error:  # an unexpected memory format or dtype can raise anything
            self._give_up(f'{type(error).__name__}: {error}')
            return self._compute_plainly(*kept)
        if not self.is_checked:
            expected = self._compute_plainly(*kept)
            fault = _find_difference(outputs, expected, _TOLERANCE[self.dtype])
            if fault:
                self._give_up(fault)
                return expected
            self.is_checked = any(isinstance(leaf, Tensor) and leaf.numel() for leaf in tree_flatten(expected)[0])
        return restore(outputs) if self.restores else outputs

    def _compute_plainly(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        args, kwargs = restore((args, kwargs))
        return type(self.module).forward(self.module, *args, **kwargs)

    def _give_up(self, reason: str) -> None:
        self.fast = None
        log_plain([self.module], ' '.join(reason.split())[:160])


def log_plain(parts: Sequence[nn.Module], reason: str) -> None:
    """Log which parts stay in plain PyTorch, and why."""
    names = ', '.join(dict.fromkeys(type(part).__name__ for part in parts))
    print_log(f'optimize: {names}: stays in plain PyTorch: {reason}', logger='current')


def find_parts(model: nn.Module) -> Iterator[nn.Module]:
    """Find the modules that a detector or classifier calls after its backbone: neck, heads, and parts of RoI heads."""
    for name, part in model.named_children():
        is_container = isinstance(part, (nn.ModuleList, nn.ModuleDict, nn.Sequential)) or _has_base(part, 'BaseRoIHead')
        if is_container:
            yield from find_parts(part)
        elif name not in ('backbone', 'data_preprocessor'):
            yield part


def hands_on(model: nn.Module) -> bool:
    """Return whether only the forward passes of a detector's parts read its features.

    This is known of the methods in :data:`_HAND_ON`. Others, such as a refinement between two heads, need the features
    contiguous and in float32.
    """
    heads = [part for name, part in model.named_children() if name not in ('backbone', 'neck', 'data_preprocessor')]
    methods = [getattr(type(part), name, None) for part in (model, *heads) for name in _HANDING]
    return all(method is None or method.__qualname__ in _HAND_ON for method in methods)


def restore(values: Any) -> Any:
    """Make all tensors in a structure contiguous, as mmcv's operators need on a CPU, and bfloat16 ones float32."""
    return tree_map_only(
        Tensor, lambda x: contiguous(x, torch.float32 if x.dtype == torch.bfloat16 else x.dtype), values
    )


def contiguous(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert features to a dtype and the contiguous format, if needed; large ones on a CPU as matrices, in blocks."""
    is_large = x.device.type == 'cpu' and x.dim() == 4 and x.numel() > _LARGE
    if x.dtype != dtype or not is_large or not x.is_contiguous(memory_format=torch.channels_last):
        return x.to(dtype, memory_format=torch.contiguous_format)
    copy = torch.empty(x.shape, dtype=dtype)
    for of_image, image in zip(copy, x):
        of_image.flatten(1).copy_(image.permute(1, 2, 0).flatten(0, 1).t())
    return copy


def _find_difference(outputs: Any, expected: Any, tolerance: float) -> str:
    """Describe how outputs differ; return an empty string if they do not."""
    (outputs, structure), (expected, expected_structure) = tree_flatten(outputs), tree_flatten(expected)
    if structure != expected_structure or any(type(a) is not type(b) for a, b in zip(outputs, expected)):
        return 'its outputs have a different structure'
    for ours, theirs in zip(outputs, expected):
        if not isinstance(theirs, Tensor):
            if not isinstance(theirs, (int, float, str, type(None))) or ours != theirs:
                return f'its outputs contain a {type(theirs).__name__}, which cannot be compared'
        elif ours.shape != theirs.shape:
            return 'its outputs have a different shape'
        elif not theirs.is_floating_point():
            if not ours.equal(theirs):
                return 'its outputs differ'
        else:
            difference = (ours.float() - theirs).norm()
            if not difference <= tolerance * theirs.norm() + 1e-6 * theirs.numel() ** 0.5:
                return f'its outputs differ by {difference / theirs.norm():.1g}, relative'
    return ''


def _has_base(module: nn.Module, name: str) -> bool:
    """Whether a module is of a class, by name, as the class's library may not be installed."""
    return any(base.__name__ == name for base in type(module).__mro__)
