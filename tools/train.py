"""Train the model of a config of mmdet, mmrotate or mmpretrain."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from mmfasternet.engine import train
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Parse the command line, which has mmdet's flags with the same meaning."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/train.py configs/mask_rcnn_fasternet_s_coco.py --amp',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the total batch size divided by the batch size that the config is made for',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint (default: the newest in the work dir)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.batch_size=4 model.backbone.init_cfg=None; '
        'lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='launcher of the processes (default: none)',
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(lambda: train(parse_arguments()))
