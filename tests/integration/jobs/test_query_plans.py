"""With a million jobs in it, the ledger reads no table from end to end: each statement is explained as it is sent."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, text

from benchmarks import plans
from tasks import enqueue
from tests.conftest import Servers
from workers.broker import redis_client
from workers.jobs import events, fanout, ledger, maintenance, queries, worker_registry

MODULES = (ledger, maintenance, worker_registry, fanout, queries, events, enqueue)
NORMAL, LARGE = 200_000, 1_000_000


@pytest.fixture
def explained(clean_database: Engine, servers: Servers, thorough: bool) -> Any:
    """Every statement on a large table, explained; the rows are gone afterwards."""
    jobs = LARGE if thorough else NORMAL
    plans.fill(clean_database, jobs)
    yield plans.explain(clean_database, jobs)
    with clean_database.begin() as connection:
        connection.execute(text("TRUNCATE job CASCADE"))
    with redis_client(servers.broker_url) as client:
        client.flushdb()


def test_no_statement_reads_all_jobs(explained: plans.Plans, measured: Any) -> None:
    slowest = explained.slowest
    measured(jobs=explained.jobs, statements=len(explained.explained), slowest_ms=slowest.milliseconds, slowest=slowest.sender)
    assert [one for one in explained.explained if one.scans_a_whole_table] == []
    wasteful = [one for one in explained.explained if one.in_vain > explained.jobs / 100]
    assert wasteful == [], "an index is read, but nearly all of it in vain"

    sent = {as_written(one.statement) for one in explained.explained}
    for module in MODULES:
        left_out = [sql for sql in sql_of(module) if not any(re.search(as_pattern(sql), statement) for statement in sent)]
        assert left_out == [], f"statements of {module.__name__} that benchmarks/plans.py never calls"


def test_every_function_of_the_ledger_and_of_the_queries_is_explained(clean_database: Engine) -> None:
    """A statement that SQLAlchemy builds is no string, so that its function must be among the steps."""
    plans.fill(clean_database, 20_000)
    explained = {name.partition(",")[0] for name in plans.steps(clean_database)}
    for module in (ledger, queries):
        own = [name for name, function in inspect.getmembers(module, inspect.isfunction) if function.__module__ == module.__name__]
        names = {f"{module.__name__.rpartition('.')[2]}.{name}" for name in own if not name.startswith("_")}
        assert names - explained == set(), "benchmarks/plans.py never calls them"


def as_written(statement: str) -> str:
    """A statement as its module has it: named parameters with a colon, one space between words."""
    return " ".join(re.sub(r"%\((\w+)\)s(::\w+)?", r":\1", statement).split())


def as_pattern(sql: str) -> str:
    """What a statement looks like that was made from a string, whatever was put into its braces."""
    return re.sub(r"\\{\w+\\}", ".*", re.escape(sql))


def sql_of(module: ModuleType) -> list[str]:
    """What a module has of SQL that touches a large table: its strings, and those that it puts together at import."""
    written = [node.value for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Constant)]
    strings = {value for value in (*written, *vars(module).values()) if isinstance(value, str) and value != module.__doc__}
    return sorted(" ".join(value.split()) for value in strings if plans.TOUCHES_LARGE_TABLE.search(value))


def test_a_statement_that_reads_all_jobs_would_be_seen(clean_database: Engine) -> None:
    plans.fill(clean_database, 20_000)
    found: list[plans.Explained] = []
    with plans.explaining(clean_database, "here", found), clean_database.connect() as connection:
        connection.execute(text("SELECT count(*) FROM job WHERE owner = :owner"), {"owner": "worker-7"})
        connection.execute(text("SELECT id FROM job WHERE owner = :owner ORDER BY created_at"), {"owner": "nobody"})
        connection.execute(text("SELECT count(*) FROM worker"))
    assert [one.scans_a_whole_table for one in found] == [True, True]
    assert found[0].in_vain > 19_000
    assert as_written(found[0].statement) == "SELECT count(*) FROM job WHERE owner = :owner"


def test_what_is_explained_is_rolled_back(clean_database: Engine) -> None:
    plans.fill(clean_database, 20_000)
    before = look(clean_database)
    with plans.explaining(clean_database, "here", []), clean_database.connect() as connection:
        connection.execute(text("UPDATE job SET failures = failures + 1"))
        assert connection.execute(text("SELECT max(failures) FROM job")).scalar_one() == 2, "once, and not once more a try"
        connection.rollback()
    assert look(clean_database) == before


def look(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT state, count(*), sum(failures) FROM job GROUP BY state ORDER BY state")).all())
