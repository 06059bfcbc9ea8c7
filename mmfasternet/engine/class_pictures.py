"""Pictures of the images that a classifier was tested on, with their true and their found class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

#: Least side of a picture in pixels, so that the text fits.
LEAST_SIDE = 256


@HOOKS.register_module()
class ClassPictures(Hook):
    """Shows or writes each image of a test with its classes, as mmpretrain's visualizer draws them.

    mmpretrain's own hook hands the images on in BGR where RGB is expected, so that red comes out blue.

    Args:
        out_dir (str, optional): Where ``NAME.jpg`` goes, inside the folder of the run. Defaults to None: nowhere.
        show (bool): Whether to show each in a window. Defaults to False.
        wait_time (float): How long a window stays, in seconds. Defaults to 2.
    """

    def __init__(self, out_dir: str | None = None, show: bool = False, wait_time: float = 2) -> None:
        self.out_dir = out_dir
        self.show_args = dict(show=show, wait_time=wait_time)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any], outputs: Sequence[Any]
    ) -> None:
        """Draw a batch.

        Args:
            runner (Runner): The runner of the test.
            batch_idx (int): Not used.
            data_batch (dict): With ``inputs``, images of shape ``(N, 3, H, W)``, BGR.
            outputs (Sequence[DataSample]): Their true and found classes.
        """
        inputs = data_batch['inputs']
        # with test-time augmentation a batch for each view, the image as it is last
        images = inputs[-1] if inputs[0].ndim == 4 else inputs
        for image, sample in zip(images, outputs):
            path = Path(sample.img_path)
            # the same names stand in the folders of several classes and corruptions
            parts = sample.get('corruption'), sample.get('severity'), path.parent.name, path.stem
            name = '_'.join(str(part) for part in parts if part)
            runner.visualizer.visualize_cls(
                image.flip(0).permute(1, 2, 0).cpu().numpy(),
                sample,
                resize=max(LEAST_SIDE, *image.shape[1:]),
                out_file=str(Path(runner.log_dir, self.out_dir, f'{name}.jpg')) if self.out_dir else None,
                name=name,
                **self.show_args,
            )
