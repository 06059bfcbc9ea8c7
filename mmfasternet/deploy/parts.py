"""The parts of a detector behind its backbone: which can be made fast, and a check that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

#: How much a fast part may differ from the plain one, relative, in the norm of an output.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
#: From how many values on PyTorch transposes a matrix faster than it makes features contiguous.
_LARGE = 1 << 17
#: Methods that only hand features on to necks, extractors and heads, in whatever memory format and dtype they are.
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
    """A faster forward pass of a module, which must give what the module itself gives.

    All else of the module stays as it is: attributes, other methods, and the plain layers, which these may use. At the
    first input that is not empty, both compute. If the faster one raises or gives something else, then or later, the
    module itself computes from then on, and one line of the log says so.

    Args:
        module (Module): The module. Set as its ``forward``, this takes the place of its class's.
        fast (Callable, optional): What computes the same; it takes features in any memory format, in float32 or
            ``dtype``. If None, the module itself computes, from restored inputs; see :func:`restore`.
        dtype (dtype): What ``fast`` computes in.
        restores (bool): Whether outputs are restored.
    """

    def __init__(self, module: nn.Module, fast: Callable | None, dtype: torch.dtype, restores: bool) -> None:
        self.module, self.fast, self.dtype, self.restores = module, fast, dtype, restores
        self.is_checked = False

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's outputs."""
        if self.fast is None:
            return self._compute_plainly(args, kwargs)
        # a forward pass may change its inputs in their place
        kept = (args, kwargs) if self.is_checked else tree_map_only(Tensor, torch.clone, (args, kwargs))
        try:
            outputs = self.fast(*args, **kwargs)
        except Exception as error:  # whatever it makes of a memory format or dtype that it does not expect
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
    """Say which parts are not made fast.

    Args:
        parts (Sequence[Module]): The parts.
        reason (str): Why.
    """
    names = ', '.join(dict.fromkeys(type(part).__name__ for part in parts))
    print_log(f'optimize: {names}: computed as before, in plain PyTorch: {reason}', logger='current')


def find_parts(model: nn.Module) -> Iterator[nn.Module]:
    """Find what a detector or classifier calls behind its backbone: neck, heads, and what a RoI head is made of.

    Args:
        model (Module): The detector or classifier.

    Yields:
        Module: Each part.
    """
    for name, part in model.named_children():
        is_container = isinstance(part, (nn.ModuleList, nn.ModuleDict, nn.Sequential)) or _has_base(part, 'BaseRoIHead')
        if is_container:
            yield from find_parts(part)
        elif name not in ('backbone', 'data_preprocessor'):
            yield part


def hands_on(model: nn.Module) -> bool:
    """Tell whether nothing but the forward passes of a detector's parts looks at its features.

    What else does, such as a refinement between two heads, needs them contiguous and in float32.

    Args:
        model (Module): The detector.

    Returns:
        bool: Whether its methods, and those of its heads, are known to hand them on.
    """
    heads = [part for name, part in model.named_children() if name not in ('backbone', 'neck', 'data_preprocessor')]
    methods = [getattr(type(part), name, None) for part in (model, *heads) for name in _HANDING]
    return all(method is None or method.__qualname__ in _HAND_ON for method in methods)


def restore(values: Any) -> Any:
    """Make all tensors contiguous, as mmcv's operators need them on a CPU, and those in bfloat16 float32.

    Args:
        values (Any): Tensors, in tuples, lists and dicts.

    Returns:
        Any: The same with other tensors.
    """
    return tree_map_only(
        Tensor, lambda x: contiguous(x, torch.float32 if x.dtype == torch.bfloat16 else x.dtype), values
    )


def contiguous(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Copy, if need be, to a dtype in the contiguous format; large features on a CPU as matrices, in blocks.

    Args:
        x (Tensor): Features.
        dtype (dtype): Of the copy.

    Returns:
        Tensor: The copy, or ``x``.
    """
    is_large = x.device.type == 'cpu' and x.dim() == 4 and x.numel() > _LARGE
    if x.dtype != dtype or not is_large or not x.is_contiguous(memory_format=torch.channels_last):
        return x.to(dtype, memory_format=torch.contiguous_format)
    copy = torch.empty(x.shape, dtype=dtype)
    for of_image, image in zip(copy, x):
        of_image.flatten(1).copy_(image.permute(1, 2, 0).flatten(0, 1).t())
    return copy


def _find_difference(found: Any, expected: Any, tolerance: float) -> str:
    """Say in words where outputs differ; an empty string if they do not."""
    (found, found_form), (expected, form) = tree_flatten(found), tree_flatten(expected)
    if found_form != form or any(type(a) is not type(b) for a, b in zip(found, expected)):
        return 'its outputs have another form'
    for ours, theirs in zip(found, expected):
        if not isinstance(theirs, Tensor):
            if not isinstance(theirs, (int, float, str, type(None))) or ours != theirs:
                return f'its outputs contain a {type(theirs).__name__}, which cannot be compared'
        elif ours.shape != theirs.shape:
            return 'its outputs have another shape'
        elif not theirs.is_floating_point():
            if not ours.equal(theirs):
                return 'its outputs differ'
        else:
            difference = (ours.float() - theirs).norm()
            if not difference <= tolerance * theirs.norm() + 1e-6 * theirs.numel() ** 0.5:
                return f'its outputs differ by {difference / theirs.norm():.1g}, relative'
    return ''


def _has_base(module: nn.Module, name: str) -> bool:
    """Whether a module is of a class, by its name, as the library of the class may not be installed."""
    return any(base.__name__ == name for base in type(module).__mro__)
