"""A headless Chromium for tests of the page: the one on this machine, driven by playwright; none is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def opened(page: Path, width: int, scheme: str = "light") -> Iterator:
    """Open a file in a window of ``width`` pixels, without network; skips where there is no Chromium."""
    program = os.environ.get("PRUNELIB_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium here (none of {', '.join(NAMES)} on the path, PRUNELIB_CHROMIUM not set)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        context.set_default_timeout(120_000)  # a busy machine is no failure
        tab = context.new_page()
        tab.said = []
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.on("requestfailed", lambda request: tab.said.append(f"not loaded: {request.url[:80]}"))
        tab.goto(page.resolve().as_uri())
        yield tab
        browser.close()
