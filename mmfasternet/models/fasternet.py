"""The FasterNet backbone: block, stages, table of variants, network.

Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", CVPR 2023,
https://arxiv.org/abs/2303.03667. The module names are those of the released checkpoints, so that they load as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..checkpoints import fit_backbone, fit_classifier
from ..errors import ConfigError
from .partial_conv import PartialConv3x3
from .patch_conv import PatchConv2d

_RELU = dict(type='ReLU', inplace=True)

#: Table 1 and appendix of the paper; ``drop_path_rate`` is the one of the ImageNet recipe.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    't0': dict(embed_dims=40, depths=(1, 2, 8, 2), act_cfg=dict(type='GELU'), drop_path_rate=0.0),
    't1': dict(embed_dims=64, depths=(1, 2, 8, 2), act_cfg=dict(type='GELU'), drop_path_rate=0.02),
    't2': dict(embed_dims=96, depths=(1, 2, 8, 2), act_cfg=_RELU, drop_path_rate=0.05),
    's': dict(embed_dims=128, depths=(1, 2, 13, 2), act_cfg=_RELU, drop_path_rate=0.1),
    'm': dict(embed_dims=144, depths=(3, 4, 18, 3), act_cfg=_RELU, drop_path_rate=0.2),
    'l': dict(embed_dims=192, depths=(3, 4, 18, 3), act_cfg=_RELU, drop_path_rate=0.3),
}

#: An argument that is larger is a slip.
_MOST = 2**16
_NORMS = {'BN': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm}


def _build_norm(cfg: Mapping[str, Any], channels: int) -> nn.Module:
    """Build a normalization layer from an OpenMMLab ``norm_cfg``."""
    kind, settings = _split_type(cfg, 'norm_cfg')
    requires_grad = bool(settings.pop('requires_grad', True))
    if kind == 'GN':
        layer_type = partial(nn.GroupNorm, num_channels=channels)
    else:
        found = _NORMS.get(kind) or MODELS.get(kind)
        if found is None:
            raise ConfigError(f'norm_cfg: unknown type {kind!r}; use BN, SyncBN, GN or a layer registered in MODELS')
        layer_type = partial(found, channels)
    return _build(layer_type, settings, f'norm_cfg: {kind}').requires_grad_(requires_grad)


def _build_activation(cfg: Mapping[str, Any]) -> nn.Module:
    """Build an activation from an OpenMMLab ``act_cfg``, whose ``type`` is the name of a class in ``torch.nn``."""
    kind, settings = _split_type(cfg, 'act_cfg')
    layer_type = getattr(nn, kind, None) or MODELS.get(kind)
    if layer_type is None:
        raise ConfigError(f'act_cfg: unknown type {kind!r}; use a class of torch.nn, such as ReLU or GELU')
    return _build(layer_type, settings, f'act_cfg: {kind}')


def _split_type(cfg: Mapping[str, Any], setting: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(cfg, Mapping) or not isinstance(cfg.get('type'), str):
        raise ConfigError(f'{setting} is {cfg!r}; expected a dict with the type of a layer')
    settings = dict(cfg)
    return settings.pop('type'), settings


def _build(layer_type: Callable[..., Any], settings: dict[str, Any], what: str) -> nn.Module:
    try:
        layer = layer_type(**settings)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'{what} cannot be built with {settings}: {reason}') from error
    if not isinstance(layer, nn.Module):
        raise ConfigError(f'{what} is no layer')
    return layer


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and least <= value <= _MOST


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= _MOST


@contextmanager
def _statistics_untouched(module: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a batch twice when checkpointing runs a block again."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches


class DropPath(nn.Module):
    """Drop the residual branch of whole samples (stochastic depth, https://arxiv.org/abs/1603.09382).

    Args:
        drop_prob (float): Probability that a sample's branch is dropped in training.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Zero some samples of ``x`` ``(N, C, H, W)`` and scale the others so that the mean stays."""
        if self.drop_prob == 0 or not self.training:
            return x
        keep_prob = 1 - self.drop_prob
        mask = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(keep_prob)
        return x * (mask / keep_prob)

    def extra_repr(self) -> str:
        """Show the setting in the printed network."""
        return f'drop_prob={self.drop_prob:.3f}'


class FasterNetBlock(nn.Module):
    """``x + DropPath(MLP(PConv(x)))``, figure 4 of the paper.

    Args:
        channels (int): Number of input and output channels.
        partial_ratio (float): Share of the channels that PConv convolves.
        mlp_ratio (float): Hidden channels of the MLP over ``channels``.
        drop_path (float): Probability of dropping the branch in training.
        layer_scale_init_value (float): Start of the learnt scale of each channel; 0 leaves the scale out.
        norm_cfg (dict): Normalization layer.
        act_cfg (dict): Activation.
    """

    def __init__(
        self,
        channels: int,
        partial_ratio: float,
        mlp_ratio: float,
        drop_path: float,
        layer_scale_init_value: float,
        norm_cfg: Mapping[str, Any],
        act_cfg: Mapping[str, Any],
    ) -> None:
        super().__init__()
        hidden_channels = int(channels * mlp_ratio)
        self.spatial_mixing = PartialConv3x3(channels, partial_ratio)
        self.mlp = nn.Sequential(
            PatchConv2d(channels, hidden_channels),
            _build_norm(norm_cfg, hidden_channels),
            _build_activation(act_cfg),
            PatchConv2d(hidden_channels, channels),
        )
        self.drop_path = DropPath(drop_path)
        self.layer_scale = (
            nn.Parameter(torch.full((channels,), float(layer_scale_init_value))) if layer_scale_init_value > 0 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to the same shape."""
        branch = self.mlp(self.spatial_mixing(x))
        if self.layer_scale is not None:
            branch = branch * self.layer_scale[:, None, None]
        return x + self.drop_path(branch)


class FasterNetStage(nn.Module):
    """Blocks of equal width.

    Args:
        blocks (list[FasterNetBlock]): The blocks.
        with_cp (bool): Compute the blocks' activations again in the backward pass rather than keep them.
    """

    def __init__(self, blocks: list[FasterNetBlock], with_cp: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to the same shape."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return self.blocks(x)
        for block in self.blocks:
            contexts = partial(self._contexts, block)
            x = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
        return x

    @staticmethod
    def _contexts(block: FasterNetBlock) -> tuple[Any, Any]:
        """The contexts of the first and of the repeated forward pass."""
        return nullcontext(), _statistics_untouched(block)


class PatchEmbed(nn.Module):
    """The stem: a convolution over patches that do not overlap, then a norm.

    Args:
        in_channels (int): Number of image channels.
        channels (int): Number of output channels.
        patch_size (int): Side and stride of the patches in pixels.
        norm_cfg (dict): Normalization layer.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int, norm_cfg: Mapping[str, Any]) -> None:
        super().__init__()
        self.proj = PatchConv2d(in_channels, channels, patch_size)
        self.norm = _build_norm(norm_cfg, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, in_channels, H, W)`` to ``(N, C, H / patch_size, W / patch_size)``."""
        return self.norm(self.proj(x))


class PatchMerging(nn.Module):
    """What stands between two stages: a 2×2 convolution of stride 2 that doubles the channels, then a norm.

    Args:
        channels (int): Number of input channels.
        norm_cfg (dict): Normalization layer.
    """

    def __init__(self, channels: int, norm_cfg: Mapping[str, Any]) -> None:
        super().__init__()
        self.reduction = PatchConv2d(channels, 2 * channels, 2)
        self.norm = _build_norm(norm_cfg, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to ``(N, 2C, H / 2, W / 2)``."""
        return self.norm(self.reduction(x))


@MODELS.register_module()
class FasterNet(BaseModule):
    """FasterNet as an OpenMMLab backbone.

    Weights load from a released ImageNet file, a timm state dict or a detector's checkpoint, through
    :meth:`load_state_dict` as through ``init_cfg=dict(type='Pretrained', checkpoint=...)``; one log line tells what
    was loaded. A file of another variant is a :class:`~mmfasternet.errors.CheckpointError`.

    Args:
        arch (str | dict): A variant of :data:`ARCHITECTURES`, or a dict with ``embed_dims`` (int), ``depths`` (one
            int a stage) and optionally ``act_cfg`` and ``drop_path_rate``. Defaults to ``'t0'``.
        drop_path_rate (float, optional): Stochastic depth of the last block; it rises linearly from 0 over all
            blocks. Defaults to None, the arch's.
        in_channels (int): Number of image channels. Defaults to 3.
        partial_ratio (float): Share of the channels that PConv convolves, in (0, 1]. Defaults to 1/4.
        mlp_ratio (float): Hidden channels of a block's MLP over its channels. Defaults to 2.
        patch_size (int): Side and stride of the stem's patches in pixels. Defaults to 4.
        layer_scale_init_value (float): Start of the learnt scale of each block's branch; 0 leaves it out. Defaults
            to 0.
        out_indices (Sequence[int]): Stages that are returned, from 0. Stages after the last of them are not built.
            Return only what the neck uses, as the norm of another output gets no gradient, at which several processes
            stop: with a neck that has ``start_level=1``, set ``out_indices=(1, 2, 3)``, three ``in_channels`` and
            ``start_level=0``. Defaults to ``(0, 1, 2, 3)``.
        output_norm (bool): Whether each output passes a norm of its own, as in the released detectors. Defaults to
            True.
        norm_cfg (dict): Normalization layer: BN, SyncBN, GN (with ``num_groups``) or a registered one. Defaults to
            ``dict(type='BN')``.
        act_cfg (dict, optional): Activation. Defaults to None, the arch's.
        frozen_stages (int): -1 freezes nothing, 0 the stem, ``i`` the stem and the first ``i`` stages (with the
            downsampling before them; the output norms stay free). Defaults to -1.
        norm_eval (bool): Whether batch norms keep their running statistics in training. Defaults to False.
        with_cp (bool): Activation checkpointing: the same gradients for less memory and more time. Defaults to
            False.
        channels_last (bool): Whether to compute in the channels-last memory format. Images come and features go
            contiguous, so that nothing else need know. Defaults to False.
        bf16 (bool): Whether to train under bfloat16 autocast; parameters, gradients and features stay in the dtype of
            the images. Evaluation is not changed. Defaults to False.
        compile (bool): Whether to train through ``torch.compile``, which takes a minute at the first step and again at
            the first image of another size. Evaluation is not changed. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialization. Defaults to None: truncated normal of std 0.02 for
            convolutions.

    Raises:
        ConfigError: If an argument has a value that cannot work.

    Examples:
        >>> import torch
        >>> from mmfasternet.models import FasterNet
        >>> features = FasterNet('s').eval()(torch.rand(1, 3, 64, 64))
        >>> [tuple(f.shape) for f in features]
        [(1, 128, 16, 16), (1, 256, 8, 8), (1, 512, 4, 4), (1, 1024, 2, 2)]
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 't0',
        drop_path_rate: float | None = None,
        in_channels: int = 3,
        partial_ratio: float = 1 / 4,
        mlp_ratio: float = 2,
        patch_size: int = 4,
        layer_scale_init_value: float = 0,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        output_norm: bool = True,
        norm_cfg: Mapping[str, Any] = dict(type='BN'),
        act_cfg: Mapping[str, Any] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        channels_last: bool = False,
        bf16: bool = False,
        compile: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.02))
        settings = self.resolve_arch(arch)
        embed_dims, depths = settings['embed_dims'], settings['depths']
        act_cfg = act_cfg or settings['act_cfg']
        drop_path_rate = settings['drop_path_rate'] if drop_path_rate is None else drop_path_rate
        self._check_arguments(
            embed_dims, len(depths), in_channels, patch_size, partial_ratio, mlp_ratio, drop_path_rate,
            layer_scale_init_value, out_indices, frozen_stages,
        )  # fmt: skip
        if with_cp and compile:
            raise ConfigError('FasterNet: with_cp and compile exclude each other; set one of them to False')

        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.channels_last = channels_last
        self.bf16 = bf16
        self.compiles = compile
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size, norm_cfg)

        drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist())
        self.stages = nn.Sequential()
        for i, depth in enumerate(depths[: max(out_indices) + 1]):
            channels = embed_dims * 2**i
            if i > 0:
                self.stages.append(PatchMerging(channels // 2, norm_cfg))
            blocks = [
                FasterNetBlock(
                    channels, partial_ratio, mlp_ratio, next(drop_paths), layer_scale_init_value, norm_cfg, act_cfg
                )
                for _ in range(depth)
            ]
            self.stages.append(FasterNetStage(blocks, with_cp))
        for i in self.out_indices:
            # stage i is stages[2 * i]; the released detectors number the norms likewise
            norm = _build_norm(norm_cfg, embed_dims * 2**i) if output_norm else nn.Identity()
            self.add_module(f'norm{2 * i}', norm)
        self._freeze()

    @staticmethod
    def resolve_arch(arch: str | Mapping[str, Any]) -> dict[str, Any]:
        """Turn the ``arch`` argument into a whole entry of :data:`ARCHITECTURES`.

        Args:
            arch (str | dict): As in the constructor.

        Returns:
            dict: ``embed_dims``, ``depths``, ``act_cfg`` and ``drop_path_rate``.

        Raises:
            ConfigError: If the name is unknown, or the dict lacks a key or has an unknown one.
        """
        if isinstance(arch, str):
            if arch not in ARCHITECTURES:
                raise ConfigError(
                    f'FasterNet: unknown arch {arch!r}; choose one of {", ".join(ARCHITECTURES)}, '
                    'or give a dict with embed_dims and depths'
                )
            return dict(ARCHITECTURES[arch])
        defaults = dict(act_cfg=_RELU, drop_path_rate=0.0)
        required = ARCHITECTURES['t0'].keys() - defaults.keys()
        if not isinstance(arch, Mapping) or not required <= arch.keys() <= required | defaults.keys():
            raise ConfigError(
                f'FasterNet: arch is {arch!r}; a dict needs {", ".join(sorted(required))} '
                f'and may have {", ".join(sorted(defaults))}'
            )
        embed_dims, depths = arch['embed_dims'], arch['depths']
        if not (_is_count(embed_dims) and isinstance(depths, Sequence) and depths and all(map(_is_count, depths))):
            raise ConfigError(
                f'FasterNet: arch has embed_dims {embed_dims!r} and depths {depths!r}; expected a number of channels, '
                'and for each stage a number of blocks'
            )
        return defaults | dict(arch)

    @staticmethod
    def _check_arguments(
        embed_dims: int,
        num_stages: int,
        in_channels: int,
        patch_size: int,
        partial_ratio: float,
        mlp_ratio: float,
        drop_path_rate: float,
        layer_scale_init_value: float,
        out_indices: Sequence[int],
        frozen_stages: int,
    ) -> None:
        for name, value in (('in_channels', in_channels), ('patch_size', patch_size)):
            if not _is_count(value):
                raise ConfigError(f'FasterNet: {name} is {value!r}; expected a whole number, at least 1')
        is_sequence = isinstance(out_indices, Sequence) and out_indices
        if not is_sequence or not all(_is_count(index, 0) and index < num_stages for index in out_indices):
            raise ConfigError(f'FasterNet: out_indices is {out_indices!r}; choose from 0 to {num_stages - 1}')
        if not (_is_count(frozen_stages, -1) and frozen_stages <= num_stages):
            raise ConfigError(f'FasterNet: frozen_stages is {frozen_stages!r}; choose from -1 to {num_stages}')
        if not (_is_number(drop_path_rate) and drop_path_rate < 1):
            raise ConfigError(f'FasterNet: drop_path_rate is {drop_path_rate!r}; choose from 0 to below 1')
        if not (_is_number(partial_ratio) and partial_ratio <= 1 and int(embed_dims * partial_ratio) >= 1):
            raise ConfigError(
                f'FasterNet: partial_ratio is {partial_ratio!r}; of {embed_dims} channels it must leave 1 to '
                f'{embed_dims}'
            )
        if not (_is_number(mlp_ratio) and int(embed_dims * mlp_ratio) >= 1):
            raise ConfigError(f'FasterNet: mlp_ratio is {mlp_ratio!r}; it must make 1 channel or more of {embed_dims}')
        if not _is_number(layer_scale_init_value):
            raise ConfigError(
                f'FasterNet: layer_scale_init_value is {layer_scale_init_value!r}; choose 0 or a bit more'
            )

    @property
    def stride(self) -> int:
        """Pixels of the image to one of the last stage's features."""
        return self.patch_embed.proj.stride[0] * 2 ** max(self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of the stages in ``out_indices``.

        Args:
            x (Tensor): Images of shape ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor]: For stage ``i``, features of shape ``(N, embed_dims·2^i, H/2^(i+2), W/2^(i+2))``.
        """
        compute = _compiled_features() if self.compiles and self.training else FasterNet.features
        if self.bf16 and self.training:
            # The backbone alone, and its features as they would be without: mmdet gives boxes the dtype of the
            # features, and at pixel 1000 bfloat16 counts in steps of 4; and mmcv's RoIAlign and NMS do not know it.
            with torch.autocast(x.device.type, torch.bfloat16):
                features = [feature.to(x.dtype) for feature in compute(self, x)]
        else:
            features = compute(self, x)
        # contiguous: mmcv's RoIAlign on the CPU misreads channels-last features, and a detector finds nothing
        return tuple(feature.contiguous() for feature in features)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the same as :meth:`forward`, in the memory format in which they come about, without the switches.

        Args:
            x (Tensor): Images of shape ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor]: As :meth:`forward`.
        """
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.patch_embed(x)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index % 2 == 0 and index // 2 in self.out_indices:
                outputs.append(getattr(self, f'norm{index}')(x))
        return tuple(outputs)

    def init_weights(self) -> None:
        """Initialize the weights; the file of ``init_cfg`` is read safely, whoever's tool this is."""
        from ..checkpoints.mmengine_schemes import safe_loaders

        with safe_loaders():
            super().init_weights()

    def train(self, mode: bool = True) -> FasterNet:
        """Set the mode, keeping the frozen stages and, if ``norm_eval``, all batch norms in evaluation."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.patch_embed, *self.stages[: max(0, 2 * self.frozen_stages - 1)]]

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.eval().requires_grad_(False)

    def _checkpoint_filter(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """What mmpretrain's ``ImageClassifier`` calls before it loads: the authors' and timm's files load whole."""
        inside = {key.removeprefix(prefix): state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        state_dict.update({prefix + key: value for key, value in fit_classifier(inside).items()})

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict, *args: Any, **kwargs: Any
    ) -> None:
        # Both torch's and MMEngine's loaders, strict or not, pass each module here before its children.
        own = {key: value.detach() for key, value in self.state_dict(keep_vars=True).items()}
        source = {key.removeprefix(prefix): state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        fit = fit_backbone(source, own, where=prefix.rstrip('.'))
        print_log(fit.summary(), logger='current')
        state_dict.update({prefix + key: value for key, value in fit.tensors.items()})
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)


@cache
def _compiled_features() -> Callable[[FasterNet, Tensor], tuple[Tensor, ...]]:
    """The forward pass, compiled; no part of a network, so that copies and checkpoints are those of any other."""
    return torch.compile(FasterNet.features)
