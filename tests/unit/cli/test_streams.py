"""The standard streams as callers leave them: closed, narrow, full, or with a reader who has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TWEETMILL = str(Path(sys.executable).with_name("tweetmill"))
# A verb of ours that prints text, a table and JSON, and then goes on.
PRINTS = """
import sys
from producers.render import exit_codes, output, streams
from rich.table import Table
def verb():
    table = Table("\\u00e9", "\\U0001f600")
    for number in range(20000 if "long" in sys.argv else 2):
        table.add_row("caf\\u00e9", "\\u4e2d\\U0001f600")
    output.say("caf\\u00e9 \\u00b7")
    output.emit({}, False, lambda _: table)
    output.emit({"text": "caf\\u00e9 \\U0001f600"}, True, str)
streams.prepare_streams()
sys.exit(exit_codes.exit_code_of(verb))
"""


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, "TWEETMILL": TWEETMILL, "PRINTS": PRINTS, **environment},
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    ended = shell(f'"$PYTHON" -c "$PRINTS" {closed}')
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stderr
    ended = shell(f'"$TWEETMILL" --version {closed}')
    assert ended.returncode == 0


def test_a_closed_stream_is_not_taken_over_by_a_file_that_is_opened_later():
    code = "import os, sys; from producers.cli import streams; streams.prepare_streams(); "
    code += "print(os.open('/dev/null', os.O_RDONLY) > 2, file=sys.stderr)"
    assert shell(f'"$PYTHON" -c "{code}" <&- >&-').stderr.strip() == b"True"


@pytest.mark.parametrize("reader", ["head -1", "true", "head -c 1"])
def test_a_reader_who_leaves_ends_the_verb_well(reader):
    ended = shell(f'"$PYTHON" -c "$PRINTS" long | {reader}')
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stderr
    assert b"Exception ignored" not in ended.stderr


def test_a_full_device_is_one_sentence_and_a_failure():
    ended = shell('"$PYTHON" -c "$PRINTS" > /dev/full')
    assert ended.returncode == 1
    assert b"No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb"},
        {"TERM": ""},
        {"NO_COLOR": "1"},
        {"COLUMNS": "1"},
        {"COLUMNS": "0"},
        {"COLUMNS": "none"},
    ],
)
def test_narrow_encodings_and_odd_terminals_print_all_the_same(environment):
    ended = shell('"$PYTHON" -c "$PRINTS"', **environment)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    document = ended.stdout[ended.stdout.index(b"{") :].decode("utf-8", errors="strict")
    assert json.loads(document) == {"text": "caf\u00e9 \U0001f600"}


def test_an_argument_that_is_no_text_is_bad_usage():
    ended = shell("\"$TWEETMILL\" ingest $'bad\\xff.jsonl'")
    assert ended.returncode == 2
    assert b"bad\\udcff.jsonl: this is not valid in the encoding of this system" in ended.stderr


def test_an_error_that_nobody_foresaw_is_one_sentence_and_its_calls_are_kept(tmp_path):
    code = "from producers.render import exit_codes; import sys; sys.exit(exit_codes.exit_code_of(lambda: {}['a secret\\x1b[2J']))"
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "TWEETMILL_HOME": str(tmp_path / "home")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    kept = tmp_path / "home" / "last-error.txt"
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"The calls that led there are in {kept}" in ended.stderr
    assert "\x1b" not in ended.stderr
    assert "KeyError" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
