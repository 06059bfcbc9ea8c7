"""Training loops that go on after a stop as if it had never been.

Nothing random depends on what was drawn before: generators are seeded anew in every step, by the run's seed, the
process and the number of the step, and for every sample, by its place in that step. So no generator's state has to be
kept, and it does not matter which worker loads a sample, or whether a step is reached at once or after three stops.
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
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from ..checkpoints import names_not_read
from ..errors import CheckpointError, DataError, first_few
from ..memory import give_back_memory, objects_frozen
from .schedules import follow_config


def seed_generators(*key: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch in this process.

    Args:
        key (int): Numbers, at least 0, that tell this use of the generators from all others.
    """
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(3)]
    random.seed(words[0])
    np.random.seed(words[1])
    torch.manual_seed(words[2])


class SampleIndex(NamedTuple):
    """An index of a data set, and the key by which its augmentation is seeded.

    Attributes:
        key: Seed of the run, process, step, and position in the batch.
        index: What the sampler gave: mostly a number, in video data sets a pair.
    """

    key: tuple[int, ...]
    index: Any


class SeededDataset(Dataset):
    """A view of a data set for one iterator, which seeds the generators before each sample.

    Args:
        dataset (Dataset): The data set, which stays as it is.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, sample: SampleIndex) -> Any:
        seed_generators(*sample.key)
        return self.dataset[sample.index]

    def __getitems__(self, samples: list[SampleIndex]) -> list[Any]:
        """Give a batch, at once where the data set can do so; PyTorch asks for it."""
        if not hasattr(self.dataset, '__getitems__'):
            return [self[sample] for sample in samples]
        seed_generators(*samples[0].key)
        return self.dataset.__getitems__([sample.index for sample in samples])


class NumberedBatches(Sampler):
    """A view of a batch sampler for one iterator, which can skip batches and gives a :class:`SampleIndex` each.

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
        key: Seed of the run, and process.
        step: The step that the next batch is for.
        skip: How many batches were used before the run stopped, in this order of the data.
    """

    key: tuple[int, ...] = ()
    step: int = 0
    skip: int = 0


@dataclass
class ExitOfView:
    """Starts a worker with the data set itself in ``torch.utils.data.get_worker_info()``, not with its view.

    Args:
        init_fn (Callable, optional): The loader's own ``worker_init_fn``.
    """

    init_fn: Callable[[int], None] | None

    def __call__(self, worker_id: int) -> None:
        """Start the worker with this number."""
        info = get_worker_info()
        # PyTorch freezes it
        object.__setattr__(info, 'dataset', info.dataset.dataset)
        if self.init_fn:
            self.init_fn(worker_id)


def iterate_seeded(loader: DataLoader, position: Position, iterators: WeakSet[Any]) -> Iterator[Any]:
    """Iterate over a loader from where the run is, with every sample seeded by its place in the run.

    Only the iterator sees the data set and the batch sampler through views. The loader keeps its own, so what a hook
    reads there or changes is what MMEngine's own loops would use.

    Args:
        loader (DataLoader): The loader.
        position (Position): Where the run is. It moves on with the iterator.
        iterators (WeakSet): The iterators made so far. Persistent workers of another iterator are restarted.

    Returns:
        Iterator: The batches.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        # it has no indices that could be seeded
        skip, position.skip = position.skip, 0
        return islice(loader, skip, None)
    if loader._iterator is not None and loader._iterator not in iterators:
        loader._iterator = None
    views = {
        'dataset': SeededDataset(loader.dataset),
        'batch_sampler': NumberedBatches(loader.batch_sampler, position),
        'worker_init_fn': ExitOfView(loader.worker_init_fn),
    }
    attributes = vars(loader)  # PyTorch forbids to assign these
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
    """Seeds every step, and keeps in the checkpoint what MMEngine leaves out of it.

    That is how far the run is within the epoch, whether the validation that follows is done, and gradients that are
    still to be accumulated. The exact loops register it themselves.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._progress: dict[str, Any] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember what the checkpoint says; whether the run resumes is not known yet."""
        self._progress = checkpoint.get('progress', {})
        state = {name: value for name, value in checkpoint.items() if name not in ('meta', 'state_dict')}
        names = names_not_read(state)
        if names and runner._resume:
            raise CheckpointError(
                f'{runner._load_from}: its training state needs {first_few(names)}, which only code of their own could '
                'build, so the training cannot be resumed; start one from its weights: load_from without resume'
            )

    def before_train(self, runner: Runner) -> None:
        """Put the run where it was."""
        loop = runner.train_loop
        # a run without a seed of its own learns from the checkpoint which it was drawn by
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
                f'an epoch had {before} steps when the run was stopped and has {now} now: '
                'it goes on, but not exactly as it would have',
                logger='current',
            )
        gradients = self._progress['gradients']
        if get_rank() < len(gradients):
            for name, parameter in _plain(runner.model).named_parameters():
                if name in gradients[get_rank()]:
                    parameter.grad = gradients[get_rank()][name].to(parameter.device)
        self._progress = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the generators for what the model draws."""
        seed_generators(runner.seed, get_rank(), runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the step before any hook saves it."""
        runner.train_loop.batches_done = batch_idx + 1
        runner.train_loop.validated = False

    def after_train_epoch(self, runner: Runner) -> None:
        """The next epoch begins with its first batch."""
        runner.train_loop.batches_done = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """A checkpoint that is saved from here on has seen the validation."""
        runner.train_loop.validated = True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save how far the run is."""
        if 'optimizer' not in checkpoint:  # the best so far, which is for use alone
            return
        loop = runner.train_loop
        checkpoint['progress'] = dict(
            batches_done=loop.batches_done,
            batches_per_epoch=length_hint(loop.dataloader),  # 0 for an iterable data set without a length
            validated=loop.validated,
            gradients=loop.gradients if is_distributed() else [_gradients(runner)],
        )


class ExactLoop:
    """What both loops share: the data in an order that can begin anywhere, and the validation that is due."""

    def __init__(self, runner: Runner, dataloader: DataLoader | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        self.position = Position()
        self._iterators: WeakSet[Any] = WeakSet()
        self.batches_done = 0
        self.validated = True
        self.gradients: list[dict[str, Tensor]] = []
        runner.register_hook(ExactResumeHook())

    def gather_gradients(self) -> None:
        """Have the first process, which saves for all, know what each of them has accumulated; all must call it."""
        own = _gradients(self.runner)
        self.gradients = (gather_object(own) or []) if own and is_distributed() else []

    def _validate(self, done: int, last: int) -> None:
        """Validate if it is time to, after ``done`` epochs or steps of ``last``."""
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self.validated or done < self.val_begin:
            return
        if done % self.val_interval == 0 or done == last:
            # each process has running statistics of its own; the checkpoint has those of the first
            for buffer in self.runner.model.buffers():
                broadcast(buffer)
            self.runner.val_loop.run()
            give_back_memory()


@LOOPS.register_module()
class ExactEpochLoop(ExactLoop, EpochBasedTrainLoop):
    """MMEngine's epoch-based loop, which resumes after any step as if the run had never stopped.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data loader or its config.
        args, kwargs: As of MMEngine's ``EpochBasedTrainLoop``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:
            raise _no_step(self.dataloader)

    @objects_frozen()
    def run(self) -> torch.nn.Module:
        """Train, from where the run is."""
        self.runner.call_hook('before_train')
        if self._epoch and not self.batches_done:  # stopped between the epoch's last step and the end of its validation
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for what is left of the epoch."""
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
    """MMEngine's iteration-based loop, which resumes after any step as if the run had never stopped.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data loader or its config.
        args, kwargs: As of MMEngine's ``IterBasedTrainLoop``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = self._endless_batches()

    @objects_frozen()
    def run(self) -> torch.nn.Module:
        """Train, from where the run is."""
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
        """Go through the data again and again; passes that were used up before the stop turn out empty."""
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
    """The sampler that orders the data; beside a batch sampler of its own, a loader has another that is not used."""
    return getattr(getattr(loader, 'batch_sampler', None), 'sampler', getattr(loader, 'sampler', None))


def _plain(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


def _gradients(runner: Runner) -> dict[str, Tensor]:
    """Gradients that wait for more; there are none after a step of the optimizer."""
    parameters = _plain(runner.model).named_parameters()
    return {name: parameter.grad.cpu() for name, parameter in parameters if parameter.grad is not None}
