"""Convert a checkpoint with a FasterNet in it to the names of this package, of timm, or of the authors' files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfasternet.checkpoints import fetch
from mmfasternet.checkpoints.converting import TARGETS, convert
from mmfasternet.errors import run_tool


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Whose file it is, is recognised: the authors', timm's, Lightning's, mmpretrain's or "
        "mmdet's; plain, nested, averaged (EMA), or of a model that was distributed or compiled.",
        epilog='example: python tools/convert_checkpoint.py epoch_300.pth fasternet_s.safetensors --to timm',
    )
    parser.add_argument('source', metavar='IN', help='.pth, .bin, .ckpt or .safetensors; a path or a URL')
    parser.add_argument('out', type=Path, metavar='OUT', help='file to write; .safetensors if it ends so')
    parser.add_argument(
        '--to',
        required=True,
        choices=TARGETS,
        help='mmfasternet: a whole model for load_from and tools/test.py; timm: for timm.create_model; '
        'released: as the authors name it',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it is there already')
    return parser.parse_args()


def main() -> None:
    """Convert, and say what became of the file."""
    arguments = parse_arguments()
    is_remote = arguments.source.startswith(('http://', 'https://'))
    path = fetch(arguments.source) if is_remote else Path(arguments.source)
    done = convert(path, arguments.out, arguments.to, arguments.overwrite)
    left_out = ', '.join(f'{number} of {module}' for module, number in done.left_out.items())
    print(f'{arguments.source} is a {done.source}')
    print(f'{arguments.out}: {done.written} tensors as {arguments.to} names them; left out: {left_out or "none"}')


if __name__ == '__main__':
    run_tool(main)
