"""A training step of the backbone, against timm's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mmfasternet.models import FasterNet

from .contenders import BASELINE, NETWORKS, Features, import_timm, random_images, relative_error, timm_network
from .machine import describe
from .memory import peak_memory
from .report import Report, Result
from .timing import measure

#: For each mode the arguments of the backbone, None for timm's network, and whether all is under bfloat16 autocast.
MODES: dict[str, tuple[dict[str, Any] | None, bool]] = {
    BASELINE: (None, False),
    'timm, bfloat16': (None, True),
    'ours': ({}, False),
    'ours, checkpointing': (dict(with_cp=True), False),
    'ours, channels last': (dict(channels_last=True), False),
    'ours, channels last, compiled': (dict(channels_last=True, compile=True), False),
    'ours, channels last, bfloat16': (dict(channels_last=True, bf16=True), False),
    'ours, channels last, bfloat16, checkpointing': (dict(channels_last=True, with_cp=True, bf16=True), False),
    'ours, channels last, bfloat16, compiled': (dict(channels_last=True, compile=True, bf16=True), False),
}


class TrainingContender(NamedTuple):
    """A backbone that trains: forward pass, a loss over all features, backward pass.

    Args:
        arch (str): Variant of FasterNet.
        mode (str): A key of :data:`MODES`.
        height (int): Of the images, in pixels.
        width (int): Of the images, in pixels.
        batch (int): Number of images.
        device (str): Where it runs.
    """

    arch: str
    mode: str
    height: int = 256
    width: int = 256
    batch: int = 2
    device: str = 'cpu'

    def build(self) -> Callable[[], Tensor]:
        """Make it, with the same weights in every mode and no stochastic depth.

        Returns:
            Callable: One step; it gives the gradient of the first convolution's weights.
        """
        reference = timm_network(f'fasternet_{self.arch}', self.height, self.width)
        settings, bfloat16 = MODES[self.mode]
        if settings is None:
            for module in reference.modules():
                if hasattr(module, 'drop_path'):
                    module.drop_path = nn.Identity()
            network, first = Features(reference), reference.patch_embed.proj
        else:
            network = FasterNet(self.arch, output_norm=False, drop_path_rate=0.0, **settings)
            network.load_state_dict(reference.state_dict())
            first = network.patch_embed.proj
        images = random_images(self.batch, self.height, self.width, self.device)
        return _step(network.to(self.device).train(), first, images, bfloat16)

    def build_tiny(self) -> Callable[[], Tensor]:
        """Make the tiniest network in the same mode."""
        import_timm()
        settings, bfloat16 = MODES[self.mode]
        network = FasterNet(dict(embed_dims=8, depths=(1, 1)), out_indices=(0, 1), **(settings or {})).to(self.device)
        return _step(network.train(), network.patch_embed.proj, random_images(2, 64, 64, self.device), bfloat16)


def _step(network: nn.Module, first: nn.Conv2d, images: Tensor, bfloat16: bool) -> Callable[[], Tensor]:
    def step() -> Tensor:
        network.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            features = network(images)
        sum(feature.float().square().mean() for feature in features).backward()
        return first.weight.grad

    return step


def compare_training(
    arch: str = 's',
    size: tuple[int, int] = (256, 256),
    batch: int = 2,
    rounds: int = 15,
    device: str = 'cpu',
    out: Path = Path('work_dirs/benchmark'),
    modes: tuple[str, ...] = tuple(MODES),
) -> Report:
    """Measure time and peak memory of a training step, and write table and JSON.

    Args:
        arch (str): Variant of FasterNet. Defaults to ``'s'``.
        size (tuple[int, int]): Height and width of the images in pixels. Defaults to 256x256.
        batch (int): Images in a step. Defaults to 2.
        rounds (int): How often each is timed. Defaults to 15.
        device (str): Where it runs. Defaults to ``'cpu'``.
        out (Path): Folder for ``training.json`` and ``training.md``.
        modes (tuple[str, ...]): Keys of :data:`MODES`. Defaults to all.

    Returns:
        Report: All numbers.
    """
    FasterNet.resolve_arch(arch)
    contenders = [TrainingContender(arch, mode, *size, batch, device) for mode in modes]
    runs = {contender: contender.build() for contender in tqdm(contenders, 'building', leave=False)}
    expected = runs[contenders[0]]().clone()
    differences = {contender: relative_error([run()], [expected]) for contender, run in runs.items()}
    times = measure(runs, rounds, device)
    del runs
    results = []
    for contender in tqdm(contenders, 'memory', leave=False):
        memory = peak_memory(contender)
        results.append(
            Result(
                name=NETWORKS[f'fasternet_{arch}'].title,
                mode=contender.mode,
                images=f'{batch}x{size[0]}x{size[1]}',
                batch=batch,
                times=times[contender],
                baseline=BASELINE if contender.mode != BASELINE else None,
                memory=memory,
                difference=differences[contender] if contender.mode != BASELINE else None,
            )
        )
    settings = dict(arch=arch, size=size, batch=batch, rounds=rounds, device=device)
    report = Report('training', describe(device), settings, results, difference_title="gradient's relative error")
    report.write(out)
    return report
