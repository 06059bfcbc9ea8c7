"""Exported networks as modules, alone and inside a detector."""

import sys

import openvino
import pytest
import torch
from conftest import randomize_
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from onnx import TensorProto, helper, save
from torch import nn

from mmfasternet import FasterNet
from mmfasternet.deploy import ExportedNetwork, export, use_backend
from mmfasternet.errors import ConfigError, DataError, DependencyError

pytestmark = pytest.mark.slow

BACKENDS = {'onnxruntime': ('onnx', 'a.onnx'), 'openvino': ('openvino', 'a.xml')}


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return randomize_(FasterNet(dict(embed_dims=16, depths=(1, 1, 1)), out_indices=(0, 2))).eval()


@pytest.fixture(scope='module')
def files(network, tmp_path_factory):
    """The network in a file for each backend."""
    folder = tmp_path_factory.mktemp('exported')
    return {backend: export(network, folder / name, format).path for backend, (format, name) in BACKENDS.items()}


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    ('backend', 'dtype', 'limit'),
    [('onnxruntime', 'float32', 1e-4), ('openvino', 'float32', 1e-4), ('openvino', 'bfloat16', 2e-2)],
)
def test_features_are_those_of_the_network(network, files, backend, dtype, limit):
    exported = ExportedNetwork(files[backend], backend, dtype)
    images = [torch.randn(shape) for shape in ((1, 3, 64, 64), (2, 3, 96, 48), (1, 3, 16, 51), (1, 3, 64, 64))]
    # all before the first is looked at: the memory of each must be its own
    found = [exported(x) for x in images]
    for x, features in zip(images, found):
        with torch.no_grad():
            expected = network(x)
        assert len(features) == len(expected)
        for ours, theirs in zip(features, expected):
            assert theirs.std() > 1e-2, 'nothing to compare'
            assert ours.is_contiguous() and not ours.requires_grad
            assert relative_error(ours, theirs) < limit


@pytest.mark.parametrize('backend', BACKENDS)
def test_images_in_other_memory_and_of_another_dtype(network, files, backend):
    exported = ExportedNetwork(files[backend], backend)
    images = torch.randn(2, 3, 64, 48)
    expected = exported(images)[0]
    torch.testing.assert_close(exported(images.to(memory_format=torch.channels_last))[0], expected)
    torch.testing.assert_close(exported(images.double().requires_grad_())[0], expected.double())
    with torch.inference_mode():
        torch.testing.assert_close(exported(images.clone())[0], expected)


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_detector_computes_the_same_with_it(checkout, backend):
    cfg = Config.fromfile(checkout / 'configs/mask_rcnn_fasternet_t0_mini_coco.py')
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = randomize_(MODELS.build(cfg.model)).eval()
    # as test-time augmentation wraps it
    fast = use_backend(nn.ModuleDict(dict(module=model)).eval(), backend)['module']
    assert isinstance(fast.backbone, ExportedNetwork) and isinstance(model.backbone, FasterNet)
    images, rois = torch.randn(2, 3, 96, 128), torch.tensor([[0, 10.0, 8.0, 60.0, 90.0], [1, 30.0, 5.0, 41.0, 77.0]])
    with torch.no_grad():
        expected, found = (
            detector.roi_head.bbox_roi_extractor(detector.extract_feat(images)[:4], rois) for detector in (model, fast)
        )
    assert expected.std() > 1e-2, 'nothing to compare'
    assert relative_error(found, expected) < 1e-4


def test_a_backbone_alone(network):
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(use_backend(network, 'onnxruntime')(images)[1], network(images)[1]) < 1e-4


def test_a_cpu_without_bfloat16_computes_in_float32(network, files, monkeypatch):
    told = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', lambda record: told.append(record))
    monkeypatch.setattr(openvino.Core, 'get_property', lambda self, device, name: ['FP32'])
    exported = ExportedNetwork(files['openvino'], 'openvino', 'bfloat16')
    [record] = told
    assert record.levelname == 'WARNING'
    assert record.getMessage() == 'openvino: this CPU has no bfloat16 instructions; computing in float32'
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(exported(images)[1], network(images)[1]) < 1e-4


def test_mistakes_are_told(files, tmp_path, monkeypatch):
    with pytest.raises(DataError, match='images of 40x12 pixels are smaller than the stride of the network, 16'):
        ExportedNetwork(files['openvino'], 'openvino')(torch.randn(1, 3, 12, 40))
    with pytest.raises(ConfigError, match="onnxruntime computes in float32, not in 'bfloat16'"):
        ExportedNetwork(files['onnxruntime'], 'onnxruntime', 'bfloat16')
    with pytest.raises(ConfigError, match="backend is 'tensorrt'; choose one of onnxruntime, openvino"):
        ExportedNetwork(files['onnxruntime'], 'tensorrt')
    with pytest.raises(ConfigError, match='ReLU has no FasterNet as backbone'):
        use_backend(nn.ReLU().eval(), 'openvino')
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'xy']
    graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', value[:1], value[1:])
    opset = helper.make_opsetid('', 20)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / 'other.onnx')
    with pytest.raises(ConfigError, match='other.onnx was not written by mmfasternet'):
        ExportedNetwork(tmp_path / 'other.onnx', 'onnxruntime')
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(DependencyError, match=r"not installed: openvino; .*pip install 'mmfasternet\[deploy\]'"):
        ExportedNetwork(files['openvino'], 'openvino')
