"""Finds the address and the network interface by which the other nodes of a training reach this one."""

from __future__ import annotations

import fcntl
import socket
import struct

from sqlalchemy.engine import make_url

from workers.errors import SettingsError
from workers.settings import ENVIRONMENT, get_settings

_SIOCGIFADDR = 0x8915  # ioctl of Linux: an interface's IPv4 address
_LOOPBACK = "127.0.0.1"
_EXPORTED = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def own_address() -> str:
    """Return the address at which other nodes find this one.

    It is that of the settings, else that of the settings' interface, else that by which this machine reaches Postgres: all nodes do.

    Raises:
        SettingsError: the interface of the settings has none.
    """
    settings = get_settings()
    if settings.gang_address is not None:
        return settings.gang_address
    if settings.gang_interface is not None:
        address = _address_of(settings.gang_interface)
        if address is None:
            raise SettingsError(f"TWEETMILL_GANG_INTERFACE: this machine has no interface {settings.gang_interface} with an IPv4 address")
        return address
    return _address_towards_postgres()


def own_interface() -> str | None:
    """Return the interface for what ranks exchange; None where the operator exported it for the libraries, or nothing fits.

    Raises:
        SettingsError: the interface of the settings has no address.
    """
    settings = get_settings()
    if settings.gang_interface is not None:
        return settings.gang_interface
    if any(ENVIRONMENT.get(name) for name in _EXPORTED):
        return None
    try:
        address = socket.gethostbyname(own_address())
    except OSError:
        return None
    return next((name for _, name in socket.if_nameindex() if _address_of(name) == address), None)


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches `address`."""
    return address == "localhost" or address.startswith("127.") or address == "::1"


def port_to_listen_on() -> int:
    """Return the port of the settings, else one that is free now."""
    if chosen := get_settings().gang_port:
        return chosen
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


def _address_towards_postgres() -> str:
    url = make_url(get_settings().database())
    host = url.host or next(iter(url.normalized_query.get("host", ())), "")
    if not host or host.startswith(("/", "@")):  # a socket's file: whoever uses this Postgres is on this machine
        return _LOOPBACK
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, url.port or 5432))  # sends nothing: the kernel chooses the way
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _address_of(interface: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
