"""Whole detectors: stock mmdet and mmrotate, and the same model with our network in each mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from mmfasternet import CONFIG_DIR
from mmfasternet.engine.launch import read_config
from mmfasternet.engine.predict import load_model
from mmfasternet.errors import ConfigError

from .contenders import Contender, dtype_of, in_mode, random_images, usable_modes
from .machine import describe
from .memory import peak_memory
from .report import Report, Result
from .timing import measure

#: The model as OpenMMLab runs it.
STOCK = 'stock'
#: The detectors: title, config, height and width of the image.
DETECTORS = {
    'mask_rcnn': ('Mask R-CNN', 'mask_rcnn_fasternet_{arch}_coco.py', 800, 1216),
    'oriented_rcnn': ('oriented R-CNN', 'oriented_rcnn_fasternet_{arch}_dota.py', 1024, 1024),
}
#: With random weights: how far the scores of boxes differ, and by how much background is likelier than any class. Then
#: some hundreds of boxes pass the threshold of the config, as with trained weights.
_SPREAD, _BACKGROUND = 2.0, 6.0
#: Boxes agree if they are of a class, overlap by so much and have scores that differ by no more.
_IOU, _SCORE = 0.9, 0.05
#: Of the stock model's boxes, the least share that a float32 mode has to find too: among random boxes with nearly equal
#: scores, rounding decides which of them non-maximum suppression keeps.
_LEAST_AGREEMENT = 0.9


class DetectorContender(NamedTuple):
    """A detector in a mode, on one image.

    Args:
        detector (str): A key of :data:`DETECTORS`.
        arch (str): Variant of FasterNet.
        mode (str): :data:`STOCK` or a key of :data:`.contenders.MODES` but ``'eager'``.
        height (int): Of the image, in pixels.
        width (int): Of the image, in pixels.
        checkpoint (str, optional): Trained weights. Defaults to None: random ones.
        device (str): Where it runs.
    """

    detector: str
    arch: str
    mode: str
    height: int
    width: int
    checkpoint: str | None = None
    device: str = 'cpu'

    def build(self) -> Callable[[], InstanceData]:
        """Make it, with the same weights in every mode.

        Returns:
            Callable: Finds the objects of the image.

        Raises:
            ConfigError: There is no such config.
            CheckpointError: The checkpoint is not there, or of another model.
            DependencyError: mmdet or mmrotate is not installed.
        """
        model = _stock_model(*self._replace(mode=STOCK))
        return _detection(model if self.mode == STOCK else in_mode(model, self.mode), self.height, self.width)

    def build_tiny(self) -> Callable[[], Any]:
        """Make the tiniest backbone in the same mode."""
        mode = 'eager' if self.mode == STOCK else self.mode
        return Contender('fasternet_t0', mode, device=self.device).build_tiny()


@cache
def _stock_model(
    detector: str, arch: str, mode: str, height: int, width: int, checkpoint: str | None, device: str
) -> nn.Module:
    """The model that all modes start from, which stays as it is; the arguments are those of the stock contender."""
    cfg = read_config(str(CONFIG_DIR / DETECTORS[detector][1].format(arch=arch)))
    if checkpoint:
        return load_model(cfg, checkpoint)[0].to(device).eval()
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device).eval()
    run = _detection(model, height, width)
    # one after the other: what the second sees depends on what the first lets through
    _spread_scores(run, model.rpn_head.rpn_cls)
    _spread_scores(run, model.roi_head.bbox_head.fc_cls)
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.bias[-1] += _BACKGROUND
    return model


def _detection(model: nn.Module, height: int, width: int) -> Callable[[], InstanceData]:
    """A call that finds the objects of one image."""
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
    """Scale a layer with random weights so that its scores differ among boxes, as those of a trained one do."""
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


def agreement(found: InstanceData, expected: InstanceData) -> float:
    """Which share of the expected boxes another model finds too: of the class, in the place, with the score.

    Args:
        found (InstanceData): ``bboxes``, upright (N, 4) or rotated (N, 5), ``labels`` and ``scores``.
        expected (InstanceData): The same of the model that is right.

    Returns:
        float: From 0 to 1; 1 if nothing is expected.
    """
    from mmcv.ops import box_iou_rotated
    from mmdet.structures.bbox import bbox_overlaps, get_box_tensor

    if not len(expected):
        return 1.0
    boxes = get_box_tensor(expected.bboxes), get_box_tensor(found.bboxes)
    overlaps = (bbox_overlaps if boxes[0].shape[1] == 4 else box_iou_rotated)(*boxes)
    same = (
        (overlaps >= _IOU)
        & (expected.labels[:, None] == found.labels)
        & ((expected.scores[:, None] - found.scores).abs() <= _SCORE)
    )
    return float(same.any(dim=1).float().mean())


def compare_detectors(
    detectors: Sequence[str] = tuple(DETECTORS),
    arch: str = 's',
    size: tuple[int, int] | None = None,
    rounds: int = 8,
    checkpoint: str | None = None,
    device: str = 'cpu',
    out: Path = Path('work_dirs/benchmark'),
    modes: Sequence[str] | None = None,
) -> Report:
    """Measure latency and peak memory of whole detectors, check that boxes agree, and write table and JSON.

    Args:
        detectors (Sequence[str]): Keys of :data:`DETECTORS`. Defaults to all.
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        size (tuple[int, int], optional): Height and width of the image in pixels. Defaults to None: that of the
            config, for Mask R-CNN 800x1216, for oriented R-CNN 1024x1024.
        rounds (int): How often each is timed. Defaults to 8.
        checkpoint (str, optional): Trained weights, path or URL, of the one detector. Defaults to None: random ones.
        device (str): Where they run. Defaults to ``'cpu'``.
        out (Path): Folder for ``detectors.json`` and ``detectors.md``.
        modes (Sequence[str], optional): Defaults to None: all that can run here.

    Returns:
        Report: All numbers.

    Raises:
        ConfigError: There is a checkpoint and more than one detector.
        RuntimeError: A float32 mode finds other boxes.
    """
    if checkpoint and len(detectors) != 1:
        raise ConfigError('--checkpoint is of one detector; name it with --detectors')
    modes = [mode for mode in usable_modes(device) if mode != 'eager'] if modes is None else modes
    contenders = [
        DetectorContender(name, arch, mode, *(size or DETECTORS[name][2:]), checkpoint, device)
        for name in detectors
        for mode in (STOCK, *modes)
    ]
    runs, agreements, remarks = {}, {}, []
    for contender in (bar := tqdm(contenders, 'building', leave=False)):
        bar.set_postfix_str(f'{DETECTORS[contender.detector][0]} {contender.mode}')
        runs[contender] = contender.build()
        found = runs[contender]()
        if contender.mode == STOCK:
            expected = found
            remarks.append(f'{DETECTORS[contender.detector][0]}: {len(found)} objects in the stock model')
            continue
        agreements[contender] = agreement(found, expected)
        if dtype_of(contender.mode) == 'float32' and agreements[contender] < _LEAST_AGREEMENT:
            raise RuntimeError(
                f'{contender.detector}, {contender.mode}: finds only {agreements[contender]:.0%} of the boxes'
            )
    times = measure(runs, rounds, device)
    del runs
    results = []
    for contender in tqdm(contenders, 'memory', leave=False):
        memory = peak_memory(contender)
        results.append(
            Result(
                name=f'{DETECTORS[contender.detector][0]}, FasterNet-{arch.upper()}',
                mode=contender.mode,
                images=f'1x{contender.height}x{contender.width}',
                batch=1,
                times=times[contender],
                baseline=STOCK if contender.mode != STOCK else None,
                dtype=dtype_of(contender.mode),
                memory=memory,
                difference=agreements.get(contender),
            )
        )
    settings = dict(
        detectors=list(detectors), arch=arch, size=size, checkpoint=checkpoint, rounds=rounds, device=device
    )
    report = Report('detectors', describe(device), settings, results, remarks=remarks, difference_title='boxes agree')
    report.write(out)
    return report
