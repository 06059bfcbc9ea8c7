"""Cutting DOTA, images up to 20,000 pixels wide, into the overlapping square tiles that detectors are trained on.

On all cores, and so that a kill loses nothing: each image leaves a record when its last tile is written.
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

#: The raw folders that each split is made of.
SPLITS = {'train': ('train',), 'val': ('val',), 'trainval': ('train', 'val'), 'test': ('test',)}
#: The splits that are made unless others are named.
DEFAULT_SPLITS = ('trainval', 'val', 'test')
#: By how much the windows are enlarged or shrunk; a window has the size divided by the rate.
SINGLE_SCALE, MULTI_SCALE = (1.0,), (0.5, 1.0, 1.5)
#: By how many pixels neighbouring windows overlap, before they are divided by the rate.
SINGLE_SCALE_OVERLAP, MULTI_SCALE_OVERLAP = 200, 500
#: The difficulty of objects of which a part lies outside of the tile.
TRUNCATED = '2'
#: What is counted in each split, in the words of the table.
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
#: Set in a worker when the user pressed Ctrl-C.
_is_stopped = threading.Event()


class Source(NamedTuple):
    """An image to cut.

    Attributes:
        image: Its file.
        label: Where its label file should be, or None in a split without labels.
    """

    image: Path
    label: Path | None


class Split(NamedTuple):
    """A split to make.

    Attributes:
        name: ``train``, ``val``, ``trainval`` or ``test``.
        folder: Where its tiles go.
        sources: Its images.
        faults: What is wrong with the raw folders.
        settings: What the tiles depend on, as JSON holds it.
    """

    name: str
    folder: Path
    sources: list[Source]
    faults: list[Fault]
    settings: dict[str, Any]

    @property
    def progress(self) -> Path:
        """Where it is noted which images are done; it is there until all are."""
        return self.folder / '.progress'

    @property
    def result(self) -> Path:
        """What came of the split; it is there once all images are done."""
        return self.folder / 'split.json'

    def record(self, source: Source) -> Path:
        """Where it is noted what came of an image."""
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
    """Cut DOTA into tiles, or go on where that was interrupted.

    Args:
        raw (str | Path): The folder with ``{train,val,test}/{images,labelTxt,labelTxt-v1.5}``, as
            https://captain-whu.github.io/DOTA/dataset.html offers them.
        out (str | Path): The folder that gets ``{split}/{images,annfiles,labelTxt}``: the tiles, their labels, and
            copies of the raw label files, to score whole images with.
        version (str, optional): Of the labels: '1.0' or '1.5'.
        multi_scale (bool, optional): Take windows at the rates 0.5, 1.0 and 1.5 rather than at 1.0 only.
        splits (Sequence[str], optional): Of ``train``, ``val``, ``trainval`` and ``test``. By default ``trainval``,
            ``val`` and ``test``, as far as the raw folders are there.
        size (int, optional): Width and height of a window in pixels, at rate 1.0.
        overlap (int, optional): Pixels that neighbouring windows share, at rate 1.0. By default 200, or 500 with
            ``multi_scale``.
        workers (int, optional): Number of processes. By default one a core.
        strict (bool, optional): Cut nothing if anything is wrong with the labels or the images.
        overwrite (bool, optional): Replace splits that are already there.

    Returns:
        dict[str, dict[str, Any]]: For each split what its ``split.json`` holds, ``settings``, ``counts`` (as in
        :data:`COUNTS`), ``faults`` and ``left_out``, the lines of the objects that no tile has; and ``made``, whether
        it was cut now.

    Raises:
        DataError: The raw folders are not as expected, ``out`` holds something else, a setting cannot work, or there
            are faults and ``strict`` is set.
    """
    raw, out = Path(raw), Path(out)
    settings = _settings(version, multi_scale, size, overlap)
    if workers is not None and workers < 1:
        raise DataError(f'{workers} workers; expected 1 or more')
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
            # left behind if it was interrupted at the very end
            _remove(split.progress)
        results = {split.name: json.loads(split.result.read_text(encoding='utf-8')) for split in plan}
    except OSError as error:
        raise DataError(
            f'{error.strerror or error}: {error.filename or out}; mend it and run the same again'
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
            f'{raw} has not all that {", ".join(DEFAULT_SPLITS[:-1])} or {DEFAULT_SPLITS[-1]} are made of; expected '
            'the folders train and val, or test. Name another folder, or the splits to make'
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
                raise DataError(f'no folder {folder}, which the split {name} needs; unpack DOTA there or link to it')
        here = [path for path in sorted(images.glob('[!.]*')) if path.suffix.lower() in IMAGE_ENDINGS]
        for image in here:
            if image.stem in sources:
                raise DataError(f'{sources[image.stem].image} and {image} have the same name; rename or remove one')
            sources[image.stem] = Source(image, None if name == 'test' else labels / f'{image.stem}.txt')
        if name != 'test':
            orphans = {path.stem for path in labels.glob('*.txt')} - {path.stem for path in here}
            message = f'no image of this name in {_relative(images, raw)}'
            faults += [Fault(_relative(labels / f'{stem}.txt', raw), None, message) for stem in orphans]
    if not sources:
        raise DataError(f'no images in {images}; expected files with the endings {" ".join(IMAGE_ENDINGS)}')
    digest = _digest(raw, sources.values())
    return Split(name, out / name, list(sources.values()), faults, {**settings, 'sources': digest})


def _relative(path: Path, raw: Path) -> str:
    return path.relative_to(raw).as_posix()


def _digest(raw: Path, sources: Iterable[Source]) -> str:
    """Sum up the images, by name and number of bytes, and the labels, by content."""
    digest = hashlib.sha256()
    for source in sources:
        label = source.label.read_bytes() if source.label and source.label.is_file() else b''
        entry = [_relative(source.image, raw), source.image.stat().st_size, hashlib.sha256(label).hexdigest()]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _is_finished(split: Split, overwrite: bool) -> bool:
    """Tell whether there is nothing to do; a DataError if something else is there."""
    if not split.folder.is_dir() or not {path.name for path in split.folder.iterdir()} - {split.progress.name}:
        return False
    found = _read_settings(split)
    if found is None:
        raise DataError(f'{split.folder} is there and has no tiles of DOTA, so it stays as it is; name another folder')
    if overwrite:
        return False
    differing = [key for key, value in split.settings.items() if found.get(key) != value]
    if differing:
        raise DataError(
            f'{split.folder} holds tiles of other {" and ".join(differing)} (expected '
            f'{", ".join(str(split.settings[key]) for key in differing)}); name another folder, or replace it with '
            '--overwrite'
        )
    return split.result.is_file()


def _read_settings(split: Split) -> dict[str, Any] | None:
    """Read what the tiles that are there were made from, or None if there are none of ours."""
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
        # Until all is removed the folder belongs to no settings, so what is left of the old is not taken for the new.
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
    """Find everything that is wrong, and write nothing."""
    work = partial(_find_faults, raw, CLASSES[split.settings['version']])
    found = _run(pool, work, split.sources, f'checking {split.name}')
    return [*split.faults, *itertools.chain.from_iterable(found)]


def _run(
    pool: ProcessPoolExecutor, work: Callable[[Source], Any], sources: list[Source], title: str, done: int = 0
) -> list[Any]:
    # Not pool.map, which cancels what is left when a worker is killed; in Python 3.11 that can hang.
    futures = [pool.submit(work, source) for source in sources]
    with tqdm(futures, title, done + len(futures), initial=done, unit=' images', leave=False) as bar:
        return [future.result() for future in bar]


def _find_faults(raw: Path, classes: tuple[str, ...], source: Source) -> list[Fault]:
    return _read_objects(raw, classes, source)[1] + _read_image(raw, source)[1]


def _refuse_faults(faults: list[Fault]) -> None:
    if faults:
        first, *others = _sorted(faults)
        more = f', and {len(others)} more' if others else ''
        raise DataError(f'{first}{more}; mend the raw files, or do without --strict to leave out what is malformed')


def _sorted(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (fault.path, fault.line or 0, fault.message))


def _cut_all(pool: ProcessPoolExecutor, raw: Path, split: Split) -> None:
    """Cut the images of a split that are not done, and sum up."""
    todo = [source for source in split.sources if not split.record(source).is_file()]
    # without what all images have in common, which would travel with each
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
    """Cut an image: write its tiles and labels, and at last the record that it is done."""
    objects, faults = _read_objects(raw, CLASSES[split.settings['version']], source)
    image, image_faults = _read_image(raw, source)
    counts, left_out = {}, []
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
    """Write the tiles of an image and their labels; gives the counts, and the objects that no tile has."""
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
        # Pillow's, not OpenCV's, which is faster and waits forever in a process that was forked from one using it
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
        message = f'no label file {_relative(source.label, raw)}'
        return [], [Fault(_relative(source.image, raw), None, message)]
    objects, faults = read_labels(source.label, classes)
    return objects, [fault._replace(path=_relative(source.label, raw)) for fault in faults]


def _read_image(raw: Path, source: Source) -> tuple[Image.Image | None, list[Fault]]:
    try:
        return read_image(source.image), []
    except DataError as error:
        return None, [Fault(_relative(source.image, raw), None, str(error))]


def _write(folder: Path, target: Path, content: bytes) -> None:
    """Write a file of a split so that it is there as a whole or not at all."""
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
            'a worker ended, most likely for lack of memory; run the same again with fewer --workers to go on'
        ) from error
    finally:
        # an error, or Ctrl-C, waits for no image that is not begun
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # After Ctrl-C a worker stops before its next tile. One that ended at once would break the pool, with tracebacks.
    signal.signal(signal.SIGINT, lambda *_: _is_stopped.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is killed; it would wait for work forever."""
    connection.wait([parent_process().sentinel])
    os._exit(1)
