"""Read the address of Postgres, whatever driver it was written for, and write it as SQLAlchemy and psycopg 3 take it."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, urlencode

from schemas.addresses.parsing import Address, AddressError, parse

_EXAMPLE = "postgresql://USER@HOST:5432/DATABASE"

_SCHEME = "postgresql+psycopg"
_OURS = re.compile(r"(?:postgres|postgresql|pgsql)(?:\+\w+)?")
_PLAIN = re.compile(r"[\w.-]*", re.ASCII)
# What other drivers and tools call it, or what they alone know.
_HINTS = {
    "ssl": "write sslmode=require",
    "schema": "write options=-csearch_path%3DSCHEMA",
    "currentschema": "write options=-csearch_path%3DSCHEMA",
    "search_path": "write options=-csearch_path%3DSCHEMA",
    "statement_timeout": "set TWEETMILL_STATEMENT_TIMEOUT",
}


def parse_database(url: str) -> Address:
    """Return the address of Postgres in its parts, with hosts of the query among them.

    Raises:
        AddressError: it is another server's, or an option is unknown; the message holds no part of the address but an option's name.
    """
    address = parse(url, _EXAMPLE, several=True)
    if not _OURS.fullmatch(address.scheme):
        raise AddressError(f"tweetmill keeps its tables in Postgres alone: write an address such as {_EXAMPLE}")
    for name, _ in address.query:
        if name not in _parameters():
            shown = name if re.fullmatch(r"[A-Za-z_]{1,40}", name) else "one of its options"
            hint = _HINTS.get(name.lower(), "leave it out")
            raise AddressError(f"{shown} is no parameter of libpq: {hint}")
    return _with_hosts_of_query(address.having(scheme=_SCHEME))


def _with_hosts_of_query(address: Address) -> Address:
    """`?host=a&port=1`, `?host=a,b` and SQLAlchemy's `?host=a:1&host=b:2` name hosts as well, and win over those before the path."""
    named = [host for name, value in address.query if name == "host" for host in value.split(",")]
    if not named:
        return address
    ports = [port for name, value in address.query if name == "port" for port in value.split(",")]
    if ports and len(ports) not in (1, len(named)):
        raise AddressError("host and port name different numbers of servers")
    hosts = []
    for number, host in enumerate(named):
        port = ports[number if len(ports) > 1 else 0] if ports else ""
        if not host.startswith("/") and host.count(":") == 1:
            host, _, port = host.partition(":")
        if port and not (port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65536):
            raise AddressError("its port is no number from 1 to 65535")
        hosts.append((host, int(port) if port else None))
    query = tuple((name, value) for name, value in address.query if name not in ("host", "port"))
    return address.having(hosts=tuple(hosts), query=query)


@lru_cache(maxsize=1)
def _parameters() -> frozenset[str]:
    from psycopg import pq

    return frozenset(parameter.keyword.decode() for parameter in pq.Conninfo.get_defaults())


def sqlalchemy_url(address: Address) -> str:
    """Return the address for `create_engine`. What SQLAlchemy can't read before the query goes into it: sockets, lists, odd names."""
    query = dict(address.query)
    (host, port), *others = address.hosts
    database = address.path.removeprefix("/")
    if others or not (_PLAIN.fullmatch(host) or ":" in host):
        query["host"] = ",".join(name for name, _ in address.hosts)
        if any(number is not None for _, number in address.hosts):
            query["port"] = ",".join(str(number or "") for _, number in address.hosts)
        host, port = "", None
    if not _PLAIN.fullmatch(database):
        query["dbname"], database = database, ""
    login = Address(address.scheme, address.user, address.password, ((host, port),), "").url()
    return f"{login}/{database}" + (f"?{urlencode(query, quote_via=quote, safe='')}" if query else "")
