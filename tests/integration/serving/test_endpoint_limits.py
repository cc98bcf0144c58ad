"""The endpoint under more than it can bear, with clients that leave, and when it is stopped: the engine `echo` takes its time."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import Servers
from tests.integration.verbs import printed
from tests.support.endpoint import TOKEN, EndpointProcess, serving
from tests.support.fake_vllm import done, installed
from tests.support.tiny_model import build_tiny_model
from tests.support.worker_process import wait_for
from workers import processes
from workers.database import get_engine


@pytest.fixture(scope="module")
def models(new_servers: Servers) -> tuple[str, str]:
    """Two models of the catalog."""
    with get_engine().begin() as connection:
        for name in ("slow", "other"):
            connection.execute(text("INSERT INTO model (name, base, method, stage) VALUES (:name, 'b', 'lora', 'summary')"), {"name": name})
    return "slow", "other"


def at_once(endpoint: EndpointProcess, numbers: range) -> list[httpx.Response]:
    """The answers to requests that are sent together, each on a connection of its own."""

    async def all_of_them() -> list[httpx.Response]:
        headers, limits = {"Authorization": f"Bearer {TOKEN}"}, httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=60, limits=limits) as client:
            asked = (client.post("/summarize", json={"text": f"Bus {number} is late."}) for number in numbers)
            return await asyncio.gather(*asked)

    return asyncio.run(all_of_them())


def later(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_what_does_not_fit_into_the_queue_is_refused_until_later_and_the_rest_is_answered(models: tuple[str, str], tmp_path: Path) -> None:
    with serving(tmp_path, "slow", "--batch", "1", "--queue", "3", TWEETMILL_ENGINE="echo", TWEETMILL_ECHO_SECONDS="0.5") as endpoint:
        answers = at_once(endpoint, range(12))

    refused = [answer for answer in answers if answer.status_code == 429]
    answered = {number: answer.json() for number, answer in enumerate(answers) if answer.status_code == 200}
    assert len(refused) + len(answered) == 12
    assert len(refused) >= 6
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["error"]["type"] == "rate_limit_error"
    assert answered
    assert all(re.findall(r"\d+", row["summary"]) == [str(number)] for number, row in answered.items())


def test_a_request_that_takes_too_long_is_given_up(models: tuple[str, str], tmp_path: Path) -> None:
    with serving(tmp_path, "slow", "--timeout", "0.3", TWEETMILL_ENGINE="echo", TWEETMILL_ECHO_SECONDS="1.5") as endpoint:
        (answer,) = at_once(endpoint, range(1))

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert "never retrieved" not in endpoint.log
    assert "retry-after" in answer.headers


def test_a_client_that_leaves_frees_its_places_and_costs_the_others_nothing(models: tuple[str, str], tmp_path: Path) -> None:
    with serving(tmp_path, "slow", "--batch", "1", "--queue", "20", TWEETMILL_ENGINE="echo", TWEETMILL_ECHO_SECONDS="1.0") as endpoint:
        with endpoint.client() as client, pytest.raises(httpx.ReadTimeout):
            client.post("/summarize", json={"text": [f"Bus {number} is late." for number in range(20)]}, timeout=0.5)
        assert wait_for(lambda: endpoint.metric("waiting") == 0, seconds=10)
        answers = at_once(endpoint, range(40, 42))
        left = endpoint.metric("clients_left_total")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert left == 1
    assert "never retrieved" not in endpoint.log


def test_what_was_asked_before_sigterm_is_answered_and_nothing_is_taken_after(models: tuple[str, str], tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    with serving(tmp_path, "slow", "--batch", "2", TWEETMILL_ENGINE="echo", TWEETMILL_ECHO_SECONDS="0.5") as endpoint:
        asking = later(lambda: answers.extend(at_once(endpoint, range(8))))
        assert wait_for(lambda: endpoint.metric("waiting") >= 2, seconds=10)
        code = endpoint.end()
        asking.join()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{endpoint.url}/health")

    assert code == 0
    assert [answer.status_code for answer in answers] == [200] * 8
    assert [re.findall(r"\d+", answer.json()["summary"]) for answer in answers] == [[str(number)] for number in range(8)]


def test_the_model_in_service_is_served_and_the_next_one_once_it_is_promoted(
    models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, "promote", "slow")
    with serving(tmp_path, "--promoted", TWEETMILL_ENGINE="echo") as endpoint, endpoint.client() as client:

        def writes() -> str:
            chat = {"model": "in-service", "messages": [{"role": "user", "content": "The bus is late."}]}
            return str(client.post("/v1/chat/completions", json=chat).json()["model"])

        assert writes() == "slow"
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["slow", "in-service"]
        printed(capsys, "promote", "other")
        assert wait_for(lambda: writes() == "other", seconds=15)


def test_a_vllm_that_the_endpoint_starts_answers_and_ends_with_it(servers: Servers, tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "base")
    with get_engine().begin() as connection:
        connection.execute(
            text("INSERT INTO model (name, base, method, stage) VALUES ('fast', :base, 'merged', 'summary')"), {"base": str(base)}
        )
    program = installed(tmp_path / "vllm")
    with serving(tmp_path, "fast", TWEETMILL_ENGINE="vllm", TWEETMILL_VLLM_PROGRAM=str(program), TWEETMILL_DEVICE="cpu") as endpoint:
        answers = at_once(endpoint, range(50, 58))
        started = done(program.parent, "start")
        code = endpoint.end(60)

    assert [re.findall(r"\d+", answer.json()["summary"]) for answer in answers] == [[str(number)] for number in range(50, 58)]
    assert (code, len(started)) == (0, 1)
    assert not processes.is_running(started[0]["pid"])


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (["nobody"], {}, 1, "model nobody: there is none"),
        (["slow", "--host", "203.0.113.7"], {}, 1, "can't be served at"),
        (["slow"], {"TWEETMILL_SERVE_TOKEN": "short"}, 2, "at least 16"),
        ([], {}, 2, "name a model, or give --promoted"),
        (["slow", "--promoted"], {}, 2, "name a model, or give --promoted"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(
    models: tuple[str, str], tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, sentence: str
) -> None:
    endpoint = EndpointProcess(tmp_path, *arguments, TWEETMILL_ENGINE="echo", **environment)

    assert endpoint.process.wait(timeout=120) == code
    assert sentence in " ".join(endpoint.log.replace("│", " ").split())
    assert "Traceback" not in endpoint.log
