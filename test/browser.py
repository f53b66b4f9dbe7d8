"""A real browser for tests: Chromium without a window, with no network of its own and nothing kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-dev-shm-usage",  # containers have a small one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",  # a page that glides to its place cannot be clicked meanwhile
    "--window-size=1200,900",
)
SECONDS_TO_WAIT = 20


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """Start Chromium with its profile in ``profile``; where there is none, skip the test and say what to install."""
    program = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium to look at the page with: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser: Chrome, page: Path) -> None:
    """Open a file; what the browser logged before is gone."""
    browser.get("about:blank")
    console_lines(browser), requested_addresses(browser)
    browser.get(page.resolve().as_uri())


def console_lines(browser: Chrome) -> list[str]:
    """What the page has written to the console since the last call, errors and refusals among it."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requested_addresses(browser: Chrome) -> list[str]:
    """Every address that the page has asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [request["params"]["request"]["url"] for request in requests]


def wait_until(browser: Chrome, condition: Any) -> None:
    """Wait until ``condition()`` is true."""
    WebDriverWait(browser, SECONDS_TO_WAIT).until(lambda _: condition())


@contextmanager
def emulated(
    browser: Chrome, width: int = 1200, height: int = 900, media: str = "", **media_features: str
) -> Iterator[None]:
    """Another size of screen, another medium such as "print", and features such as prefers_color_scheme="dark"."""
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media_features.items()]
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
