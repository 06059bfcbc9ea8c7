#!/usr/bin/env python3
"""Make .venv in this checkout: the pinned OpenMMLab stack, with mmcv's compiled ops, and this package.

Run it through `make setup`. It needs nothing but Python's standard library, git, make and a C++ compiler. If it was
interrupted, run it again to finish; a complete environment takes a moment to check. mmcv is compiled from source, which
takes minutes; the wheel is kept in the user's cache (XDG_CACHE_HOME or ~/.cache) for the next checkout.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / 'mmfasternet-setup'
LOG = ROOT / 'work_dirs' / 'setup.log'
CONSTRAINTS = ROOT / 'requirements' / 'constraints.txt'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmfasternet' / 'wheels'
PYTHON_NEEDED = (3, 11)
DISK_NEEDED_GB = 8
# --no-build-isolation below: the build must see the torch that it is compiled for
BUILD_TOOLS = ['ninja', 'setuptools', 'wheel']
VERIFY = """
import torch, mmcv, mmcv._ext, mmdet, mmrotate, mmpretrain, mmfasternet
from mmcv.ops import nms
boxes = torch.tensor([[0., 0., 2., 2.], [0., 0., 2., 2.]])
_, kept = nms(boxes, torch.tensor([0.5, 0.9]), 0.5)
if kept.tolist() != [1]:
    raise SystemExit(f"mmcv's compiled nms kept {kept.tolist()} instead of [1]")
"""


class SetupError(Exception):
    """A problem that the user must fix first; the message is one line."""


def check_machine() -> None:
    """Stop before anything is downloaded if the set-up could not end well here."""
    if sys.version_info[:2] != PYTHON_NEEDED:
        needed = '.'.join(map(str, PYTHON_NEEDED))
        raise SetupError(
            f'Python {needed} is needed, this is {platform.python_version()} ({sys.executable}): '
            f'install it, or name it: make setup PYTHON=/path/to/python{needed}'
        )
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SetupError(
            "this Python has no ensurepip, so it cannot make a venv: install your system's python3.11-venv"
        ) from None
    compiler = os.environ.get('CXX', 'c++')
    if not shutil.which(compiler):
        raise SetupError(f'no C++ compiler: {compiler!r} is not on PATH, and mmcv compiles; install g++')
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.is_file():
        raise SetupError(f'no Python headers: {header} is missing, and mmcv compiles; install python3.11-dev')
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < DISK_NEEDED_GB and not VENV.exists():
        raise SetupError(f'{free:.1f} GB free on the disk of {ROOT}, about {DISK_NEEDED_GB} GB are needed: make room')


class Step:
    """A line on the terminal for a piece of work, with its time.

    Args:
        title (str): What is being done.
    """

    def __init__(self, title: str) -> None:
        self.title, self.note, self.start = title, '', time.monotonic()
        self.done = threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Step:
        if not sys.stdout.isatty():
            print(f'  {self.title} ...', flush=True)
        self.ticker.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.done.set()
        self.ticker.join()
        self._show(f'{"failed after" if error else "done in"} {self._elapsed()}\n')

    def report(self, note: str) -> None:
        """Show the progress."""
        self.note = note
        if not sys.stdout.isatty():
            print(f'    {note}', flush=True)

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self.start)
        return f'{seconds // 60}:{seconds % 60:02d}'

    def _show(self, state: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(f'\r\033[K  {self.title}: {state}')
        elif state.endswith('\n'):
            sys.stdout.write(f'    {state}')
        sys.stdout.flush()

    def _tick(self) -> None:
        while not self.done.wait(1):
            self._show(f'{self.note} {self._elapsed()}'.strip())


def run(command: list, on_line: Callable[[str], None] | None = None, **environment: str) -> str:
    """Run a command with its output in the log, passing each line to ``on_line``."""
    with LOG.open('a') as log:
        log.write(f'\n$ {" ".join(map(str, command))}\n')
        log.flush()
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        output = []
        try:
            for line in process.stdout:
                log.write(line)
                output.append(line)
                if on_line:
                    on_line(line)
        except BaseException:
            process.terminate()
            raise
        if process.wait():
            raise SetupError(f'{Path(command[0]).name} failed; the end of {LOG}:\n{"".join(output[-15:])}')
        return ''.join(output)


def pip(*arguments: object, **kwargs: Any) -> str:
    """Run the environment's pip."""
    return run([PYTHON, '-m', 'pip', '--disable-pip-version-check', *arguments], **kwargs)


def pins() -> dict[str, str]:
    """Read the pinned stack from pyproject.toml as a dict of name and version."""
    import tomllib

    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    return dict(requirement.split('==') for requirement in project['optional-dependencies']['stack'])


def make_venv() -> bool:
    """Make an empty environment unless one exists; return whether it is new."""
    works = PYTHON.exists() and subprocess.run([PYTHON, '-m', 'pip', '--version'], capture_output=True).returncode == 0
    if not works:
        with Step('a new environment in .venv'):
            run([sys.executable, '-m', 'venv', '--clear', VENV])
    return not works


def mmcv_wheel(version: str) -> Path:
    """Find mmcv's wheel for this torch and Python in the cache, or compile it.

    Args:
        version (str): Version of onedl-mmcv.

    Returns:
        Path: The wheel.
    """
    torch_version, has_gpu = run(
        [PYTHON, '-c', 'import torch; print(torch.__version__, torch.cuda.is_available())']
    ).split()[-2:]  # a warning of torch's may stand before
    device = 'cuda' if has_gpu == 'True' else 'cpu'
    tag = f'cp{PYTHON_NEEDED[0]}{PYTHON_NEEDED[1]}-{platform.system().lower()}_{platform.machine()}'
    folder = CACHE / f'onedl_mmcv-{version}-torch{torch_version}-{tag}-{device}'
    found = list(folder.glob('*.whl'))
    if found:
        print(f'  mmcv {version}: the wheel compiled earlier ({folder})', flush=True)
        return found[0]
    if device == 'cuda' and not shutil.which('nvcc'):
        raise SetupError(
            "this machine has a GPU, and mmcv's ops for it need nvcc, which is not on PATH: install the CUDA toolkit "
            f'that torch {torch_version} was built with, or set CUDA_VISIBLE_DEVICES= to set up for the CPU'
        )
    folder.mkdir(parents=True, exist_ok=True)
    flags = ['--no-build-isolation', '--no-deps', '--no-cache-dir', '--no-binary', 'onedl-mmcv']
    environment = {'MMCV_WITH_OPS': '1', 'MAX_JOBS': os.environ.get('MAX_JOBS', str(os.cpu_count()))}
    with tempfile.TemporaryDirectory(dir=folder) as building:
        with Step(f'compiling mmcv {version} (7 minutes on 2 cores, once for this machine)') as step:
            show_progress = BuildProgress(step)
            pip('wheel', '-v', *flags, '-w', building, f'onedl-mmcv=={version}', on_line=show_progress, **environment)
        built = next(Path(building).glob('*.whl'))
        # renamed when whole: a build that is killed leaves no wheel that looks good
        return built.rename(folder / built.name)


class BuildProgress:
    """Reads how many files are compiled from the lines that ninja prints.

    Args:
        step (Step): Where it is shown: each file on a terminal, each tenth in a log.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.tenth = step, 0

    def __call__(self, line: str) -> None:
        """Count a line of the build."""
        match = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if not match:
            return
        files, total = map(int, match.groups())
        tenth = 10 * files // total
        if sys.stdout.isatty() or tenth > self.tenth:
            self.step.report(f'{files} of {total} files')
        self.tenth = tenth


def install() -> None:
    """Install everything into the environment."""
    versions = pins()
    constraints = ['-c', CONSTRAINTS]
    torch = [f'{name}=={versions[name]}' for name in ('torch', 'torchvision')]
    with Step(' and '.join(torch)):
        pip('install', *constraints, *torch, *BUILD_TOOLS)
    wheel = mmcv_wheel(versions['onedl-mmcv'])
    with Step('mmdet, mmrotate, mmpretrain, this package and the test tools'):
        pip('install', '--no-deps', '--force-reinstall', wheel)
        pip('install', *constraints, '-e', '.[stack,benchmark,deploy,dota,miniature,test]')
    if subprocess.run([PYTHON, '-c', 'import cv2'], capture_output=True).returncode:
        # opencv-python needs libGL, which bare machines lack; its twin without windows does not
        with Step('OpenCV without windows, as this machine has no libGL'):
            pip('install', '--no-deps', '--force-reinstall', *constraints, 'opencv-python-headless')


def verify() -> None:
    """Check that every library imports, that mmcv's ops are compiled, and that no requirement is broken."""
    with Step("checking the environment, mmcv's compiled ops included"):
        run([PYTHON, '-c', VERIFY])
        pip('check')


def fingerprint() -> str:
    """Hash what the environment is made from."""
    files = [Path(__file__), CONSTRAINTS, ROOT / 'pyproject.toml']
    return hashlib.sha256(b''.join(path.read_bytes() for path in files) + str(ROOT).encode()).hexdigest()


def main() -> int:
    """Set up what is missing; return the exit code."""
    try:
        if STAMP.is_file() and STAMP.read_text() == fingerprint() and PYTHON.exists():
            print('the environment in .venv is ready')
            return 0
        check_machine()
        print(f'setting up .venv (log: {LOG.relative_to(ROOT)})', flush=True)
        LOG.parent.mkdir(exist_ok=True)
        is_new = make_venv()
        STAMP.unlink(missing_ok=True)
        try:
            install()
            verify()
        except SetupError as error:
            if is_new:
                raise
            print(f'  {error}\n  the earlier environment cannot be repaired: starting again with a new one', flush=True)
            shutil.rmtree(VENV)
            make_venv()
            install()
            verify()
        STAMP.write_text(fingerprint())
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nstopped; run `make setup` again to resume', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
