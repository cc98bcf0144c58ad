"""Flower, as a person sees it: a real stack, a real Chromium."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from deploy.local import stack as local
from workers.settings import get_settings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine, or the one that CHROMIUM names."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no Chromium: install one (Debian: apt-get install chromium) or name it in CHROMIUM"
    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=quiet)
        yield launched
        launched.close()


@pytest.fixture
def stack(stack_home: Path) -> Iterator[dict[str, str]]:
    """A stack with one worker: Flower's address, user and password."""
    up = local.up(get_settings(), local.StackSize(workers=1), detach=True, report=lambda _: None)
    get_settings.cache_clear()
    yield {"url": up["flower"], "password": (stack_home / "secrets" / "flower_password").read_text().strip()}
    local.down(get_settings(), report=lambda _: None)


def test_flower_shows_the_worker_to_whoever_knows_the_password_and_to_nobody_else(browser: Browser, stack: dict[str, str]):
    from tasks.maintenance import ping

    stranger = browser.new_page()
    assert stranger.request.get(stack["url"]).status == 401
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        stranger.goto(stack["url"])

    owner = browser.new_context(http_credentials={"username": "tweetmill", "password": stack["password"]}).new_page()
    ping.apply_async(queue="upkeep")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        owner.goto(f"{stack['url']}/workers")
        if "worker1@" in owner.inner_text("body"):
            break
        owner.wait_for_timeout(500)
    assert "worker1@" in owner.inner_text("body")
    owner.goto(f"{stack['url']}/tasks")
    owner.get_by_text("upkeep.ping").first.wait_for(timeout=20_000)
