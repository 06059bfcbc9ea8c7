import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from benchmarks.comparison import Comparison
from benchmarks.runner import Plan, compare
from benchmarks.workloads import COMPILED, TIMM, Workload

#: Calls before the first round: one for the output, the warm-up, and a trial.
UNTIMED = 4


@dataclass(frozen=True)
class Sleeper(Workload):
    """Returns the length of its mode's name, after long enough to run once a round."""

    stop_in_round: int | None = None

    def build(self) -> Callable[[], int]:
        calls = []

        def run() -> int:
            time.sleep(0.06)
            calls.append(1)
            if self.stop_in_round and len(calls) == UNTIMED + self.stop_in_round:
                raise KeyboardInterrupt
            return len(self.mode)

        return run

    build_tiny = build

    def difference(self, output: int, expected: int) -> float:
        return output - expected


def carry_out(out, *workloads, rounds=None, **plan):
    return compare('sleep', Plan(workloads, rounds=3, **plan), dict(size=None), rounds, 'cpu', out)


def test_each_workload_is_compared_with_its_baseline_timed_and_measured(tmp_path, capsys):
    drawn = []
    comparison = carry_out(
        tmp_path,
        *(Sleeper('resnet50', mode, batch=2) for mode in (TIMM, COMPILED)),
        rounds=2,
        remarks=lambda comparison: [f'{len(comparison.results)} workloads slept'],
        draw=lambda comparison, path: drawn.append(path),
    )
    assert [(r.name, r.mode, r.baseline, r.dtype, r.difference) for r in comparison.results] == [
        ('ResNet-50', 'timm', None, 'float32', None),
        ('ResNet-50', 'compiled', 'timm', 'float32', 4),
    ]
    assert [r.memory is not None for r in comparison.results] == [True, False]
    assert all((r.images, r.batch, len(r.times)) == ('2x224x224', 2, 2) for r in comparison.results)
    assert comparison.settings == dict(size=None, rounds=2) and drawn == [tmp_path / 'sleep.png']
    assert Comparison.read(tmp_path / 'sleep.json') == comparison
    printed = capsys.readouterr().out
    assert '2 interleaved rounds' in printed and '2 workloads slept' in printed
    assert f'written: {tmp_path}/sleep.json, sleep.md' in printed


def test_an_interrupted_comparison_has_written_and_prints_its_finished_rounds(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, Sleeper('fasternet_t0'), Sleeper('fasternet_t0', 'eager', stop_in_round=3))
    results = json.loads((tmp_path / 'sleep.json').read_text())['results']
    assert [(result['mode'], len(result['times'])) for result in results] == [('timm', 2), ('eager', 2)]
    for text in (capsys.readouterr().out, (tmp_path / 'sleep.md').read_text()):
        assert '2 interleaved rounds' in text and 'eager' in text and 'times as fast' in text


def test_an_interruption_in_the_first_round_leaves_and_prints_nothing(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, Sleeper('fasternet_t0', stop_in_round=1))
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out
