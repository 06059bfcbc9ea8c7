import copy
import pickle

import pytest
import timm
import torch
from conftest import ARCHS, as_released, make_timm, randomize_
from mmengine.registry import MODELS
from torch import nn

from mmfasternet.checkpoints import fit_backbone
from mmfasternet.checkpoints.formats import recognise
from mmfasternet.errors import ConfigError
from mmfasternet.models import ARCHITECTURES, FasterNet

TINY = dict(embed_dims=16, depths=(1, 2, 2, 1), act_cfg=dict(type='GELU'))
PARAMETERS = dict(t0=2_216_100, t1=5_660_928, t2=12_721_728, s=28_593_152, m=50_770_224, l=90_223_872)
CLASSIFIER_PARAMETERS = dict(t0=3_905_500, t1=7_595_368, t2=14_982_888, s=31_181_032, m=53_521_464, l=93_465_192)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize('arch', ARCHS)
def test_features_equal_timm(arch):
    reference = make_timm(arch).eval()
    model = FasterNet(arch, output_norm=False).eval()
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        expected = reference.forward_intermediates(images, intermediates_only=True)
        features = model(images)
    for ours, theirs in zip(features, expected, strict=True):
        assert theirs.abs().mean() > 1e-2, 'nothing to compare'
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('arch', ARCHS)
def test_gradients_equal_timm(arch):
    reference = make_timm(arch).double().train()
    model = FasterNet(arch, output_norm=False, drop_path_rate=0).double().train()
    model.load_state_dict(reference.state_dict())
    for stage in reference.stages:
        for block in stage.blocks:
            block.drop_path = nn.Identity()
    images = torch.randn(2, 3, 64, 64, dtype=torch.double)
    for network in (reference, model):
        features = network(images) if network is model else network.forward_intermediates(images)[1]
        sum(feature.square().mean() for feature in features).backward()
    gradients = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    expected = fit_backbone(gradients, {name: p.detach() for name, p in model.named_parameters()}).tensors
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f'{n}: {m}'
        )
    running = fit_backbone(reference.state_dict(), model.state_dict()).tensors
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, running[name], msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('arch', ARCHS)
def test_parameter_counts_are_the_papers(arch):
    backbone = FasterNet(arch)
    assert count(backbone) == PARAMETERS[arch]
    channels = 8 * ARCHITECTURES[arch]['embed_dims']
    head = nn.Sequential(nn.Conv2d(channels, 1280, 1, bias=False), nn.Linear(1280, 1000))
    assert count(FasterNet(arch, out_indices=(3,), output_norm=False)) + count(head) == CLASSIFIER_PARAMETERS[arch]


def test_names_are_the_released_ones():
    names = set(FasterNet('t0').state_dict())
    released = set(as_released(make_timm('t0').state_dict()))
    heads = {'avgpool_pre_head.1.weight', 'head.weight', 'head.bias'}
    norms = {name for name in names if name.startswith(('norm0.', 'norm2.', 'norm4.', 'norm6.'))}
    assert len(norms) == 20
    assert names - norms == released - heads


def test_found_from_every_library():
    from mmdet.registry import MODELS as MMDET
    from mmpretrain.registry import MODELS as MMPRETRAIN
    from mmrotate.registry import MODELS as MMROTATE

    for registry in (MODELS, MMDET, MMROTATE, MMPRETRAIN):
        assert isinstance(registry.build(dict(type='FasterNet', arch=TINY)), FasterNet)


@pytest.mark.parametrize('height, width', [(64, 64), (61, 97), (33, 32), (100, 75)])
def test_output_shapes(height, width):
    for index, feature in enumerate(FasterNet(TINY)(torch.randn(2, 3, height, width))):
        stride = 2 ** (index + 2)
        assert feature.shape == (2, 16 * 2**index, height // stride, width // stride)


def test_out_indices_choose_stages_and_later_ones_are_not_built():
    whole, part = FasterNet(TINY).eval(), FasterNet(TINY, out_indices=(1, 2)).eval()
    part.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, 64, 64)
    for ours, expected in zip(part(images), whole(images)[1:3], strict=True):
        torch.testing.assert_close(ours, expected)
    assert len(part.stages) == 5


def test_arguments_shape_the_network():
    model = FasterNet(
        TINY, in_channels=5, partial_ratio=1 / 2, mlp_ratio=3, patch_size=8, layer_scale_init_value=0.5,
        act_cfg=dict(type='SiLU'), drop_path_rate=0.4,
    )  # fmt: skip
    block = model.stages[0].blocks[0]
    assert block.spatial_mixing.conv_channels == 8
    assert block.mlp[0].out_channels == 48
    assert isinstance(block.mlp[2], nn.SiLU)
    assert torch.equal(block.layer_scale, torch.full((16,), 0.5))
    rates = [m.drop_path.drop_prob for m in model.modules() if hasattr(m, 'drop_path')]
    assert rates == pytest.approx([0, 0.08, 0.16, 0.24, 0.32, 0.4])
    assert model(torch.randn(2, 5, 128, 128))[0].shape == (2, 16, 16, 16)


def test_layer_scale_scales_the_branch():
    plain, scaled = FasterNet(TINY).eval(), FasterNet(TINY, layer_scale_init_value=1).eval()
    scaled.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(scaled(images), plain(images))
    for module in scaled.modules():
        if hasattr(module, 'layer_scale'):
            module.layer_scale.data.zero_()
    assert not torch.allclose(scaled(images)[0], plain(images)[0])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    model = FasterNet(dict(embed_dims=16, depths=(1, 1)), drop_path_rate=0.5, out_indices=(1,))
    drop_path = model.stages[2].blocks[0].drop_path
    torch.manual_seed(0)
    out = drop_path.train()(torch.ones(4000, 1, 2, 2))
    assert set(out.unique().tolist()) == {0, 2}
    assert torch.equal(out.amax((1, 2, 3)), out.amin((1, 2, 3)))
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop_path.eval()(out), out)


@pytest.mark.parametrize('norm_cfg, layer', [
    (dict(type='BN', eps=1e-3, requires_grad=False), nn.BatchNorm2d),
    (dict(type='SyncBN'), nn.SyncBatchNorm),
    (dict(type='GN', num_groups=4), nn.GroupNorm),
])  # fmt: skip
def test_norm_layers(norm_cfg, layer):
    model = FasterNet(TINY, norm_cfg=norm_cfg)
    norms = [m for m in model.modules() if isinstance(m, layer)]
    assert len(norms) == 1 + 3 + 6 + 4
    assert all(norm.weight.requires_grad == norm_cfg.get('requires_grad', True) for norm in norms)
    assert norms[0].eps == norm_cfg.get('eps', 1e-5)
    sum(feature.sum() for feature in model(torch.randn(2, 3, 64, 64))).backward()


def test_init_is_the_papers():
    torch.manual_seed(0)
    model = FasterNet('t0')
    model.init_weights()
    for name, weight in model.named_parameters():
        if weight.dim() == 4 and weight.numel() > 10_000:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05), name
            assert weight.mean().item() == pytest.approx(0, abs=1e-3), name


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 4])
def test_frozen_stages_do_not_learn(frozen_stages):
    model = FasterNet(TINY, frozen_stages=frozen_stages).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(feature.square().sum() for feature in model(torch.randn(2, 3, 64, 64))).backward()
    optimizer.step()
    changed = {
        name.rsplit('.', 1)[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    frozen = {'patch_embed'} if frozen_stages >= 0 else set()
    frozen |= {f'stages.{i}' for i in range(2 * frozen_stages - 1)}
    for module, _ in model.named_modules():
        is_frozen = any(module.startswith(f'{name}.') for name in frozen)
        has_own_state = any(name.rsplit('.', 1)[0] == module for name in before)
        if has_own_state:
            assert (module in changed) != is_frozen, module


def test_norm_eval_keeps_statistics():
    model = FasterNet(TINY, norm_eval=True).train()
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and model.stages[0].blocks[0].training


def test_checkpointing_gives_the_same_for_less_memory():
    arch = dict(embed_dims=16, depths=(6,))
    models = [
        randomize_(FasterNet(arch, with_cp=with_cp, out_indices=(0,), drop_path_rate=0.5)) for with_cp in (False, True)
    ]
    models[1].load_state_dict(models[0].state_dict())
    images, kept = torch.randn(4, 3, 64, 64), []
    for model in models:
        torch.manual_seed(0)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.nbytes) or t, lambda t: t):
            loss = model(images)[0].square().sum()
        loss.backward()
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2
    for (name, plain), saving in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(saving.grad, plain.grad, msg=lambda m, n=name: f'{n}: {m}')
    for (name, plain), saving in zip(models[0].named_buffers(), models[1].buffers(), strict=True):
        assert torch.equal(saving, plain), f'{name}: the repeated forward pass was counted too'


def step(model, images):
    features = model(images)
    loss_of(features).backward()
    return features


def loss_of(features):
    """A loss with a gradient everywhere: the squares of normed features add up to the same whatever comes before."""
    torch.manual_seed(1)
    return sum((feature * torch.randn(feature.shape, dtype=feature.dtype)).sum() for feature in features)


SWITCHES = [dict(channels_last=True), dict(with_cp=True), dict(channels_last=True, with_cp=True)]
COMPILED = dict(channels_last=True, compile=True)
#: Compiling takes seconds a block.
TINIEST = dict(embed_dims=16, depths=(1, 1))


@pytest.mark.parametrize('switches, arch', [*((switches, TINY) for switches in SWITCHES), (COMPILED, TINIEST)], ids=str)
def test_switches_keep_features_gradients_and_statistics(switches, arch):
    settings = dict(arch=arch, out_indices=range(len(arch['depths'])))
    plain, switched = FasterNet(**settings).double(), FasterNet(**settings, **switches).double()
    switched.load_state_dict(randomize_(plain).state_dict())
    images = torch.randn(3, 3, 77, 101, dtype=torch.double)
    for ours, expected in zip(step(switched, images), step(plain, images), strict=True):
        assert ours.is_contiguous()
        torch.testing.assert_close(ours, expected)
    for (name, parameter), expected in zip(switched.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, msg=lambda m, n=name: f'{n}: {m}')
        assert parameter.grad.stride() == expected.grad.stride(), name
    for (name, value), expected in zip(switched.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(value, expected, msg=lambda m, n=name: f'{n}: {m}')
    for ours, expected in zip(switched.eval()(images), plain.eval()(images), strict=True):
        assert ours.is_contiguous()
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize('switches', [{}, *SWITCHES, COMPILED], ids=str)
def test_switched_gradients_equal_timm(switches):
    torch.manual_seed(0)
    reference = timm.models.fasternet.FasterNet(embed_dim=16, depths=(1, 1), drop_path_rate=0).train()
    model = FasterNet(TINIEST, out_indices=(0, 1), output_norm=False, **switches)
    model.load_state_dict(randomize_(reference).state_dict())
    images = torch.randn(2, 3, 64, 64)
    step(model, images)
    loss_of(reference.forward_intermediates(images, intermediates_only=True)).backward()
    gradients = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    expected = fit_backbone(gradients, {name: p.detach() for name, p in model.named_parameters()}).tensors
    for name, parameter in model.named_parameters():
        assert (parameter.grad - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize('channels_last', [False, True])
def test_bf16_trains_the_backbone_alone(channels_last):
    plain, switched = FasterNet(TINY), FasterNet(TINY, bf16=True, channels_last=channels_last)
    switched.load_state_dict(randomize_(plain).state_dict())
    computed = []
    switched.stages[2].blocks[0].mlp[3].register_forward_hook(lambda module, inputs, out: computed.append(out.dtype))
    images = torch.randn(4, 3, 64, 64)
    for ours, expected in zip(step(switched, images), step(plain, images), strict=True):
        assert ours.is_contiguous() and ours.dtype == torch.float32
        assert 0 < (ours - expected).norm() / expected.norm() < 0.05
    for (name, parameter), expected in zip(switched.named_parameters(), plain.parameters(), strict=True):
        assert parameter.grad.dtype == torch.float32
        assert torch.cosine_similarity(parameter.grad.flatten(), expected.grad.flatten(), 0) > 0.9, name
    plain.load_state_dict(switched.state_dict())
    torch.testing.assert_close(switched.eval()(images), plain.eval()(images))
    assert computed == [torch.bfloat16, torch.float32]


def test_compiled_training_holds():
    """Frozen stages, drop path, another image size, bfloat16, distributed, copied and saved."""
    torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        settings = dict(arch=TINIEST, out_indices=(0, 1), drop_path_rate=0.3, frozen_stages=1)
        model = FasterNet(**settings, bf16=True, **COMPILED)
        assert model.state_dict().keys() == FasterNet(**settings).state_dict().keys()
        wrapped = nn.parallel.DistributedDataParallel(model)
        for size in (64, 96):
            wrapped.zero_grad()
            features = step(wrapped, torch.randn(2, 3, size, size + 32))
            assert features[0].shape == (2, 16, size // 4, size // 4 + 8)
            assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert step(twin, torch.randn(2, 3, 64, 64))[1].isfinite().all()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize('channels_last', [False, True])
def test_a_training_step_keeps_less_than_timms(channels_last):
    reference, kept = timm.create_model('fasternet_t2', drop_path_rate=0).train(), []
    model = FasterNet('t2', output_norm=False, drop_path_rate=0, channels_last=channels_last)
    images = torch.randn(2, 3, 64, 64)
    for forward in (lambda x: reference.forward_intermediates(x, intermediates_only=True), model):
        storages = {}
        parameters = {p.data_ptr() for p in (*reference.parameters(), *model.parameters())}

        def pack(tensor, storages=storages, parameters=parameters):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features = forward(images)
        kept.append(sum(storages.values()))
        del features
    assert kept[1] < 0.9 * kept[0]


@pytest.mark.parametrize('arguments, message', [
    (dict(arch='xl'), r"unknown arch 'xl'; choose one of t0, t1, t2, s, m, l"),
    (dict(arch=dict(embed_dims=16)), 'needs depths, embed_dims'),
    (dict(arch=dict(TINY, widths=3)), 'may have act_cfg, drop_path_rate'),
    (dict(arch=7), 'arch is 7'),
    (dict(out_indices=(0, 4)), r'out_indices is \(0, 4\); choose from 0 to 3'),
    (dict(out_indices=()), 'out_indices'),
    (dict(frozen_stages=5), 'frozen_stages is 5; choose from -1 to 4'),
    (dict(drop_path_rate=1.0), 'drop_path_rate is 1.0'),
    (dict(partial_ratio=0.01), 'partial_ratio is 0.01; of 40 channels'),
    (dict(partial_ratio=2), 'partial_ratio is 2'),
    (dict(norm_cfg=dict(type='BatchNorm')), "norm_cfg: unknown type 'BatchNorm'"),
    (dict(with_cp=True, compile=True), 'with_cp and compile exclude each other'),
    (dict(act_cfg=dict(type='Relu')), "act_cfg: unknown type 'Relu'"),
])  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FasterNet(**arguments)
    assert '\n' not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_compiles_whole_and_exports():
    model = randomize_(FasterNet(dict(embed_dims=16, depths=(1, 1)), out_indices=(0, 1))).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        exported = torch.export.export(model, (images,)).module()(images)
        compiled = torch.compile(model, fullgraph=True)(images)
    for features in (exported, compiled):
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_bf16_autocast():
    model = randomize_(FasterNet(TINY)).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = model(images)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        features = model(images)
    for ours, reference in zip(features, expected, strict=True):
        assert (ours - reference).norm() / reference.norm() < 0.05


def test_copies_and_pickles():
    model = randomize_(FasterNet(TINY)).eval()
    images = torch.randn(1, 3, 64, 64)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(torch.equal(a, b) for a, b in zip(twin(images), model(images), strict=True))
        norm = twin.norm0.weight.clone()
        source = FasterNet(TINY)
        twin.load_state_dict(recognise(source.state_dict()).as_timm())
        assert torch.equal(twin.stages[1].reduction.weight, source.stages[1].reduction.weight)
        assert torch.equal(twin.norm0.weight, norm), 'timm has no output norms'
        assert not torch.equal(twin(images)[0], model(images)[0])
