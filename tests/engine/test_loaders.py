"""Settings of data loaders that exclude each other."""

import pytest
from torch.utils.data import DataLoader

from mmfasternet.engine.loaders import check_loader
from mmfasternet.errors import ConfigError

GOOD = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler'),
    dataset=dict(type='CocoDataset'),
    collate_fn=dict(type='default_collate'),
    worker_init_fn=dict(type='x'),
    pin_memory=True,
)
ASPECT = dict(batch_sampler=dict(type='AspectRatioBatchSampler'))
BAD = {
    'persistent_workers': dict(num_workers=0),
    'prefetch_factor': dict(num_workers=0, persistent_workers=False, prefetch_factor=2),
    'multiprocessing_context': dict(num_workers=0, persistent_workers=False, multiprocessing_context='spawn'),
    'timeout': dict(timeout=-1),
    'shuffle': dict(shuffle=True),
    'drop_last': dict(**ASPECT, drop_last=True),
    'no batch_size': {**ASPECT, 'batch_size': ...},
    'batch_size': dict(batch_size=0),
    'num_workers': dict(num_workers=-1),
    'batchsize': dict(batchsize=2),
}


def test_good_settings():
    check_loader(GOOD, 'train_dataloader')
    check_loader(GOOD | ASPECT, 'train_dataloader')
    check_loader(GOOD | dict(num_workers=0, persistent_workers=False, prefetch_factor=None), 'train_dataloader')


@pytest.mark.parametrize('name', BAD)
def test_settings_that_exclude_each_other(name):
    loader = {key: value for key, value in (GOOD | BAD[name]).items() if value is not ...}
    with pytest.raises(ConfigError) as error:
        check_loader(loader, 'val_dataloader')
    text = str(error.value)
    assert text.startswith('val_dataloader') and name.removeprefix('no ') in text and len(text.splitlines()) == 1


@pytest.mark.parametrize('name', ['persistent_workers', 'prefetch_factor', 'multiprocessing_context'])
def test_the_line_says_what_to_do(name):
    options = {key: value for key, value in (GOOD | BAD[name]).items() if key in (
        'num_workers', 'persistent_workers', 'prefetch_factor', 'multiprocessing_context')}  # fmt: skip
    with pytest.raises(ValueError):
        DataLoader([0], **options)
    with pytest.raises(ConfigError) as error:
        check_loader(options, 'train_dataloader')
    remedy = str(error.value).partition('--cfg-options train_dataloader.')[2].split(',')[0]
    setting, _, value = remedy.partition('=')
    DataLoader([0], **options | {setting: {'False': False, 'None': None}[value]})
