"""The FasterNet backbone: block, stage, network.

Chen et al., "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", CVPR 2023,
https://arxiv.org/abs/2303.03667. Modules have the names that they have in the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checkpoints.formats import fit_backbone_before_loading, fit_classifier_before_loading
from ..checkpoints.mmengine_schemes import safe_loaders
from .architectures import check_arguments, resolve_arch
from .layers import DropPath, PartialConv3x3, PatchConv2d, PatchEmbed, PatchMerging, build_act, build_norm, checkpointed


class FasterNetBlock(nn.Module):
    """``x + DropPath(MLP(PConv(x)))``, figure 4 of the paper.

    Args:
        channels (int): Number of input and output channels.
        drop_path_rate (float): Probability of dropping the branch in training.
        partial_ratio (float): Share of the channels that PConv convolves.
        mlp_ratio (float): Hidden channels of the MLP over ``channels``.
        layer_scale_init_value (float): Initial value of the learnt scale of each channel; 0 leaves the scale out.
        norm_cfg (dict): Normalization layer.
        act_cfg (dict): Activation.
    """

    def __init__(
        self,
        channels: int,
        drop_path_rate: float,
        partial_ratio: float,
        mlp_ratio: float,
        layer_scale_init_value: float,
        norm_cfg: Mapping[str, Any],
        act_cfg: Mapping[str, Any],
    ) -> None:
        super().__init__()
        hidden_channels = int(channels * mlp_ratio)
        self.spatial_mixing = PartialConv3x3(channels, partial_ratio)
        self.mlp = nn.Sequential(
            PatchConv2d(channels, hidden_channels),
            build_norm(norm_cfg, hidden_channels),
            build_act(act_cfg),
            PatchConv2d(hidden_channels, channels),
        )
        self.drop_path = DropPath(drop_path_rate)
        self.layer_scale = None
        if layer_scale_init_value > 0:
            self.layer_scale = nn.Parameter(torch.full((channels,), float(layer_scale_init_value)))

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
        with_cp (bool): Whether the backward pass computes the blocks' activations again, which saves memory.
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
            x = checkpointed(block, x)
        return x


@MODELS.register_module()
class FasterNet(BaseModule):
    """FasterNet as an OpenMMLab backbone.

    A PyTorch implementation of `Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks
    <https://arxiv.org/abs/2303.03667>`_. Weights load from released ImageNet files, timm's and detectors' checkpoints,
    with :meth:`load_state_dict` and with ``init_cfg=dict(type='Pretrained', checkpoint=...)``; one line of the log
    reports what was loaded. A file of another variant is a :class:`~mmfasternet.errors.CheckpointError`.

    Args:
        arch (str | dict): A variant of :data:`ARCHITECTURES`, or a dict with ``embed_dims`` (int), ``depths`` (one
            int per stage) and optionally ``act_cfg`` and ``drop_path_rate``. Defaults to ``'t0'``.
        drop_path_rate (float, optional): Stochastic depth of the last block; it rises linearly from 0 over all
            blocks. Defaults to None, the arch's.
        in_channels (int): Number of image channels. Defaults to 3.
        partial_ratio (float): Share of the channels that PConv convolves, in (0, 1]. Defaults to 1/4.
        mlp_ratio (float): Hidden channels of a block's MLP over its channels. Defaults to 2.
        patch_size (int): Side and stride of the stem's patches in pixels. Defaults to 4.
        layer_scale_init_value (float): Initial value of the learnt scale of each block's branch; 0 leaves the scale
            out. Defaults to 0.
        out_indices (Sequence[int]): Stages that are returned, from 0. Stages after the last of them are not built.
            Return only what the neck uses, as the norm of an unused output has no gradient, which stops distributed
            training: for a neck with ``start_level=1``, set ``out_indices=(1, 2, 3)``, three ``in_channels`` and
            ``start_level=0``. Defaults to ``(0, 1, 2, 3)``.
        output_norm (bool): Whether each output has its own norm, as in the released detectors. Defaults to True.
        norm_cfg (dict): Normalization layer: BN, SyncBN, GN (with ``num_groups``) or a registered one. Defaults to
            ``dict(type='BN')``.
        act_cfg (dict, optional): Activation. Defaults to None, the arch's.
        frozen_stages (int): -1 freezes nothing, 0 the stem, ``i`` the stem and the first ``i`` stages (with the
            downsampling before them, without the output norms). Defaults to -1.
        norm_eval (bool): Whether batch norms keep their running statistics in training. Defaults to False.
        with_cp (bool): Whether to checkpoint activations: the same gradients with less memory and more time.
            Defaults to False.
        channels_last (bool): Whether to compute in the channels-last memory format. Images and features are contiguous
            as without it. Defaults to False.
        bf16 (bool): Whether to train with bfloat16 autocast; parameters, gradients and features keep the dtype of the
            images. Evaluation does not change. Defaults to False.
        compile (bool): Whether to train with ``torch.compile``, which takes a minute at the first step and again at
            the first image of another size. Evaluation does not change. Defaults to False.
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
        settings = resolve_arch(arch)
        embed_dims, depths = settings['embed_dims'], settings['depths']
        if drop_path_rate is None:
            drop_path_rate = settings['drop_path_rate']
        block: dict[str, Any] = dict(
            partial_ratio=partial_ratio, mlp_ratio=mlp_ratio, layer_scale_init_value=layer_scale_init_value
        )
        check_arguments(
            embed_dims, len(depths), in_channels=in_channels, patch_size=patch_size, drop_path_rate=drop_path_rate,
            out_indices=out_indices, frozen_stages=frozen_stages, with_cp=with_cp, compile=compile, **block,
        )  # fmt: skip
        block.update(norm_cfg=norm_cfg, act_cfg=act_cfg or settings['act_cfg'])
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.channels_last = channels_last
        self.bf16 = bf16
        self.compiles = compile

        drop_path_rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist())
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size, norm_cfg)
        self.stages = nn.Sequential()
        for i, depth in enumerate(depths[: max(out_indices) + 1]):
            channels = embed_dims * 2**i
            if i > 0:
                self.stages.append(PatchMerging(channels // 2, norm_cfg))
            blocks = [FasterNetBlock(channels, next(drop_path_rates), **block) for _ in range(depth)]
            self.stages.append(FasterNetStage(blocks, with_cp))
        for i in self.out_indices:
            # stage i is stages[2 * i]; the released detectors number the norms likewise
            norm = build_norm(norm_cfg, embed_dims * 2**i) if output_norm else nn.Identity()
            self.add_module(f'norm{2 * i}', norm)

        for module in self._frozen_modules():
            module.eval().requires_grad_(False)
        self.register_load_state_dict_pre_hook(fit_backbone_before_loading)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of the stages in ``out_indices``.

        Args:
            x (Tensor): Images of shape ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor]: For stage ``i``, features of shape ``(N, embed_dims·2^i, H/2^(i+2), W/2^(i+2))``.
        """
        compute = _compiled_features() if self.compiles and self.training else FasterNet.features
        if self.bf16 and self.training:
            # Only the backbone, and its features keep their dtype: mmdet gives boxes the dtype of the features, which
            # in bfloat16 have steps of 4 at pixel 1000; and mmcv's RoIAlign and NMS do not support it.
            with torch.autocast(x.device.type, torch.bfloat16):
                features = tuple(feature.to(x.dtype) for feature in compute(self, x))
        else:
            features = compute(self, x)
        # contiguous: mmcv's RoIAlign on the CPU misreads channels-last features, and a detector finds nothing
        return tuple(feature.contiguous() for feature in features)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute what :meth:`forward` does, in any memory format and without ``bf16`` and ``compile``."""
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.patch_embed(x)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index % 2 == 0 and index // 2 in self.out_indices:
                outputs.append(getattr(self, f'norm{index}')(x))
        return tuple(outputs)

    @property
    def stride(self) -> int:
        """Pixels of the image per pixel of the last features."""
        return self.patch_embed.proj.stride[0] * 2 ** max(self.out_indices)

    def init_weights(self) -> None:
        """Initialize the weights; the file of ``init_cfg`` is read safely in every tool."""
        with safe_loaders():
            super().init_weights()

    def train(self, mode: bool = True) -> FasterNet:
        """Set the mode; the frozen stages and, if ``norm_eval``, all batch norms stay in evaluation mode."""
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

    #: mmpretrain's ``ImageClassifier`` calls it before it loads.
    _checkpoint_filter = staticmethod(fit_classifier_before_loading)


@cache
def _compiled_features() -> Callable[[FasterNet, Tensor], tuple[Tensor, ...]]:
    """Compile the forward pass once; it is not part of a network, which thus is copied and saved like any other."""
    return torch.compile(FasterNet.features)
