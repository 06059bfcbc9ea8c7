"""Whole detectors: stock mmdet and mmrotate, and the same model with our network in each mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import nn
from torch.nn import functional

from mmfasternet import CONFIG_DIR
from mmfasternet.engine.config import read_config
from mmfasternet.engine.predict import load_model
from mmfasternet.errors import ConfigError

from .runner import Plan
from .workloads import TIMM, Backbone, Workload, in_mode, random_images, usable_modes

#: The mode of the model as OpenMMLab runs it.
STOCK = 'stock'
#: The detectors: title, config, height and width of the image.
DETECTORS = {
    'mask_rcnn': ('Mask R-CNN', 'mask_rcnn_fasternet_{arch}_coco.py', 800, 1216),
    'oriented_rcnn': ('oriented R-CNN', 'oriented_rcnn_fasternet_{arch}_dota.py', 1024, 1024),
}
#: Of random weights: the standard deviation of the boxes' scores, and the bias of background. With these, some hundreds
#: of boxes pass the threshold of the config, as with trained weights.
_SPREAD, _BACKGROUND = 2.0, 6.0
#: Two boxes of a class agree if they overlap by at least this IoU and their scores differ by at most this much.
_IOU, _SCORE = 0.9, 0.05
#: The least share of the stock model's boxes that a float32 mode has to find: among random boxes with nearly equal
#: scores, rounding decides which of them non-maximum suppression keeps.
_LEAST_AGREEMENT = 0.9


@dataclass(frozen=True)
class Detector(Workload):
    """Inference of a detector on one image, in mode :data:`STOCK` or a key of :data:`.workloads.INFERENCE_MODES`.

    Args:
        network (str): A key of :data:`DETECTORS`.
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        checkpoint (str, optional): Trained weights. Defaults to None: random ones.
    """

    arch: str = 's'
    checkpoint: str | None = None

    baseline = STOCK

    @property
    def name(self) -> str:
        """Detector and backbone."""
        return f'{DETECTORS[self.network][0]}, FasterNet-{self.arch.upper()}'

    def build(self) -> Callable[[], InstanceData]:
        """Build the call that detects the objects of the image.

        Raises:
            ConfigError: There is no config for the variant.
            CheckpointError: The checkpoint is missing, or of another model.
            DependencyError: mmdet or mmrotate is not installed.
        """
        model = _stock_model(replace(self, mode=STOCK))
        return _detection(model if self.mode == STOCK else in_mode(model, self.mode), self.height, self.width)

    def build_tiny(self) -> Callable[[], Any]:
        """Build a tiny backbone in the same mode."""
        return Backbone('fasternet_t0', TIMM if self.mode == STOCK else self.mode, device=self.device).build_tiny()

    def difference(self, output: InstanceData, expected: InstanceData) -> float:
        """The share of the stock model's boxes that are found; in float32 it must be large."""
        share = agreement(output, expected)
        if self.dtype == 'float32' and share < _LEAST_AGREEMENT:
            raise RuntimeError(f'{self.network}, {self.mode}: finds only {share:.0%} of the boxes')
        return share


@cache
def _stock_model(workload: Detector) -> nn.Module:
    """Make the model that every mode starts from and leaves unchanged."""
    cfg = read_config(str(CONFIG_DIR / DETECTORS[workload.network][1].format(arch=workload.arch)))
    if workload.checkpoint:
        return load_model(cfg, workload.checkpoint)[0].to(workload.device).eval()
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(workload.device).eval()
    run = _detection(model, workload.height, workload.width)
    # one after the other: the second sees what the first lets through
    _spread_scores(run, model.rpn_head.rpn_cls)
    _spread_scores(run, model.roi_head.bbox_head.fc_cls)
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.bias[-1] += _BACKGROUND
    return model


def _detection(model: nn.Module, height: int, width: int) -> Callable[[], InstanceData]:
    """Make a call that detects the objects of one image."""
    from mmdet.structures import DetDataSample

    # structure at the scale of objects, not noise of single pixels
    coarse = random_images(1, -(-height // 32), -(-width // 32), 'cpu')
    image = (255 * functional.interpolate(coarse, (height, width), mode='bilinear')[0]).to(torch.uint8)
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0)))

    @torch.no_grad()
    def detect() -> InstanceData:
        return model.test_step(dict(inputs=[image], data_samples=[sample]))[0].pred_instances

    return detect


def _spread_scores(run: Callable[[], Any], layer: nn.Module) -> None:
    """Scale a layer with random weights so that its scores differ among boxes, as those of a trained layer do."""
    seen = []
    hook = layer.register_forward_hook(lambda _, inputs, output: seen.append(output.detach()))
    run()
    hook.remove()
    # (N, C) of boxes, or (N, C, H, W) of several levels: for each class all scores
    scores = torch.cat([output.transpose(0, 1).flatten(1) for output in seen], dim=1)
    with torch.no_grad():
        factor = _SPREAD / scores.std(dim=1).mean()
        layer.weight *= factor
        layer.bias.copy_(factor * (layer.bias - scores.mean(dim=1)))


def agreement(output: InstanceData, expected: InstanceData) -> float:
    """Compute the share of the expected boxes that another model detects with class, place and score.

    Args:
        output (InstanceData): ``bboxes``, horizontal (N, 4) or rotated (N, 5), ``labels`` and ``scores``.
        expected (InstanceData): The same of the reference.

    Returns:
        float: From 0 to 1; 1 if no box is expected.
    """
    from mmcv.ops import box_iou_rotated
    from mmdet.structures.bbox import bbox_overlaps, get_box_tensor

    if not len(expected):
        return 1.0
    boxes = get_box_tensor(expected.bboxes), get_box_tensor(output.bboxes)
    overlaps = (bbox_overlaps if boxes[0].shape[1] == 4 else box_iou_rotated)(*boxes)
    same = (
        (overlaps >= _IOU)
        & (expected.labels[:, None] == output.labels)
        & ((expected.scores[:, None] - output.scores).abs() <= _SCORE)
    )
    return float(same.any(dim=1).float().mean())


def plan_detectors(
    detectors: Sequence[str] = tuple(DETECTORS),
    arch: str = 's',
    size: tuple[int, int] | None = None,
    checkpoint: str | None = None,
    modes: Sequence[str] | None = None,
    device: str = 'cpu',
) -> Plan:
    """Compare latency and peak memory of whole detectors.

    Args:
        detectors (Sequence[str]): Keys of :data:`DETECTORS`. Defaults to all.
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        size (tuple[int, int], optional): Height and width of the image in pixels. Defaults to None: that of the
            config, for Mask R-CNN 800x1216, for oriented R-CNN 1024x1024.
        checkpoint (str, optional): Trained weights, path or URL, of the one detector. Defaults to None: random ones.
        modes (Sequence[str], optional): Defaults to None: all that can run here.
        device (str): Where they run. Defaults to ``'cpu'``.

    Raises:
        ConfigError: There is a checkpoint and more than one detector.
    """
    if checkpoint and len(detectors) != 1:
        raise ConfigError('--checkpoint is of one detector; name it with --detectors')
    modes = [mode for mode in usable_modes(device) if mode != 'eager'] if modes is None else modes
    workloads = [
        Detector(name, mode, *(size or DETECTORS[name][2:]), 1, device, arch, checkpoint)
        for name in detectors
        for mode in (STOCK, *modes)
    ]
    counts = {DETECTORS[w.network][0]: len(w.build()()) for w in workloads if w.mode == STOCK}
    remarks = [f'{title}: {count} objects in the stock model' for title, count in counts.items()]
    return Plan(workloads, rounds=8, difference_title='boxes agree', remarks=lambda comparison: remarks)
