"""Region features on a CPU: RoIAlign as a weighted sum of pixels, by torch's EmbeddingBag.

A bin of RoIAlign is a sum of pixels of the feature map, weighted by the box alone. Channels-last features
are a table with a row for each pixel, so EmbeddingBag can compute a bin: with vector instructions, on all cores, in
float32 and bfloat16. mmcv's operator computes one value at a time on one core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Numbers of pixels along an axis; bins are padded to the next one, so that many share a call.
_REACHES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128)


class RegionFeatures(nn.Module):
    """Region features from the level of the feature pyramid that fits each region's size.

    It replaces mmdet's ``SingleRoIExtractor`` and mmrotate's ``RotatedSingleRoIExtractor``.

    Args:
        extractor (Module): The module to replace; see :func:`has_fast_regions`.
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.layers = list(extractor.roi_layers)
        self.num_inputs = extractor.num_inputs
        # bound methods, with the extractor's settings
        self._map_roi_levels, self._roi_rescale = extractor.map_roi_levels, extractor.roi_rescale

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Compute the features of regions.

        Args:
            feats (Sequence[Tensor]): A feature map of shape ``(N, C, H, W)`` for each level.
            rois (Tensor): Index of the image, then box in pixels of the image: x1, y1, x2, y2, or cx, cy, w, h and
                angle in radians. Of shape ``(K, 5)`` or ``(K, 6)``.
            roi_scale_factor (float, optional): Factor to enlarge the boxes by. Defaults to None.

        Returns:
            Tensor: Of shape ``(K, C, h, w)``, in channels last.
        """
        levels = (
            self._map_roi_levels(rois, len(feats)) if len(feats) > 1 else rois.new_zeros(len(rois), dtype=torch.long)
        )
        if roi_scale_factor is not None:
            rois = self._roi_rescale(rois, roi_scale_factor)
        height, width = self.layers[0].output_size
        channels = feats[0].shape[1]
        features = feats[0].new_empty(len(rois), height * width, channels)
        for level, (layer, feat) in enumerate(zip(self.layers, feats)):
            chosen = (levels == level).nonzero().squeeze(1)
            if not len(chosen):
                continue
            pixels = feat.permute(0, 2, 3, 1).reshape(-1, channels)
            bags = _rotated_bags if rois.shape[1] == 6 else _horizontal_bags
            for which, index, weight in bags(layer, rois[chosen], feat.shape[-2:]):
                bins = F.embedding_bag(index, pixels, mode='sum', per_sample_weights=weight.to(pixels.dtype))
                features[chosen[which]] = bins.view(len(which), -1, channels)
        return features.view(-1, height, width, channels).permute(0, 3, 1, 2)


def has_fast_regions(module: nn.Module) -> bool:
    """Return whether :class:`RegionFeatures` computes the same as a module.

    It does for mmdet's and mmrotate's extractors that average in RoIAlign, or in RoIAlignRotated with a fixed number of
    samples.
    """
    kinds = {'SingleRoIExtractor': 'RoIAlign', 'RotatedSingleRoIExtractor': 'RoIAlignRotated'}
    kind = kinds.get(type(module).__name__)
    return kind is not None and all(
        type(layer).__name__ == kind
        and getattr(layer, 'pool_mode', 'avg') == 'avg'
        and (kind == 'RoIAlign' or layer.sampling_ratio > 0)
        for layer in module.roi_layers
    )


def _horizontal_bags(layer: nn.Module, rois: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Compute pixels and weights of the bins of horizontal boxes, for groups of boxes with equally many pixels.

    Yields:
        tuple[Tensor, Tensor, Tensor]: Which boxes; then for each of their bins a row of pixels, and of weights.
    """
    height, width = size
    offset = 0.5 if layer.aligned else 0.0
    x1, y1, x2, y2 = (rois[:, 1:] * layer.spatial_scale - offset).unbind(1)
    box_width, box_height = x2 - x1, y2 - y1
    if not layer.aligned:
        box_width, box_height = box_width.clamp(min=1), box_height.clamp(min=1)
    rows, row_weights, row_reach = _axis(y1, box_height, layer.output_size[0], layer.sampling_ratio, height)
    columns, column_weights, column_reach = _axis(x1, box_width, layer.output_size[1], layer.sampling_ratio, width)
    first_pixel = rois[:, 0].long() * height * width
    for reach in torch.stack((row_reach, column_reach), 1).unique(dim=0).tolist():
        which = ((row_reach == reach[0]) & (column_reach == reach[1])).nonzero().squeeze(1)
        # pixels outside the feature map have weight 0
        y = (rows[which, :, None] + torch.arange(reach[0])).clamp(max=height - 1)
        x = (columns[which, :, None] + torch.arange(reach[1])).clamp(max=width - 1)
        y = y * width + first_pixel[which, None, None]
        index = y[:, :, None, :, None] + x[:, None, :, None, :]
        weight = row_weights[which, :, None, : reach[0], None] * column_weights[which, None, :, None, : reach[1]]
        yield which, index.flatten(3).flatten(0, 2), weight.flatten(3).flatten(0, 2)


def _axis(start: Tensor, extent: Tensor, bins: int, samples: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average the samples of each bin along an axis, where each sample is between two pixels.

    Args:
        start (Tensor): Starts of the boxes in pixels of the feature map, of shape ``(K,)``.
        extent (Tensor): Lengths of the boxes.
        bins (int): Number of bins.
        samples (int): Samples per bin; 0 for one per pixel.
        length (int): Length of the feature map.

    Returns:
        tuple[Tensor, Tensor, Tensor]: The first pixel of each bin, of shape ``(K, bins)``; the weights of the pixels
        from there on, ``(K, bins, R)``; their number, rounded up to one of :data:`_REACHES`, ``(K,)``.
    """
    step = (extent / bins)[:, None, None]
    count = torch.full_like(step, samples) if samples > 0 else step.ceil()
    sample = torch.arange(max(int(count.max()), 1))
    # a box of length 0 has no samples and no weights
    divisor = count.clamp(min=1)
    position = start[:, None, None] + torch.arange(bins)[:, None] * step + (sample + 0.5) * step / divisor
    weight = ((sample < count) & (position >= -1) & (position <= length)) / divisor
    position = position.clamp(0, length - 1)
    below = position.floor()
    share = position - below
    below = below.long()
    first = below[..., :1]
    last = below.gather(2, (divisor.long() - 1).expand(-1, bins, 1))
    reach = (last - first).amax((1, 2)) + 2
    known = torch.tensor([*_REACHES, max(int(reach.max()), _REACHES[-1] + 1)])
    reach = known[torch.searchsorted(known, reach)]
    weights = position.new_zeros(len(start), bins, int(reach.max()))
    place = (below - first).clamp(max=weights.shape[2] - 2)
    weights.scatter_add_(2, place, weight * (1 - share))
    weights.scatter_add_(2, place + 1, weight * share)
    return first.squeeze(2), weights, reach


def _rotated_bags(layer: nn.Module, rois: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Compute pixels and weights of the bins of rotated boxes: each sample is between four pixels.

    Yields:
        tuple[Tensor, Tensor, Tensor]: Which boxes; then for each of their bins a row of pixels, and of weights.
    """
    height, width = size
    samples = layer.sampling_ratio
    offset = 0.5 if layer.aligned else 0.0
    center_x, center_y = (rois[:, 1:3] * layer.spatial_scale - offset)[:, :, None, None, None, None].unbind(1)
    extent = rois[:, 3:5] * layer.spatial_scale
    if not layer.aligned:
        extent = extent.clamp(min=1)
    angle = rois[:, 5, None, None, None, None] * (-1 if layer.clockwise else 1)
    along = []
    for bins, length in zip(layer.output_size, (extent[:, 1:], extent[:, :1])):
        step = length[..., None] / bins
        position = torch.arange(bins)[:, None] * step + (torch.arange(samples) + 0.5) * step / samples
        along.append(position - length[..., None] / 2)
    down, across = along[0][:, :, None, :, None], along[1][:, None, :, None, :]
    y = down * angle.cos() - across * angle.sin() + center_y
    x = down * angle.sin() + across * angle.cos() + center_x
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    share_y, share_x = y - top, x - left
    top, left = top.long(), left.long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    first_pixel = rois[:, 0].long()[:, None, None, None, None] * height * width
    index = [first_pixel + row * width + column for row in (top, bottom) for column in (left, right)]
    weight = [down * across for down in (1 - share_y, share_y) for across in (1 - share_x, share_x)]
    mean = inside / samples**2
    yield (
        torch.arange(len(rois)),
        torch.stack(index, -1).flatten(3).flatten(0, 2),
        (torch.stack(weight, -1) * mean[..., None]).flatten(3).flatten(0, 2),
    )
