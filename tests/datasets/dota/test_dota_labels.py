"""DOTA's label files: what is read, and what is told of each thing that can be wrong in them."""

import importlib
import sys

import pytest
from mmrotate.datasets import DOTADataset, DOTAv15Dataset

from mmfasternet.datasets.dota import labels as dota_labels
from mmfasternet.datasets.dota.labels import CLASSES, DotaObject, Fault, read_labels
from mmfasternet.errors import DependencyError

SQUARE = '10 20 30 20 30 40 10 40'
CORNERS = (10, 20, 30, 20, 30, 40, 10, 40)


@pytest.fixture
def read(tmp_path):
    """Read labels of version 1.0 from text or bytes."""

    def read(content):
        path = tmp_path / 'P0001.txt'
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        objects, faults = read_labels(path, CLASSES['1.0'])
        assert all(fault.path == str(path) for fault in faults)
        return objects, faults

    return read


def test_the_classes_are_mmrotates():
    assert {'1.0': DOTADataset.METAINFO['classes'], '1.5': DOTAv15Dataset.METAINFO['classes']} == CLASSES


def test_a_file_as_dota_has_it(read):
    objects, faults = read(
        'imagesource:GoogleEarth\ngsd:0.146343590398\n'
        '2753.0 2408.0 2861.0 2385.0 2888.0 2468.0 2805.0 2502.0 plane 0\n'
        f'{SQUARE} small-vehicle 1\n'
    )
    assert faults == []
    assert objects == [
        DotaObject((2753, 2408, 2861, 2385, 2888, 2468, 2805, 2502), 'plane', 0, 3),
        DotaObject(CORNERS, 'small-vehicle', 1, 4),
    ]


@pytest.mark.parametrize(
    'content',
    [
        f'{SQUARE} ship',
        f'{SQUARE} ship 0',
        f'{SQUARE} ship 0\r\n',
        f'\ufeff{SQUARE} ship 0\n',
        f'\n  \n{SQUARE} ship 0\n\n',
        '  10\t20   30 20 30 40 1e1 40.0   ship\t0  \n',
        f'\ufeffimagesource:GF-2\r\n\r\ngsd:null\r\n{SQUARE} ship 0\r\n',
    ],
)
def test_tolerated(read, content):
    (found,), faults = read(content)
    assert faults == [] and found[:3] == (CORNERS, 'ship', 0)


@pytest.mark.parametrize('content', ['', '\n', 'imagesource:GoogleEarth\ngsd:null\n', '\ufeff'])
def test_no_objects_are_no_fault(read, content):
    assert read(content) == ([], [])


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('10 20 30 20 30 40 10 ship', '8 fields; expected 8 numbers, a class and an optional difficulty'),
        (f'{SQUARE} ship 0 0', '11 fields; expected 8 numbers'),
        ('gsd:null', '1 fields; expected 8 numbers'),
        ('10 20 30 20 30 40 10 ship 0', "'ship' is not a number"),
        ('10 20 30 20 30 4O 10 40 ship 0', "'4O' is not a number"),
        ('10 20 30 20 30 nan 10 40 ship 0', 'coordinate nan; expected pixels'),
        ('10 20 30 20 30 -inf 10 40 ship 0', 'coordinate -inf; expected pixels'),
        ('10 20 30 20 30 1e300 10 40 ship 0', 'coordinate 1e300; expected pixels from -16777216 to 16777216'),
        (f'{SQUARE} shipp 0', "unknown class 'shipp'; is it ship?"),
        (f'{SQUARE} container-crane 0', "unknown class 'container-crane'; expected one of plane, baseball-diamond, "),
        (f'{SQUARE} ship -1', "difficulty '-1'; expected an integer of at least 0"),
        (f'{SQUARE} ship 0.5', "difficulty '0.5'; expected an integer"),
        (f'{SQUARE} ship easy', "difficulty 'easy'; expected an integer"),
        ('10 20 20 20 30 20 40 20 ship 0', 'the quadrilateral has no area'),
        ('0 0 0.0005 0 0.0005 0.0005 0 0.0005 ship 0', 'the quadrilateral has no area'),
        ('10 20 10 20 10 20 10 20 ship 0', 'the quadrilateral has no area'),
        ('10 20 30 40 30 20 10 44 ship 0', 'the quadrilateral has no area, or its sides cross'),
        ('10000 20000 10000.0001 20000 10000.0001 20001 10000 20001 ship 0', 'the quadrilateral has no area'),
    ],
)
def test_a_malformed_line_is_left_out_and_told(read, line, message):
    objects, (fault,) = read(f'gsd:null\n{SQUARE} ship 0\n{line}\n{SQUARE} harbor 1\n')
    assert [(item.name, item.line) for item in objects] == [('ship', 2), ('harbor', 4)]
    assert fault.line == 3 and message in fault.message
    assert str(fault) == f'{fault.path}:3: {fault.message}' and '\n' not in str(fault)


def test_faults_are_in_the_order_of_the_lines(read):
    _, faults = read(f'1 1 1 1 1 1 1 1 ship 0\n{SQUARE} shi 0\n1 1 2 2 3 3 4 4 ship 0\n{SQUARE} ship x\n')
    assert [fault.line for fault in faults] == [1, 2, 3, 4]


@pytest.mark.parametrize('content', [b'10 20 \xff\xfe', f'{SQUARE} ship 0'.encode('utf-16')])
def test_a_file_that_is_no_text(read, content):
    objects, (fault,) = read(content)
    assert objects == [] and fault.line is None
    assert str(fault).startswith(f'{fault.path}: is not text in UTF-8')


def test_a_file_that_cannot_be_read(tmp_path):
    assert read_labels(tmp_path, ()) == ([], [Fault(str(tmp_path), None, 'cannot be read: Is a directory')])


def test_a_missing_library_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, 'shapely', None)
    with pytest.raises(DependencyError, match=r"need shapely.*pip install 'mmfasternet\[dota\]'"):
        importlib.reload(dota_labels)
