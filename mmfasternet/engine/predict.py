"""From images on disk to pictures and JSON files of what a detector finds in them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, VISUALIZERS
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from PIL import Image, ImageOps
from torch import nn
from tqdm import tqdm

from ..datasets.dota_tiles import IMAGE_ENDINGS, cut_tile, read_image, tile_windows
from ..errors import CheckpointError, ConfigError, DataError
from ..evaluation.merging import merge_tiles
from .acceleration import accelerate, check_flags
from .launch import read_config
from .outputs import Mask, draw_oriented, draw_upright, write_json
from .preflight import check_checkpoint, dataset_class, fetch_checkpoint, leaf_datasets

#: Tiles that go through the network together.
BATCH_SIZE = 4


class Detector:
    """A trained detector of mmdet or mmrotate that looks at images of any size.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights, path or URL.
        device (str): Where it runs, such as ``cuda:0`` or ``cpu``.
        score_thr (float): Objects with a smaller score are left out.
        tile_size (int, optional): Look at larger images in tiles of so many pixels a side. Defaults to None: oriented
            detectors in tiles as large as they were trained on, others at whole images.
        overlap (int, optional): How many pixels neighbouring tiles share. Defaults to None: a fifth of the tile.

    Raises:
        ConfigError: It is no detector, or a setting cannot work.
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
        scope = cfg.get('default_scope')
        if scope not in ('mmdet', 'mmrotate'):
            raise ConfigError(f'expected the config of a detector of mmdet or mmrotate, this is one of {scope}')
        dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
        steps = [step for step in dataset.pipeline[1:] if not step.type.endswith(('LoadAnnotations', 'ConvertBoxType'))]
        self.pipeline = Compose([dict(type='mmdet.LoadImageFromNDArray'), *steps])
        self.is_oriented = scope == 'mmrotate'
        trained_on = next((max(step.scale) for step in steps if step.type.endswith('Resize')), None)
        self.tile_size = tile_size or (trained_on if self.is_oriented else None)
        self.overlap = self.tile_size // 5 if overlap is None and self.tile_size else overlap
        if self.tile_size and not 0 <= self.overlap < self.tile_size:
            raise ConfigError(f'tiles of {self.tile_size} pixels that overlap by {self.overlap}; expected less overlap')
        test_cfg = cfg.model.test_cfg
        self.nms_cfg = (test_cfg.get('rcnn') or test_cfg).get('nms', dict(type='nms', iou_threshold=0.5))
        self.score_thr = score_thr
        self.model, self.dataset_meta = load_model(cfg, checkpoint)
        try:
            self.model.to(device).eval()
        except (RuntimeError, AssertionError) as error:  # torch has no single error for it
            raise ConfigError(f'device {device} cannot be used: {str(error).splitlines()[0]}') from error

    def windows(self, width: int, height: int) -> np.ndarray:
        """Say which tiles of an image the detector looks at.

        Args:
            width (int): Width of the image in pixels.
            height (int): Height of the image in pixels.

        Returns:
            ndarray: x1, y1, x2, y2 in pixels, of shape (N, 4). The tiles of an oriented detector may reach beyond the
            image, as in training.
        """
        if self.tile_size is None or (not self.is_oriented and max(height, width) <= self.tile_size):
            return np.array([[0, 0, width, height]])
        return tile_windows(width, height, [self.tile_size], [self.overlap])

    def __call__(self, image: Image.Image) -> InstanceData:
        """Find the objects of an image.

        Args:
            image (Image): The image.

        Returns:
            InstanceData: In pixels of the image: ``bboxes`` of shape (N, 4) as x1, y1, x2, y2 or (N, 5) as cx, cy, w,
            h, angle in radians; ``scores`` and ``labels`` of shape (N,); ``masks``, a list of :class:`Mask`, if the
            model has them.
        """
        found = []
        windows = self.windows(image.width, image.height)
        batches = [windows[start : start + BATCH_SIZE] for start in range(0, len(windows), BATCH_SIZE)]
        for batch in tqdm(batches, 'tiles', leave=False, disable=len(batches) == 1):
            # OpenMMLab's pipelines begin with BGR
            tiles = [np.ascontiguousarray(np.asarray(cut_tile(image, window))[..., ::-1]) for window in batch.tolist()]
            packed = [self.pipeline(dict(img=tile, img_id=0)) for tile in tiles]
            inputs = {key: [item[key] for item in packed] for key in ('inputs', 'data_samples')}
            with torch.inference_mode():
                samples = self.model.test_step(inputs)
            for (x, y, *_), sample in zip(batch.tolist(), samples):
                found.append(((x, y), self._keep(sample.pred_instances.cpu(), x, y)))
        return merge_tiles(found, self.nms_cfg) if len(found) > 1 else found[0][1]

    def _keep(self, instances: InstanceData, x: int, y: int) -> InstanceData:
        """The sure ones, and of their masks no more than the tile."""
        from mmdet.structures.bbox import get_box_tensor

        sure = instances[instances.scores >= self.score_thr]
        kept = InstanceData(bboxes=get_box_tensor(sure.bboxes), scores=sure.scores, labels=sure.labels)
        if 'masks' in sure:
            kept.masks = [Mask(x, y, pixels.numpy()) for pixels in sure.masks]
        return kept


def load_model(cfg: Config, checkpoint: str) -> tuple[nn.Module, dict[str, Any]]:
    """Build a model and give it its weights, all of them.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights, path or URL.

    Returns:
        tuple[Module, dict[str, Any]]: The model, and the names and colours of its classes.

    Raises:
        CheckpointError: The weights are not there, or belong to another model.
    """
    check_checkpoint(checkpoint, 'checkpoint')
    fetch_checkpoint(checkpoint, 'checkpoint')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    try:
        content = load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    except RuntimeError as error:
        _, first, *others = filter(str.strip, str(error).splitlines())
        more = f', and {len(others)} more like it' if others else ''
        raise CheckpointError(
            f'checkpoint: {checkpoint} does not fit the model of the config: {first.strip()}{more}'
        ) from error
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    meta = {**dataset_class(dataset, 'test_dataloader').METAINFO, **(dataset.get('metainfo') or {})}
    return model, {**meta, **content.get('meta', {}).get('dataset_meta', {})}


def predict(args: Namespace) -> None:
    """Find the objects of images, and write a picture and a JSON file for each.

    Args:
        args (Namespace): The options of ``tools/predict.py``.

    Raises:
        ConfigError: An option cannot work.
        CheckpointError: The weights are not there, or belong to another model.
        DataError: Images are missing or unreadable; told at the end, when the others are done.
    """
    if not 0 <= args.score_thr <= 1:
        raise ConfigError(f'--score-thr {args.score_thr}: scores are between 0 and 1')
    check_flags(args)
    paths = find_images(args.images)
    cfg = read_config(args.config)
    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    detector = Detector(cfg, args.checkpoint, device, args.score_thr, args.tile_size, args.overlap)
    detector.model = accelerate(detector.model, args.optimize, args.backend)
    # without a backend: the pictures go where we say
    visualizer = VISUALIZERS.build(dict(cfg.visualizer, vis_backends=None))
    visualizer.dataset_meta = detector.dataset_meta
    out = Path(args.out)
    faults = []
    for path in tqdm(paths, 'images'):
        try:
            image = ImageOps.exif_transpose(read_image(path)).convert('RGB')
        except DataError as error:
            faults.append(f'{path}: {error}')
            continue
        found = detector(image)
        write_json(out / f'{path.stem}.json', path, image.size, found, detector.dataset_meta['classes'])
        if detector.is_oriented:
            draw_oriented(out / f'{path.stem}.jpg', image, found, detector.dataset_meta)
        else:
            draw_upright(out / f'{path.stem}.jpg', image, found, visualizer)
    print(f'{len(paths) - len(faults)} images: pictures and JSON files in {out}')
    if faults:
        raise DataError(f'{len(faults)} of {len(paths)} images cannot be read: {"; ".join(faults)}')


def find_images(sources: list[str]) -> list[Path]:
    """List the images that the command line names.

    Args:
        sources (list[str]): Images, and folders of images.

    Returns:
        list[Path]: The images, sorted within each folder.

    Raises:
        DataError: A folder has no images, or two images have the same name.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        there = [source]
        if source.is_dir():
            there = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
        if not there:
            raise DataError(f'{source} has no images; expected files that end in {" ".join(IMAGE_ENDINGS)}')
        paths += there
    first: dict[str, Path] = {}
    for path in paths:
        if first.setdefault(path.stem, path) != path:
            raise DataError(
                f'{first[path.stem]} and {path} would write the same {path.stem}.json; predict them in two runs, each '
                'with its own --out'
            )
    return list(first.values())
