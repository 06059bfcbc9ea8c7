"""What hooks, samplers and users do to the loader of the exact loops has the effect that it has in MMEngine's own."""

import functools
import itertools
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
from mmdet.engine.hooks import NumClassCheckHook, PipelineSwitchHook, YOLOXModeSwitchHook
from mmengine.dataset import BaseDataset, DefaultSampler, pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmpretrain.engine.hooks import ClassNumCheckHook, PreciseBNHook, SetAdaptiveMarginsHook, SwitchRecipeHook
from mmpretrain.models.heads import ArcFaceClsHead
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, Subset, get_worker_info

from mmfasternet.errors import DataError
from mmfasternet.training import ExactEpochLoop, ExactIterLoop

pytestmark = pytest.mark.slow

PAIRS = {EpochBasedTrainLoop: ExactEpochLoop, IterBasedTrainLoop: ExactIterLoop}
LOADING = {'here': dict(), 'persistent': dict(workers=2), 'new workers': dict(workers=2, persistent=False)}
_names = map(str, itertools.count())


class Mark:
    """A transform that shows which pipeline a sample went through."""

    def __init__(self, mark):
        self.mark = mark

    def __call__(self, results):
        return dict(number=results['number'], mark=self.mark)


class Samples(BaseDataset):
    METAINFO = dict(classes=('a', 'b'))
    CLASSES = METAINFO['classes']  # as mmpretrain's data sets have them

    def load_data_list(self):
        return [dict(number=number, gt_label=int(number % 3 > 0)) for number in range(10)]

    def get_gt_labels(self):
        return [self.get_data_info(index)['gt_label'] for index in range(len(self))]

    def update_skip_type_keys(self, keys):
        self.pipeline.transforms = [Mark(f'without {keys[0]}')]


class Learner(BaseModel):
    """Keeps what it sees."""

    def __init__(self):
        super().__init__()
        self.bbox_head = nn.Linear(1, 1)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.head = ArcFaceClsHead(2, 1)
        self.norm = nn.BatchNorm1d(1)
        self.seen = []

    def forward(self, number, mark, mode='tensor'):
        self.seen.append((list(map(int, number)), list(mark)))
        x = torch.tensor([[float(n) + shift] for n in number for shift in (0, 1)])
        return dict(loss=self.norm(self.bbox_head(x)).square().mean())


class Call(Hook):
    """Calls a function where a user would."""

    def __init__(self, **functions):
        for name, function in functions.items():
            setattr(self, name, function)


def train(loop, work_dir, hooks=(), loader=None, workers=0, persistent=True, resume=False, epochs=4, **settings):
    """Train, and give the model and the runner."""
    torch.manual_seed(0)
    model = Learner()
    end = dict(max_epochs=epochs) if 'Epoch' in loop.__name__ else dict(max_iters=4 * epochs)
    settings.setdefault('dataset', dict(type=Samples, pipeline=[Mark('first')]))
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader
        or dict(
            batch_size=3,
            num_workers=workers,
            persistent_workers=workers > 0 and persistent,
            **{'sampler': dict(type=DefaultSampler, shuffle=True), **settings},
        ),
        train_cfg=dict(type=loop, **end),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch='max_epochs' in end)),
        custom_hooks=list(hooks),
        experiment_name=next(_names),
        log_level='ERROR',
        resume=resume,
        randomness=dict(seed=3),
    )
    runner.train()
    return model, runner


def marks(model):
    return [mark for _, batch in model.seen for mark in batch]


SWITCHES = {
    'SwitchRecipeHook': lambda: SwitchRecipeHook([dict(action_epoch=3, train_pipeline=[Mark('second')])]),
    'PipelineSwitchHook': lambda: PipelineSwitchHook(2, [Mark('second')]),
    'YOLOXModeSwitchHook': lambda: YOLOXModeSwitchHook(num_last_epochs=1),
}


@pytest.mark.parametrize('loading', LOADING)
@pytest.mark.parametrize('name', SWITCHES)
def test_a_switch_of_pipelines(name, loading, tmp_path):
    expected, _ = train(EpochBasedTrainLoop, tmp_path / 'a', [SWITCHES[name]()], **LOADING[loading])
    model, _ = train(ExactEpochLoop, tmp_path / 'b', [SWITCHES[name]()], **LOADING[loading])
    assert model.seen == expected.seen  # the same images in the same order, through the same pipelines
    assert set(marks(model)[:20]) == {'first'} and not {'first'} & set(marks(model)[20:])


@pytest.mark.parametrize('name', SWITCHES)
def test_resume_after_the_switch(name, tmp_path):
    whole, _ = train(ExactEpochLoop, tmp_path, [SWITCHES[name]()])
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    resumed, _ = train(ExactEpochLoop, tmp_path, [SWITCHES[name]()], resume=True)
    assert resumed.seen == whole.seen[12:]


@pytest.mark.parametrize('wrapper', ['RepeatDataset', 'ConcatDataset'])
def test_a_switch_inside_wrappers(wrapper, tmp_path):
    samples = dict(type=Samples, pipeline=[Mark('first')])
    inner = dict(times=2, dataset=samples) if wrapper == 'RepeatDataset' else dict(datasets=[samples, samples])
    expected, model = (
        train(loop, tmp_path, [SWITCHES['SwitchRecipeHook']()], dataset=dict(type=wrapper, **inner))[0]
        for loop in (EpochBasedTrainLoop, ExactEpochLoop)
    )
    assert model.seen == expected.seen
    assert set(marks(model)[:40]) == {'first'} and set(marks(model)[40:]) == {'second'}


@pytest.mark.parametrize('workers', [0, 2])
def test_hooks_that_read_the_data(workers, tmp_path):
    """Numbers and names of classes, margins by their frequencies, and precise statistics of norms."""

    def hooks():
        return [NumClassCheckHook(), ClassNumCheckHook(), PreciseBNHook(num_samples=3), SetAdaptiveMarginsHook()]

    (expected, of), (model, runner) = (
        train(loop, tmp_path, hooks(), workers=workers, epochs=2) for loop in (EpochBasedTrainLoop, ExactEpochLoop)
    )
    assert model.seen == expected.seen and len(model.seen) > 8
    assert model.norm.running_mean == expected.norm.running_mean
    assert torch.equal(model.head.margins, expected.head.margins) and model.head.margins[1] != 0.5
    assert runner.message_hub.get_info('dataset_meta') == of.message_hub.get_info('dataset_meta')
    assert runner.visualizer.dataset_meta['classes'] == ('a', 'b')


class Numbers(BatchSampler):
    """A batch sampler of a user's own."""

    def __init__(self, sampler, batch_size):
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self):
        return reversed(list(super().__iter__()))


CHANGES = {
    'pipeline': lambda loader: setattr(loader.dataset, 'pipeline', Mark('changed')),
    'method': lambda loader: setattr(loader.dataset, 'prepare_data', One()),
    'batch size': lambda loader: setattr(loader.batch_sampler, 'batch_size', 2),
    'drop_last': lambda loader: setattr(loader.batch_sampler, 'drop_last', True),
    'shuffle': lambda loader: setattr(loader.sampler, 'shuffle', False),
    'collate_fn': lambda loader: setattr(loader, 'collate_fn', constant_batch),
    'data set': lambda loader: vars(loader).update(dataset=Samples(pipeline=[Mark('other')])),
    'batch sampler': lambda loader: vars(loader).update(batch_sampler=Numbers(SequentialSampler(range(10)), 2)),
    'workers': lambda loader: setattr(loader, 'worker_init_fn', change_in_worker),
}


class One:
    def __call__(self, index):
        return dict(number=1, mark=str(index))


def constant_batch(batch):
    return dict(number=[1, 2], mark=['x', 'y'])


def change_in_worker(worker_id):
    assert isinstance(get_worker_info().dataset, Samples)
    get_worker_info().dataset.pipeline = Mark('of a worker')


WRITES = [
    *((EpochBasedTrainLoop, change, 2) for change in CHANGES),
    *((EpochBasedTrainLoop, change, 0) for change in ('pipeline', 'batch size')),
    *((IterBasedTrainLoop, change, 2) for change in ('pipeline', 'batch sampler', 'workers')),
]


@functools.cache
def unchanged(loop, workers):
    return train(loop, Path(tempfile.mkdtemp()), workers=workers, epochs=1)[0].seen


@pytest.mark.parametrize(('loop', 'change', 'workers'), WRITES)
def test_what_is_written_to_the_loader(loop, change, workers, tmp_path):
    def run(loop):
        write = Call(before_train=lambda runner: CHANGES[change](runner.train_dataloader))
        return train(loop, tmp_path, [write], workers=workers, epochs=1)[0].seen

    assert run(PAIRS[loop]) == run(loop) != unchanged(loop, workers)


@pytest.mark.parametrize('loop', PAIRS)
def test_the_loader_is_mmengine_s(loop, tmp_path):
    seen = []

    def look(runner):
        loader = runner.train_loop.dataloader
        assert loader is runner.train_dataloader
        seen.append((type(loader), type(loader.dataset), type(loader.sampler), type(loader.batch_sampler),
                     loader.batch_size, loader.drop_last, len(loader), loader.dataset[3],
                     len(pickle.dumps(loader.dataset)), hasattr(loader.dataset, 'no_such_thing')))  # fmt: skip

    for kind in (loop, PAIRS[loop]):
        train(kind, tmp_path, [Call(before_train_epoch=look, after_train=look)], workers=2, epochs=1)
    assert seen[:2] == seen[2:]


def test_a_hook_that_has_started_the_workers_before(tmp_path):
    """The samples of the run are seeded all the same."""

    def start(runner):
        next(iter(runner.train_dataloader))

    drawn = [
        marks(train(ExactEpochLoop, tmp_path, hooks, workers=2, epochs=1, dataset=dict(type=Drawn))[0])
        for hooks in ([], [Call(before_train=start)])
    ]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 10


class Drawn(Samples):
    def prepare_data(self, index):
        return dict(number=index, mark=torch.rand(()).item())


class Pairs(Samples):
    """Is asked for pairs of numbers, as data sets of videos are."""

    def __getitem__(self, index):
        return dict(number=index[0], mark=f'{index[1]}')


class PairSampler(DefaultSampler):
    def __iter__(self):
        return ((index, 'frame') for index in super().__iter__())


class Batched(Samples):
    """Reads a batch at once."""

    def __getitems__(self, indices):
        return [dict(number=index, mark=str(len(indices))) for index in indices]


class Stream(IterableDataset):
    metainfo = dict(classes=('a', 'b'))

    def __len__(self):  # MMEngine asks for it
        return 40

    def __iter__(self):
        return iter([dict(number=number, mark='streamed') for number in range(40)])


LOADERS = {
    'pairs': lambda: dict(dataset=dict(type=Pairs), sampler=dict(type=PairSampler)),
    'batches at once': lambda: dict(dataset=dict(type=Batched)),
    'batch sampler': lambda: dict(batch_sampler=dict(type=Numbers)),
    'subset': lambda: ready(Subset(Samples(pipeline=[Mark('of a subset')]), [1, 2, 5])),
    'stream': lambda: ready(Stream(), shuffle=None),
}


def ready(dataset, shuffle=True):
    """A loader that a user built, which shuffles as its generator says."""
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(dataset, 2, shuffle=shuffle, collate_fn=pseudo_collate, generator=generator)
    return dict(loader=loader)


@pytest.mark.parametrize('kind', LOADERS)
def test_loaders_of_every_kind(kind, tmp_path):
    loops = PAIRS if kind != 'stream' else [IterBasedTrainLoop]  # an epoch needs a length
    for loop in loops:
        expected, _ = train(loop, tmp_path, epochs=1, **LOADERS[kind]())
        model, _ = train(PAIRS[loop], tmp_path, epochs=1, **LOADERS[kind]())
        assert model.seen == expected.seen and model.seen


@pytest.mark.parametrize('loop', PAIRS.values())
def test_a_loader_without_a_batch(loop, tmp_path):
    """Its run would end at once, or never."""
    with pytest.raises(DataError, match='an epoch has no step: 10 samples do not fill one batch'):
        train(loop, tmp_path, batch_sampler=dict(type=Full, drop_last=True))


class Full(BatchSampler):
    def __init__(self, sampler, batch_size, drop_last):
        super().__init__(sampler, 11, drop_last)
