"""Teaching: tweets are asked once, each answer is kept as it comes, budgets hold, and nothing is lost without a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import Stage
from schemas.synthesis import SynthesisSpec
from tests.support import jobs
from tests.support.openai_server import Answer, Request, Server, always, completion, serving, taught, teaching, tweet
from tests.support.tiny_model import build_tiny_model
from workers import clock
from workers.errors import LeaseLost, UserError
from workers.inference import engines
from workers.inference.engine import EngineError
from workers.jobs.attempt import Attempt
from workers.jobs.context import Stopped
from workers.synthesis.teacher import clients, rounds
from workers.synthesis.teacher.clients import Backoff
from workers.synthesis.teacher.session import Question, TeacherAnswers, ask_teacher

PAIRS = {Stage.SUMMARY: [("omg the bus was late", "The bus was late."), ("i luv my dog", "I love my dog.")]}
TWEETS = 20


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.ServerTeacher.__init__, "__defaults__", (Backoff(tries=3, first=0.01, hangs=2),))


@pytest.fixture
def questions(clean_database: Engine) -> list[Question]:
    with clean_database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO tweet (id, source, text, text_hash) SELECT n::text, 'trams', 'the tram was ' || n || ' minutes late', n::text"
                " FROM generate_series(100, 99 + :tweets) n"
            ),
            {"tweets": TWEETS},
        )
    return [Question(str(100 + n), n, Stage.SUMMARY) for n in range(TWEETS)]


class Job:
    """A synthesis job by hand, one attempt after the other."""

    def __init__(self, database: Engine, server: Server, **teacher: Any) -> None:
        source = {"model": "teacher", "base_url": server.url, "candidates": 1, "concurrency": 2, "timeout": 2.0, **teacher}
        self.spec = SynthesisSpec.model_validate({"dataset": "taught", "teacher": source})
        self.database = database
        self.id = jobs.add(database, "synthesis.synthesize", "synthesis", self.spec)
        self.attempt = self.begin()

    def begin(self) -> Attempt:
        self.attempt = Attempt(jobs.claimed(self.database, self.id), "worker@here", 10.0, clock.now())
        return self.attempt

    def die(self) -> None:
        """As after a kill: the lease runs out and the job is queued again."""
        jobs.alter(self.database, self.id, "state = 'queued', lease_until = NULL")

    def teach(self, questions: list[Question]) -> TeacherAnswers:
        return ask_teacher(self.attempt, self.spec, questions, PAIRS)


def stored(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {row.tweet: row for row in connection.execute(text("SELECT * FROM teaching"))}


def prompt_of(question: Question) -> str:
    return f"<tweet>the tram was {question.tweet_id} minutes late</tweet>"


def test_each_tweet_is_asked_once_and_becomes_a_row_with_its_lineage(clean_database: Engine, questions: list[Question]) -> None:
    with serving(teaching) as server:
        job = Job(clean_database, server, candidates=2, usd_per_million_in=1000.0, usd_per_million_out=2000.0)
        answers = job.teach(questions)
        rows = list(answers.rows())
    assert set(server.prompts.values()) == {2}, "the greedy candidate and a sampled one"
    assert [row.cluster for row, _ in rows] == list(range(TWEETS))
    row, reasons = rows[0]
    assert (row.origin, row.split, reasons) == ("teacher", "train", ())
    assert row.prompt_text == "the tram was 100 minutes late"
    assert row.target_text == "The tram was 100 minutes late."
    assert row.lineage["teacher"] == {"model": "teacher", "engine": "openai", "host": answers.statistics["host"]}
    assert row.lineage["scores"] == {"cost": 0.0, "flags": [], "agreement": 1.0}
    assert row.lineage["tokens"] == {"in": 14, "out": 4}
    assert row.lineage["prompt_sha256"] == answers.statistics["prompt_sha256"]["summary"]
    assert answers.statistics["asked"] == answers.statistics["accepted"] == TWEETS
    assert answers.statistics["usd"] == pytest.approx(TWEETS * (14 * 0.001 + 4 * 0.002))
    assert answers.statistics["projected_at_half"]["usd"] == pytest.approx(answers.statistics["usd"])
    progress = job.attempt.last_progress()
    assert progress is not None
    assert (progress["asked"], progress["of"], progress["phase"]) == (TWEETS, TWEETS, "taught")
    assert jobs.events(clean_database, job.id).count("log") == 1, "what was projected at half is logged"


def test_another_recipe_with_the_same_prompt_asks_nothing_and_pays_nothing(clean_database: Engine, questions: list[Question]) -> None:
    with serving(teaching) as server:
        Job(clean_database, server).teach(questions)
        before = len(server.requests)
        answers = Job(clean_database, server, usd_per_million_in=1.0, max_usd=0.000001).teach(questions)
        assert len(server.requests) == before
        assert len(list(answers.rows())) == TWEETS
        Job(clean_database, server, temperature=0.1).teach(questions)
        assert len(server.requests) == 2 * before
    assert (answers.statistics["asked"], answers.statistics["cached"], answers.statistics["usd"]) == (0, TWEETS, 0.0)


def test_tweets_that_say_the_same_are_asked_about_once(clean_database: Engine, questions: list[Question]) -> None:
    with clean_database.begin() as connection:
        connection.execute(text("UPDATE tweet SET text = 'the tram was late'"))
    with serving(teaching) as server:
        rows = list(Job(clean_database, server).teach(questions).rows())
    assert len(server.requests) == 1
    assert len(rows) == TWEETS


def test_a_stored_answer_is_never_asked_for_again_after_a_crash(clean_database: Engine, questions: list[Question]) -> None:
    def script(n: int, request: Request) -> Answer:
        if n == 12:
            job.die()
        return Answer(body=taught(request))

    with serving(script) as server:
        job = Job(clean_database, server)
        with pytest.raises(LeaseLost):
            job.teach(questions)
        kept = set(stored(clean_database))
        assert 5 <= len(kept) <= 12
        job.begin()
        answers = job.teach(questions)
    assert len(stored(clean_database)) == TWEETS
    again = {question.tweet_id for question in questions if server.prompts[prompt_of(question)] > 1}
    assert not again & kept
    assert len(again) <= 3, "only what was under way may be asked twice"
    assert answers.statistics["asked"] == TWEETS


@pytest.mark.parametrize(
    ("budget", "most"),
    [({"max_tokens": 90}, 10 + 2), ({"max_usd": 0.09, "usd_per_million_in": 1000, "usd_per_million_out": 1000}, 10 + 2)],
)
def test_budgets_end_the_asking_and_the_rest_is_counted(
    clean_database: Engine, questions: list[Question], budget: dict[str, Any], most: int
) -> None:
    with serving(teaching) as server:
        job = Job(clean_database, server, **budget)
        answers = job.teach(questions)
        rows = list(answers.rows())
        assert 10 <= len(server.requests) <= most
        # What an earlier attempt spent is spent.
        job.die()
        job.begin()
        job.teach(questions)
        assert len(server.requests) <= most
    (reason,) = answers.statistics["not_asked"]
    assert reason in budget
    assert answers.statistics["not_asked"][reason] + len(rows) == TWEETS


def test_minutes_are_a_budget_too(clean_database: Engine, questions: list[Question]) -> None:
    with serving(lambda _, request: Answer(body=taught(request), wait=0.2)) as server:
        answers = Job(clean_database, server, max_minutes=0.6 / 60).teach(questions)
    assert 4 <= len(server.requests) <= 10
    assert answers.statistics["not_asked"] == {"max_minutes": TWEETS - answers.statistics["asked"]}


def test_what_is_not_good_enough_is_a_row_with_its_reasons(clean_database: Engine, questions: list[Question]) -> None:
    def script(_: int, request: Request) -> Answer:
        if "101" in tweet(request):
            return Answer(400, body="too long")
        if "102" in tweet(request):
            return Answer(body=completion(['{"note": "no"}']))
        if "103" in tweet(request):
            return Answer(500)
        return Answer(body=taught(request, "The bus to Paris was 7 minutes late.") if "104" in tweet(request) else taught(request))

    with clean_database.begin() as connection:
        connection.execute(text("UPDATE tweet SET text = '@you http://t.co/x' WHERE id = '105'"))
    with serving(script) as server:
        answers = Job(clean_database, server).teach(questions[:10])
        rows = {str(row.lineage["tweet_id"]): (row, reasons) for row, reasons in answers.rows()}
        asked_of_103 = server.prompts[prompt_of(questions[3])]
        # What may pass is asked again by the next job, what stays is not.
        before = len(server.requests)
        Job(clean_database, server).teach(questions[:10])
        assert {tweet(request)[13:16] for request in server.requests[before:]} == {"103"}
    assert len(rows) == 10
    assert {id_: reasons for id_, (_, reasons) in rows.items() if reasons} == {
        "101": ("teacher_no_answer",),
        "102": ("teacher_no_answer",),
        "103": ("teacher_no_answer",),
        "104": ("teacher_promise", "teacher_new_number", "teacher_new_name", "teacher_new_word", "teacher_faithful"),
        "105": ("teacher_wordless",),
    }
    assert rows["104"][0].target_text == "The bus to Paris was 7 minutes late."
    assert "400" in str(rows["101"][0].lineage["error"])
    assert asked_of_103 == 6, "all tries, twice"
    assert (answers.statistics["unanswered"], answers.statistics["accepted"], answers.statistics["rejected"]) == (1, 5, 5)
    assert set(stored(clean_database)) == {"100", "101", "102", "104", "106", "107", "108", "109"}


@pytest.mark.parametrize("nonsense", [Answer(400), Answer(body="<html>")])
def test_a_server_that_refuses_everything_leaves_no_mark_on_the_tweets(
    clean_database: Engine, questions: list[Question], nonsense: Answer
) -> None:
    with serving(always(nonsense)) as server, pytest.raises(UserError, match="answered none of 20 prompts") as complaint:
        Job(clean_database, server).teach(questions)
    assert "tram" not in str(complaint.value)
    assert stored(clean_database) == {}


@pytest.mark.parametrize(("status", "advice"), [(401, "OPENAI_API_KEY"), (404, "no model")])
def test_a_wrong_key_or_model_fails_at_once(clean_database: Engine, questions: list[Question], status: int, advice: str) -> None:
    with serving(always(Answer(status))) as server, pytest.raises(UserError, match=advice):
        Job(clean_database, server).teach(questions)
    assert len(server.requests) <= 2


def test_a_server_that_goes_down_fails_the_attempt_and_keeps_what_it_said(clean_database: Engine, questions: list[Question]) -> None:
    with serving(lambda n, request: Answer(body=taught(request)) if n <= 8 else Answer(503)) as server:
        job = Job(clean_database, server)
        with pytest.raises(EngineError):
            job.teach(questions)
        assert len(stored(clean_database)) == 8


def test_few_that_are_left_when_the_server_goes_down_are_not_let_go(clean_database: Engine, questions: list[Question]) -> None:
    with serving(lambda n, request: Answer(body=taught(request)) if n <= TWEETS - 2 else Answer(503)) as server:
        server.lives = False
        job = Job(clean_database, server)
        with pytest.raises(EngineError):
            job.teach(questions)
        server.script = teaching
        job.die()
        job.begin()
        assert len(list(job.teach(questions).rows())) == TWEETS


@pytest.mark.parametrize("order", ["cancel", "drain"])
def test_an_order_to_stop_keeps_what_is_under_way(clean_database: Engine, questions: list[Question], order: str) -> None:
    def script(n: int, request: Request) -> Answer:
        if n == 6:
            jobs.alter(clean_database, job.id, f"orders = '{order}'")
            job.attempt.renew()
        return Answer(body=taught(request), wait=0.3 if n >= 5 else 0.0)

    with serving(script) as server:
        job = Job(clean_database, server)
        with pytest.raises(Stopped):
            job.teach(questions)
        assert len(stored(clean_database)) == len(server.requests) < TWEETS


def test_a_tweet_that_is_deleted_meanwhile_stops_nothing(clean_database: Engine, questions: list[Question]) -> None:
    def script(n: int, request: Request) -> Answer:
        if n == 1:
            with clean_database.begin() as connection:
                connection.execute(text("DELETE FROM tweet WHERE id IN ('101', '119')"))
        return Answer(body=taught(request))

    with serving(script) as server:
        rows = list(Job(clean_database, server).teach(questions).rows())
    assert {str(row.lineage["tweet_id"]) for row, _ in rows} == {question.tweet_id for question in questions} - {"101", "119"}


def test_the_ledger_shows_progress_while_it_asks(clean_database: Engine, questions: list[Question]) -> None:
    shown: list[dict[str, Any]] = []

    def script(n: int, request: Request) -> Answer:
        shown.append(dict(job.attempt.last_progress() or {}))
        return Answer(body=taught(request), wait=0.01)

    with serving(script) as server:
        job = Job(clean_database, server, usd_per_million_in=1000.0)
        job.teach(questions)
    late = shown[-1]
    assert late["phase"] == "teacher"
    assert 0 < late["asked"] < late["of"] == TWEETS
    assert late["usd_projected"] == pytest.approx(TWEETS * 7 * 0.001)
    assert late["seconds_left"] > 0


def test_a_base_model_of_our_own_may_teach(clean_database: Engine, questions: list[Question], tmp_path: Path) -> None:
    base = str(build_tiny_model(tmp_path / "base"))
    with serving(teaching) as server:
        job = Job(clean_database, server, engine="local", model=base, candidates=2, answer_tokens=8, examples=1)
        answers = job.teach(questions[:3])
        rows = list(answers.rows())
        again = Job(clean_database, server, engine="local", model=base, candidates=2, answer_tokens=8, examples=1).teach(questions[:3])
    engines._warm.clear()
    assert server.requests == []
    assert len(rows) == 3
    assert rows[0][0].lineage["teacher"] == {"model": base, "engine": "local", "host": "local"}
    assert answers.statistics["asked"] == 3
    assert answers.statistics["tokens_out"] > 0
    assert (again.statistics["asked"], again.statistics["cached"]) == (0, 3)


def empty_account(after: int) -> Any:
    """A server whose account is used up after so many answers."""
    words = json.dumps({"error": {"message": "Insufficient credits. Add more", "code": 402}})
    return lambda n, request: Answer(402, body=words) if n > after else Answer(body=taught(request))


def test_an_empty_account_fails_the_job_and_keeps_answers_alone(clean_database: Engine, questions: list[Question]) -> None:
    with serving(empty_account(8)) as server:
        job = Job(clean_database, server)
        with pytest.raises(UserError, match=r"account at the server is used up \(402\): it says .Insufficient credits"):
            job.teach(questions)
        rows = stored(clean_database)
        assert len(rows) == 8
        assert all(row.answers for row in rows.values())
        server.script = teaching
        job.die()
        job.begin()
        answers = job.teach(questions)
        assert len(list(answers.rows())) == TWEETS
        assert answers.statistics["asked"] == TWEETS
    assert max(server.answered.values()) == 1, "an answer that was paid for was asked for again"


def test_answers_of_which_none_can_be_learnt_from_end_the_asking(clean_database: Engine, questions: list[Question]) -> None:
    with serving(lambda _, request: Answer(body=taught(request, "The bus to Paris was 7 minutes late."))) as server:
        with pytest.raises(
            UserError, match=r"none of the last \d answers can be learnt from \(.*new_name \d.* tokens, .* USD"
        ) as complaint:
            Job(clean_database, server, give_up_after=6, concurrency=2).teach(questions)
        assert 6 <= len(server.requests) <= 8
        assert len(stored(clean_database)) == len(server.requests), "what is paid for is kept"
        Job(clean_database, server, give_up_after=None).teach(questions)
        assert len(server.requests) == TWEETS
    assert "tram" not in str(complaint.value)


def test_a_useful_answer_now_and_then_lets_it_go_on(clean_database: Engine, questions: list[Question]) -> None:
    def script(n: int, request: Request) -> Answer:
        return Answer(body=taught(request) if n % 5 == 0 else taught(request, "The bus to Paris was 7 minutes late."))

    with serving(script) as server:
        rows = list(Job(clean_database, server, give_up_after=6, concurrency=1).teach(questions).rows())
    assert sum(not reasons for _, reasons in rows) == 4


def test_what_can_not_be_used_is_counted_and_holds_the_budget(clean_database: Engine, questions: list[Question]) -> None:
    thinking = {"choices": [{"message": {"content": None, "reasoning_content": "hm"}, "finish_reason": "length"}]}
    body = json.dumps(thinking | {"usage": {"prompt_tokens": 100, "completion_tokens": 256}})
    with serving(always(Answer(body=body))) as server:
        job = Job(clean_database, server, max_usd=1.0, usd_per_million_in=1000, usd_per_million_out=1000, concurrency=1)
        with pytest.raises(
            UserError, match=r"answered none of 3 prompts.*thought to the limit of 256 tokens.*raise teacher.answer_tokens.*1.068 USD"
        ):
            job.teach(questions)
    assert len(server.requests) == 3
    assert stored(clean_database) == {}


def test_refusals_that_were_kept_are_asked_again_by_order_alone(clean_database: Engine, questions: list[Question]) -> None:
    def refusing(_: int, request: Request) -> Answer:
        return Answer(400, body="no") if tweet(request).startswith("the tram was 10") else Answer(body=taught(request))

    with serving(refusing) as server:
        Job(clean_database, server).teach(questions)
        assert sum(not row.answers for row in stored(clean_database).values()) == 10
        server.script = lambda _, request: Answer(400, body="no") if "103" in tweet(request) else Answer(body=taught(request))
        before = len(server.requests)
        Job(clean_database, server).teach(questions)
        assert len(server.requests) == before, "they are refused for good"
        job = Job(clean_database, server, ask_again="unanswered")
        answers = job.teach(questions)
        asked = len(server.requests)
        assert asked - before == 10
        job.die()
        job.begin()
        job.teach(questions)
        assert len(server.requests) == asked, "one job asks once"
    assert answers.statistics["asked"] == 10
    assert [id_ for id_, row in stored(clean_database).items() if not row.answers] == ["103"]


def test_refusals_without_end_after_answers_leave_no_mark_on_the_tweets(
    clean_database: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "_MOST_REFUSED_IN_A_ROW", 5)
    refusal = Answer(400, body=json.dumps({"error": {"message": "this deployment is being moved"}}))

    def moving(_: int, request: Request) -> Answer:
        return Answer(body=taught(request)) if server.answered.total() < 6 else refusal

    with serving(moving) as server:
        job = Job(clean_database, server, concurrency=1)
        with pytest.raises(UserError, match=r"answered none of the last 5 prompts, and nothing is kept of that.*being moved"):
            job.teach(questions)
        assert len(stored(clean_database)) == 6, "what was answered before is kept"
        server.script = teaching
        job.die()
        job.begin()
        job.teach(questions)
        assert all(row.answers for row in stored(clean_database).values())
    assert server.answered.total() == TWEETS, "no answer is paid for twice"


def test_what_a_filter_refuses_is_due_to_the_tweets_however_often(
    clean_database: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "_MOST_REFUSED_IN_A_ROW", 5)
    filtered = Answer(400, body=json.dumps({"error": {"message": "flagged", "code": "content_filter"}}))
    with serving(lambda n, request: Answer(body=taught(request)) if n < 3 else filtered) as server:
        told = Job(clean_database, server, concurrency=1).teach(questions).statistics
    assert told["asked"] == TWEETS
    assert sum(not row.answers for row in stored(clean_database).values()) == TWEETS - 2
