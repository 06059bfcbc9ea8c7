"""Paths of the configs and tools, and commands for messages, in a checkout or in an installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / '.mim'
IS_CHECKOUT = not _INSTALLED.is_dir()
_ROOT = _PACKAGE.parent if IS_CHECKOUT else _INSTALLED
#: The folder of the configs: inside the package if it was installed from a wheel, beside it in a checkout.
CONFIG_DIR = _ROOT / 'configs'
#: The distribution of each library that configs inherit from.
_DISTRIBUTIONS = {'mmdet': 'onedl-mmdetection', 'mmrotate': 'onedl-mmrotate', 'mmpretrain': 'onedl-mmpretrain'}


def tool(name: str) -> str:
    """Return the command that runs a tool.

    Args:
        name (str): Name of the tool, such as ``'check_data'``.

    Returns:
        str: Such as ``python tools/check_data.py``; in a checkout, relative to its root.
    """
    return f'python tools/{name}.py' if IS_CHECKOUT else f'python {_ROOT / "tools" / name}.py'


def how_to_install_libraries() -> str:
    """Return the command that installs the missing libraries of OpenMMLab, for a message."""
    if IS_CHECKOUT:
        return '`make setup` installs all of them'
    missing = [distribution for name, distribution in _DISTRIBUTIONS.items() if find_spec(name) is None]
    return f'pip install {" ".join(missing or _DISTRIBUTIONS.values())}'
