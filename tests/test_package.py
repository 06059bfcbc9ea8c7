"""What a user gets who installs the package into an environment of their own."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from markdown_it import MarkdownIt

pytestmark = pytest.mark.slow


def run(*command, **kwargs):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, **kwargs)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


#: The tools that draw and measure for people who work on the project; with tools/dev they need a checkout.
NEED_A_CHECKOUT = ('make_miniature.py', 'benchmark.py')


def test_the_wheel_has_the_plugin_the_configs_and_the_tools_of_users(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith('mmfasternet/')}
    tools = [path for path in (ROOT / 'tools').iterdir() if path.is_file() and path.name not in NEED_A_CHECKOUT]
    configs = [path for path in (ROOT / 'configs').rglob('*') if path.suffix in ('.py', '.yml')]
    plugin = [path for path in (ROOT / 'mmfasternet').rglob('*') if path.suffix in ('.py', '.txt', '.typed')]
    assert tools and configs and plugin
    brought = {f'mmfasternet/.mim/{path.relative_to(ROOT).as_posix()}' for path in (*tools, *configs)}
    package = {path.relative_to(ROOT).as_posix() for path in plugin}
    assert names == brought | package | {'mmfasternet/.mim/model-index.yml'}


def test_installing_replaces_nothing(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
    requirements = email.message_from_bytes(archive.read(metadata)).get_all('Requires-Dist')
    assert requirements and all('extra ==' in requirement for requirement in requirements)
    assert 'Root-Is-Purelib: true' in archive.read(metadata.replace('METADATA', 'WHEEL')).decode()


def test_a_package_index_shows_the_readme_without_paths_of_the_repository(wheel):
    def parse(page):
        """The targets of a page's links, and its text without pictures and their captions in italics."""
        targets, text = [], []
        for block in MarkdownIt().parse(page):
            inside = block.children or []
            targets += [part.attrs['href'] for part in inside if part.type == 'link_open']
            if not any(part.type == 'image' for part in inside) and [part.type for part in inside][:1] != ['em_open']:
                text.append(''.join(part.content for part in inside) or block.content)
        return targets, ''.join(text)

    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
    shown = email.message_from_string(archive.read(metadata).decode())
    (links, text), (kept, description) = parse((ROOT / 'README.md').read_text()), parse(shown.get_payload())
    assert shown['Description-Content-Type'] == 'text/markdown'
    assert description == text and '![' not in shown.get_payload()
    assert kept == [link for link in links if link.startswith('https://')] != links


def test_an_installed_user_reaches_the_configs(wheel, tmp_path):
    run('-m', 'pip', 'install', '--no-deps', '--target', tmp_path / 'site', wheel)
    script = """
import mmfasternet
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
config = Config.fromfile(mmfasternet.CONFIG_DIR / 'mask_rcnn_fasternet_t0_coco.py')
init_default_scope('mmdet')
print(mmfasternet.CONFIG_DIR, type(MODELS.build(config.model).backbone).__name__)
"""
    output = run('-c', script, cwd=tmp_path, env={'PYTHONPATH': str(tmp_path / 'site'), 'PATH': ''})
    assert f'{tmp_path}/site/mmfasternet/.mim/configs FasterNet' in output


def test_an_installed_user_is_not_sent_to_a_makefile(wheel, tmp_path):
    run('-m', 'pip', 'install', '--no-deps', '--target', tmp_path / 'site', wheel)
    (tmp_path / 'config.py').write_text("_base_ = 'mmyolo::yolov5/yolov5_s.py'\n")
    script = """
from mmfasternet.engine.config import read_config
from mmfasternet.errors import DependencyError
from mmfasternet.installation import tool
try:
    read_config('config.py')
except DependencyError as error:
    print(error)
print(tool('check_data'))
"""
    output = run('-c', script, cwd=tmp_path, env={'PYTHONPATH': str(tmp_path / 'site'), 'PATH': ''})
    *_, error, command = output.splitlines()
    assert 'mmyolo is not installed' in error and 'pip install onedl-mm' in error and 'make' not in error
    assert Path(command.removeprefix('python ')).is_file()


def test_the_backbone_needs_torch_and_mmengine_alone():
    script = """
import sys
for name in ('mmcv', 'mmdet', 'mmrotate', 'mmpretrain', 'timm', 'torchvision', 'skimage', 'shapely'):
    sys.modules[name] = None
import mmfasternet, torch
print(len(mmfasternet.FasterNet('t0')(torch.rand(2, 3, 64, 64))))
"""
    assert run('-c', script).strip() == '4'
