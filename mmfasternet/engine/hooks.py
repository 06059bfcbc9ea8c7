"""Hooks that the tools add to a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import CheckpointError, first_few
from ..models import FasterNet
from .acceleration import accelerate
from .checkpoint_checks import classes_of_checkpoint, compare_classes
from .palette import NAMED, complete_palette, with_palette

#: Least side of a picture in pixels, so that the text fits.
LEAST_SIDE = 256


@HOOKS.register_module()
class AccelerateHook(Hook):
    """Tests a fast copy of the model.

    Args:
        optimize (str, optional): The value of ``--optimize``. Defaults to None.
        backend (str, optional): The value of ``--backend``. Defaults to None.
    """

    # after the hook that puts averaged weights (EMA) into the model
    priority = 'LOWEST'

    def __init__(self, optimize: str | None = None, backend: str | None = None) -> None:
        self.flags = optimize, backend

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the model, whose weights are loaded now, with the fast copy.

        Args:
            runner (Runner): The runner of the test.
        """
        # several processes share no gradients in a test
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        runner.model = accelerate(model.eval(), *self.flags)


@HOOKS.register_module()
class CheckpointClassesHook(Hook):
    """Stops a test or a resumed training if the checkpoint has other classes than the config.

    The labels of such a model mean other classes: its metrics and the class names in its output would be wrong.

    Args:
        split (str): Whose data set names the classes of the config: ``'train'`` or ``'test'``.
    """

    priority = 'VERY_HIGH'

    def __init__(self, split: str) -> None:
        self.split = split

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the classes, and the sizes of what depends on their number.

        Args:
            runner (Runner): The runner of the test or training.
            checkpoint (dict): What the file holds.

        Raises:
            CheckpointError: They differ.
        """
        dataset = getattr(runner, f'{self.split}_loop').dataloader.dataset
        classes = getattr(dataset, 'metainfo', {}).get('classes') or ()
        fault = compare_classes(classes_of_checkpoint(checkpoint), classes)
        if fault:
            raise CheckpointError(
                f'{runner._load_from} was trained on {fault}. Name the classes in metainfo as the checkpoint does, or '
                'take the checkpoint of this config'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # a FasterNet compares its own tensors, under whatever names they have in the file
        networks = tuple(f'{name}.' for name, module in model.named_modules() if isinstance(module, FasterNet))
        sizes = {name: value.shape for name, value in model.state_dict().items() if not name.startswith(networks)}
        wrong = [
            f'{name} has the shape {tuple(value.shape)}, expected {tuple(sizes[name])}'
            for name, value in (checkpoint.get('state_dict') or {}).items()
            if name in sizes and hasattr(value, 'shape') and value.shape != sizes[name]
        ]
        if wrong:
            raise CheckpointError(
                f'{runner._load_from} does not fit the model of the config: {first_few(wrong, 2)}. Take the checkpoint '
                'of this config, or set its number of classes as in the checkpoint'
            )


@HOOKS.register_module()
class DrawAllClasses(Hook):
    """Completes the palette and names the box type, so that the visualizer can draw every class and box.

    mmdet's and mmrotate's visualizers stop at a class without a colour, and mmrotate's at horizontal boxes.
    """

    # before the hook that draws
    priority = 'ABOVE_NORMAL'

    def before_run(self, runner: Runner) -> None:
        """Complete the palettes after the loops have set the classes of the visualizer.

        Args:
            runner (Runner): The runner of the training or test.
        """
        visualizer = runner.visualizer
        meta = getattr(visualizer, 'dataset_meta', None)
        if not meta or not meta.get('classes') or not hasattr(visualizer, 'bbox_color'):
            return
        visualizer.dataset_meta = with_palette(meta)
        for name in ('bbox_color', 'mask_color', 'text_color'):
            colours = getattr(visualizer, name, None)
            if isinstance(colours, list) or colours in NAMED:
                setattr(visualizer, name, complete_palette(colours, len(meta['classes'])))

    def _name_boxes(self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Sequence[Any]) -> None:
        """Make horizontal boxes known as such, which mmrotate's visualizer can turn into quadrilaterals."""
        if not any(kind.__name__ == 'RotLocalVisualizer' for kind in type(runner.visualizer).__mro__):
            return
        from mmdet.structures.bbox import HorizontalBoxes

        for sample in outputs:
            for name in ('pred_instances', 'gt_instances'):
                boxes = sample.get(name, {}).get('bboxes')
                if boxes is not None and not isinstance(boxes, HorizontalBoxes) and boxes.shape[-1] == 4:
                    sample.get(name).bboxes = HorizontalBoxes(boxes)

    after_test_iter = after_val_iter = _name_boxes


@HOOKS.register_module()
class ClassPictures(Hook):
    """Shows or writes each image of a test with its classes, drawn by mmpretrain's visualizer.

    mmpretrain's own hook passes BGR images where RGB is expected, which swaps red and blue.

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
            outputs (Sequence[DataSample]): Ground truth and predictions.
        """
        inputs = data_batch['inputs']
        # with test-time augmentation a batch for each view, the image as it is last
        images = inputs[-1] if inputs[0].ndim == 4 else inputs
        for image, sample in zip(images, outputs):
            path = Path(sample.img_path)
            # folders of several classes and corruptions contain the same names
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
