"""Workers of data loaders that end with the process that they load for, and not before."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType

from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def heed_parent_alone(worker_id: int) -> None:
    """Have a worker end with its parent, or when that sends SIGTERM: a data loader's ``worker_init_fn``.

    A scheduler sends SIGTERM to all processes, but the step or validation that goes on needs its images. And a worker
    whose parent was killed would wait forever to hand over its last batch, with the sockets still open by which other
    processes would learn of the death. A parent that ends while it fetches a batch is no news from its workers either.

    Args:
        worker_id (int): The number of the worker.
    """
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            told = signal.sigtimedwait({signal.SIGTERM}, 1)
            if told and told.si_pid == parent:
                break
        os._exit(0)

    def tell_all_but_the_end_of_the_parent(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        # the thread by which multiprocessing hands tensors over reports its errors to sys.excepthook
        if not issubclass(kind, ConnectionError):
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = tell_all_but_the_end_of_the_parent
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
