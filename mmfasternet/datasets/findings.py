"""Findings of a data check: their kinds, severities and places, and the report that collects them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: error: training stops, or learns from wrong labels. warning: something is dropped or changed silently, or is likely a
#: mistake. note: something is left out on purpose.
SEVERITIES = ('error', 'warning', 'note')


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        name: Its key in a report.
        severity: One of :data:`SEVERITIES`.
        title: Description of the findings, in the plural.
        outcome: What training makes of them.
    """

    name: str
    severity: str
    title: str
    outcome: str


class Finding(NamedTuple):
    """A fact about a data set that the user should know.

    Attributes:
        kind: Its kind.
        file: The image or label file, relative to its folder; empty if the finding is not about one file.
        annotation: The id of the annotation, or None.
        line: The number of the line in the label file, from 1, or None.
        detail: The values that are wrong.
        picture: The image that shows it, relative to the folder of images; empty if none does.
        outlines: x1, y1, x2, y2, ... of polygons to draw in the picture, in pixels.
    """

    kind: Kind
    file: str = ''
    annotation: int | float | str | None = None
    line: int | None = None
    detail: str = ''
    picture: str = ''
    outlines: Sequence[Sequence[float]] = ()

    @property
    def place(self) -> str:
        """The file with annotation or line; empty if the finding is not about one file."""
        place = show(self.file) if self.file else ''
        if self.annotation is not None:
            place = f'annotation {show(self.annotation)} of {place}'
        return place if self.line is None else f'{place}:{self.line}'

    def __str__(self) -> str:
        return ': '.join(part for part in (self.place, self.detail) if part)


EMPTY = Kind('empty', 'error', 'data sets without images', 'the run stops')
NOTHING_LEARNED = Kind(
    'nothing_learned', 'error', 'data sets without objects to learn', 'the model learns only background'
)
NOTHING_SCORED = Kind('nothing_scored', 'error', 'data sets without objects to score', 'the score is -1 or 0')


@dataclass
class Report:
    """Counts and findings of a data set.

    Attributes:
        images: Number of images in the files.
        objects: Number of objects in the files.
        kept_images: Number of images that training uses.
        kept_objects: Number of objects that training uses, including those that it ignores.
        findings: The findings.
        learned: Number of objects that training learns, without those that it ignores.
        scored: Number of objects that scoring counts, if it reads the same file.
    """

    images: int
    objects: int
    kept_images: int
    kept_objects: int
    findings: list[Finding] = field(default_factory=list)
    learned: int = 0
    scored: int = 0

    def take(self, indices: int | Sequence[int] | None) -> None:
        """Select the images in the ``indices`` of a data set, and add a finding if none is left.

        Args:
            indices (int | Sequence[int], optional): Number of images from the start, or from the end if negative, or
                the indices of the images.
        """
        if isinstance(indices, int):
            self.kept_images = min(abs(indices), self.kept_images)
        elif indices is not None:
            self.kept_images = len(indices)
        if not self.kept_images:
            self.findings.append(Finding(EMPTY, detail=f'0 of {self.images} images are kept{self._dropped()}'))

    def count_tile(self, difficulties: Sequence[int], diff_thr: int, drops_empty: bool) -> None:
        """Count the objects of a tile of DOTA.

        Args:
            difficulties (Sequence[int]): Difficulty of each object.
            diff_thr (int): mmrotate ignores objects with a higher difficulty.
            drops_empty (bool): Whether mmrotate drops tiles without objects.
        """
        easy = sum(difficulty <= diff_thr for difficulty in difficulties)
        self.objects += len(difficulties)
        self.kept_objects += len(difficulties)
        self.learned += easy
        self.scored += easy
        self.kept_images -= bool(drops_empty and not difficulties)

    def _dropped(self) -> str:
        texts = [
            f'{kind.title} ({len(found)})'
            for kind, found in by_kind(self.findings).items()
            if kind.outcome.startswith('dropped')
        ]
        return f': {", ".join(texts)}' if texts else ''


def check_use(reports: Sequence[Report], trained: bool, scored: bool) -> Finding | None:
    """Check that the data sets of a dataloader together have objects to learn, or to score.

    Args:
        reports (Sequence[Report]): The report of each data set.
        trained (bool): Whether training uses them.
        scored (bool): Whether predictions are compared with their annotations.

    Returns:
        Finding | None: The finding; None if there are such objects.
    """
    number = sum(report.objects for report in reports)
    dropped = reports[0]._dropped() if reports else ''
    if trained and not any(report.learned for report in reports):
        return Finding(NOTHING_LEARNED, detail=f'0 of {number} objects are left to learn{dropped}')
    if scored and not any(report.scored for report in reports):
        return Finding(NOTHING_SCORED, detail=f'0 of {number} objects count')
    return None


def by_kind(findings: Iterable[Finding]) -> dict[Kind, list[Finding]]:
    """Group findings by kind, with the highest severity first.

    Args:
        findings (Iterable[Finding]): The findings.

    Returns:
        dict[Kind, list[Finding]]: The findings of each kind that occurs.
    """
    groups: dict[Kind, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.kind, []).append(finding)
    return dict(sorted(groups.items(), key=lambda item: SEVERITIES.index(item[0].severity)))


def show(value: Any) -> str:
    """Format any value of a file so that it fits on a line.

    Args:
        value (Any): A name, an id, or whatever the file has in its place.

    Returns:
        str: Printable text.
    """
    return value if isinstance(value, str) and value.isprintable() else reprlib.repr(value)
