"""Export a trained model to a file for other runtimes."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..deploy import FORMATS, PARTS, Exported, check_format
from ..deploy import export as write
from ..files import check_writable, write_faults
from .config import read_config
from .predict import load_model


def export(args: Namespace) -> Exported:
    """Export a trained model as the command line says.

    Args:
        args (Namespace): The options of ``tools/export.py``.

    Returns:
        Exported: What was written.

    Raises:
        MMFasterNetError: If config, checkpoint or path cannot work, or a package is missing.
    """
    name = Path(args.config).stem
    path = Path(args.out or Path('work_dirs', name, f'{name}{FORMATS[args.format]}')).expanduser()
    check_format(path, args.format)
    cfg = read_config(args.config)
    check_writable(path, '--out')
    model, meta = load_model(cfg, args.checkpoint)
    metadata = {'config': name, **_describe_images(cfg)}
    if meta.get('classes'):
        metadata['classes'] = json.dumps(list(meta['classes']))
    parts = PARTS[:1] if args.backbone_only else PARTS
    with write_faults(path, '--out'):
        return write(model.eval(), path, args.format, parts, metadata)


def _describe_images(cfg: Config) -> dict[str, str]:
    """Describe how images are normalized before the network."""
    settings: dict[str, Any] = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    is_rgb = settings.get('bgr_to_rgb') or settings.get('to_rgb')
    known = dict(channels='RGB' if is_rgb else 'BGR', mean=settings.get('mean'), std=settings.get('std'))
    return {key: str(value) for key, value in known.items() if value is not None}
