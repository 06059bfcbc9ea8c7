"""Handle features that nothing uses: their norms get no gradient, which stops distributed training in step 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODEL_WRAPPERS, MODELS
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..config_types import dicts_in, type_names
from ..errors import first_few
from ..models import FasterNet
from ..training.processes import is_first_process


def handle_unused_features(cfg: Config) -> None:
    """Let several processes train although parts of the backbone or neck get no gradient, and say how to avoid it.

    Which ones, a forward pass of the model with a tiny image shows. If that fails, nothing is changed.

    Args:
        cfg (Config): The whole config, with its ``launcher``. ``find_unused_parameters`` is set if it is needed.
    """
    if cfg.get('launcher', 'none') == 'none' or 'strategy' in cfg:
        return
    settings = cfg.get('model_wrapper_cfg') or cfg
    wrapper = settings is not cfg and type_names(settings, MODEL_WRAPPERS)
    if wrapper and 'DistributedDataParallel' not in wrapper:
        return
    if settings.get('find_unused_parameters') or settings.get('static_graph'):
        return
    unused, advice = _probe(cfg)
    if unused:
        settings.find_unused_parameters = True
        if is_first_process():
            print_log(
                f'no gradient reaches {first_few(unused)}, since nothing uses what they compute; several processes '
                f'need find_unused_parameters=True for that, which is set and costs some time in each step{advice}',
                logger='current',
            )


def _probe(cfg: Config) -> tuple[list[str], str]:
    """Find the modules of backbones and necks that no gradient reaches, and the settings without them."""
    for device in ('meta', 'cpu'):  # meta tensors take no time or memory, but not all operators know them
        with suppress(Exception), torch.device(device):  # whatever the libraries raise
            model = MODELS.build(deepcopy(cfg.model)).eval()
            owners = [module for module in model.modules() if isinstance(getattr(module, 'backbone', None), FasterNet)]
            unused, advice = [], ''
            for owner in owners:
                names, used = _trace(owner)
                unused += names
                advice = advice or _advise(cfg, owner.backbone, used)
            return unused, advice
    return [], ''


def _trace(owner: nn.Module) -> tuple[list[str], list[int]]:
    """Find the modules of a backbone and its neck that no gradient reaches, and which of its outputs are used."""
    backbone, neck = owner.backbone, getattr(owner, 'neck', None)
    side = 4 * backbone.stride
    features = backbone(torch.zeros(2, backbone.patch_embed.proj.in_channels, side, side))
    outputs = features if neck is None else neck(features)
    results = [_head_outputs(head, outputs) for head in _heads(owner)] or [outputs]
    total = sum(leaf.sum() for leaf in tree_leaves(results) if isinstance(leaf, Tensor) and leaf.requires_grad)
    parameters = {
        f'{part}.{name}': parameter
        for part in ('backbone', 'neck')
        for name, parameter in getattr(owner, part, nn.Identity()).named_parameters()
        if parameter.requires_grad
    }
    wanted = [*features, *parameters.values()]
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    used = [index for index, gradient in enumerate(gradients[: len(features)]) if gradient is not None]
    without = [name for name, gradient in zip(parameters, gradients[len(features) :]) if gradient is None]
    return list(dict.fromkeys(name.rpartition('.')[0] for name in without)), used


def _heads(owner: nn.Module) -> Iterator[nn.Module]:
    for name, head in owner.named_children():
        if name not in ('backbone', 'neck', 'data_preprocessor'):
            yield head


def _head_outputs(head: nn.Module, features: Any) -> Any:
    """What a head makes of features; the features if it needs more than these, such as proposals."""
    try:
        return head(features)
    except Exception:  # whatever the head makes of missing arguments
        return features


def _advise(cfg: Config, backbone: FasterNet, used: list[int]) -> str:
    """Name the settings with which the backbone gives only what is used."""
    if len(used) in (0, len(backbone.out_indices)):
        return ''
    owner = next(node for node in dicts_in(cfg.model) if 'FasterNet' in type_names(node.get('backbone'), MODELS))
    settings = [f'backbone.out_indices={tuple(backbone.out_indices[index] for index in used)}']
    neck = owner.get('neck') or {}
    neck = neck[0] if isinstance(neck, (list, tuple)) else neck
    channels = neck.get('in_channels')
    if isinstance(channels, (list, tuple)) and len(channels) == len(backbone.out_indices):
        settings.append(f'neck.in_channels={[channels[index] for index in used]}')
    settings += [f'neck.{name}={value}' for name, value in (('start_level', 0), ('end_level', -1)) if name in neck]
    return f'. Better: {", ".join(settings)}'
