from functools import partial
from typing import NamedTuple

import pytest
import torch

from benchmarks.memory import peak_memory

MEBIBYTE = 2**20


def hold(mebibytes):
    return float(torch.ones(mebibytes * MEBIBYTE // 4).sum())


class Holder(NamedTuple):
    """Keeps some memory, and takes more while it runs."""

    keeps: int
    takes: int
    device: str = 'cpu'

    def build(self):
        kept = torch.ones(self.keeps * MEBIBYTE // 4)
        # while it is built it takes more than ever after
        hold(400)
        return lambda: (kept[0], hold(self.takes))

    def build_tiny(self):
        return partial(hold, 1)


def test_what_is_kept_and_taken_while_running_counts_and_nothing_else():
    assert peak_memory(Holder(100, 150)) == pytest.approx(250 * MEBIBYTE, abs=8 * MEBIBYTE)


class Victim(Holder):
    """Is ended from outside."""

    def build(self):
        import os

        os.kill(os.getpid(), 9)


def test_a_process_that_is_ended_costs_one_number_only():
    assert peak_memory(Victim(1, 1)) is None
