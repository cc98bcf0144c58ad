"""The echo engine: the tweet's opening words for an answer, the same each time, without a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from schemas.payloads import Stage
from workers.errors import SettingsError
from workers.inference import engines
from workers.inference.builders import echo
from workers.inference.engine import Sampling
from workers.inference.guard import guarded
from workers.settings import get_settings
from workers.text.prompts import tuned

LONG = "The bus to Oslo was late again, and when it came the driver did not let in the man who had a wet dog."


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings that name the engine."""
    monkeypatch.setenv("TWEETMILL_ENGINE", "echo")
    get_settings.cache_clear()
    engines._warm.clear()
    yield monkeypatch
    engines._warm.clear()
    get_settings.cache_clear()


def test_the_answer_is_the_opening_of_the_tweet_and_the_same_each_time() -> None:
    engine = echo.EchoEngine()
    prompts = [tuned(LONG, Stage.SUMMARY), tuned("Late again.", Stage.SUMMARY)]
    answers = engine.generate(prompts, Sampling())
    assert [answer.texts for answer in answers] == [("The bus to Oslo was late again.",), ("Late again.",)]
    assert engine.generate(prompts, Sampling()) == answers
    assert [(answer.tokens_in, answer.tokens_out) for answer in answers] == [(27, 7), (5, 2)]


def test_a_stricter_word_limit_is_kept() -> None:
    (answer,) = echo.EchoEngine().generate([tuned(LONG, Stage.SUMMARY)], Sampling(num_beams=2, num_return_sequences=2, max_words=5))
    assert [len(text.split()) for text in answer.texts] == [4]


def test_it_sleeps_once_for_each_batch_and_tells_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    done: list[int] = []
    monkeypatch.setattr("workers.inference.builders.echo.time.sleep", slept.append)
    prompts = [tuned(f"Bus {number} is late.", Stage.SUMMARY) for number in range(echo.BATCH + 1)]
    assert len(echo.EchoEngine(0.25).generate(prompts, Sampling(), on_progress=done.append)) == echo.BATCH + 1
    assert (slept, done) == ([0.25, 0.25], [echo.BATCH, 1])


def test_the_guard_stores_what_it_echoes() -> None:
    (written,) = guarded(echo.EchoEngine(), [LONG])
    assert (written.text, written.flags) == ("The bus to Oslo was late again.", ())


def test_the_settings_choose_it_and_say_how_long_a_batch_takes(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("TWEETMILL_ECHO_SECONDS", "0.5")
    get_settings.cache_clear()
    engine = engines.engine_for("no such model anywhere")
    assert isinstance(engine, echo.EchoEngine)
    assert engine._seconds == 0.5


def test_a_batch_of_negative_length_is_refused(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("TWEETMILL_ECHO_SECONDS", "-1")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="TWEETMILL_ECHO_SECONDS"):
        get_settings()


def test_a_shard_that_is_echoed_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "from workers.inference import engines, job\n"
        "from workers.inference.writer import Part, Writer\n"
        "from schemas.payloads import Stage\n"
        "written = Writer('none', (Part(None, Stage.SUMMARY),)).write(['The bus was late again.'])\n"
        "print(written[0].text, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    environment = {"TWEETMILL_ENGINE": "echo", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.split() == ["The", "bus", "was", "late", "again.", "False", "False"]
