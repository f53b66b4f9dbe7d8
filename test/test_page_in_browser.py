"""The replay's web page as a browser shows it: on a screen, a phone and paper, moved by mouse, fingers and keys."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium: make setup")

from browser import console_lines, emulated, open_page, requested_addresses, wait_until
from example_report import example_report, write_example_page
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from test_page import HOSTILE, hostile_report

from lowlat_seg_ros.evaluation.report_text import json_text
from lowlat_seg_ros.replay.fleet import done_bag, failed_bag, fleet_mapping
from lowlat_seg_ros.replay.pages import write_fleet_page

PHONE = (360, 800)  # width and height in pixels
LONG_NAME = "a_very_long_name_without_any_place_to_break_it_" * 3
SMALLEST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text

# Every text with too little contrast to what is painted behind it, as [text, ratio].
FAINT_TEXTS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
}
function luminance(colour) {
  const [r, g, b] = [...colour].slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function background(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3]) return colour;
  }
}
const faint = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = texts.nextNode(); text; text = texts.nextNode()) {
  const element = text.parentElement;
  if (!text.data.trim() || element.closest("script, noscript, option") || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ink = element instanceof SVGElement ? style.fill : style.color;
  const [dark, light] = [luminance(rgba(ink)), luminance(background(element))].sort((a, b) => a - b);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < arguments[0]) faint.push([text.data.trim(), ratio]);
}
return faint;
"""


# Gives the matrices' cells every heat there is.
EVERY_HEAT = """
document.querySelectorAll(".confusion td").forEach((cell, number) => {
  cell.className = `${number % 2 ? "right" : "wrong"} heat-${(number >> 1) % 11}`;
  cell.textContent = number;
});
"""


@pytest.fixture(scope="module")
def live_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_page(tmp_path_factory.mktemp("live"), example_report(frames=60, live=True))


@pytest.fixture(scope="module")
def fleet_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    bags = [
        done_bag("b", example_report(frames=30).to_mapping()),
        failed_bag("broken", "the bag is empty"),
        done_bag("a", example_report(frames=200, with_truth=False).to_mapping()),
        done_bag(LONG_NAME, example_report(frames=90).to_mapping()),
    ]
    (folder / "fleet.json").write_text(json_text(fleet_mapping(bags)), encoding="utf-8")
    write_example_page(folder / "a", example_report(frames=20, with_truth=False))
    write_fleet_page(folder)
    return folder / "index.html"


def open_details(browser: Chrome) -> None:
    browser.execute_script("for (const details of document.querySelectorAll('details')) details.open = true;")


# --- Closed to the outside --------------------------------------------------------------------------------------------


def test_page_opens_without_a_request_or_a_complaint(browser: Chrome, page: Path, fleet_page: Path) -> None:
    for file in (page, fleet_page):
        open_page(browser, file)
        assert console_lines(browser) == []
        requested = [address for address in requested_addresses(browser) if not address.startswith("data:")]
        assert requested == [file.resolve().as_uri()]


def test_the_video_in_the_page_plays(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    browser.execute_script("document.querySelector('video').play()")
    wait_until(browser, lambda: browser.execute_script("return document.querySelector('video').currentTime > 0"))
    length, width = browser.execute_script(
        "const v = document.querySelector('video'); return [v.duration, v.videoWidth]"
    )
    assert length == pytest.approx(3 / 15, abs=0.05) and width == 320
    assert console_lines(browser) == []


def test_hostile_report_runs_nothing(browser: Chrome, tmp_path: Path) -> None:
    open_page(browser, write_example_page(tmp_path, hostile_report()))
    assert console_lines(browser) == []
    assert browser.title == HOSTILE
    assert HOSTILE in browser.find_element(By.CSS_SELECTOR, ".readout").text
    assert browser.find_elements(By.CSS_SELECTOR, "img[onerror]") == []


@pytest.fixture
def counting_server() -> Iterator[tuple[str, list[str]]]:
    """A web server that anyone may ask, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_page_cannot_reach_the_network(
    browser: Chrome, page: Path, counting_server: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = counting_server
    ask = """
        const [address, done] = arguments;
        const ended = (element, settings) => new Promise((end) =>
            Object.assign(element, { onload: end, onerror: end }, settings));
        const image = ended(new Image(), { src: address + "/image" });
        const link = document.createElement("link");
        const linked = ended(link, { rel: "stylesheet", href: address + "/style" });
        document.head.append(link);
        const fetched = fetch(address + "/fetch").then(() => "fetched", () => "refused");
        Promise.all([fetched, image, linked]).then(([outcome]) => done(outcome));
    """
    open_page(browser, page)
    assert browser.execute_async_script(ask, address) == "refused"
    assert asked == []
    open_ended = tmp_path / "open.html"  # the same without the policy, so that this test can tell
    open_ended.write_text("<!doctype html><title>open</title>", encoding="utf-8")
    open_page(browser, open_ended)
    assert browser.execute_async_script(ask, address) == "fetched"
    assert sorted(asked) == ["/fetch", "/image", "/style"]


def test_page_runs_no_script_but_its_own(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    put_in = "const s = document.createElement('script'); s.textContent = 'window.alien = 1'; document.body.append(s);"
    assert browser.execute_script(f"{put_in} return window.alien;") is None
    assert any("Content Security Policy" in line for line in console_lines(browser))


# --- Screens and paper ------------------------------------------------------------------------------------------------


def test_phone_has_nothing_beyond_its_edge(
    browser: Chrome, page: Path, live_page: Path, fleet_page: Path, tmp_path: Path
) -> None:
    hostile = write_example_page(tmp_path, hostile_report())
    with emulated(browser, *PHONE):
        for file in (page, live_page, fleet_page, hostile):
            open_page(browser, file)
            assert browser.execute_script("return document.documentElement.scrollWidth;") == PHONE[0], file


@pytest.mark.parametrize("media", ["screen", "print"])
def test_names_of_classes_stay_in_one_piece(browser: Chrome, page: Path, live_page: Path, media: str) -> None:
    pieces = """
        return [...document.querySelectorAll(".classes tbody th")].map((name) => {
          const range = document.createRange();
          range.selectNode(name.lastChild);
          return range.getClientRects().length;
        });
    """
    with emulated(browser, media=media):
        for file in (page, live_page):
            open_page(browser, file)
            assert set(browser.execute_script(pieces)) == {1}, file


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(browser: Chrome, page: Path, fleet_page: Path, scheme: str) -> None:
    with emulated(browser, prefers_color_scheme=scheme):
        for file in (page, fleet_page):
            open_page(browser, file)
            open_details(browser)
            browser.execute_script(EVERY_HEAT)
            assert browser.execute_script(FAINT_TEXTS, SMALLEST_CONTRAST) == []


def test_dark_screen_prints_on_white_paper(browser: Chrome, page: Path) -> None:
    with emulated(browser, prefers_color_scheme="dark"):
        open_page(browser, page)
        colour = "return getComputedStyle(document.body).backgroundColor;"
        assert browser.execute_script(colour) == "rgb(20, 23, 27)"
    with emulated(browser, media="print", prefers_color_scheme="dark"):
        assert browser.execute_script(colour) == "rgb(255, 255, 255)"


def test_print_has_pages_with_every_matrix_and_without_buttons(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 15
    with emulated(browser, media="print"):
        visible = "return [...document.querySelectorAll(arguments[0])].map((element) => element.checkVisibility());"
        assert browser.execute_script(visible, ".confusion table") == [True, True, True]
        assert set(browser.execute_script(visible, "button")) == {False}


def test_page_can_be_read_without_seeing_it(browser: Chrome, page: Path, fleet_page: Path) -> None:
    for file in (page, fleet_page):
        open_page(browser, file)
        open_details(browser)
        everything = browser.find_elements(By.CSS_SELECTOR, "img, button, input, a, .chart, summary, table")
        assert [element.get_attribute("outerHTML") for element in everything if not element.accessible_name] == []
        assert browser.find_elements(By.CSS_SELECTOR, "th:not([scope])") == []
        levels = [int(heading.tag_name[1]) for heading in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        ids = [element.get_attribute("id") for element in browser.find_elements(By.CSS_SELECTOR, "[id]")]
        assert len(ids) == len(set(ids))


# --- A fleet ----------------------------------------------------------------------------------------------------------


def test_fleet_is_sorted_by_the_heading_that_is_pressed(browser: Chrome, fleet_page: Path) -> None:
    def column(number: int) -> list[str]:
        rows = browser.find_elements(By.CSS_SELECTOR, ".fleet tbody tr")
        return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text.splitlines()[0] for row in rows]

    open_page(browser, fleet_page)
    frames = browser.find_elements(By.CSS_SELECTOR, ".fleet thead th")[1]
    frames.find_element(By.TAG_NAME, "button").click()
    assert frames.get_attribute("aria-sort") == "ascending"
    assert column(1) == ["15", "30", "45", "90", "100", "200", "Failed: the bag is empty"]
    frames.find_element(By.TAG_NAME, "button").click()
    assert frames.get_attribute("aria-sort") == "descending"
    assert column(1)[:2] == ["200", "100"] and column(0)[-1] == "broken"
    browser.find_elements(By.CSS_SELECTOR, ".fleet thead button")[0].click()
    assert column(0)[:2] == ["a", "a"]


def test_fleet_leads_to_the_page_of_a_bag(browser: Chrome, fleet_page: Path) -> None:
    open_page(browser, fleet_page)
    browser.find_element(By.LINK_TEXT, "a").click()
    wait_until(browser, lambda: browser.title == "example_drive")
