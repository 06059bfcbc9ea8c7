"""Export a trained backbone, backbone with neck, or classifier to ONNX, OpenVINO or torch.export."""

from __future__ import annotations

import argparse

from mmfasternet.deploy import FORMATS
from mmfasternet.engine.export import export
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} The file takes images of any number and size, and is written only when what it '
        'computes on random images is what PyTorch computes.',
        epilog='example: python tools/export.py configs/fasternet_s_imagenet.py fasternet_s.pth --format onnx',
    )
    parser.add_argument('config', help='config file of a detector of mmdet or mmrotate, or a classifier of mmpretrain')
    parser.add_argument('checkpoint', help='checkpoint file, path or URL')
    parser.add_argument('--format', required=True, choices=FORMATS, help="format; pip install 'mmfasternet[deploy]'")
    parser.add_argument(
        '--out',
        metavar='FILE',
        help=f'file to write, which ends in {", ".join(FORMATS.values())} (the name of the config, in its work dir)',
    )
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help="the backbone's features (a detector: the features of its neck; a classifier: its logits)",
    )
    return parser.parse_args()


def main() -> None:
    """Export, and say what was written."""
    arguments = parse_arguments()
    done = export(arguments)
    print(f'{done.path}: {done.size / 1e6:.1f} MB, {done.metadata["network"]}')
    print(f'  inputs: {done.metadata["inputs"]}')
    print(f'  outputs: {done.metadata["outputs"]}')
    print(f'  largest relative difference to PyTorch: {done.difference:.1e}')


if __name__ == '__main__':
    run_tool(main)
