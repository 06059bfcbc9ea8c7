"""Where files can be written, and what is left when they cannot."""

import errno
import os
from pathlib import Path

import pytest

from mmfasternet.errors import ConfigError
from mmfasternet.files import check_writable, write_faults


def test_a_check_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / 'a/b/model.onnx', '--out')
    check_writable(tmp_path / 'a/b', '--out', is_folder=True)
    check_writable(tmp_path, '--out', is_folder=True)
    assert not list(tmp_path.iterdir())
    # what exists stays
    (tmp_path / 'model.onnx').write_bytes(b'old')
    check_writable(tmp_path / 'model.onnx', '--out')
    assert (tmp_path / 'model.onnx').read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'nowhere').symlink_to(tmp_path / 'gone')
    for path, is_folder, reason in (
        (tmp_path / 'file', True, 'file exists and is not a folder'),
        (tmp_path / 'file/a/model.onnx', False, 'file exists and is not a folder'),
        (tmp_path / 'nowhere', True, 'nowhere exists and is not a folder'),
        (tmp_path / ('n' * 300) / 'model.onnx', False, 'File name too long'),
        (Path('/proc/predictions'), True, 'No such file or directory'),
        (Path('/sys/predictions'), True, '(Operation not permitted|Permission denied|Read-only file system)'),
    ):
        expected = f'^--out .* cannot be written: .*{reason}; make room, change permissions, or choose another path$'
        with pytest.raises(ConfigError, match=expected):
            check_writable(path, '--out', is_folder)
    with pytest.raises(ConfigError, match='--out .* is a folder; expected a file'):
        check_writable(tmp_path, '--out')


def test_a_full_disk():
    """/dev/full answers as a full disk does."""
    expected = '--out x cannot be written: No space left on device'
    with pytest.raises(ConfigError, match=expected), write_faults(Path('x'), '--out'):
        Path('/dev/full').write_bytes(b'picture')


def test_a_disk_without_room_for_more_than_a_name(tmp_path, monkeypatch):
    """An empty file is taken, the first bytes are not."""
    monkeypatch.setattr('mmfasternet.files.NamedTemporaryFile', lambda **_: Path('/dev/full').open('wb'))  # noqa: SIM115
    with pytest.raises(ConfigError, match=os.strerror(errno.ENOSPC)):
        check_writable(tmp_path / 'new/a.json', '--out')
    assert not list(tmp_path.iterdir())
