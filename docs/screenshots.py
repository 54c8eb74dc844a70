"""Makes the pictures of the README from a stored run: `python docs/screenshots.py [--results PATH] [RUN]`.

Needs Chromium and chromedriver. Pictures go to docs/images.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from harness.report.html import page_data, to_html
from harness.report.terminal import render
from harness.runner.analyse import load
from harness.store.database import open_store

FOLDER = Path(__file__).parent / "images"
OPEN_ITEM = """
const wanted = [...document.querySelectorAll('#item-rows tr')].find((row) => row.textContent.includes(arguments[0]));
(wanted ?? document.querySelector('#item-rows tr')).click();
for (const fold of document.querySelectorAll('.pane:last-child details')) fold.open = true;
"""
#: name -> (width, height, colours, script to run before the picture)
PICTURES = {
    "report-light.png": (1240, 1120, "light", ""),
    "report-dark.png": (1240, 980, "dark", "document.getElementById('fates').scrollIntoView()"),
    "report-item.png": (1240, 900, "light", OPEN_ITEM),
    "report-phone.png": (390, 844, "dark", ""),
}


def terminal_picture(comparison: Any) -> str:
    """The terminal report as SVG, without the web fonts that rich would name."""
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    render(comparison, console)
    return re.sub(r"@font-face \{.*?\}\n", "", console.export_svg(title="harness report"), flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--results", type=Path, default=Path("results/harness.db"))
    parser.add_argument("--item", default="", help="open the first item whose row contains this text")
    given = parser.parse_args()
    with open_store(given.results, create=False) as store:
        found = load(store, given.run)
        page = to_html(found.comparison, page_data(store, found.rows))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "report-terminal.svg").write_text(terminal_picture(found.comparison), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(page, encoding="utf-8")
        for name, (width, height, colours, script) in PICTURES.items():
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            scheme = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
            browser.get(file.as_uri())
            drawn = "return document.documentElement.dataset.drawn"
            WebDriverWait(browser, 60).until(lambda b, drawn=drawn: b.execute_script(drawn))
            browser.execute_script(script, given.item)
            browser.execute_async_script("setTimeout(arguments[0], 300)")
            (FOLDER / name).write_bytes(browser.get_screenshot_as_png())
    browser.quit()


if __name__ == "__main__":
    main()
