"""Postgres and Redis as others set them up: options, schemas, poolers, standbys, replicas, sockets; status and workers judge alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from deploy import health
from deploy import worker as node
from deploy.local.home import Home
from deploy.migrate import grant, migrate
from schemas.migrations import head
from tests.conftest import Servers
from tests.support.pooler import REFUSES, REFUSES_ALL, SWALLOWS, pooler
from tests.support.tls import Authority, tls_listener
from tests.support.valkey import free_port, valkey
from workers.connections.database_sessions import parse_options
from workers.connections.server_errors import of_postgres
from workers.database import connect, transaction
from workers.errors import NotReady, SettingsError, TweetmillError, Unavailable
from workers.readiness import startup
from workers.settings import Settings, get_settings

SECRET = "xyzzy7plugh"


@pytest.fixture
def socket(servers: Servers) -> Path:
    """Postgres's own."""
    return Path(parse_qs(urlsplit(servers.database_url).query)["host"][0]) / ".s.PGSQL.5432"


def changed(**fields: Any) -> Settings:
    return get_settings().model_copy(update={name: _secret(value) for name, value in fields.items()})


def _secret(value: Any) -> Any:
    from pydantic import SecretStr

    return SecretStr(value) if isinstance(value, str) else value


def refused(settings: Settings) -> TweetmillError:
    """What `tweetmill worker` says; `tweetmill status` says the same."""
    with pytest.raises(TweetmillError) as complaint:
        node.check(settings, ["upkeep"])
    found = health.status(settings, Home(settings.home))
    assert not found["ready"]
    said = [*found["problems"], *(found[server]["error"] for server in ("redis", "postgres") if not found[server]["answers"])]
    assert str(complaint.value) == "; ".join(said)
    return complaint.value


def setting(engine: Engine, name: str) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(url: str, **options: Any) -> Engine:
        made.append(connect(url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


# Options of a session


def test_options_of_an_address_hold_beside_our_own_and_win(servers: Servers, engines: Callable[..., Engine]):
    options = quote("-c geqo=off -csearch_path=pg_catalog,public --lock-timeout=7s -c application_name=odd\\ name")
    engine = engines(f"{servers.database_url}&options={options}&connect_timeout=3", statement_timeout=61)
    for name, value in {"geqo": "off", "search_path": "pg_catalog,public", "lock_timeout": "7s", "statement_timeout": "61s"}.items():
        assert setting(engine, name) == value
    assert setting(engine, "idle_in_transaction_session_timeout") == "2min"


@pytest.mark.parametrize("wrong", ["geqo=off", "-c", "-c geqo", "-B 100", "-c =x", "-c ge$qo=off", "--"])
def test_what_is_no_list_of_options_is_refused(wrong: str):
    with pytest.raises(SettingsError, match="DATABASE_URL: its options"):
        parse_options(wrong)


def test_tables_are_where_the_search_path_leads(clean_database: Engine, servers: Servers, engines: Callable[..., Engine]):
    settings = changed(database_url=f"{servers.database_url}&options=-csearch_path%3Dmill_of_ours")
    assert "search path names no schema" in str(refused(settings))
    with pytest.raises(NotReady, match="the schema that search_path names is not there"):
        migrate(settings)
    with clean_database.begin() as connection:
        connection.execute(text("CREATE SCHEMA mill_of_ours"))
    try:
        assert "there are no tables yet" in str(refused(settings))
        assert migrate(settings) == (None, head())
        assert grant(settings) is None
        node.check(settings, ["upkeep"])
        with transaction(engines(settings.database())) as connection:
            connection.execute(text("INSERT INTO curated (collection, position, key) VALUES ('c', 1, 'k')"))
        with clean_database.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM mill_of_ours.curated")).scalar_one() == 1
            assert connection.execute(text("SELECT count(*) FROM public.curated")).scalar_one() == 0
            granted = "SELECT has_table_privilege('tweetmill_reader', 'mill_of_ours.tweet', 'SELECT')"
            assert connection.execute(text(granted)).scalar_one()
    finally:
        with clean_database.begin() as connection:
            connection.execute(text("DROP SCHEMA mill_of_ours CASCADE"))


def test_a_service_of_libpq_keeps_its_own_options(
    servers: Servers, engines: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, socket: Path, tmp_path: Path
):
    (tmp_path / "services").write_text(f"[mill]\nhost={socket.parent}\nuser=tweetmill\ndbname=tweetmill\noptions=-c geqo=off\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    settings = Settings(database_url="postgresql:///?service=mill")
    engine = engines(settings.database(), statement_timeout=61)
    assert (setting(engine, "geqo"), setting(engine, "statement_timeout")) == ("off", "61s")
    with pytest.raises(NotReady, match="there is no such service"):
        startup.ask_database(Settings(database_url="postgresql:///?service=other"))


# Poolers


@pytest.mark.parametrize("manner", [REFUSES, SWALLOWS])
def test_behind_a_pooler_every_transaction_has_its_settings(
    clean_database: Engine, socket: Path, engines: Callable[..., Engine], manner: str
):
    with pooler(socket, manner) as (port, sessions):
        url = f"postgresql://tweetmill@127.0.0.1:{port}/tweetmill?options=-csearch_path%3Dpublic,pg_temp"
        settings = changed(database_url=url)
        node.check(settings, ["upkeep"])
        engine = engines(settings.database(), statement_timeout=0.2)
        assert setting(engine, "search_path") == "public,pg_temp"
        assert setting(engine, "statement_timeout") == "200ms"
        with pytest.raises(OperationalError, match="statement timeout"), engine.begin() as connection:
            connection.execute(text("SELECT pg_sleep(5)"))
        for _ in range(8):  # psycopg prepares what comes for the sixth time
            with engine.begin() as connection:
                assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
        begun = len(sessions)
        with engine.connect(), engine.connect():
            pass
        assert all("options" not in asked for asked in sessions[begun:]), "it is asked once alone"
        engine.dispose()


def test_a_pooler_that_refuses_whatever_is_asked_is_named_with_what_it_must_allow(servers: Servers, socket: Path):
    with pooler(socket, REFUSES_ALL) as (port, _):
        error = refused(changed(database_url=f"postgresql://tweetmill:{SECRET}@127.0.0.1:{port}/tweetmill"))
    assert isinstance(error, NotReady)
    assert "ignore_startup_parameters = options" in str(error)
    assert "127.0.0.1" not in str(error)


# Postgres that takes no writes, or is another


def test_a_database_that_takes_no_writes_is_told_by_status_and_waited_for(clean_database: Engine):
    with clean_database.begin() as connection:
        connection.execute(text("ALTER DATABASE tweetmill SET default_transaction_read_only = on"))
    try:
        clean_database.dispose()
        error = refused(get_settings())
        assert isinstance(error, Unavailable)
        assert "default_transaction_read_only is on" in str(error)
        with pytest.raises(Unavailable, match="it takes no writes now: `tweetmill status` tells why"), transaction() as connection:
            connection.execute(text("INSERT INTO tweet (id, source, text) VALUES ('1', 'x', 'here')"))
    finally:
        with clean_database.begin() as connection:
            connection.execute(text("SET TRANSACTION READ WRITE"))
            connection.execute(text("ALTER DATABASE tweetmill RESET default_transaction_read_only"))
        clean_database.dispose()
    node.check(get_settings(), ["upkeep"])


def test_a_database_of_another_encoding_and_one_that_is_not_there_are_told(clean_database: Engine, servers: Servers):
    with clean_database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"))
        try:
            error = refused(changed(database_url=servers.database_url.replace("@/tweetmill", "@/latin")))
            assert "encoding is LATIN1, which can't hold tweets" in str(error)
        finally:
            connection.execute(text("DROP DATABASE latin WITH (FORCE)"))
    error = refused(changed(database_url=servers.database_url.replace("@/tweetmill", f"@/{SECRET}")))
    assert "there is no such database" in str(error)
    assert SECRET not in str(error)


@pytest.mark.parametrize(("role", "is_refused"), [("tweetmill_worker", False), ("tweetmill_producer", True), ("tweetmill_reader", True)])
def test_a_login_that_may_not_do_the_work_is_told(clean_database: Engine, servers: Servers, role: str, is_refused: bool):
    assert grant(get_settings()) is None
    with clean_database.begin() as connection:
        connection.execute(text(f"CREATE ROLE somebody LOGIN IN ROLE {role}"))
    settings = changed(database_url=servers.database_url.replace("//tweetmill@", "//somebody@"))
    try:
        if is_refused:
            with pytest.raises(NotReady, match="this login may not do a worker's work"):
                node.check(settings, ["upkeep"])
        else:
            node.check(settings, ["upkeep"])
        assert bool(health.database_reading(settings)["problems"]) == (role == "tweetmill_reader")
    finally:
        with clean_database.begin() as connection:
            connection.execute(text("DROP ROLE somebody"))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://me@127.0.0.1:{free}/x", "nobody listens at its address"),
        (f"postgresql://me:{SECRET}@{SECRET}.invalid/x", "its host's name can't be resolved"),
        ("postgresql://me@/x?host=/tmp/nowhere-at-all", "its socket is not there"),
        (f"postgresql://{SECRET}@/tweetmill?host={{folder}}", "there is no such user that may log in"),
        (f"postgresql://tweetmill@/tweetmill?host={{folder}}&connect_timeout={SECRET}", "an option has a value that libpq can't take"),
        (f"postgresql://tweetmill@/tweetmill?host={{folder}}&options=-clock_timeout%3D{SECRET}", "one of the options of a session"),
        (f"postgresql://tweetmill@/tweetmill?host={{folder}}&options=-c{SECRET}%3D1", "one of the options of a session"),
        (f"postgresql://tweetmill@/tweetmill?host={{folder}}&sslmode={SECRET}", "an option has a value that libpq can't take"),
        ("postgresql://tweetmill@127.0.0.1:{free},127.0.0.1:{free}/x", "nobody listens at its address"),
    ],
)
def test_why_postgres_does_not_answer_is_told_in_our_words(servers: Servers, socket: Path, tmp_path: Path, address: str, told: str):
    url = address.format(free=free_port(), folder=quote(str(socket.parent), safe=""))
    error = refused(changed(database_url=url))
    assert told in str(error)
    assert "DATABASE_URL" in str(error)
    assert SECRET not in str(error)


# Redis


def test_a_socket_is_taken_by_status_and_workers_however_it_is_written(clean_database: Engine, servers: Servers):
    path = urlsplit(servers.broker_url).path
    for url in (f"unix://{path}?db=0", f"redis+unix://{path}", f"redis+socket://{path}?virtual_host=0"):
        settings = changed(broker_url=url)
        node.check(settings, ["upkeep"])
        assert health.broker_reading(settings)["problems"] == []


def test_a_replica_is_refused_as_such(clean_database: Engine, tmp_path: Path):
    folders = tmp_path / "primary", tmp_path / "replica"
    for folder in folders:
        folder.mkdir()
    with valkey(folders[0]) as primary, valkey(folders[1], {"replicaof": f"127.0.0.1 {primary}"}) as port:
        assert "is a replica, which takes no messages" in str(refused(changed(broker_url=f"redis://127.0.0.1:{port}/0")))


def test_a_cluster_is_refused_as_such(clean_database: Engine, tmp_path: Path):
    with valkey(tmp_path, {"cluster-enabled": "yes", "cluster-port": free_port()}) as port:
        message = str(refused(changed(broker_url=f"redis://127.0.0.1:{port}/0")))
    assert "runs in cluster mode" in message or "it is a Redis Cluster" in message


def test_a_full_memory_is_told_by_status_and_waited_for(clean_database: Engine, tmp_path: Path):
    with valkey(tmp_path) as port, Redis(port=port) as client:
        client.config_set("maxmemory", 1)
        error = refused(changed(broker_url=f"redis://127.0.0.1:{port}/0"))
    assert isinstance(error, Unavailable)
    assert "raise its maxmemory" in str(error)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (f"redis://:{SECRET}@127.0.0.1:{{port}}/0", "Redis refuses the user or password"),
        (f"redis://{SECRET}:{SECRET}@127.0.0.1:{{port}}/0", "Redis refuses the user or password"),
        ("redis://127.0.0.1:{port}/0", "Redis asks for a password, and there is none"),
        ("redis://:right@127.0.0.1:{port}/4711", "it has no database of that number"),
        ("rediss://:right@127.0.0.1:{port}/0", "it may speak no TLS there"),
        ("redis://:right@127.0.0.1:{tls}/0", "rediss://"),
        ("redis://:right@127.0.0.1:{free}/0", "nobody listens at its address"),
        (f"redis://:{SECRET}@{SECRET}.invalid:1/0", "its host's name can't be resolved"),
        (f"redis://:{SECRET}@{'x' * 70}.invalid:1/0", "its host's name can't be resolved"),
        (f"unix://:{SECRET}@/tmp/nowhere-at-all", "its socket is not there"),
    ],
)
def test_why_redis_does_not_answer_is_told_in_our_words(servers: Servers, tmp_path: Path, address: str, told: str):
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(valkey(tmp_path, {"requirepass": "right", "unixsocket": tmp_path / "s"}))
        tls = 0
        if "{tls}" in address:
            tls = stack.enter_context(tls_listener(Authority.create(tmp_path / "ca").context_for("127.0.0.1"), tmp_path / "s"))
        error = refused(changed(broker_url=address.format(port=port, tls=tls, free=free_port())))
    assert told in str(error)
    assert "CELERY_BROKER_URL" in str(error)
    assert SECRET not in str(error)


def test_a_failure_of_an_unknown_kind_is_shown_without_secrets():
    class Strange(DBAPIError):
        def __init__(self) -> None:
            super().__init__("SELECT 1", {}, Exception(f"the moon is full at postgresql://me:{SECRET}@host/db"))

    reason = of_postgres(Strange())
    assert not reason.is_known
    assert reason.text == "the moon is full at postgresql://…"
