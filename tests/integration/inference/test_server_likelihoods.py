"""Log-probabilities of sampled answers: a server that tells them has its answers put in order, and one that does not loses nothing."""

from __future__ import annotations

import json
from typing import Any

from schemas.chat import Message
from tests.support.openai_server import Answer, Request, serving
from workers.inference.engine import Sampling
from workers.inference.remote.engine import Backoff, OpenAIEngine

FIVE = Sampling(max_new_tokens=20, num_beams=5, num_return_sequences=5)


def ask(script: Any) -> tuple[tuple[str, ...], list[Request]]:
    with serving(script) as server:
        asking = OpenAIEngine(server.url, "", "base", backoff=Backoff(tries=2, first=0.01), timeout=5.0)
        (answer,) = asking.generate([(Message("user", "the bus was late"),)], FIVE)
    return answer.texts, server.requests


def choices(*said: tuple[str, list[object] | None]) -> Answer:
    """Answers with the log-probabilities of their tokens."""
    told = [
        {"message": {"content": text}, "finish_reason": "stop"}
        | ({} if each is None else {"logprobs": {"content": [{"logprob": one} for one in each]}})
        for text, each in said
    ]
    return Answer(body=json.dumps({"choices": told, "usage": {"prompt_tokens": 7, "completion_tokens": 2}}))


def test_sampled_answers_come_likeliest_first_by_the_mean_of_their_tokens() -> None:
    sampled = choices(("a", [-3.0]), ("b c d e", [-0.5] * 4), ("f", [-1.0]), ("g", [-2.0]))
    texts, (greedy, more) = ask(lambda number, _: choices(("greedy", None)) if number == 1 else sampled)
    assert texts == ("greedy", "b c d e", "f", "g", "a")
    assert "logprobs" not in greedy
    assert more["logprobs"] is True


def test_where_one_of_them_has_none_they_stay_in_the_server_s_order() -> None:
    sampled = choices(("a", [-3.0]), ("b", None), ("c", [-1.0, "much"]), ("d", []))
    texts, _ = ask(lambda number, _: choices(("greedy", None)) if number == 1 else sampled)
    assert texts == ("greedy", "a", "b", "c", "d")


def test_a_server_that_refuses_to_tell_them_is_asked_without() -> None:
    def script(_: int, request: Request) -> Answer:
        if "logprobs" in request:
            return Answer(400, body='{"error": {"message": "logprobs is not supported by this model"}}')
        return choices(*((f"answer {n}", None) for n in range(request.get("n", 1))))

    texts, requests = ask(script)
    assert texts == ("answer 0", "answer 1", "answer 2", "answer 3")
    assert sum("logprobs" in request for request in requests) == 1
