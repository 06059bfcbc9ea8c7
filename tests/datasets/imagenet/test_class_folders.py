"""Folders of images, one a class: what is there is listed, what is wrong is told in one line."""

from pathlib import Path

import pytest
import timm
from mmpretrain.datasets import CustomDataset

from mmfasternet.datasets.imagenet.class_folders import (
    IMAGENET_R_WNIDS,
    IMAGENET_WNIDS,
    check_label_file,
    list_class_folders,
)
from mmfasternet.errors import DataError

WNIDS = ('n01443537', 'n02165456', 'n02317335')


@pytest.fixture
def root(tmp_path):
    for wnid in WNIDS:
        (tmp_path / wnid).mkdir()
        for name in ('b.JPEG', 'a.jpg'):
            (tmp_path / wnid / name).write_bytes(b'image')
        (tmp_path / wnid / 'notes.txt').write_text('no image')
    (tmp_path / 'README.txt').write_text('no class')
    return tmp_path


@pytest.mark.parametrize(
    ('ours', 'file', 'number'),
    [(IMAGENET_WNIDS, 'imagenet_synsets.txt', 1000), (IMAGENET_R_WNIDS, 'imagenet_r_synsets.txt', 200)],
)
def test_the_wnids_are_those_of_timm(ours, file, number):
    theirs = Path(timm.__file__).parent / 'data/_info' / file
    assert len(ours) == number
    assert list(ours) == theirs.read_text().split()


@pytest.mark.parametrize('classes', [(), WNIDS, WNIDS[::-1], ('fish', 'bug', 'star')])
def test_lists_the_images_of_each_class(root, classes):
    assert list_class_folders(root, classes) == dict.fromkeys(WNIDS, ['a.jpg', 'b.JPEG'])


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r'the folder .*train does not exist; expected one with a folder'):
        list_class_folders(tmp_path / 'train')


def test_folders_that_are_no_wnids(root):
    (root / 'goldfish').mkdir()
    with pytest.raises(DataError, match=r'goldfish is not a WordNet id; expected names such as n01443537'):
        list_class_folders(root, WNIDS)


def test_folders_of_other_classes(root):
    with pytest.raises(DataError, match=r'1 folders are not among the 2 classes of the data set: n02317335; remove'):
        list_class_folders(root, WNIDS[:2])


def test_classes_without_folder(root):
    wanted = (*WNIDS, 'n07745940', 'n07753592')
    with pytest.raises(DataError, match=r'lacks 2 of the 5 classes: n07745940, n07753592; extract it again'):
        list_class_folders(root, wanted)


def test_another_number_of_folders_than_named_classes(root):
    with pytest.raises(DataError, match=r'has 3 folders \(n01443537, .*\), but there are 2 classes \(fish, bug\)'):
        list_class_folders(root, ('fish', 'bug'))


def test_a_class_without_images(root):
    for path in (root / WNIDS[1]).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r'1 of 3 classes have no images: n02165456; extract them again'):
        list_class_folders(root, WNIDS)


def test_images_without_bytes(root):
    (root / WNIDS[2] / 'a.jpg').write_bytes(b'')
    with pytest.raises(DataError, match=r'1 images are empty files: n02317335/a.jpg; extract them again'):
        list_class_folders(root, WNIDS)


def test_a_label_file_that_agrees(root):
    path = root / 'val.txt'
    path.write_text(f'{WNIDS[0]}/a.jpg 0\n{WNIDS[2]}/b.JPEG 2\n')
    check_label_file(path, root, WNIDS)
    # flat folders, as ILSVRC's validation images come, and classes that are not known
    (root / 'flat.jpg').write_bytes(b'image')
    path.write_text('flat.jpg 1\n')
    check_label_file(path, root, WNIDS)
    check_label_file(path, root, ())


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (f'{WNIDS[1]}/a.jpg 0', f'{WNIDS[1]}/a.jpg has label 0, but its folder is class 1; remove the label file'),
        (f'{WNIDS[1]}/z.jpg 1', f'{WNIDS[1]}/z.jpg is not in '),
        ('n09999999/a.jpg 1', 'n09999999/a.jpg is not in '),
        (f'{WNIDS[1]}/a.jpg 3', 'expected an image and a label from 0 to 2'),
        (f'{WNIDS[1]}/a.jpg -1', 'expected an image and a label from 0 to 2'),
        (f'{WNIDS[1]}/a.jpg', 'expected an image and a label from 0 to 2'),
        ('', 'expected an image and a label from 0 to 2'),
    ],
)
def test_a_label_file_that_does_not(root, line, message):
    path = root / 'val.txt'
    path.write_text(f'{WNIDS[0]}/a.jpg 0\n{line}\n{WNIDS[2]}/a.jpg 2\n')
    with pytest.raises(DataError) as error:
        check_label_file(path, root, WNIDS)
    assert str(error.value).startswith(f'{path}:2: ')
    assert message in str(error.value)


def mmpretrains(root, **options):
    """mmpretrain's own data set of the folders: names and labels."""
    data = CustomDataset(data_prefix=str(root), **options)
    return [
        (Path(item['img_path']).relative_to(root).as_posix(), item['gt_label'])
        for item in map(data.get_data_info, range(len(data)))
    ]


def make_nested(root):
    (root / WNIDS[1] / 'day/sunny').mkdir(parents=True)
    (root / WNIDS[1] / 'day/sunny/c.png').write_bytes(b'image')


def make_stray(root):
    for name in ('.DS_Store', 'labels.csv', 'stray.jpg', f'{WNIDS[0]}/.DS_Store', f'{WNIDS[0]}/._a.jpg'):
        (root / name).write_bytes(b'')


def make_empty_hidden(root):
    (root / WNIDS[0] / '.cache').mkdir()


def make_folder_like_image(root):
    (root / WNIDS[0] / 'album.jpg').mkdir()
    (root / WNIDS[0] / 'album.jpg/x.JPG').write_bytes(b'image')


@pytest.mark.parametrize('change', [make_nested, make_stray, make_empty_hidden, make_folder_like_image])
def test_the_images_are_those_that_mmpretrain_lists(root, change):
    change(root)
    found = list_class_folders(root)
    ours = [(f'{name}/{file}', label) for label, name in enumerate(found) for file in found[name]]
    assert sorted(ours) == sorted(mmpretrains(root))


def test_other_endings(root):
    (root / WNIDS[0] / 'c.WEBP').write_bytes(b'image')
    assert list_class_folders(root, endings=['.webp', '.jpg', '.jpeg'])[WNIDS[0]] == ['a.jpg', 'b.JPEG', 'c.WEBP']


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '.git', '__MACOSX', '@eaDir'])
@pytest.mark.parametrize('classes', [(), WNIDS, ('fish', 'bug', 'star')])
def test_folders_that_are_no_class_shift_the_labels(root, name, classes):
    (root / name).mkdir()
    with pytest.raises(DataError, match=f'{name} is among the class folders.* shifts the labels .* rm -r ".*{name}"$'):
        list_class_folders(root, classes)
    # mmpretrain gives the labels in the order of all folders
    assert dict(mmpretrains(root))[f'{WNIDS[0]}/a.jpg'] == 1


def test_copies_in_hidden_folders(root):
    (root / WNIDS[0] / '.ipynb_checkpoints').mkdir()
    (root / WNIDS[0] / '.ipynb_checkpoints/a-checkpoint.jpg').write_bytes(b'image')
    assert (f'{WNIDS[0]}/.ipynb_checkpoints/a-checkpoint.jpg', 0) in mmpretrains(root)
    with pytest.raises(DataError, match=r'1 images are in hidden folders.*a-checkpoint.jpg; remove the folders: rm -r'):
        list_class_folders(root)


def test_no_folders(tmp_path):
    with pytest.raises(DataError, match='has no folders; expected one for each class'):
        list_class_folders(tmp_path)


def test_labels_beyond_what_the_model_knows(root):
    path = root / 'val.txt'
    path.write_text('flat.jpg 1\nflat.jpg 2\n')
    (root / 'flat.jpg').write_bytes(b'image')
    assert check_label_file(path, root, (), known=3) == 2
    with pytest.raises(DataError, match=r"val.txt:2: 'flat.jpg 2'; expected an image and a label from 0 to 1"):
        check_label_file(path, root, (), known=2)


@pytest.mark.parametrize('data', [b'', 'a.jpg 0\n'.encode('utf-16')])
def test_a_label_file_that_cannot_be_read(root, data):
    path = root / 'val.txt'
    path.write_bytes(data)
    with pytest.raises(DataError, match=r'val.txt is (empty|not text in UTF-8)'):
        check_label_file(path, root, ())
