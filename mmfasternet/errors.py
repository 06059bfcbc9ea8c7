"""Errors that a user can mend, told in one line: what was given, what was expected, where, what to do.

The tools print them without a traceback and exit with :data:`EXIT_CODE`. Anything else that is raised is a fault of
the program.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

EXIT_CODE = 2
#: What a shell makes of Ctrl-C.
INTERRUPTED = 130


class MMFasterNetError(Exception):
    """Base of all mistakes of the user that this package reports."""


class ConfigError(MMFasterNetError, ValueError):
    """A setting has a value that cannot work."""


class CheckpointError(MMFasterNetError, ValueError):
    """A checkpoint is missing, unreadable, or belongs to another network."""


class DataError(MMFasterNetError, ValueError):
    """Images or annotations are missing or malformed."""


class DependencyError(MMFasterNetError, ImportError):
    """A library that this part of the package needs is not installed."""


class DivergenceError(MMFasterNetError, ArithmeticError):
    """The loss or a gradient is not a finite number."""


def first_few(names: Sequence[str], count: int = 3) -> str:
    """Name the first of many in a message, and say how many more there are.

    Args:
        names (Sequence[str]): All of them.
        count (int): How many to name. Defaults to 3.

    Returns:
        str: Such as ``a, b, c and 7 more``.
    """
    more = len(names) - count
    return ', '.join(names[:count]) + (f' and {more} more' if more > 0 else '')


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool and exit, telling the user's mistakes in one line.

    Args:
        main (Callable): The tool; it returns an exit code, or None for 0.
    """
    try:
        sys.exit(main() or 0)
    except MMFasterNetError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(INTERRUPTED)
