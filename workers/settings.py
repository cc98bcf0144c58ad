"""Read all settings once; no other module reads the environment.

Own settings start with `TWEETMILL_`; names that users already have keep theirs (`DATABASE_URL`, `CELERY_BROKER_URL`,
`OPENAI_API_KEY`, `OPENAI_BASE_URL`; `HF_TOKEN` is read by the Hugging Face libraries themselves). Without `DATABASE_URL` and
`CELERY_BROKER_URL` the one-machine stack of `tweetmill up` is used: it leaves its addresses in `<TWEETMILL_HOME>/stack.json`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.addresses.parsing import Address, parse_http
from schemas.addresses.postgres import sqlalchemy_url
from workers.configuration import server_addresses
from workers.configuration.engine_settings import MONTH, EngineSettings, Seconds
from workers.configuration.settings_sources import (
    STACK_FILE,
    Environment,
    StackFile,
    absolute,
    default_home,
    is_empty,
    is_set,
    read_password,
    remember_secrets,
)
from workers.errors import SettingsError
from workers.redaction import remember

__all__ = ["ENVIRONMENT", "STACK_FILE", "Settings", "get_settings", "read_password"]

ENVIRONMENT: Mapping[str, str] = os.environ
"""What this process was started with, for whoever asks `workers.configuration.settings_sources` about a variable."""


RENEWED_WITHIN = 0.75
"""The part of a lease in which it must be renewed: what is left then is for ending what runs."""

_MOST = 2**31 - 1  # of milliseconds, and of a count, that Postgres takes


class Settings(EngineSettings):
    """The settings of a process. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="TWEETMILL_", extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    home: Path = Field(
        default_factory=lambda: default_home(ENVIRONMENT), validate_default=True, description="state folder: databases, models, logs, runs"
    )
    database_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    database_password_file: Path | None = Field(default=None, description="a file whose text is the password of database_url")
    broker_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("CELERY_BROKER_URL", "broker_url"))
    broker_password_file: Path | None = Field(default=None, description="a file whose text is the password of broker_url")
    database_ca_file: Path | None = Field(default=None, description="the certificate that Postgres's own must be signed by")
    broker_ca_file: Path | None = Field(default=None, description="the certificate that Redis's own must be signed by")
    allow_old_redis: bool = Field(default=False, description="take a Redis whose number says that its Lua is open to CVE-2025-49844")
    postgres_options: str | None = Field(default=None, validation_alias=AliasChoices("PGOPTIONS", "postgres_options"))
    postgres_service: str | None = Field(default=None, validation_alias=AliasChoices("PGSERVICE", "postgres_service"))

    lease: Seconds = Field(default=60.0, description="how long a claim holds without renewal")
    heartbeat: Seconds = Field(default=10.0, description="time between two renewals")
    upkeep_interval: float = Field(
        default=2.0, ge=0.001, le=15, allow_inf_nan=False, description="time between two rounds of relay and reaper"
    )
    republish_after: Seconds = Field(default=30.0, description="time that Redis may hold too few messages before rows are published again")
    max_failures: int = Field(default=3, ge=1, le=_MOST, description="a job that failed this often is quarantined")
    visibility_timeout: int = Field(default=600, ge=10, le=MONTH, description="Redis redelivery; every app on the same Redis must agree")
    statement_timeout: float = Field(
        default=60.0, ge=0.001, le=_MOST // 1000, allow_inf_nan=False, description="the longest that one SQL statement may take"
    )

    locks: Path | None = Field(default=None, description="folder of the GPUs' locks, one for all workers of a machine")
    check_memory: bool = Field(default=True, description="refuse a training that by the estimate does not fit into this machine's memory")
    openai_base_url: str | None = Field(default=None, validation_alias=AliasChoices("OPENAI_BASE_URL", "openai_base_url"))
    openai_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENAI_API_KEY", "openai_api_key"))

    serve_token: SecretStr | None = Field(default=None, description="what clients of `tweetmill serve` must show")
    serve_token_file: Path | None = Field(default=None, description="a file whose text is serve_token")

    mastodon_access_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("MASTODON_ACCESS_TOKEN", "mastodon_access_token")
    )
    x_bearer_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("X_BEARER_TOKEN", "x_bearer_token"))
    x_post_usd: float = Field(default=0.005, ge=0, le=1000, allow_inf_nan=False, description="what X charges for a post that is read")

    runs: Path | None = Field(
        default=None, description="folder of training runs; default: runs in home. Trainings on several nodes need it shared by all of them"
    )
    gang_interface: str | None = Field(
        default=None, min_length=1, max_length=15, description="network interface over which the nodes of a training talk"
    )
    gang_address: str | None = Field(
        default=None, min_length=1, max_length=253, description="address at which other nodes find this one; default: that of the interface"
    )
    gang_port: int = Field(default=0, ge=0, le=65535, description="where the first node listens for the others; 0: a free port")
    gang_wait: Seconds = Field(default=60.0, description="time, beside a lease, that nodes wait for others of their training")

    flower_port: int = Field(default=5555, ge=1, le=65535)
    flower_user: str = "tweetmill"
    flower_password_file: Path | None = None
    log_json: bool = False

    @field_validator(
        *("home", "runs", "locks", "vllm_program"),
        *("database_password_file", "broker_password_file", "database_ca_file", "broker_ca_file", "flower_password_file"),
        "serve_token_file",
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else absolute(path)

    @field_validator("openai_api_key", "mastodon_access_token", "x_bearer_token", "serve_token")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        secret = key.get_secret_value() if key else ""
        if not all("!" <= sign <= "~" for sign in secret):
            raise ValueError("a key is made of letters, digits and signs of ASCII, without spaces or line breaks")
        return key

    @field_validator("flower_user")
    @classmethod
    def _fits_basic_auth(cls, user: str) -> str:
        if ":" in user or not user.isprintable() or len(user) > 100:
            raise ValueError("a user's name is up to 100 characters without a colon")
        return user

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.heartbeat >= self.lease * RENEWED_WITHIN:
            raise ValueError(
                f"TWEETMILL_HEARTBEAT must be below {RENEWED_WITHIN:g} times TWEETMILL_LEASE, or claims lapse before they are renewed"
            )
        if self.republish_after < self.upkeep_interval:
            raise ValueError("TWEETMILL_REPUBLISH_AFTER must not be below TWEETMILL_UPKEEP_INTERVAL, the time between two looks")
        if self.visibility_timeout < self.lease:
            raise ValueError("TWEETMILL_VISIBILITY_TIMEOUT must not be below TWEETMILL_LEASE, or Redis delivers again what is claimed")
        for key in (self.openai_api_key, self.mastodon_access_token, self.x_bearer_token, self.serve_token):
            remember(key.get_secret_value() if key else None)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order: arguments, the environment, the one-machine stack."""
        return init_settings, Environment(settings_cls), StackFile(settings_cls, default_home(ENVIRONMENT))

    def database(self) -> str:
        """Return the SQLAlchemy URL of Postgres, with psycopg 3 as its driver, and password and CA from their files in it.

        Raises:
            SettingsError: when no database is known, or a file or the URL does not fit.
        """
        if self.database_url is None:
            raise SettingsError(_missing("DATABASE_URL", "database", "Postgres"))
        address = server_addresses.postgres(self.database_url, self.database_password_file, self.database_ca_file)
        given = address.options
        if self.postgres_service and "service" not in given:
            given["service"] = self.postgres_service
        if self.postgres_options:
            given["options"] = " ".join(filter(None, (self.postgres_options, given.get("options"))))
        return sqlalchemy_url(address.having(query=tuple(given.items())))

    def broker(self) -> str:
        """Return the URL of Redis, with the password of `broker_password_file` in it; what concerns TLS is in `broker_tls`.

        Raises:
            SettingsError: when no broker is known, or a file or the URL does not fit.
        """
        address = self._broker()
        return address.having(query=tuple(pair for pair in address.query if not pair[0].startswith("ssl_"))).url()

    def _broker(self) -> Address:
        if self.broker_url is None:
            raise SettingsError(_missing("CELERY_BROKER_URL", "broker", "Redis"))
        return server_addresses.redis(self.broker_url, self.broker_password_file)

    def broker_tls(self) -> dict[str, Any] | None:
        """Return how to trust a Redis of `rediss://`, as redis-py's arguments; None for a connection without TLS.

        Raises:
            SettingsError: the settings ask for an unchecked connection.
        """
        return server_addresses.redis_tls(self._broker(), self.broker_ca_file)

    def openai_address(self) -> str | None:
        """Return the address of OPENAI_BASE_URL; None where there is none.

        Raises:
            SettingsError: it is no address, or holds a secret.
        """
        if self.openai_base_url is None:
            return None
        server_addresses.parsed("OPENAI_BASE_URL", SecretStr(self.openai_base_url), parse_http)
        return self.openai_base_url

    def check_addresses(self) -> None:
        """Make sure that what is set of servers can be used, before anything is started that needs it.

        Raises:
            SettingsError: an address, or a file of a password or certificate, can't be used.
        """
        if self.database_url is not None:
            self.database()
        if self.broker_url is not None:
            self.broker_tls()
        if self.flower_password_file is not None and is_set("TWEETMILL_FLOWER_PASSWORD_FILE", ENVIRONMENT):
            read_password("TWEETMILL_FLOWER_PASSWORD_FILE", self.flower_password_file)

    @property
    def models_folder(self) -> Path:
        """Where base models and adapters lie."""
        return self.home / "models"

    @property
    def locks_folder(self) -> Path:
        """Where the locks of GPUs lie."""
        return self.locks or self.home / "locks"

    @property
    def runs_folder(self) -> Path:
        """Where a training job keeps its files: one folder a job."""
        return self.runs or self.home / "runs"


def _missing(name: str, what: str, server: str) -> str:
    empty = f" ({name} is empty)" if is_empty(name, ENVIRONMENT) else ""
    return f"no {what}{empty}: run `tweetmill up`, or set {name} to a {server} that you run"


def _as_typed(place: tuple[int | str, ...]) -> str:
    """Return a setting's name as it was typed; one that the environment lacks came from the stack's file."""
    field = Settings.model_fields.get(str(place[0]))
    name = str(place[0]) if field is None else f"TWEETMILL_{str(place[0]).upper()}"
    if field is not None and isinstance(field.validation_alias, AliasChoices):
        name = str(field.validation_alias.choices[0])
    return name if is_set(name, ENVIRONMENT) else f"{name} (of {STACK_FILE})"


def set_variable(name: str, value: str) -> None:
    """Set a variable of this process, for a library that is told in no other way."""
    os.environ[name] = value


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read once.

    Raises:
        SettingsError: naming each wrong setting, never its value.
    """
    remember_secrets(ENVIRONMENT)
    try:
        return Settings()
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False, include_context=False)
        wrong = ((one["loc"], one["msg"].removeprefix("Value error, ").replace("Input should", "it should")) for one in errors)
        raise SettingsError("; ".join(f"{_as_typed(place)}: {message}" if place else message for place, message in wrong)) from None
