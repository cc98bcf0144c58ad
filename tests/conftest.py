"""Fixtures that several packages of tests share: real servers in a folder that is removed afterwards."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from deploy.local.home import Home
from deploy.local.servers import Postgres, Valkey
from schemas.migrations import migrate
from workers import redaction
from workers.app import app
from workers.broker import redis_client
from workers.database import connect, get_engine
from workers.settings import get_settings

# A busy machine makes any example slow: properties are held against answers, not against the clock.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

LONGEST_ID = 100
"""Characters of a text that names the case of a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the fault tests: `make faults` gives both."""
    parser.addoption("--thorough", action="store_true", help="inject faults for as long and as often as docs/faults.md says")
    parser.addoption("--figures", type=Path, help="append what the fault tests measured to this file, one JSON object a line")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a module in one process, since they share its servers, but for modules that are marked `spread`."""
    for item in items:
        module = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(item.nodeid if item.get_closest_marker("spread") else module))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long texts and bytes by their parameter: an archive holds the time at which it was made, another one in each process."""
    return argname if isinstance(val, bytes) or (isinstance(val, str) and len(val) > LONGEST_ID) else None


@pytest.fixture(autouse=True)
def no_secret_outlives_its_test() -> Iterator[None]:
    """Forget the secrets that a test gave its process: another test's messages would be redacted of them."""
    known = set(redaction._secrets)
    yield
    redaction._secrets.intersection_update(known)


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether a fault is to be injected at full length, and not only for as long as shows that it is survived."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture
def explore(request: pytest.FixtureRequest) -> Callable[..., int]:
    """Holds a property against inputs that hypothesis makes, 10,000 of them at full length: `explore(check, text=st.text())`."""
    count = 10_000 if request.config.getoption("--thorough") else 200

    def run(check: Callable[..., None], **inputs: st.SearchStrategy[Any]) -> int:
        slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
        settings(max_examples=count, suppress_health_check=slow)(given(**inputs)(check))()
        return count

    return run


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Says what a fault test measured: `measured(lost=0, seconds=4.8)`. The rows of docs/faults.md are in its marker `fault`."""

    def tell(**figures: float | str) -> None:
        rows = [row for marker in request.node.iter_markers("fault") for row in marker.args]
        line = json.dumps(
            {"rows": rows, "test": request.node.nodeid, "figures": figures, "thorough": request.config.getoption("--thorough")}
        )
        print(line)  # noqa: T201
        file = request.config.getoption("--figures")
        if file is not None:
            with file.open("a", encoding="utf-8") as out:
                out.write(line + "\n")

    return tell


@dataclass(frozen=True)
class Servers:
    """Valkey and a migrated Postgres, without workers."""

    home: Path
    database_url: str
    broker_url: str


@pytest.fixture
def computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have engines compute in float32 where `auto` would take bfloat16, in which the close calls of a random model fall either way."""
    monkeypatch.setenv("TWEETMILL_DTYPE", "float32")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def stack_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty state folder that this process takes for its own."""
    # Not tmp_path: pytest closes its folders to others, and as root Postgres runs as somebody else.
    home = Path(tempfile.mkdtemp(prefix="tweetmill-"))
    monkeypatch.setenv("TWEETMILL_HOME", str(home))
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield home
    get_settings.cache_clear()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def running_servers() -> Iterator[Servers]:
    """One pair of servers for the whole run; no setting points to them yet."""
    home = Home(Path(tempfile.mkdtemp(prefix="tweetmill-")))
    home.prepare()
    valkey, postgres = Valkey(home), Postgres(home)
    try:
        valkey.start()
        postgres.start()
        engine = connect(postgres.url)
        migrate(engine)
        engine.dispose()
        yield Servers(home.path, postgres.url, valkey.url)
    finally:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(home.path, ignore_errors=True)


@contextmanager
def new_settings() -> Iterator[None]:
    """For the block, this process's Celery application reads its configuration anew. Afterwards it is as it was.

    Tests publish too, and a module that ran before in this process may have pointed the application to servers that are gone.
    """
    get_settings.cache_clear()
    before = {name: app.__dict__.pop(name, None) for name in ("_conf", "_pool", "amqp")}
    app._conf = app._pool = None
    assert app.conf.broker_url == get_settings().broker()
    try:
        yield
    finally:
        app.__dict__.pop("amqp", None)
        app.__dict__.update({name: value for name, value in before.items() if name != "amqp" or value is not None})
        get_settings.cache_clear()


@pytest.fixture(scope="module")
def servers(running_servers: Servers) -> Iterator[Servers]:
    """The servers, with the settings of this process pointing to them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TWEETMILL_HOME", str(running_servers.home))
        environment.setenv("DATABASE_URL", running_servers.database_url)
        environment.setenv("CELERY_BROKER_URL", running_servers.broker_url)
        with new_settings():
            yield running_servers
            get_engine().dispose()


_BEGIN_AGAIN = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL
"""
_SMALL = 4 * 2**20  # bytes with indexes


@pytest.fixture(scope="module")
def new_servers(servers: Servers) -> Servers:
    """The servers without what the modules before left there, for rows that a whole module shares."""
    with get_engine().begin() as connection:
        empty(connection)
    return servers


@pytest.fixture
def clean_database(servers: Servers) -> Engine:
    """Empty tables and empty queues; the engine to look into them."""
    engine = get_engine()
    with engine.begin() as connection:
        empty(connection)
    with redis_client(servers.broker_url) as client:
        client.flushdb()
    return engine


def empty(connection: Connection) -> None:
    """Remove all rows. Few are deleted: to truncate every table makes a hundred files anew, which takes six times as long."""
    names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"))
    rows = " UNION ALL ".join(
        f"SELECT '{name}' AS name, pg_total_relation_size('{name}') AS bytes WHERE EXISTS (SELECT FROM \"{name}\")"  # noqa: S608
        for name in names.scalars()
    )
    filled = connection.execute(text(rows)).all()
    if any(table.bytes > _SMALL for table in filled):
        connection.execute(text(f"TRUNCATE {', '.join(table.name for table in filled)} RESTART IDENTITY CASCADE"))
    elif filled:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # in whatever order
        connection.execute(text("; ".join(f"DELETE FROM {table.name}" for table in filled)))  # noqa: S608
    connection.execute(text(_BEGIN_AGAIN)).all()
