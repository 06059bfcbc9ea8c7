"""Stop training, or skip a step, when the loss or a gradient becomes NaN or infinite."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ..errors import DivergenceError, first_few

_SKIPPED = 'skipped_steps'


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stop a run, or skip a step, before NaN or infinity reaches the weights.

    The optimizer skips such a step: weights and its state do not change, and the running statistics of norms are
    restored. ``tools/train.py`` adds this hook with its defaults to configs without it.

    Args:
        max_skips (int): How many steps of a run may be skipped before it stops. Defaults to 0: it stops at the first.
    """

    # before the hooks that log, average and save
    priority = 'VERY_HIGH'

    def __init__(self, max_skips: int = 0) -> None:
        self.max_skips = max_skips
        self._bad_gradients: list[str] = []
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Register a hook on the optimizers, which checks the gradients before each step."""
        names = {parameter: name for name, parameter in runner.model.named_parameters()}
        wrappers = runner.optim_wrapper
        self._handles = [
            wrapper.optimizer.register_step_pre_hook(lambda optimizer, *_: self._look(optimizer, names))
            for wrapper in (wrappers.values() if isinstance(wrappers, OptimWrapperDict) else [wrappers])
        ]
        self._buffers = list(runner.model.buffers())

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the optimizers."""
        for handle in self._handles:
            handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Copy the running statistics, if this step may be skipped."""
        if self.max_skips:
            self._kept = [buffer.clone() for buffer in self._buffers]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Stop the run, or skip the step, if the loss or a gradient is not finite.

        Raises:
            DivergenceError: It is not finite, and no more steps may be skipped.
        """
        losses = {name: torch.as_tensor(v).item() for name, v in (outputs or {}).items() if 'loss' in name}
        gradients, self._bad_gradients = self._bad_gradients, []
        if not gradients and all(map(math.isfinite, losses.values())):
            return
        runner.optim_wrapper.zero_grad()
        fault = _describe(runner, losses, gradients, data_batch)
        skipped = runner.message_hub.runtime_info.get(_SKIPPED, 0) + 1
        if skipped > self.max_skips:
            taken = f'{self.max_skips} such steps were skipped before' if self.max_skips else 'no step was taken'
            raise DivergenceError(
                f'{fault}; {taken}. Lower the learning rate, clip gradients, check these images, or skip such '
                f"steps: custom_hooks=[dict(type='NonFiniteHook', max_skips={self.max_skips + 10})]"
            )
        for buffer, kept in zip(self._buffers, self._kept):
            buffer.copy_(kept)
        runner.message_hub.update_info(_SKIPPED, skipped)
        print_log(f'{fault}; skipped ({skipped} of at most {self.max_skips})', logger='current', level=logging.WARNING)

    def _look(self, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> None:
        """Remove the gradients of an optimizer before its step if any of them is not finite."""
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not parameters:
            return
        norms = torch.stack([torch.linalg.vector_norm(parameter.grad.detach().float()) for parameter in parameters])
        finite = norms.isfinite()
        if finite.all():
            return
        self._bad_gradients += [names.get(p, '?') for p, good in zip(parameters, finite.tolist()) if not good]
        for parameter in parameters:
            parameter.grad = None


def _describe(runner: Runner, losses: dict[str, float], gradients: list[str], data_batch: Any) -> str:
    """Describe the step, the values that are not finite, and the images of the batch."""
    bad = [f'{name} {value}' for name, value in losses.items() if not math.isfinite(value)]
    good = [f'{name} {value:.4g}' for name, value in losses.items() if math.isfinite(value)]
    what = f'the loss is not finite: {", ".join(bad)}' if bad else f'gradients are not finite: {first_few(gradients)}'
    samples = data_batch.get('data_samples') or [] if isinstance(data_batch, dict) else []
    images = [str(sample.get('img_path', sample.get('sample_idx', '?'))) for sample in samples]
    of_image = [f'{path} (id {sample.img_id})' if 'img_id' in sample else path for path, sample in zip(images, samples)]
    return (
        f'step {runner.iter + 1}: {what}'
        + (f' (finite: {", ".join(good)})' if good else '')
        + f'; images of the batch: {", ".join(of_image) or "unknown"}'
    )
