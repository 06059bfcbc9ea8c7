"""Workers of data loaders."""

import subprocess
import sys

import pytest

HAND_OVER = """
import time
from multiprocessing import connection, current_process, resource_sharer
from mmfasternet.training import exit_with_parent

exit_with_parent(0)
place, key = resource_sharer._resource_sharer.register(lambda *_: (_ for _ in ()).throw({error}('seen')), lambda: None)
with connection.Client(place, authkey=current_process().authkey) as fetching:
    fetching.send((key, 0))
    fetching.poll(5)
time.sleep(0.5)
"""


@pytest.mark.parametrize('error, told', [('ConnectionResetError', False), ('ValueError', True)])
def test_a_parent_that_ends_while_it_fetches_a_batch(error, told):
    """Its worker, here the same process, says nothing of that, but all of other errors."""
    command = [sys.executable, '-c', HAND_OVER.format(error=error)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert (f'{error}: seen' in done.stderr) == told, done.stderr
