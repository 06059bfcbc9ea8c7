"""Cut the large images of DOTA into overlapping tiles for training and testing detectors."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmfasternet.errors import run_tool

SHOWN = 20


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/split_dota.py data/DOTA data/split_ss_dota. If it is interrupted, run the same '
        'command again to resume',
    )
    parser.add_argument(
        'raw', type=Path, help='folder with {train,val,test}/{images,labelTxt,labelTxt-v1.5}, the layout of DOTA'
    )
    parser.add_argument('out', type=Path, help='output folder, which gets {split}/{images,annfiles,labelTxt}')
    parser.add_argument(
        '--version', choices=('1.0', '1.5'), default='1.0', help='version of the labels (default: %(default)s)'
    )
    parser.add_argument(
        '--multi-scale', action='store_true', help='cut windows at rates 0.5, 1.0 and 1.5 (default: only 1.0)'
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        metavar='SPLIT',
        choices=('train', 'val', 'trainval', 'test'),
        help='train, val, trainval (both together) or test (without labels) (default: those of trainval, val and test '
        'whose raw folders exist)',
    )
    parser.add_argument(
        '--size', type=int, default=1024, help='size of a window at rate 1.0, in pixels (default: %(default)s)'
    )
    parser.add_argument(
        '--overlap',
        type=int,
        help='overlap of windows at rate 1.0, in pixels (default: 200, or 500 with --multi-scale)',
    )
    parser.add_argument('--workers', type=int, help='number of processes (default: one per core)')
    parser.add_argument('--strict', action='store_true', help='cut nothing if any label or image has a fault')
    parser.add_argument('--overwrite', action='store_true', help='replace existing splits')
    return parser.parse_args()


def main() -> int:
    """Cut the splits and print the counts and faults."""
    arguments = parse_arguments()
    try:
        # imported here, so that a missing library is reported in one line
        from mmfasternet.datasets.dota.split import split_dota

        results = split_dota(**vars(arguments))
    except KeyboardInterrupt:
        how = ' without --overwrite' if arguments.overwrite else ''
        print(f'interrupted; run the same command{how} again to resume', file=sys.stderr)
        return 130
    for name, result in results.items():
        if not result['made']:
            print(f'{arguments.out / name} already exists with these settings')
    print_counts(results)
    for name, result in results.items():
        print_faults(result['faults'], arguments.out / name / 'split.json')
    return 0


def print_counts(results: dict[str, dict[str, Any]]) -> None:
    """Print what was read and written, one column per split."""
    from mmfasternet.datasets.dota.split import COUNTS

    width = max(map(len, COUNTS.values()))
    print(' ' * width + ''.join(f'{name:>12}' for name in results))
    for count, title in COUNTS.items():
        print(f'{title:{width}}' + ''.join(f'{result["counts"][count]:12,}' for result in results.values()))


def print_faults(faults: list[dict[str, Any]], path: Path) -> None:
    """Print the first faults of a split, and the file that lists all."""
    from mmfasternet.datasets.dota.labels import Fault

    for fault in faults[:SHOWN]:
        print(Fault(**fault))
    if len(faults) > SHOWN:
        print(f'and {len(faults) - SHOWN} more, all in {path}')


if __name__ == '__main__':
    run_tool(main)
