"""What the fault tests share: a mill of their own a module, because they stop its servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    try:
        mill.valkey.start()
        mill.postgres.start()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("TWEETMILL_HOME", str(home.path))
            environment.setenv("DATABASE_URL", mill.postgres.url)
            environment.setenv("CELERY_BROKER_URL", mill.valkey.url)
            with _new_settings():
                migrate(get_engine())
                yield mill
                get_engine().dispose()
    finally:
        mill.close()
        shutil.rmtree(home.path, ignore_errors=True)


@contextmanager
def _new_settings() -> Iterator[None]:
    """This process publishes too: for the block, its app reads its configuration anew. Afterwards it is as it was."""
    get_settings.cache_clear()
    before = {name: app.__dict__.pop(name, None) for name in ("_conf", "_pool", "amqp")}
    app._conf = app._pool = None
    assert app.conf.broker_url == get_settings().broker()
    try:
        yield
    finally:
        app.__dict__.pop("amqp", None)
        app.__dict__.update({name: value for name, value in before.items() if name != "amqp" or value is not None})
        get_settings.cache_clear()


@pytest.fixture
def mill(module_mill: Mill) -> Iterator[Mill]:
    """The mill with nothing to do. Workers with settings of their own end with the test, shared ones wait for the next."""
    module_mill.forget()
    yield module_mill
    module_mill.tidy()
