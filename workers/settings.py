"""Every setting, read once: the only module that reads the environment.

Own settings start with `TWEETMILL_`; names that users already have keep theirs (`DATABASE_URL`, `CELERY_BROKER_URL`,
`OPENAI_API_KEY`, `OPENAI_BASE_URL`; `HF_TOKEN` is read by the Hugging Face libraries themselves). Without `DATABASE_URL` and
`CELERY_BROKER_URL` the one-machine stack of `tweetmill up` is used: it leaves its addresses in `<TWEETMILL_HOME>/stack.json`.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

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
        """The SQLAlchemy URL of Postgres, with psycopg 3 as its driver and the password of `database_password_file` in it.

        Raises:
            SettingsError: when no database is known.
        """
        if self.database_url is None:
            raise SettingsError("no database: run `tweetmill up`, or set DATABASE_URL to a Postgres that you run")
        url = self.database_url.get_secret_value()
        for plain in ("postgres://", "postgresql://"):
            if url.startswith(plain):
                url = "postgresql+psycopg://" + url.removeprefix(plain)
        return _with_password(url, self.database_password_file)

    def broker(self) -> str:
        """The URL of Redis, with the password of `broker_password_file` in it.

        Raises:
            SettingsError: when no broker is known.
        """
        if self.broker_url is None:
            raise SettingsError("no broker: run `tweetmill up`, or set CELERY_BROKER_URL to a Redis that you run")
        return _with_password(self.broker_url.get_secret_value(), self.broker_password_file)

    @property
    def models_folder(self) -> Path:
        """Where base models and adapters lie."""
        return self.home / "models"

    @property
    def runs_folder(self) -> Path:
        """Where a training job keeps its files: one folder a job."""
        return self.home / "runs"


def _with_password(url: str, password_file: Path | None) -> str:
    if password_file is None:
        return url
    from urllib.parse import quote, urlsplit, urlunsplit

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
