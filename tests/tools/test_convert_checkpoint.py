"""Converting by the command that a user types."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


def convert(folder, *arguments):
    command = [sys.executable, ROOT / 'tools/convert_checkpoint.py', *arguments]
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300)


def test_it_says_what_became_of_the_file(files, timm_file, tmp_path):
    torch.save(files['detector'], tmp_path / 'epoch_12.pth')
    done = convert(tmp_path, 'epoch_12.pth', 'backbone.safetensors', '--to', 'timm')
    assert done.returncode == 0, done.stderr
    number = len([key for key in timm_file if not key.startswith(('conv_head', 'classifier'))])
    assert done.stdout.splitlines()[-2:] == [
        "epoch_12.pth is a detector's checkpoint",
        f'backbone.safetensors: {number} tensors as timm names them; '
        'left out: 5 of norm0, 5 of norm2, 5 of norm4, 5 of norm6, 1 of rpn_head',
    ]
    found = load_file(tmp_path / 'backbone.safetensors')
    assert len(found) == number and all(torch.equal(found[key], timm_file[key]) for key in found)


def test_mistakes_are_one_line(files, tmp_path):
    (tmp_path / 'page.pth').write_text('<html>not found</html>')
    torch.save(files['timm'], tmp_path / 'timm.pth')
    for name, message in (('missing.pth', 'missing.pth does not exist'), ('page.pth', 'it is a web page')):
        done = convert(tmp_path, name, 'out.pth', '--to', 'released')
        assert done.returncode == 2
        line = done.stderr.splitlines()[-1]
        assert line.startswith('error: ') and message in line
    done = convert(tmp_path, 'timm.pth', 'timm.pth', '--to', 'released')
    assert (done.returncode, 'timm.pth already exists' in done.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['page.pth', 'timm.pth']
