"""The lists at the widths of real terminals: one line a row, the telling part whole, more columns where there is room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from sqlalchemy import Engine, text

from producers.cli import main
from schemas.payloads import Queue
from schemas.states import JobState
from tests.integration.verbs import answer
from tests.support.jobs import add, claimed
from tests.support.reviews import add_dataset, plain_rows
from workers.jobs import fanout, ledger, worker_registry

WIDTHS = (80, 140)
LONG = "edited-by-the-support-team-in-november-2026-second-round"
WIDE = "要約データセット-日本語のとても長い名前-二〇二六年十一月の第二版"
NAMES = ("demo", LONG, WIDE)
TRAINING = {"step": 14, "total_steps": 241, "loss": 0.9214, "tokens_per_second": 57.3, "eta_seconds": 3960.0}
STANDING = "14/241 · loss 0.92 · 57 tok/s · 1 h 6 m"


@pytest.fixture
def datasets(clean_database: Engine) -> Engine:
    for name in NAMES:
        add_dataset(clean_database, plain_rows(3), name, opened=False)
    return clean_database


@pytest.fixture
def models(datasets: Engine) -> Engine:
    insert = (
        "INSERT INTO model (name, base, method, stage, adapter_uri, adapter_sha256, dataset, details) SELECT :name, "
        "'/models/tiny-llama-of-two-layers-with-a-long-name', 'lora', 'summary', '/adapters/a', 'abc', id, '{\"final_loss\": 0.5}' "
        "FROM dataset WHERE name = :name"
    )
    with datasets.begin() as connection:
        for name in NAMES:
            connection.execute(text(insert), {"name": name})
    return datasets


@pytest.fixture
def jobs(clean_database: Engine) -> Engine:
    """A job in each state: a training that runs, one that failed with a long message, and one that waits and one that was cancelled."""
    runs = claimed(clean_database, add(clean_database, kind="training.train"), owner="worker1@a-machine-with-a-long-name.example.org")
    with clean_database.begin() as connection:
        connection.execute(
            text("UPDATE job SET progress = cast(:progress AS jsonb) WHERE id = :job"), {"progress": json.dumps(TRAINING), "job": runs.job}
        )
    failed = claimed(clean_database, add(clean_database, kind="synthesis.synthesize"))
    built = claimed(clean_database, add(clean_database, kind="synthesis.synthesize"))
    cancelled = add(clean_database, kind="summarization.summarize")
    with clean_database.begin() as connection:
        ledger.finish(connection, failed, JobState.FAILED, error={"class": "UserError", "message": f"{WIDE} is\nempty: " + "no line " * 40})
        result = {"dataset": WIDE, "counts": {"train": 1071, "test": 300}}
        ledger.finish(connection, built, JobState.DONE, result=result)
        fanout.cancel(connection, cancelled)
    add(clean_database, kind="evaluation.evaluate")
    return clean_database


@pytest.fixture
def rejected(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Engine:
    path = tmp_path / "tweets_of_a_long_file_name_from_the_archive_of_2026_つぶやき.jsonl"
    path.write_text('{"id": "1", "text": "fine"}\nno JSON\n{"id": "2"}\n{"id": "3"}\n', encoding="utf-8")
    answer(capsys, "ingest", path, "--json")
    return clean_database


def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, *verb: str) -> list[str]:
    """The lines that a verb prints on a terminal of `width` cells."""
    monkeypatch.setenv("COLUMNS", str(width))
    capsys.readouterr()
    assert main(verb) == 0
    printed = capsys.readouterr().out.rstrip("\n").split("\n")
    assert max(map(cell_len, printed)) <= width
    return printed


@pytest.mark.parametrize("width", WIDTHS)
def test_jobs_are_a_line_each_with_what_they_do_now(jobs: Engine, width: int, capsys: Any, monkeypatch: Any) -> None:
    head, *rows = lines(capsys, monkeypatch, width, "jobs")
    assert len(rows) == 5
    standing = {row.split()[1]: row for row in rows}
    assert STANDING in standing["train"], "the telling part is whole"
    assert "waits for a worker" in standing["evaluate"]
    assert [row for row in rows if "1,071 train · 300 test · " in row], "what was built, not how far it got"
    assert [row for row in rows if "failed" in row and row.rstrip().endswith("…")]
    wide = {"created", "took"} if width == 140 else set()
    assert {"job", "kind", "state", "progress"} | wide <= set(head.split())
    assert ("created" in head) == (width == 140)


@pytest.mark.parametrize("width", WIDTHS)
def test_datasets_are_a_line_each_with_their_sizes(datasets: Engine, width: int, capsys: Any, monkeypatch: Any) -> None:
    head, *rows = lines(capsys, monkeypatch, width, "datasets")
    assert head.split() == ["dataset", "stage", "train", "test", "created", *["fingerprint"] * (width == 140)]
    assert [row.split()[0][:4] for row in rows] == [name[:4] for name in reversed(NAMES)]
    if width == 140:
        assert [row.split()[0] for row in rows] == list(reversed(NAMES)), "no name is cut where there is room"


@pytest.mark.parametrize("width", WIDTHS)
def test_models_are_a_line_each_and_their_names_share_the_room(models: Engine, width: int, capsys: Any, monkeypatch: Any) -> None:
    more = width == 140
    head, *rows = lines(capsys, monkeypatch, width, "models")
    assert head.split() == ["id", "model", "base", *["method", "stage"] * more, "dataset", *["loss"] * more, "created"]
    assert len(rows) == len(NAMES)
    cells = rows[1].split()
    assert min(len(cells[1]), len(cells[2])) >= (25 if more else 15)
    assert ("0.500" in rows[0]) == more


@pytest.mark.parametrize("width", WIDTHS)
def test_rejected_rows_are_a_line_each_and_a_reason_that_was_cut_stands_below(
    rejected: Engine, width: int, capsys: Any, monkeypatch: Any
) -> None:
    head, *rows = lines(capsys, monkeypatch, width, "rejected")
    assert head.split() == ["origin", "row", "field", "reason"]
    assert all("つぶやき.jsonl" in row for row in rows[:3]), "the end of a path says which file it is"
    assert [row.split()[1] for row in rows[:3]] == ["2", "3", "4"]
    whole = " ".join(" ".join(rows).split())
    assert "Where there are ids alone, fetch their texts first: twarc2 hydrate IDS > tweets.jsonl" in whole
    assert whole.count("twarc2") == 1, "a reason of many rows stands there once"


@pytest.mark.parametrize("width", WIDTHS)
def test_json_is_the_same_at_every_width(jobs: Engine, width: int, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    listed = answer(capsys, "jobs", "--json")
    assert [row["progress"] for row in listed if row["state"] == "running"] == [TRAINING]
    assert [row["error"]["message"].count("no line") for row in listed if row["state"] == "failed"] == [40]


@pytest.mark.parametrize("width", WIDTHS)
def test_status_is_a_line_a_worker_and_a_warning_is_whole(clean_database: Engine, width: int, capsys: Any, monkeypatch: Any) -> None:
    with clean_database.begin() as connection:
        worker_registry.register(connection, "worker1@host", list(Queue), 1)
        worker_registry.register(connection, f"worker2@{LONG}.example.org", ["training", "evaluation", "summarization"], 2)
    monkeypatch.setenv("COLUMNS", str(width))
    capsys.readouterr()
    main(["status"])
    printed = capsys.readouterr().out.rstrip("\n").split("\n")
    assert max(map(cell_len, printed)) <= width
    workers = [row for row in printed if row.startswith("worker")]
    assert len(workers) == 2
    assert workers[0].split()[1:5] == ["worker1@host", "·", "idle", "·"]
    assert workers[0].rstrip().endswith(" s ago · all queues")
    assert LONG in workers[1]
    assert ("evaluation, summarization" in workers[1]) == (width == 140)
    reading = json.loads(_printed(capsys, "status", "--json"))
    whole = " ".join(" ".join(printed).split())
    assert all(" ".join(text.split()) in whole for text in (*reading["problems"], *reading["warnings"]))


def _printed(capsys: pytest.CaptureFixture[str], *verb: str) -> str:
    capsys.readouterr()
    main(verb)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
def test_a_review_has_a_line_for_each_reviewer(clean_database: Engine, width: int, capsys: Any, monkeypatch: Any) -> None:
    rows = plain_rows(3)
    dataset = add_dataset(clean_database, rows)
    judged = "UPDATE review SET verdict = 'accepted', reviewer = :who, reviewed_at = now() WHERE dataset = :dataset AND key = :key"
    with clean_database.begin() as connection:
        for who, row in zip(("ann", "a-reviewer-with-a-login-of-many-letters@example.org", "林さんと友達の評価者"), rows, strict=True):
            connection.execute(text(judged), {"who": who, "dataset": dataset, "key": row.key})
    printed = lines(capsys, monkeypatch, width, "review", "buses", "--status")
    assert "0 of 3 rows are left" in printed[0]
    head = next(number for number, row in enumerate(printed) if row.startswith("reviewer"))
    assert printed[head].split() == ["reviewer", "rows", "by", "rules", "s", "a", "row", "last"]
    assert len(printed[head + 1 :]) == 3
