"""The classifier equals timm's, and every file of one loads whole."""

import pytest
import torch
from conftest import ARCHS, as_released, make_timm, randomize_
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmpretrain.structures import DataSample

from mmfasternet.errors import CheckpointError, ConfigError
from mmfasternet.models import ARCHITECTURES, FasterNet, FasterNetClsHead


def make_classifier(arch, num_classes=1000, **head):
    init_default_scope('mmpretrain')
    settings = ARCHITECTURES[arch]
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='FasterNet', arch=arch, out_indices=(3,), output_norm=False),
            head=dict(
                type='FasterNetClsHead',
                num_classes=num_classes,
                in_channels=8 * settings['embed_dims'],
                act_cfg=settings['act_cfg'],
                **head,
            ),
        )
    )


def lightning(state_dict):
    return dict(state_dict={f'model.{key}': value for key, value in state_dict.items()}, epoch=281)


FORMATS = {
    'timm': lambda state: state,
    'released': as_released,
    'nested': lambda state: dict(model=as_released(state)),
    'Lightning': lambda state: lightning(as_released(state)),
}


@pytest.mark.parametrize('arch', ARCHS)
def test_logits_equal_timms(arch, tmp_path):
    reference = make_timm(arch).eval()
    torch.save(as_released(reference.state_dict()), tmp_path / 'file.pth')
    model = make_classifier(arch).eval()
    # strict: no key missing, none unexpected
    load_checkpoint(model, str(tmp_path / 'file.pth'), strict=True)
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        expected, logits = reference(images), model(images, mode='tensor')
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('form', FORMATS)
def test_every_form_of_a_file_loads_whole(form, tmp_path):
    reference = make_timm('t0')
    torch.save(FORMATS[form](reference.state_dict()), tmp_path / 'file.pth')
    model = make_classifier('t0')
    load_checkpoint(model, str(tmp_path / 'file.pth'), strict=True)
    assert model.head.head.weight.equal(reference.classifier.weight)
    assert model.head.avgpool_pre_head[1].weight.equal(reference.conv_head.weight)
    # and so does what this model itself saves
    torch.save(model.state_dict(), tmp_path / 'own.pth')
    other = make_classifier('t0')
    load_checkpoint(other, str(tmp_path / 'own.pth'), strict=True)
    assert other.head.head.weight.equal(reference.classifier.weight)


def test_a_classification_run_starts_a_detector(tmp_path, log_lines):
    classifier = randomize_(make_classifier('t0', num_classes=10))
    torch.save(dict(meta=dict(epoch=1), state_dict=classifier.state_dict()), tmp_path / 'epoch_1.pth')
    weights = str(tmp_path / 'epoch_1.pth')
    backbone = FasterNet('t0', init_cfg=dict(type='Pretrained', checkpoint=weights))
    backbone.init_weights()
    (line,) = log_lines()
    assert line == (
        "FasterNet: loaded 128 tensors from a classifier's checkpoint; "
        'left out 3 (head.avgpool_pre_head.1, head.head); start fresh 20 (norm0, norm2, norm4, norm6)'
    )
    own = backbone.state_dict()
    for name, value in classifier.backbone.state_dict().items():
        assert torch.equal(own[name], value), name


def test_what_becomes_of_the_head_is_told(tmp_path, log_lines):
    state_dict = as_released(make_timm('t0').state_dict())
    make_classifier('t0').load_state_dict(state_dict)
    assert log_lines()[-1] == 'FasterNetClsHead: loaded a classifier of 1000 classes'
    torch.save({key: value for key, value in state_dict.items() if 'head' not in key}, tmp_path / 'backbone.pth')
    load_checkpoint(make_classifier('t0'), str(tmp_path / 'backbone.pth'))
    assert log_lines()[-1] == 'FasterNetClsHead: starts fresh, the file has no classifier'


def test_a_classifier_of_other_classes_is_an_error(tmp_path):
    torch.save(make_timm('t0').state_dict(), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='has 1000 classes, the head of this model 10'):
        load_checkpoint(make_classifier('t0', num_classes=10), str(tmp_path / 'file.pth'))


def test_another_variant_is_an_error(tmp_path):
    torch.save(make_timm('t1').state_dict(), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='another FasterNet than this model'):
        load_checkpoint(make_classifier('t0'), str(tmp_path / 'file.pth'))


def test_loss_equals_torchs():
    model = make_classifier('t0', num_classes=5).eval()
    images, labels = torch.rand(3, 3, 64, 64), torch.tensor([1, 4, 0])
    samples = [DataSample().set_gt_label(label) for label in labels]
    logits = model(images, mode='tensor')
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(model.head.loss(model.extract_feat(images), samples)['loss'], expected)
    # blended by MixUp or CutMix
    scores = torch.rand(3, 5).softmax(1)
    samples = [DataSample().set_gt_score(score) for score in scores]
    model = make_classifier('t0', num_classes=5, loss=dict(type='CrossEntropyLoss', use_soft=True)).eval()
    logits = model(images, mode='tensor')
    expected = torch.nn.functional.cross_entropy(logits, scores)
    torch.testing.assert_close(model.head.loss(model.extract_feat(images), samples)['loss'], expected)


def test_predictions():
    model = make_classifier('t0', num_classes=5).eval()
    images = torch.rand(2, 3, 64, 64)
    logits = model(images, mode='tensor')
    given = [DataSample(), DataSample()]
    for found in (model.predict(images), model.predict(images, given)):
        for sample, row in zip(found, logits):
            torch.testing.assert_close(sample.pred_score, row.softmax(0))
            assert sample.pred_label.tolist() == [row.argmax()]
    assert given[0].pred_score.sum() == pytest.approx(1)


def test_numbers_that_cannot_work():
    with pytest.raises(ConfigError, match='num_classes is 0; expected 1 or more'):
        FasterNetClsHead(num_classes=0, in_channels=320)
