"""The variants of FasterNet, and the checks of the network's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError

_RELU = dict(type='ReLU', inplace=True)

#: Table 1 and appendix of the paper; ``drop_path_rate`` is the one of the ImageNet recipe.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    't0': dict(embed_dims=40, depths=(1, 2, 8, 2), act_cfg=dict(type='GELU'), drop_path_rate=0.0),
    't1': dict(embed_dims=64, depths=(1, 2, 8, 2), act_cfg=dict(type='GELU'), drop_path_rate=0.02),
    't2': dict(embed_dims=96, depths=(1, 2, 8, 2), act_cfg=_RELU, drop_path_rate=0.05),
    's': dict(embed_dims=128, depths=(1, 2, 13, 2), act_cfg=_RELU, drop_path_rate=0.1),
    'm': dict(embed_dims=144, depths=(3, 4, 18, 3), act_cfg=_RELU, drop_path_rate=0.2),
    'l': dict(embed_dims=192, depths=(3, 4, 18, 3), act_cfg=_RELU, drop_path_rate=0.3),
}

#: A larger argument is a typing error.
_LARGEST = 2**16


def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Turn the ``arch`` argument of FasterNet into a complete entry of :data:`ARCHITECTURES`.

    Args:
        arch (str | dict): The name of a variant, or a dict with ``embed_dims`` (int), ``depths`` (one int per stage)
            and optionally ``act_cfg`` and ``drop_path_rate``.

    Returns:
        dict: ``embed_dims``, ``depths``, ``act_cfg`` and ``drop_path_rate``.

    Raises:
        ConfigError: If the name is unknown, or the dict lacks a key, has an unknown one or a value that cannot work.
    """
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ConfigError(
                f'FasterNet: unknown arch {arch!r}; choose one of {", ".join(ARCHITECTURES)}, '
                'or give a dict with embed_dims and depths'
            )
        return dict(ARCHITECTURES[arch])
    defaults = dict(act_cfg=_RELU, drop_path_rate=0.0)
    required = ARCHITECTURES['t0'].keys() - defaults.keys()
    if not isinstance(arch, Mapping) or not required <= arch.keys() <= required | defaults.keys():
        raise ConfigError(
            f'FasterNet: arch is {arch!r}; a dict needs {", ".join(sorted(required))} '
            f'and may have {", ".join(sorted(defaults))}'
        )
    embed_dims, depths = arch['embed_dims'], arch['depths']
    if not (_is_count(embed_dims) and isinstance(depths, Sequence) and depths and all(map(_is_count, depths))):
        raise ConfigError(
            f'FasterNet: arch has embed_dims {embed_dims!r} and depths {depths!r}; expected a number of channels, '
            'and for each stage a number of blocks'
        )
    return defaults | dict(arch)


def check_arguments(embed_dims: int, num_stages: int, with_cp: bool, compile: bool, **values: Any) -> None:
    """Check the arguments of FasterNet.

    Args:
        embed_dims (int): Channels of the first stage.
        num_stages (int): Number of stages of the variant.
        with_cp (bool): Whether activations are checkpointed.
        compile (bool): Whether training is compiled.
        **values: The other arguments, by name.

    Raises:
        ConfigError: If a value cannot work.
    """
    last = num_stages - 1
    rules = dict(
        in_channels=(_is_count, 'expected a whole number, at least 1'),
        patch_size=(_is_count, 'expected a whole number, at least 1'),
        out_indices=(
            lambda v: isinstance(v, Sequence) and v and all(_is_count(index, 0, last) for index in v),
            f'choose from 0 to {last}',
        ),
        frozen_stages=(lambda v: _is_count(v, -1, num_stages), f'choose from -1 to {num_stages}'),
        drop_path_rate=(lambda v: _is_number(v) and v < 1, 'choose from 0 to below 1'),
        partial_ratio=(
            lambda v: _is_number(v) and v <= 1 and int(embed_dims * v) >= 1,
            f'of {embed_dims} channels it must leave 1 to {embed_dims}',
        ),
        mlp_ratio=(
            lambda v: _is_number(v) and int(embed_dims * v) >= 1,
            f'it must make 1 channel or more of {embed_dims}',
        ),
        layer_scale_init_value=(_is_number, 'must be at least 0, typically 0 or 1e-6'),
    )
    for name, (is_valid, expected) in rules.items():
        if not is_valid(values[name]):
            raise ConfigError(f'FasterNet: {name} is {values[name]!r}; {expected}')
    if with_cp and compile:
        raise ConfigError('FasterNet: with_cp and compile exclude each other; set one of them to False')


def _is_count(value: Any, least: int = 1, most: int = _LARGEST) -> bool:
    return isinstance(value, int) and least <= value <= most


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= _LARGEST
