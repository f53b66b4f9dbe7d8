"""The timeline of the replay's web page in a browser: moved by mouse, fingers and keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="needs selenium: make setup")

from browser import emulated, open_page, wait_until
from example_report import example_report, write_example_page
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

Range = tuple[float, float, float]  # what is in view, from and to, and the drive's length; seconds
PHONE = (360, 800)  # width and height in pixels
MARGINS = 52  # pixels left and right of the plot


def chart_of(browser: Chrome) -> WebElement:
    chart = browser.find_element(By.CSS_SELECTOR, ".chart")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' });", chart)
    return chart


def range_in_view(browser: Chrome) -> Range:
    text = browser.find_element(By.CSS_SELECTOR, ".range").text
    start, end, length = map(float, re.findall(r"[\d.]+(?= s)", text))
    return start, end, length


def wait_for_another_range(browser: Chrome, before: Range) -> Range:
    wait_until(browser, lambda: range_in_view(browser) != before)
    return range_in_view(browser)


def press(browser: Chrome, action: str) -> Range:
    """Press a button of the first timeline; returns the range that it leads to."""
    before = range_in_view(browser)
    browser.find_element(By.CSS_SELECTOR, f"button[data-action={action}]").click()
    return wait_for_another_range(browser, before)


def line_of(browser: Chrome) -> str:
    """The two tracks' latency as it is drawn."""
    return browser.find_element(By.CSS_SELECTOR, ".plot .line.latency.s0").get_attribute("d") or ""


def touch(browser: Chrome, kind: str, *points: tuple[float, float]) -> None:
    touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def middle_of(browser: Chrome, element: WebElement) -> tuple[float, float]:
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON();", element)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 3


def test_buttons_zoom_and_move(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    start, end, length = range_in_view(browser)
    assert (start, end) == (0, length)
    drawn = line_of(browser)
    start, end, _ = press(browser, "in")
    assert end - start == pytest.approx(length / 1.5, abs=0.02)
    assert line_of(browser) != drawn
    later = press(browser, "later")
    assert later[0] > start and later[1] - later[0] == pytest.approx(end - start, abs=0.02)
    assert press(browser, "earlier") == (start, end, length)
    press(browser, "out")
    press(browser, "in")
    assert press(browser, "all") == (0, length, length)


def test_wheel_scrolls_the_page_until_the_timeline_is_clicked(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    chart = chart_of(browser)
    whole = range_in_view(browser)
    scrolled = browser.execute_script("return scrollY;")
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(chart), 0, -200).perform()
    wait_until(browser, lambda: browser.execute_script("return scrollY;") < scrolled)
    assert range_in_view(browser) == whole
    chart_of(browser).click()
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(chart), 0, -200).perform()
    start, end, _ = wait_for_another_range(browser, whole)
    assert end - start < whole[2]


def test_dragging_moves_the_drive_along(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    press(browser, "in")
    start, end, length = press(browser, "in")
    chart = chart_of(browser)
    ActionChains(browser).move_to_element(chart).click_and_hold().move_by_offset(-200, 0).release().perform()
    moved = wait_for_another_range(browser, (start, end, length))
    plot_width = chart.size["width"] - MARGINS
    assert moved[0] - start == pytest.approx((end - start) * 200 / plot_width, rel=0.05)
    assert moved[1] - moved[0] == pytest.approx(end - start, abs=0.02)


def test_view_stays_inside_the_drive(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    press(browser, "in")
    chart = chart_of(browser)
    for offset in (400, 400, -500, -500, -500):
        ActionChains(browser).move_to_element(chart).click_and_hold().move_by_offset(offset, 0).release().perform()
    start, end, length = range_in_view(browser)
    assert 0 <= start < end <= length


def test_keys_step_and_zoom(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    chart = chart_of(browser)
    chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert chart.get_attribute("aria-valuenow") == "2"
    assert browser.find_element(By.CSS_SELECTOR, ".readout").text.startswith("Frame 2 at 0.13 s")
    whole = range_in_view(browser)
    chart.send_keys("+")
    zoomed = wait_for_another_range(browser, whole)
    chart.send_keys(Keys.END)
    moved = wait_for_another_range(browser, zoomed)
    assert chart.get_attribute("aria-valuenow") == chart.get_attribute("aria-valuemax") == "299"
    assert moved[1] == whole[1]
    chart.send_keys("0")
    assert wait_for_another_range(browser, moved) == whole


def test_overview_shows_where_the_view_is_and_moves_it(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    press(browser, "in")
    before = press(browser, "in")
    overview = browser.find_element(By.CSS_SELECTOR, ".overview .drive")
    chart_of(browser)
    ActionChains(browser).move_to_element_with_offset(overview, overview.rect["width"] / 2 - 5, 0).click().perform()
    assert wait_for_another_range(browser, before)[1] == pytest.approx(before[2], abs=0.02)


def test_fingers_pinch_and_swipe(browser: Chrome, page: Path) -> None:
    with emulated(browser, *PHONE):
        open_page(browser, page)
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
        x, y = middle_of(browser, chart_of(browser))
        whole = range_in_view(browser)
        touch(browser, "touchStart", (x - 20, y), (x + 20, y))
        for spread in (40, 60, 80):
            touch(browser, "touchMove", (x - spread, y), (x + spread, y))
        touch(browser, "touchEnd")
        start, end, length = wait_for_another_range(browser, whole)
        assert end - start < length / 2
        touch(browser, "touchStart", (x, y))
        for step in (10, 20, 40, 60):
            touch(browser, "touchMove", (x - step, y))
        touch(browser, "touchEnd")
        assert wait_for_another_range(browser, (start, end, length))[0] > start
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_hidden_system_leaves_the_drawing(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    assert line_of(browser)
    browser.find_element(By.CSS_SELECTOR, "fieldset input").click()
    assert line_of(browser) == ""


def test_frame_of_a_difference_is_shown_in_the_timeline(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    links = browser.find_elements(By.LINK_TEXT, "Show it in the timeline")
    before = range_in_view(browser)
    browser.execute_script("arguments[0].click();", links[1])
    start, end, _ = wait_for_another_range(browser, before)
    assert start <= 0.067 <= end
    assert browser.find_element(By.CSS_SELECTOR, ".readout").text.startswith("Frame 1 at 0.07 s")


def test_thousands_of_frames_are_drawn_as_few_lines_that_lose_no_spike(browser: Chrome, tmp_path: Path) -> None:
    report = example_report(frames=20_000)
    latency = report.cameras[0].systems[0].timeline["latency_ms"]
    latency[12_345], latency[4_321] = 900.0, 1.0
    open_page(browser, write_example_page(tmp_path, report))
    width = chart_of(browser).size["width"]
    paths = [path.get_attribute("d") or "" for path in browser.find_elements(By.CSS_SELECTOR, ".plot path")]
    assert paths and max(len(re.findall("[ML]", path)) for path in paths) < 6 * width
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line_of(browser))]
    assert sum(height < min(heights) + 1 for height in heights) == 1
    assert sum(height > max(heights) - 1 for height in heights) == 1
