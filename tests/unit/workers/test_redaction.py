"""What is taken out of texts that others wrote, and what stays."""

from __future__ import annotations

import json
import logging

import pytest

from workers import redaction
from workers.logs import JsonFormatter, PlainFormatter
from workers.redaction import redact, remember

SECRET = "xyzzy7plugh"


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.mark.parametrize(
    "text",
    [
        f"consumer: Cannot connect to redis://me:{SECRET}@host:6399/0: Error 111 connecting to host:6399. Connection refused.",
        f"transport:   redis+socket://:{SECRET}@/run/valkey.sock",
        f"Cannot connect to redis://:a@b/{SECRET}@127.0.0.1:6399/0: no",
        f'could not translate host name "{SECRET}" to address: Name or service not known',
        f"failed to resolve host '{SECRET}': [Errno -2] Name or service not known",
        f'connection to server at "{SECRET}" (127.0.0.1), port 6543 failed: FATAL:  no',
        f"Error -2 connecting to {SECRET}:6379. Name or service not known.",
        f'FATAL:  password authentication failed for user "{SECRET}"',
        f'FATAL:  database "{SECRET}" does not exist',
        f'invalid port number: "{SECRET}"',
        f"Could not parse SQLAlchemy URL from string 'postgresql://me:{SECRET}@host/db'",
        f"HTTP Request: POST http://me:{SECRET}@host/v1/chat/completions",
        f"HTTP Request: GET https://host/v1?api_key={SECRET}&x=1",
        f"GET https://host/v1?x=1&token={SECRET}",
        f"password={SECRET} host=db",
        f"PGPASSWORD='{SECRET}' psql",
        f"{{'api_key': '{SECRET}', 'n': 1}}",
        json.dumps({"password": SECRET}),
        f"Illegal header value b'Bearer {SECRET}'",
        f"Incorrect API key provided: sk-{SECRET}-1",
    ],
)
def test_what_has_the_place_of_a_secret_is_taken_out(text: str):
    assert SECRET not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "CELERY_BROKER_URL: it is no address: write one such as redis://:PASSWORD@HOST:6379/0",
        "DATABASE_URL: write an address such as postgresql://USER@HOST:5432/DATABASE",
        "CELERY_BROKER_URL asks for no TLS: let it begin with rediss://",
        "where the address begins with rediss://, it may speak no TLS there",
        "the path of a socket is absolute, so write three slashes: unix:///PATH/TO/SOCKET",
        "teacher.base_url: it is no address of a server: write one such as http://localhost:8000/v1",
        "recipe.yaml: write overrides as key=value, such as dataset=…",
        "max_tokens=256 is below the 300 that a thought takes; special token: <|im_end|>",
        "the answer's language is en",
        "no database: run `tweetmill up`, or set DATABASE_URL to a Postgres that you run",
    ],
)
def test_our_own_sentences_stay_whole(text: str):
    remember("tweetmill", "no", "")
    assert redact(text) == text


def test_a_known_secret_is_taken_out_in_every_way_of_writing_it():
    remember("p/w:é x@9")
    for text in ("p/w:é x@9", "p%2Fw%3A%C3%A9%20x%409", "p%2Fw%3A%C3%A9+x%409"):
        assert redact(f"is {text} right?") == "is *** right?"


def test_a_short_secret_is_taken_for_a_word_and_a_long_one_is_not():
    remember("mill", "longenough")
    assert redact("the mill of tweetmill, xlongenoughx") == "the *** of tweetmill, x***x"


@pytest.mark.parametrize("formatter", [PlainFormatter("%(message)s"), JsonFormatter()])
def test_no_log_line_holds_a_secret_not_even_in_a_traceback(formatter: logging.Formatter):
    remember(SECRET)
    try:
        raise ValueError(f"{SECRET} and redis://:other@host/0")
    except ValueError as error:
        told = (type(error), error, error.__traceback__)
    record = logging.LogRecord("kombu", logging.ERROR, "x.py", 1, "cannot connect to %s", (f"redis://:{SECRET}@host/0",), told)
    line = formatter.format(record)
    if isinstance(formatter, JsonFormatter):
        json.loads(line)
    assert SECRET not in line
    assert "other@" not in line
    assert "ValueError" in line
