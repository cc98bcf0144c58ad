"""The checks before a worker starts, one by one: what is refused, and what the sentence says."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.readiness import checks as readiness
from workers.readiness.postgres import DatabaseReading
from workers.readiness.redis import RedisReading, old_release
from workers.settings import Settings

GOOD = RedisReading(product="Valkey", version="9.1.2", append_only=True, eviction="noeviction", clock_ahead=0.0, visibility_timeout=600)


def redis_problems(told: RedisReading, settings: Settings) -> list[str]:
    return [finding.text for finding in readiness.redis_findings(told, settings)]


def database_problems(told: DatabaseReading) -> list[str]:
    return [finding.text for finding in readiness.database_findings(told, for_worker=True)]


def reading(**changes: object) -> RedisReading:
    return RedisReading(**{**GOOD.__dict__, **changes})


@pytest.mark.parametrize(
    ("product", "version"),
    [
        *(("Redis", version) for version in ("6.2.20", "6.2.21", "7.2.11", "7.4.6", "7.4.10", "8.0.4", "8.2.2", "8.4.0", "10.1.0")),
        *(("Valkey", version) for version in ("7.2.11", "8.0.6", "8.1.4", "8.1.7", "9.0.0", "9.1.2")),
        ("Redis", "255.255.255"),
        ("Redis", "unstable"),
    ],
)
def test_a_patched_release_is_taken(product: str, version: str):
    assert old_release(reading(product=product, version=version)) is None


@pytest.mark.parametrize(
    ("product", "version"),
    [
        *(("Redis", version) for version in ("5.0.14", "6.0.16", "6.2.5", "6.2.19", "7.0.15", "7.2.10", "7.4.5", "8.0.3", "8.2.1")),
        *(("Valkey", version) for version in ("7.2.10", "8.0.5", "8.1.3")),
    ],
)
def test_an_open_release_is_named_with_the_cve_the_cure_and_the_way_round_it(product: str, version: str):
    told = old_release(reading(product=product, version=version))
    assert told is not None
    for part in (f"{product} {version}", "CVE-2025-49844", "8.0.", "TWEETMILL_ALLOW_OLD_REDIS=true"):
        assert part in told


def test_an_old_release_is_allowed_where_the_operator_says_so():
    old = reading(product="Redis", version="7.0.15", executable="/usr/local/bin/redis-server")
    assert len(redis_problems(old, Settings())) == 1
    assert redis_problems(old, Settings(allow_old_redis=True)) == []


@pytest.mark.parametrize(
    "place", ["/usr/bin/redis-server", "/usr/bin/redis-check-rdb", "/usr/sbin/redis-server", "/rdsdbbin/redis/bin/redis-server", "", None]
)
def test_an_old_release_of_a_distribution_or_a_service_is_a_warning(place: str | None):
    old = reading(product="Redis", version="7.0.15", executable=place)
    assert redis_problems(old, Settings()) == []
    (warning,) = readiness.redis_warnings(old)
    assert "CVE-2025-49844" in warning


@pytest.mark.parametrize(
    "place", ["/usr/local/bin/redis-server", "/opt/redis/bin/redis-server", "/home/me/redis-server", "/srv/x/redis-server"]
)
def test_an_old_release_that_was_put_there_by_hand_is_refused(place: str):
    assert len(redis_problems(reading(product="Redis", version="7.0.15", executable=place), Settings())) == 1


def test_a_redis_that_tells_nothing_is_not_accused():
    assert redis_problems(reading(append_only=None, eviction=None, visibility_timeout=None), Settings()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"append_only": False}, "--appendonly yes"),
        ({"role": "slave"}, "is a replica"),
        ({"mode": "cluster"}, "cluster mode"),
        ({"writes_to_disk": False}, "make room on its disk"),
        ({"memory_full": True}, "raise its maxmemory"),
        ({"eviction": "allkeys-lru"}, "set it to noeviction"),
        ({"eviction": "volatile-ttl"}, "set it to noeviction"),
        ({"visibility_timeout": 3600}, "agreed on a visibility timeout of 3600 s, here it is 600 s"),
        ({"clock_ahead": 1.5}, "1.5 s ahead of Valkey's"),
        ({"clock_ahead": -7200.0}, "7200.0 s behind Valkey's"),
    ],
)
def test_each_fault_of_redis_is_one_sentence_with_its_cure(changes: dict[str, object], told: str):
    (sentence,) = redis_problems(reading(**changes), Settings())
    assert told in sentence


def test_several_faults_are_all_told():
    assert len(redis_problems(reading(append_only=False, eviction="allkeys-lru", clock_ahead=9.0), Settings())) == 3


def test_tables_behind_or_ahead_and_a_wrong_clock_are_faults_of_postgres():
    assert database_problems(DatabaseReading("18.4", "0002", "0002", 0.2)) == []
    behind, clock = database_problems(DatabaseReading("18.4", "0001", "0002", -3.0))
    assert "tweetmill migrate" in behind
    assert "3.0 s behind Postgres's" in clock
    assert database_problems(DatabaseReading("18.4", "0003", "0002", 0.0))


@pytest.mark.parametrize(
    ("changes", "told", "passes"),
    [
        ({"standby": True, "read_only": True}, "Postgres is a standby", True),
        ({"read_only": True}, "default_transaction_read_only is on", True),
        ({"encoding": "SQL_ASCII"}, "encoding is SQL_ASCII", False),
        ({"may_work": False}, "may not do a worker's work", False),
        ({"may_work": False, "may_enqueue": True}, "may not do a worker's work", False),
        ({"schema": None, "revision": None}, "search path names no schema", False),
        ({"revision": None}, "there are no tables yet", False),
    ],
)
def test_each_fault_of_postgres_is_one_sentence_and_some_are_waited_for(changes: dict[str, object], told: str, passes: bool):
    good = {"version": "18.4", "revision": "0002", "head": "0002", "clock_ahead": 0.0}
    (finding,) = readiness.database_findings(DatabaseReading(**{**good, **changes}), for_worker=True)
    assert told in finding.text
    assert finding.passes == passes


def test_a_producer_s_login_is_no_fault_to_status():
    producer = DatabaseReading("18.4", "0002", "0002", 0.0, may_work=False, may_enqueue=True)
    assert readiness.database_findings(producer, for_worker=False) == []


def test_a_state_folder_that_is_a_file_or_on_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert readiness.machine_findings(Settings(home=tmp_path / "new" / "home")) == []
    (tmp_path / "file").write_text("")
    (told,) = readiness.machine_findings(Settings(home=tmp_path / "file" / "home"))
    assert "TWEETMILL_HOME can't be written" in told.text
    monkeypatch.setattr(readiness, "_LEAST_FREE", 2**62)
    (told,) = readiness.machine_findings(Settings(home=tmp_path))
    assert "is full" in told.text
    assert told.passes
