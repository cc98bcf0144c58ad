"""`tweetmill summarize` and `tweetmill summaries`, with a tiny model and a worker beside them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed
from tests.support.tiny_model import build_tiny_model
from workers.catalog.summaries import EXPORT_COLUMNS
from workers.inference import engines

AWKWARD = 'The bus, "number 4", was late\nagain\tand I missed my train!'


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    path = tmp_path / "bus.jsonl"
    lines = [{"id": str(number), "text": f"The library is open on Monday {number}, I hope it is!"} for number in range(5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"id": "awkward", "text": AWKWARD}]))
    return path


@pytest.fixture
def model(clean_database: Engine, base: Path) -> Iterator[str]:
    with clean_database.begin() as connection:
        statement = "INSERT INTO model (name, base, method, stage) VALUES ('tiny', :base, 'none', 'summary')"
        connection.execute(text(statement), {"base": str(base)})
    yield "tiny"
    engines._warm.clear()


@pytest.fixture
def summarised(clean_database: Engine, model: str, tweets: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A file, summarised and waited for; what the verb answered."""
    with working(clean_database):
        return answer(capsys, "summarize", tweets, "--model", model, "--shard-size", 4, "--wait", "--json")


def lines_of(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


class TestSummarize:
    def test_a_file_is_ingested_summarised_and_waited_for(self, clean_database: Engine, summarised: dict[str, Any]) -> None:
        assert (summarised["tweets"], summarised["shards"]) == (6, 2)
        with clean_database.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM summary")).scalar() == 6

    def test_an_ingested_source_is_known_by_its_name_and_the_job_is_left_to_the_workers(
        self, clean_database: Engine, model: str, tweets: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer(capsys, "ingest", tweets, "--json")

        result = answer(capsys, "summarize", "bus", "--model", model, "--limit", 2, "--no-guard", "--json")

        assert result["new"] is True
        with clean_database.connect() as connection:
            payload = connection.execute(text("SELECT payload FROM job WHERE id = :job"), {"job": result["job"]}).scalar_one()
        assert (payload["source"], payload["limit"], payload["guard"]) == ("bus", 2, False)

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (["nowhere", "--model", "tiny"], 1, "neither a file nor an ingested source. Sources: bus"),
            (["bus", "--model", "giant"], 1, "model giant: there is none. `tweetmill models` lists them"),
            (["bus", "--model", "tiny", "--exclude-dataset", "d"], 1, "dataset d: there is none"),
            (["bus"], 2, "no model is named: no model is in service by default"),
            (["bus", "--model", "tiny", "--shard-size", "0"], 2, "--shard-size"),
        ],
    )
    def test_what_is_not_there_is_told_with_what_is(
        self, model: str, tweets: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
    ) -> None:
        answer(capsys, "ingest", tweets, "--json")

        assert told in complaint(capsys, code, "summarize", *arguments)

    def test_a_job_that_fails_says_why_and_ends_with_1(
        self, clean_database: Engine, model: str, tweets: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer(capsys, "ingest", tweets, "--json")
        with clean_database.begin() as connection:
            connection.execute(text("UPDATE model SET base = '/nowhere'"))

        with working(clean_database):
            message = complaint(capsys, 1, "summarize", "bus", "--model", model, "--wait")

        assert "1 shards did not finish" in message
        assert "tweetmill retry" in message


class TestSummaries:
    def test_are_printed_one_json_object_a_line_with_all_fields(
        self, summarised: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = lines_of(printed(capsys, "summaries"))

        assert [row["tweet"] for row in rows] == ["0", "1", "2", "3", "4", "awkward"]
        assert all(tuple(row) == EXPORT_COLUMNS for row in rows)
        awkward = rows[-1]
        assert awkward["text"] == AWKWARD
        assert awkward["model"] == "tiny"
        assert isinstance(awkward["flags"], list)
        assert all(awkward[name] for name in ("summary", "cleaned", "prompt_version", "worker"))

    def test_csv_and_a_file_hold_the_same(self, summarised: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rows = lines_of(printed(capsys, "summaries"))
        target = tmp_path / "out.csv"

        assert printed(capsys, "summaries", "--format", "csv", "--output", target) == ""

        table = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"), newline="")))
        assert [(row["tweet"], row["text"], row["summary"]) for row in table] == [
            (row["tweet"], row["text"], row["summary"]) for row in rows
        ]
        assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out.csv"]

    def test_json_is_one_array(self, summarised: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
        assert answer(capsys, "summaries", "--json") == lines_of(printed(capsys, "summaries"))
        assert answer(capsys, "summaries", "--limit", 1, "--json") == lines_of(printed(capsys, "summaries"))[:1]
        assert "choose one" in complaint(capsys, 2, "summaries", "--json", "--format", "csv")

    def test_a_job_has_the_tweets_of_its_selection_even_those_that_an_earlier_job_did(
        self, clean_database: Engine, summarised: dict[str, Any], model: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with working(clean_database):
            again = answer(capsys, "summarize", "--model", model, "--limit", 2, "--wait", "--json")

        assert len(lines_of(printed(capsys, "summaries", "--job", summarised["job"]))) == 6
        assert len(lines_of(printed(capsys, "summaries", "--job", again["job"][:8]))) == 2
        with clean_database.connect() as connection:
            shards = connection.execute(text("SELECT id FROM job WHERE parent = :job"), {"job": summarised["job"]}).scalars()
            assert sorted(len(lines_of(printed(capsys, "summaries", "--job", shard))) for shard in shards) == [2, 4]

    def test_can_be_narrowed_to_a_model(
        self, clean_database: Engine, summarised: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with clean_database.begin() as connection:
            connection.execute(text("INSERT INTO model (name, base, method, stage) VALUES ('other', 'x', 'none', 'summary')"))

        assert len(lines_of(printed(capsys, "summaries", "--model", "tiny"))) == 6
        assert printed(capsys, "summaries", "--model", "other") == ""

    def test_none_yet_is_no_error(self, clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
        assert printed(capsys, "summaries") == ""
        assert answer(capsys, "summaries", "--json") == []

    def test_a_reader_that_has_enough_ends_it_quietly(self, clean_database: Engine, model: str) -> None:
        with clean_database.begin() as connection:
            connection.execute(
                text("INSERT INTO tweet (id, source, text, text_hash) SELECT n, 's', repeat('x', 200), n FROM generate_series(1, 3000) n")
            )
            connection.execute(
                text(
                    "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt) "
                    "SELECT tweet.id, model.id, '1', 'c', 's', 1 FROM tweet, model"
                )
            )
        command = [sys.executable, "-c", "import sys; from producers.cli import main; sys.exit(main())", "summaries"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
        assert process.stdout is not None
        assert process.stderr is not None

        first = process.stdout.readline()
        process.stdout.close()

        assert json.loads(first)["tweet"] == "1"
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
