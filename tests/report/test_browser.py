"""The report's page in a real browser: what it asks for, runs and shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import HOSTILE
from tests.support.combinations import one_in

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs Chromium and its chromedriver"),
]

webdriver = pytest.importorskip("selenium.webdriver")

SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in [*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.chrome.service.Service(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
    service.stop()


@pytest.fixture(scope="module")
def report(hostile: Path) -> Path:
    return hostile / "index.html"


def look(browser: Any, page: Path, *, width: int, mode: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]}
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(page.as_uri())


@pytest.mark.parametrize(("width", "mode"), one_in(2, [360, 1280], ["light", "dark"]))
def test_it_opens_by_itself_fits_and_shows_every_picture(browser, report, width, mode):
    browser.get("about:blank")
    browser.get_log("performance")  # what Chromium's own first page asked for
    look(browser, report, width=width, mode=mode)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].split(":")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data"}
    pictures = browser.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.currentSrc])"
    )
    assert len(pictures) > 6
    assert all(complete and natural > 0 for complete, natural, _ in pictures)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 28)"}[mode]


def test_the_night_has_pictures_of_its_own(browser, report):
    shown = {}
    for mode in ("light", "dark"):
        look(browser, report, width=800, mode=mode)
        shown[mode] = browser.execute_script("return document.images[0].currentSrc")
    assert shown["light"] != shown["dark"]


def test_a_name_does_not_run(browser, report):
    look(browser, report, width=1280, mode="light")
    assert browser.title.startswith("Active learning report")
    assert browser.execute_script("return document.scripts.length") == 0
    named = browser.execute_script(
        "return [...document.querySelectorAll('table[data-name=comparison] td:first-child')].map(c => c.textContent)"
    )
    assert HOSTILE[0] in named
    assert len(named) == 2 + len(HOSTILE)


def test_the_policy_would_stop_what_gets_in(browser, report):
    look(browser, report, width=1280, mode="light")
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'document.title = \"ran\"';"
        "document.body.append(script);"
        "const image = document.createElement('img'); image.src = 'http://localhost:1/x.png';"
        "document.body.append(image);"
    )
    assert browser.title.startswith("Active learning report")
    said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "Content Security Policy" in said


def test_tables_fit_a_desk_and_a_phone_is_told_to_scroll(browser, study):
    measure = (
        "return Object.fromEntries([...document.querySelectorAll('.scroll')].map(s => [s.getAttribute('aria-label'),"
        "[s.scrollWidth > s.clientWidth, s.querySelector('.hint').getBoundingClientRect().height > 10]]))"
    )
    for width in (1280, 390):
        look(browser, study / "report" / "index.html", width=width, mode="light")
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = browser.execute_script(measure)
        assert all(is_wider == is_told for is_wider, is_told in found.values())
        assert found["comparison"][0] == (width == 390)
        if width == 1280:
            assert not any(is_wider for is_wider, _ in found.values())
