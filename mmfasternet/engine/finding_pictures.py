"""Draw the findings of a data check on one sheet of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..datasets.findings import Finding, by_kind
from ..files import whole_file

COLUMNS, MOST = 4, 12
#: Width and height of a picture, and the height of its two lines of text, in pixels.
WIDTH, HEIGHT, TEXT = 400, 300, 44
#: What is left free at the edges, in pixels.
MARGIN = 6
#: What is drawn first, the box, and what comes after it, the mask.
COLOURS = ('red', 'yellow')


def save_sheet(path: Path, findings: Mapping[Path, Sequence[Finding]]) -> bool:
    """Draw some findings of each kind that is visible, except notes.

    Args:
        path (Path): The file to write.
        findings (Mapping[Path, Sequence[Finding]]): The findings of each folder of images.

    Returns:
        bool: Whether there was anything to draw.
    """
    pictures = list(islice(_pictures(findings), MOST))
    if not pictures:
        return False
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new('RGB', (columns * WIDTH, rows * (HEIGHT + TEXT)), 'white')
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * WIDTH, row * (HEIGHT + TEXT)))
    with whole_file(path) as draft:
        sheet.save(draft, quality=90)
    return True


def _pictures(findings: Mapping[Path, Sequence[Finding]]) -> Iterator[Image.Image]:
    """The first of each kind, then the second of each, and so on."""
    groups = []
    for folder, found in findings.items():
        for kind, items in by_kind(found).items():
            if kind.severity != 'note':
                groups.append([(folder, item) for item in items if item.picture])
    for entry in chain.from_iterable(zip_longest(*groups)):
        if entry:
            folder, finding = entry
            try:
                image = ImageOps.exif_transpose(Image.open(folder / finding.picture)).convert('RGB')
            except Exception:  # whatever Pillow raises; that it cannot be read is a finding of its own
                continue
            yield _draw(image, finding)


def _draw(image: Image.Image, finding: Finding) -> Image.Image:
    # all of the image and, as far as it is not too far away, of what is drawn
    spans = []
    for start, side in enumerate(image.size):
        ends = [0, side, *chain.from_iterable(outline[start::2] for outline in finding.outlines)]
        spans.append((max(min(ends), -side), min(max(ends), 2 * side)))
    (left, right), (top, bottom) = spans
    scale = min((WIDTH - 2 * MARGIN) / (right - left), (HEIGHT - 2 * MARGIN) / (bottom - top))
    x0, y0 = MARGIN - left * scale, TEXT + MARGIN - top * scale
    picture = Image.new('RGB', (WIDTH, HEIGHT + TEXT), 'grey')
    picture.paste(image.resize([max(1, round(side * scale)) for side in image.size]), (round(x0), round(y0)))
    draw = ImageDraw.Draw(picture)
    for number, outline in enumerate(finding.outlines):
        corners = [(x0 + x * scale, y0 + y * scale) for x, y in zip(outline[::2], outline[1::2])]
        draw.line([*corners, corners[0]], COLOURS[min(number, 1)], width=2)
    draw.rectangle((0, 0, WIDTH, TEXT), 'white')
    font = ImageFont.load_default(14)
    for number, text in enumerate((finding.kind.title, finding.place)):
        draw.text((MARGIN, 3 + number * TEXT // 2), text, 'black', font)
    return picture
