"""Reads the addresses of Postgres, Redis and other servers from settings, with the passwords and certificates of their files."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.addresses.parsing import Address, AddressError
from schemas.addresses.postgres import parse_database
from schemas.addresses.redis import parse_broker
from workers.configuration.settings_sources import read_password
from workers.errors import SettingsError
from workers.redaction import remember


def parsed(setting: str, value: SecretStr, parse: Callable[[str], Address]) -> Address:
    """Return the address that a setting holds; its password is taken out of all that is logged from now on.

    Raises:
        SettingsError: it is none; the message names the setting and no part of its value.
    """
    try:
        address = parse(value.get_secret_value().strip())
    except AddressError as error:
        raise SettingsError(f"{setting}: {error}") from None
    remember(address.password)
    return address


def postgres(url: SecretStr, password_file: Path | None, ca_file: Path | None) -> Address:
    """Return the address of Postgres.

    Args:
        url: of DATABASE_URL.
        password_file: whose text is the password.
        ca_file: the certificate that Postgres's own must be signed by.

    Raises:
        SettingsError: the URL or a file does not fit.
    """
    address = _with_password(parsed("DATABASE_URL", url, parse_database), "TWEETMILL_DATABASE_PASSWORD_FILE", password_file)
    if ca_file is None:
        return address
    given = address.options
    if given.get("sslmode", "verify-full") != "verify-full" or "sslrootcert" in given:
        raise SettingsError("TWEETMILL_DATABASE_CA_FILE asks for sslmode=verify-full: leave sslmode and sslrootcert out of DATABASE_URL")
    given |= {"sslmode": "verify-full", "sslrootcert": _readable("TWEETMILL_DATABASE_CA_FILE", ca_file)}
    return address.having(query=tuple(given.items()))


def redis(url: SecretStr, password_file: Path | None) -> Address:
    """Return the address of Redis, of CELERY_BROKER_URL and the file of its password.

    Raises:
        SettingsError: the URL or the file does not fit.
    """
    return _with_password(parsed("CELERY_BROKER_URL", url, parse_broker), "TWEETMILL_BROKER_PASSWORD_FILE", password_file)


def redis_tls(address: Address, ca_file: Path | None) -> dict[str, Any] | None:
    """Return how to trust a Redis of `rediss://`, as redis-py's arguments; None for a connection without TLS.

    The certificate must fit the host's name and be signed by `ca_file`, or else by an authority that this system trusts.
    A certificate of our own comes from the URL: `?ssl_certfile=…&ssl_keyfile=…`.

    Raises:
        SettingsError: the settings ask for an unchecked connection.
    """
    if address.scheme != "rediss":
        if ca_file is not None:
            raise SettingsError("TWEETMILL_BROKER_CA_FILE is set, but CELERY_BROKER_URL asks for no TLS: let it begin with rediss://")
        return None
    if address.options.keys() - {"ssl_certfile", "ssl_keyfile"}:
        raise SettingsError(
            "CELERY_BROKER_URL: certificates are always checked; of the ssl_ options it takes ssl_certfile and ssl_keyfile alone, "
            "and TWEETMILL_BROKER_CA_FILE names the authority"
        )
    trusted = {} if ca_file is None else {"ssl_ca_certs": _readable("TWEETMILL_BROKER_CA_FILE", ca_file)}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **trusted, **address.options}


def _with_password(address: Address, setting: str, file: Path | None) -> Address:
    if file is None:
        return address
    return address.having(user=address.user or "", password=read_password(setting, file))


def _readable(setting: str, file: Path) -> str:
    try:
        file.open("rb").close()
    except OSError as error:
        raise SettingsError(f"{setting}: the certificate can't be read ({error.strerror})") from None
    return str(file.resolve())
