"""MMEngine's loaders of checkpoints, replaced by :func:`~mmfasternet.checkpoints.read_checkpoint`.

MMEngine runs the code in a checkpoint that PyTorch refuses. Importing this module changes nothing: call
:func:`install`, or import ``mmfasternet.safe_loading``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.fileio import get_file_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import first_few
from .download import fetch
from .loading import error_in_one_line, names_not_read, read_checkpoint


def install() -> None:
    """Make MMEngine read every checkpoint of this process through :func:`read_checkpoint`."""
    for prefixes, loader in _LOADERS.items():
        CheckpointLoader.register_scheme(prefixes, loader, force=True)


@contextmanager
def safe_loaders() -> Iterator[None]:
    """Make MMEngine read checkpoints through :func:`read_checkpoint` within this context alone."""
    schemes = CheckpointLoader._schemes
    CheckpointLoader._schemes = OrderedDict(schemes)
    try:
        install()
        yield
    finally:
        CheckpointLoader._schemes = schemes


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local file, and log what of it was not read."""
    content = read_checkpoint(filename, map_location)
    names = names_not_read(content)
    if names:
        print_log(f'{filename}: not read, as only their own code could do so: {first_few(names)}', logger='current')
    return content


def load_from_http(filename: str, map_location: Any = None, model_dir: str | None = None, progress: bool = True) -> Any:
    """Download a file to torch's cache, unless it exists there, and read it."""
    return load_from_local(str(fetch(filename, model_dir, progress)), map_location)


def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Read what ``torchvision://name`` stands for."""
    return load_from_http(_look_up(filename, mmengine_checkpoint.get_torchvision_models()), map_location)


def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Read what ``open-mmlab://name`` stands for."""
    models, renamed = mmengine_checkpoint.get_external_models(), mmengine_checkpoint.get_deprecated_model_names()
    models |= {old: models[new] for old, new in renamed.items() if new in models}
    place = _look_up(filename, models)
    if place.startswith(('http://', 'https://')):
        return load_from_http(place, map_location)
    return load_from_local(str(Path(mmengine_checkpoint._get_mmengine_home(), place)), map_location)


def load_from_mmcls(filename: str, map_location: Any = None) -> Any:
    """Read the backbone of what ``mmcls://name`` stands for."""
    checkpoint = load_from_http(_look_up(filename, mmengine_checkpoint.get_mmcls_models()), map_location)
    state_dict = checkpoint.get('state_dict', checkpoint)
    prefix = 'backbone.'
    tensors = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    return dict(state_dict=OrderedDict(tensors))


def load_from_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Read a file of an object store through a copy of it."""
    with get_file_backend(filename, backend_args=dict(backend=backend)).get_local_path(filename) as path:
        return load_from_local(path, map_location)


def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """Refuse the one scheme whose files MMEngine reads only by running them."""
    raise error_in_one_line(f'{filename}: files at pavi:// are not read; download it and give its path')


def _look_up(filename: str, models: Mapping[str, str]) -> str:
    scheme, _, name = filename.partition('://')
    if name not in models:
        raise error_in_one_line(f'{filename} is unknown; {scheme}:// has {first_few(sorted(models))}')
    return models[name]


_LOADERS = {
    ('',): load_from_local,
    ('http://', 'https://'): load_from_http,
    ('modelzoo://', 'torchvision://'): load_from_torchvision,
    ('open-mmlab://', 'openmmlab://'): load_from_openmmlab,
    ('mmcls://',): load_from_mmcls,
    (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): load_from_ceph,
    ('pavi://',): load_from_pavi,
}
