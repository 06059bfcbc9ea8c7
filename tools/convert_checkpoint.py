"""Convert a checkpoint of a FasterNet to the key names of this package, of timm, or of the authors' files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfasternet.checkpoints import fetch
from mmfasternet.checkpoints.converting import TARGETS, convert
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} It recognises files of the authors, timm, Lightning, mmpretrain and mmdet: plain, '
        'nested, averaged (EMA), or of a distributed or compiled model.',
        epilog='example: python tools/convert_checkpoint.py epoch_300.pth fasternet_s.safetensors --to timm',
    )
    parser.add_argument('source', metavar='IN', help='path or URL of a .pth, .bin, .ckpt or .safetensors file')
    parser.add_argument(
        'out', type=Path, metavar='OUT', help='file to write; the suffix .safetensors selects that format'
    )
    parser.add_argument(
        '--to',
        required=True,
        choices=TARGETS,
        help='mmfasternet: a complete model for load_from and tools/test.py; timm: for timm.create_model; '
        "released: the authors' names",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    return parser.parse_args()


def main() -> None:
    """Convert the checkpoint and report what was written."""
    arguments = parse_arguments()
    is_remote = arguments.source.startswith(('http://', 'https://'))
    path = fetch(arguments.source) if is_remote else Path(arguments.source)
    done = convert(path, arguments.out, arguments.to, arguments.overwrite)
    left_out = ', '.join(f'{number} of {module}' for module, number in done.left_out.items())
    print(f'{arguments.source} is a {done.source}')
    print(f'{arguments.out}: {done.written} tensors as {arguments.to} names them; left out: {left_out or "none"}')


if __name__ == '__main__':
    run_tool(main)
