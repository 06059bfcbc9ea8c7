"""What the check of a data set finds: kinds of faults, how grave they are, and where they are."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: How grave a finding is: training stops or learns what is wrong; something is dropped or altered in silence, or is
#: likely a mistake; something is left out on purpose.
SEVERITIES = ('error', 'warning', 'note')


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        name: Its key in a report.
        severity: One of :data:`SEVERITIES`.
        title: What is found, in the plural.
        outcome: What becomes of it in training.
    """

    name: str
    severity: str
    title: str
    outcome: str


class Finding(NamedTuple):
    """Something found.

    Attributes:
        kind: What it is.
        file: The image or label file, relative to its folder, or empty if it is none alone.
        annotation: The id of the annotation, or None.
        line: The number of the line in the label file, from 1, or None.
        detail: What is to be seen there.
        picture: The image that shows it, relative to the folder of images, or empty if none does.
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
        """Where it is; empty if that is no file alone."""
        place = show(self.file) if self.file else ''
        if self.annotation is not None:
            place = f'annotation {show(self.annotation)} of {place}'
        return place if self.line is None else f'{place}:{self.line}'

    def __str__(self) -> str:
        return ': '.join(part for part in (self.place, self.detail) if part)


EMPTY = Kind('empty', 'error', 'data sets without images', 'the run stops')
NOTHING_LEARNED = Kind(
    'nothing_learned', 'error', 'data sets without objects to learn', 'the model learns background alone'
)
NOTHING_SCORED = Kind('nothing_scored', 'error', 'data sets without objects to score', 'the score is -1 or 0')


@dataclass
class Report:
    """What is in a data set, and what its reader makes of it.

    Attributes:
        images: How many images it names.
        objects: How many objects it names.
        kept_images: How many images training sees.
        kept_objects: How many objects training sees in them, those to ignore included.
        findings: What was found.
        learned: How many objects training learns, so without those to ignore.
        scored: How many objects scoring counts, if it reads the same file.
    """

    images: int
    objects: int
    kept_images: int
    kept_objects: int
    findings: list[Finding] = field(default_factory=list)
    learned: int = 0
    scored: int = 0

    def take(self, indices: int | Sequence[int] | None) -> None:
        """Take a part of the images, as the ``indices`` of a data set say, and report if none is left.

        Args:
            indices (int | Sequence[int], optional): So many from the start, from the end if negative, or these.
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
            difficulties (Sequence[int]): The difficulty of each object.
            diff_thr (int): mmrotate ignores objects that are more difficult.
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
    """Check that the data sets of a dataloader together have something to learn, or to score.

    Args:
        reports (Sequence[Report]): What was found in each of them.
        trained (bool): Whether they are trained on.
        scored (bool): Whether their annotations are what predictions are compared with.

    Returns:
        Finding | None: What is wrong; None if nothing is.
    """
    number = sum(report.objects for report in reports)
    dropped = reports[0]._dropped() if reports else ''
    if trained and not any(report.learned for report in reports):
        return Finding(NOTHING_LEARNED, detail=f'0 of {number} objects are left to learn{dropped}')
    if scored and not any(report.scored for report in reports):
        return Finding(NOTHING_SCORED, detail=f'0 of {number} objects count')
    return None


def by_kind(findings: Iterable[Finding]) -> dict[Kind, list[Finding]]:
    """Sort findings into their kinds, the gravest first.

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
    """Give what a file holds in a form that fits on a line, whatever it is.

    Args:
        value (Any): A name, an id, or what stands in its place.

    Returns:
        str: Printable text.
    """
    return value if isinstance(value, str) and value.isprintable() else reprlib.repr(value)
