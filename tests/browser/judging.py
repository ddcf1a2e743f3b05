"""Moves on the judging page that several tests make."""

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

SHOWN = "#item:not([aria-busy]) [data-slot]"
QUIET = 260  # ms after an item is painted in which its keys are inert


def begin(visit: Callable[..., Any], user: Any, slug: str = "answers", **window: Any) -> Any:
    """Open the page and wait until the first item can be judged."""
    opened = visit(user, f"/projects/{slug}/judge/", **window)
    opened.page.wait_for_selector(SHOWN)
    opened.page.wait_for_timeout(QUIET)
    return opened


def shown_uids(page: Page) -> list[str]:
    return json.loads(page.get_attribute("[data-slot]", "data-uids") or "")


def shown_slot(page: Page) -> int:
    return int(page.get_attribute("[data-slot]", "data-slot") or 0)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def wait_for_next(page: Page, before: int) -> None:
    """Until another item than this slot's is there and its keys are live, or nothing is left."""
    page.wait_for_selector(f'#item:not([aria-busy]) :is([data-slot]:not([data-slot="{before}"]), .empty)')
    page.wait_for_timeout(QUIET)


def judge(page: Page, *keys: str) -> None:
    """Press these keys and wait for the next item."""
    before = shown_slot(page)
    press(page, *keys)
    wait_for_next(page, before)
