"""Cut DOTA's images, which are up to 20,000 pixels wide, into overlapping square tiles for training and testing.

The work runs in several processes and can be resumed: each image gets a record when its last tile is written.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import DataError, DependencyError, MMFasterNetError
from .labels import CLASSES, LABEL_FOLDERS, DotaObject, Fault, read_labels
from .tiles import IMAGE_ENDINGS, all_windows, assign_objects, cut_tile, read_image, tile_windows

try:
    from PIL import Image
    from tqdm import tqdm
except ImportError as error:
    raise DependencyError(
        f"cutting DOTA into tiles needs {error.name}, which is missing: pip install 'mmfasternet[dota]'"
    ) from error

#: The raw folders of each split.
SPLITS = {'train': ('train',), 'val': ('val',), 'trainval': ('train', 'val'), 'test': ('test',)}
#: The splits that are cut by default.
DEFAULT_SPLITS = ('trainval', 'val', 'test')
#: The rates: a window has the size divided by the rate.
SINGLE_SCALE, MULTI_SCALE = (1.0,), (0.5, 1.0, 1.5)
#: The overlaps of neighbouring windows in pixels, before division by the rate.
SINGLE_SCALE_OVERLAP, MULTI_SCALE_OVERLAP = 200, 500
#: The difficulty of objects with a part outside the tile.
TRUNCATED = '2'
#: The counts of each split, and their titles in the printed table.
COUNTS = {
    'images': 'images',
    'tiles': 'tiles',
    'dropped': 'windows dropped',
    'objects': 'objects read',
    'kept': 'objects kept',
    'left_out': 'objects left out',
    'truncated': 'tile labels marked 2',
    'empty': 'images without objects',
    'bad_lines': 'lines with faults',
}

_TILE_FOLDERS = ('images', 'annfiles', 'labelTxt')
#: Set in a worker after Ctrl-C.
_is_stopped = threading.Event()


class Source(NamedTuple):
    """An image to cut.

    Attributes:
        image: The image file.
        label: Path of its label file, which may be missing; None in a split without labels.
    """

    image: Path
    label: Path | None


class Split(NamedTuple):
    """A split to cut.

    Attributes:
        name: ``train``, ``val``, ``trainval`` or ``test``.
        folder: Folder for its tiles.
        sources: Its images.
        faults: Faults of the raw folders.
        settings: Settings that the tiles depend on, in types of JSON.
    """

    name: str
    folder: Path
    sources: list[Source]
    faults: list[Fault]
    settings: dict[str, Any]

    @property
    def progress(self) -> Path:
        """The folder of records of finished images; it exists until all images are finished."""
        return self.folder / '.progress'

    @property
    def result(self) -> Path:
        """The file of results; it exists once all images are finished."""
        return self.folder / 'split.json'

    def record(self, source: Source) -> Path:
        """Return the path of the record of an image."""
        return self.progress / 'records' / f'{source.image.stem}.json'


def split_dota(
    raw: str | Path,
    out: str | Path,
    version: str = '1.0',
    multi_scale: bool = False,
    splits: Sequence[str] | None = None,
    size: int = 1024,
    overlap: int | None = None,
    workers: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Cut DOTA into tiles, or resume if a previous call was interrupted.

    Args:
        raw (str | Path): Folder with ``{train,val,test}/{images,labelTxt,labelTxt-v1.5}``, the layout of
            https://captain-whu.github.io/DOTA/dataset.html.
        out (str | Path): Folder that gets ``{split}/{images,annfiles,labelTxt}``: the tiles, their labels, and copies
            of the raw label files for scoring whole images.
        version (str, optional): Version of the labels: '1.0' or '1.5'.
        multi_scale (bool, optional): Cut windows at the rates 0.5, 1.0 and 1.5 instead of only 1.0.
        splits (Sequence[str], optional): Splits among ``train``, ``val``, ``trainval`` and ``test``. By default those
            of ``trainval``, ``val`` and ``test`` whose raw folders exist.
        size (int, optional): Side of a window in pixels, at rate 1.0.
        overlap (int, optional): Overlap of neighbouring windows in pixels, at rate 1.0. By default 200, or 500 with
            ``multi_scale``.
        workers (int, optional): Number of processes. By default one per core.
        strict (bool, optional): Cut nothing if any label or image has a fault.
        overwrite (bool, optional): Replace existing splits.

    Returns:
        dict[str, dict[str, Any]]: For each split the content of its ``split.json``: ``settings``, ``counts`` (see
        :data:`COUNTS`), ``faults`` and ``left_out``, the lines of objects that are in no tile; and ``made``, whether
        this call cut it.

    Raises:
        DataError: The raw folders are not as expected, ``out`` has other files, a setting is invalid, or there are
            faults and ``strict`` is set.
    """
    raw, out = Path(raw), Path(out)
    settings = _settings(version, multi_scale, size, overlap)
    if workers is not None and workers < 1:
        raise DataError(f'{workers} workers; expected at least 1')
    try:
        plan = [_plan(raw, out, name, settings) for name in dict.fromkeys(splits or _default_splits(raw))]
        finished = [split.name for split in plan if _is_finished(split, overwrite)]
        todo = [split for split in plan if split.name not in finished]
        with _pool(workers) as pool:
            if strict:
                _refuse_faults([fault for split in todo for fault in _check(pool, raw, split)])
            for split in todo:
                _begin(split, overwrite)
            for split in todo:
                _cut_all(pool, raw, split)
        for split in plan:
            # it still exists if the previous call was interrupted at the very end
            _remove(split.progress)
        results = {split.name: json.loads(split.result.read_text(encoding='utf-8')) for split in plan}
    except OSError as error:
        raise DataError(
            f'{error.strerror or error}: {error.filename or out}; fix it and run the same command again'
        ) from error
    if strict:
        _refuse_faults([Fault(**fault) for result in results.values() for fault in result['faults']])
    return {name: {'made': name not in finished, **result} for name, result in results.items()}


def _settings(version: str, multi_scale: bool, size: int, overlap: int | None) -> dict[str, Any]:
    if version not in CLASSES:
        raise DataError(f'unknown version {version}; expected one of {", ".join(CLASSES)}')
    if overlap is None:
        overlap = MULTI_SCALE_OVERLAP if multi_scale else SINGLE_SCALE_OVERLAP
    rates = MULTI_SCALE if multi_scale else SINGLE_SCALE
    sizes, overlaps = ([int(pixels / rate) for rate in rates] for pixels in (size, overlap))
    if not all(0 <= overlap < size for size, overlap in zip(sizes, overlaps)):
        raise DataError(f'windows of {size} pixels that overlap by {overlap}; expected an overlap from 0 to size - 1')
    return {'version': version, 'sizes': sizes, 'overlaps': overlaps}


def _default_splits(raw: Path) -> list[str]:
    found = [name for name in DEFAULT_SPLITS if all((raw / part).is_dir() for part in SPLITS[name])]
    if not found:
        raise DataError(
            f'{raw} lacks the folders of {", ".join(DEFAULT_SPLITS[:-1])} or {DEFAULT_SPLITS[-1]}; expected '
            'the folders train and val, or test. Choose another folder, or name the splits to cut'
        )
    return found


def _plan(raw: Path, out: Path, name: str, settings: dict[str, Any]) -> Split:
    if name not in SPLITS:
        raise DataError(f'unknown split {name}; expected one of {", ".join(SPLITS)}')
    sources: dict[str, Source] = {}
    faults: list[Fault] = []
    for part in SPLITS[name]:
        images, labels = raw / part / 'images', raw / part / LABEL_FOLDERS[settings['version']]
        for folder in (images,) if name == 'test' else (images, labels):
            if not folder.is_dir():
                raise DataError(f'the split {name} needs the folder {folder}; unpack DOTA there or link to it')
        here = [path for path in sorted(images.glob('[!.]*')) if path.suffix.lower() in IMAGE_ENDINGS]
        for image in here:
            if image.stem in sources:
                raise DataError(f'{sources[image.stem].image} and {image} have the same name; rename or remove one')
            sources[image.stem] = Source(image, None if name == 'test' else labels / f'{image.stem}.txt')
        if name != 'test':
            orphans = {path.stem for path in labels.glob('*.txt')} - {path.stem for path in here}
            message = f'{_relative(images, raw)} has no image of this name'
            faults += [Fault(_relative(labels / f'{stem}.txt', raw), None, message) for stem in orphans]
    if not sources:
        raise DataError(f'{images} has no images; expected files with the suffixes {" ".join(IMAGE_ENDINGS)}')
    digest = _digest(raw, sources.values())
    return Split(name, out / name, list(sources.values()), faults, {**settings, 'sources': digest})


def _relative(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def _digest(raw: Path, sources: Iterable[Source]) -> str:
    """Hash the names and sizes of the images, and the contents of the labels."""
    digest = hashlib.sha256()
    for source in sources:
        label = source.label.read_bytes() if source.label and source.label.is_file() else b''
        entry = [_relative(source.image, raw), source.image.stat().st_size, hashlib.sha256(label).hexdigest()]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _is_finished(split: Split, overwrite: bool) -> bool:
    """Whether the split is cut already; raise a DataError if the folder has other files."""
    if not split.folder.is_dir() or not {path.name for path in split.folder.iterdir()} - {split.progress.name}:
        return False
    found = _read_settings(split)
    if found is None:
        raise DataError(f'{split.folder} exists but has no tiles of DOTA, so it is not changed; choose another folder')
    if overwrite:
        return False
    differing = [key for key, value in split.settings.items() if found.get(key) != value]
    if differing:
        raise DataError(
            f'{split.folder} has tiles with other {" and ".join(differing)} (expected '
            f'{", ".join(str(split.settings[key]) for key in differing)}); choose another folder, or replace it with '
            '--overwrite'
        )
    return split.result.is_file()


def _read_settings(split: Split) -> dict[str, Any] | None:
    """Read the settings of existing tiles; None if this tool did not cut them."""
    for path, read in ((split.result, lambda content: content['settings']), (_settings_file(split), dict)):
        try:
            return read(json.loads(path.read_text(encoding='utf-8')))
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None


def _settings_file(split: Split) -> Path:
    return split.progress / 'settings.json'


def _begin(split: Split, overwrite: bool) -> None:
    split.progress.mkdir(parents=True, exist_ok=True)
    if overwrite:
        # Empty settings until all old files are removed, so that the remaining ones are not mistaken for new ones.
        _write_json(split.folder, _settings_file(split), {})
        split.result.unlink(missing_ok=True)
        for folder in (split.progress / 'records', *(split.folder / name for name in _TILE_FOLDERS)):
            _remove(folder)
    _write_json(split.folder, _settings_file(split), split.settings)
    (split.progress / 'records').mkdir(exist_ok=True)
    for name in _TILE_FOLDERS[:1] if split.name == 'test' else _TILE_FOLDERS:
        (split.folder / name).mkdir(exist_ok=True)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _check(pool: ProcessPoolExecutor, raw: Path, split: Split) -> list[Fault]:
    """Find all faults without writing anything."""
    work = partial(_find_faults, raw, CLASSES[split.settings['version']])
    found = _run(pool, work, split.sources, f'checking {split.name}')
    return [*split.faults, *itertools.chain.from_iterable(found)]


def _run(
    pool: ProcessPoolExecutor, work: Callable[[Source], Any], sources: list[Source], title: str, done: int = 0
) -> list[Any]:
    # not pool.map: it cancels the other tasks when a worker is killed, which can hang in Python 3.11
    futures = [pool.submit(work, source) for source in sources]
    with tqdm(futures, title, done + len(futures), initial=done, unit=' images', leave=False) as bar:
        return [future.result() for future in bar]


def _find_faults(raw: Path, classes: tuple[str, ...], source: Source) -> list[Fault]:
    return _read_objects(raw, classes, source)[1] + _read_image(raw, source)[1]


def _refuse_faults(faults: list[Fault]) -> None:
    if faults:
        first, *others = _sorted(faults)
        more = f', and {len(others)} more' if others else ''
        raise DataError(f'{first}{more}; fix the raw files, or omit --strict to leave them out')


def _sorted(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (fault.path, fault.line or 0, fault.message))


def _cut_all(pool: ProcessPoolExecutor, raw: Path, split: Split) -> None:
    """Cut the unfinished images of a split, and write its results."""
    todo = [source for source in split.sources if not split.record(source).is_file()]
    # without the lists of all images, which would be sent with every task
    work = partial(_cut, raw, split._replace(sources=[], faults=[]))
    _run(pool, work, todo, f'cutting {split.name}', done=len(split.sources) - len(todo))
    counts, faults, left_out = Counter(dict.fromkeys(COUNTS, 0)), list(split.faults), []
    for source in split.sources:
        record = json.loads(split.record(source).read_text(encoding='utf-8'))
        counts.update(record['counts'])
        faults += [Fault(**fault) for fault in record['faults']]
        left_out += record['left_out']
    counts['bad_lines'] = sum(fault.line is not None for fault in faults)
    result = {
        'settings': split.settings,
        'counts': counts,
        'faults': [fault._asdict() for fault in _sorted(faults)],
        'left_out': left_out,
    }
    _write_json(split.folder, split.result, result)
    _remove(split.progress)


def _cut(raw: Path, split: Split, source: Source) -> None:
    """Cut an image: write its tiles and labels, and finally its record."""
    objects, faults = _read_objects(raw, CLASSES[split.settings['version']], source)
    image, image_faults = _read_image(raw, source)
    counts: dict[str, Any] = {}
    left_out: list[Any] = []
    if image is not None:
        counts, left_out = _write_tiles(split, source, image, objects)
    record = {
        'counts': counts,
        'faults': [fault._asdict() for fault in faults + image_faults],
        'left_out': [{'path': _relative(source.label, raw), 'line': item.line} for item in left_out],
    }
    _write_json(split.folder, split.record(source), record)


def _write_tiles(
    split: Split, source: Source, image: Image.Image, objects: list[DotaObject]
) -> tuple[dict[str, int], list[DotaObject]]:
    """Write the tiles of an image and their labels; return the counts, and the objects that are in no tile."""
    grid = image.width, image.height, split.settings['sizes'], split.settings['overlaps']
    windows = tile_windows(*grid)
    corners = np.array([item.corners for item in objects], dtype=np.float32).reshape(-1, 8)
    lines = defaultdict(list)
    window_of, index_of, is_truncated = assign_objects(corners, windows)
    moved = corners[index_of] - np.tile(windows[window_of, :2], 4).astype(np.float32)
    for window, index, numbers, truncated in zip(window_of, index_of, moved, is_truncated):
        difficulty = TRUNCATED if truncated else objects[index].difficulty
        lines[window].append(f'{" ".join(map(str, numbers))} {objects[index].name} {difficulty}\n')

    if source.label and source.label.is_file():
        _write(split.folder, split.folder / 'labelTxt' / source.label.name, source.label.read_bytes())
    for number, (left, top, right, bottom) in enumerate(windows.tolist()):
        name = f'{source.image.stem}__{right - left}__{left}___{top}'
        tile = cut_tile(image, (left, top, right, bottom))
        # with Pillow: OpenCV is faster, but can hang in a process that was forked from one that used it
        encoded = io.BytesIO()
        tile.save(encoded, 'PNG', compress_level=1)
        _write(split.folder, split.folder / 'images' / f'{name}.png', encoded.getvalue())
        if source.label:
            _write(split.folder, split.folder / 'annfiles' / f'{name}.txt', ''.join(lines[number]).encode())

    kept = set(index_of.tolist())
    left_out = [item for index, item in enumerate(objects) if index not in kept]
    counts = {
        'images': 1,
        'tiles': len(windows),
        'dropped': len(all_windows(*grid)) - len(windows),
        'objects': len(objects),
        'kept': len(kept),
        'left_out': len(left_out),
        'truncated': int(is_truncated.sum()),
        'empty': int(source.label is not None and not objects),
    }
    return counts, left_out


def _read_objects(raw: Path, classes: tuple[str, ...], source: Source) -> tuple[list[DotaObject], list[Fault]]:
    if source.label is None:
        return [], []
    if not source.label.is_file():
        message = f'the label file {_relative(source.label, raw)} does not exist'
        return [], [Fault(_relative(source.image, raw), None, message)]
    objects, faults = read_labels(source.label, classes)
    return objects, [fault._replace(path=_relative(source.label, raw)) for fault in faults]


def _read_image(raw: Path, source: Source) -> tuple[Image.Image | None, list[Fault]]:
    try:
        return read_image(source.image), []
    except DataError as error:
        return None, [Fault(_relative(source.image, raw), None, str(error))]


def _write(folder: Path, target: Path, content: bytes) -> None:
    """Write a file of a split completely or not at all."""
    if _is_stopped.is_set():
        raise KeyboardInterrupt
    part = folder / '.progress' / f'{os.getpid()}.part'
    part.write_bytes(content)
    part.replace(target)


def _write_json(folder: Path, target: Path, content: dict[str, Any]) -> None:
    _write(folder, target, json.dumps(content, indent=1, ensure_ascii=False).encode())


@contextmanager
def _pool(workers: int | None) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        yield pool
    except (BrokenProcessPool, MemoryError) as error:
        raise MMFasterNetError(
            'a worker was killed, probably for lack of memory; run the same command with fewer --workers to resume'
        ) from error
    finally:
        # after an error or Ctrl-C, images that have not started are cancelled
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # After Ctrl-C a worker stops before its next tile. If it exited at once, the pool would break with tracebacks.
    signal.signal(signal.SIGINT, lambda *_: _is_stopped.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process is killed; otherwise the worker would wait for work forever."""
    connection.wait([parent_process().sentinel])
    os._exit(1)
