"""Make a resumed run follow the schedules of its config, such as the learning rate."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.runner import Runner

#: The attributes of a scheduler that change during training; all others are settings.
_STATE = {'optimizer', 'base_values', 'last_step', 'verbose', '_global_step', '_last_value'}


def follow_config(runner: Runner) -> None:
    """Make a resumed run follow the schedules of its config if the checkpoint has others.

    MMEngine restores the settings of schedulers from the checkpoint, including their ends, and so ignores a schedule
    that was extended. Here the config's schedules are replayed up to the step of the run, so that its values equal
    those of a run that had these schedules from the start.

    Args:
        runner (Runner): The runner, which has loaded its checkpoint.
    """
    configs = runner.cfg.get('param_scheduler')
    if not configs or not runner.param_schedulers:
        return
    own, wrapper = runner.optim_wrapper, _copy_groups(runner.optim_wrapper)
    runner.optim_wrapper = wrapper
    try:
        schedulers = runner.build_param_scheduler(configs)
    finally:
        runner.optim_wrapper = own
    pairs = list(zip(_flat(runner.param_schedulers), _flat(schedulers)))
    changes = [text for before, now in pairs for text in _compare(before, now)]
    if not changes or any(hasattr(scheduler, 'monitor') for _, scheduler in pairs):  # they depend on metrics
        return
    epoch_length = len(runner.train_dataloader)
    for step in range(1, runner.iter + 1):
        for _, scheduler in pairs:
            if not scheduler.by_epoch or (step % epoch_length == 0 and step // epoch_length <= runner.epoch):
                scheduler.step()
    for before, now in pairs:
        before.load_state_dict(now.state_dict())
    for of_run, of_copy in zip(_wrappers(own), _wrappers(wrapper)):
        for group, replayed in zip(of_run.param_groups, of_copy.param_groups):
            group.update({key: value for key, value in replayed.items() if key != 'params'})
    values = sorted({f'{group["lr"]:.4g}' for wrapper in _wrappers(own) for group in wrapper.param_groups})
    print_log(
        f'the config has other schedules than the checkpoint ({"; ".join(changes)}): the run resumes as if it had '
        f"followed the config's from the start, with a learning rate of {', '.join(values)}",
        logger='current',
    )


def _copy_groups(wrapper: OptimWrapper) -> OptimWrapper:
    """Copy the parameter groups with their initial values; the optimizer of the copy never takes a step."""
    if isinstance(wrapper, OptimWrapperDict):
        return OptimWrapperDict(**{name: _copy_groups(inner) for name, inner in wrapper.items()})
    optimizer = copy.copy(wrapper.optimizer)
    optimizer.param_groups = [
        {**group, **{key: group[f'initial_{key}'] for key in group if f'initial_{key}' in group}}
        for group in wrapper.param_groups
    ]
    return OptimWrapper(optimizer)


def _wrappers(wrapper: OptimWrapper) -> list[OptimWrapper]:
    return list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]


def _flat(schedulers: Any) -> Iterator[_ParamScheduler]:
    for part in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:
        yield from part


def _compare(before: _ParamScheduler, now: _ParamScheduler) -> Iterator[str]:
    for name, value in vars(now).items():
        if name not in _STATE and not callable(value) and vars(before).get(name) != value:
            yield f'{type(now).__name__}.{name} {_show(vars(before).get(name))}, now {_show(value)}'


def _show(value: Any) -> str:
    return str(dict(value)) if isinstance(value, dict) else str(value)
