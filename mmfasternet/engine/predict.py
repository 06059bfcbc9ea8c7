"""Predict images with a detector or classifier, and write pictures and JSON files."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, VISUALIZERS, init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from PIL import Image
from torch import nn
from tqdm import tqdm

from ..checkpoints.mmengine_schemes import safe_loaders
from ..config_types import resolve_type, type_names
from ..datasets.data_files import class_meta
from ..datasets.dota.tiles import PADDING, tile_windows
from ..errors import CheckpointError, ConfigError, DataError, first_few
from ..evaluation.merging import NMS_TYPES, merge_tiles
from ..files import check_writable, write_faults
from .acceleration import accelerate, check_flags
from .checkpoint_checks import check_checkpoint, classes_of_checkpoint, compare_classes, fetch_checkpoint
from .config import library_of, read_config
from .inference_pipeline import InferencePipeline, test_dataset
from .input_images import ImageReader, as_picture, check_results, find_images, result_names
from .outputs import Mask, draw_classes, draw_oriented, draw_upright, write_classes, write_json
from .palette import with_palette
from .training_tiles import training_tiles

#: Tiles that go through the network together.
BATCH_SIZE = 4
#: How many classes of an image are written.
TOP = 5
#: Two boxes of a class that overlap by more are one object, unless the config says otherwise.
NMS_IOU = 0.5
ORIENTED_NMS_IOU = 0.1


class Detector:
    """A trained detector of mmdet or mmrotate that looks at images of any size.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights, path or URL.
        device (str): Where it runs, such as ``cuda:0`` or ``cpu``.
        score_thr (float): Objects with a smaller score are left out.
        tile_size (int, optional): Look at larger images in tiles of so many pixels a side. Defaults to None: detectors
            of mmrotate in tiles as large as they were trained on, others at whole images.
        overlap (int, optional): How many pixels neighbouring tiles share. Defaults to None: a fifth of the tile.

    Raises:
        ConfigError: The config is not of a detector, or a setting cannot work.
        CheckpointError: The weights are not there, or belong to another model.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        device: str,
        score_thr: float,
        tile_size: int | None = None,
        overlap: int | None = None,
    ) -> None:
        library = library_of(cfg)
        if library not in ('mmdet', 'mmrotate'):
            raise ConfigError(
                'expected the config of a detector of mmdet or mmrotate, this is one of '
                f'{cfg.get("default_scope") or library}'
            )
        self.pipeline = InferencePipeline(cfg)
        self.tile_size, self.pads_tiles = tile_size, library == 'mmrotate'
        tiles = training_tiles(cfg, self.pipeline.steps) if self.pads_tiles and not tile_size else None
        if tiles:
            self.tile_size, self.pads_tiles = tiles
        self.overlap = self.tile_size // 5 if overlap is None and self.tile_size else overlap
        if self.tile_size and not 0 <= self.overlap < self.tile_size:
            raise ConfigError(f'tiles of {self.tile_size} pixels that overlap by {self.overlap}; expected less overlap')
        test_cfg = (cfg.get('model') or {}).get('test_cfg') or {}
        nms = (test_cfg.get('rcnn') or test_cfg).get('nms') or {}
        default_iou = ORIENTED_NMS_IOU if library == 'mmrotate' else NMS_IOU
        self.nms_cfg = dict(iou_threshold=nms.get('iou_threshold', default_iou))
        self.score_thr = score_thr
        self.visualizer = _visualizer(cfg) if library == 'mmdet' else None
        self.model, self.dataset_meta = _model_on(cfg, checkpoint, device)

    def windows(self, width: int, height: int) -> np.ndarray:
        """Say which tiles of an image the detector looks at.

        Args:
            width (int): Width of the image in pixels.
            height (int): Height of the image in pixels.

        Returns:
            ndarray: x1, y1, x2, y2 in pixels, of shape (N, 4). The tiles of an oriented detector may reach beyond the
            image, as in training.
        """
        if self.tile_size is None or (not self.pads_tiles and max(height, width) <= self.tile_size):
            return np.array([[0, 0, width, height]])
        return tile_windows(width, height, [self.tile_size], [self.overlap])

    def __call__(self, image: Image.Image | np.ndarray) -> InstanceData:
        """Find the objects of an image.

        Args:
            image (Image | ndarray): The image, or its pixels as the test pipeline reads them: BGR.

        Returns:
            InstanceData: In pixels of the image: ``bboxes`` of shape (N, 4) as x1, y1, x2, y2, (N, 5) as cx, cy, w, h,
            angle in radians, or (N, 8) as four corners; ``scores`` and ``labels`` of shape (N,); ``masks``, a list of
            :class:`Mask`, if the model has them.

        Raises:
            ConfigError: The model predicts something else than objects.
            DataError: The model takes other images.
        """
        pixels = _as_pixels(image)
        height, width = pixels.shape[:2]
        predictions = []
        windows = self.windows(width, height)
        batches = [windows[start : start + BATCH_SIZE] for start in range(0, len(windows), BATCH_SIZE)]
        for batch in tqdm(batches, 'tiles', leave=False, disable=len(batches) == 1):
            samples = _run(self.model, [self.pipeline(_cut(pixels, window)) for window in batch.tolist()])
            for (x, y, *_), sample in zip(batch.tolist(), samples):
                predictions.append(((x, y), self._keep(_instances(sample), x, y)))
        return merge_tiles(predictions, self.nms_cfg) if len(predictions) > 1 else predictions[0][1]

    def _keep(self, instances: InstanceData, x: int, y: int) -> InstanceData:
        """Keep those with a high score, and of their masks no more than the tile."""
        from mmdet.structures.bbox import get_box_tensor

        sure = instances[instances.scores >= self.score_thr]
        kept = InstanceData(bboxes=get_box_tensor(sure.bboxes), scores=sure.scores, labels=sure.labels)
        if kept.bboxes.size(1) not in NMS_TYPES:
            raise ConfigError(f'the model predicts boxes of {kept.bboxes.size(1)} numbers; expected 4, 5 or 8')
        if 'masks' in sure:
            kept.masks = [Mask(x, y, pixels.numpy()) for pixels in sure.masks]
        return kept

    def write(self, path: Path, out: Path, pixels: np.ndarray) -> None:
        """Predict an image, and write a picture and a JSON file.

        Args:
            path (Path): The image.
            out (Path): The files to write, without ending.
            pixels (ndarray): The image as the test pipeline reads it.
        """
        predictions = self(pixels)
        picture = as_picture(pixels)
        names = _name_all(self.dataset_meta, predictions.labels.tolist())
        meta = with_palette({**self.dataset_meta, 'classes': names})
        with write_faults(out.parent, '--out'):
            write_json(_add(out, '.json'), path, picture.size, predictions, names)
            if self.visualizer and predictions.bboxes.size(1) == 4:
                self.visualizer.dataset_meta = meta
                draw_upright(_add(out, '.jpg'), picture, predictions, self.visualizer)
            else:
                draw_oriented(_add(out, '.jpg'), picture, predictions, meta)


class Classifier:
    """A trained classifier of mmpretrain.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights, path or URL.
        device (str): Where it runs, such as ``cuda:0`` or ``cpu``.

    Raises:
        ConfigError: A setting cannot work.
        CheckpointError: The weights are not there, or belong to another model.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str) -> None:
        self.pipeline = InferencePipeline(cfg)
        self.model, self.dataset_meta = _model_on(cfg, checkpoint, device)

    def __call__(self, image: Image.Image | np.ndarray) -> list[tuple[int, float]]:
        """Classify an image.

        Args:
            image (Image | ndarray): The image, or its pixels as the test pipeline reads them: BGR.

        Returns:
            list[tuple[int, float]]: Label and score of the :data:`TOP` classes with the highest scores, these first; of
            a head for several labels all that it predicts.

        Raises:
            ConfigError: The model predicts something else than classes.
            DataError: The model takes other images.
        """
        (sample,) = _run(self.model, [self.pipeline(_as_pixels(image))])
        scores = sample.get('pred_score')
        if scores is None or scores.ndim != 1:
            raise ConfigError('the model predicts no scores of classes; predict is for detectors and classifiers')
        scores, labels = scores.float().cpu().sort(descending=True, stable=True)
        count = max(TOP, len(sample.get('pred_label', ())))
        return list(zip(labels[:count].tolist(), scores[:count].tolist()))

    def write(self, path: Path, out: Path, pixels: np.ndarray) -> None:
        """Predict an image, and write a picture and a JSON file.

        Args:
            path (Path): The image.
            out (Path): The files to write, without ending.
            pixels (ndarray): The image as the test pipeline reads it.
        """
        ranked = self(pixels)
        picture, names = as_picture(pixels), _name_all(self.dataset_meta, [label for label, _ in ranked])
        with write_faults(out.parent, '--out'):
            write_classes(_add(out, '.json'), path, picture.size, ranked, names)
            draw_classes(_add(out, '.jpg'), picture, ranked, names)


def _run(model: nn.Module, packed: list[dict[str, Any]]) -> list[Any]:
    inputs = {key: [item[key] for item in packed] for key in ('inputs', 'data_samples')}
    with torch.inference_mode():
        return model.test_step(inputs)


def _instances(sample: Any) -> InstanceData:
    instances = sample.get('pred_instances')
    if instances is None or 'bboxes' not in instances:
        raise ConfigError('the model predicts no objects with boxes; predict is for detectors and classifiers')
    return instances.cpu()


def _as_pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def _cut(pixels: np.ndarray, window: list[int]) -> np.ndarray:
    """Cut a tile out of an image; where it reaches beyond, it is padded as in training."""
    left, top, right, bottom = window
    part = pixels[top:bottom, left:right]
    if part.shape[:2] == (bottom - top, right - left):
        return np.ascontiguousarray(part)
    tile = np.zeros((bottom - top, right - left, *pixels.shape[2:]), pixels.dtype)
    if pixels.shape[2:] == (3,):
        tile[:] = PADDING[::-1]
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _add(out: Path, ending: str) -> Path:
    """Add an ending, also to a name that has one."""
    return out.with_name(out.name + ending)


def _visualizer(cfg: Config) -> Visualizer:
    """Build mmdet's visualizer as the config has it, without a backend: the pictures go where we say."""
    settings = cfg.get('visualizer') or {}
    names = type_names(settings, VISUALIZERS)
    if 'DetLocalVisualizer' not in names or 'RotLocalVisualizer' in names:
        settings = dict(type='mmdet.DetLocalVisualizer')
    # not by the registry, which gives the visualizer of this name that exists already
    settings = dict(settings, vis_backends=None)
    return resolve_type(settings.pop('type'), VISUALIZERS, settings.pop('_scope_', None))(**settings)


def _model_on(cfg: Config, checkpoint: str, device: str) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model to a device."""
    model, meta = load_model(cfg, checkpoint)
    try:
        model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # torch has no single error for it
        raise ConfigError(f'device {device} cannot be used: {str(error).splitlines()[0]}') from error
    return model, meta


def _name_all(meta: dict[str, Any], labels: Sequence[int]) -> list[str]:
    """Name every class that is predicted, though neither checkpoint nor config may do so."""
    names = list(meta.get('classes') or ())
    return names + [f'class {label}' for label in range(len(names), max(labels, default=-1) + 1)]


def load_model(cfg: Config, checkpoint: str) -> tuple[nn.Module, dict[str, Any]]:
    """Build a model and give it its weights, all of them.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights, path or URL.

    Returns:
        tuple[Module, dict[str, Any]]: The model, and the names and colours of its classes: those of the checkpoint, or
        else of the config.

    Raises:
        ConfigError: The config has no model.
        CheckpointError: The weights are not there, or belong to another model.
    """
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError(f'model is {cfg.get("model")!r}; expected a dict with the type of the model')
    check_checkpoint(checkpoint, 'checkpoint')
    fetch_checkpoint(checkpoint, 'checkpoint')
    settings = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        # MMEngine's runner puts it there, too
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = revert_sync_batchnorm(MODELS.build(settings))
    try:
        with safe_loaders():
            content = load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    except RuntimeError as error:
        _, first, *others = filter(str.strip, str(error).splitlines())
        more = f', and {len(others)} more like it' if others else ''
        raise CheckpointError(
            f'checkpoint: {checkpoint} does not fit the model of the config: {first.strip()}{more}'
        ) from error
    dataset = test_dataset(cfg)
    meta = class_meta(dataset, 'test_dataloader') if dataset else {}
    fault = compare_classes(classes_of_checkpoint(content), meta.get('classes') or ())
    if fault:
        print_log(
            f'{checkpoint} was trained on {fault}; the names of the checkpoint are used',
            logger='current',
            level=logging.WARNING,
        )
    return model, {**meta, **_checkpoint_meta(content)}


def _checkpoint_meta(content: dict[str, Any]) -> dict[str, Any]:
    """Read the names and colours of classes, from checkpoints of OpenMMLab 1 too."""
    meta = content.get('meta')
    if not isinstance(meta, dict):
        return {}
    found = {str(key).lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    found |= {'classes': classes_of_checkpoint(content), 'palette': found.get('palette') or meta.get('PALETTE')}
    return {key: value for key, value in found.items() if value}


def predict(args: Namespace) -> None:
    """Predict images, and write a picture and a JSON file for each.

    Args:
        args (Namespace): The options of ``tools/predict.py``.

    Raises:
        ConfigError: An option cannot work.
        CheckpointError: The weights are not there, or belong to another model.
        DataError: Images are missing, before the model is loaded; or unreadable, when the others are done.
    """
    if not 0 <= args.score_thr <= 1:
        raise ConfigError(f'--score-thr {args.score_thr}: scores are between 0 and 1')
    if args.tile_size is not None and args.tile_size < 1:
        raise ConfigError(f'--tile-size {args.tile_size}: expected at least 1 pixel')
    check_flags(args)
    out = Path(args.out)
    names = result_names(find_images(args.images))
    check_results(names, out)
    check_writable(out, '--out', is_folder=True)
    check_checkpoint(args.checkpoint, 'checkpoint')
    cfg = read_config(args.config)
    library = library_of(cfg)
    init_default_scope(library)
    read = ImageReader(InferencePipeline(cfg).reader)
    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    predictor: Classifier | Detector
    if library == 'mmpretrain':
        predictor = Classifier(cfg, args.checkpoint, device)
    else:
        predictor = Detector(cfg, args.checkpoint, device, args.score_thr, args.tile_size, args.overlap)
    predictor.model = accelerate(predictor.model, args.optimize, args.backend)
    faults = []
    for path, name in tqdm(names.items(), 'images'):
        try:
            predictor.write(path, out / name, read(path))
        except DataError as error:
            faults.append(f'{path}: {error}')
    done = len(names) - len(faults)
    if done:
        print(f'{done} image{"s" * (done > 1)}: pictures and JSON files in {out}')
    if faults:
        raise DataError(f'{len(faults)} of {len(names)} images cannot be read: {first_few(faults)}')
