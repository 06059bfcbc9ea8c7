"""Test a checkpoint of a model of mmdet, mmrotate or mmpretrain and print its metrics."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from mmfasternet.engine import test
from mmfasternet.engine.acceleration import add_flags
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Parse the command line, which has mmdet's flags with the same meaning."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/test.py configs/mask_rcnn_fasternet_s_coco.py '
        'work_dirs/mask_rcnn_fasternet_s_coco/epoch_12.pth --show-dir pictures',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--work-dir', help='folder for logs and pictures (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to a pickle file')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help="save pictures of the predictions to this folder in the run's folder")
    parser.add_argument('--wait-time', type=float, default=2, help='seconds to show each window (default: %(default)s)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as test_dataloader.batch_size=4; lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='launcher of the processes (default: none)',
    )
    add_flags(parser)
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: merge the predictions of each image and its mirror image',
    )
    parser.add_argument(
        '--all-ious',
        action='store_true',
        help='DOTA: report AP at IoU 0.50, 0.55 ... 0.95 and their mean as mAP, not only AP50',
    )
    parser.add_argument(
        '--submission',
        metavar='FILE.zip',
        help="DOTA: predict the tiles of the test split, merge the predictions, and write the server's file for task 1",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing submission')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(lambda: test(parse_arguments()) and None)
