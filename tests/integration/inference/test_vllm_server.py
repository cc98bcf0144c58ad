"""The remote engine against a server with vLLM's rules for adapters: loaded on request, found by a resolver, limited in rank."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from schemas.chat import Message, Prompt
from schemas.payloads import Stage
from tests.support.chat_templates import FAMILIES
from tests.support.openai_server import Answer, Server, Vllm, always, asked, serving
from workers.inference import engines
from workers.inference.engine import Sampling
from workers.inference.remote.engine import Backoff, OpenAIEngine
from workers.inference.remote.errors import Refusal
from workers.inference.writer import Part, Writer
from workers.settings import get_settings

GREEDY = Sampling(max_new_tokens=20)
BASE = "some/base"


def engine(server: Server, **options: Any) -> OpenAIEngine:
    return OpenAIEngine(server.url, "secret", BASE, backoff=Backoff(tries=2, first=0.01), timeout=5.0, **options)


def prompt(text: str) -> Prompt:
    return Message("system", "Summarize the tweet."), Message("user", text)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "demo-0123456789ab", r=16)


def folder_of(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    told = {"peft_type": "LORA", "base_model_name_or_path": "/models/base", **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def test_an_adapter_is_loaded_once_before_the_first_of_many_requests(adapter: Path) -> None:
    with serving(always(Answer()), Vllm(BASE)) as server:
        answers = engine(server).generate([prompt(f"tweet {n}x") for n in range(20)], GREEDY, adapter)
        engine(server).generate([prompt("another process")], GREEDY, adapter)
    assert [answer.texts for answer in answers] == [(f"tweet {n}x",) for n in range(20)]
    assert {request["model"] for request in server.requests} == {adapter.name}
    assert server.vllm is not None
    assert server.vllm.loads == [str(adapter)]


def test_a_server_that_was_started_anew_loads_it_again(adapter: Path) -> None:
    with serving(always(Answer()), vllm := Vllm(BASE)) as server:
        asking = engine(server)
        asking.generate([prompt("before")], GREEDY, adapter)
        vllm.loaded.clear()
        (answer,) = asking.generate([prompt("after")], GREEDY, adapter)
    assert answer.texts == ("after",)
    assert len(vllm.loads) == 2


def test_the_folder_is_named_as_the_server_sees_it(adapter: Path, tmp_path: Path) -> None:
    elsewhere = folder_of(tmp_path / "mounted" / adapter.name, r=8)
    with serving(always(Answer()), vllm := Vllm(BASE)) as server:
        engine(server, adapters_folder=elsewhere.parent).generate([prompt("x")], GREEDY, Path("/not/here") / adapter.name)
    assert vllm.loads == [str(elsewhere)]


def test_a_resolver_that_finds_it_by_its_base_is_enough(tmp_path: Path) -> None:
    found = folder_of(tmp_path / "adapters" / "mine", r=16, base_model_name_or_path=BASE)
    with serving(always(Answer()), Vllm(BASE, updates=False, resolves=found.parent)) as server:
        (answer,) = engine(server).generate([prompt("hello")], GREEDY, found)
    assert answer.texts == ("hello",)


@pytest.mark.parametrize(
    ("config", "vllm", "told"),
    [
        ({"r": 64}, Vllm(BASE), "start vLLM with --max-lora-rank 64 or more"),
        ({"r": 16, "use_dora": True}, Vllm(BASE), "train with use_dora=false"),
        ({"r": 16}, Vllm(BASE, updates=False), "VLLM_ALLOW_RUNTIME_LORA_UPDATING=true"),
        ({"r": 16}, Vllm(BASE, updates=False), "base_model_name_or_path, '/models/base'"),
    ],
    ids=["rank", "dora", "no updates", "another base"],
)
def test_what_the_server_does_not_take_is_told_with_what_to_change(
    tmp_path: Path, config: dict[str, object], vllm: Vllm, told: str
) -> None:
    folder = folder_of(tmp_path / "adapter", **config)
    with serving(always(Answer()), vllm) as server, pytest.raises(Refusal) as refused:
        engine(server).generate([prompt("hello")] * 3, GREEDY, folder)
    assert told in str(refused.value)


def test_a_folder_that_the_server_does_not_see_is_told(tmp_path: Path) -> None:
    with serving(always(Answer()), Vllm(BASE)) as server, pytest.raises(Refusal, match="TWEETMILL_SERVER_ADAPTERS"):
        engine(server, adapters_folder=tmp_path).generate([prompt("hello")], GREEDY, Path("nowhere"))


def test_a_model_that_changes_the_bases_own_weights_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "changed_weights.safetensors").touch()
    with serving(always(Answer()), Vllm(BASE)) as server, pytest.raises(Refusal, match=r"no LoRA adapter.*TWEETMILL_ENGINE=transformers"):
        engine(server).generate([prompt("hello")], GREEDY, tmp_path / "frozen")
    assert server.requests == []


def test_a_server_without_such_requests_is_asked_by_the_name_alone(adapter: Path) -> None:
    with serving(always(Answer())) as server:
        (answer,) = engine(server).generate([prompt("hello")], GREEDY, adapter)
    assert answer.texts == ("hello",)
    assert [request["model"] for request in server.requests] == [adapter.name]


def test_control_tokens_of_every_family_that_a_tweet_quotes_are_broken_in_what_a_server_gets() -> None:
    tokens = sorted({token for family in FAMILIES.values() for token in family.special})
    tweet = "so tired " + " and ".join(tokens) + " of it"
    with serving(always(Answer())) as server:
        engine(server).generate([prompt(tweet)], GREEDY)
    (sent,) = map(asked, server.requests)
    assert sent.startswith("so tired ")
    assert [token for token in tokens if token in sent] == []


@pytest.mark.parametrize("concurrency", [3, 12])
def test_as_many_requests_are_open_as_are_configured_and_nobody_waits_for_the_slowest(
    concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tweets = [f"the bus {n} is late again" for n in range(2, 40)]
    all_open, others_done = threading.Event(), threading.Event()

    def script(number: int, request: dict[str, Any]) -> Answer:
        if number >= concurrency:
            all_open.set()
        return Answer(until=others_done if asked(request) == tweets[0] else all_open)

    with serving(script) as server:
        monkeypatch.setenv("TWEETMILL_ENGINE", "openai")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("TWEETMILL_SERVER_CONCURRENCY", str(concurrency))
        get_settings.cache_clear()
        engines.release()
        got: list[int] = []
        for places, results in Writer(BASE, (Part(None, Stage.SUMMARY),)).stream(tweets, guard=False):
            assert len(places) == len(results)
            got += places
            if len(got) == len(tweets) - 1:
                others_done.set()
        engines.release()
    get_settings.cache_clear()
    assert sorted(got) == list(range(len(tweets)))
    assert got[-1] == 0, "all others were answered and handed on while one was at work"
    assert server.open_most == concurrency
