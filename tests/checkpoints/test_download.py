import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from mmfasternet.checkpoints import download, fetch
from mmfasternet.errors import CheckpointError

CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1]


class Handler(BaseHTTPRequestHandler):
    """A server of one file that can be told to cut, to change and to lie."""

    def do_GET(self):
        behaviour, content = self.server.behaviour, self.server.behaviour.content
        behaviour.requests.append(dict(self.headers))
        if behaviour.status != 200:
            return self.send_error(behaviour.status)
        start = 0
        asked = re.match(r'bytes=(\d+)-', self.headers.get('Range', ''))
        same = self.headers.get('If-Range') in (behaviour.headers.get('ETag'), behaviour.headers.get('Last-Modified'))
        if asked and behaviour.ranges and (same or behaviour.careless):
            start = int(asked[1])
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        else:
            self.send_response(200)
        if behaviour.tells_length:
            self.send_header('Content-Length', str(len(content) - start))
        for name, value in behaviour.headers.items():
            self.send_header(name, value)
        self.end_headers()
        end = behaviour.cuts.pop(0) if behaviour.cuts else len(content)
        self.wfile.write(content[start:end])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    http.behaviour = SimpleNamespace(
        content=CONTENT, status=200, headers={'ETag': '"1"'}, ranges=True, careless=False, tells_length=True,
        cuts=[], requests=[], url=f'http://127.0.0.1:{http.server_port}',
    )  # fmt: skip
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http.behaviour
    http.shutdown()
    http.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / 'home/hub/checkpoints'


def failure(url):
    with pytest.raises(CheckpointError) as caught:
        fetch(url)
    line = str(caught.value)
    assert '\n' not in line and line.startswith(url)
    return line


def test_whole_and_only_once(server, cache):
    for _ in range(2):
        assert fetch(f'{server.url}/folder/a.pth?token=1') == cache / 'a.pth'
    assert (cache / 'a.pth').read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert [path.name for path in cache.iterdir()] == ['a.pth']


def test_where_torch_keeps_its_files(server, cache):
    (cache.parent / 'checkpoints').mkdir(parents=True)
    torch.hub.download_url_to_file(f'{server.url}/a.pth', str(cache / 'a.pth'), progress=False)
    assert fetch(f'{server.url}/a.pth') == cache / 'a.pth' and len(server.requests) == 1
    assert fetch(f'{server.url}/a.pth', model_dir=cache.parent / 'mine').parent.name == 'mine'


@pytest.mark.parametrize('headers', [{'ETag': '"1"'}, {'Last-Modified': 'Wed, 21 Oct 2015 07:28:00 GMT'}])
def test_what_was_cut_off_goes_on(server, cache, headers):
    server.headers, server.cuts = headers, [300_000, 700_000]
    for found in ('300,000', '700,000'):
        line = failure(f'{server.url}/a.pth')
        assert f'was cut off after {found} of 1,024,000 bytes. Run it again to resume' in line
        assert not (cache / 'a.pth').exists()
    assert fetch(f'{server.url}/a.pth').read_bytes() == CONTENT
    assert [request.get('Range') for request in server.requests] == [None, 'bytes=300000-', 'bytes=700000-']
    assert server.requests[-1]['If-Range'] in headers.values()
    assert [path.name for path in cache.iterdir()] == ['a.pth']


@pytest.mark.parametrize('change', ['new mark', 'careless', 'weak mark', 'no mark', 'no ranges', 'shorter'])
def test_what_changed_in_between_starts_anew(server, cache, change):
    server.cuts = [300_000]
    if change == 'weak mark':
        server.headers = {'ETag': 'W/"1"'}
    elif change == 'no mark':
        server.headers = {}
    failure(f'{server.url}/a.pth')
    server.content = OTHER
    if change == 'careless':
        server.careless = True
    elif change == 'no ranges':
        server.ranges = False
    elif change == 'shorter':
        server.content, server.careless = OTHER[:1000], True
    server.headers = {'ETag': '"2"'}
    assert fetch(f'{server.url}/a.pth').read_bytes() == server.content


def test_another_url_of_the_same_name_starts_anew(server, cache):
    server.cuts = [300_000]
    failure(f'{server.url}/one/a.pth')
    server.content = OTHER
    assert fetch(f'{server.url}/two/a.pth').read_bytes() == OTHER
    assert 'Range' not in server.requests[1]


@pytest.mark.parametrize('digits', [8, 16, 64])
def test_the_hash_in_a_name(server, cache, digits):
    name = f'resnet-{hashlib.sha256(CONTENT).hexdigest()[:digits]}.pth'
    assert fetch(f'{server.url}/{name}').read_bytes() == CONTENT
    (cache / name).unlink()
    (cache / 'mine.pth').write_bytes(b'mine')
    server.content = OTHER
    line = failure(f'{server.url}/{name}')
    assert f'found SHA-256 {hashlib.sha256(OTHER).hexdigest()}, expected {name[7:-4]}…' in line
    assert not (cache / name).exists() and (cache / 'mine.pth').exists()
    server.content = CONTENT
    assert fetch(f'{server.url}/{name}').read_bytes() == CONTENT


@pytest.mark.parametrize('name', ['t0-20230301.pth', 't0-epoch.281-val_acc1.71.9180.pth', 't0-abc.pth', 'weights'])
def test_what_is_no_hash(server, name):
    assert fetch(f'{server.url}/{name}').read_bytes() == CONTENT


def test_a_hash_finds_a_cut_where_no_length_is_told(server, cache):
    server.tells_length, server.cuts = False, [300_000]
    name = f'resnet-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth'
    assert 'is not the file that it should be' in failure(f'{server.url}/{name}')
    assert fetch(f'{server.url}/{name}').read_bytes() == CONTENT


@pytest.mark.parametrize('status, reason', [(404, 'HTTP 404 Not Found'), (503, 'HTTP 503 Service Unavailable')])
def test_the_server_says_no(server, cache, status, reason):
    server.status = status
    line = failure(f'{server.url}/a.pth')
    assert line == f'{server.url}/a.pth cannot be fetched ({reason}). Put the file at {cache}/a.pth'
    assert not (cache / 'a.pth').exists()


def test_a_web_page_instead_of_the_file(server, cache):
    server.headers, server.content = {'Content-Type': 'text/html; charset=utf-8'}, b'<html>log in</html>'
    assert 'cannot be fetched (the server sent a web page)' in failure(f'{server.url}/a.pth')
    assert not (cache / 'a.pth').exists()


def test_offline(server, cache):
    line = failure('http://127.0.0.1:9/a.pth')
    assert 'Connection refused' in line and f'Put the file at {cache}/a.pth' in line
    assert 'cannot be fetched' in failure('http://nowhere.invalid/a.pth')


@pytest.mark.parametrize('url', ['http://127.0.0.1', 'http://127.0.0.1/', 'http://127.0.0.1/..'])
def test_no_file_is_named(url):
    assert 'names no file' in failure(url)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / 'home').write_text('a file')
    assert 'cannot be fetched (' in failure(f'{server.url}/a.pth')


def test_without_tqdm(server, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tqdm', None)
    assert fetch(f'{server.url}/a.pth').read_bytes() == CONTENT


def test_several_programs_at_once(server, cache):
    threads = [threading.Thread(target=fetch, args=(f'{server.url}/a.pth',)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache / 'a.pth').read_bytes() == CONTENT
    assert len(server.requests) == 1


SCRIPT = """
import sys, torch
from mmfasternet.checkpoints import fetch
torch.distributed.init_process_group('gloo')
try:
    print(fetch(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize('status', [200, 404])
def test_only_the_first_process_of_a_machine_fetches(server, tmp_path, cache, status):
    server.status = status
    (tmp_path / 'script.py').write_text(SCRIPT)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', '-r', '3']
    command += ['--log-dir', str(tmp_path / 'log'), str(tmp_path / 'script.py'), f'{server.url}/a.pth']
    subprocess.run(command, cwd=ROOT, check=True, env=dict(os.environ, PYTHONPATH=str(ROOT)), timeout=120)
    assert len(server.requests) == 1
    said = sorted(path.read_text().strip() for path in (tmp_path / 'log').rglob('stdout.log'))
    if status == 200:
        assert said == [str(cache / 'a.pth')] * 2
    else:
        assert all(line.startswith(f'CheckpointError {server.url}/a.pth cannot be fetched') for line in said)
        assert sum('HTTP 404' in line for line in said) == 1


def test_the_bar_goes_on_where_it_stopped(server, monkeypatch):
    bars = []
    real = download._bar
    monkeypatch.setattr(download, '_bar', lambda *args: bars.append(args) or real(*args))
    server.cuts = [300_000]
    failure(f'{server.url}/a.pth')
    fetch(f'{server.url}/a.pth', progress=False)
    assert bars == [('a.pth', 0, len(CONTENT), True), ('a.pth', 300_000, len(CONTENT), False)]
