"""Training loops that go on after a stop as if it had never been.

Nothing random depends on what was drawn before: generators are seeded anew in every step, by the run's seed, the
process and the number of the step, and for every sample, by its place in that step. So no generator's state has to be
kept, and it does not matter which worker loads a sample, or whether a step is reached at once or after three stops.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast, gather_object, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import DATA_SAMPLERS, DATASETS, HOOKS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, Sampler

from ..memory import give_back_memory


def seed_generators(*key: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch in this process.

    Args:
        key (int): Numbers, at least 0, that tell this use of the generators from all others.
    """
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(3)]
    random.seed(words[0])
    np.random.seed(words[1])
    torch.manual_seed(words[2])


class Place(int):
    """The index of a sample that knows its place in the run.

    Attributes:
        key: Seed of the run, process, step, and position in the batch.
    """

    key: tuple[int, ...]


class SeededDataset(Dataset):
    """A data set whose augmentation depends on a sample's :class:`Place` and on nothing else.

    Args:
        dataset (dict): Config of the data set. Whatever is asked of this one is asked of it.
    """

    def __init__(self, dataset: dict[str, Any]) -> None:
        self.dataset = DATASETS.build(dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Place) -> Any:
        seed_generators(*index.key)
        return self.dataset[int(index)]


class NumberedBatches(Sampler):
    """A batch sampler that can begin anywhere, and whose indices are each a :class:`Place`.

    Args:
        sampler (Sampler): Gives the indices of this process, in an order that depends on its seed and epoch.
        batch_size (int): Samples in a batch.
        batch_sampler (dict, optional): Config of another way to make batches of them, such as by aspect ratio.
        drop_last (bool): Whether to leave out a last batch that is not full.
    """

    def __init__(
        self, sampler: Sampler, batch_size: int, batch_sampler: dict[str, Any] | None, drop_last: bool
    ) -> None:
        self.sampler = sampler
        self.batches = (
            DATA_SAMPLERS.build(batch_sampler, default_args=dict(sampler=sampler, batch_size=batch_size))
            if batch_sampler
            else BatchSampler(sampler, batch_size, drop_last)
        )
        self.key: tuple[int, ...] = ()
        self.step = self.skip = 0

    def begin(self, step: int, skip: int) -> None:
        """Say where the run is.

        Args:
            step (int): The number of the step that the next batch is for.
            skip (int): How many batches were used already in this order of the data.
        """
        self.step, self.skip = step, skip

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        for batch in self.batches:
            if self.skip:
                self.skip -= 1
                continue
            places = [Place(index) for index in batch]
            for position, place in enumerate(places):
                place.key = (*self.key, self.step, position)
            self.step += 1
            yield places


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

    def before_train(self, runner: Runner) -> None:
        """Put the run where it was."""
        loop = runner.train_loop
        # a run without a seed of its own learns from the checkpoint which it was drawn by
        loop.batches.key = (runner.seed, get_rank())
        if hasattr(loop.batches.sampler, 'seed'):
            loop.batches.sampler.seed = runner.seed
        # a collection would write to every object, and so copy the pages that workers share with this process
        gc.freeze()
        if not self._progress or not runner.iter:
            return
        loop.batches_done, before = self._progress['batches_done'], self._progress['batches_per_epoch']
        loop.validated = self._progress['validated']
        if before != len(loop.dataloader):
            loop.batches_done = loop.batches_done * len(loop.dataloader) // before
            print_log(
                f'an epoch had {before} steps when the run was stopped and has {len(loop.dataloader)} now: '
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
            batches_per_epoch=len(loop.dataloader),
            validated=loop.validated,
            gradients=loop.gradients if is_distributed() else [_gradients(runner)],
        )


class ExactLoop:
    """What both loops share: the data in an order that can begin anywhere, and the validation that is due."""

    def __init__(self, runner: Runner, dataloader: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        dataloader = dict(dataloader)
        dataloader['dataset'] = dict(type=SeededDataset, dataset=dataloader['dataset'])
        dataloader['batch_sampler'] = dict(
            type=NumberedBatches,
            batch_sampler=dataloader.get('batch_sampler'),
            drop_last=dataloader.pop('drop_last', False),
        )
        super().__init__(runner, dataloader, *args, **kwargs)
        self.batches: NumberedBatches = self.dataloader.batch_sampler
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
        dataloader (dict): Config of the data loader.
        args, kwargs: As of MMEngine's ``EpochBasedTrainLoop``.
    """

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
        self.batches.begin(self._iter, skip=self.batches_done)
        for batch_idx, data_batch in enumerate(self.dataloader, self.batches_done):
            self.run_iter(batch_idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ExactIterLoop(ExactLoop, IterBasedTrainLoop):
    """MMEngine's iteration-based loop, which resumes after any step as if the run had never stopped.

    Args:
        runner (Runner): The runner.
        dataloader (dict): Config of the data loader.
        args, kwargs: As of MMEngine's ``IterBasedTrainLoop``.
    """

    def run(self) -> torch.nn.Module:
        """Train, from where the run is."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._validate(self._iter, self._max_iters)
        batches = self._endless_batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _endless_batches(self) -> Iterator[Sequence[Any]]:
        """Go through the data again and again; passes that were used up before the stop turn out empty."""
        self.batches.begin(self._iter, skip=self._iter)
        epoch = 0
        while True:
            if hasattr(self.batches.sampler, 'set_epoch'):
                self.batches.sampler.set_epoch(epoch)
            yield from self.dataloader
            epoch += 1


def _plain(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


def _gradients(runner: Runner) -> dict[str, Tensor]:
    """Gradients that wait for more; there are none after a step of the optimizer."""
    parameters = _plain(runner.model).named_parameters()
    return {name: parameter.grad.cpu() for name, parameter in parameters if parameter.grad is not None}
