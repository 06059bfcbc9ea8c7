"""Write predictions as JSON files and pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw, ImageFont

from ..evaluation.dota_merged import corners
from ..files import whole_file

#: Height in pixels of the letters of a legend.
LETTERS = 15
#: Least side in pixels of the picture of a classified image, so that the text fits.
LEAST_SIDE = 256


class Mask(NamedTuple):
    """A part of the image, and which of its pixels an object covers.

    Attributes:
        x: Left edge in pixels of the image.
        y: Top edge in pixels of the image.
        pixels: True where the object is, of shape (H, W).
    """

    x: int
    y: int
    pixels: np.ndarray

    def whole(self, height: int, width: int) -> np.ndarray:
        """Give the mask the size of the image.

        Args:
            height (int): Height of the image in pixels.
            width (int): Width of the image in pixels.

        Returns:
            ndarray: True where the object is, of shape (height, width).
        """
        full = np.zeros((height, width), bool)
        part = self.pixels[: height - self.y, : width - self.x]
        full[self.y : self.y + part.shape[0], self.x : self.x + part.shape[1]] = part
        return full


def write_json(
    path: Path, image: Path, size: tuple[int, int], predictions: InstanceData, classes: Sequence[str]
) -> None:
    """Write predicted objects as JSON, a line an object.

    Args:
        path (Path): The file to write.
        image (Path): The image.
        size (tuple[int, int]): Its width and height in pixels.
        predictions (InstanceData): ``bboxes`` of shape (N, 4), (N, 5) or (N, 8), ``scores``, ``labels``
            and, if the model has them, ``masks``.
        classes (Sequence[str]): Names of the classes in the order of the labels.
    """
    width, height = size
    places = (
        _upright_places(predictions, width, height)
        if predictions.bboxes.size(1) == 4
        else _oriented_places(predictions)
    )
    objects = [
        {'class': classes[label], 'label': label, 'score': score, **place}
        for label, score, place in zip(predictions.labels.tolist(), predictions.scores.tolist(), places)
    ]
    _write_lines(path, {'image': str(image), 'width': width, 'height': height}, 'objects', objects)


def write_classes(
    path: Path, image: Path, size: tuple[int, int], ranked: Sequence[tuple[int, float]], classes: Sequence[str]
) -> None:
    """Write the predicted classes of an image as JSON, a line a class.

    Args:
        path (Path): The file to write.
        image (Path): The image.
        size (tuple[int, int]): Its width and height in pixels.
        ranked (Sequence[tuple[int, float]]): Label and score of each class, the highest score first.
        classes (Sequence[str]): Names of the classes in the order of the labels.
    """
    lines = [{'class': classes[label], 'label': label, 'score': score} for label, score in ranked]
    _write_lines(path, {'image': str(image), 'width': size[0], 'height': size[1]}, 'classes', lines)


def _write_lines(path: Path, head: dict[str, Any], name: str, items: Sequence[dict[str, Any]]) -> None:
    lines = ',\n'.join(map(json.dumps, items))
    with whole_file(path) as draft:
        draft.write_text(f'{json.dumps(head)[:-1]}, "{name}": [\n{lines}\n]}}\n')


def _oriented_places(predictions: InstanceData) -> list[dict[str, Any]]:
    """Give boxes as four corners and, if they are rectangles, as centre, size and angle."""
    names = ('cx', 'cy', 'w', 'h', 'angle') if predictions.bboxes.size(1) == 5 else ()
    return [
        {**dict(zip(names, box)), 'corners': quad}
        for box, quad in zip(predictions.bboxes.tolist(), corners(predictions.bboxes).round(2).tolist())
    ]


def _upright_places(predictions: InstanceData, width: int, height: int) -> list[dict[str, Any]]:
    """Boxes by two corners, and masks in COCO's run lengths."""
    places: list[dict[str, Any]] = [{'bbox': box} for box in predictions.bboxes.tolist()]
    if 'masks' in predictions:
        from pycocotools.mask import encode

        for place, mask in zip(places, predictions.masks):
            runs = encode(np.asfortranarray(mask.whole(height, width), dtype=np.uint8))
            place['mask'] = {'size': runs['size'], 'counts': runs['counts'].decode()}
    return places


def draw_oriented(path: Path, image: Image.Image, predictions: InstanceData, dataset_meta: dict[str, Any]) -> None:
    """Draw boxes of any type in the colours of their classes, with a legend below.

    Aerial images show hundreds of objects: a name beside each, as mmrotate's visualizer writes it, would hide them.

    Args:
        path (Path): The picture to write.
        image (Image): The image, RGB.
        predictions (InstanceData): The predictions.
        dataset_meta (dict): The ``classes`` and their ``palette``.
    """
    counts = Counter(predictions.labels.tolist())
    names, palette = dataset_meta['classes'], dataset_meta['palette']
    entries = [(f'{names[label]} {count}', tuple(palette[label])) for label, count in sorted(counts.items())]
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    for quad, label in zip(corners(predictions.bboxes), predictions.labels.tolist()):
        closed = [tuple(point) for point in quad[[0, 1, 2, 3, 0]].tolist()]
        pen.line(closed, fill=tuple(palette[label]), width=2)
    _save(path, _with_legend(drawn, entries))


def draw_classes(path: Path, image: Image.Image, ranked: Sequence[tuple[int, float]], classes: Sequence[str]) -> None:
    """Draw an image with its classes and their scores below.

    Args:
        path (Path): The picture to write.
        image (Image): The image, RGB.
        ranked (Sequence[tuple[int, float]]): Label and score of each class, the highest score first.
        classes (Sequence[str]): Names of the classes in the order of the labels.
    """
    scale = LEAST_SIDE / max(image.size)
    if scale > 1:
        image = image.resize([max(1, round(side * scale)) for side in image.size])
    _save(path, _with_legend(image, [(f'{classes[label]} {score:.3f}', None) for label, score in ranked]))


def _with_legend(image: Image.Image, entries: Sequence[tuple[str, Any]]) -> Image.Image:
    """Put texts below an image, each with a field of its colour if it has one."""
    font = ImageFont.load_default(LETTERS)
    placed: list[tuple[int, int, str, Any]] = []
    x, y = LETTERS // 2, image.height + LETTERS // 2
    for text, colour in entries:
        length = round(font.getlength(text)) + 3 * LETTERS
        if x + length > image.width and placed:
            x, y = LETTERS // 2, y + 2 * LETTERS
        placed.append((x, y, text, colour))
        x += length
    picture = Image.new('RGB', (image.width, y + 2 * LETTERS if entries else image.height), 'white')
    picture.paste(image)
    pen = ImageDraw.Draw(picture)
    for x, y, text, colour in placed:
        if colour:
            pen.rectangle((x, y, x + LETTERS, y + LETTERS), fill=colour, outline='black')
        pen.text((x + 1.5 * LETTERS if colour else x, y), text, fill='black', font=font)
    return picture


def _save(path: Path, picture: Image.Image) -> None:
    with whole_file(path) as draft:
        # colour as sharp as brightness, for thin lines
        picture.save(draft, 'JPEG', quality=90, subsampling=0)


def draw_upright(path: Path, image: Image.Image, predictions: InstanceData, visualizer: Visualizer) -> None:
    """Draw boxes, masks and names as mmdet does.

    Args:
        path (Path): The picture to write.
        image (Image): The image, RGB.
        predictions (InstanceData): The predictions.
        visualizer (Visualizer): mmdet's.
    """
    from mmdet.structures import DetDataSample

    shown = InstanceData(bboxes=predictions.bboxes, scores=predictions.scores, labels=predictions.labels)
    # masks of the whole of a large image would take gigabytes, so there the boxes have to do
    if 'masks' in predictions and len(predictions) and predictions.masks[0].pixels.shape == (image.height, image.width):
        shown.masks = np.stack([mask.pixels for mask in predictions.masks])
    sample = DetDataSample(pred_instances=shown)
    with whole_file(path) as draft:
        visualizer.add_datasample(
            path.stem, np.asarray(image), sample, draw_gt=False, pred_score_thr=0, out_file=str(draft)
        )
