"""Reading a submission back, as the server would."""

import zipfile

import pytest
import torch
from mmengine.structures import InstanceData

from mmfasternet.errors import DataError
from mmfasternet.evaluation import dota_submission
from mmfasternet.evaluation.dota_submission import check_submission, write_submission

CLASSES = ('plane', 'ship')
GOOD = 'P1 0.123456789 1 2 3.5 2 3.5 4 1 4\n'


def make(path, **files):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, text in files.items():
            archive.writestr(f'Task1_{name}.txt', text)
    return path


def found(count):
    boxes = torch.tensor([(50.0 * index, 40, 20, 10, 0.1) for index in range(count)]).reshape(-1, 5)
    return InstanceData(bboxes=boxes, scores=torch.full((count,), 0.5), labels=torch.ones(count, dtype=torch.long))


def test_counts(tmp_path):
    path = make(tmp_path / 'a.zip', plane='', ship=GOOD * 3)
    assert check_submission(path, CLASSES, ['P1']) == {'plane': 0, 'ship': 3}


@pytest.mark.parametrize('text, message', [
    (GOOD.replace(' 4\n', '\n'), 'Task1_ship.txt:2: 9 fields, expected 10'),
    (GOOD.replace('P1', 'P7'), 'an image that was not tested'),
    (GOOD.replace('3.5', 'x'), 'not a number'),
    (GOOD.replace('3.5', 'nan'), 'not a finite number'),
    (GOOD.replace('0.1', '1.1'), 'a score outside 0 to 1'),
])  # fmt: skip
def test_malformed_lines(tmp_path, text, message):
    path = make(tmp_path / 'a.zip', plane='', ship=GOOD + text)
    with pytest.raises(DataError, match=message):
        check_submission(path, CLASSES, ['P1'])


def test_files_missing_and_too_many(tmp_path):
    with pytest.raises(DataError, match=r"missing \['Task1_plane.txt'\], not expected \['Task1_ufo.txt'\]"):
        check_submission(make(tmp_path / 'a.zip', ship=GOOD, ufo=''), CLASSES, ['P1'])


def test_no_zip(tmp_path):
    (tmp_path / 'a.zip').write_bytes(b'PK torn')
    for path in (tmp_path / 'a.zip', tmp_path / 'gone.zip'):
        with pytest.raises(DataError, match='cannot be read as a submission'):
            check_submission(path, CLASSES, [])


def test_what_cannot_be_read_back_does_not_appear(tmp_path, monkeypatch):
    out = make(tmp_path / 'a.zip', plane='', ship=GOOD)
    before = out.read_bytes()
    monkeypatch.setattr(dota_submission, 'check_submission', lambda *_: {'plane': 0, 'ship': 1})
    with pytest.raises(DataError, match='differs from what was written'):
        write_submission(out, [('P1', found(2))], CLASSES)
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]
