"""Measure how fast FasterNet is on this machine: backbones, whole detectors, training, and how the cost grows.

Everything is timed once a round, in a new order each round, so that a slow phase of the machine slows all of it; ratios
are taken round by round. Do not use the machine for anything else meanwhile. The results are written after every round,
and Ctrl-C prints those of the finished rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import run
from mmfasternet.errors import run_tool
from mmfasternet.models import ARCHITECTURES


def parse_size(text: str) -> tuple[int, int]:
    """Read ``224`` or ``800x1216``: height and width in pixels."""
    numbers = [int(part) for part in text.lower().split('x')]
    if len(numbers) > 2 or min(numbers) < 32:
        raise ValueError(text)
    return numbers[0], numbers[-1]


def parse_count(text: str) -> int:
    """Read a positive integer."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


# the names that argparse prints: "invalid size value"
parse_size.__name__, parse_count.__name__ = 'size', 'count'


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example: python tools/benchmark.py backbones --archs t0 s --threads 2',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='WHAT')
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        '--rounds', type=parse_count, help='how often each mode is timed; more rounds narrow the spread'
    )
    common.add_argument('--device', default='cpu', help='where to run, such as cuda:0 (%(default)s)')
    common.add_argument('--threads', type=parse_count, help="number of torch's threads (torch's own default)")
    common.add_argument('--out', type=Path, default='work_dirs/benchmark', help='folder for the results (%(default)s)')

    def add(name: str, text: str, defaults: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[common],
            help=text,
            description=f'Measure {text}. {defaults}',
            epilog=f'Writes {name}.md, a table, and {name}.json, with every single time and the machine.',
        )

    command = add(
        'backbones',
        "our network in each mode against timm's and the paper's baselines",
        'Modes: eager, optimize, and exported to ONNX Runtime and OpenVINO where they are installed. Shares refer to '
        "the machine's best convolution, measured in the same rounds. Draws backbones.png.",
    )
    command.add_argument('--archs', nargs='+', choices=ARCHITECTURES, default=['t0', 's', 'l'], help='(t0 s l)')
    command.add_argument(
        '--size',
        type=parse_size,
        metavar='HxW',
        help='of the images in pixels (as published: MobileViT 256, others 224)',
    )
    command.add_argument('--batch', type=parse_count, default=1, help='images in a call (%(default)s)')

    command = add(
        'detectors',
        'Mask R-CNN and oriented R-CNN, stock and with our network in each mode',
        'Without a checkpoint the weights are random, scaled so that hundreds of boxes pass the score threshold.',
    )
    command.add_argument('--detectors', nargs='+', choices=('mask_rcnn', 'oriented_rcnn'), help='(both)')
    command.add_argument('--arch', choices=ARCHITECTURES, default='s', help='(%(default)s)')
    command.add_argument('--size', type=parse_size, metavar='HxW', help='of the image (800x1216 and 1024x1024)')
    command.add_argument('--checkpoint', help='trained weights of the one detector that --detectors names, path or URL')

    command = add(
        'training',
        "a training step of the backbone in float32, bfloat16, compiled and checkpointed, against timm's",
        'A step is a forward pass, a loss over all features, and a backward pass.',
    )
    command.add_argument('--arch', choices=ARCHITECTURES, default='s', help='(%(default)s)')
    command.add_argument('--size', type=parse_size, metavar='HxW', default=(256, 256), help='of the images (256x256)')
    command.add_argument('--batch', type=parse_count, default=2, help='images in a step (%(default)s)')

    command = add('growth', 'how time and memory grow with the area and the number of the images', 'Draws growth.png.')
    command.add_argument('--arch', choices=ARCHITECTURES, default='s', help='(%(default)s)')
    return parser.parse_args(arguments)


def main() -> None:
    """Measure what the command line asks for."""
    run(**{key: value for key, value in vars(parse_arguments()).items() if value is not None})


if __name__ == '__main__':
    run_tool(main)
