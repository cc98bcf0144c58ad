"""Read settings from the environment, then from the file of the one-machine stack.

The environment is an argument: `workers.settings` alone reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from schemas.addresses.parsing import AddressError, parse
from workers import redaction
from workers.errors import SettingsError
from workers.redaction import remember

STACK_FILE = "stack.json"
ENGINE_BUILDERS = Path(__file__).parent.parent / "inference" / "builders"

_KEY_LIKE = ("_KEY", "_TOKEN", "_PASSWORD", "_SECRET", "PGPASSWORD")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def unquoted(value: str) -> str:
    """Return the value without what a `.env` file or a shell leaves around it: spaces, line ends, and a pair of quotes."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    return value


def absolute(path: Path) -> Path:
    """Return the path from the root on, `~` meaning the home of its user.

    Raises:
        ValueError: there is no such user.
    """
    try:
        return path.expanduser().resolve()
    except RuntimeError:
        raise ValueError("nobody knows whose home the ~ means: write the path out") from None


def default_home(environment: Mapping[str, str]) -> Path:
    """Return the state folder: `$XDG_STATE_HOME/tweetmill`, else `~/.local/state/tweetmill`."""
    state = unquoted(environment.get("XDG_STATE_HOME", ""))
    # A relative one is to be ignored, says its specification.
    return (Path(state) if state.startswith("/") else Path("~/.local/state")) / "tweetmill"


class Environment(EnvSettingsSource):
    """The environment's variables, each without quotes and spaces around it. One that is empty is not set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of a field, None where there is none."""
        value, key, is_complex = super().get_field_value(field, field_name)
        return (unquoted(value) or None if isinstance(value, str) else value), key, is_complex


class StackFile(PydanticBaseSettingsSource):
    """The addresses that `tweetmill up` wrote: the last source, so that the environment wins. `home` is the default one."""

    def __init__(self, settings_cls: type[BaseSettings], home: Path) -> None:
        super().__init__(settings_cls)
        self._home = home

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base class names them
        """Unused: all values come from the file at once, in `__call__`."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the settings of `stack.json`; none while no stack is up.

        Raises:
            SettingsError: the file can't be read.
        """
        try:
            file = absolute(Path(self.current_state.get("home") or self._home)) / STACK_FILE
            stack = json.loads(file.read_text())
            return dict(stack["settings"])
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, LookupError, TypeError, ValueError, RecursionError):
            return {}
        except OSError as error:
            raise SettingsError(f"{STACK_FILE} in TWEETMILL_HOME can't be read ({error.strerror})") from None


def is_secret(name: str) -> bool:
    """Return whether a variable of this name holds a key or a password."""
    return name.upper().endswith(_KEY_LIKE)


def remember_secrets(environment: Mapping[str, str]) -> None:
    """Redact what variables of other programs hold, which their libraries read and may quote."""
    for name, value in environment.items():
        if is_secret(name) and len(value) >= redaction.ANYWHERE:
            remember(value)
        elif name.upper() in _PROXIES and "@" in value:
            login = value.rpartition("@")[0].partition("://")[2] or value.rpartition("@")[0]
            remember(login.partition(":")[2], *re.split(r"[/?#@:]", login)[1:])


def read_password(setting: str, file: Path) -> str:
    """Return the password that a file holds, without spaces and line ends around it; it is a secret from now on.

    Args:
        setting: what named the file: the file's name is left out of errors, for it may be the password itself.
        file: where it is.

    Raises:
        SettingsError: it can't be read, is empty, or holds more than a password.
    """
    try:
        password = file.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise SettingsError(f"{setting}: the password can't be read ({error.strerror})") from None
    except ValueError:
        raise SettingsError(f"{setting}: the password is not UTF-8") from None
    if not password:
        raise SettingsError(f"{setting}: the password is empty")
    if len(password) > 4096 or not password.isprintable():
        raise SettingsError(f"{setting}: its file holds more than one line or a control character")
    remember(password)
    return password


def check_proxies(environment: Mapping[str, str]) -> None:
    """Make sure that the proxies of the environment are addresses: the HTTP client would quote a part of one that is none.

    Raises:
        SettingsError: naming the variable.
    """
    for name, value in environment.items():
        if name.upper() in _PROXIES and value.strip():
            try:
                parse(value if "://" in value else f"http://{value}", "http://HOST:3128")
            except AddressError as error:
                raise SettingsError(f"{name}: {error}") from None


def is_set(name: str, environment: Mapping[str, str]) -> bool:
    """Return whether the environment has a value for this setting."""
    return any(known.upper() == name for known in environment)


def is_empty(name: str, environment: Mapping[str, str]) -> bool:
    """Return whether the environment has the setting, with an empty value."""
    return is_set(name, environment) and not unquoted(environment.get(name, ""))


def engine_names() -> list[str]:
    """Return the values that `TWEETMILL_ENGINE` takes, in order: the names of the modules that build engines. None is imported."""
    return sorted(module.name for module in iter_modules([str(ENGINE_BUILDERS)]))
