"""Data sets are found where the libraries find them: what they can read passes, what they cannot is one line."""

import json

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from mmpretrain.datasets import CustomDataset
from PIL import Image

from mmfasternet.datasets.data_files import class_meta, count_samples, leaf_datasets, resolve
from mmfasternet.datasets.image_files import Decoder
from mmfasternet.errors import ConfigError, DataError

CLASSES = ('cat', 'dog')


class _Table(BaseDataset):
    """A user's own, of a database."""

    def load_data_list(self):
        return [dict(row=1)]


class _YearOfCoco(CocoDataset):
    """A user's own, which knows where its files are."""

    def __init__(self, year, **kwargs):
        super().__init__(data_prefix=dict(img=''), ann_file=f'{year}.json', **kwargs)


def _build(**kwargs):
    """A user's own, that is no class."""
    return _Table(**kwargs)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A COCO of one image, two class folders, and a tile of DOTA, in the folder of the run."""
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet')
    box = dict(bbox=[1, 1, 9, 9], area=81, segmentation=[[1, 1, 10, 1, 10, 10, 1, 10]], iscrowd=0)
    content = dict(
        images=[dict(id=1, file_name='a.png', width=32, height=24)],
        annotations=[dict(box, id=1, image_id=1, category_id=1)],
        categories=[dict(id=number, name=name) for number, name in enumerate(CLASSES, 1)],
    )
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    (tmp_path / 'names.txt').write_text('\n'.join(CLASSES))
    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.txt').write_text('1 1 9 1 9 9 1 9 ship 0\n')
    for folder in ('images', *(f'folders/{name}' for name in CLASSES)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (32, 24)).save(tmp_path / folder / 'a.png')
    return tmp_path


def coco(**options):
    return ConfigDict(dict(type='CocoDataset', ann_file='coco.json', data_prefix=dict(img='images'), **options))


def test_the_places_of_coco(root):
    expected = ('coco', root / 'coco.json', root / 'images')
    for data_root in (str(root), f'{root}/', '.', '', None):
        files = resolve(coco(data_root=data_root), 'x')
        assert (files.format, files.annotations.resolve(), files.images.resolve()) == expected
    # with whole paths, the folder does not matter
    whole = coco(data_root='nowhere') | dict(ann_file=f'{root}/coco.json', data_prefix=dict(img=f'{root}/images'))
    files = resolve(whole, 'x')
    assert (files.format, files.annotations, files.images) == expected
    assert len(DATASETS.build(whole | dict(metainfo=dict(classes=CLASSES), _scope_='mmdet'))) == 1


PETREL = dict(backend='petrel', path_mapping={'data/': 's3://bucket/'})


@pytest.mark.parametrize(
    'options',
    [
        dict(data_root='s3://bucket/coco/'),
        dict(data_root='cluster:s3://bucket/coco/'),
        dict(data_root='data/coco', backend_args=PETREL),
        dict(data_root='data/coco', backend_args=dict(backend='lmdb', db_path='x')),
        dict(data_root='data/coco', file_client_args=PETREL),
        dict(ann_file='https://example.org/coco.json'),
        dict(type=_Table, data_root='postgres', ann_file='table'),
        dict(type=_YearOfCoco, year=2017, data_root='nowhere'),
        dict(type=_build, ann_file='table'),
        dict(type='mmpretrain.CIFAR10', data_root='data/cifar10'),
        dict(type='mmpretrain.MNIST', data_prefix='data/mnist', download=True),
        dict(type='mmpretrain.FashionMNIST', data_root='data/fashion'),
        dict(type=_Table, dataset='a name', ann_file='table'),
    ],
)
def test_what_only_the_data_set_itself_can_find_is_left_to_it(root, options):
    dataset = ConfigDict(coco() | options)
    files = resolve(dataset, 'x')
    assert (files.format, files.annotations, files.images) == ('', None, None)
    assert list(leaf_datasets(dataset)) == [dataset]


@pytest.mark.parametrize(
    'options',
    [dict(data_prefix=dict(img='s3://bucket/')), dict(pipeline=[dict(type='LoadImageFromFile', backend_args=PETREL)])],
)
def test_images_in_another_store(root, options):
    files = resolve(ConfigDict(coco() | options), 'x')
    assert files.format == 'coco' and files.images is None


def test_home_is_expanded_where_the_library_does(root, monkeypatch):
    monkeypatch.setenv('HOME', str(root))
    for options in (dict(data_root='~/'), dict(ann_file='~/coco.json'), dict(data_prefix=dict(img='~/images'))):
        with pytest.raises(DataError, match='~ is not expanded here, write the full path'):
            resolve(ConfigDict(coco() | options), 'x')
        with pytest.raises(FileNotFoundError):
            data = DATASETS.build(dict(coco() | options, pipeline=[dict(type='LoadImageFromFile')], _scope_='mmdet'))
            data[0]
    folders = ConfigDict(dict(type='mmpretrain.CustomDataset', data_prefix='~/folders'))
    assert resolve(folders, 'x').images == root / 'folders'
    assert len(CustomDataset(data_prefix='~/folders')) == 2
    folders.update(data_root='~', data_prefix='folders')
    with pytest.raises(DataError, match='the folder ~ does not exist .*~ is not expanded here'):
        resolve(folders, 'x')


def test_a_cifar_that_is_not_fetched_must_be_there(root):
    with pytest.raises(DataError, match='the folder data/cifar10 does not exist'):
        resolve(dict(type='mmpretrain.CIFAR10', data_root='data/cifar10', download=False), 'x')


def test_coco_needs_to_be_told_where_its_images_are(root):
    dataset = coco()
    del dataset['data_prefix']
    with pytest.raises(ConfigError, match=r"x.dataset.data_prefix is {}; expected dict\(img='FOLDER'\)"):
        resolve(dataset, 'x')
    with pytest.raises(KeyError):
        DATASETS.build(dict(dataset, _scope_='mmdet'))


def test_classes_in_a_file(root):
    dataset = coco(metainfo=dict(classes='names.txt'))
    assert tuple(class_meta(dataset, 'x')['classes']) == CLASSES
    assert tuple(DATASETS.build(dict(dataset, _scope_='mmdet')).metainfo['classes']) == CLASSES
    folders = dict(type='mmpretrain.CustomDataset', data_prefix='folders', classes='names.txt')
    assert tuple(class_meta(folders, 'x')['classes']) == CLASSES
    tiles = dict(type='mmrotate.DOTADataset', data_prefix=dict(img_path='images'), metainfo=dict(classes='names.txt'))
    assert tuple(class_meta(tiles, 'x')['classes']) == CLASSES


@pytest.mark.parametrize('classes', [('donut'), 'hot dog', 'images', ''])
@pytest.mark.parametrize('kind', ['CocoDataset', 'mmrotate.DOTADataset', 'mmpretrain.CustomDataset'])
def test_one_class_as_a_text(root, classes, kind):
    with pytest.raises(ConfigError, match=rf"metainfo.classes is the str '{classes}' .* a comma, \('{classes}',\)"):
        class_meta(dict(type=kind, metainfo=dict(classes=classes)), 'x')['classes']


def test_classes_in_capitals_and_of_the_old_argument(root):
    with pytest.raises(ConfigError, match='metainfo has CLASSES, which is not read'):
        class_meta(coco(metainfo=dict(CLASSES=CLASSES)), 'x')['classes']
    with pytest.raises(ConfigError, match="x.dataset.classes is the str 'cat'"):
        class_meta(dict(type='mmpretrain.CustomDataset', data_prefix='folders', classes='cat'), 'x')['classes']


def test_folders_are_classes_where_none_are_named(root):
    dataset = dict(type='mmpretrain.CustomDataset', data_prefix='folders')
    assert tuple(resolve(dataset, 'x').classes) == CLASSES == CustomDataset(data_prefix='folders').CLASSES
    (root / 'labels.txt').write_text('cat/a.png 0\n')
    assert resolve(dict(dataset, ann_file='labels.txt'), 'x').classes == ()


@TRANSFORMS.register_module()
class _OwnImages:
    pass


@pytest.mark.parametrize(
    ('steps', 'decoder'),
    [
        ([], Decoder()),
        ([dict(type='LoadAnnotations')], Decoder()),
        (
            [dict(type='LoadImageFromFile', imdecode_backend='pillow', color_type='unchanged')],
            Decoder('pillow', 'unchanged'),
        ),
        ([dict(type='mmcv.LoadImageFromFile')], Decoder()),
        ([dict(type='LoadImageFromNDArray')], None),
        ([dict(type='_OwnImages'), dict(type='LoadAnnotations')], None),
    ],
)
def test_how_images_are_decoded(root, steps, decoder):
    assert resolve(coco(pipeline=steps), 'x').decoder == decoder


def test_samples_of_wrappers(root):
    leaf = coco()
    repeated = dict(type='RepeatDataset', times=3, dataset=leaf)
    for dataset, number in (
        (leaf, 5),
        (repeated, 15),
        (dict(type='ConcatDataset', datasets=[repeated, leaf]), 20),
        (dict(type='mmdet.MultiImageMixDataset', dataset=repeated, pipeline=[]), 15),
        (dict(type='ClassBalancedDataset', dataset=leaf, oversample_thr=0.1), None),
        (dict(type='RepeatDataset', times='3', dataset=leaf), None),
    ):
        assert count_samples(dataset, iter([5, 5])) == number
    assert count_samples(repeated, iter([None])) is None
