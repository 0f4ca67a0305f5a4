"""A browser to look at reports with."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass
class Opened:
    """A page that is open, and what it did."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")  # while it is open, an event loop runs in this process, which others must not meet
def browser() -> Iterator[Any]:
    """Debian's Chromium. Without it the tests are skipped, or fail where CONGRAD_REQUIRE_BROWSER is 1, as in CI."""
    path = shutil.which("chromium")
    if path is None:
        told = "NO BROWSER: the report's pages were not looked at; apt-get install chromium"
        if os.environ.get("CONGRAD_REQUIRE_BROWSER") == "1":
            pytest.fail(told)
        pytest.skip(told)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Any) -> Callable[..., Any]:
    """`with look(path) as opened`: the page in a fresh profile, and all that it says or asks for."""

    @contextmanager
    def open_page(path: Path, *, width: int = 1280, dark: bool = False) -> Iterator[Opened]:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        context.set_default_timeout(60_000)
        opened = Opened(context.new_page())
        page = opened.page
        page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (opened.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.add_init_script("window.executed = [];")
        page.goto(path.resolve().as_uri())
        page.wait_for_timeout(200)
        for chart in page.locator(".chart").all():
            assert not opened.complaints
            chart.locator("svg").first.wait_for(state="attached")
        yield opened
        context.close()

    return open_page
