"""Errors that a user can fix, reported in one line: what was given, what was expected, where, what to do.

The tools print them without a traceback and exit with :data:`EXIT_CODE`. Any other exception is a bug.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

EXIT_CODE = 2
#: The exit code after Ctrl-C, as in a shell.
INTERRUPTED = 130


class MMFasterNetError(Exception):
    """Base class of the errors that a user can fix."""


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
    """List the first names for a message, and count the rest.

    Args:
        names (Sequence[str]): All names.
        count (int): How many names to list. Defaults to 3.

    Returns:
        str: Such as ``a, b, c and 7 more``.
    """
    more = len(names) - count
    return ', '.join(names[:count]) + (f' and {more} more' if more > 0 else '')


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool and exit; print errors that a user can fix in one line.

    Args:
        main (Callable): The tool's main function; it returns an exit code, or None for 0.
    """
    try:
        sys.exit(main() or 0)
    except MMFasterNetError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(INTERRUPTED)
