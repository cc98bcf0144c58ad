"""Every setting, read once: the only module that reads the environment.

Own settings start with `TWEETMILL_`; names that users already have keep theirs (`DATABASE_URL`, `CELERY_BROKER_URL`,
`OPENAI_API_KEY`, `OPENAI_BASE_URL`; `HF_TOKEN` is read by the Hugging Face libraries themselves). Without `DATABASE_URL` and
`CELERY_BROKER_URL` the one-machine stack of `tweetmill up` is used: it leaves its addresses in `<TWEETMILL_HOME>/stack.json`.
"""

from __future__ import annotations

import json
import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from workers.errors import SettingsError

STACK_FILE = "stack.json"


def default_home() -> Path:
    """The state folder: `$XDG_STATE_HOME/tweetmill`, else `~/.local/state/tweetmill`."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "tweetmill"


class StackFile(PydanticBaseSettingsSource):
    """The addresses that `tweetmill up` left behind: the last source asked, so that the environment wins."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base class names them
        """Unused: all values come from the file at once, in `__call__`."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The settings of `stack.json`; none while no stack is up."""
        home = self.current_state.get("home") or default_home()
        try:
            return dict(json.loads((Path(home) / STACK_FILE).read_text())["settings"])
        except (FileNotFoundError, KeyError, ValueError):
            return {}


class Settings(BaseSettings):
    """What a process of tweetmill needs to know of the world. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="TWEETMILL_", extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    home: Path = Field(default_factory=default_home, description="state folder: databases, models, logs, runs")
    database_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    database_password_file: Path | None = Field(default=None, description="a file whose text is the password of database_url")
    broker_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("CELERY_BROKER_URL", "broker_url"))
    broker_password_file: Path | None = Field(default=None, description="a file whose text is the password of broker_url")
    database_ca_file: Path | None = Field(default=None, description="the certificate that Postgres's own must be signed by")
    broker_ca_file: Path | None = Field(default=None, description="the certificate that Redis's own must be signed by")
    allow_old_redis: bool = Field(default=False, description="take a Redis whose number says that its Lua is open to CVE-2025-49844")

    lease: float = Field(default=60.0, gt=0, description="how long a claim holds without renewal")
    heartbeat: float = Field(default=10.0, gt=0, description="time between two renewals")
    upkeep_interval: float = Field(default=2.0, gt=0, description="time between two rounds of relay and reaper")
    republish_after: float = Field(
        default=30.0, gt=0, description="time that Redis may hold too few messages before rows are published again"
    )
    max_failures: int = Field(default=3, ge=1, description="a job that failed this often is quarantined")
    visibility_timeout: int = Field(default=600, ge=10, description="Redis redelivery; every app on the same Redis must agree")
    statement_timeout: float = Field(default=60.0, gt=0, description="the longest that one SQL statement may take")

    engine: str = Field(default="transformers", pattern="^(transformers|openai)$")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(default="auto", description="of an engine's weights")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of one engine; default: all cores")
    openai_base_url: str | None = Field(default=None, validation_alias=AliasChoices("OPENAI_BASE_URL", "openai_base_url"))
    openai_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENAI_API_KEY", "openai_api_key"))

    flower_port: int = Field(default=5555, ge=1, le=65535)
    flower_user: str = "tweetmill"
    flower_password_file: Path | None = None
    log_json: bool = False

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the one-machine stack."""
        return init_settings, env_settings, StackFile(settings_cls)

    def database(self) -> str:
        """The SQLAlchemy URL of Postgres, with psycopg 3 as its driver, and password and CA from their files in it.

        Raises:
            SettingsError: when no database is known, or a file or the URL does not fit.
        """
        if self.database_url is None:
            raise SettingsError("no database: run `tweetmill up`, or set DATABASE_URL to a Postgres that you run")
        url = self.database_url.get_secret_value()
        for plain in ("postgres://", "postgresql://"):
            if url.startswith(plain):
                url = "postgresql+psycopg://" + url.removeprefix(plain)
        return _with_ca(_with_password(url, self.database_password_file), self.database_ca_file)

    def broker(self) -> str:
        """The URL of Redis, with the password of `broker_password_file` in it; what concerns TLS is in `broker_tls`.

        Raises:
            SettingsError: when no broker is known.
        """
        if self.broker_url is None:
            raise SettingsError("no broker: run `tweetmill up`, or set CELERY_BROKER_URL to a Redis that you run")
        url = _with_password(self.broker_url.get_secret_value(), self.broker_password_file)
        return _split_tls(url)[0] if url.startswith("rediss://") else url

    def broker_tls(self) -> dict[str, Any] | None:
        """How to trust a Redis of `rediss://`, as redis-py's arguments; None for a connection without TLS.

        The certificate must fit the host's name and be signed by `broker_ca_file`, or else by an authority that this system trusts.
        A certificate of our own comes from the URL: `?ssl_certfile=…&ssl_keyfile=…`.

        Raises:
            SettingsError: the settings ask for an unchecked connection.
        """
        if not self.broker().startswith("rediss://"):
            if self.broker_ca_file is not None:
                raise SettingsError("TWEETMILL_BROKER_CA_FILE is set, but CELERY_BROKER_URL asks for no TLS: let it begin with rediss://")
            return None
        assert self.broker_url is not None
        own = _split_tls(self.broker_url.get_secret_value())[1]
        if own.keys() - {"ssl_certfile", "ssl_keyfile"}:
            raise SettingsError(
                "CELERY_BROKER_URL: certificates are always checked; of the ssl_ options it takes ssl_certfile and ssl_keyfile alone, "
                "and TWEETMILL_BROKER_CA_FILE names the authority"
            )
        trusted = {} if self.broker_ca_file is None else {"ssl_ca_certs": _readable(self.broker_ca_file)}
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **trusted, **own}

    @property
    def models_folder(self) -> Path:
        """Where base models and adapters lie."""
        return self.home / "models"

    @property
    def runs_folder(self) -> Path:
        """Where a training job keeps its files: one folder a job."""
        return self.home / "runs"


def _readable(file: Path) -> str:
    try:
        file.open("rb").close()
    except OSError as error:
        raise SettingsError(f"{file}: the certificate can't be read ({error.strerror})") from None
    return str(file.resolve())


def _with_ca(url: str, ca_file: Path | None) -> str:
    if ca_file is None:
        return url
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if query.get("sslmode", "verify-full") != "verify-full" or "sslrootcert" in query:
        raise SettingsError("TWEETMILL_DATABASE_CA_FILE asks for sslmode=verify-full: leave sslmode and sslrootcert out of DATABASE_URL")
    query |= {"sslmode": "verify-full", "sslrootcert": _readable(ca_file)}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _split_tls(url: str) -> tuple[str, dict[str, str]]:
    """A URL without its `ssl_…` options, and these."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    tls = {name: value for name, value in query.items() if name.startswith("ssl_")}
    kept = urlencode({name: value for name, value in query.items() if name not in tls})
    return urlunsplit(parts._replace(query=kept)), tls


def _with_password(url: str, password_file: Path | None) -> str:
    if password_file is None:
        return url
    try:
        password = password_file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{password_file}: the password file can't be read ({error.strerror})") from None
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: naming each wrong setting, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False, include_url=False))
        raise SettingsError(f"settings: {wrong}") from None
