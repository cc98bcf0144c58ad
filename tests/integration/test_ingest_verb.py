"""`tweetmill ingest` and `tweetmill rejected`, as a person or a script uses them."""

from __future__ import annotations

import gzip
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from tests.integration.verbs import answer

GOOD = ['{"id": "1", "text": "first"}', '{"id": "2", "text": "second"}']
BAD = ['{"id": "3"}', "no json"]


def file_of(folder: Path, *lines: str, name: str = "tweets.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def stored(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {row.id: row.source for row in connection.execute(text("SELECT id, source FROM tweet ORDER BY id"))}


def test_a_file_is_stored_under_its_name_and_counted(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, "ingest", file_of(tmp_path, *GOOD, *BAD, GOOD[0]), "--json")

    assert told == {"source": "tweets", "read": 5, "inserted": 2, "duplicates": 1, "rejected": 2, "resumed_after_line": 0}
    assert stored(clean_database) == {"1": "tweets", "2": "tweets"}


def test_ingesting_the_same_file_again_adds_nothing(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, *GOOD, *BAD)
    answer(capsys, "ingest", path, "--json")

    told = answer(capsys, "ingest", path, "--source", "another name", "--json")

    assert (told["inserted"], told["duplicates"], told["rejected"]) == (0, 2, 2)
    assert set(stored(clean_database).values()) == {"tweets"}
    assert len(answer(capsys, "rejected", "--json")) == 2


def test_a_person_is_told_the_counts_and_how_to_see_what_was_rejected(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", str(file_of(tmp_path, *GOOD, *BAD))]) == 0

    captured = capsys.readouterr()
    assert "tweets: 2 new tweets, 0 known already, 2 rejected." in captured.out
    assert "tweetmill rejected --origin" in captured.err


def test_rejected_rows_are_shown_by_the_end_of_their_files_path(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, *GOOD, *BAD)
    answer(capsys, "ingest", path, "--json")
    answer(capsys, "ingest", file_of(tmp_path, "[1]", name="other.jsonl"), "--json")

    rows = answer(capsys, "rejected", "--origin", "tweets.jsonl", "--json")

    assert [(row["origin"], row["row"], row["field"]) for row in rows] == [(str(path), "3", "text"), (str(path), "4", None)]
    assert "weets.jsonl" not in [row["origin"] for row in answer(capsys, "rejected", "--origin", "weets.jsonl", "--json")]
    assert main(["rejected", "--origin", "tweets.jsonl", "--limit", "1"]) == 0
    captured = capsys.readouterr()
    assert "not valid JSON" in captured.out
    assert "1 more" in captured.err


def test_standard_input_is_a_source_too(
    clean_database: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = io.TextIOWrapper(io.BufferedReader(io.BytesIO("\n".join(GOOD).encode())))
    monkeypatch.setattr(sys, "stdin", piped)

    assert answer(capsys, "ingest", "-", "--source", "archive", "--json")["inserted"] == 2
    assert set(stored(clean_database).values()) == {"archive"}


def test_an_interrupted_ingest_goes_on_when_the_command_is_given_again(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given an archive that was cut off, as a download is, after two batches
    lines = [json.dumps({"id": str(number), "text": f"tweet {number} {number**7}"}) for number in range(12_000)]
    whole = gzip.compress("\n".join(lines).encode(), mtime=0)
    path = tmp_path / "tweets.jsonl.gz"
    path.write_bytes(whole[: len(whole) - len(whole) // 10])
    assert len(whole) > 80_000
    assert main(["ingest", str(path)]) == 1
    assert "the gzip archive is damaged" in capsys.readouterr().err
    before = len(stored(clean_database))
    assert 0 < before < 12_000

    # When the rest has come
    path.write_bytes(whole)
    told = answer(capsys, "ingest", path, "--json")

    # Then only what was missing is read
    assert told["resumed_after_line"] == before - 1
    assert (told["read"], told["duplicates"]) == (12_000 - before + 1, 1)
    assert len(stored(clean_database)) == 12_000


def test_an_ingest_that_was_killed_loses_nothing_and_stores_nothing_twice(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, *(json.dumps({"id": str(number), "text": f"tweet {number}"}) for number in range(100_000)))
    command = [sys.executable, "-c", "import sys; from producers.cli import main; sys.exit(main())", "ingest", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not stored(clean_database):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until_rolled_back(clean_database)
    before = len(stored(clean_database))

    told = answer(capsys, "ingest", path, "--json")

    assert told["resumed_after_line"] == before - 1
    assert (told["inserted"], told["duplicates"]) == (100_000 - before, 1)


def wait_until_rolled_back(engine: Engine) -> None:
    """Postgres notices a dead client when it next speaks to it."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    with engine.connect() as connection:
        while connection.execute(text(others)).scalar():
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["/nowhere/tweets.jsonl"], "does not exist"),
        (["/tmp"], "is a folder"),
        (["-", "--source", " "], "1 to 200 characters"),
        ([], "Missing argument"),
    ],
)
def test_bad_usage_is_told_from_failure(
    clean_database: Engine, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["ingest", *arguments]) == 2
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_file_in_no_known_form_says_which_forms_are_known(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", str(file_of(tmp_path, "just prose", name="prose.txt"))]) == 1
    assert "JSON Lines with `id` and `text`" in capsys.readouterr().err


def test_the_command_line_loads_no_torch() -> None:
    code = "import sys, producers.cli.ingest, producers.recipes, workers.intake, tasks.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
