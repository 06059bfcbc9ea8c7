"""Export a trained backbone, backbone with neck, or classifier to ONNX, OpenVINO or torch.export."""

from __future__ import annotations

import argparse

from mmfasternet.deploy import FORMATS
from mmfasternet.engine.export import export
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} The exported network accepts any batch size and image size. The file is written only '
        "if its outputs on random images equal PyTorch's.",
        epilog='example: python tools/export.py configs/fasternet_s_imagenet.py fasternet_s.pth --format onnx',
    )
    parser.add_argument('config', help='config file of a detector of mmdet or mmrotate, or a classifier of mmpretrain')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        '--format', required=True, choices=FORMATS, help="format; requires pip install 'mmfasternet[deploy]'"
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help=f'file to write, with the suffix {", ".join(FORMATS.values())} (default: work_dirs/NAME/NAME.SUFFIX)',
    )
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help='export the backbone alone (default: a detector with its neck, a classifier with its head)',
    )
    return parser.parse_args()


def main() -> None:
    """Export the network and report what was written."""
    arguments = parse_arguments()
    done = export(arguments)
    print(f'{done.path}: {done.size / 1e6:.1f} MB, {done.metadata["network"]}')
    print(f'  inputs: {done.metadata["inputs"]}')
    print(f'  outputs: {done.metadata["outputs"]}')
    print(f'  largest relative difference to PyTorch: {done.difference:.1e}')


if __name__ == '__main__':
    run_tool(main)
