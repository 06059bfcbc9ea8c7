"""Cut DOTA's large images into the overlapping tiles that detectors are trained and tested on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmfasternet.errors import run_tool

SHOWN = 20


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/split_dota.py data/DOTA data/split_ss_dota; when it is interrupted, run the same '
        'command to go on',
    )
    parser.add_argument(
        'raw', type=Path, help='folder with {train,val,test}/{images,labelTxt,labelTxt-v1.5}, as DOTA is downloaded'
    )
    parser.add_argument('out', type=Path, help='folder to write {split}/{images,annfiles,labelTxt} to')
    parser.add_argument('--version', choices=('1.0', '1.5'), default='1.0', help='of the labels (%(default)s)')
    parser.add_argument('--multi-scale', action='store_true', help='windows at rates 0.5, 1.0 and 1.5, not only 1.0')
    parser.add_argument(
        '--splits',
        nargs='+',
        metavar='SPLIT',
        choices=('train', 'val', 'trainval', 'test'),
        help='train, val, trainval (both pooled) or test (no labels); by default trainval, val and test, as far as the '
        'raw folders are there',
    )
    parser.add_argument('--size', type=int, default=1024, help='of a window at rate 1.0, in pixels (%(default)s)')
    parser.add_argument('--overlap', type=int, help='of windows at rate 1.0, in pixels (200, with --multi-scale 500)')
    parser.add_argument('--workers', type=int, help='processes (one a core)')
    parser.add_argument('--strict', action='store_true', help='cut nothing if any label or image is faulty')
    parser.add_argument('--overwrite', action='store_true', help='replace splits that are already there')
    return parser.parse_args()


def main() -> int:
    """Cut what the command line names."""
    arguments = parse_arguments()
    try:
        # here, so that a missing library is told in a line
        from mmfasternet.datasets.dota.split import split_dota

        results = split_dota(**vars(arguments))
    except KeyboardInterrupt:
        how = ' without --overwrite' if arguments.overwrite else ''
        print(f'stopped; run the same command{how} to go on', file=sys.stderr)
        return 130
    for name, result in results.items():
        if not result['made']:
            print(f'{arguments.out / name} is already there, with these settings')
    print_counts(results)
    for name, result in results.items():
        print_faults(result['faults'], arguments.out / name / 'split.json')
    return 0


def print_counts(results: dict[str, dict[str, Any]]) -> None:
    """Print what was read and written, a column for each split."""
    from mmfasternet.datasets.dota.split import COUNTS

    width = max(map(len, COUNTS.values()))
    print(' ' * width + ''.join(f'{name:>12}' for name in results))
    for count, title in COUNTS.items():
        print(f'{title:{width}}' + ''.join(f'{result["counts"][count]:12,}' for result in results.values()))


def print_faults(faults: list[dict[str, Any]], path: Path) -> None:
    """Print the first faults of a split and say where the others are."""
    from mmfasternet.datasets.dota.labels import Fault

    for fault in faults[:SHOWN]:
        print(Fault(**fault))
    if len(faults) > SHOWN:
        print(f'and {len(faults) - SHOWN} more, all in {path}')


if __name__ == '__main__':
    run_tool(main)
