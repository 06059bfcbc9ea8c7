"""Write checkpoints completely or not at all, despite kills, preemption and full disks."""

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

#: The exit code of a run that saved and stopped after SIGTERM: EX_TEMPFAIL, "try again later", in sysexits.h.
STOPPED = 75
#: The name of a checkpoint between the scheduled ones; the next scheduled checkpoint replaces it.
BETWEEN = 'latest.pth'
#: The file in which MMEngine names the newest checkpoint.
POINTER = 'last_checkpoint'


@register_backend('durable')
class DurableBackend(LocalBackend):
    """Write files on a local disk completely or not at all: ``backend_args=dict(backend='durable')`` of a hook."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj (bytes): Its content.
            filepath (str | Path): Its path.

        Raises:
            CheckpointError: It cannot be written. An existing file stays complete.
        """
        try:
            with whole_file(Path(filepath), sync=True) as draft:
                draft.write_bytes(obj)
        except OSError as error:
            raise CheckpointError(
                f'{filepath} cannot be written: {error.strerror} ({len(obj) / 1e6:.1f} MB needed). Existing '
                'checkpoints are unchanged; make room or change permissions, and continue with --resume'
            ) from error


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """A ``CheckpointHook`` that never leaves a run without a complete checkpoint.

    Files are written to a draft, synced and renamed; only then are outdated ones removed. On SIGTERM, with which a
    scheduler stops a run, the run saves after the current step and exits with :data:`STOPPED`.

    Args:
        kwargs: Arguments of MMEngine's ``CheckpointHook``.
    """

    def __init__(self, **kwargs: Any) -> None:
        if '://' not in str(kwargs.get('out_dir')) and 'file_client_args' not in kwargs:
            kwargs.setdefault('backend_args', dict(backend='durable'))
        super().__init__(**kwargs)
        self._has_to_stop = False
        self._saved_at: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Install the handler of SIGTERM, and remove drafts of a killed run."""
        super().before_train(runner)
        self._saved_at = runner.iter
        self._handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        if is_main_process():
            for draft in Path(runner.work_dir).glob(f'{DRAFT}*'):
                draft.unlink()

    def after_train(self, runner: Runner) -> None:
        """Publish the checkpoint if the hook is set to, and restore the handler of SIGTERM."""
        super().after_train(runner)
        signal.signal(signal.SIGTERM, self._handler)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save if a checkpoint is due, or if the run has to stop."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._all_stop():
            if self._saved_at != runner.iter + 1:
                self._save(runner, BETWEEN, dict(epoch=runner.epoch, iter=runner.iter + 1))
            self._leave()

    def before_val(self, runner: Runner) -> None:
        """Save steps that no checkpoint has yet before a validation, which may take long."""
        if self._saved_at not in (None, runner.iter):
            self._save(runner, BETWEEN, dict(epoch=runner.epoch, iter=runner.iter))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any | None = None
    ) -> None:
        """Exit if the run has to stop; its state was saved before the validation, which is repeated after resuming."""
        if self._has_to_stop:
            self._leave()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Save, update the pointer to the newest checkpoint, and only then remove outdated ones."""
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
        # a launcher kills all processes when the first exits, so none may exit before the file is complete
        barrier()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._has_to_stop = True

    def _all_stop(self) -> bool:
        """Whether any process received SIGTERM; all of them stop at the same step."""
        if not is_distributed():
            return self._has_to_stop
        stops = torch.tensor(int(self._has_to_stop), device=get_device())
        all_reduce(stops, op='max')
        return bool(stops)

    def _leave(self) -> None:
        # a launcher sends SIGTERM again when another process exits first; it must not change the exit code
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print_log(
            f'SIGTERM: the run is saved in {self.last_ckpt} and stops (exit code {STOPPED}); continue with --resume',
            logger='current',
            level=logging.WARNING,
        )
        sys.exit(STOPPED)


def newest_whole_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the checkpoint to resume from, and log newer ones that are damaged.

    Args:
        work_dir (str | Path): Folder with the checkpoints of a run.

    Returns:
        Path | None: The newest undamaged checkpoint; None if there is none.
    """
    folder, candidates = Path(work_dir), []
    if (folder / POINTER).is_file():
        named = Path((folder / POINTER).read_text().strip())
        candidates.append(named if named.is_file() else folder / named.name)
    # the best checkpoint has no state of the optimizer
    others = [path for path in folder.glob('*.pth') if not path.name.startswith(('best_', DRAFT))]
    candidates += sorted(others, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in dict.fromkeys(candidates):
        fault = _fault(path)
        if fault is None:
            return path
        print_log(f'{path} {fault}: using the checkpoint before it', logger='current', level=logging.WARNING)
    return None


def _fault(path: Path) -> str | None:
    """Return why a checkpoint is damaged, or None; torch writes a zip with a checksum for each tensor."""
    if not path.is_file():
        return 'does not exist'
    try:
        with zipfile.ZipFile(path) as archive:
            return 'is damaged' if archive.testzip() else None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f'is damaged ({error})'
