"""Files that nobody should read trustingly: programs in pickles, bombs, and what only looks like a checkpoint."""

import builtins
import functools
import importlib
import io
import json
import marshal
import operator
import os
import pickle
import re
import runpy
import subprocess
import time
import timeit
import zipfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer


class Call:
    """Is read as the result of a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args

    def __call__(self):
        """Pickle wants the function of a call to look like one, and it can be the result of another."""


class Trap:
    """Acts when it is given its state."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __setstate__(self, state):
        Path(state['canary']).touch()


def attribute(owner, name):
    return Call(getattr, owner, name)


def payloads(canary):
    """Objects that make the file ``canary`` when they are read by pickle, by name."""
    touch, code = f'touch {canary}', f"open({str(canary)!r}, 'w').close()"
    scripts = canary.parent
    script, inner = scripts / 'script.py', scripts / 'inner.pth'
    script.write_text(code)
    torch.save({'state_dict': Call(os.system, touch)}, inner)
    namespace = attribute(attribute(HistoryBuffer, '__init__'), '__globals__')
    namespace_of_builtins = Call(attribute(namespace, 'get'), '__builtins__')
    history = HistoryBuffer([1.0], [1])
    history._log_history = Call(os.system, touch)
    return {
        'os.system': Call(os.system, touch),
        'eval': Call(eval, code),
        'exec': Call(builtins.exec, code),
        'open': Call(open, str(canary), 'w'),
        'subprocess': Call(subprocess.call, ['touch', str(canary)]),
        'importlib': Call(attribute(Call(importlib.import_module, 'os'), 'system'), touch),
        '__import__': Call(attribute(Call(__import__, 'os'), 'system'), touch),
        'getattr of a module': Call(attribute(Call(importlib.import_module, 'builtins'), 'eval'), code),
        'getattr up from HistoryBuffer': Call(Call(attribute(namespace_of_builtins, 'get'), 'eval'), code),
        'nested': Call(list, Call(map, eval, Call(list, Call(reversed, [code])))),
        'torch.load': Call(functools.partial(torch.load, weights_only=False), str(inner)),
        'torch.hub': Call(functools.partial(torch.hub.load, source='local'), str(hub(scripts, code)), 'model'),
        'runpy': Call(runpy.run_path, str(script)),
        'methodcaller': Call(operator.methodcaller('touch'), Path(canary)),
        'timeit': Call(timeit.timeit, code, 'pass', time.perf_counter, 1),
        'marshal': Call(exec, Call(marshal.loads, marshal.dumps(compile(code, '', 'exec')))),
        'class instance': Trap(canary),
        'numpy object array': np.array([Call(os.system, touch), 1], dtype=object),
        'key of a dict': {Call(os.system, touch): 1},
        'HistoryBuffer': history,
        'ConfigDict': ConfigDict(a=[Call(eval, code)]),
    }


def hub(folder, code):
    (folder / 'hubconf.py').write_text(f'dependencies = []\n{code}\ndef model(*args):\n    pass\n')
    return folder


#: Pickles of protocols and opcodes other than torch's own, which do the same.
def raw_payloads(canary):
    touch = f'touch {canary}'.encode()
    return {
        'INST': b"(S'" + touch + b"'\nios\nsystem\n.",
        'OBJ': b"(cos\nsystem\nS'" + touch + b"'\no.",
        'STACK_GLOBAL': pickle.dumps(Call(os.system, touch.decode()), protocol=4),
        'protocol 0': pickle.dumps(Call(os.system, touch.decode()), protocol=0),
        'after a STOP': b'\x80\x02cos\nsystem\nX' + len(touch).to_bytes(4, 'little') + touch + b'\x85R}.',
    }


PLACES = {
    'alone': lambda payload: payload,
    'state_dict': lambda payload: {'state_dict': {'conv.weight': torch.ones(2), 'conv.bias': payload}},
    'meta': lambda payload: {'state_dict': {'w': torch.ones(2)}, 'meta': {'dataset_meta': payload}},
    'optimizer': lambda payload: {'state_dict': {'w': torch.ones(2)}, 'optimizer': {'state': {0: [payload]}}},
    'message_hub': lambda payload: {'state_dict': {}, 'message_hub': {'runtime_info': {'epoch': (1, payload)}}},
}


def save(content, path, file_format):
    if file_format == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=file_format == 'zip')
    return path


def save_raw(data, path, **options):
    """Write a pickle as a zip archive of torch.save has it."""
    with zipfile.ZipFile(path, 'w', **options) as archive:
        archive.writestr('archive/data.pkl', data)
        archive.writestr('archive/version', b'3\n')
    return path


def write_live(folder, canary):
    """Write the files with a program in them; names tell what and where."""
    names = list(payloads(canary))
    for index, name in enumerate(names):
        payload = payloads(canary)[name]
        place = list(PLACES)[index % len(PLACES)]
        for file_format in ('zip', 'legacy', 'pickle'):
            save(PLACES[place](payload), folder / f'{name} in {place}, {file_format}.pth', file_format)
    for place in PLACES:
        for file_format in ('zip', 'legacy'):
            content = PLACES[place](payloads(canary)['eval'])
            save(content, folder / f'eval in {place}, {file_format}.pth', file_format)
    for name, data in raw_payloads(canary).items():
        save_raw(data, folder / f'{name}, zip.pth')
        (folder / f'{name}.pth').write_bytes(data)


def dtype_state(*state):
    """A pickle of an array of the given state of its dtype."""

    class Type:
        def __reduce__(self):
            return np.dtype, ('V8', False, True), state

    class Array:
        def __reduce__(self):
            return np.zeros(0).__reduce__()[:2] + ((1, (1,), Type(), False, b'A' * 8),)

    return Array()


class SwappedStatistics:
    """A HistoryBuffer that would change what ``min`` means for all others."""

    def __reduce__(self):
        methods = {'min': HistoryBuffer.max}
        return HistoryBuffer, (), {**vars(HistoryBuffer([1.0], [1])), 'statistics_methods': methods}


def encode_often(times=40):
    """Few bytes that become 2**40."""
    data = b'ab'
    for _ in range(times):
        data = Call(importlib.import_module('_codecs').encode, data, 'hex')
    return data


#: What of that is read, without what would do harm.
HARMLESS = (
    'bytearray bomb',
    'tensor bomb',
    'numpy bomb',
    'ndarray bomb',
    'codec bomb',
    'dtype of objects',
    'dtype with a hidden pointer',
    'swapped statistics',
    'shared dicts bomb',
)


class Expanded:
    """A tensor of 2**40 elements over a storage of one."""

    def __reduce__(self):
        function, args = torch.zeros(1).__reduce_ex__(2)
        storage, offset, _, _, *others = args if function is torch._utils._rebuild_tensor_v2 else args[1]
        return torch._utils._rebuild_tensor_v2, (storage, offset, (2**40,), (0,), *others)


def shared_dicts(depth=40):
    """Few dicts that become 2**40 if each is copied wherever it is."""
    inner = {}
    for _ in range(depth):
        inner = {'a': inner, 'b': inner}

    class Config:
        def __reduce__(self):
            return ConfigDict, (inner,)

    return Config()


def write_broken(folder):
    """Write what cannot be read, and would fill the memory or upset numpy if it were tried."""
    good = {'state_dict': {'conv.weight': torch.arange(100.0)}, 'meta': {'epoch': 3}}
    whole = save(good, folder / 'whole', 'zip').read_bytes()
    legacy = save(good, folder / 'whole', 'legacy').read_bytes()
    (folder / 'whole').unlink()
    for part in (0.01, 0.1, 0.3, 0.5, 0.9, 0.99):
        (folder / f'zip cut at {part}.pth').write_bytes(whole[: int(len(whole) * part)])
        (folder / f'legacy cut at {part}.pth').write_bytes(legacy[: int(len(legacy) * part)])
    for name, needle in {'tensor': torch.arange(100.0).numpy().tobytes(), 'pickle': b'conv.weight'}.items():
        flipped = bytearray(whole)
        flipped[whole.index(needle) + 7] ^= 1
        (folder / f'{name} with a flipped bit.pth').write_bytes(flipped)
    texts = {
        'empty': '',
        'web page': '\n<!DOCTYPE html><html><body>404</body></html>',
        'text': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n',
        'JSON': json.dumps({'state_dict': {}}),
    }
    for name, text in texts.items():
        (folder / f'{name}.pth').write_text(text)
        (folder / f'{name}.safetensors').write_text(text)
    (folder / 'folder.pth').mkdir()
    (folder / 'zeros.pth').write_bytes(bytes(1000))
    (folder / 'picture.pth').write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(100))
    save_raw(pickle.dumps({'a': bytes(10**8)}, 2), folder / 'zip bomb.pth', compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(folder / 'some zip.pth', 'w') as archive:
        archive.writestr('readme.txt', 'nothing')
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(folder / 'TorchScript.pth'))
    objects = {
        'no dict': [1, 2],
        'no dict but a tensor': torch.ones(3),
        'bytearray bomb': Call(bytearray, 10**12),
        'tensor bomb': Call(torch.FloatTensor, 10**12),
        'storage bomb': Call(torch.UntypedStorage, 10**12),
        'numpy bomb': Call(np.zeros(0).__reduce__()[0], np.ndarray, (10**12,), b'd'),
        'ndarray bomb': Call(np.ndarray, (10**12,)),
        'codec bomb': encode_often(),
        'dtype of objects': Call(np.dtype, 'O', False, True),
        'dtype with a hidden pointer': dtype_state(3, '|', None, ('f',), {'f': (np.dtype('O'), 0)}, 8, 1, 0),
        'swapped statistics': SwappedStatistics(),
        'shared dicts bomb': shared_dicts(),
        'expanded bomb': Expanded(),
    }
    for name, content in objects.items():
        for file_format in ('zip', 'legacy'):
            save(
                {'meta': content} if 'no dict' not in name else content,
                folder / f'{name}, {file_format}.pth',
                file_format,
            )
    with zipfile.ZipFile(folder / 'storage larger than its entry.pth', 'w') as archive:
        for entry in zipfile.ZipFile(io.BytesIO(whole)).infolist():
            data = zipfile.ZipFile(io.BytesIO(whole)).read(entry)
            # 200 elements of which the entry has 100
            archive.writestr(entry.filename, re.sub(rb'(cpuq.)Kd', rb'\1K' + b'\xc8', data))
    small = io.BytesIO()
    torch.save({'a': torch.arange(4.0)}, small, _use_new_zipfile_serialization=False)
    lies = small.getvalue().replace(b'K\x04\x85q', b'J\x00\x00\x00\x40\x85q')
    assert lies != small.getvalue()
    (folder / 'tensor larger than its storage.pth').write_bytes(lies)
    (folder / 'tensor beyond its storage.pth').write_bytes(small.getvalue().replace(b'K\x04\x85q', b'K\x05\x85q'))
    huge = small.getvalue().replace(b'K\x04Nt', b'\x8a\x06\x00\x00\x00\x00\x00\x10Nt')
    assert huge != small.getvalue()
    (folder / 'storage larger than the file.pth').write_bytes(huge)
    (folder / 'memo bomb.pth').write_bytes(b'\x80\x02}r\xff\xff\xff\x7f.')
    save_raw(b'\x80\x02}r\xff\xff\xff\x7f.'[:-1] + b'cos\nsystem\n.', folder / 'memo bomb, zip.pth')
