"""Which images the command line names, what their results are called, and how they are read."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS, init_default_scope
from PIL import Image

from mmfasternet.engine.input_images import (
    ImageReader,
    as_picture,
    check_results,
    find_images,
    image_endings,
    result_names,
)
from mmfasternet.errors import ConfigError, DataError


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.fixture
def logged(caplog):
    """All that is logged."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield lambda: [record.getMessage() for record in caplog.records]
    logger.removeHandler(caplog.handler)


def test_images_and_folders(tmp_path, logged):
    names = ('P2.png', 'P1.JPG', 'a.webp', 'b.GIF', 'c.jp2', 'd.TIFF', 'e.ppm', 'f.avif', 'g.bmp')
    folder = touch(tmp_path / 'a', *names, 'notes.txt', 'phone.heic', '.hidden.png', '._P1.JPG')
    touch(folder / 'more.png', 'inner.png')
    single = touch(tmp_path / 'b', 'P3.tif') / 'P3.tif'
    # given twice, predicted once
    twice = [str(single), str(folder), str(single), str(tmp_path / 'a/../b/P3.tif')]
    assert find_images(twice) == [single, *sorted(folder / name for name in names)]
    assert logged() == [f'{folder}: skipped 3 of 12, which are not images: more.png/, notes.txt, phone.heic']


def test_every_ending_is_decoded(tmp_path):
    """What Pillow cannot decode here, such as videos and vector graphics, is not among them."""
    assert {'.png', '.jpg', '.jfif', '.webp', '.gif', '.jp2', '.tif', '.bmp', '.ppm', '.tga'} <= image_endings()
    assert not {'.mpg', '.h5', '.wmf', '.pdf', '.txt', '.json'} & image_endings()


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('a', 'a has no images; expected files that end in .png .jpg .* and so on, it has notes.txt'),
        ('empty', 'empty has no images; .*, it is empty'),
        ('gone.png', r'gone.png does not exist \(looked in .*\); expected an image or a folder of images'),
        ('', 'an empty path does not exist'),
        ('https://example.com/a.jpg', 'https://example.com/a.jpg is a URL, .*; download it and name the file'),
        ('s3://bucket/a.jpg', 's3://bucket/a.jpg is a URL'),
        ('a/notes.txt/b.png', 'a/notes.txt/b.png does not exist'),
        ('n' * 300, 'n+ cannot be read: File name too long'),
    ],
)
def test_what_is_no_image(tmp_path, monkeypatch, name, expected):
    touch(tmp_path / 'a', 'notes.txt')
    touch(tmp_path / 'empty')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f'^{expected}') as caught:
        find_images([name])
    assert '\n' not in str(caught.value)


def test_names_of_results():
    def names(*paths):
        return list(result_names([Path('/data', path) for path in paths]).values())

    assert names('a.png', 'b.jpg') == ['a', 'b']
    # in one folder the ending, in several the folder
    assert names('a.png', 'a.jpg', 'b.png') == ['a.png', 'a.jpg', 'b']
    assert names('x/a.png', 'y/a.png', 'y/b.png') == ['x/a', 'y/a', 'b']
    assert names('x/a.png', 'x/a.jpg', 'y/a.png') == ['x/a.png', 'x/a.jpg', 'y/a.png']
    assert names('1/images/a.png', '2/images/a.png') == ['1/images/a', '2/images/a']
    # a file system may not tell them apart
    assert names('P1.png', 'p1.jpg') == ['P1.png', 'p1.jpg']
    # some are named as another is with its ending
    assert len(set(names('a.png', 'a.jpg', 'a.png.tif', 'a.jpg.tif'))) == 4
    assert len(set(names('x/a.png', 'y/a.png', 'y/x.png', 'x.png'))) == 4


def test_results_replace_no_image(tmp_path):
    photo = touch(tmp_path / 'photos', 'a.jpg') / 'a.jpg'
    (tmp_path / 'link').symlink_to(tmp_path / 'photos')
    check_results({photo: 'a'}, tmp_path / 'found')
    for out in ('photos', 'link'):
        with pytest.raises(ConfigError, match='a result would replace the image .*a.jpg; choose another path'):
            check_results({photo: 'a'}, tmp_path / out)


def read(path, **settings):
    init_default_scope('mmdet')
    return ImageReader(dict(type='LoadImageFromFile', **settings))(path)


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(to_float32=True),
        dict(color_type='grayscale'),
        dict(color_type='unchanged'),
        dict(color_type='color_ignore_orientation'),
        dict(imdecode_backend='pillow'),
        dict(backend_args=dict(backend='petrel')),
    ],
)
def test_images_are_read_as_in_training(tmp_path, settings):
    """Turned by EXIF or not, grey or not, with 16 bits or not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / 'turned.jpg', exif=exif)
    cv2.imwrite(str(tmp_path / 'deep.png'), noise(20, 30, dtype=np.uint16))
    cv2.imwrite(str(tmp_path / 'clear.png'), noise(20, 30, 4))
    settings_here = {key: value for key, value in settings.items() if key != 'backend_args'}
    init_default_scope('mmdet')
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **settings_here))
    for path in tmp_path.iterdir():
        image, expected = read(path, **settings), loader(dict(img_path=str(path)))['img']
        assert image.dtype == expected.dtype and np.array_equal(image, expected)
        assert as_picture(image).size == image.shape[1::-1]


def test_formats_that_opencv_does_not_know(tmp_path):
    pixels = noise(20, 30, 3)
    for name in ('a.tga', 'a.webp', 'a.jp2', 'a.gif', 'a.pcx', 'a.avif', 'a.ico'):
        Image.fromarray(pixels).resize((32, 32)).save(tmp_path / name)
        assert read(tmp_path / name).shape == (32, 32, 3)
    # of an animation the first image
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    for name in ('b.gif', 'b.tif', 'b.webp'):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert read(tmp_path / name)[4, 4].tolist() == pytest.approx([0, 0, 255], abs=3)


def test_files_that_are_no_whole_image(tmp_path):
    Image.fromarray(noise(90, 90, 3)).save(tmp_path / 'whole.png')
    content = (tmp_path / 'whole.png').read_bytes()
    for name, part, reason in (
        ('torn.png', content[:5000], 'image file is truncated'),
        ('empty.png', b'', 'the file is empty'),
        ('text.png', b'not an image', 'unknown format'),
    ):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(DataError, match=f'unreadable image: .*{reason}'):
            read(tmp_path / name)
    with pytest.raises(DataError, match='No such file'):
        read(tmp_path / 'gone.png')


def test_pictures_of_other_images():
    bgr = np.zeros((4, 5, 3), np.uint8)
    bgr[..., 0] = 255
    assert as_picture(bgr).getpixel((0, 0)) == (0, 0, 255)
    assert as_picture(bgr.astype(np.float32)).getpixel((0, 0)) == (0, 0, 255)
    deep = np.linspace(0, 60000, 20).reshape(4, 5).astype(np.uint16)
    picture = as_picture(deep)
    assert picture.mode == 'RGB' and picture.getpixel((0, 0)) == (0, 0, 0) and picture.getpixel((4, 3))[0] > 250
    assert as_picture(noise(4, 5, 4)).size == as_picture(noise(4, 5, 1)).size == as_picture(noise(4, 5, 7)).size
