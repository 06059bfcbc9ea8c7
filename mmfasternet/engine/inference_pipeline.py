"""Run the test pipeline of a config on images without annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS
from torch import Tensor

from ..config_types import type_names
from ..datasets.data_files import leaf_datasets
from ..errors import ConfigError, DataError

#: Steps that need ground truth, and all that are derived from them.
NEEDS_ANNOTATIONS = frozenset([
    'LoadAnnotations',
    'LoadEmptyAnnotations',
    'LoadProposals',
    'LoadLineAnnotations',
    'LoadOneDLSegmentation',
    'FilterAnnotations',
    'ConvertBoxType',
    'ConvertMask2BoxType',
    'GTBoxSubOne_GLIP',
])  # fmt: skip
#: Prefixes of the keys that only annotations provide.
_ANNOTATION_KEYS = ('gt_', 'ann', 'instances', 'proposals', 'seg_')
#: Steps that make several views of an image; prediction takes the first without a flip.
_BRANCHES = frozenset(['TestTimeAug'])


def test_dataset(cfg: Config) -> dict[str, Any] | None:
    """Find the test data set of a config, or its validation data set if it has no test.

    Args:
        cfg (Config): The whole config.

    Returns:
        dict | None: Its config, of several the first; None if there is none.
    """
    for name in ('test_dataloader', 'val_dataloader'):
        loader = cfg.get(name)
        if loader and loader.get('dataset'):
            return next(leaf_datasets(loader['dataset']))
    return None


class InferencePipeline:
    """From an image to the input of a model, as in a test, without the steps that need annotations.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: The config has no test pipeline, or one that cannot run.

    Attributes:
        reader (dict): Config of the step that reads a file.
        steps (list[dict]): Configs of the others.
    """

    def __init__(self, cfg: Config) -> None:
        pipeline = (test_dataset(cfg) or {}).get('pipeline') or cfg.get('test_pipeline') or ()
        self.reader, *self.steps = list(_plain(pipeline)) or [None]
        if not isinstance(self.reader, dict):
            raise ConfigError('the config has no test pipeline: test_dataloader.dataset.pipeline is missing')
        names = type_names(self.reader, TRANSFORMS)
        if 'LoadImageFromNDArray' in names:
            self.reader = dict(type='LoadImageFromFile', to_float32=self.reader.get('to_float32', False))
        elif 'LoadMultiChannelImageFromFiles' in names:
            raise ConfigError('the test pipeline reads several files for each image; predict reads one')
        self._built = [_build(step) for step in self.steps]
        model = cfg.get('model') or {}
        settings = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        means = len(settings.get('mean') or ())
        # one mean is for any number of channels
        self._channels = (model.get('backbone') or {}).get('in_channels') or (means if means > 1 else None)

    def __call__(self, image: np.ndarray, path: str | None = None) -> dict[str, Any]:
        """Prepare an image.

        Args:
            image (ndarray): Of shape (H, W) or (H, W, C), as the step that reads it gives it.
            path (str, optional): Where it is from. Defaults to None.

        Returns:
            dict: ``inputs`` and ``data_samples`` of one image.

        Raises:
            DataError: The image does not fit the model.
        """
        results = dict(
            img=image, img_path=path, img_id=0, sample_idx=0, img_shape=image.shape[:2], ori_shape=image.shape[:2]
        )
        for number, step in enumerate(self._built):
            try:
                results = step(dict(results)) if step else results
            except KeyError as error:
                if not str(error.args[0]).startswith(_ANNOTATION_KEYS):
                    raise
                text = f'the step {self.steps[number].get("type")} of the test pipeline needs annotations: left out'
                print_log(text, logger='current')
                self._built[number] = None
            if results is None:
                raise DataError('the test pipeline drops it')
        inputs = results.get('inputs')
        is_image = isinstance(inputs, Tensor) and inputs.ndim == 3
        if self._channels and is_image and len(inputs) != self._channels:
            raise DataError(f'the image has {len(inputs)} channels, the model takes {self._channels}')
        return results


def _build(step: Any) -> Any:
    try:
        return Compose([step])
    except Exception as error:  # a step can raise anything
        kind = step.get('type') if isinstance(step, dict) else step
        reason = ' '.join(str(error).split())
        raise ConfigError(f'the step {kind} of the test pipeline cannot be built: {reason}') from error


def _plain(steps: Sequence[Any]) -> Iterator[Any]:
    """Walk over the steps of a pipeline that run without annotations; of several views of the image take one."""
    for step in steps:
        names = type_names(step, TRANSFORMS)
        if isinstance(step, (list, tuple)):
            yield from _plain(step)
        elif names & _BRANCHES:
            for views in step['transforms']:
                plain = [view for view in views if not _flips(view)]
                yield from _plain(plain[:1])
        elif 'Compose' in names:
            yield from _plain(step['transforms'])
        elif not names & NEEDS_ANNOTATIONS:
            yield step


def _flips(step: Any) -> bool:
    """Say whether a step mirrors the image, after which boxes would be those of the mirror image."""
    return 'RandomFlip' in type_names(step, TRANSFORMS) and step.get('prob') not in (0, 0.0)
