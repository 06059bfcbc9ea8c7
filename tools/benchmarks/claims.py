"""The headline claims of the paper, and what is measured of them here."""

from __future__ import annotations

from typing import NamedTuple

from .contenders import BASELINE
from .report import Report
from .timing import Spread, speedup


class Claim(NamedTuple):
    """That one network is faster than another.

    Args:
        ours (str): Title of the FasterNet.
        theirs (str): Title of the rival.
        text (str): What is claimed, from the abstract of https://arxiv.org/abs/2303.03667.
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
#: Rivals of the claims; measured compiled as well, as ours optimized against theirs as it comes would be unfair.
CLAIM_RIVALS = ('mobilevit_xxs', 'swin_base_patch4_window7_224')


def judge(report: Report) -> list[str]:
    """Set each claim against what was measured, as far as both networks were.

    Args:
        report (Report): Of the backbones.

    Returns:
        list[str]: A line for each claim: both in timm, both optimized, and our fastest mode against theirs in timm.
    """
    lines = []
    for claim in CLAIMS:
        rival = report.find(claim.theirs, BASELINE)
        own = [result for result in report.results if result.name == claim.ours]
        if rival is None or not own:
            continue
        fastest = min(own, key=lambda result: result.latency.median)
        pairs = {
            'both in timm': (report.find(claim.ours, BASELINE), rival),
            'ours by optimize and theirs by torch.compile': (
                report.find(claim.ours, 'optimize float32'),
                report.find(claim.theirs, 'compiled'),
            ),
            f'ours in {fastest.mode} against theirs in timm': (fastest, rival),
        }
        told = []
        for how, (ours, theirs) in pairs.items():
            if ours is not None and theirs is not None:
                ratio = Spread.of(speedup(theirs.times, ours.times))
                told.append(f'{how} {ratio.text()} times as fast, {1 / ratio.median - 1:+.0%} time')
        lines.append(
            f'{claim.ours} ({own[0].images}) against {claim.theirs} ({rival.images}): claimed {claim.text}; '
            f'measured here {"; ".join(told)}; accuracy is quoted, not measured'
        )
    return lines
