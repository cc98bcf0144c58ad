"""Read the address of Redis or Valkey, and write it so that kombu and redis-py parse it alike."""

from __future__ import annotations

import re

from schemas.addresses.parsing import Address, AddressError, parse

_EXAMPLE = "redis://:PASSWORD@HOST:6379/0"
SOCKET_SCHEME = "redis+socket"

_SCHEMES = {
    **dict.fromkeys(("redis", "redis+tcp", "valkey"), "redis"),
    **dict.fromkeys(("rediss", "redis+ssl", "valkeys"), "rediss"),
    **dict.fromkeys(("unix", "redis+socket", "redis+unix", "valkey+socket", "valkey+unix"), SOCKET_SCHEME),
}
_REASONS = {
    "sentinel": "tweetmill asks no Sentinel for the primary: name the Redis itself, or a proxy that leads to the primary",
    "cluster": "tweetmill takes no Redis Cluster, since its queues' commands touch several keys at once: name a Redis without cluster mode",
}


def parse_broker(url: str) -> Address:
    """Return the address of Redis in its parts: path and query name the database in one way, `ssl_…` options are left as they are.

    Raises:
        AddressError: it is another server's, or can't be used; the message holds no part of the address but an option's name.
    """
    if url.count("://") > 1 and re.search(r"[;,\s]\s*\w[\w+]*://", url):
        raise AddressError(f"several servers are named: name one, such as {_EXAMPLE}")
    kind = url.partition("://")[0].lower()
    for word, reason in _REASONS.items():
        if word in kind:
            raise AddressError(reason)
    address = parse(url, _EXAMPLE)
    scheme = _SCHEMES.get(address.scheme)
    if scheme is None:
        raise AddressError(f"tweetmill's queues are in Redis or Valkey alone: write an address such as {_EXAMPLE}")
    tls = tuple((name, value) for name, value in address.query if name.startswith("ssl_"))
    for name, _ in address.query:
        if name not in ("db", "virtual_host") and (scheme != "rediss" or not name.startswith("ssl_")):
            shown = name if re.fullmatch(r"[A-Za-z_]{1,40}", name) else "one of its options"
            raise AddressError(f"{shown} can't be set in the address: leave it out")
    if scheme == SOCKET_SCHEME:
        return _socket(address)
    return address.having(scheme=scheme, path=f"/{_number(address, address.path.strip('/'))}", query=tls)


def _socket(address: Address) -> Address:
    if address.hosts != (("", None),) or address.path in ("", "/"):
        raise AddressError("the path of a socket is absolute, so write three slashes: unix:///PATH/TO/SOCKET")
    return address.having(scheme=SOCKET_SCHEME, query=(("virtual_host", _number(address, "")),))


def _number(address: Address, path: str) -> str:
    """Return the number of the database, named by the path or an option."""
    named = path or address.options.get("virtual_host", "").strip("/") or address.options.get("db", "") or "0"
    if not (named.isascii() and named.isdigit()) or len(named) > 9:
        raise AddressError(f"what stands behind the host's / is no number of a database: write an address such as {_EXAMPLE}")
    return str(int(named))
