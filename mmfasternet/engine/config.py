"""Read a config, and find the OpenMMLab library that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, Registry, init_default_scope

from ..config_types import dicts_in, resolve_type
from ..errors import ConfigError, DependencyError
from ..installation import how_to_install_libraries

#: The libraries that our tools know.
LIBRARIES = ('mmdet', 'mmrotate', 'mmpretrain')


def read_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file, and make its library the default scope of type names.

    Args:
        path (str): The file.
        options (dict, optional): Settings to change, by dotted names.

    Returns:
        Config: The config.

    Raises:
        ConfigError: The file does not exist, or is not a config.
        DependencyError: It needs a library that is not installed.
    """
    if not Path(path).is_file():
        raise ConfigError(f'config {path} does not exist (looked in {Path.cwd()})')
    try:
        cfg = Config.fromfile(path)
    except FileNotFoundError as error:
        raise ConfigError(f'config {path} inherits from a file that does not exist: {error}') from error
    except ImportError as error:
        # MMEngine lists the whole sys.path, a line each
        reason = str(error).partition(', the current sys.path')[0]
        raise DependencyError(
            f'config {path} needs a library that is not installed: {reason}; {how_to_install_libraries()}'
        ) from error
    except RecursionError as error:
        raise ConfigError(f'config {path} inherits from itself; name another file as _base_') from error
    except Exception as error:  # a config is a program, which can raise anything
        raise ConfigError(f'config {path} cannot be read: {_in_one_line(error)}') from error
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:  # whatever MMEngine makes of settings that do not fit
        raise ConfigError(f'--cfg-options do not fit {path}: {_in_one_line(error)}') from error
    scope = cfg.get('default_scope') or 'mmengine'  # pure Python configs leave it out, as their types are classes
    if not isinstance(scope, str):
        raise ConfigError(f'config {path}: default_scope is {scope!r}; expected the name of a library')
    init_default_scope(scope)
    return cfg


def library_of(cfg: Config) -> str:
    """Find the library that a config belongs to.

    Args:
        cfg (Config): The whole config.

    Returns:
        str: Its ``default_scope``, if that is one of ours; otherwise the library whose classes its model and its test
        data consist of: ``'mmdet'``, ``'mmrotate'``, ``'mmpretrain'``, or ``'mmengine'`` for none of them.
    """
    scope = cfg.get('default_scope')
    if scope in LIBRARIES:
        return scope
    loader = cfg.get('test_dataloader') or {}
    parts = (*_packages(cfg.get('model'), MODELS), *_packages(loader.get('dataset'), DATASETS))
    found = [package for package in parts if package in LIBRARIES] or ['mmengine']
    # mmrotate stands on mmdet; a detector may have a backbone of mmpretrain
    return 'mmrotate' if found[0] == 'mmdet' and 'mmrotate' in found else found[0]


def _in_one_line(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def _packages(part: Any, registry: Registry) -> Iterator[str]:
    """List the packages of the types in a part of a config and of their base classes, outer ones first."""
    for module in dicts_in(part):
        kind = module.get('type')
        found = resolve_type(kind, registry) if kind else None
        if found is None and isinstance(kind, str):
            yield kind.partition('.')[0]
        for base in getattr(found, '__mro__', (found,)):
            yield getattr(base, '__module__', '').partition('.')[0]
