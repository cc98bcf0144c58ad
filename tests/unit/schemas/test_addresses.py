"""Addresses as people write them: read where it is clear what is meant, else refused in a sentence that holds no part of them."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from schemas.addresses.parsing import AddressError, parse, parse_http
from schemas.addresses.postgres import parse_database, sqlalchemy_url
from schemas.addresses.redis import parse_broker
from workers.broker import redis_client

SECRET = "xyzzy7plugh"
EXAMPLE = "redis://HOST"


@pytest.mark.parametrize("sign", list("@:%+&=;,!$'()*[]{}|^~<>\\\" é名"))
def test_a_password_with_a_sign_that_leaves_no_doubt_is_read_as_it_stands(sign: str):
    password = f"{SECRET}{sign}t"
    for url in (f"redis://me:{password}@host:6399/0", f"postgresql://me:{password}@host:6399/0"):
        address = parse(url, EXAMPLE)
        assert (address.user, address.password, address.hosts) == ("me", password, (("host", 6399),))
        assert parse(address.url(), EXAMPLE) == address
    arguments = dict(redis_client(f"redis://me:{password}@host:6399/3").connection_pool.connection_kwargs)
    assert (arguments["username"], arguments["password"], arguments["host"], arguments["db"]) == ("me", password, "host", 3)
    told = psycopg_arguments(f"postgres://me:{password}@host:6399/mill")
    assert told == {"user": "me", "password": password, "host": "host", "port": 6399, "dbname": "mill"}


@pytest.mark.parametrize("sign", ["/", "?", "#", "/x@", "?a=b@", "\n", "\x00", "\u2028", "%00"])
@pytest.mark.parametrize(
    "url", ["redis://:{}@127.0.0.1:6399/0", "postgresql://me:{}@127.0.0.1:6543/x?sslmode=require", "https://me:{}@h/v1"]
)
def test_a_sign_that_leaves_a_doubt_is_refused_without_a_part_of_the_address(sign: str, url: str):
    for password in (f"{SECRET}{sign}plover9", f"{sign}{SECRET}", f"{SECRET}{sign}"):
        for reader in (parse_broker, parse_database, parse_http):
            with pytest.raises(AddressError) as complaint:
                reader(url.format(password))
            for part in (SECRET, "plover9", "127.0.0.1", "6399", "6543"):
                assert part not in str(complaint.value)


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://me:{SECRET}@host:x{SECRET}/db",
        f"postgresql://me:{SECRET}@host:６５/db",
        f"postgresql://me:{SECRET}@host:0/db",
        f"postgresql://me:{SECRET}@host:65536/db",
        f"postgresql://me:{SECRET}@[::1/db",
        f"postgresql://me:{SECRET}@ho st/db",
        f"postgresql://me:{SECRET}@host/db?{SECRET}",
        f"postgresql://me:{SECRET}@host/db?={SECRET}",
        f"postgresql://me:{SECRET}@host/db?host=/run&port={SECRET}",
        f"host=h user=me password={SECRET} dbname=x",
        f"jdbc:postgresql://host/db?user=me&password={SECRET}",
        f"psql 'postgresql://me:{SECRET}@host/db'",
        f"mysql://me:{SECRET}@host/db",
        f"sqlite:///{SECRET}.db",
        f"//me:{SECRET}@host/db",
        f"me:{SECRET}@host:5432/db",
        SECRET,
        "x" * 9000 + SECRET,
    ],
)
def test_what_is_no_address_of_postgres_is_refused_with_an_example_or_a_cure_and_nothing_of_it(wrong: str):
    with pytest.raises(AddressError) as complaint:
        parse_database(wrong)
    assert SECRET not in str(complaint.value)
    assert len(str(complaint.value)) < 300


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (f"sentinel://:{SECRET}@host:26379", "asks no Sentinel"),
        (f"redis+sentinel://:{SECRET}@host:26379/0", "asks no Sentinel"),
        (f"sentinel://:{SECRET}@a:26379;sentinel://:{SECRET}@b:26379", "name one"),
        (f"redis+cluster://:{SECRET}@host:6379", "without cluster mode"),
        (f"rediscluster://:{SECRET}@host:6379", "without cluster mode"),
        (f"redis://:{SECRET}@a:6379,b:6379/0", "name one"),
        (f"redis://:{SECRET}@a/0;redis://:{SECRET}@b/0", "name one"),
        (f"amqp://me:{SECRET}@host//", "Redis or Valkey alone"),
        (f"https://me:{SECRET}@host", "Redis or Valkey alone"),
        (f"redis://:{SECRET}@host/mill", "no number of a database"),
        (f"redis://:{SECRET}@host/-1", "no number of a database"),
        (f"redis://:{SECRET}@host/٣", "no number of a database"),
        (f"redis://:{SECRET}@host/0?socket_timeout=5", "socket_timeout can't be set"),
        (f"redis://:{SECRET}@host/0?ssl_cert_reqs=none", "ssl_cert_reqs can't be set"),
        (f"unix://:{SECRET}@run/valkey.sock", "three slashes"),
        (f"unix://:{SECRET}@", "three slashes"),
        (f":{SECRET}@host", "it is no address"),
        (f"host:6379:{SECRET}", "it is no address"),
    ],
)
def test_what_is_no_address_of_redis_is_refused_with_the_reason_and_nothing_of_it(wrong: str, told: str):
    with pytest.raises(AddressError, match=told) as complaint:
        parse_broker(wrong)
    assert SECRET not in str(complaint.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("redis://host", "redis://host/0"),
        ("redis://host:6380/", "redis://host:6380/0"),
        ("valkey://:pw@host/2", "redis://:pw@host/2"),
        ("valkeys://me:pw@host/2", "rediss://me:pw@host/2"),
        ("redis://host?db=4", "redis://host/4"),
        ("REDIS://host?virtual_host=4", "redis://host/4"),
        ("redis://[::1]:6379/1", "redis://[::1]:6379/1"),
        ("unix:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=0"),
        ("unix:///run/valkey.sock?db=3", "redis+socket:///run/valkey.sock?virtual_host=3"),
        ("unix://:pw@/run/valkey.sock?db=3", "redis+socket://:pw@/run/valkey.sock?virtual_host=3"),
        ("redis+socket:///run/a%20b.sock?virtual_host=3", "redis+socket:///run/a%20b.sock?virtual_host=3"),
        ("redis+unix:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=0"),
    ],
)
def test_every_way_of_writing_a_redis_becomes_one(written: str, read: str):
    assert parse_broker(written).url() == read


def psycopg_arguments(url: str) -> dict[str, object]:
    """What SQLAlchemy gives to psycopg."""
    return PGDialect_psycopg().create_connect_args(make_url(sqlalchemy_url(parse_database(url))))[1]


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        *((f"{scheme}://me@host/db", {"user": "me", "host": "host", "dbname": "db"}) for scheme in ("postgres", "postgresql", "pgsql")),
        *(
            (f"postgresql+{driver}://me@host/db", {"user": "me", "host": "host", "dbname": "db"})
            for driver in ("psycopg", "psycopg2", "asyncpg", "pg8000", "psycopg2cffi", "psycopg_async")
        ),
        ("postgresql://me@/db?host=/run/pg", {"user": "me", "dbname": "db", "host": "/run/pg"}),
        ("postgresql://me@%2Frun%2Fpg/db", {"user": "me", "dbname": "db", "host": "/run/pg"}),
        ("postgresql://me@%2Frun%2Fpg:6543/db", {"user": "me", "dbname": "db", "host": "/run/pg", "port": "6543"}),
        ("postgresql://me@[::1]:6543/db", {"user": "me", "dbname": "db", "host": "::1", "port": 6543}),
        (
            "postgresql://me@a:1,b:2/db?target_session_attrs=read-write",
            {"user": "me", "dbname": "db", "host": "a,b", "port": "1,2", "target_session_attrs": "read-write"},
        ),
        ("postgresql://me@a,b:2/db", {"user": "me", "dbname": "db", "host": "a,b", "port": ",2"}),
        ("postgresql://me@/db?host=a:1&host=b:2", {"user": "me", "dbname": "db", "host": "a,b", "port": "1,2"}),
        ("postgresql://me@/db?host=a,b&port=7", {"user": "me", "dbname": "db", "host": "a,b", "port": "7,7"}),
        ("postgresql://host/my%2Fodd%20db", {"host": "host", "dbname": "my/odd db"}),
        ("postgresql:///?service=mill", {"service": "mill"}),
        (
            "postgresql://h/db?sslmode=require&channel_binding=require",
            {"host": "h", "dbname": "db", "sslmode": "require", "channel_binding": "require"},
        ),
    ],
)
def test_every_way_of_writing_a_postgres_reaches_libpq(url: str, arguments: dict[str, object]):
    assert psycopg_arguments(url) == arguments


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("ssl=true", "ssl is no parameter of libpq: write sslmode=require"),
        ("schema=public", "schema is no parameter of libpq: write options=-csearch_path"),
        ("pgbouncer=true", "pgbouncer is no parameter of libpq: leave it out"),
        ("prepareThreshold=0", "prepareThreshold is no parameter"),
        (f"{SECRET}=1", "one of its options is no parameter"),
    ],
)
def test_an_option_that_libpq_does_not_know_is_named(option: str, told: str):
    with pytest.raises(AddressError, match=told):
        parse_database(f"postgresql://me@host/db?{option}")
