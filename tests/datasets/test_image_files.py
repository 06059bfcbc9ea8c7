"""Images that training can decode pass, and those that it cannot are reported, with and without decoding all."""

import io

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmfasternet.datasets.image_files import Decoder, read_size
from mmfasternet.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def saved(file_format, image=PICTURE, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def with_orientation(file_format):
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(file_format, exif=exif)


FLOATS = PIXELS[..., 0].astype(np.float32)
FILES = {
    'jpeg': saved('JPEG'),
    'progressive jpeg': saved('JPEG', progressive=True),
    'cmyk jpeg': saved('JPEG', PICTURE.convert('CMYK')),
    'png': saved('PNG'),
    '16 bit png': saved('PNG', Image.fromarray(PIXELS[..., 0].astype(np.uint16))),
    'bmp': saved('BMP'),
    'webp': saved('WEBP'),
    'turned jpeg': with_orientation('JPEG'),
    'turned png': with_orientation('PNG'),
    'turned webp': with_orientation('WEBP'),
    'turned tiff': with_orientation('TIFF'),
    'animated webp': saved('WEBP', save_all=True, append_images=[Image.new('RGB', (40, 30))]),
    'gif': saved('GIF'),
    'jpeg 2000': saved('JPEG2000'),
    'tiff': saved('TIFF'),
    'lzw tiff': saved('TIFF', compression='tiff_lzw'),
    'zstd tiff': saved('TIFF', compression='zstd'),
    'lzma tiff': saved('TIFF', compression='lzma'),
    'float tiff': saved('TIFF', Image.fromarray(FLOATS)),
    '32 bit tiff': saved('TIFF', Image.fromarray(PIXELS[..., 0].astype(np.int32))),
    'tga': saved('TGA'),
    'pcx': saved('PCX'),
    'ico': saved('ICO'),
    'dds': saved('DDS'),
    'qoi': saved('QOI'),
    'ppm': saved('PPM'),
    'radiance': cv2.imencode('.hdr', PIXELS.astype(np.float32))[1].tobytes(),
    'pam': cv2.imencode('.pam', PIXELS)[1].tobytes(),
    'text': b'no image',
    'nothing': b'',
}
DECODERS = [
    Decoder(),
    Decoder(flag='unchanged'),
    Decoder(flag='grayscale'),
    Decoder(flag='color_ignore_orientation'),
    Decoder('pillow'),
    Decoder('pillow', 'unchanged'),
]


@pytest.mark.parametrize('decoder', DECODERS, ids=lambda decoder: ' '.join(decoder))
@pytest.mark.parametrize('name', FILES)
def test_what_the_decoder_of_training_cannot_read_is_reported(tmp_path, name, decoder):
    path = tmp_path / 'image.jpg'
    path.write_bytes(FILES[name])
    try:
        image = mmcv.imread(path, flag=decoder.flag, backend=decoder.backend)
    except Exception:
        image = None
    for decode in (False, True):
        if image is None:
            with pytest.raises(DataError) as caught:
                read_size(path, decode, decoder=decoder)
            assert str(caught.value).isprintable()
        else:
            assert read_size(path, decode, decoder=decoder) == image.shape[1::-1]


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('float tiff', 'cv2 cannot decode it; save it as JPEG or PNG'),
        ('tga', 'cv2 cannot decode it; save it as JPEG or PNG'),
        ('text', 'unknown format'),
    ],
)
def test_the_message_says_what_to_do(tmp_path, name, message):
    path = tmp_path / 'image.jpg'
    path.write_bytes(FILES[name])
    with pytest.raises(DataError, match=f'^{message}$'):
        read_size(path, decode=False)


@pytest.mark.parametrize('name', ['jpeg', 'png', 'webp'])
@pytest.mark.parametrize('missing', [1, 4, 40])
def test_a_cut_off_file_is_reported_as_far_as_it_cannot_be_decoded(tmp_path, name, missing):
    path = tmp_path / 'image'
    path.write_bytes(FILES[name][:-missing])
    if mmcv.imread(path) is None:
        with pytest.raises(DataError):
            read_size(path, decode=True)
    else:
        assert read_size(path, decode=True) == (40, 30)
