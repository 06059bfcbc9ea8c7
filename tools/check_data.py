"""Check the data of a config before training: report what stops training, and what it drops or changes silently.

Errors stop training or make it learn from wrong labels. Warnings are dropped or changed silently, or are likely
mistakes. Notes are left out on purpose. The exit code is 1 if there are errors, else 0.
"""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from mmfasternet.engine.check_data import check_data
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/check_data.py configs/mask_rcnn_fasternet_s_coco.py --splits train',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=('train', 'val', 'test'),
        default=['train', 'val', 'test'],
        help='splits to check (default: all)',
    )
    parser.add_argument(
        '--decode', action='store_true', help='decode every image completely (default: read its header); slow'
    )
    parser.add_argument(
        '--out', default='work_dirs/check_data', help='folder for the report and pictures (default: %(default)s)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.dataset.data_root=data/other/',
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(lambda: check_data(parse_arguments()))
