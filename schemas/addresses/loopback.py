"""Tells addresses of this machine alone from those that a network leads to."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return whether what is sent to a host stays on this machine; a name other than `localhost` may lead anywhere."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
