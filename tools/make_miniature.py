"""Make a small drawn data set in the layout of a well-known large one."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mmfasternet.datasets.miniature import make_coco
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/make_miniature.py coco data/mini_coco',
    )
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    coco = kinds.add_parser(
        'coco',
        help='mini COCO: 200 training and 50 validation images of 8 classes, with boxes and masks',
        description='Make mini COCO: 200 training and 50 validation images of 8 of the classes of COCO 2017, '
        'with boxes and masks, in its layout.',
        epilog='example: python tools/make_miniature.py coco data/other_coco --seed 1',
    )
    coco.add_argument('out', nargs='?', type=Path, default=Path('data/mini_coco'), help='folder to make (%(default)s)')
    coco.add_argument('--seed', type=int, default=0, help='the same seed gives the same bytes (%(default)s)')
    coco.add_argument('--overwrite', action='store_true', help='replace a mini COCO that is already there')
    return parser.parse_args()


def main() -> None:
    """Make what the command line asks for."""
    arguments = parse_arguments()
    start = time.perf_counter()
    made = make_coco(arguments.out, arguments.seed, arguments.overwrite)
    state = f'made in {time.perf_counter() - start:.0f} s' if made['made'] else 'already there'
    print(f'mini COCO with seed {arguments.seed}, {state}: {arguments.out}')
    for split, images in made['images'].items():
        print(f'  {split}: {images} images, {made["objects"][split]} objects')


if __name__ == '__main__':
    run_tool(main)
