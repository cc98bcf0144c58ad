"""Fixtures of the fault tests: a mill for each module, because the tests stop its servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.home import Home
from schemas.migrations import migrate
from tests.conftest import new_settings
from tests.support.mill import Mill
from workers.database import get_engine


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
            with new_settings():
                migrate(get_engine())
                yield mill
                get_engine().dispose()
    finally:
        mill.close()
        shutil.rmtree(home.path, ignore_errors=True)


@pytest.fixture
def mill(module_mill: Mill) -> Iterator[Mill]:
    """The mill with nothing to do. Workers with settings of their own end with the test, shared ones wait for the next."""
    module_mill.forget()
    yield module_mill
    module_mill.tidy()
