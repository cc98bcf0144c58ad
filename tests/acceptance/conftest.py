"""What the fault tests share: a mill of their own a module, because they stop its servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.home import Home
from schemas.migrations import migrate
from tests.mill import Mill
from workers.app import app
from workers.settings import get_settings
from workers.store import get_engine


@pytest.fixture(scope="module")
def module_mill() -> Iterator[Mill]:
    """Servers up, tables made, and this process's settings pointing to them."""
    home = Home(Path(tempfile.mkdtemp(prefix="tweetmill-")))
    home.prepare()
    mill = Mill(home)
    with pytest.MonkeyPatch.context() as environment:
        try:
            mill.valkey.start()
            mill.postgres.start()
            environment.setenv("TWEETMILL_HOME", str(home.path))
            environment.setenv("DATABASE_URL", mill.postgres.url)
            environment.setenv("CELERY_BROKER_URL", mill.valkey.url)
            _turn_to_settings()
            migrate(get_engine())
            yield mill
        finally:
            get_engine().dispose()
            mill.close()
            shutil.rmtree(home.path, ignore_errors=True)
    _turn_to_settings()


def _turn_to_settings() -> None:
    """This process publishes too, and may have done so to another test module's servers."""
    get_settings.cache_clear()
    app.conf = None  # read again when it is next needed
    app._pool = None
    app.__dict__.pop("amqp", None)


@pytest.fixture
def mill(module_mill: Mill) -> Iterator[Mill]:
    """The mill with nothing to do. Workers with settings of their own end with the test, shared ones wait for the next."""
    module_mill.forget()
    yield module_mill
    module_mill.tidy()
