"""The classifier on top of FasterNet, for mmpretrain's ``ImageClassifier``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from .layers import build_act


@MODELS.register_module()
class FasterNetClsHead(BaseModule):
    """The head of the paper's classifiers: global average pool, 1×1 convolution, activation, linear layer.

    It has the methods of mmpretrain's own heads and does not import mmpretrain. The backbone returns its last stage
    only, without a norm: ``out_indices=(3,), output_norm=False``. The tensors have the names of the released files.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the backbone's last stage.
        hidden_channels (int): Channels between convolution and linear layer. Defaults to 1280.
        act_cfg (dict): Activation; the one of the backbone. Defaults to ``dict(type='ReLU')``.
        loss (dict): mmpretrain's loss. Defaults to ``dict(type='CrossEntropyLoss')``.
        init_cfg (dict | list[dict], optional): Initialization. Defaults to None: truncated normal of std 0.02, as the
            backbone.

    Raises:
        ConfigError: If a number is not positive, or the activation cannot be built.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: int = 1280,
        act_cfg: Mapping[str, Any] = dict(type='ReLU'),
        loss: Mapping[str, Any] = dict(type='CrossEntropyLoss'),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02))
        for name, value in dict(num_classes=num_classes, in_channels=in_channels).items():
            if value < 1:
                raise ConfigError(f'FasterNetClsHead: {name} is {value}; expected 1 or more')
        self.num_classes = num_classes
        self.loss_module = MODELS.build(dict(loss))
        self.avgpool_pre_head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, hidden_channels, 1, bias=False),
            build_act(act_cfg),
        )
        self.head = nn.Linear(hidden_channels, num_classes)
        self.register_load_state_dict_pre_hook(_check_classes)

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Map the last of the backbone's features ``(N, in_channels, H, W)`` to ``(N, hidden_channels)``."""
        return self.avgpool_pre_head(feats[-1]).flatten(1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Map the last of the backbone's features ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``."""
        return self.head(self.pre_logits(feats))

    def loss(self, feats: Sequence[Tensor], data_samples: Sequence[Any], **kwargs: Any) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            feats (Sequence[Tensor]): Features of the backbone.
            data_samples (Sequence[DataSample]): Labels, or scores of images that MixUp or CutMix blended.
            **kwargs: For the loss module.

        Returns:
            dict[str, Tensor]: ``loss``.
        """
        if 'gt_score' in data_samples[0]:
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])
        logits = self(feats)
        return dict(loss=self.loss_module(logits, target, avg_factor=len(logits), **kwargs))

    def predict(self, feats: Sequence[Tensor], data_samples: Sequence[Any] | None = None) -> list[Any]:
        """Compute the probabilities of the classes.

        Args:
            feats (Sequence[Tensor]): Features of the backbone.
            data_samples (Sequence[DataSample], optional): The samples that get the predictions. Defaults to None: new
                ones.

        Returns:
            list[DataSample]: With ``pred_score`` of shape ``(num_classes,)`` and ``pred_label``.
        """
        scores = self(feats).softmax(dim=1)
        if data_samples is None:
            from mmpretrain.structures import DataSample

            data_samples = [DataSample() for _ in scores]
        return [
            sample.set_pred_score(score).set_pred_label(score.argmax())
            for sample, score in zip(data_samples, scores.detach())
        ]


def _check_classes(head: FasterNetClsHead, state_dict: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Refuse a classifier of other classes; MMEngine's loaders, which are not strict, would keep random weights."""
    found = state_dict.get(f'{prefix}head.weight')
    if found is None:
        print_log('FasterNetClsHead: starts fresh, the file has no classifier', logger='current')
    elif len(found) == head.num_classes:
        print_log(f'FasterNetClsHead: loaded a classifier of {len(found)} classes', logger='current')
    else:
        raise CheckpointError(
            f'the classifier in the file has {len(found)} classes, the head of this model {head.num_classes}. To '
            "start from the file's backbone alone, name the file in the backbone's `init_cfg`, not in `load_from`"
        )
