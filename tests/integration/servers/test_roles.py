"""The roles in Postgres: a login of each does its work and is refused everything else."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from deploy import logins
from deploy.migrate import grant, migrate
from producers.cli import main
from schemas import roles
from schemas.migrations import head
from schemas.payloads import SummarizationSpec
from schemas.synthesis import SynthesisSpec
from tasks import streams, summarization, synthesis
from tests.conftest import Servers
from tests.support import jobs
from tests.support.everywhere import AUTHOR, TWEET, plant, where
from tests.support.streams import add_model, begin, rows, tweet
from tests.support.tiny_model import build_tiny_model
from tests.support.worker_process import WorkerProcess, wait_for
from workers.app import app
from workers.database import connect, get_engine, transaction
from workers.errors import NotReady, SettingsError
from workers.ingest.curated import import_collection
from workers.settings import get_settings
from workers.streams import arrivals
from workers.streams.micro_batches import Limits

LOGINS = {"producer": "tweetmill_producer_login", "worker": "tweetmill_worker_login", "reader": "tweetmill_reader_login"}
NOT_PERMITTED = "42501"
Login = Callable[[str], Engine]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


def url_of(servers: Servers, user: str) -> str:
    return servers.database_url.replace("//tweetmill@", f"//{user}@")


@pytest.fixture(scope="module")
def prepared(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """Rights are given, and each kind has a login."""
    folder = tmp_path_factory.mktemp("passwords")
    for kind in LOGINS:
        (folder / kind).write_text(f"password of the {kind}\n")
    logins.bring_up(get_settings(), {kind: folder / kind for kind in LOGINS})
    return servers


@pytest.fixture
def login(prepared: Servers) -> Iterator[Login]:
    """An engine of one kind of login."""
    engines: list[Engine] = []

    def connected(kind: str) -> Engine:
        engines.append(connect(url_of(prepared, LOGINS[kind]), pool_size=1))
        return engines[-1]

    yield connected
    for each in engines:
        each.dispose()


def refused(engine: Engine, statement: str) -> bool:
    """Whether Postgres says that this login may not do it; another error is a mistake of the test."""
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
            connection.rollback()
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != NOT_PERMITTED:
            raise
        return True
    return False


@contextmanager
def acting_as(servers: Servers, kind: str) -> Iterator[None]:
    """This process takes the login for its own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", url_of(servers, LOGINS[kind]))
        get_settings.cache_clear()
        try:
            yield
        finally:
            get_engine().dispose()
            get_settings.cache_clear()
    get_settings.cache_clear()


EVERYWHERE = (
    "DELETE FROM job",
    "DELETE FROM metric",
    "DELETE FROM selection",
    "TRUNCATE job_event",
    "DROP TABLE tweet",
    "ALTER TABLE job ADD COLUMN spy text",
    "CREATE TABLE spy (id int)",
    "CREATE FUNCTION spy() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "UPDATE job SET payload = '{}'",
    "UPDATE job SET idempotency_key = 'mine'",
    "UPDATE job SET kind = 'training.train'",
    "UPDATE job SET max_failures = 1000",
    "UPDATE tweet SET id = 'forged'",
    "UPDATE summary SET summary = 'forged'",
    "UPDATE job_event SET event = 'forged'",
    "UPDATE alembic_version SET version_num = '0000'",
    "CREATE ROLE spy",
    "SET ROLE tweetmill",
)
ONLY_FOR = {
    "producer": (
        "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt) VALUES ('1', 1, 'v', 'c', 's', 1)",
        "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES ('m', 'b', 'lora', 'summary', '/of/mine')",
        "UPDATE model SET adapter_uri = '/of/mine'",
        "DELETE FROM model",
        "UPDATE job SET attempt = 7",
        "UPDATE job SET lease_until = now()",
        "UPDATE job SET result = '{}'",
    ),
    "worker": (
        "INSERT INTO job (id, kind, queue, idempotency_key) VALUES (gen_random_uuid(), 'k', 'q', 'i')",
        "INSERT INTO tweet (id, source, text, text_hash) VALUES ('1', 's', 't', 'h')",
        "UPDATE tweet SET text = 'forged'",
        "DELETE FROM summary",
        "INSERT INTO curated (collection, position, key) VALUES ('c', 1, 'k')",
        "INSERT INTO selection (job, ordinal, tweet) VALUES (gen_random_uuid(), 1, '1')",
        "DELETE FROM tweet",
        "DELETE FROM example",
        "INSERT INTO forgotten (kind, digest) VALUES ('tweet', '\\x00')",
    ),
    "reader": (
        "INSERT INTO tweet (id, source, text, text_hash) VALUES ('1', 's', 't', 'h')",
        "INSERT INTO job_event (job, attempt, event) VALUES (gen_random_uuid(), 1, 'e')",
        "UPDATE tweet SET text = 'forged'",
        "DELETE FROM summary",
        "UPDATE job SET orders = 'cancel'",
        "UPDATE worker SET orders = 'drain'",
        "DELETE FROM tweet",
    ),
}


@pytest.mark.parametrize("kind", LOGINS)
def test_nobody_but_the_owner_deletes_empties_reshapes_or_forges(engine: Engine, login: Login, kind: str):
    them = login(kind)
    assert [statement for statement in EVERYWHERE + ONLY_FOR[kind] if not refused(them, statement)] == []


@pytest.mark.parametrize("kind", LOGINS)
def test_everybody_may_read(engine: Engine, login: Login, kind: str):
    them = login(kind)
    with engine.connect() as connection:
        tables = list(connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars())
    assert len(tables) > 10
    assert [table for table in tables if refused(them, f"SELECT count(*) FROM {table}")] == []  # noqa: S608


def test_giving_the_rights_again_takes_back_what_was_given_in_between(engine: Engine, login: Login, prepared: Servers):
    with engine.begin() as connection:
        connection.execute(text("GRANT DELETE ON job TO tweetmill_worker"))
    them = login("worker")
    assert not refused(them, "DELETE FROM job")
    assert grant(get_settings()) is None
    assert refused(them, "DELETE FROM job")
    assert not refused(them, "UPDATE job SET progress = '{}'")


def test_a_password_reaches_postgres_hashed_and_a_new_one_replaces_it(engine: Engine, prepared: Servers, tmp_path: Path):
    def stored() -> str:
        with engine.connect() as connection:
            return str(connection.execute(text("SELECT rolpassword FROM pg_authid WHERE rolname = 'tweetmill_worker_login'")).scalar_one())

    before = stored()
    assert before.startswith("SCRAM-SHA-256$")
    file = tmp_path / "password"
    file.write_text("another'; DROP TABLE job; --")
    logins.bring_up(get_settings(), {"worker": file})
    assert stored().startswith("SCRAM-SHA-256$")
    assert stored() != before


def test_a_login_of_an_unknown_kind_or_without_a_password_is_refused(prepared: Servers, tmp_path: Path):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError, match="no such kind"):
        logins.bring_up(get_settings(), {"owner": tmp_path / "empty"})
    with pytest.raises(SettingsError, match="the password is empty"):
        logins.bring_up(get_settings(), {"worker": tmp_path / "empty"})
    with pytest.raises(SettingsError, match="can't be read"):
        logins.bring_up(get_settings(), {"worker": tmp_path / "missing"})


def test_what_keeps_the_rights_from_being_given_is_told_in_a_line(engine: Engine, prepared: Servers, monkeypatch: pytest.MonkeyPatch):
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS small_owner"))
        connection.execute(text("CREATE ROLE small_owner LOGIN IN ROLE tweetmill"))
    with acting_as(prepared, "worker"):
        assert "does not own the tables" in str(grant(get_settings()))
    monkeypatch.setattr(roles, "ROLES", (*roles.ROLES, "tweetmill_not_made_yet"))
    monkeypatch.setenv("DATABASE_URL", url_of(prepared, "small_owner"))
    get_settings.cache_clear()
    assert "CREATE ROLE tweetmill_not_made_yet NOLOGIN" in str(grant(get_settings()))
    monkeypatch.undo()
    get_settings.cache_clear()


def test_who_may_not_change_the_tables_is_told_so(engine: Engine, prepared: Servers):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        with acting_as(prepared, "worker"), pytest.raises(NotReady, match="owner"):
            migrate(get_settings())
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head()})


# Work


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with tweets and the pairs of some of them; one line of each can't be used."""
    places = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna")
    said = [f"The {thing} to {place} was {number + 2} minutes late." for number, place in enumerate(places) for thing in ("train", "bus")]
    tweets = [json.dumps({"id": str(number), "text": f"omg {sentence} smh"}) for number, sentence in enumerate(said)]
    pairs = [json.dumps({"tweet_id": str(number), "clean": sentence, "summary": sentence}) for number, sentence in enumerate(said)]
    (tmp_path / "tweets.jsonl").write_text("\n".join([*tweets, "broken"]))
    (tmp_path / "pairs.jsonl").write_text("\n".join([*pairs, "broken"]))
    return tmp_path


def test_a_producer_ingests_asks_cancels_and_retries(engine: Engine, prepared: Servers, files: Path, capsys: pytest.CaptureFixture[str]):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO model (name, base, method, stage) VALUES ('tiny', 'nowhere', 'none', 'summary')"))
    (files / "recipe.yaml").write_text("dataset: late\npairs: pairs.jsonl\ntest_size: 2\n")
    with acting_as(prepared, "producer"):
        for _ in range(2):
            assert main(["ingest", str(files / "tweets.jsonl")]) == 0
        assert main(["synthesize", "-r", str(files / "recipe.yaml"), "--no-wait"]) == 0
        capsys.readouterr()
        assert main(["summarize", "--model", "tiny", "--no-wait", "--json"]) == 0
        job = json.loads(capsys.readouterr().out)["job"]
        for verb in (["jobs"], ["job", job], ["cancel", job], ["retry", job], ["cancel", job], ["rejected"], ["datasets"], ["models"]):
            assert main(verb) == 0, verb
    assert jobs.state(engine, uuid.UUID(job)) == "cancelled"


def test_a_producer_forgets_a_tweet_and_all_that_was_made_of_it(engine: Engine, prepared: Servers, capsys: pytest.CaptureFixture[str]):
    with engine.begin() as connection:
        plant(connection)
    with acting_as(prepared, "producer"):
        assert main(["forget", TWEET, "--author", AUTHOR, "--yes"]) == 0
        assert main(["forget", TWEET, "--allow-again"]) == 0
    with engine.connect() as connection:
        assert where(connection) == set()


def test_a_producer_streams_and_revises_what_came(engine: Engine, prepared: Servers):
    add_model(engine)
    with acting_as(prepared, "producer"):
        held = begin()
        with transaction() as connection:
            arrivals.store(connection, held, [tweet("a", "so late"), tweet("b", "late again")])
        assert streams.make_shard(held, Limits(batch=9, max_tokens=900, max_age=0.0, in_flight=9), guard=True) == 2
        with transaction() as connection:
            arrivals.store(connection, held, [tweet("a", "so very late", revised=True)])
        streams.end(held, "stopped")
    assert rows(engine, "SELECT ordinal, tweet FROM arrival ORDER BY ordinal") == [(2, "b"), (3, "a")]


def test_to_prune_takes_the_owners_login(engine: Engine, prepared: Servers, capsys: pytest.CaptureFixture[str]):
    for kind in LOGINS:
        with acting_as(prepared, kind):
            assert main(["prune", "--older-than", "90d"]) == 1
        assert "takes the login of the tables' owner" in " ".join(capsys.readouterr().err.split())


def synthesis_job(folder: Path) -> uuid.UUID:
    tweets, pairs = folder / "tweets.jsonl", folder / "pairs.jsonl"
    assert main(["ingest", str(tweets)]) == 0
    spec = SynthesisSpec(dataset="late", pairs=import_collection(pairs, "pairs"), noise=None, test_size=2)
    return synthesis.enqueue(spec, tweets=16).job


def test_a_worker_does_all_its_work_without_the_right_to_delete(
    engine: Engine, prepared: Servers, files: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first = synthesis_job(files)
    with engine.begin() as connection:
        new = "INSERT INTO model (name, base, method, stage) VALUES ('tiny', :base, 'none', 'summary') RETURNING id"
        model = connection.execute(text(new), {"base": str(base)}).scalar_one()
    summaries = summarization.enqueue(SummarizationSpec(model_id=model, shard_size=8, guard=True)).job
    app.send_task("upkeep.ping", queue="upkeep")
    abandoned = jobs.add(engine)
    jobs.claimed(engine, abandoned, owner="killed@elsewhere")
    jobs.expire(engine, abandoned)
    as_worker = {"DATABASE_URL": url_of(prepared, LOGINS["worker"])}
    worker = WorkerProcess("bound", "synthesis,summarization,upkeep", tmp_path, **as_worker)
    try:
        assert wait_for(lambda: jobs.state(engine, first) == "done", 60), worker.log
        assert wait_for(lambda: jobs.state(engine, summaries) == "done", 60), worker.log
        again = synthesis.enqueue(SynthesisSpec(dataset="late", pairs=_collection(engine), noise=None, test_size=4), tweets=16).job
        assert wait_for(lambda: jobs.state(engine, again) == "done", 30), worker.log
        assert wait_for(lambda: bool(re.search(r"Task upkeep\.ping\S+ succeeded", worker.log))), worker.log
        assert counted(engine, "SELECT count(*) FROM summary") == 16
        assert counted(engine, "SELECT count(*) FROM dataset") == 2
        assert wait_for(lambda: "lease expired" in jobs.events(engine, abandoned)), worker.log
        worker.process.terminate()
        worker.exit_code(20)
    finally:
        worker.kill_all()
    assert "InsufficientPrivilege" not in worker.log
    assert "permission denied" not in worker.log


def _collection(engine: Engine) -> str:
    return str(counted(engine, "SELECT DISTINCT collection FROM curated"))


def counted(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()
