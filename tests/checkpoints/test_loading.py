import os
import pickle
import subprocess
import sys
import threading
import zipfile
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import hostile
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from conftest import ROOT, as_released, make_timm, process_kept, randomize_
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, BaseModule
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint_with_prefix
from torch.utils.data import Dataset

from mmfasternet.checkpoints import mmengine_schemes, names_not_read, read_checkpoint
from mmfasternet.errors import CheckpointError, DependencyError
from mmfasternet.models import FasterNet


@pytest.fixture(autouse=True)
def read_safely():
    with mmengine_schemes.safe_loaders():
        yield


def by_init_cfg(path, **kwargs):
    BaseModule(dict(type='Pretrained', checkpoint=path, **kwargs)).init_weights()


ENTRIES = {
    'read_checkpoint': read_checkpoint,
    'CheckpointLoader': CheckpointLoader.load_checkpoint,
    'load_checkpoint': lambda path: load_checkpoint(BaseModule(), path),
    'with a prefix': partial(_load_checkpoint_with_prefix, 'backbone'),
    'init_cfg': by_init_cfg,
    'init_cfg with a prefix': partial(by_init_cfg, prefix='backbone'),
}


def refusals(path):
    """What every way in says to a file; each must refuse it in one line that names it."""
    for name, entry in ENTRIES.items():
        with pytest.raises(CheckpointError) as caught:
            entry(str(path))
        line = str(caught.value)
        assert '\n' not in line and line.isprintable() and str(path) in line, (name, line)
        assert len(line) < 600, (name, line)
        yield line


@pytest.fixture(scope='module')
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp('live')
    (tmp_path_factory.mktemp('canary') / 'here').mkdir()
    canary = tmp_path_factory.mktemp('canary') / 'canary'
    hostile.write_live(folder, canary)
    assert not canary.exists()
    return folder, canary


def test_no_program_in_a_file_runs(live):
    folder, canary = live
    files = sorted(folder.iterdir())
    assert len(files) >= 80
    read = 0
    for path in files:
        for entry in (read_checkpoint, CheckpointLoader.load_checkpoint):
            try:
                assert isinstance(entry(str(path)), dict)
                read += 1
            except CheckpointError as error:
                line = str(error)
                assert line.isprintable() and len(line) < 600 and str(path) in line
            assert not canary.exists(), path.name
    assert read >= 80  # the weights beside a program are read


@pytest.mark.parametrize('file, named', [
    ('exec in *, legacy', 'builtins.exec'),
    ('eval in state_dict, zip', 'builtins.eval'),
    ('subprocess in *, zip', 'subprocess.call'),
    ('class instance in *, zip', 'hostile.Trap'),
])  # fmt: skip
def test_a_program_becomes_its_name(live, file, named):
    path = next(path for path in live[0].glob(f'{file}.pth') if 'in alone' not in path.name)
    content = read_checkpoint(path)
    assert names_not_read(content) == [named]
    assert f'<{named}, not read>' in repr(content)


READ_ALL = """
import pathlib, resource, sys
from mmfasternet.checkpoints import read_checkpoint
from mmfasternet.errors import CheckpointError

mapped = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**28, resource.RLIM_INFINITY))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sys.argv[1:]:
    for path in pathlib.Path(folder).iterdir():
        try:
            read_checkpoint(path)
        except CheckpointError:
            pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
"""


def test_no_file_fills_the_memory(live, tmp_path):
    hostile.write_broken(tmp_path)
    command = [sys.executable, '-c', READ_ALL, str(tmp_path), str(live[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000  # KiB


def test_the_programs_are_live(tmp_path):
    """Read by pickle itself, each would have made its canary."""
    names = []
    for name in hostile.payloads(tmp_path / 'canary'):
        folder = tmp_path / f'folder{len(names)}'
        folder.mkdir()
        data = pickle.dumps(hostile.payloads(folder / 'canary')[name], protocol=2)
        (folder / 'file').write_bytes(data)
        names.append(name)
    for name in hostile.raw_payloads(tmp_path / 'canary'):
        folder = tmp_path / f'folder{len(names)}'
        folder.mkdir()
        (folder / 'file').write_bytes(hostile.raw_payloads(folder / 'canary')[name])
        names.append(name)
    script = (
        'import pickle, sys\n'
        'for path in sys.argv[1:]:\n'
        '    try:\n'
        '        pickle.load(open(path, "rb"))\n'
        '    except Exception as error:\n'
        '        sys.stderr.write(f"{path} {error!r}")\n'
    )
    folders = [tmp_path / f'folder{index}' for index in range(len(names))]
    environment = dict(os.environ, PYTHONPATH=f'{ROOT / "tests/checkpoints"}:{ROOT}')
    command = [sys.executable, '-c', script, *(str(folder / 'file') for folder in folders)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    dead = [name for name, folder in zip(names, folders) if not (folder / 'canary').exists()]
    assert not dead, result.stderr


def test_what_is_broken_is_refused_in_one_line(tmp_path):
    statistics = dict(HistoryBuffer._statistics_methods)
    hostile.write_broken(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) >= 50
    harmless = [path.name for path in files if path.name.partition(',')[0] in hostile.HARMLESS]
    assert len(harmless) == 2 * len(hostile.HARMLESS)
    for name in harmless:
        assert read_checkpoint(tmp_path / name).keys() == {'meta'}
    lines = {path.name: list(refusals(path))[0] for path in files if path.name not in harmless}
    assert 'it is empty' in lines['empty.pth']
    assert 'a web page' in lines['web page.pth']
    assert "it begins with 'version https://git-" in lines['text.pth']
    assert 'is a folder' in lines['folder.pth']
    assert 'compressed zip archive' in lines['zip bomb.pth']
    assert 'holds a list; expected a dict' in lines['no dict, zip.pth']
    assert 'larger than the file' in lines['storage larger than the file.pth']
    assert 'ends too soon' in lines['storage larger than its entry.pth']
    assert 'larger than its storage' in lines['tensor larger than its storage.pth']
    assert 'out of bounds' in lines['tensor beyond its storage.pth']
    assert 'larger than its storage' in lines['expanded bomb, zip.pth']
    assert 'TorchScript archive, which is a program' in lines['TorchScript.pth']
    assert "Bad CRC-32 for file 'whole/data/0'" in lines['tensor with a flipped bit.pth']
    assert "Bad CRC-32 for file 'whole/data.pkl'" in lines['pickle with a flipped bit.pth']
    for name, line in lines.items():
        if 'cut at' in name:
            assert 'cut off' in line or 'ends too soon' in line or 'EOF' in line
    assert HistoryBuffer._statistics_methods == statistics


@pytest.mark.parametrize('file_format', ['zip', 'legacy'])
def test_any_flipped_byte_is_noticed_or_harmless(tmp_path, file_format):
    content = {'state_dict': {'conv.weight': torch.arange(6.0)}, 'meta': {'buffer': HistoryBuffer([1.0], [1])}}
    whole = hostile.save(content, tmp_path / 'file.pth', file_format).read_bytes()
    noticed = 0
    for position in range(0, len(whole), 3 if file_format == 'zip' else 1):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        (tmp_path / 'file.pth').write_bytes(flipped)
        try:
            read = read_checkpoint(tmp_path / 'file.pth')
        except CheckpointError as error:
            noticed += 1
            assert str(error).isprintable()
        else:
            if file_format == 'zip':
                assert torch.equal(read['state_dict']['conv.weight'], torch.arange(6.0)), position
    assert noticed > (300 if file_format == 'zip' else 100)


def test_a_missing_file():
    for line in refusals('/nowhere/file.pth'):
        assert line == '/nowhere/file.pth does not exist; give a checkpoint file'


def test_the_name_of_a_file_cannot_break_the_line(tmp_path):
    (tmp_path / 'a\nb.pth').write_text('x')
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / 'a\nb.pth')
    assert 'a b.pth cannot be read' in str(caught.value) and '\n' not in str(caught.value)


# files that must load


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Linear(2, 2)
        self.norm = torch.nn.BatchNorm1d(2)

    def forward(self, inputs, labels=None, mode='loss'):
        outputs = self.norm(self.conv(torch.stack(list(inputs))))
        return dict(loss=outputs.sum()) if mode == 'loss' else outputs


class Points(Dataset):
    metainfo = dict(classes=('a', 'b'), palette=[(1, 2, 3)], extra=ConfigDict(a=ConfigDict(b=1)))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.rand(2), index


class Constant(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(mAP=np.float64(0.5))


def make_runner(work_dir, **kwargs):
    loader = dict(dataset=Points(), batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True))
    return Runner(
        Model(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=dict(type=Constant),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
            dict(type='CosineAnnealingLR', T_max=2),
            dict(type='MultiStepLR', milestones=[1]),
            dict(type='ReduceOnPlateauLR', monitor='mAP'),
            dict(type='OneCycleLR', eta_max=0.1, total_steps=10),
        ],
        train_cfg=dict(by_epoch=True, max_epochs=kwargs.pop('epochs', 1)),
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, save_best='mAP'),
            logger=dict(type='LoggerHook', interval=1),
        ),
        experiment_name=work_dir.name,
        **kwargs,
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """What two iterations of MMEngine's own runner write."""
    work_dir = tmp_path_factory.mktemp('work')
    with process_kept():
        make_runner(work_dir).train()
    return work_dir


def assert_same(read, expected):
    assert type(read) is type(expected)
    if isinstance(expected, dict):
        assert list(read) == list(expected)
        for key in expected:
            assert_same(read[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(read) == len(expected)
        for one, other in zip(read, expected):
            assert_same(one, other)
    elif isinstance(expected, HistoryBuffer):
        assert_same(vars(read), vars(expected))
        assert read.statistics('min') == expected.statistics('min')
    elif isinstance(expected, torch.Tensor):
        assert read.dtype == expected.dtype and torch.equal(read, expected)
    elif isinstance(expected, np.ndarray):
        assert read.dtype == expected.dtype and read.tolist() == expected.tolist()
    else:
        assert read == expected


def test_what_mmengine_writes_is_read_whole(trained):
    files = sorted(trained.glob('*.pth'))
    assert len(files) == 2
    for path in files:
        read = read_checkpoint(path)
        assert isinstance(read['message_hub']['log_scalars']['train/loss'], HistoryBuffer)
        assert isinstance(read['message_hub']['runtime_info']['best_score'], float)
        assert isinstance(read['meta']['dataset_meta']['extra'], ConfigDict)
        assert_same(read, torch.load(path, weights_only=False))


def test_a_run_is_resumed(trained, tmp_path):
    with process_kept():
        runner = make_runner(tmp_path / 'resumed', epochs=2, load_from=str(trained / 'epoch_1.pth'), resume=True)
        runner.train()
    assert runner.epoch == 2 and runner.iter == 4
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 4
    assert (tmp_path / 'resumed/epoch_2.pth').is_file()


def as_numpy_1_wrote_it(source, target):
    """Rename numpy's modules in a pickle as they were called before numpy 2, in a file like torch's."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith('/data.pkl'):
                assert b'numpy._core.multiarray' in data
                data = data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
            new.writestr(entry.filename, data)


def test_names_of_older_numpy(trained, tmp_path):
    as_numpy_1_wrote_it(trained / 'epoch_1.pth', tmp_path / 'old.pth')
    assert_same(read_checkpoint(tmp_path / 'old.pth'), read_checkpoint(trained / 'epoch_1.pth'))


def test_a_config_dict_of_mmengine_0_7(tmp_path):
    """It was filled item by item and given itself as its state."""
    filled = b''.join([
        b'\x80\x02}X\x04\x00\x00\x00meta', b'cmmengine.config.config\nConfigDict\n', b'X\x01\x00\x00\x00aK\x01\x86\x85',
        b'\x81q\x11', b'X\x01\x00\x00\x00aK\x01s', b'h\x11b', b's.',
    ])  # fmt: skip
    meta = read_checkpoint(hostile.save_raw(filled, tmp_path / 'old.pth'))['meta']
    assert dict(meta) == {'a': 1} and meta.a == 1


@pytest.mark.parametrize('code', ['?', 'i1', 'u2', 'i8', 'f2', 'f4', 'f8', '>f4', 'c8'])
@pytest.mark.parametrize('file_format', ['zip', 'legacy'])
def test_arrays_and_scalars_of_numpy(code, file_format, tmp_path):
    array = np.arange(6).reshape(2, 3).astype(code)
    content = {'meta': {'array': array, 'fortran': array.T.copy(order='F'), 'scalar': array[1, 1], 'type': array.dtype}}
    hostile.save(content, tmp_path / 'file.pth', file_format)
    read = read_checkpoint(tmp_path / 'file.pth')
    assert_same(read, torch.load(tmp_path / 'file.pth', weights_only=False))
    assert read['meta']['array'].tolist() == array.tolist()


def test_plain_python(tmp_path):
    content = {
        'a': [1, 2.5, None, True, 10**30, b'bytes', 'ünï', {1, 2}, (), ((), [[]])],
        'b': torch.nn.Parameter(torch.ones(2)),
        'c': torch.float16,
        'd': torch.Size([1, 2]),
        'e': torch.device('cpu'),
        'f': torch.zeros(3, 0),
        'g': torch.arange(6).view(2, 3).t(),
        'h': torch.ones(1, dtype=torch.bfloat16),
    }
    for file_format in ('zip', 'legacy'):
        hostile.save(content, tmp_path / 'file.pth', file_format)
        assert_same(read_checkpoint(tmp_path / 'file.pth'), content)


@pytest.fixture(scope='module')
def weights():
    return make_timm('t0').state_dict()


def assert_loaded(path, weights):
    model = FasterNet('t0', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    expected = as_released(weights)
    for name, value in model.state_dict().items():
        if not name.startswith('norm'):
            assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize('name', ['t0.pth', 'pytorch_model.bin', 'model.safetensors', 'legacy.pth', 'parameters.pth'])
def test_weights_of_every_origin(name, weights, tmp_path):
    if name == 'model.safetensors':
        safetensors.torch.save_file(weights, tmp_path / name)
    elif name == 'parameters.pth':
        model = timm.create_model('fasternet_t0')
        model.load_state_dict(weights)
        torch.save(model.state_dict(keep_vars=True), tmp_path / name)
    else:
        hostile.save(weights, tmp_path / name, 'legacy' if name == 'legacy.pth' else 'zip')
    assert_loaded(tmp_path / name, weights)


def test_our_own_detector(tmp_path):
    source, target = randomize_(FasterNet('t0')), FasterNet('t0')
    torch.save({'meta': {}, 'state_dict': source.state_dict()}, tmp_path / 'ours.pth')
    load_checkpoint(target, str(tmp_path / 'ours.pth'), map_location='cpu')
    assert_same(target.state_dict(), source.state_dict())


def test_safetensors_is_missing(tmp_path, monkeypatch):
    (tmp_path / 'a.safetensors').write_bytes(b'')
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(DependencyError, match='a.safetensors needs safetensors: pip install safetensors'):
        read_checkpoint(tmp_path / 'a.safetensors')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder, and torch's cache is another."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'served').mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path / 'served')))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield tmp_path / 'served', f'http://127.0.0.1:{http.server_port}'
    http.shutdown()
    http.server_close()


def test_weights_from_a_server(server, weights):
    folder, url = server
    torch.save(weights, folder / 't0.pth')
    for _ in range(2):
        assert_loaded(f'{url}/t0.pth', weights)
        (folder / 't0.pth').unlink(missing_ok=True)


def test_a_program_from_a_server(server, tmp_path):
    folder, url = server
    canary = tmp_path / 'canary'
    torch.save({'state_dict': hostile.payloads(canary)['eval']}, folder / 'file.pth')
    for name, entry in ENTRIES.items():
        if name != 'read_checkpoint':
            with pytest.raises(CheckpointError, match='file.pth: its state_dict is <builtins.eval, not read>'):
                entry(f'{url}/file.pth')
    assert not canary.exists()


@pytest.mark.parametrize('scheme, function', [
    ('torchvision', 'get_torchvision_models'),
    ('modelzoo', 'get_torchvision_models'),
    ('open-mmlab', 'get_external_models'),
    ('openmmlab', 'get_external_models'),
    ('mmcls', 'get_mmcls_models'),
])  # fmt: skip
def test_names_of_openmmlab(server, scheme, function, monkeypatch, tmp_path):
    folder, url = server
    monkeypatch.setattr(
        mmengine_schemes.mmengine_checkpoint, function, lambda: {'good': f'{url}/good.pth', 'bad': f'{url}/bad.pth'}
    )
    torch.save({'state_dict': {'backbone.a': torch.ones(1)}}, folder / 'good.pth')
    torch.save({'state_dict': hostile.payloads(tmp_path / 'canary')['eval']}, folder / 'bad.pth')
    read = CheckpointLoader.load_checkpoint(f'{scheme}://good')
    assert list(read['state_dict']) == ['a' if scheme == 'mmcls' else 'backbone.a']
    with pytest.raises(CheckpointError, match='bad.pth: its state_dict is <builtins.eval, not read>'):
        CheckpointLoader.load_checkpoint(f'{scheme}://bad')
    with pytest.raises(CheckpointError, match=rf'{scheme}://none is unknown; {scheme}:// has bad, good'):
        CheckpointLoader.load_checkpoint(f'{scheme}://none')
    assert not (tmp_path / 'canary').exists()


def test_names_of_openmmlab_for_local_and_renamed_files(monkeypatch, tmp_path):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    torch.save({'a': torch.ones(1)}, tmp_path / 'mine.pth')
    (tmp_path / 'open_mmlab.json').write_text('{"mine": "mine.pth"}')
    monkeypatch.setattr(
        mmengine_schemes.mmengine_checkpoint, 'get_deprecated_model_names', lambda: {'old': 'mine', 'x': 'gone'}
    )
    for name in ('mine', 'old'):
        assert list(CheckpointLoader.load_checkpoint(f'open-mmlab://{name}')) == ['a']


def test_object_stores(monkeypatch, tmp_path):
    torch.save({'a': torch.ones(1)}, tmp_path / 'good.pth')
    torch.save(hostile.payloads(tmp_path / 'canary')['eval'], tmp_path / 'bad.pth')

    class Store:
        def get_local_path(self, name):
            return nullcontext(tmp_path / name.rpartition('/')[2])

    monkeypatch.setattr(mmengine_schemes, 'get_file_backend', lambda name, backend_args: Store())
    assert list(CheckpointLoader.load_checkpoint('s3://bucket/good.pth')) == ['a']
    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint('cluster:s3://bucket/bad.pth')  # not a dict
    with pytest.raises(CheckpointError, match='pavi://model: .* are not read'):
        CheckpointLoader.load_checkpoint('pavi://model')
    assert not (tmp_path / 'canary').exists()


def test_install_leaves_no_reader_of_mmengine():
    mmengine_schemes.install()
    mmengine_schemes.install()
    for prefix, loader in CheckpointLoader._schemes.items():
        assert loader.__module__ == mmengine_schemes.__name__ or not loader.__module__.startswith('mmengine'), prefix
