"""The demo's report: what was done, how long each phase took, and what an earlier run had done already."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from producers.demo.story import Report


@pytest.fixture
def report() -> Report:
    return Report(figures={"tweets": {"ingested": 3}, "model": 1})


def written(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_it_holds_the_figures_the_seconds_and_their_sum(report: Report, tmp_path: Path) -> None:
    report.seconds |= {"fetch": 1.5, "stack": 2.25}
    report.write(tmp_path / "report.json")
    assert written(tmp_path / "report.json") == {
        "tweets": {"ingested": 3},
        "model": 1,
        "seconds": {"fetch": 1.5, "stack": 2.25, "total": 3.8},
        "reused": [],
    }


def test_each_phase_is_announced_and_timed(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    with report.phase("fetch", "Fetch the tweets"):
        time.sleep(0.2)
    with report.phase("stack", "Start the stack"):
        pass
    assert list(report.seconds) == ["fetch", "stack"]
    assert 0.2 <= report.seconds["fetch"] < 5
    assert report.seconds["stack"] < 0.2
    printed = capsys.readouterr()
    assert "1. Fetch the tweets" in printed.err
    assert "2. Start the stack" in printed.err
    assert printed.out == "", "standard output is for the result"


def test_a_phase_that_failed_has_no_seconds(report: Report) -> None:
    with pytest.raises(RuntimeError), report.phase("training", "Train"):
        raise RuntimeError
    assert report.seconds == {}


def test_what_an_earlier_run_did_is_noted_and_said(report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.note_reuse("the dataset")
    report.note_reuse("the tuned model")
    report.write(tmp_path / "report.json")
    assert written(tmp_path / "report.json")["reused"] == ["the dataset", "the tuned model"]
    assert "reused: the dataset of an earlier run" in capsys.readouterr().err


def test_it_replaces_an_older_one_at_once_and_leaves_nothing_beside_it(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"old": true}')
    reader = path.open()
    report.write(path)
    assert json.load(reader) == {"old": True}, "whoever reads the old one reads it to its end"
    reader.close()
    assert "old" not in written(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_one_that_cannot_be_written_leaves_the_older_one(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"old": true}')
    report.figures["model"] = {(1, 2): "no key of JSON"}
    with pytest.raises(TypeError):
        report.write(path)
    assert written(path) == {"old": True}


def test_tweets_stand_in_it_as_they_are(report: Report, tmp_path: Path) -> None:
    report.figures["sample"] = [{"tweet": "“late” 🎉", "summary": "Late."}]
    report.write(tmp_path / "report.json")
    assert "“late” 🎉" in (tmp_path / "report.json").read_text(encoding="utf-8")
