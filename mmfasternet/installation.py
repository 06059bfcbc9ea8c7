"""Where the configs and tools are, and how messages name commands: in a checkout, or installed with pip."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / '.mim'
IS_CHECKOUT = not _INSTALLED.is_dir()
_ROOT = _PACKAGE.parent if IS_CHECKOUT else _INSTALLED
#: Folder of the config files: inside the package when installed from a wheel, beside it in a checkout.
CONFIG_DIR = _ROOT / 'configs'
#: The distributions of the libraries that configs inherit from.
_DISTRIBUTIONS = {'mmdet': 'onedl-mmdetection', 'mmrotate': 'onedl-mmrotate', 'mmpretrain': 'onedl-mmpretrain'}


def tool(name: str) -> str:
    """Give the command that runs a tool.

    Args:
        name (str): Its name, such as ``'check_data'``.

    Returns:
        str: Such as ``python tools/check_data.py``, in a checkout as seen from its root.
    """
    return f'python tools/{name}.py' if IS_CHECKOUT else f'python {_ROOT / "tools" / name}.py'


def how_to_install_libraries() -> str:
    """Say how the missing libraries of OpenMMLab are installed.

    Returns:
        str: A command, for a message.
    """
    if IS_CHECKOUT:
        return '`make setup` installs all of them'
    missing = [distribution for name, distribution in _DISTRIBUTIONS.items() if find_spec(name) is None]
    return f'pip install {" ".join(missing or _DISTRIBUTIONS.values())}'
