"""Benchmarks tell ratios of ways that took turns, and nothing where the ways did not do the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import kills, plans, scale, slow_server
from benchmarks.__main__ import NEEDS_SERVERS, main
from benchmarks.measure import Way, compare, machine, spread


def way(name: str, said: list[str], seconds: float = 0.0, units: int = 5) -> Way:
    def run() -> int:
        said.append(name)
        time.sleep(seconds)
        return units

    return Way(name, run)


def test_the_ways_take_turns_and_the_first_round_does_not_count() -> None:
    said: list[str] = []
    comparison = compare(way("a", said), [way("b", said), way("c", said)], unit="things", rounds=3)
    assert "".join(said) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(ratios) for name, ratios in comparison.ratios.items()} == {"b": 3, "c": 3}
    assert (comparison.subject, comparison.units) == ("a", 5)


def test_a_ratio_says_how_many_times_as_long_the_other_took() -> None:
    comparison = compare(way("quick", [], 0.01), [way("slow", [], 0.05)], unit="things")
    assert all(2 < ratio < 10 for ratio in comparison.ratios["slow"])


def test_what_goes_before_is_done_each_time_and_not_timed() -> None:
    prepared: list[int] = []

    def prepare() -> None:
        prepared.append(1)
        time.sleep(0.05)

    subject = Way("prepared", lambda: time.sleep(0.01) or 5, prepare)
    comparison = compare(subject, [way("bare", [], 0.01)], unit="things")
    assert len(prepared) == 4
    assert all(ratio > 0.5 for ratio in comparison.ratios["bare"])


def test_ways_that_did_not_do_the_same_are_not_compared() -> None:
    with pytest.raises(ValueError, match="did not do the same"):
        compare(way("a", []), [way("b", [], units=4)], unit="things")


def test_fewer_than_three_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        compare(way("a", []), [way("b", [])], unit="things", rounds=2)


def test_the_spread_is_told_with_its_median_and_no_seconds() -> None:
    assert spread([2.0, 8.0, 3.0]) == {"min": 2.0, "median": 3.0, "max": 8.0}
    comparison = compare(way("a", []), [way("b", [])], unit="things")
    told = comparison.as_dict()
    assert set(told) == {"subject", "n", "unit", "times_as_long_as_subject", "notes"}
    assert "second" not in " ".join(comparison.lines())


def test_the_machine_is_told() -> None:
    told = machine()
    assert all(told[name] for name in ("cpu", "cores", "memory_gib", "system", "python"))


@pytest.mark.parametrize("name", NEEDS_SERVERS)
def test_every_benchmark_can_be_run_by_its_name(name: str) -> None:
    module = __import__(f"benchmarks.{name}", fromlist=["run"])
    assert isinstance(module.run, Callable)


def test_an_unknown_name_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "no such benchmark: speed. There are inference, ablation, training" in capsys.readouterr().err


def test_a_benchmark_without_its_model_says_how_to_get_it(stack_home: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inference", "--json"]) == 1
    assert "tweetmill fetch" in capsys.readouterr().out


def test_a_storm_is_over_when_nothing_has_come_for_a_while() -> None:
    looks, moments = iter((True, True, False, True, True, True)), iter((0.0, 2.0, 10.0, 12.0, 13.5))
    quiet = kills.Quiet(lambda: next(looks), lambda: next(moments))
    assert [quiet() for _ in range(6)] == [False, False, False, False, False, True]


def test_both_ways_of_a_storm_stand_side_by_side() -> None:
    plain = kills.Outcome("plain", seed=1, jobs=10, kills=2, lost=1, begun_again=3, rows_twice=2, processes_left=0, seconds=1.5)
    storms = kills.Storms([plain])
    assert storms.lines()[0].startswith("| way | seed | jobs | kills | lost |")
    assert storms.lines()[2] == "| plain | 1 | 10 | 2 | 1 | 3 | 2 | 0 | 1.5 |"
    assert storms.as_dict() == {"outcomes": [vars(plain)]}


def test_a_plan_that_reads_a_whole_table_is_called_one() -> None:
    good = plans.Explained("ledger.claim", "UPDATE job", ("Index Scan job_pkey",), 0.1, 0)
    bad = plans.Explained("somebody", "SELECT", ("Bitmap Index Scan job_parent", "Seq Scan job"), 70.0, 990_000)
    told = plans.Plans(1_000_000, [good, bad])
    assert (good.scans_a_whole_table, bad.scans_a_whole_table) == (False, True)
    assert (told.slowest, told.as_dict()["sequential_scans"]) == (bad, 1)
    assert told.lines()[-1] == "| somebody | Bitmap Index Scan job_parent, Seq Scan job | 990000 | 70.00 |"


def test_the_load_of_a_server_is_the_mean_of_its_open_requests_while_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((0.0, 10.0, 12.0, 13.0, 14.0, 100.0))  # made, +1, +1, -1, -1, asked
    monkeypatch.setattr(slow_server.time, "perf_counter", lambda: next(now))
    load = slow_server.Load()
    for by in (1, 1, -1, -1):
        load.change(by)
    assert load.told() == {"open_mean": 1.2, "open_most": 2, "requests": 2, "busy_seconds": 4.0}


def test_workers_are_told_by_the_median_of_their_speed_ups() -> None:
    told = scale.Scale(workers=[scale.Adding(8, [7.0, 7.9, 7.4], gap=0.02, busy=0.5, connections=24)])
    assert told.lines()[-1] == (
        "8 workers: 7.40 times one (min 7.00, max 7.90), 2.0% of a shard between two, 50% of the cores busy, 24 connections"
    )


def test_no_two_tweets_of_the_scale_benchmark_are_equal(tmp_path: Path) -> None:
    scale._write(tmp_path / "tweets.jsonl", 3_000)
    texts = [json.loads(line)["text"] for line in (tmp_path / "tweets.jsonl").open()]
    assert len(set(texts)) == len(texts) == 3_000
