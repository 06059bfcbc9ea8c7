"""What all miniatures share: nobody's folder comes to harm, mistakes are told, and the tool says so in one line."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import snapshot

import miniature
from miniature.marks import NAMES
from mmfasternet.errors import DataError


class Kind(NamedTuple):
    """A kind of miniature, and a file of the real data set."""

    name: str
    real: str

    def make(self, *args, **kwargs):
        return getattr(miniature, f'make_{self.name}')(*args, **kwargs)

    def fill_with_real(self, folder):
        """Somebody's real data, say."""
        path = folder / self.real
        path.parent.mkdir(parents=True)
        path.write_bytes(b'precious')

    def fill_with_annotations(self, folder):
        """Real annotations where COCO has its mark."""
        (folder / 'annotations').mkdir(parents=True)
        (folder / 'annotations/instances_val2017.json').write_text('{"info": {"year": 2017}, "images": []}')

    def fill_with_another_kind(self, folder):
        """A miniature, but of another data set."""
        other = next(name for name in NAMES if name not in (self.name, 'coco'))
        folder.mkdir()
        (folder / 'miniature.json').write_text(json.dumps({'kind': other, 'seed': 0, 'version': 1}))


KINDS = [
    Kind('coco', 'val2017/000000000139.jpg'),
    Kind('dota', 'val/images/P0003.png'),
    Kind('imagenet', 'val/n01440764/ILSVRC2012_val_00000293.JPEG'),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


def test_every_kind_is_here():
    assert {kind.name for kind in KINDS} == set(NAMES)


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('content', ['empty', 'file', 'real', 'annotations', 'another_kind'])
def test_foreign_folders_stay_untouched(tmp_path, monkeypatch, kind, content, overwrite):
    module = import_module(f'miniature.{kind.name}')
    monkeypatch.setattr(module, 'deal', lambda seed, split: pytest.fail('it draws'))
    out = tmp_path / 'data'
    fill = {'empty': Path.mkdir, 'file': Path.touch}.get(content) or getattr(kind, f'fill_with_{content}')
    fill(out)
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match=f'exists and is not a {NAMES[kind.name]}, so it is not replaced'):
        kind.make(out, overwrite=overwrite)
    assert snapshot(tmp_path) == before
    assert out.exists()


def test_mistakes_are_told(tmp_path, kind):
    with pytest.raises(DataError, match='seed is -1'):
        kind.make(tmp_path / 'mini', seed=-1)
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match='cannot write'):
        kind.make(tmp_path / 'file' / 'mini')


def test_tool_refuses(tmp_path, run_miniature_tool, kind):
    kind.fill_with_real(tmp_path / 'real')
    code, output, errors = run_miniature_tool(kind.name, tmp_path / 'real', '--overwrite')
    assert (code, output) == (2, '')
    assert errors.startswith('error: ') and errors.count('\n') == 1


def test_tool_teaches_by_example(run_miniature_tool, kind):
    code, output, _ = run_miniature_tool(kind.name, '--help')
    assert code == 0
    assert f'Draw {NAMES[kind.name]}: ' in output
    assert f'example: python tools/make_miniature.py {kind.name}' in output
