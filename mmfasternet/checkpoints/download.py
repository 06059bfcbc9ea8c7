"""Download checkpoints: complete, verified, and only once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TextIO
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch

from ..errors import CheckpointError

#: torch's convention for names, ``name-<sha256>.pth``; a date in that place is none.
_HASH = re.compile(r'-(?!20\d{6}\.)([0-9a-f]{8,64})\.[a-z]+$')
_CHUNK = 1 << 20
_TIMEOUT = 30


def fetch(url: str, model_dir: str | Path | None = None, progress: bool = True) -> Path:
    """Download a file to torch's cache, unless it exists there.

    An interrupted download is resumed if the server still has the same file. In distributed runs the first process of
    each machine downloads, and the others wait for it.

    Args:
        url (str): Where it is, by HTTP or HTTPS.
        model_dir (str | Path, optional): Folder to put it in. Defaults to None, which means that of ``torch.hub``.
        progress (bool): Whether to show a progress bar. Defaults to True.

    Returns:
        Path: The complete file.

    Raises:
        CheckpointError: If it cannot be fetched, or is not the one that its name says.
    """
    name = Path(urlparse(url).path).name
    if name in ('', '..'):
        raise CheckpointError(f'{url} names no file; give the URL of a checkpoint')
    target = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints')) / name
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    try:
        if int(os.environ.get('LOCAL_RANK', 0)) == 0 or not distributed:
            _fetch_to(target, url, progress)
    finally:
        if distributed:
            torch.distributed.barrier()
    if not target.is_file():
        raise CheckpointError(f'{url} cannot be fetched; the first process of this machine says why')
    return target


def _fetch_to(target: Path, url: str, progress: bool) -> None:
    if target.is_file():
        return
    remedy = f'Put the file at {target}'
    part = target.with_name(f'{target.name}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(target.with_name(f'{part.name}.json')) as notes:
            if target.is_file():  # another process was faster
                return
            size = _download(url, part, notes, progress)
            _verify(part, url, size, remedy)
            part.replace(target)
            Path(notes.name).unlink()
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = ' '.join(str(getattr(error, 'reason', error) or type(error).__name__).split())
        reason = f'HTTP {error.code} {reason}' if isinstance(error, HTTPError) else reason
        raise CheckpointError(f'{url} cannot be fetched ({reason}). {remedy}') from error


def _download(url: str, part: Path, notes: TextIO, progress: bool) -> int | None:
    """Download the rest of a part, or all of it if it may not fit, and return the size that the server states."""
    known = _known_mark(notes.read(), url)
    start = part.stat().st_size if known and part.is_file() else 0
    headers = {'Accept-Encoding': 'identity', 'User-Agent': 'mmfasternet'}
    if start:
        headers |= {'Range': f'bytes={start}-', 'If-Range': known}
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        if not (start and error.code == 416):
            raise
        part.unlink()  # longer than the file: not a part of it
        return _download(url, part, notes, progress)
    with response:
        if response.headers.get_content_type() == 'text/html':
            raise ValueError('the server sent a web page')
        goes_on = re.match(rf'bytes {start}-\d+/(\d+)$', response.headers.get('Content-Range', ''))
        mark = _mark_of(response)
        if response.status == 206 and not (goes_on and mark in (known, None)):
            part.unlink()  # asked for the rest of one file, got a piece of another
            return _download(url, part, notes, progress)
        if response.status == 206:
            size = int(goes_on[1])
        else:
            start = 0
            size = int(response.headers['Content-Length']) if response.headers['Content-Length'] else None
            # the old part goes before the new mark comes
            part.write_bytes(b'')
            notes.seek(0)
            notes.truncate()
            notes.write(json.dumps(dict(url=url, mark=mark)))
            notes.flush()
        with part.open('ab') as file, _bar(part.name.removesuffix('.part'), start, size, progress) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                if bar is not None:
                    bar.update(len(chunk))
    return size


def _verify(part: Path, url: str, size: int | None, remedy: str) -> None:
    found = part.stat().st_size
    if size is not None and found < size:
        raise CheckpointError(f'{url} was cut off after {found:,} of {size:,} bytes. Run it again to resume. {remedy}')
    expected = _HASH.search(part.name.removesuffix('.part'))
    digest = _sha256(part) if expected else ''
    if (size is not None and found > size) or (expected and not digest.startswith(expected[1])):
        part.unlink()
        wrong = f'SHA-256 {digest}, expected {expected[1]}…' if expected else f'{found:,} bytes, expected {size:,}'
        raise CheckpointError(f'{url} is not the file that it should be: found {wrong}. {remedy}')


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _mark_of(response: HTTPResponse) -> str | None:
    """Find the validator of this content under its URL; a weak ETag is none."""
    etag = response.headers.get('ETag')
    return etag if etag and not etag.startswith('W/') else response.headers.get('Last-Modified')


def _known_mark(notes: str, url: str) -> str | None:
    try:
        content = json.loads(notes)
        return content['mark'] if content['url'] == url else None
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[TextIO]:
    """Open a file exclusively; other processes wait where the system supports locks."""
    with path.open('a+') as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        file.seek(0)
        yield file


def _bar(name: str, start: int, size: int | None, progress: bool) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext()
    return tqdm(
        desc=name, initial=start, total=size, unit='B', unit_scale=True, disable=None if progress else True
    )  # None: only on a terminal
