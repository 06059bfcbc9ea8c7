"""What several test files share."""

from __future__ import annotations

import json
import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from filelock import FileLock
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from mmengine.utils import ManagerMixin
from torch import Tensor, nn

from miniature import make_coco, make_dota, make_imagenet
from mmfasternet.models import FasterNet

ROOT = Path(__file__).resolve().parents[1]
ARCHS = ('t0', 't1', 't2', 's', 'm', 'l')
#: AlexNet's errors on ImageNet-C as fractions of one, as the benchmark's repository gives them.
ALEXNET = dict(
    gaussian_noise=0.886428,
    shot_noise=0.894468,
    impulse_noise=0.922640,
    defocus_blur=0.819880,
    glass_blur=0.826268,
    motion_blur=0.785948,
    zoom_blur=0.798360,
    snow=0.866816,
    frost=0.826572,
    fog=0.819324,
    brightness=0.564592,
    contrast=0.853204,
    elastic_transform=0.646056,
    pixelate=0.717840,
    jpeg_compression=0.606500,
)


def managed_kinds(root: type = ManagerMixin) -> list[type]:
    """The classes of which MMEngine keeps instances by name: message hub, loggers, visualizers and so on."""
    return [kind for child in root.__subclasses__() for kind in (child, *managed_kinds(child))]


@contextmanager
def process_kept() -> Iterator[None]:
    """Undo what a tool or a runner sets for its process: what is current in MMEngine, log level, threads, signals."""
    before = {kind: dict(kind._instance_dict) for kind in managed_kinds()}
    logger, threads = MMLogger.get_current_instance(), torch.get_num_threads()
    level, on_sigterm = logger.level, signal.getsignal(signal.SIGTERM)
    schemes = CheckpointLoader._schemes.copy()
    try:
        yield
    finally:
        for kind in managed_kinds():
            kind._instance_dict.clear()
            kind._instance_dict.update(before.get(kind, {}))
        logger.setLevel(level)
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, on_sigterm)
        CheckpointLoader._schemes = schemes


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Let no test depend on what those before it have set for the process."""
    with process_kept():
        yield


@pytest.fixture(scope='session')
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Path]:
    """Make a file or folder that the processes of a test run share: the first that needs it makes it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base

    def make_once(name: str, make: Callable[[Path], Any]) -> Path:
        out = shared / 'shared' / name
        out.parent.mkdir(exist_ok=True)
        with FileLock(f'{out}.lock'):
            if not out.exists():
                draft = out.with_name(f'draft-{name}')
                make(draft)
                draft.rename(out)
        return out

    return make_once


@pytest.fixture(scope='session')
def mini_coco(made_once: Callable) -> Path:
    """The drawn COCO."""
    return made_once('coco', make_coco)


@pytest.fixture(scope='session')
def mini_dota(made_once: Callable) -> Path:
    """The drawn DOTA in its raw layout."""
    return made_once('dota', make_dota)


@pytest.fixture(scope='session')
def mini_imagenet(made_once: Callable) -> Path:
    """The drawn ImageNet with its corruptions and renditions."""
    return made_once('imagenet', make_imagenet)


@pytest.fixture
def run_miniature_tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Run tools/make_miniature.py in this process; gives its exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['make_miniature.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools/make_miniature.py'), run_name='__main__')
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope='session')
def wheel(made_once: Callable) -> Path:
    """The package as it is installed."""

    def build(folder: Path) -> None:
        pip = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w', str(folder), str(ROOT)]
        subprocess.run(pip, check=True, capture_output=True)

    (path,) = made_once('wheel', build).glob('*.whl')
    return path


@pytest.fixture
def checkout(tmp_path: Path, mini_coco: Path) -> Path:
    """A folder that looks like a checkout with the drawn COCO at data/coco and data/mini_coco."""
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'data').mkdir()
    for name in ('coco', 'mini_coco'):
        (tmp_path / 'data' / name).symlink_to(mini_coco)
    return tmp_path


@pytest.fixture
def own_data(tmp_path: Path, mini_coco: Path) -> Path:
    """A copy of the drawn COCO that a test may damage."""
    return Path(shutil.copytree(mini_coco, tmp_path / 'coco'))


@pytest.fixture
def run_tool(checkout: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a Python command in the checkout, as a user would."""

    def run(*command: object, timeout: int = 600) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, command)], cwd=checkout, capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What the package logs."""
    logger = MMLogger.get_instance('mmengine')
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield lambda: [record.getMessage() for record in caplog.records if record.getMessage().startswith('FasterNet')]
    logger.removeHandler(caplog.handler)


#: The forms in which the weights of one T0 come.
FORMS = (
    'timm',
    'timm, averaged',
    'released',
    'released, nested',
    'released, under model',
    'Lightning',
    'DataParallel',
    'compiled',
    'mmpretrain',
    'detector',
    'mmdet 2, distributed',
    'backbone',
)


def every_form(timm_file: dict[str, Tensor]) -> dict[str, dict]:
    """Give the weights of a timm T0 in every form, by name."""
    released = as_released(timm_file)
    detector = {key: released.get(key, value) for key, value in randomize_(FasterNet('t0')).state_dict().items()}
    nested = {f'backbone.{key}': value for key, value in detector.items()} | {'rpn_head.rpn_cls.bias': torch.zeros(3)}
    heads = ('head.', 'avgpool_pre_head.')
    mmpretrain = {('head.' if key.startswith(heads) else 'backbone.') + key: value for key, value in released.items()}
    forms = [
        timm_file,
        {'epoch': 300, 'state_dict': {'of': 'other weights'}, 'state_dict_ema': timm_file},
        released,
        {'state_dict': released, 'epoch': 281},
        {'model': released},
        {'state_dict': {f'model.{key}': value for key, value in released.items()}},
        {f'module.{key}': value for key, value in released.items()},
        {f'_orig_mod.{key}': value for key, value in released.items()},
        {'meta': {'epoch': 20}, 'state_dict': mmpretrain},
        {'meta': {}, 'state_dict': nested, 'optimizer': {}},
        {'meta': {'mmdet_version': '2.25.0'}, 'state_dict': {f'module.{key}': value for key, value in nested.items()}},
        detector,
    ]
    return dict(zip(FORMS, forms, strict=True))


@pytest.fixture(scope='session')
def timm_file() -> dict[str, Tensor]:
    """The state dict of a timm T0."""
    return make_timm('t0').state_dict()


@pytest.fixture(scope='session')
def files(timm_file: dict[str, Tensor]) -> dict[str, dict]:
    """The same weights in every form, by name."""
    return every_form(timm_file)


def snapshot(folder: Path) -> dict[Path, bytes]:
    """All files below a folder, by their relative paths."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def newest_metrics(work_dir: Path) -> dict[str, float]:
    """What the last test run wrote."""
    path = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


def randomize_(module: nn.Module) -> nn.Module:
    """Give every parameter and every batch norm statistic a random value of a trained network's size."""
    for name, tensor in module.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            spread = 1 / tensor[0].numel() ** 0.5 if tensor.dim() > 1 else 0.2
            tensor.normal_(0, spread)
            if name.endswith('norm.weight') or name.endswith('mlp.1.weight'):
                tensor.add_(1)
    return module


def make_timm(arch: str) -> nn.Module:
    """timm's FasterNet with random weights and statistics."""
    torch.manual_seed(0)
    return randomize_(timm.create_model(f'fasternet_{arch}'))


def as_released(timm_state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name tensors as the authors' ImageNet files do, by a table that owes nothing to the package."""
    heads = {'conv_head': 'avgpool_pre_head.1', 'classifier': 'head'}
    stage_positions = {'0': '0', '1': '2', '2': '4', '3': '6'}
    merge_positions = {'1': '1', '2': '3', '3': '5'}
    released = {}
    for key, value in timm_state_dict.items():
        part = key.split('.')
        if part[0] in heads:
            part[0] = heads[part[0]]
        elif part[0] == 'stages' and part[2] == 'downsample':
            part[1:3] = [merge_positions[part[1]]]
        elif part[0] == 'stages':
            part[1] = stage_positions[part[1]]
        released['.'.join(part)] = value
    return released
