"""The examples of docs/deployment.md, taken from there and run, against the pipeline that tests a classifier."""

import re
import subprocess
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from conftest import ROOT, randomize_
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmfasternet.deploy import export

pytestmark = pytest.mark.slow

NAME = 'fasternet_s_imagenet'


def example(language):
    (block,) = re.findall(f'```{language}\n(.*?)```', (ROOT / 'docs/deployment.md').read_text(), re.DOTALL)[:1]
    return block


@pytest.fixture(scope='module')
def tested(tmp_path_factory):
    """A folder with a photo and an exported classifier, its input as the test pipeline makes it, and its logits."""
    folder = tmp_path_factory.mktemp('documentation')
    generator = np.random.default_rng(0)
    blocks = Image.fromarray(generator.integers(0, 256, (20, 29, 3), np.uint8))
    blocks.resize((391, 300), Image.Resampling.BICUBIC).save(folder / 'photo.jpg', quality=95)
    cfg = Config.fromfile(ROOT / 'configs/fasternet_t0_imagenet.py')
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    randomize_(model.backbone)
    model.eval()
    export(model, folder / f'{NAME}.onnx', 'onnx')
    export(model, folder / f'{NAME}.xml', 'openvino')
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(dict(img_path=str(folder / 'photo.jpg')))
    inputs = model.data_preprocessor(default_collate([packed]))['inputs']
    with torch.no_grad():
        return folder, inputs.numpy(), model(inputs).numpy()


def assert_close(found, expected):
    assert expected.std() > 1e-3, 'nothing to compare'
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_onnx_runtime_in_python(tested, monkeypatch):
    folder, inputs, expected = tested
    monkeypatch.chdir(folder)
    found = {}
    exec(example('python'), found)
    assert_close(found['logits'], expected)
    assert_close(found['pixels'].transpose(2, 0, 1)[None], inputs)


def test_openvino_in_cpp(tested):
    folder, inputs, expected = tested
    package = Path(openvino.__file__).parent
    (library,) = (package / 'libs').glob('libopenvino.so.*')
    program = f"""
        #include <openvino/openvino.hpp>
        #include <cstdio>
        int main() {{
            static float pixels[3 * 224 * 224];
            if (!std::fread(pixels, sizeof(pixels), 1, stdin)) return 1;
            {example('cpp')}
            std::fwrite(logits, sizeof(float), 1000, stdout);
        }}"""
    (folder / 'example.cpp').write_text(program)
    command = ['g++', '-std=c++17', '-O0', '-w', 'example.cpp', '-o', 'example', f'-I{package}/include', library]
    subprocess.run([*command, f'-Wl,-rpath,{library.parent}'], cwd=folder, check=True, timeout=300)
    done = subprocess.run(
        ['./example'], cwd=folder, input=inputs.tobytes(), capture_output=True, check=True, timeout=60
    )
    found = np.frombuffer(done.stdout, np.float32)[None]
    assert_close(found, expected)
    # on CPUs with bfloat16, what is computed without the hint is off by 4e-3
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)
    assert 'ov::hint::inference_precision(ov::element::f32)' in example('cpp')
