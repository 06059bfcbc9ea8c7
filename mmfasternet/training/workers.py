"""Workers of data loaders that exit with the process that they load for, and not before."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType

from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def exit_with_parent(worker_id: int) -> None:
    """Make a worker exit with its parent, or when the parent sends SIGTERM: a data loader's ``worker_init_fn``.

    A scheduler sends SIGTERM to all processes, but the current step or validation still needs its images. A worker
    whose parent was killed would wait forever to hand over its last batch, and keep the sockets open by whose closing
    other processes notice the death. A parent that exits while it fetches a batch is not an error of its workers.

    Args:
        worker_id (int): The number of the worker.
    """
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            info = signal.sigtimedwait({signal.SIGTERM}, 1)
            if info and info.si_pid == parent:
                break
        os._exit(0)

    def report_unless_parent_exits(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        # the thread by which multiprocessing hands tensors over reports its errors to sys.excepthook
        if not issubclass(kind, ConnectionError):
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = report_unless_parent_exits  # in the worker alone
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
