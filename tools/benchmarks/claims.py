"""The headline claims of the paper, beside what is measured here."""

from __future__ import annotations

from typing import NamedTuple

from .comparison import Comparison
from .timing import Spread, speedup
from .workloads import COMPILED, TIMM


class Claim(NamedTuple):
    """A claim that FasterNet is faster than a baseline.

    Args:
        ours (str): Title of the FasterNet.
        theirs (str): Title of the baseline.
        text (str): The claim, from the abstract of https://arxiv.org/abs/2303.03667.
    """

    ours: str
    theirs: str
    text: str


CLAIMS = (
    Claim(
        'FasterNet-T0',
        'MobileViT-XXS',
        '2.8 times as fast on a GPU, 3.3 times on a CPU, 2.4 times on ARM, and top-1 2.9 points higher',
    ),
    Claim(
        'FasterNet-L',
        'Swin-B',
        '1.36 times the throughput on a GPU, 37 % less time on a CPU, and top-1 on a par',
    ),
)
#: Measured compiled, too: to compare ours optimized with theirs unchanged would be unfair.
CLAIMED_BASELINES = ('mobilevit_xxs', 'swin_base_patch4_window7_224')


def judge(comparison: Comparison) -> list[str]:
    """Compare each claim with what was measured, where both networks were.

    Args:
        comparison (Comparison): Of the backbones.

    Returns:
        list[str]: A line for each claim: both in timm, both optimized, and our fastest mode against theirs in timm.
    """
    lines = []
    for claim in CLAIMS:
        baseline = comparison.find(claim.theirs, TIMM)
        own = [result for result in comparison.results if result.name == claim.ours]
        if baseline is None or not own:
            continue
        fastest = min(own, key=lambda result: result.latency.median)
        pairs = {
            'both in timm': (comparison.find(claim.ours, TIMM), baseline),
            'ours by optimize and theirs by torch.compile': (
                comparison.find(claim.ours, 'optimize float32'),
                comparison.find(claim.theirs, COMPILED),
            ),
            f'ours in {fastest.mode} against theirs in timm': (fastest, baseline),
        }
        measured = []
        for how, (ours, theirs) in pairs.items():
            if ours is not None and theirs is not None:
                ratio = Spread.of(speedup(theirs.times, ours.times))
                measured.append(f'{how} {ratio.text()} times as fast, {1 / ratio.median - 1:+.0%} time')
        lines.append(
            f'{claim.ours} ({own[0].images}) against {claim.theirs} ({baseline.images}): claimed {claim.text}; '
            f'measured here {"; ".join(measured)}; accuracy is quoted, not measured'
        )
    return lines
