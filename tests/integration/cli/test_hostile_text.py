"""What tweets, names and errors may hold, through every verb that shows them: seen as text, and never obeyed."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli import main
from schemas.states import JobState
from tests.integration.in_process import working
from tests.support.jobs import add, claimed
from workers.jobs import ledger

HOSTILE = "late \x1b]52;c;bWluZQ==\x1b\\ \x1b[2J \x9b31m \u202etxet\u202c \u2066i\u2069 \x7f [bold]b[/bold] [/x] [link=x.invalid]l[/link]"
ROWS = (
    (HOSTILE, f"It is {HOSTILE}"),
    ("=cmd|' /C calc'!A0 it is l8", '=HYPERLINK("x.invalid","x")'),
    ("@somebody u r l8", "-5 is what it says."),
    ("'=quoted already", "''@twice"),
    ("+1 to that", "\t=tabbed"),
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(clean_database: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    """One command while a worker works: exit code, standard output, standard error."""

    def one(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with working(clean_database):
            code = main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return one


@pytest.fixture
def dataset(run: Run, tmp_path: Path) -> str:
    file = tmp_path / "[red]rows[link=x].jsonl"
    rows = [*ROWS, *((f"bus {number} is l8", f"Bus {number} is late.") for number in range(4))]
    file.write_text("".join(json.dumps({"prompt": prompt, "completion": answer}) + "\n" for prompt, answer in rows))
    code, _, err = run("import", file, "--form", "prompt-completion", "--dataset", "hostile")
    assert code == 0, err
    return "hostile"


def obeyed(said: str) -> set[str]:
    return {character for character in said if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\n\t"}


def examples(run: Run, name: str) -> list[dict[str, Any]]:
    return list(json.loads(run("dataset", "show", name, "-n", 100, "--json")[1])["examples"])


def test_json_is_safe_to_look_at_and_tells_every_character(run: Run, dataset: str) -> None:
    code, out, _ = run("dataset", "show", dataset, "-n", 100, "--json")
    assert code == 0
    assert not obeyed(out)
    assert {(row["prompt"], row["target"]) for row in json.loads(out)["examples"]} >= set(ROWS[:4])


def test_people_see_it_and_terminals_do_not_obey_it(run: Run, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    key = next(row["key"] for row in examples(run, dataset) if "txet" in row["prompt"])
    for verb in (["dataset", "show", dataset, "-n", 100], ["why", key], ["dataset", "diff", dataset, dataset], ["datasets"], ["jobs"]):
        code, out, err = run(*verb)
        assert code == 0, err
        assert not obeyed(out + err), verb
        if verb[0] == "why":
            assert r"\x1b]52;c;bWluZQ==\x1b\ \x1b[2J \x9b31m \u202etxet\u202c" in out
            assert "[bold]b[/bold] [/x] [link=x.invalid]l[/link]" in out
            assert "[red]rows[link=x].jsonl" in out


def test_a_jobs_error_worker_and_log_are_text(clean_database: Engine, run: Run) -> None:
    held = claimed(clean_database, add(clean_database, kind="training.train"), "[/x]\x1b[2J@[bold]here")
    with clean_database.begin() as connection:
        ledger.log(connection, held, HOSTILE)
        ledger.finish(connection, held, JobState.FAILED, error={"class": "[/]", "message": HOSTILE, "worker": "[/]", "log_tail": HOSTILE})
    for verb in (["jobs"], ["job", "latest"], ["logs", "latest"], ["job", "latest", "--json"], ["logs", "latest", "--json"]):
        code, out, err = run(*verb)
        assert code == 0, err
        assert not obeyed(out + err), verb
    assert r"[/x]\x1b[2J@[bold]here" in run("job", "latest")[1]


def test_a_csv_begins_no_formula_and_comes_back_as_the_same_dataset(run: Run, dataset: str, tmp_path: Path) -> None:
    assert run("dataset", "export", dataset, "--form", "csv", "--out", tmp_path / "out")[0] == 0
    file = tmp_path / "out" / f"{dataset}-train.csv"
    cells = [cell for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")) for cell in row]
    assert not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@")]

    assert run("import", file, "--form", "csv", "--dataset", "again")[0] == 0

    result = json.loads(run("dataset", "diff", dataset, "again", "--json")[1])
    assert result["same"] is True


def test_a_raw_csv_has_the_cells_as_they_are(run: Run, dataset: str, tmp_path: Path) -> None:
    assert run("dataset", "export", dataset, "--form", "csv", "--raw", "--out", tmp_path / "out")[0] == 0
    rows = list(csv.reader(io.StringIO((tmp_path / "out" / f"{dataset}-train.csv").read_text(encoding="utf-8"), newline="")))
    assert set(ROWS[:4]) <= {(row[0], row[1]) for row in rows[1:]}
    code, _, err = run("dataset", "export", dataset, "--form", "alpaca", "--raw", "--out", tmp_path / "out")
    assert (code, "--raw goes with --form csv" in " ".join(err.replace("│", " ").split())) == (2, True)


def test_summaries_in_a_csv_are_for_people_and_raw_ones_for_programs(clean_database: Engine, run: Run, tmp_path: Path) -> None:
    tweet, job = "1290000000000000512", add(clean_database, state=JobState.DONE)
    with clean_database.begin() as connection:
        connection.execute(
            text("INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, 's', :text, 'h')"), {"id": tweet, "text": "=1+1\x1b[2J"}
        )
        model = connection.execute(
            text("INSERT INTO model (name, base, method, stage) VALUES ('@m', 'b', 'lora', 'summary') RETURNING id")
        ).scalar_one()
        connection.execute(
            text(
                "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, worker, job, attempt) "
                "VALUES (:tweet, :model, 1, 'c', '-1', '{}', 1, 'w', :job, 1)"
            ),
            {"tweet": tweet, "model": model, "job": job},
        )
    row = next(csv.DictReader(io.StringIO(run("summaries", "--format", "csv")[1])))
    assert (row["tweet"], row["text"], row["summary"], row["model"]) == (f"'{tweet}", r"'=1+1\x1b[2J", "'-1", "'@m")
    row = next(csv.DictReader(io.StringIO(run("summaries", "--format", "csv", "--raw", "-o", "-")[1])))
    assert (row["tweet"], row["text"], row["summary"], row["model"]) == (tweet, "=1+1\x1b[2J", "-1", "@m")
    line = run("summaries")[1]
    assert not obeyed(line)
    assert json.loads(line)["text"] == "=1+1\x1b[2J"
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "target.csv")
    assert run("summaries", "-f", "csv", "-o", link)[0] == 0
    assert link.is_symlink()
    assert run("summaries", "-o", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()
