import time

import pytest

from benchmarks.timing import WARM_UP_CALLS, Spread, measure, speedup


def test_spread_by_hand():
    # 0, 1 ... 20: between the ranks 0 and 20 the 5th percentile is rank 1, the 95th rank 19
    assert Spread.of(list(range(20, -1, -1))) == (10, 1, 19)
    # of two values, 5 and 95 % of the way from one to the other
    assert Spread.of([3.0, 1.0]) == pytest.approx((2.0, 1.1, 2.9))
    assert Spread.of([0.5]) == (0.5, 0.5, 0.5)
    assert Spread(1.234, 1.2, 10.256).text() == '1.23 [1.20, 10.26]'
    assert Spread(123.4, 99.6, 200).text(0) == '123 [100, 200]'


def test_ratios_are_taken_round_by_round():
    # the machine halves its pace in the second round; the ratio stays
    assert speedup([4.0, 8.0, 4.0], [2.0, 4.0, 1.0]) == [2.0, 2.0, 4.0]
    with pytest.raises(ValueError):
        speedup([1.0, 2.0], [1.0])


def test_every_round_times_every_workload_in_changing_order():
    calls = []
    runs = {name: lambda name=name: (time.sleep(0.002), calls.append(name)) for name in 'abc'}
    *_, times = measure(runs, rounds=8, least_seconds=0.001)
    assert {name: len(seconds) for name, seconds in times.items()} == dict(a=8, b=8, c=8)
    assert all(second >= 0.002 for seconds in times.values() for second in seconds)
    # each is warmed up and tried once, then runs once a round, as it takes long enough
    warm_up, timed = calls[: 3 * (WARM_UP_CALLS + 1)], calls[3 * (WARM_UP_CALLS + 1) :]
    assert warm_up == [name for name in 'abc' for _ in range(WARM_UP_CALLS + 1)]
    rounds = [''.join(timed[start : start + 3]) for start in range(0, len(timed), 3)]
    assert len(rounds) == 8 and all(sorted(order) == ['a', 'b', 'c'] for order in rounds)
    assert len(set(rounds)) > 1, 'always the same order: the one after a heavy workload would pay for it'


def test_short_runs_are_repeated_and_the_time_is_that_of_one():
    calls = []
    (times,) = measure({'a': lambda: (time.sleep(0.001), calls.append(1))}, 1, least_seconds=0.02)
    (seconds,) = times['a']
    # at most 0.02 / 0.001 repetitions, beside warm-up, trial and one that is not timed
    assert 3 < len(calls) - WARM_UP_CALLS - 2 <= 21
    assert 0.001 <= seconds < 0.02


def test_times_are_reported_after_each_whole_round():
    def stop_in_the_third_round():
        if len(rounds) == 2:
            raise KeyboardInterrupt

    rounds = []
    with pytest.raises(KeyboardInterrupt):
        for times in measure(dict(a=lambda: None, b=stop_in_the_third_round), rounds=5, least_seconds=1e-9):
            rounds.append(times)
    assert [len(seconds) for times in rounds for seconds in times.values()] == [1, 1, 2, 2]
    assert rounds[1]['a'][:1] == rounds[0]['a']
