"""Predict the objects or classes of images with a trained model; write a picture and a JSON file for each image."""

from __future__ import annotations

import argparse

from mmfasternet.engine.acceleration import add_flags
from mmfasternet.engine.predict import predict
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python tools/predict.py configs/oriented_rcnn_fasternet_s_dota.py '
        'work_dirs/oriented_rcnn_fasternet_s_dota/epoch_30.pth data/DOTA/test/images --out predictions',
    )
    parser.add_argument(
        'config', help='config file of a detector of mmdet or mmrotate, or of a classifier of mmpretrain'
    )
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        'images', nargs='+', metavar='image', help='image file of any format that Pillow reads, or folder of images'
    )
    parser.add_argument(
        '--out',
        default='predictions',
        help='folder for NAME.jpg and NAME.json, where NAME is the name of the image without its suffix (default: '
        '%(default)s). Images of one folder with the same NAME keep their suffix; images of several folders with the '
        'same NAME go to subfolders',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='minimum score of an object (default: %(default)s); classifiers ignore it',
    )
    parser.add_argument('--device', help='device, such as cuda:1 or cpu (default: the first GPU if there is one)')
    parser.add_argument(
        '--tile-size',
        type=int,
        metavar='PIXELS',
        help='predict larger images in tiles of this size and merge the predictions (default for detectors of '
        'mmrotate: the size of the training images if these exist, else of the resize; for others: whole images)',
    )
    parser.add_argument(
        '--overlap',
        type=int,
        metavar='PIXELS',
        help='overlap of neighbouring tiles; should exceed the length of an object (default: a fifth of the tile size)',
    )
    add_flags(parser)
    return parser.parse_args()


if __name__ == '__main__':
    run_tool(lambda: predict(parse_arguments()))
