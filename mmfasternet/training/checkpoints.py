"""Checkpoints that are on the disk as a whole or not at all, through kills, preemption and full disks."""

from __future__ import annotations

import logging
import signal
import sys
import zipfile
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, barrier, is_distributed, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import CheckpointError
from ..files import DRAFT, whole_file
from ..memory import give_back_memory
from .exact_resume import ExactLoop

#: What a run exits with that was told to stop by SIGTERM, and has saved: "try again later" in sysexits.h.
STOPPED = 75
#: A checkpoint at a step at which none is due; the next that is takes its place.
BETWEEN = 'latest.pth'
#: MMEngine's file that names the newest checkpoint.
POINTER = 'last_checkpoint'


@register_backend('durable')
class DurableBackend(LocalBackend):
    """Files on a local disk that are written whole: the checkpoint hook's ``backend_args=dict(backend='durable')``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj (bytes): What it has.
            filepath (str | Path): Where it goes.

        Raises:
            CheckpointError: If it cannot be written. A file that was there before is still whole.
        """
        try:
            with whole_file(Path(filepath), sync=True) as draft:
                draft.write_bytes(obj)
        except OSError as error:
            raise CheckpointError(
                f'{filepath} cannot be written: {error.strerror} ({len(obj) / 1e6:.1f} MB needed). Checkpoints that '
                'were there before are untouched; make room, or allow writing, and go on with --resume'
            ) from error


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, which never leaves a run without a whole checkpoint.

    Files are written beside their place, synced and renamed; the ones before are removed only then. On SIGTERM, a
    scheduler's word that the machine is needed, the run saves after the step that it is in, and exits with
    :data:`STOPPED`.

    Args:
        kwargs: As of MMEngine's ``CheckpointHook``.
    """

    def __init__(self, **kwargs: Any) -> None:
        if '://' not in str(kwargs.get('out_dir')) and 'file_client_args' not in kwargs:
            kwargs.setdefault('backend_args', dict(backend='durable'))
        super().__init__(**kwargs)
        self._told_to_stop = False
        self._saved_at: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Listen to SIGTERM, and clear away what a kill has left half written."""
        super().before_train(runner)
        self._saved_at = runner.iter
        self._handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        if is_main_process():
            for draft in Path(runner.work_dir).glob(f'{DRAFT}*'):
                draft.unlink()

    def after_train(self, runner: Runner) -> None:
        """Publish what is to be published, and stop listening."""
        super().after_train(runner)
        signal.signal(signal.SIGTERM, self._handler)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save if it is time to, or if the run is to stop."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._all_stop():
            if self._saved_at != runner.iter + 1:
                self._save(runner, BETWEEN, dict(epoch=runner.epoch, iter=runner.iter + 1))
            self._leave()

    def before_val(self, runner: Runner) -> None:
        """Save before a validation, which may take long, what no checkpoint has yet."""
        if self._saved_at not in (None, runner.iter):
            self._save(runner, BETWEEN, dict(epoch=runner.epoch, iter=runner.iter))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any | None = None
    ) -> None:
        """Leave if the run is to stop: its state was saved before the validation, which is done anew."""
        if self._told_to_stop:
            self._leave()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Save, name the file as the last, and only then remove those that are too many."""
        outdated = [BETWEEN]
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._save(runner, self.filename_tmpl.format(step), meta)
        if is_main_process():
            for name in outdated:
                path = self.file_backend.join_path(self.out_dir, name)
                if self.file_backend.isfile(path):
                    self.file_backend.remove(path)

    def _save(self, runner: Runner, name: str, meta: dict[str, Any]) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        if isinstance(runner.train_loop, ExactLoop):
            runner.train_loop.gather_gradients()
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved_at = meta['iter']
        if is_main_process():
            DurableBackend().put(self.last_ckpt.encode(), Path(runner.work_dir, POINTER))
            give_back_memory()
        # a launcher kills all processes when the first has left: none may before the file is whole
        barrier()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._told_to_stop = True

    def _all_stop(self) -> bool:
        """Whether any of the processes was told to stop; all of them do so at the same step."""
        if not is_distributed():
            return self._told_to_stop
        told = torch.tensor(int(self._told_to_stop), device=get_device())
        all_reduce(told, op='max')
        return bool(told)

    def _leave(self) -> None:
        # told again by a launcher, since another process was faster: the exit code stays what it is
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print_log(
            f'SIGTERM: the run is saved in {self.last_ckpt} and stops (exit code {STOPPED}); go on with --resume',
            logger='current',
            level=logging.WARNING,
        )
        sys.exit(STOPPED)


def newest_whole_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the checkpoint to resume from, and say which newer ones are damaged.

    Args:
        work_dir (str | Path): Where a run keeps its checkpoints.

    Returns:
        Path | None: The newest whose bytes are as they were written; None if there is none.
    """
    folder, candidates = Path(work_dir), []
    if (folder / POINTER).is_file():
        named = Path((folder / POINTER).read_text().strip())
        candidates.append(named if named.is_file() else folder / named.name)
    # what is saved as the best has no optimizer in it
    others = [path for path in folder.glob('*.pth') if not path.name.startswith(('best_', DRAFT))]
    candidates += sorted(others, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in dict.fromkeys(candidates):
        fault = _fault(path)
        if fault is None:
            return path
        print_log(f'{path} {fault}: taking the checkpoint before it', logger='current', level=logging.WARNING)
    return None


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint's bytes: torch writes a zip, with a checksum for each tensor."""
    if not path.is_file():
        return 'is not there'
    try:
        with zipfile.ZipFile(path) as archive:
            return 'is damaged' if archive.testzip() else None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f'is damaged ({error})'
