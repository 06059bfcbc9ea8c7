"""Predict the objects or classes of images with a trained model, and write a picture and a JSON file for each."""

from __future__ import annotations

import argparse

from mmfasternet.engine.acceleration import add_flags
from mmfasternet.engine.predict import predict
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/predict.py configs/oriented_rcnn_fasternet_s_dota.py '
        'work_dirs/oriented_rcnn_fasternet_s_dota/epoch_30.pth data/DOTA/test/images --out found',
    )
    parser.add_argument(
        'config', help='config file of a detector of mmdet or mmrotate, or of a classifier of mmpretrain'
    )
    parser.add_argument('checkpoint', help='checkpoint file, path or URL')
    parser.add_argument(
        'images', nargs='+', metavar='image', help='images of any format that Pillow reads, or folders of images'
    )
    parser.add_argument(
        '--out',
        default='predictions',
        help='folder for NAME.jpg and NAME.json (%(default)s). NAME is that of the image without its ending; where '
        'several have the same, those of one folder keep the ending, and those of several folders go to folders',
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='least score of an object (%(default)s); not for classifiers'
    )
    parser.add_argument('--device', help='where to run, such as cuda:1 or cpu (the first GPU if there is one)')
    parser.add_argument(
        '--tile-size',
        type=int,
        metavar='PIXELS',
        help='look at larger images in tiles of this side, and merge the predictions (detectors of mmrotate: the size '
        'of the training images if these are on this machine, else of the resize; others: whole images)',
    )
    parser.add_argument(
        '--overlap',
        type=int,
        metavar='PIXELS',
        help='how much neighbouring tiles share; best more than an object is long (a fifth of the tile)',
    )
    add_flags(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(lambda: predict(parse_arguments()))
