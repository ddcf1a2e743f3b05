"""A real Chromium against the live server. Skipped, saying why, where there is none; PLUMB_CHROMIUM chooses one."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.test import Client

try:
    from playwright.sync_api import Browser, BrowserContext, Error, Page, Playwright, sync_playwright
except ImportError:
    pytest.skip("needs playwright, which is not installed (requirements/dev.txt)", allow_module_level=True)

# Playwright's own loop runs in this thread, which Django mistakes for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def _executable(playwright: Playwright) -> str | None:
    own = playwright.chromium.executable_path
    found = os.environ.get("PLUMB_CHROMIUM") or (own if Path(own).exists() else None)
    return found or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = _executable(playwright)
        if path is None:
            pytest.skip("needs a Chromium: none of Playwright's, none in the PATH, PLUMB_CHROMIUM is not set")
        flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@dataclass
class Visit:
    """One window of one person, and whatever went wrong in it."""

    page: Page
    context: BrowserContext
    problems: list[str] = field(default_factory=list)

    def go_offline(self, offline: bool = True) -> None:
        self.context.set_offline(offline)


@pytest.fixture
def visit(browser: Browser, live_server) -> Iterator[Callable[..., Visit]]:
    """`visit(user, path, width=…, dark=…)` opens a page as this user. At the end no page may have complained:
    no error in the console, no policy violation, no dialog."""
    visits: list[Visit] = []

    def open_page(user, path: str = "/", *, width: int = 1280, height: int = 860, dark: bool = False) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            has_touch=width < 600,
            base_url=live_server.url,
        )
        context.set_default_timeout(8000)
        context.add_cookies([_session_cookie(user, live_server.url)])
        made = Visit(context.new_page(), context)
        _listen(made)
        visits.append(made)
        made.page.goto(path)
        return made

    yield open_page
    problems = [problem for made in visits for problem in made.problems]
    for made in visits:
        try:
            made.context.close()
        except Error as error:  # a page that hangs must not hide what the test found
            problems.append(str(error))
    assert problems == []


def _session_cookie(user, url: str) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    name = django_settings.SESSION_COOKIE_NAME
    return {"name": name, "value": client.cookies[name].value, "url": url}


def _listen(visit: Visit) -> None:
    def complain(message) -> None:
        # The browser reports each lost connection and refused request by itself: those tests look at the page instead.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            visit.problems.append(message.text)

    def dismiss(dialog) -> None:
        visit.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    visit.page.on("console", complain)
    visit.page.on("pageerror", lambda error: visit.problems.append(str(error)))
    visit.page.on("dialog", dismiss)
