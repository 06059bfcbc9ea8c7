"""Backbones: ours in each mode, timm's, and the baselines of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .claims import CLAIMED_BASELINES, judge
from .networks import PAPER_BASELINES, find_network
from .pictures import draw_accuracy_latency
from .runner import Plan
from .workloads import COMPILED, TIMM, Backbone, usable_modes


def plan_backbones(
    archs: Sequence[str],
    baselines: Sequence[str] = PAPER_BASELINES,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    modes: Sequence[str] | None = None,
    device: str = 'cpu',
) -> Plan:
    """Compare latency, throughput, achieved GFLOP/s and peak memory, and draw accuracy against latency.

    Args:
        archs (Sequence[str]): Variants of FasterNet.
        baselines (Sequence[str]): Other networks, keys of :data:`.networks.NETWORKS`. Defaults to those of the paper.
        size (tuple[int, int], optional): Height and width of the images in pixels. Defaults to None: those at which
            the accuracy of each network was published.
        batch (int): Images in a call. Defaults to 1.
        modes (Sequence[str], optional): Modes of our network. Defaults to None: all that can run here.
        device (str): Where they run. Defaults to ``'cpu'``.

    Raises:
        ConfigError: A variant or a network is unknown.
    """
    ours = usable_modes(device) if modes is None else modes
    workloads = []
    for name in [*(f'fasternet_{arch}' for arch in archs), *baselines]:
        side = find_network(name).side
        baseline = Backbone(name, TIMM, *(size or (side, side)), batch, device)
        others = ours if name.startswith('fasternet') else [COMPILED] if name in CLAIMED_BASELINES else []
        workloads += [baseline, *(replace(baseline, mode=mode) for mode in others)]
    return Plan(workloads, rounds=20, with_peaks=True, remarks=judge, draw=draw_accuracy_latency)
