"""ImageNet-C and ImageNet-R are read in their published layouts, and what is wrong with them is told."""

import shutil

import pytest
from mmengine.registry import DATASETS
from PIL import Image

from mmfasternet.datasets.imagenet.class_folders import IMAGENET_R_WNIDS, IMAGENET_WNIDS
from mmfasternet.datasets.imagenet.robustness import CORRUPTIONS, SEVERITIES, ImageNetC, ImageNetR, missing_cells
from mmfasternet.errors import ConfigError, DataError

WNIDS = ('n01443537', 'n02708093', 'n07753592')


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8)).save(path, 'JPEG')


@pytest.fixture
def corrupted(tmp_path):
    for corruption in (*CORRUPTIONS, 'speckle_noise'):
        for severity in (*SEVERITIES, 'notes'):
            for wnid in WNIDS:
                draw(tmp_path / corruption / str(severity) / wnid / 'ILSVRC2012_val_00000001.JPEG')
    return tmp_path


def read_c(root, classes=WNIDS):
    dataset = DATASETS.build(dict(type='ImageNetC', data_root=str(root), metainfo=dict(classes=classes), pipeline=[]))
    assert isinstance(dataset, ImageNetC)
    return [dataset[index] for index in range(len(dataset))]


def test_imagenet_c_is_read_whole(corrupted):
    samples = read_c(corrupted)
    assert len(samples) == 15 * 5 * 3
    assert {(sample['corruption'], sample['severity']) for sample in samples} == {
        (corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES
    }
    for sample in samples:
        wnid = WNIDS[sample['gt_label']]
        folder = corrupted / sample['corruption'] / str(sample['severity']) / wnid
        assert sample['img_path'] == str(folder / 'ILSVRC2012_val_00000001.JPEG')


def test_labels_follow_the_models_classes_not_the_folders(corrupted):
    for sample in read_c(corrupted, WNIDS[::-1]):
        assert WNIDS[::-1][sample['gt_label']] in sample['img_path']


def test_the_published_classes_are_the_default():
    for dataset in (ImageNetC, ImageNetR):
        assert dataset.METAINFO['classes'] == IMAGENET_WNIDS


def test_what_is_missing_is_left_out_and_named(corrupted):
    shutil.rmtree(corrupted / 'fog')
    shutil.rmtree(corrupted / 'snow' / '2')
    samples = read_c(corrupted)
    assert len(samples) == (15 * 5 - 6) * 3
    cells = {(sample['corruption'], sample['severity']) for sample in samples}
    assert missing_cells(list(cells)) == 'snow (severity 2), fog'


def test_no_corruption_at_all(tmp_path):
    (tmp_path / 'blur').mkdir()
    with pytest.raises(DataError, match=r'none of the 15 corruptions .* expected gaussian_noise/1/.* found blur'):
        read_c(tmp_path)


def test_a_class_missing_in_one_severity(corrupted):
    shutil.rmtree(corrupted / 'frost' / '3' / WNIDS[1])
    with pytest.raises(DataError, match=rf'frost/3 lacks 1 of the 3 classes: {WNIDS[1]}; extract'):
        read_c(corrupted)


def test_images_missing_in_one_severity(corrupted):
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            if (corruption, severity) != ('pixelate', 4):
                draw(corrupted / corruption / str(severity) / WNIDS[0] / 'ILSVRC2012_val_00000002.JPEG')
    with pytest.raises(DataError, match=r'fewer than 4 images in pixelate/4; extract the archive of that corruption'):
        read_c(corrupted)


def read_r(root, **kwargs):
    dataset = DATASETS.build(dict(type='ImageNetR', data_root=str(root), pipeline=[], **kwargs))
    assert isinstance(dataset, ImageNetR)
    return dataset


def test_imagenet_r_has_the_labels_of_the_model(tmp_path):
    for wnid in WNIDS[1:]:
        for name in ('art_0.jpg', 'cartoon_12.jpg'):
            draw(tmp_path / wnid / name)
    (tmp_path / 'README.txt').write_text('as published')
    dataset = read_r(tmp_path, metainfo=dict(classes=WNIDS), folders=WNIDS[1:])
    assert dataset.metainfo['labels'] == [1, 2]
    found = {(sample['gt_label'], sample['img_path']) for sample in dataset}
    assert found == {
        (WNIDS.index(wnid), str(tmp_path / wnid / name))
        for wnid in WNIDS[1:]
        for name in ('art_0.jpg', 'cartoon_12.jpg')
    }


def test_the_published_imagenet_r(tmp_path):
    for wnid in IMAGENET_R_WNIDS:
        draw(tmp_path / wnid / 'sketch_0.jpg')
    dataset = read_r(tmp_path)
    assert len(dataset) == 200
    # the 2nd class of the 1000, the goldfish, is the first of the 200
    assert (dataset[0]['gt_label'], dataset.metainfo['labels'][0]) == (1, 1)
    for label, wnid in zip(dataset.metainfo['labels'], IMAGENET_R_WNIDS):
        assert IMAGENET_WNIDS[label] == wnid


def test_folders_of_other_classes(tmp_path):
    for wnid in WNIDS:
        draw(tmp_path / wnid / 'art_0.jpg')
    with pytest.raises(DataError, match=r'2 folders are not among the 1 classes of the data set: n02708093, n07753592'):
        read_r(tmp_path, folders=WNIDS[:1])


def test_a_folder_of_no_class_of_the_model(tmp_path):
    with pytest.raises(ConfigError, match='n01440764 of `folders` is not among the classes of the model'):
        read_r(tmp_path, metainfo=dict(classes=WNIDS), folders=('n01440764', WNIDS[0]))
