"""Draw a small data set in the layout of a well-known large one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from miniature import make_coco, make_dota, make_imagenet
from miniature.marks import NAMES
from mmfasternet.errors import run_tool


class Miniature(NamedTuple):
    """A miniature: the function that draws it, its default folder, and its description in the help."""

    make: Callable[[Path, int, bool], dict[str, Any]]
    folder: str
    images: str
    details: str


MINIATURES = {
    'coco': Miniature(
        make_coco,
        'data/mini_coco',
        '200 training and 50 validation images of 8 classes, with boxes and masks',
        '200 training and 50 validation images of 8 of the classes of COCO 2017, with boxes and masks, in its layout',
    ),
    'dota': Miniature(
        make_dota,
        'data/mini_dota_raw',
        '24 training, 8 validation and 2 test images, aerial, with oriented boxes',
        '24 training, 8 validation and 2 test images with the classes of DOTA 1.0 and 1.5, seen from above, with '
        'oriented boxes, in its raw layout',
    ),
    'imagenet': Miniature(
        make_imagenet,
        'data/mini_imagenet',
        '1200 training and 200 validation images of 10 classes, 7500 corrupted ones and 100 renditions',
        '1200 training and 200 validation images of 10 of the classes of ImageNet-1k in its layout, 7500 corrupted '
        'ones in that of ImageNet-C, and 100 sketches, cartoons and the like in that of ImageNet-R',
    ),
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/make_miniature.py coco data/mini_coco',
    )
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    for name, kind in MINIATURES.items():
        title = NAMES[name]
        command = kinds.add_parser(
            name,
            help=f'{title}: {kind.images}',
            description=f'Draw {title}: {kind.details}.',
            epilog=f'example: python tools/make_miniature.py {name} data/other_{name} --seed 1',
        )
        command.add_argument('out', nargs='?', type=Path, default=kind.folder, help='folder to create (%(default)s)')
        command.add_argument('--seed', type=int, default=0, help='the same seed gives the same bytes (%(default)s)')
        command.add_argument('--overwrite', action='store_true', help=f'replace another {title}')
    return parser.parse_args()


def main() -> None:
    """Draw what the command line asks for."""
    arguments = parse_arguments()
    start = time.perf_counter()
    made = MINIATURES[arguments.kind].make(arguments.out, arguments.seed, arguments.overwrite)
    state = f'drawn in {time.perf_counter() - start:.0f} s' if made['made'] else 'already exists'
    print(f'{NAMES[arguments.kind]} with seed {arguments.seed} {state}: {arguments.out}')
    what, numbers = ('labelled objects', made['objects']) if 'objects' in made else ('classes', made['classes'])
    for split, images in made['images'].items():
        print(f'  {split}: {images} images, {numbers[split]} {what}')


if __name__ == '__main__':
    run_tool(main)
