"""Test a checkpoint of a model of mmdet, mmrotate or mmpretrain and print its metrics."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from mmfasternet.engine import test
from mmfasternet.engine.acceleration import add_flags
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Read the command line: mmdet's flags, with mmdet's meaning."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/test.py configs/mask_rcnn_fasternet_s_coco.py '
        'work_dirs/mask_rcnn_fasternet_s_coco/epoch_12.pth --show-dir pictures',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, path or URL')
    parser.add_argument('--work-dir', help='where logs and pictures go (work_dirs/ and the name of the config)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to a pickle')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help="write pictures of the predictions to this folder in the run's folder")
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that a window stays (%(default)s)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings to change, such as test_dataloader.batch_size=4; lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='who starts the processes (none)',
    )
    add_flags(parser)
    parser.add_argument('--tta', action='store_true', help='test each image and its mirror image and merge the two')
    parser.add_argument(
        '--all-ious',
        action='store_true',
        help='DOTA: AP at IoU 0.50, 0.55 ... 0.95 and their mean as mAP, not AP50 alone',
    )
    parser.add_argument(
        '--submission',
        metavar='FILE.zip',
        help="DOTA: predict the tiles of the test split, merge them, and write the server's file for task 1",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a submission that is there already')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(lambda: test(parse_arguments()) and None)
