"""Set-up says at its start what it lacks. Its whole run is what every fresh clone does before these tests."""

import importlib.util
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = ROOT / 'tools' / 'dev' / 'setup_environment.py'


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """The script as a module, in a checkout without an environment."""
    spec = importlib.util.spec_from_file_location('setup_environment', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, path in dict(
        ROOT=tmp_path,
        VENV=tmp_path / '.venv',
        STAMP=tmp_path / '.venv/stamp',
        LOG=tmp_path / 'log',
        CACHE=tmp_path / 'cache',
    ).items():
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(module, 'install', lambda: pytest.fail('it installs'))
    return module


def assert_stops(setup, capsys, message):
    assert setup.main() == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert message in error
    assert not setup.VENV.exists()


def test_wrong_python(setup, capsys, monkeypatch):
    Version = namedtuple('Version', 'major minor micro releaselevel serial')
    monkeypatch.setattr(sys, 'version_info', Version(3, 9, 2, 'final', 0))
    shutil.copy(ROOT / 'pyproject.toml', setup.ROOT)
    assert_stops(setup, capsys, 'Python 3.11 is needed, this is')


def test_no_compiler(setup, capsys, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    assert_stops(setup, capsys, "no C++ compiler: 'no-such-compiler' is not on PATH")


def test_no_headers(setup, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(setup.sysconfig, 'get_path', lambda name: str(tmp_path))
    assert_stops(setup, capsys, 'no Python headers')


def test_too_little_disk(setup, capsys, monkeypatch):
    usage = namedtuple('Usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage(9e9, 8e9, 1e9))
    assert_stops(setup, capsys, '1.0 GB free on the disk of')


def test_a_wheel_is_kept_for_its_torch_and_python_alone(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, 'run', lambda *command, **_: '2.12.0+cu130 False\n')

    def build(*arguments, **_):
        folder = Path(arguments[arguments.index('-w') + 1])
        (folder / 'onedl_mmcv.whl').write_bytes(b'wheel')

    monkeypatch.setattr(setup, 'pip', build)
    wheel = setup.mmcv_wheel('2.3.6')
    assert wheel.read_bytes() == b'wheel'
    assert all(part in wheel.parent.name for part in ('2.3.6', 'torch2.12.0+cu130', 'cp311', 'cpu'))
    monkeypatch.setattr(setup, 'pip', lambda *_, **__: pytest.fail('it builds again'))
    assert setup.mmcv_wheel('2.3.6') == wheel
    monkeypatch.setattr(setup, 'run', lambda *command, **_: '2.13.0+cpu False\n')
    with pytest.raises(pytest.fail.Exception):
        setup.mmcv_wheel('2.3.6')


def test_a_build_that_breaks_leaves_no_wheel(setup, monkeypatch):
    monkeypatch.setattr(setup, 'run', lambda *command, **_: '2.12.0+cu130 False\n')

    def interrupt(*arguments, **_):
        (Path(arguments[arguments.index('-w') + 1]) / 'onedl_mmcv.whl').write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, 'pip', interrupt)
    with pytest.raises(KeyboardInterrupt):
        setup.mmcv_wheel('2.3.6')
    assert not list(setup.CACHE.rglob('*.whl'))


def test_a_gpu_without_nvcc_is_told(setup, monkeypatch):
    monkeypatch.setattr(setup, 'run', lambda *command, **_: '2.12.0+cu130 True\n')
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    with pytest.raises(setup.SetupError, match='nvcc, which is not on PATH'):
        setup.mmcv_wheel('2.3.6')


def test_the_environment_at_hand_is_ready_at_once():
    if not (ROOT / '.venv').is_dir():
        pytest.fail('these tests run in the environment that `make setup` makes')
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, 'the environment in .venv is ready\n')
