"""Check that the schedules of the learning rate and others end with the training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import LOOPS, PARAM_SCHEDULERS

from ..config_types import shown_type, type_names

#: Schedulers of warm-ups: they raise a value, or hold it back for a while.
_WARM_UPS = {'LinearParamScheduler', 'ConstantParamScheduler', 'QuadraticWarmupParamScheduler'}


def check_schedules(cfg: Config) -> None:
    """Warn if training continues after its schedules have ended, or ends before them.

    A config often computes the end of its schedules from its number of epochs; an option that changes this number
    leaves the schedules as they were.

    Args:
        cfg (Config): The whole config.
    """
    loop = cfg.get('train_cfg') or {}
    by_epoch = 'EpochBasedTrainLoop' in type_names(loop, LOOPS)
    name, unit = ('max_epochs', 'epoch') if by_epoch else ('max_iters', 'step')
    total = loop.get(name)
    if not isinstance(total, int):
        return
    for group in _groups(cfg.get('param_scheduler'), 'param_scheduler'):
        ends = [
            (_end(scheduler, total), path, scheduler)
            for path, scheduler in group
            if scheduler.get('by_epoch', True) == by_epoch and not _is_warm_up(scheduler)
        ]
        if not ends:
            continue
        end, path, scheduler = max(ends, key=lambda item: item[0])
        begin = scheduler.get('begin', 0)
        missed = [milestone for milestone in scheduler.get('milestones', ()) if begin + milestone >= total]
        if end < total:
            fault = f'ends at {unit} {end}: from {unit} {end + 1} to {total} the last value stays'
        elif end > total:
            fault = f'ends at {unit} {end}: its values after {unit} {total} are not reached'
        elif missed:
            fault = f'has milestones that are not reached: {missed}'
        else:
            continue
        stretch = (total - begin) / (end - begin) if end != total else total / (max(missed) + total / len(missed))
        options = ' '.join(f'{path}.{key}={value}' for key, value in _stretched(scheduler, total, stretch).items())
        print_log(
            f'{path} ({shown_type(scheduler)}) {fault}, as training ends at {unit} {total} (train_cfg.{name}). To have '
            f'both end together: --cfg-options {options}',
            logger='current',
            level=logging.WARNING,
        )


def _groups(schedulers: Any, path: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Find the schedulers of each optimizer, with their places in the config."""
    if isinstance(schedulers, dict) and 'type' not in schedulers:  # several optimizers
        for name, inner in schedulers.items():
            yield from _groups(inner, f'{path}.{name}')
    elif isinstance(schedulers, dict):
        yield [(path, schedulers)]
    elif isinstance(schedulers, (list, tuple)):
        yield [(f'{path}.{number}', item) for number, item in enumerate(schedulers) if isinstance(item, dict)]


def _is_warm_up(scheduler: dict[str, Any]) -> bool:
    falls = scheduler.get('end_factor', 1) < scheduler.get('start_factor', 1)
    return not scheduler.get('begin') and not falls and bool(type_names(scheduler, PARAM_SCHEDULERS) & _WARM_UPS)


def _end(scheduler: dict[str, Any], total: int) -> int:
    """When its value changes for the last time; MMEngine ends with the training what has no end of its own."""
    begin, end = scheduler.get('begin', 0), scheduler.get('end', total)
    length = scheduler.get('T_max') or scheduler.get('total_steps') or sum(scheduler.get('periods', ()))
    return min(end, begin + length) if length else end


def _stretched(scheduler: dict[str, Any], total: int, stretch: float) -> dict[str, Any]:
    """The settings with which it ends with the training."""
    settings: dict[str, Any] = {}
    begin = scheduler.get('begin', 0)
    for name in ('T_max', 'total_steps'):
        if scheduler.get(name):
            settings[name] = total - begin
    for name in ('milestones', 'periods'):
        if scheduler.get(name):
            settings[name] = str([max(1, int(step * stretch)) for step in scheduler[name]]).replace(' ', '')
    if 'end' in scheduler:
        settings['end'] = total
    return settings
