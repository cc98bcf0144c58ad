"""A recipe with a teacher, from the command line to the lineage of what it taught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.integration.in_process import working
from tests.integration.verbs import answer, complaint, printed
from tests.support.openai_server import Answer, Request, Server, serving, taught, teaching, tweet
from workers.synthesis.teacher import clients
from workers.synthesis.teacher.clients import Backoff

PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon", "Dublin", "Athens")
PAIRED = 6


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.ServerTeacher.__init__, "__defaults__", (Backoff(tries=2, first=0.01, hangs=2),))


@pytest.fixture
def recipe(clean_database: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Twelve ingested tweets, six of them paired, and a recipe that has a teacher for the others."""
    with (tmp_path / "tweets.jsonl").open("w") as file:
        for number, place in enumerate(PLACES):
            file.write(json.dumps({"id": str(number), "text": f"omg {place} was {number + 2} hours of pure rain today smh #fail"}) + "\n")
    with (tmp_path / "pairs.jsonl").open("w") as file:
        for number, place in enumerate(PLACES[:PAIRED]):
            target = f"{place} was {number + 2} hours of pure rain today."
            file.write(json.dumps({"tweet_id": str(number), "clean": target, "summary": target}) + "\n")
    answer(capsys, "ingest", tmp_path / "tweets.jsonl", "--json")
    (tmp_path / "mine.txt").write_text("[system]\nShorten it. {answer}\n[user]\nSo:\n{tweet}\n")
    path = tmp_path / "taught.yaml"
    path.write_text(
        "dataset: taught\npairs: pairs.jsonl\ntest_size: 2\nnear_duplicate: 1.0\nthread_minutes: 0\n"
        "teacher: {model: big, prompt: mine.txt, examples: 2, candidates: 2, usd_per_million_in: 1000}\n"
    )
    return path


def script(_: int, request: Request) -> Answer:
    return Answer(body=taught(request, tweet(request).removeprefix("omg ").removesuffix(" smh") + "."))


def build(capsys: pytest.CaptureFixture[str], engine: Engine, recipe: Path, server: Server, *overrides: str) -> Any:
    with working(engine):
        return answer(capsys, "synthesize", "-r", recipe, f"teacher.base_url={server.url}", *overrides, "--json")


def test_a_recipe_with_a_teacher_becomes_a_dataset_with_its_lineage(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(script) as server:
        built = build(capsys, clean_database, recipe, server)
        asked = len(server.requests)
        other = build(capsys, clean_database, recipe, server, "dataset=other")
        assert len(server.requests) == asked == 12, "a second recipe with the same prompt asks nothing"
    assert built["fingerprint"] == other["fingerprint"]
    assert (built["teacher"]["asked"], built["teacher"]["accepted"]) == (6, 6)
    assert other["teacher"]["cached"] == 6
    first = server.requests[0]["messages"]
    assert first[0]["content"].startswith("Shorten it. Answer with JSON")
    assert len(first) == 6
    assert first[-1]["content"].startswith("So:\n<tweet>omg ")

    shown = answer(capsys, "dataset", "taught", "--json")
    counts = {(row["split"], row["origin"]): row["examples"] for row in shown["counts"]}
    assert counts == {("train", "human"): 4, ("test", "human"): 2, ("train", "teacher"): 6}
    key = next(example["key"] for example in shown["examples"] if example["origin"] == "teacher")
    result = answer(capsys, "why", key, "--json")
    assert result["teacher"]["model"] == "big"
    assert result["prompt_sha256"] == built["teacher"]["prompt_sha256"]["summary"]
    assert result["scores"]["cost"] < 3
    assert "big" in printed(capsys, "why", key)


def test_what_a_teacher_fails_at_is_told_and_asked_again_when_the_same_is_asked_again(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = True

    def sometimes(n: int, request: Request) -> Answer:
        return Answer(500) if failing and "Athens" in tweet(request) else script(n, request)

    with serving(sometimes) as server:
        first = build(capsys, clean_database, recipe, server)
        assert (first["teacher"]["unanswered"], first["dropped"]) == (1, {"teacher_no_answer": 1})
        failing = False
        again = build(capsys, clean_database, recipe, server)
        assert again["job"] != first["job"]
        assert (again["teacher"]["asked"], again["teacher"]["cached"]) == (1, 5)
        assert build(capsys, clean_database, recipe, server)["job"] == again["job"]
    assert "dropped" not in again


@pytest.mark.parametrize(
    ("override", "code", "told"),
    [
        ("teacher.base_url=http://me:hunter2@host/v1", 2, "teacher.base_url: no secret has a place in it"),
        ("teacher.prompt=broken.txt", 1, "broken.txt, line 2: {twet} is no placeholder"),
        ("teacher.prompt=missing.txt", 1, "missing.txt: there is no such prompt"),
        ("teacher.candidates=0", 2, "teacher.candidates"),
        ("stage=both", 2, "leave teacher.prompt out"),
    ],
)
def test_a_recipe_that_can_not_work_is_refused_before_anything_is_asked(
    recipe: Path, capsys: pytest.CaptureFixture[str], override: str, code: int, told: str
) -> None:
    (recipe.parent / "broken.txt").write_text("[user]\n{twet}\n")
    said_so = complaint(capsys, code, "synthesize", "-r", recipe, override)
    assert told in said_so
    assert "hunter2" not in said_so


def test_a_teacher_that_refuses_the_key_fails_the_job_with_advice(
    clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda *_: Answer(401, body="no")) as server, working(clean_database):
        message = complaint(capsys, 1, "synthesize", "-r", recipe, f"teacher.base_url={server.url}")
    assert "OPENAI_API_KEY" in message


def test_the_shipped_recipe_is_one(clean_database: Engine, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).resolve().parents[3] / "recipes" / "synthesis-teacher.yaml"
    with serving(teaching) as server, working(clean_database):
        pairs = f"pairs={recipe.parent / 'pairs.jsonl'}"
        options = (f"teacher.base_url={server.url}", "test_size=2", "near_duplicate=1.0", "expect=null", "thread_minutes=0")
        built = answer(capsys, "synthesize", "-r", shipped, pairs, *options, "--json")
    assert built["teacher"]["asked"] == 6
