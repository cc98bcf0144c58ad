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
from tests.integration.verbs import answer, complaint, printed

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
    result = answer(capsys, "ingest", file_of(tmp_path, *GOOD, *BAD, GOOD[0]), "--json")

    counts = {"read": 5, "inserted": 2, "duplicates": 1, "collisions": 0, "rejected": 2}
    assert result == {"source": "tweets", **counts, "forgotten": 0, "notices": {}, "same_text": 0, "unusable": {}, "resumed_after_line": 0}
    assert stored(clean_database) == {"1": "tweets", "2": "tweets"}


def test_ingesting_the_same_file_again_adds_nothing(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file_of(tmp_path, *GOOD, *BAD)
    answer(capsys, "ingest", path, "--json")

    result = answer(capsys, "ingest", path, "--source", "another name", "--json")

    assert (result["inserted"], result["duplicates"], result["rejected"]) == (0, 2, 2)
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
    complaint(capsys, 1, "ingest", file_of(tmp_path, "[1]", name="other.jsonl"))

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
    result = answer(capsys, "ingest", path, "--json")

    # Then only what was missing is read
    assert result["resumed_after_line"] == before - 1
    assert (result["read"], result["duplicates"]) == (12_000 - before + 1, 1)
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

    result = answer(capsys, "ingest", path, "--json")

    assert result["resumed_after_line"] == before - 1
    assert (result["inserted"], result["duplicates"]) == (100_000 - before, 1)


def wait_until_rolled_back(engine: Engine) -> None:
    """Postgres notices a dead client when it next speaks to it."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    with engine.connect() as connection:
        while connection.execute(text(others)).scalar():
            time.sleep(0.02)


def rejections(engine: Engine) -> list[tuple[str, str | None, str]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT row_key, field, reason FROM rejected_row ORDER BY id"))]


def test_every_row_is_counted_once_by_what_became_of_it(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "ingest", file_of(tmp_path, '{"id": "1", "text": "first"}', name="before.jsonl"), "--json")
    rows = [
        '{"id": "1", "text": "first"}',
        '{"id": "1", "text": "another"}',
        '[{"id": "2", "text": "first"}, {"id": "3", "text": "new"}, {"id": "3", "text": "newer"}, {"id": "4"}, {"id": "5"}]',
        '{"id": "6", "text": "new", "created_at": "2/3/2015", "lang": ["en", "de"], "author": {"n": 1}}',
        '{"delete": {"status": {"id": 1}}}',
        '{"limit": {"track": 1}}',
    ]
    path = file_of(tmp_path, *rows)

    result = answer(capsys, "ingest", path, "--json")

    assert {name: result[name] for name in ("read", "inserted", "duplicates", "collisions", "rejected", "same_text")} == {
        "read": 10, "inserted": 3, "duplicates": 1, "collisions": 2, "rejected": 2, "same_text": 2,
    }  # fmt: skip
    assert result["notices"] == {"deletion": 1, "limit notice": 1}
    assert result["unusable"] == {"author": 1, "lang": 1, "created_at": 1}
    kinds = ("inserted", "duplicates", "collisions", "rejected")
    assert result["read"] == sum(result[name] for name in kinds) + sum(result["notices"].values())
    kept = rejections(clean_database)
    assert [(row, field) for row, field, _ in kept] == [("3 item 4", "text"), ("3 item 5", "text"), ("2", "id"), ("3 item 3", "id")]
    assert all("known with another text" in reason for row, field, reason in kept if field == "id")
    assert " ".join(printed(capsys, "ingest", path).split()) == (
        "tweets: 0 new tweets, 4 known already, 2 with a known id and another text, 2 rejected, 1 no tweets (deletion), "
        "1 no tweets (limit notice). Fields that could not be used and are left out: author 1, lang 1, created_at 1."
    )


def test_two_texts_under_one_rounded_id_are_never_lost_silently(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, "id,text", "1290000000000000000,the parade", "1290000000000000000,the dentist", name="rounded.csv")

    assert main(["ingest", str(path)]) == 0

    captured = capsys.readouterr()
    assert "rounded: 1 new tweets, 0 known already, 1 with a known id and another text, 0 rejected." in " ".join(captured.out.split())
    assert "1 line of" in captured.err
    assert [(row["row"], row["field"]) for row in answer(capsys, "rejected", "--origin", "rounded.csv", "--json")] == [("3", "id")]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (['{"id": "1"}', '{"id": "2"}', "no json"], "none of 3 rows can be used. line 1, text: the text is missing: the keys are id."),
        (['{"id": "1"}', '{"id": "2"}', "no json"], "says which holds the text (2 rows); line 3: the line is not valid JSON"),
        (['{"delete": {}}', '{"delete": {}}'], "none of 2 rows can be used, 2 no tweets (deletion)"),
        ([], "it is empty: there is no tweet in it"),
    ],
)
def test_where_nothing_was_gained_the_exit_code_says_so_and_the_commonest_reasons_are_told(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str], sentence: str
) -> None:
    assert sentence in complaint(capsys, 1, "ingest", file_of(tmp_path, *lines), "--json")


def test_keys_of_other_names_are_told_by_a_map(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"n": 7, "says": {"body": ["so late"]}, "by": {"nick": "ann"}}', '{"n": 8, "says": {"body": ["so wet"]}}']
    path = file_of(tmp_path, *rows, name="odd.jsonl")
    table = file_of(tmp_path, "uid,what they said", "9,so cold", name="odd.csv")

    assert main(["ingest", str(path), "--map", "text=says.body.0,id=n,author=by.nick,lang=by.tongue"]) == 0
    assert "No row has by.tongue, which --map names for lang; the first row's keys are n, says.body, by.nick." in capsys.readouterr().err
    answer(capsys, "ingest", table, "--map", "text=What they said,id=UID", "--json")

    with clean_database.connect() as connection:
        found = [tuple(row) for row in connection.execute(text("SELECT id, text, author FROM tweet ORDER BY id"))]
    assert found == [("7", "so late", "ann"), ("8", "so wet", None), ("9", "so cold", None)]
    assert "there is no words, which --map names for the text: the row's keys are n, says.body, by.nick" in complaint(
        capsys, 1, "ingest", path, "--map", "text=words"
    )
    assert "names no column words, which --map says is the text: its columns are uid" in complaint(
        capsys, 1, "ingest", table, "--map", "text=words"
    )


@pytest.mark.parametrize("told", ["body", "text=", "text=a,text=b", "words=body", "text=a,,id=b"])
def test_a_map_that_is_none_is_bad_usage_and_names_the_fields(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    said_ = complaint(capsys, 2, "ingest", file_of(tmp_path, *GOOD), "--map", told)
    assert "the fields are text, id, author, lang, created_at, conversation" in said_
    assert stored(clean_database) == {}


def test_rejected_rows_are_found_by_any_path_to_their_file(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer(capsys, "ingest", file_of(Path(), *GOOD, *BAD), "--json")

    for typed in ("tweets.jsonl", "./tweets.jsonl", tmp_path / "tweets.jsonl"):
        assert len(answer(capsys, "rejected", "--origin", typed, "--json")) == 2
    for typed in ("weets.jsonl", "tweets", tmp_path):
        assert answer(capsys, "rejected", "--origin", typed, "--json") == []


def test_a_file_in_an_encoding_of_its_own_is_read_when_it_is_named(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tweets.csv"
    path.write_bytes("id,text\n1,the café is closed\n2,plain\n".encode("latin-1"))
    assert answer(capsys, "ingest", path, "--json")["rejected"] == 1
    (refused,) = answer(capsys, "rejected", "--json")
    assert "--encoding latin-1" in refused["reason"]

    assert answer(capsys, "ingest", path, "--encoding", "latin-1", "--json")["inserted"] == 1

    with clean_database.connect() as connection:
        assert connection.execute(text("SELECT text FROM tweet WHERE id = '1'")).scalar_one() == "the café is closed"


def test_refused_elements_of_one_array_are_rows_of_their_own(
    clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tweets.json"
    path.write_text('[{"id": "1", "text": "a"}, {"id": "2"}, {"id": "3", "text": "c"}, {"id": "4"}]')

    assert answer(capsys, "ingest", path, "--json")["rejected"] == 2

    assert [row["row"] for row in answer(capsys, "rejected", "--json")] == ["item 2", "item 4"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-", "--encoding", "klingon"], "no text encoding of that name"),
        (["-", "--encoding", "base64"], "no text encoding of that name"),
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
    modules = "producers.cli.tweets.ingest, producers.recipes, workers.ingest.tweets, tasks.evaluation"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
