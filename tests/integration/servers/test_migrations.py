"""The migrations build exactly the tables that the code believes in."""

from __future__ import annotations

import threading

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from schemas.migrations import _config, current, head, migrate
from schemas.tables.jobs import Job
from tests.conftest import Servers
from workers.database import connect


@pytest.fixture
def empty(servers: Servers) -> Engine:
    """A database of its own, without any table."""
    root = connect(servers.database_url).execution_options(isolation_level="AUTOCOMMIT")
    with root.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS fresh"))
        connection.execute(text("CREATE DATABASE fresh"))
    engine = connect(root.url.set(database="fresh").render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    with root.connect() as connection:
        connection.execute(text("DROP DATABASE fresh WITH (FORCE)"))
    root.dispose()


def test_a_migrated_database_equals_the_tables(servers, clean_database):
    with clean_database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Job.metadata) == []


def test_a_missing_column_would_be_noticed(empty):
    migrate(empty)
    with empty.begin() as connection:
        connection.execute(text("ALTER TABLE job DROP COLUMN orders"))
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Job.metadata) != []


def test_an_unknown_state_is_refused_by_the_database_itself(clean_database):
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError, match="job_state_is_known"), clean_database.begin() as connection:
        connection.execute(
            text("INSERT INTO job (id, kind, queue, idempotency_key, state) VALUES (gen_random_uuid(), 'x', 'x', 'x', 'lost')")
        )


def test_an_empty_database_is_brought_to_the_head_and_then_left_alone(empty):
    assert current(empty) is None
    assert migrate(empty) == (None, head())
    assert current(empty) == head()
    assert migrate(empty) == (head(), head())


def test_references_of_an_older_database_are_kept_as_one_each(empty):
    config = _config()
    with empty.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(text("INSERT INTO curated (collection, position, key, text, summary) VALUES ('c', 1, '1', 'so late', 'Late.')"))
    assert migrate(empty) == ("0003", head())
    with empty.connect() as connection:
        assert tuple(connection.execute(text("SELECT summary, other_summaries FROM curated")).one()) == ("Late.", [])


def test_nodes_that_migrate_at_the_same_time_wait_for_each_other(empty):
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(migrate(empty))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == sorted([(None, head()), (head(), head())], key=str)
    assert "job" in inspect(empty).get_table_names()
