"""The HTML report in a real browser. Without Chromium it is skipped; with HARNESS_REQUIRE_BROWSER set it then fails."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from synthetic_run import synthetic_run
from test_html_report import ATTACKS

from harness.report.html import page_data, to_html
from harness.runner.analyse import load
from harness.store import open_store

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        say = pytest.fail if os.environ.get("HARNESS_REQUIRE_BROWSER") else pytest.skip
        say("no Chromium with chromedriver here: the HTML report was not opened in a browser")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(found)
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--window-size=1200,900",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(str(driver)))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The browser with the report of a made-up run open; every text of the run holds every attack."""
    from selenium.webdriver.support.ui import WebDriverWait

    folder = tmp_path_factory.mktemp("browser")
    synthetic_run(
        folder / "harness.db", items=40, arms=("zero-shot", "few-shot", "rag", "lora"), note=" ".join(ATTACKS)
    )
    with open_store(folder / "harness.db", create=False) as store:
        found = load(store, None)
        text = to_html(found.comparison, page_data(store, found.rows))
    (folder / "report.html").write_text(text, encoding="utf-8")
    browser.get((folder / "report.html").as_uri())
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.drawn"))
    return browser


def element(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def rows(page: Any) -> int:
    return len(page.find_elements("css selector", "#item-rows tr"))


def choose(page: Any, selector: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(element(page, selector)).select_by_value(value)


def test_the_verdict_and_the_plots_are_there(page: Any) -> None:
    verdict = element(page, "#verdict")
    assert verdict.get_attribute("data-outcome") in ("win", "tie", "insufficient")
    assert verdict.text.startswith("Choose") or verdict.text.startswith("No choice")
    plots = page.find_elements("css selector", ".plot svg.marks")
    assert len(plots) == 6 and all(plot.size["width"] > 200 for plot in plots)


def test_items_are_filtered_by_keyboard_and_mouse(page: Any) -> None:
    assert rows(page) == 40
    element(page, "#search").send_keys("i00007")
    assert rows(page) == 1 and element(page, "#count").text == "1 of 40 shown"
    element(page, "#filters button").click()
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert rows(page) == 40
    shown = {}
    for which in ("wrong", "right", "differ"):
        choose(page, "#which", which)
        shown[which] = rows(page)
    assert sum(shown.values()) == 40 and 0 < shown["differ"] < 40
    choose(page, "#which", "all")
    choose(page, "#arm", "lora")
    choose(page, "#category", "correct")
    assert 0 < rows(page) < 40
    element(page, "#filters button").click()
    page.execute_async_script("setTimeout(arguments[0], 50)")


def test_one_item_opens_with_every_arm_and_hostile_text_is_text(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    first = element(page, "#item-rows button")
    first.send_keys(Keys.ENTER)
    dialog = element(page, "#detail")
    assert dialog.get_attribute("open") is not None
    panes = page.find_elements("css selector", ".pane")
    assert len(panes) == 4
    assert "<img src=x onerror=alert(1)>" in dialog.text and "</script>" in dialog.text
    assert not page.find_elements("css selector", "#detail img, #detail script, main img")
    for summary in page.find_elements("css selector", ".pane summary"):
        summary.click()
    assert "word word word" in dialog.text and "text of a passage" in dialog.text
    title = element(page, "#detail-title").text
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert element(page, "#detail-title").text != title
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert element(page, "#detail").get_attribute("open") is None


def test_dark_and_narrow(page: Any) -> None:
    def paper() -> str:
        return str(page.execute_script("return getComputedStyle(document.body).backgroundColor"))

    before = paper()
    element(page, "#theme").click()
    assert paper() != before
    size = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 375
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_z_no_error_and_no_request(page: Any) -> None:
    """Last of the module: everything that the other tests did is in the logs."""
    said = [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not said
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    assert sum(url.startswith("file://") for url in asked) == 1
