"""Training loops that resume after an interruption with the results of an uninterrupted run.

Random numbers do not depend on earlier ones: generators are seeded in every step, from the run's seed, the process and
the number of the step, and for every sample, from its position in the step. So no state of a generator has to be saved,
and it does not matter which worker loads a sample, or how often the run was interrupted before the step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from operator import length_hint
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
from mmengine.dist import broadcast, gather_object, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from ..checkpoints import names_not_read
from ..errors import CheckpointError, DataError, first_few
from ..memory import give_back_memory, objects_frozen
from .schedules import follow_config


def seed_generators(*key: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch in this process.

    Args:
        key (int): Numbers of at least 0 that identify this use of the generators.
    """
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(3)]
    random.seed(words[0])
    np.random.seed(words[1])
    torch.manual_seed(words[2])


class SampleIndex(NamedTuple):
    """An index of a data set, and the key that seeds its augmentation.

    Attributes:
        key: Seed of the run, rank of the process, step, and position in the batch.
        index: The index of the sampler: usually a number, in video data sets a pair.
    """

    key: tuple[int, ...]
    index: Any


class SeededDataset(Dataset):
    """A view of a data set for one iterator that seeds the generators before each sample.

    Args:
        dataset (Dataset): The data set, which is not changed.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, sample: SampleIndex) -> Any:
        seed_generators(*sample.key)
        return self.dataset[sample.index]

    def __getitems__(self, samples: list[SampleIndex]) -> list[Any]:
        """Load a batch, in one call if the data set supports that; PyTorch calls this method."""
        if not hasattr(self.dataset, '__getitems__'):
            return [self[sample] for sample in samples]
        seed_generators(*samples[0].key)
        return self.dataset.__getitems__([sample.index for sample in samples])


class ResumableBatchSampler(Sampler):
    """A view of a batch sampler for one iterator that can skip batches and yields lists of :class:`SampleIndex`.

    Args:
        batches (Sampler): The batch sampler.
        position (Position): Where the run is.
    """

    def __init__(self, batches: Sampler, position: Position) -> None:
        self.batches, self.position = batches, position

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        position = self.position
        for batch in self.batches:
            if position.skip:
                position.skip -= 1
                continue
            key = *position.key, position.step
            position.step += 1
            yield [SampleIndex((*key, number), index) for number, index in enumerate(batch)]


@dataclass
class Position:
    """Where a run is in its data.

    Attributes:
        key: Seed of the run, and rank of the process.
        step: The step of the next batch.
        skip: How many batches of this pass over the data were used before the run was interrupted.
    """

    key: tuple[int, ...] = ()
    step: int = 0
    skip: int = 0


@dataclass
class ExitOfView:
    """Start a worker with the data set in ``torch.utils.data.get_worker_info()`` instead of its view.

    Args:
        init_fn (Callable, optional): The ``worker_init_fn`` of the loader.
    """

    init_fn: Callable[[int], None] | None

    def __call__(self, worker_id: int) -> None:
        """Start the worker with this number."""
        info = get_worker_info()
        # PyTorch forbids assignments
        object.__setattr__(info, 'dataset', info.dataset.dataset)
        if self.init_fn:
            self.init_fn(worker_id)


def iterate_seeded(loader: DataLoader, position: Position, iterators: WeakSet[Any]) -> Iterator[Any]:
    """Iterate over a loader from the position of the run, with a seed for every sample.

    Only the iterator uses views of the data set and the batch sampler. The loader keeps the originals, so that hooks
    read and change the same objects as with MMEngine's loops.

    Args:
        loader (DataLoader): The loader.
        position (Position): Where the run is. The iterator updates it.
        iterators (WeakSet): The iterators of earlier calls. Persistent workers of other iterators are restarted.

    Returns:
        Iterator: The batches.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        # there are no indices to seed
        skip, position.skip = position.skip, 0
        return islice(loader, skip, None)
    if loader._iterator is not None and loader._iterator not in iterators:
        loader._iterator = None
    views = {
        'dataset': SeededDataset(loader.dataset),
        'batch_sampler': ResumableBatchSampler(loader.batch_sampler, position),
        'worker_init_fn': ExitOfView(loader.worker_init_fn),
    }
    attributes = vars(loader)  # PyTorch forbids assignments to these
    own = {name: attributes[name] for name in views}
    attributes.update(views)
    try:
        iterator = iter(loader)
    finally:
        attributes.update(own)
    iterators.add(iterator)
    return iterator


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Seed every step, and save the state that MMEngine leaves out of checkpoints.

    This is the progress within the epoch, whether the following validation is finished, and accumulated gradients. The
    exact loops register this hook.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._progress: dict[str, Any] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the progress of the checkpoint; it is not known yet whether the run resumes."""
        self._progress = checkpoint.get('progress', {})
        state = {name: value for name, value in checkpoint.items() if name not in ('meta', 'state_dict')}
        names = names_not_read(state)
        if names and runner._resume:
            raise CheckpointError(
                f'{runner._load_from}: its training state needs {first_few(names)}, which cannot be read safely, so '
                'the training cannot be resumed; start a new one from its weights: load_from without resume'
            )

    def before_train(self, runner: Runner) -> None:
        """Restore the progress of the run."""
        loop = runner.train_loop
        # a run without a configured seed takes it from the checkpoint
        loop.position.key = (runner.seed, get_rank())
        sampler = _sampler_of(loop.dataloader)
        if hasattr(sampler, 'seed'):
            sampler.seed = runner.seed
        if not self._progress or not runner.iter:
            return
        follow_config(runner)
        loop.batches_done, before = self._progress['batches_done'], self._progress['batches_per_epoch']
        loop.validated = self._progress['validated']
        now = length_hint(loop.dataloader)
        if before not in (0, now):
            loop.batches_done = loop.batches_done * now // before
            print_log(
                f'an epoch had {before} steps when the run was interrupted and has {now} now: '
                'the run resumes, but not exactly',
                logger='current',
            )
        gradients = self._progress['gradients']
        if get_rank() < len(gradients):
            for name, parameter in _plain(runner.model).named_parameters():
                if name in gradients[get_rank()]:
                    parameter.grad = gradients[get_rank()][name].to(parameter.device)
        self._progress = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the generators for the model."""
        seed_generators(runner.seed, get_rank(), runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the step before another hook saves it."""
        runner.train_loop.batches_done = batch_idx + 1
        runner.train_loop.validated = False

    def after_train_epoch(self, runner: Runner) -> None:
        """Start the next epoch with its first batch."""
        runner.train_loop.batches_done = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Record that the validation is finished."""
        runner.train_loop.validated = True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the progress of the run."""
        if 'optimizer' not in checkpoint:  # the best checkpoint, which is not for resuming
            return
        loop = runner.train_loop
        checkpoint['progress'] = dict(
            batches_done=loop.batches_done,
            batches_per_epoch=length_hint(loop.dataloader),  # 0 for an iterable data set without a length
            validated=loop.validated,
            gradients=loop.gradients if is_distributed() else [_gradients(runner)],
        )


class ExactLoop(BaseLoop):
    """Base of both loops: data that can start at any position, and validation that is due."""

    def __init__(self, runner: Runner, dataloader: DataLoader | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        self.position = Position()
        self._iterators: WeakSet[Any] = WeakSet()
        self.batches_done = 0
        self.validated = True
        self.gradients: list[dict[str, Tensor]] = []
        runner.register_hook(ExactResumeHook())

    def gather_gradients(self) -> None:
        """Send the accumulated gradients to the first process, which saves them; all processes must call this."""
        own = _gradients(self.runner)
        self.gradients = (gather_object(own) or []) if own and is_distributed() else []

    def _validate(self, done: int, last: int) -> None:
        """Validate if that is due after ``done`` epochs or steps of ``last``."""
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self.validated or done < self.val_begin:
            return
        if done % self.val_interval == 0 or done == last:
            # running statistics differ among processes; the checkpoint has those of the first
            for buffer in self.runner.model.buffers():
                broadcast(buffer)
            self.runner.val_loop.run()
            give_back_memory()


@LOOPS.register_module()
class ExactEpochLoop(ExactLoop, EpochBasedTrainLoop):
    """An epoch-based loop that resumes exactly after any step.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data loader or its config.
        args, kwargs: Arguments of ``EpochBasedTrainLoop``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:
            raise _no_step(self.dataloader)

    @objects_frozen()
    def run(self) -> torch.nn.Module:
        """Train from the position of the run."""
        self.runner.call_hook('before_train')
        if self._epoch and not self.batches_done:  # interrupted before the end of the epoch's validation
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for the rest of the epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.position.step, self.position.skip = self._iter, self.batches_done
        batches = iterate_seeded(self.dataloader, self.position, self._iterators)
        for batch_idx, data_batch in enumerate(batches, self.batches_done):
            self.run_iter(batch_idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ExactIterLoop(ExactLoop, IterBasedTrainLoop):
    """An iteration-based loop that resumes exactly after any step.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data loader or its config.
        args, kwargs: Arguments of ``IterBasedTrainLoop``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = self._endless_batches()

    @objects_frozen()
    def run(self) -> torch.nn.Module:
        """Train from the position of the run."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._validate(self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _endless_batches(self) -> Iterator[Sequence[Any]]:
        """Repeat the data forever; passes that were finished before the interruption are empty."""
        self.position.step = self.position.skip = self._iter
        for epoch in count():
            sampler = _sampler_of(self.dataloader)
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
            is_empty, skip = True, self.position.skip
            for batch in iterate_seeded(self.dataloader, self.position, self._iterators):
                is_empty = False
                yield batch
            if is_empty and self.position.skip == skip:
                raise _no_step(self.dataloader)


def _no_step(loader: DataLoader) -> DataError:
    return DataError(
        f'train_dataloader: an epoch has no step: {len(loader.dataset)} samples do not fill one batch of each process, '
        'and the last batch is dropped. Set train_dataloader.drop_last=False or a smaller train_dataloader.batch_size, '
        'or add data'
    )


def _sampler_of(loader: DataLoader) -> Sampler | None:
    """Return the sampler that orders the data; a loader with its own batch sampler also has an unused one."""
    return getattr(getattr(loader, 'batch_sampler', None), 'sampler', getattr(loader, 'sampler', None))


def _plain(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


def _gradients(runner: Runner) -> dict[str, Tensor]:
    """Return the accumulated gradients; there are none after a step of the optimizer."""
    parameters = _plain(runner.model).named_parameters()
    return {name: parameter.grad.cpu() for name, parameter in parameters if parameter.grad is not None}
