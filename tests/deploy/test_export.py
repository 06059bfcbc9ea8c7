"""Exported files, read by the runtimes themselves, against timm's networks."""

import sys
from pathlib import Path

import onnx
import onnxruntime
import openvino
import pytest
import torch
from conftest import as_released, make_timm, randomize_, snapshot
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmfasternet import FasterNet
from mmfasternet.deploy import export
from mmfasternet.errors import ConfigError, DependencyError

pytestmark = pytest.mark.slow

TINY = dict(embed_dims=16, depths=(1, 1, 1), act_cfg=dict(type='GELU'))
#: None of these is a size that the file was made or checked with.
SHAPES = ((1, 3, 64, 64), (5, 3, 224, 160), (3, 3, 101, 333))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return randomize_(FasterNet(TINY, out_indices=(0, 2))).eval()


@pytest.fixture(scope='module')
def classifiers():
    """timm's T0, and ours with its weights."""
    init_default_scope('mmpretrain')
    backbone = dict(type='FasterNet', arch='t0', out_indices=(3,), output_norm=False)
    head = dict(type='FasterNetClsHead', num_classes=1000, in_channels=320, act_cfg=dict(type='GELU'))
    ours = MODELS.build(dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)).eval()
    theirs = make_timm('t0').eval()
    for part in (ours.backbone, ours.head):
        part.load_state_dict(as_released(theirs.state_dict()), strict=False)
    return ours, theirs


def run_onnx(path):
    session = onnxruntime.InferenceSession(path)
    return lambda images: session.run(['logits'], {'images': images.numpy()})[0]


def run_openvino(path):
    compiled = openvino.compile_model(path, config={'INFERENCE_PRECISION_HINT': 'f32'})
    return lambda images: compiled({'images': images.numpy()})['logits']


def run_torch_export(path):
    return torch.export.load(path).module(check_guards=False)


@pytest.mark.parametrize(
    ('name', 'format', 'read', 'files'),
    [
        ('a.onnx', 'onnx', run_onnx, {'a.onnx'}),
        ('a.xml', 'openvino', run_openvino, {'a.xml', 'a.bin'}),
        ('a.pt2', 'torch-export', run_torch_export, {'a.pt2'}),
    ],
)
def test_logits_are_timms_at_any_size(classifiers, tmp_path, name, format, read, files):
    ours, theirs = classifiers
    done = export(ours, tmp_path / 'new' / name, format)
    assert {path.name for path in done.path.parent.iterdir()} == files
    assert done.size == sum(path.stat().st_size for path in done.path.parent.iterdir())
    assert done.metadata['outputs'] == 'logits (N, 1000)'
    assert done.difference < 1e-4
    run = read(done.path)
    for shape in SHAPES:
        images = torch.randn(shape)
        with torch.no_grad():
            expected = theirs(images)
        assert expected.std() > 1e-3, 'nothing to compare'
        found = torch.as_tensor(run(images))
        assert (found - expected).norm() < 1e-4 * expected.norm()


def test_what_stands_in_an_onnx_file(network, tmp_path):
    export(network, tmp_path / 'a.onnx', 'onnx', metadata=dict(config='mine'))
    model = onnx.load(tmp_path / 'a.onnx')
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == dict(
        config='mine',
        network='FasterNet',
        inputs='images (N, 3, H, W)',
        outputs='features0 (N, 16, H/4, W/4), features1 (N, 64, H/16, W/16)',
        stride='16',
    )
    assert [output.name for output in model.graph.output] == ['features0', 'features1']
    # folded, but for those on the outputs, whose input is the next stage's too
    norms = [node for node in model.graph.node if node.op_type == 'BatchNormalization']
    assert len(norms) == len(network.out_indices)
    assert b'.py' not in (tmp_path / 'a.onnx').read_bytes(), 'it tells where the source lies on this machine'


def test_weights_are_not_rounded(network, tmp_path):
    export(network, tmp_path / 'a.xml', 'openvino')
    constants = [node for node in openvino.Core().read_model(tmp_path / 'a.xml').get_ops() if 'Constant' in str(node)]
    weights = torch.cat([torch.from_numpy(node.data).flatten() for node in constants if node.data.dtype == 'float32'])
    assert len(weights) > 1000
    wanted = network.stages[0].blocks[0].spatial_mixing.partial_conv3.weight.detach().flatten()
    assert torch.isin(wanted, weights).all()


def test_the_backbone_of_a_classifier_alone(classifiers, tmp_path):
    ours, _ = classifiers
    done = export(ours, tmp_path / 'a.pt2', 'torch-export', parts=('backbone',))
    assert done.metadata['outputs'] == 'features0 (N, 320, H/32, W/32)'


@pytest.mark.parametrize(('name', 'format'), [('a.onnx', 'onnx'), ('a.xml', 'openvino'), ('a.pt2', 'torch-export')])
def test_a_file_that_computes_something_else_is_not_written(network, tmp_path, monkeypatch, name, format):
    for there in ('a.onnx', 'a.xml', 'a.bin', 'a.pt2'):
        (tmp_path / there).write_text('an earlier export')
    before = snapshot(tmp_path)
    monkeypatch.setattr(sys.modules[export.__module__], 'TOLERANCE', -1.0)
    with pytest.raises(RuntimeError, match=f'{format} computes something else than PyTorch: a relative difference of'):
        export(network, tmp_path / name, format)
    assert snapshot(tmp_path) == before


def test_a_network_never_stands_beside_the_weights_of_another(network, tmp_path, monkeypatch):
    for there in ('a.xml', 'a.bin'):
        (tmp_path / there).write_text('an earlier export')
    replace = Path.replace

    def fail_for_the_network(self, target):
        if self.suffix == '.xml':
            raise OSError('the disk is gone')
        return replace(self, target)

    monkeypatch.setattr(Path, 'replace', fail_for_the_network)
    with pytest.raises(OSError, match='the disk is gone'):
        export(network, tmp_path / 'a.xml', 'openvino')
    assert [path.name for path in tmp_path.iterdir()] == ['a.bin']


def test_mistakes_are_told(network, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="format is 'onx'; choose one of onnx, openvino, torch-export"):
        export(network, tmp_path / 'a.onnx', 'onx')
    with pytest.raises(ConfigError, match='has the wrong suffix for format openvino; expected .xml'):
        export(network, tmp_path / 'a.bin', 'openvino')
    with pytest.raises(ConfigError, match='choose from backbone, neck, head, the backbone first'):
        export(network, tmp_path / 'a.onnx', 'onnx', parts=('neck',))
    with pytest.raises(ConfigError, match='the backbone of ReLU is not a FasterNet'):
        export(nn.ReLU(), tmp_path / 'a.onnx', 'onnx')
    with pytest.raises(ConfigError, match='in training mode; call model.eval'):
        export(FasterNet(TINY, out_indices=(0, 2)), tmp_path / 'a.onnx', 'onnx')
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(DependencyError, match=r"not installed: onnxscript; .*pip install 'mmfasternet\[deploy\]'"):
        export(network, tmp_path / 'a.onnx', 'onnx')
    assert not list(tmp_path.iterdir())
