"""Detectors with other necks and heads than ours: optimized or in a runtime, they find what they find as they are."""

from pathlib import Path

import mmdet
import mmrotate
import pytest
import torch
import torch.nn.functional as F
from conftest import randomize_
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmfasternet.deploy import FORMATS, ExportedNetwork, fusion, optimize, packed, parts, use_backend
from mmfasternet.deploy import export as write
from mmfasternet.errors import ConfigError

pytestmark = pytest.mark.slow

WIDTH = 16
SMALL = dict(num_groups=4, score_thr=0.001)
#: The stock config of each, and the parts that stay in plain PyTorch.
STOCK = {
    'retinanet_r50_fpn_1x_coco': '',
    'fcos_r50-caffe_fpn_gn-head_1x_coco': 'FCOSHead',
    'atss_r50_fpn_dyhead_1x_coco': 'DyHead, ATSSHead',
    'gfl_r50_fpn_1x_coco': 'GFLHead',
    'yolox_tiny_8xb8-300e_coco': '',
    'rtmdet-ins_tiny_8xb32-300e_coco': '',
    'cascade-mask-rcnn_r50_fpn_1x_coco': '',
    'dh-faster-rcnn_r50_fpn_1x_coco': '',
    'grid-rcnn_r50_fpn_gn-head_2x_coco': '',
    'ms-rcnn_r50_fpn_1x_coco': '',
    'point-rend_r50-caffe_fpn_ms-1x_coco': 'MaskPointHead',
    'panoptic-fpn_r50_fpn_1x_coco': '',
    'oriented-rcnn-le90_r50_fpn_1x_dota': '',
    'gliding-vertex-qbox_r50_fpn_1x_dota': '',
    'roi-trans-le90_r50_fpn_1x_dota': '',
    's2anet-le135_r50_fpn_1x_dota': 'S2ARefineHead',
    'r3det-oc_r50_fpn_1x_dota': '',
    'rotated-retinanet-rbox-le90_r50_fpn_1x_dota': '',
    'rotated-fcos-le90_r50_fpn_1x_dota': 'RotatedFCOSHead',
    'rotated_rtmdet_l-3x-dota': '',
}


def stock(name):
    """A stock config of mmdet or mmrotate with a FasterNet and an eighth of the channels, with random weights."""
    library = mmrotate if name.endswith('dota') else mmdet
    (path,) = Path(library.__file__).parent.glob(f'.mim/configs/*/{name}.py')
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    shrink(cfg.model)
    neck = cfg.model.neck[0] if isinstance(cfg.model.neck, list) else cfg.model.neck
    out_indices = tuple(range(4 - len(neck.in_channels), 4))
    neck.in_channels = [WIDTH * 2**index for index in out_indices]
    arch = dict(embed_dims=WIDTH, depths=(1, 1, 1, 1))
    cfg.model.backbone = dict(type='FasterNet', arch=arch, out_indices=out_indices)
    torch.manual_seed(0)
    return randomize_(MODELS.build(cfg.model)).eval()


def shrink(node):
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list)):
            shrink(value)
        elif isinstance(value, int) and str(key).endswith('channels') and value >= 64:
            node[key] = value // 8
        elif key in SMALL:
            node[key] = SMALL[key]


def predict(model, size=(192, 256)):
    """The predictions on a random image, the most certain first, and whether there are any to compare."""
    metainfo = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    images = torch.randint(0, 255, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        [sample] = model.test_step(dict(inputs=[images], data_samples=[DetDataSample(metainfo=metainfo)]))
    if 'pred_panoptic_seg' in sample:
        return sample.pred_panoptic_seg.sem_seg
    return sample.pred_instances


def assert_same_predictions(found, expected):
    if isinstance(expected, torch.Tensor):
        assert len(expected.unique()) > 1, 'nothing to compare'
        assert (found == expected).float().mean() > 0.99
        return
    assert len(expected) > 3, 'nothing to compare'
    best = expected.scores.argsort(descending=True)[:40]
    same = (expected.labels[best, None] == found.labels) & ((expected.scores[best, None] - found.scores).abs() < 1e-3)
    assert same.any(1).float().mean() > 0.9
    if 'bboxes' in expected:
        boxes, others = (getattr(instances.bboxes, 'tensor', instances.bboxes) for instances in (expected, found))
        same &= (boxes[best, None, :4] - others[None, :, :4]).abs().amax(2) < 0.5
        assert same.any(1).float().mean() > 0.9


@pytest.fixture
def lines(monkeypatch):
    """What the log says."""
    told = []
    for module in (parts, write.__globals__, fusion):
        set_in = monkeypatch.setitem if isinstance(module, dict) else monkeypatch.setattr
        set_in(module, 'print_log', lambda text, **settings: told.append(text))
    return told


@pytest.mark.parametrize('name', STOCK)
def test_optimized_detectors_find_the_same(name, lines):
    model = stock(name)
    expected = predict(model)
    fast = optimize(model)
    for _ in range(2):  # the first images are computed in both ways
        assert_same_predictions(predict(fast), expected)
    for part in parts.find_parts(fast):
        # boxes are decoded from what heads give: in bfloat16 or in another memory format they are wrong, or raise
        assert part.forward.restores or part in set(fast.neck.modules()) or 'Extractor' in type(part).__name__
    predict(fast, (160, 320))
    plain = f'optimize: {STOCK[name]}: stays in plain PyTorch: not made of plain convolutions, linear layers'
    assert [line.startswith(plain) for line in lines] == ([True] if STOCK[name] else [])


class AnyCPU:
    """oneDNN's operators as plain PyTorch, so that bfloat16 is tested on a CPU that lacks its instructions too."""

    _reorder_convolution_weight = _reorder_convolution_transpose_weight = staticmethod(lambda w, *settings: w.clone())
    _get_mkldnn_serialized_md = staticmethod(lambda w: torch.tensor(w.shape))
    _reorder_linear_weight = staticmethod(lambda w: w)

    @staticmethod
    def _convolution_pointwise(x, w, bias, padding, stride, dilation, groups, *fused):
        bias = None if bias is None else bias.float()
        found = F.conv2d(x.float(), w.float(), bias, stride, padding, dilation, groups)
        return found.to(x.dtype).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def _convolution_transpose_pointwise(x, w, bias, padding, output_padding, stride, dilation, groups, *fused):
        bias = None if bias is None else bias.float()
        found = F.conv_transpose2d(x.float(), w.float(), bias, stride, padding, output_padding, groups, dilation)
        return found.to(x.dtype).contiguous(memory_format=torch.channels_last)

    class _convolution_pointwise_:  # noqa: N801
        @staticmethod
        def binary(shortcut, x, w, bias, padding, stride, dilation, groups, *fused):
            return shortcut.add_(AnyCPU._convolution_pointwise(x, w, bias, padding, stride, dilation, groups))

    @staticmethod
    def _linear_pointwise(x, w, bias, activation, *fused):
        found = F.linear(x.float(), w.float(), None if bias is None else bias.float())
        return getattr(F, activation, lambda x: x)(found).to(x.dtype)


@pytest.mark.parametrize(
    'name',
    [
        'r3det-oc_r50_fpn_1x_dota',
        'rotated-retinanet-rbox-le90_r50_fpn_1x_dota',
        'oriented-rcnn-le90_r50_fpn_1x_dota',
        'roi-trans-le90_r50_fpn_1x_dota',
        'gliding-vertex-qbox_r50_fpn_1x_dota',
        'cascade-mask-rcnn_r50_fpn_1x_coco',
        'grid-rcnn_r50_fpn_gn-head_2x_coco',
        'yolox_tiny_8xb8-300e_coco',
    ],
)
def test_in_bfloat16_boxes_are_decoded_in_float32(name, lines, monkeypatch):
    monkeypatch.setattr(packed, '_ops', AnyCPU)
    monkeypatch.setattr(fusion, 'cpu_has_bfloat16', lambda: True)
    model = stock(name)
    fast = optimize(model, 'bfloat16')
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        for found, expected in zip(fast.extract_feat(images), model.extract_feat(images)):
            assert (found.float() - expected).norm() < 0.05 * expected.norm()
            # what looks at features between the parts gets them as they are without
            assert (found.dtype == torch.float32 and found.is_contiguous()) == fast.backbone.restores
    assert fast.backbone.restores == name.startswith(('r3det', 'gliding', 'grid'))
    for _ in range(2):
        found = predict(fast)
        assert len(found) > 3 and found.scores.dtype == torch.float32
    assert not lines


def fails(x):
    raise RuntimeError('view size is not\n compatible')


@pytest.mark.parametrize(
    ('fast', 'reason'),
    [
        (fails, 'RuntimeError: view size is not compatible'),
        (lambda x: x.relu() * 1.01, 'its outputs differ by 0.01, relative'),
        (lambda x: x[:1], 'its outputs have a different shape'),
        (lambda x: (x,), 'its outputs have a different structure'),
        (lambda x: x.relu_().mul_(0), 'its outputs differ by 1, relative'),
    ],
)
def test_a_part_that_raises_or_differs_stays_plain(fast, reason, lines):
    module = torch.nn.ReLU()
    module.forward = parts.CheckedForward(module, fast, torch.float32, restores=True)
    x = torch.randn(2, 3, 8, 8)
    for _ in range(3):
        assert module(x.clone().contiguous(memory_format=torch.channels_last)).equal(x.relu())
    assert lines == [f'optimize: ReLU: stays in plain PyTorch: {reason}']


def test_a_part_that_raises_later_stays_plain_from_then_on(lines):
    module = torch.nn.ReLU()
    module.forward = parts.CheckedForward(
        module, lambda x: x.relu() if len(x) < 3 else fails(x), torch.bfloat16, restores=True
    )
    empty, some, many = (torch.randn(number, 3, 8, 8) for number in (0, 2, 3))
    assert module(empty).equal(empty) and not module.forward.is_checked, 'there was nothing to compare'
    found = module(some.bfloat16())
    assert found.equal(some.bfloat16().float().relu()) and found.dtype == torch.float32 and module.forward.is_checked
    assert not lines
    for _ in range(2):
        assert module(many).equal(many.relu())
    assert len(lines) == 1


def test_outputs_that_cannot_be_compared(lines):
    class Head(torch.nn.Module):
        def forward(self, x):
            return x, {1}

    head = Head()
    head.forward = parts.CheckedForward(head, lambda x: (x, {1}), torch.float32, restores=True)
    assert head(torch.ones(1)) == (torch.ones(1), {1})
    assert lines == ['optimize: Head: stays in plain PyTorch: its outputs contain a set, which cannot be compared']


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_a_neck_that_a_runtime_cannot_express_stays_in_pytorch(backend, lines):
    model = stock('atss_r50_fpn_dyhead_1x_coco')
    fast = use_backend(model, backend)
    assert isinstance(fast.backbone, ExportedNetwork)
    assert [type(part).__name__ for part in fast.neck] == ['FPN', 'DyHead']
    [line] = lines
    assert line.startswith(f'{backend} computes the backbone, PyTorch the neck: export: ')
    assert '\n' not in line and 'cannot express FasterNet + Sequential' in line
    assert_same_predictions(predict(fast), predict(model))


@pytest.mark.parametrize('format', ['onnx', 'openvino'])
def test_such_a_neck_is_one_line_in_export(format, tmp_path):
    model = stock('atss_r50_fpn_dyhead_1x_coco')
    path = tmp_path / f'a{FORMATS[format]}'
    with pytest.raises(ConfigError) as error:
        write(model, path, format)
    message = str(error.value)
    assert message.startswith(f'export: {format} cannot express FasterNet + Sequential (')
    assert message.endswith("; export the backbone alone, by --backbone-only or parts=('backbone',)")
    assert '\n' not in message and not list(tmp_path.iterdir())
    assert write(model, path, format, parts=('backbone',)).path.exists()
