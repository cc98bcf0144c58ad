"""Parse addresses of servers as people write them; an error quotes no part of the address.

A password is often pasted as it is. Where it is clear all the same what is meant, as with an `@` or `:` in it, it is read so; where it
is not, as with a `/`, `?` or `#`, the sentence says what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

ENCODE = "in a user or password write / as %2F, ? as %3F, # as %23, @ as %40, : as %3A and % as %25"

_LONGEST = 8192
_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|(?:[\w.-]|%[0-9A-Fa-f]{2})*")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NULL = re.compile("%00", re.ASCII)


class AddressError(ValueError):
    """The address can't be used; the message holds no part of it."""


@dataclass(frozen=True)
class Address:
    """A URL in its parts, none of which is percent-encoded.

    Attributes:
        hosts: of each server its host and, where one is named, its port; an IPv6 address without its brackets.
        query: in the order in which it was written.
    """

    scheme: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def host(self) -> str:
        """The first server's host."""
        return self.hosts[0][0]

    @property
    def options(self) -> dict[str, str]:
        """The query; the last of several values counts."""
        return dict(self.query)

    def having(self, **changes: Any) -> Address:
        """Return the same with some parts replaced."""
        return replace(self, **changes)

    def url(self) -> str:
        """Return the address as a URL whose every part is percent-encoded, so that each reader takes it apart in the same way."""
        login = "" if self.user is None else quote(self.user, safe="")
        login += "" if self.password is None else f":{quote(self.password, safe='')}"
        servers = ",".join(_host(host) + (f":{port}" if port is not None else "") for host, port in self.hosts)
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.query)
        at = "@" if login or self.user is not None or self.password is not None else ""
        return f"{self.scheme}://{login}{at}{servers}{quote(self.path, safe='/')}" + (f"?{query}" if query else "")


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")


def parse(url: str, example: str, *, several: bool = False) -> Address:
    """Take a URL apart.

    Args:
        url: as somebody wrote it.
        example: an address of the wanted kind, for the sentence of an error.
        several: whether more than one host may be named, with commas between them.

    Raises:
        AddressError: naming the reason, and nothing of the address.
    """
    if len(url) > _LONGEST:
        raise AddressError(f"it is longer than {_LONGEST} characters: write an address such as {example}")
    if _CONTROLS.search(url) or _NULL.search(url):
        raise AddressError("a line break or another control character stands in it: write it in one line")
    found = _FORM.fullmatch(url)
    if found is None:
        raise AddressError(f"it is no address: write one such as {example}")
    scheme, place, path, query, fragment = found.groups()
    if fragment is not None:
        raise AddressError(f"a # stands in it, and what follows would be lost: {ENCODE}")
    if "@" in path or "@" in (query or ""):
        raise AddressError(f"an @ stands behind the first / or ?: {ENCODE}")
    login, at, servers = place.rpartition("@")
    user, colon, password = login.partition(":")
    return Address(
        scheme=scheme.lower(),
        user=unquote(user) if at else None,
        password=unquote(password) if colon else None,
        hosts=tuple(_server(server) for server in _servers(servers, several)),
        path=unquote(path),
        query=tuple(_pair(part) for part in (query or "").split("&") if part),
    )


def _servers(servers: str, several: bool) -> list[str]:
    named = servers.split(",")
    if len(named) > 1 and not several:
        raise AddressError("several hosts are named: name one")
    return named


def _server(server: str) -> tuple[str, int | None]:
    if server.startswith("["):
        host, bracket, rest = server.partition("]")
        host, colon, port = host + bracket, rest[:1], rest[1:]
    else:
        host, colon, port = server.partition(":")
    if colon not in ("", ":") or not _HOST.fullmatch(host):
        raise AddressError(f"its host is none: it stands behind the last @; {ENCODE}")
    if port and (not port.isascii() or not port.isdigit() or not 0 < int(port[:9]) < 65536):
        raise AddressError(f"its port is no number from 1 to 65535: {ENCODE}")
    return unquote(host.strip("[]")), int(port) if port else None


def _pair(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or not name:
        raise AddressError(f"what stands behind the ? is no list of name=value: {ENCODE}")
    return unquote(name), unquote(value)


def parse_http(url: str) -> Address:
    """Take the address of an HTTP server apart.

    Args:
        url: as somebody wrote it.

    Raises:
        AddressError: naming the reason, and nothing of the address.
    """
    address = parse(url.strip(), "http://localhost:8000/v1")
    if address.scheme not in ("http", "https") or not address.host:
        raise AddressError("it is no address of a server: write one such as http://localhost:8000/v1")
    if address.user is not None or address.query:
        raise AddressError("no secret has a place in it: leave user, password and ? out, and put the key into OPENAI_API_KEY")
    return address
