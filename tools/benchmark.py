"""Measure how fast FasterNet is on this machine: backbones, whole detectors, training, and how cost grows.

Every contender is timed once a round, in a new order each round, so that what slows the machine down for a while slows
all of them; ratios are taken round by round. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    """Read a number of at least one."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


# how argparse calls them: "invalid size value"
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
        '--rounds', type=parse_count, help='how often each contender is timed; more for a narrower spread'
    )
    common.add_argument('--device', default='cpu', help='where to run, such as cuda:0 (%(default)s)')
    common.add_argument('--threads', type=parse_count, help='threads of torch (as many as torch takes)')
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
        "our network in each mode against timm's and the networks of the paper's comparison",
        'Modes: eager, optimize, and exported to ONNX Runtime and OpenVINO where these are installed. Shares are of '
        "the machine's best convolution, measured in the same rounds. Draws backbones.png.",
    )
    command.add_argument('--archs', nargs='+', choices=ARCHITECTURES, default=['t0', 's', 'l'], help='(t0 s l)')
    command.add_argument(
        '--size',
        type=parse_size,
        metavar='HxW',
        help="of the images in pixels (that of each network's published accuracy: MobileViT 256, others 224)",
    )
    command.add_argument('--batch', type=parse_count, default=1, help='images in a call (%(default)s)')

    command = add(
        'detectors',
        'Mask R-CNN and oriented R-CNN, stock and with our network in each mode',
        'Without a checkpoint the weights are random, with scores spread such that hundreds of boxes pass.',
    )
    command.add_argument('--detectors', nargs='+', choices=('mask_rcnn', 'oriented_rcnn'), help='(both)')
    command.add_argument('--arch', choices=ARCHITECTURES, default='s', help='(%(default)s)')
    command.add_argument('--size', type=parse_size, metavar='HxW', help='of the image (800x1216 and 1024x1024)')
    command.add_argument('--checkpoint', help='trained weights, path or URL; name the one detector that they are of')

    command = add(
        'training',
        "a training step of the backbone in float32, bfloat16, compiled and checkpointed, against timm's",
        'A step is a forward pass, a loss over all features, and a backward pass.',
    )
    command.add_argument('--arch', choices=ARCHITECTURES, default='s', help='(%(default)s)')
    command.add_argument('--size', type=parse_size, metavar='HxW', default=(256, 256), help='of the images (256x256)')
    command.add_argument('--batch', type=parse_count, default=2, help='images in a step (%(default)s)')

    command = add('growth', 'how time and memory grow with the area and number of the images', 'Draws growth.png.')
    command.add_argument('--arch', choices=ARCHITECTURES, default='s', help='(%(default)s)')
    return parser.parse_args(arguments)


def main() -> None:
    """Measure what the command line asks for, and show it."""
    options: dict[str, Any] = {key: value for key, value in vars(parse_arguments()).items() if value is not None}
    report = run(options.pop('command'), **options)
    report.show()
    print(f'written: {options["out"]}/{report.command}.json, {report.command}.md')


if __name__ == '__main__':
    run_tool(main)
