"""How llama.cpp's server is started, and what is refused before a worker takes a job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gpus import write_driver
from workers.errors import SettingsError
from workers.inference.builders import llamacpp
from workers.inference.engine_builders import ServerBuilder, builder_of
from workers.inference.served.launcher import task_of
from workers.inference.served.program import Served
from workers.settings import get_settings


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("TWEETMILL_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()


def command() -> list[str]:
    get_settings.cache_clear()
    return llamacpp.program(get_settings()).started(Served("/models/a base", 512), Path("1.sock"), 0)


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_the_engine_has_a_server_of_the_workers() -> None:
    assert isinstance(builder_of("llamacpp"), ServerBuilder)


def test_the_settings_say_how_many_threads_slots_and_bits(settings: pytest.MonkeyPatch) -> None:
    default = command()
    assert [after(default, option) for option in ("--quant", "--context", "--slots")] == ["f16", "512", str(llamacpp.SLOTS)]
    assert after(default, "--threads") == str(len(os.sched_getaffinity(0)))
    for name, value in (("LLAMACPP_QUANT", "q8_0"), ("SERVER_CONCURRENCY", "5"), ("THREADS", "3")):
        settings.setenv(f"TWEETMILL_{name}", value)
    assert [after(command(), option) for option in ("--quant", "--slots", "--threads")] == ["q8_0", "5", "3"]


def test_more_requests_at_once_than_it_can_answer_are_refused(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("TWEETMILL_SERVER_CONCURRENCY", "512")
    with pytest.raises(SettingsError, match="at most 256"):
        command()


@pytest.mark.parametrize("said", ["NotExportable: x", "warning\nCannotLoad: y", "NoRoom: z"])
def test_what_it_says_of_a_base_that_it_never_serves_is_understood(said: str) -> None:
    program = llamacpp.program(get_settings())
    assert program.refusal(said)
    assert program.refusal(f"it says {said.split()[-2]}") is None


def test_it_computes_on_the_cpu_where_there_are_gpus_too(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.setenv("PATH", os.pathsep.join((str(write_driver(tmp_path / "driver", 2)), os.defpath)))
    get_settings.cache_clear()
    assert task_of(get_settings(), llamacpp.program(get_settings()), tmp_path).devices == ()
    settings.setenv("TWEETMILL_DEVICE", "cuda")
    with pytest.raises(SettingsError, match="computes on the CPU"):
        command()
