"""How every verb answers and fails."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import redis
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from typer.main import get_command

from producers.cli import app, main
from producers.render import exit_codes, output
from workers.errors import NotFound, SettingsError, Unavailable


def failing_with(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("no database"), 2),
        (NotFound("job 1: there is none"), 1),
        (Unavailable("Redis: refused"), 1),
        (FileNotFoundError(2, "No such file or directory", "tweets.csv"), 2),
        (PermissionError(13, "Permission denied", "tweets.csv"), 1),
        (OperationalError("SELECT secret", {}, psycopg.OperationalError("connection refused")), 1),
        (redis.ConnectionError("refused"), 1),
        (RuntimeError("unforeseen"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(2), 2),
        (SystemExit(None), 0),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error, code):
    assert exit_codes.exit_code_of(failing_with(error)) == code


def test_a_failure_is_one_line_on_standard_error_without_a_traceback(capsys):
    exit_codes.exit_code_of(failing_with(NotFound("job 7: there is none. `tweetmill jobs` lists them")))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip() == "Error: job 7: there is none. `tweetmill jobs` lists them"


def test_brackets_in_a_message_are_shown_and_not_taken_for_markup(capsys):
    exit_codes.exit_code_of(failing_with(SettingsError("needs `pip install 'tweetmill[local]'`")))
    assert "tweetmill[local]" in capsys.readouterr().err


def test_a_database_that_is_away_is_named_and_its_statement_is_not_shown(capsys):
    exit_codes.exit_code_of(failing_with(OperationalError("SELECT tweet", {}, psycopg.OperationalError("refused"))))
    said = capsys.readouterr().err
    assert "Postgres does not answer" in said
    assert "tweetmill status" in said
    assert "SELECT" not in said


def test_debug_lets_the_error_through(monkeypatch):
    monkeypatch.setattr(exit_codes, "debug", True)
    with pytest.raises(RuntimeError, match="unforeseen"):
        exit_codes.exit_code_of(failing_with(RuntimeError("unforeseen")))


def test_json_is_all_that_standard_output_gets(capsys):
    class Row(BaseModel):
        when: datetime

    moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    job = uuid.UUID(int=7)
    output.say("working")
    output.emit({"row": Row(when=moment), "job": job, "file": Path("a.csv"), "at": moment}, True, str)
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "row": {"when": "2026-01-02T03:04:00Z"},
        "job": str(job),
        "file": "a.csv",
        "at": "2026-01-02T03:04:00+00:00",
    }
    assert said.err == "working\n"


def test_a_result_for_people_goes_to_standard_output(capsys):
    output.emit({"n": 3}, False, lambda data: f"{data['n']} tweets")
    assert capsys.readouterr().out == "3 tweets\n"


def test_an_unknown_verb_is_bad_usage(capsys):
    assert main(["summarise"]) == 2
    assert "summarise" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tweetmill ")


def test_every_verb_stands_in_a_panel_and_shows_an_example():
    panels = {output.STACK, output.DATA, output.MODELS, output.SUMMARIES, output.JOBS}
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    assert {"up", "down", "status", "worker", "migrate"} <= set(verbs)
    for name, verb in verbs.items():
        assert verb.rich_help_panel in panels, name
        assert "tweetmill" in (verb.epilog or ""), name
        for within, of_group in getattr(verb, "commands", {}).items():
            assert f"tweetmill {name} {within}" in (of_group.epilog or ""), f"{name} {within}"
        assert verb.help, name


def test_importing_the_command_line_loads_no_server_client_and_no_model():
    heavy = "{'torch', 'transformers', 'celery', 'sqlalchemy', 'redis', 'psycopg', 'pydantic'}"
    code = f"import sys; import producers.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
