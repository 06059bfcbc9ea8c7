"""tools/split_dota.py as a user runs it."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

pytestmark = pytest.mark.slow

TOOL = ROOT / 'tools/split_dota.py'


def draw(raw, part, number, side=64, line='8 8 16 8 16 16 8 16 ship 0\n'):
    """Write noisy images with an object each."""
    rng = np.random.default_rng(0)
    for name in ('images', 'labelTxt'):
        (raw / part / name).mkdir(parents=True)
    for index in range(number):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(raw / part / 'images' / f'{part}{index}.png', compress_level=1)
        (raw / part / 'labelTxt' / f'{part}{index}.txt').write_text(line)
    return raw


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool in this process; gives its exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(TOOL), run_name='__main__')
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


def test_it_prints_what_it_did(run, tmp_path):
    raw, out = draw(tmp_path / 'raw', 'train', 3), tmp_path / 'out'
    draw(raw, 'val', 1)
    draw(raw, 'test', 2)
    code, printed, _ = run(raw, out, '--size', 48, '--overlap', 16)
    lines = {line[:24].strip(): line[24:].split() for line in printed.splitlines()}
    assert code == 0
    assert lines == {
        '': ['trainval', 'val', 'test'],
        'images': ['4', '1', '2'],
        'tiles': ['16', '4', '8'],
        'windows dropped': ['0', '0', '0'],
        'objects read': ['4', '1', '0'],
        'objects kept': ['4', '1', '0'],
        'objects left out': ['0', '0', '0'],
        'tile labels marked 2': ['0', '0', '0'],
        'images without objects': ['0', '0', '0'],
        'lines with faults': ['0', '0', '0'],
    }
    code, printed, _ = run(raw, out, '--size', 48, '--overlap', 16)
    assert code == 0 and printed.startswith(f'{out}/trainval already exists with these settings\n{out}/val already ')
    code, printed, error = run(raw, out)
    assert code == 2 and printed == '' and error.count('\n') == 1
    assert error.startswith(f'error: {out}/trainval has tiles with other sizes and overlaps (expected [1024], [200]);')
    assert run(raw, out, '--overwrite')[0] == 0


def test_it_prints_the_first_faults(run, tmp_path):
    raw, out = draw(tmp_path / 'raw', 'val', 1, line='1 2 3\n' * 22), tmp_path / 'out'
    message = '3 fields; expected 8 numbers, a class and an optional difficulty'
    code, printed, _ = run(raw, out, '--splits', 'val')
    told = printed.splitlines()[10:]
    assert code == 0
    assert told[:20] == [f'val/labelTxt/val0.txt:{number}: {message}' for number in range(1, 21)]
    assert told[20:] == [f'and 2 more, all in {out}/val/split.json']
    code, printed, error = run(raw, tmp_path / 'strict', '--strict')
    assert code == 2 and printed == '' and not (tmp_path / 'strict').exists()
    assert error.splitlines()[-1].startswith(f'error: val/labelTxt/val0.txt:1: {message}, and 21 more; fix')


def test_multi_scale(run, tmp_path):
    raw, out = draw(tmp_path / 'raw', 'test', 1), tmp_path / 'out'
    assert run(raw, out, '--multi-scale', '--size', 64, '--overlap', 32, '--workers', 1)[0] == 0
    windows = {path.stem.split('__')[1] for path in (out / 'test/images').iterdir()}
    assert windows == {'64', '42'}


def test_a_missing_library_is_told_in_a_line(run, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmfasternet.datasets.dota.split', raising=False)
    monkeypatch.setitem(sys.modules, 'tqdm', None)
    code, _, error = run(tmp_path, tmp_path / 'out')
    assert code == 2 and error.count('\n') == 1
    assert error.startswith('error: cutting DOTA into tiles needs tqdm') and "pip install 'mmfasternet[dota]'" in error


def children(pid):
    """The processes that a process started."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):  # it may have ended by now
            head, _, rest = path.read_text().rpartition(')')
            if rest.split()[1] == str(pid):
                found.append(int(head.split()[0]))
    return found


@pytest.mark.parametrize('option', [[], ['--overwrite']])
@pytest.mark.parametrize('first', ['all', 'the main process', 'the workers'])
def test_ctrl_c_stops_it_in_a_line(tmp_path, option, first):
    """Whichever of its processes the signal reaches first, and even if it is the only one."""
    raw, out = draw(tmp_path / 'raw', 'val', 8, side=1500), tmp_path / 'out'
    command = [sys.executable, TOOL, raw, out, '--workers', '2', *option]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background jobs, such as this test run may be, inherit that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    records = out / 'val/.progress/records'
    deadline = time.monotonic() + 120
    while not (records.is_dir() and any(records.iterdir())):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    if first == 'all':
        os.killpg(process.pid, signal.SIGINT)
    else:
        for pid in children(process.pid) if first == 'the workers' else [process.pid]:
            os.kill(pid, signal.SIGINT)
    try:
        printed, error = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and printed == '' and 'Traceback' not in error
    assert len(list(records.iterdir())) < 8
    how = ' without --overwrite' if option else ''
    assert error.splitlines()[-1] == f'interrupted; run the same command{how} again to resume'
    resumed = subprocess.run(command[:6], capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0 and (out / 'val/split.json').is_file() and not records.exists()
    assert len(list((out / 'val/images').iterdir())) == 32
