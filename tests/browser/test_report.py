"""The page of `tweetmill report` in a real Chromium: at a desk and on a phone, light, dark and printed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from producers.report.page import page as report_page
from tests.support.reported import much, nothing

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
SETTINGS = [(size, scheme) for size in (DESK, PHONE) for scheme in ("light", "dark")]
IDS = [f"{size['width']}-{scheme}" for size, scheme in SETTINGS]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine, or the one that CHROMIUM names."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no Chromium: install one (Debian: apt-get install chromium) or name it in CHROMIUM"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="module", params=[nothing, much], ids=["empty", "much"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written: Path = tmp_path_factory.mktemp("report") / "report.html"
    written.write_text(report_page(request.param()))
    return written


def opened(browser: Browser, file: Path, size: Any = DESK, scheme: Any = "light", **how: Any) -> Page:
    page = browser.new_context(viewport=size, color_scheme=scheme, **how).new_page()
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize(("size", "scheme"), SETTINGS, ids=IDS)
def test_nothing_runs_off_the_page_and_axe_finds_nothing(browser: Browser, file: Path, size: Any, scheme: str) -> None:
    page = opened(browser, file, size, scheme, bypass_csp=True)  # axe is put into the page
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    wider = "[...document.querySelectorAll('p, li, dd, pre, h1, h2, h3, h4, svg')].filter(each => each.scrollWidth > each.clientWidth + 1)"
    assert (
        page.evaluate(f"{wider}.filter(each => getComputedStyle(each).display !== 'inline').map(each => each.outerHTML.slice(0, 90))") == []
    )
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    assert found["violations"] == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_letters_of_pictures_are_about_as_large_as_they_were_drawn(browser: Browser, file: Path, size: Any) -> None:
    page = opened(browser, file, size)
    shares = page.evaluate(
        "[...document.querySelectorAll('figure svg')].filter(each => each.getBoundingClientRect().width > 0)"
        ".map(each => each.getBoundingClientRect().width / each.viewBox.baseVal.width)"
    )
    assert bool(shares) == bool(page.locator("figure").count())
    assert all(0.85 <= share <= 1.25 for share in shares)


def test_dark_and_light_differ_and_paper_is_white_in_both(browser: Browser, file: Path) -> None:
    def behind(scheme: str, media: Any = "screen") -> str:
        page = opened(browser, file, DESK, scheme)
        page.emulate_media(media=media, color_scheme=scheme)  # type: ignore[arg-type]
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert behind("light") != behind("dark")
    assert behind("light", "print") == behind("dark", "print") == "rgb(255, 255, 255)"


def test_what_is_printed_is_whole_and_has_no_navigation(browser: Browser, file: Path) -> None:
    page = opened(browser, file, {"width": 794, "height": 1123})
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    cut = "[...document.querySelectorAll('.scroll')].filter(each => getComputedStyle(each).overflowX !== 'visible').length"
    assert page.evaluate(cut) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert page.pdf().startswith(b"%PDF")


def test_the_page_asks_the_network_for_nothing_and_runs_nothing(browser: Browser, file: Path) -> None:
    page = browser.new_context().new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(file.as_uri())
    assert asked == [file.as_uri()]
    assert said == []


def test_tables_that_are_too_wide_scroll_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    written = tmp_path / "report.html"
    written.write_text(report_page(much()))
    page = opened(browser, written, PHONE)
    box = page.get_by_role("region", name="All metrics on all rows")
    box.focus()
    page.keyboard.press("ArrowRight")
    deadline = time.monotonic() + 5
    while not page.evaluate("document.activeElement.scrollLeft") and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert page.evaluate("document.activeElement.scrollLeft") > 0
    assert page.evaluate("window.scrollX") == 0
