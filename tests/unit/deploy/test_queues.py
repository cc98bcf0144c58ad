"""What names the queues in files that Python does not read has all of them, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.payloads import Queue

ROOT = Path(__file__).resolve().parents[3]
ACCESS = (ROOT / "deploy" / "redis" / "users.acl.in").read_text()


@pytest.mark.parametrize(("user", "pattern"), [("worker", r" ~(\w+)\*"), ("producer", r" ~(\w+)\*"), ("flower", r" %R~(\w+)\*")])
def test_each_user_of_redis_reaches_every_queue(user: str, pattern: str) -> None:
    [line] = [line for line in ACCESS.splitlines() if line.startswith(f"user {user} ")]
    celerys_own = {"celery", "unacked"}
    assert set(re.findall(pattern, line)) - celerys_own == set(Queue)


def test_workers_in_containers_serve_every_queue() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r'command: \["worker"(.*)\]', compose) == ["", ""], "`tweetmill worker` without --queues serves all"


def test_the_names_on_the_wire_stay() -> None:
    assert [*Queue] == ["synthesis", "training", "evaluation", "summarization", "upkeep"]
