"""The built site in a real browser: every page, 1280 and 390 pixels wide, light and dark."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.site

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (1280, 390)
THEMES = ("light", "dark")

INSPECT = (Path(__file__).parent / "inspect_page.js").read_text(encoding="utf-8")


def chromium() -> str:
    """The system's browser, else the test is skipped; where CI is true, it fails instead."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    reason = "needs chromium, chromium-browser or google-chrome on the PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing; the browser reports what is missing."""


class Server:
    """Serves a folder on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        self.host = f"127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Server]:
    if not (SITE / "index.html").is_file():
        subprocess.run([sys.executable, str(ROOT / "book" / "make_site.py"), "build"], check=True)
    server = Server(SITE)
    yield server
    server.close()


class Inspector:
    """One browser window of a given width and theme that lists what is wrong with a page."""

    def __init__(self, browser: Browser, server: Server, width: int, theme: Any) -> None:
        self.server = server
        self.theme = theme
        self._problems: list[str] = []
        self._context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self._page = self._context.new_page()
        self._page.route("**/*", self._guard)
        self._page.on("pageerror", lambda error: self._problems.append(f"script error: {error}"))
        self._page.on("console", self._heard)

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def _guard(self, route: Any) -> None:
        if urlsplit(route.request.url).netloc == self.server.host:
            route.continue_()
        else:
            self._problems.append(f"request to another host: {route.request.url}")
            route.abort()

    def _heard(self, line: Any) -> None:
        if line.type == "error":
            self._problems.append(f"console: {line.text}")

    def examine(self, path: str) -> list[str]:
        """Open one page and list what is wrong with it."""
        self._problems.clear()
        self._page.goto(f"http://{self.server.host}/{path}", wait_until="load")
        if self._page.evaluate("'MathJax' in window || !!document.querySelector('.math')"):
            self._page.wait_for_function("window.MathJax?.startup?.promise")
            self._page.evaluate("MathJax.startup.promise.then(() => true)")
        # Late scripts and fonts: one turn of the page's own loop after everything has arrived.
        self._page.evaluate("document.fonts.ready.then(() => new Promise((done) => setTimeout(done, 50)))")
        found: list[str] = self._page.evaluate(INSPECT)
        shown = self._page.evaluate("document.documentElement.dataset.theme ?? null")
        if shown not in (self.theme, None):
            found.append(f"the {self.theme} theme was asked for, {shown} is shown")
        return self._problems + found


def pages(folder: Path) -> list[str]:
    """Every page of the site except the redirect that index.html is."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    return sorted(path for path in found if not path.startswith("_static") and path != "index.html")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_clean(browser: Browser, site: Server, width: int, theme: str) -> None:
    listed = pages(SITE)
    assert "welcome.html" in listed and "methods.html" in listed
    with Inspector(browser, site, width, theme) as inspector:
        problems = [f"{path}: {problem}" for path in listed for problem in inspector.examine(path)]
    assert not problems, "\n".join(problems)


def test_index_leads_to_the_welcome_page(browser: Browser, site: Server) -> None:
    page = browser.new_page()
    page.goto(f"http://{site.host}/index.html")
    page.wait_for_url("**/welcome.html")
    assert page.locator("main article h1").count() == 1
    assert page.locator("input[type=search]").count() >= 1
    page.close()


def test_themes_differ_and_can_be_switched(browser: Browser, site: Server) -> None:
    context = browser.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(f"http://{site.host}/welcome.html", wait_until="load")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.evaluate("localStorage.setItem('mode', 'dark'); localStorage.setItem('theme', 'dark')")
    page.reload(wait_until="load")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(colour) != light
    context.close()


def test_search_finds_a_word(browser: Browser, site: Server) -> None:
    page = browser.new_page()
    page.goto(f"http://{site.host}/search.html?q=hypergradient")
    page.wait_for_selector("ul.search li a")
    page.close()


def test_a_missing_browser_is_a_failure_in_ci_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs chromium"):
        chromium()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="needs chromium"):
        chromium()


GOOD = "<!doctype html><html><head><title>t</title></head><body><main><h1>Good</h1>{}</main></body></html>"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
FAULTS = {
    "script error": "<script>undefinedName()</script>",
    "console": "<script>console.error('oops')</script>",
    "missing image": "<img src='nothing.png' alt='nothing'>",
    "alternative text": f"<img src='{PIXEL}'>",
    "another host": "<script src='http://192.0.2.1/a.js'></script>",
    "horizontal overflow": "<div style='width: 3000px'>wide</div>",
    "clipped": "<div style='overflow: hidden'><p style='width: 3000px'>wide</p></div>",
    "hard to read": "<p style='color: #999; background: #ccc'>grey</p>",
    "formula not set": "<script>MathJax = {startup: {promise: Promise.resolve()}}</script>"
    "<p class='math'>x</p>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(browser: Browser, tmp_path: Path, fault: str) -> None:
    (tmp_path / "bad.html").write_text(GOOD.format(FAULTS[fault]))
    (tmp_path / "good.html").write_text(GOOD.format(""))
    (tmp_path / "favicon.ico").write_bytes(b"")
    server = Server(tmp_path)
    try:
        with Inspector(browser, server, 1280, "light") as inspector:
            assert any(fault in problem for problem in inspector.examine("bad.html"))
            assert inspector.examine("good.html") == []
    finally:
        server.close()
