"""A contact sheet in a real browser: it asks for nothing, shows what it should, and saves what was clicked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import Files, Query, Unusable
from tests.report.test_browser import BROWSER, DRIVER, SWITCHES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs Chromium and its chromedriver"),
]

webdriver = pytest.importorskip("selenium.webdriver")

NAMES = ["cat", '<b>"dog"</b>', "=1+1"]


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Query:
    items = [(torch.rand(1, 8, 8), 0), ("<script>document.title = 1</script>" * 99, 0), ("a text", 0)]
    keys = ["<img src=x onerror=alert(1)>", "=b", "c\nd"]
    folder = tmp_path_factory.mktemp("run")
    query = Query(0, [4, 2, 7], keys=keys, items=items, classes=dict(enumerate(NAMES)), folder=folder)
    assert dict(Files().label(query)) == {}
    return query


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, query: Query) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    # In the small window of its own that a browser would have, the bar below lies over what is to be clicked.
    for switch in [*SWITCHES, "--window-size=1280,900", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(query.folder / "queries")})
    service = webdriver.chrome.service.Service(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
    service.stop()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_asks_for_nothing_and_fits(browser: Any, query: Query, width: int, mode: str) -> None:
    page = query.folder / "queries" / "round-000.html"
    browser.get("about:blank")
    browser.get_log("performance")
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]}
    )
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    assert browser.title == "Round 0"
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return [...document.images].map((image) => image.naturalWidth)") == [8]


def test_what_is_clicked_is_saved_and_read(browser: Any, query: Query) -> None:
    saved = Path(query.folder, "queries", "round-000-page.csv")
    browser.get(saved.with_name("round-000.html").as_uri())
    began = time.monotonic()
    browser.refresh()
    first, second, third = browser.find_elements("css selector", "article")
    browser.find_element("id", "who").send_keys("=anna")
    first.find_elements("css selector", ".buttons button")[1].click()
    time.sleep(1)
    second.find_elements("css selector", ".buttons button")[2].click()
    third.find_element("css selector", "input.label").send_keys("unusable")
    third.find_element("css selector", "input.note").send_keys('=too "dark", é')
    assert browser.find_element("id", "count").text == "3 of 3 labelled"
    browser.find_element("id", "save").click()
    until = time.monotonic() + 10
    while not saved.exists() and time.monotonic() < until:
        time.sleep(0.05)
    answers = dict(Files().label(query))
    assert {index: answer.label for index, answer in answers.items()} == {4: 1, 2: 2, 7: Unusable('=too "dark", é')}
    assert {answer.who for answer in answers.values()} == {"=anna"}
    # Each second counts once, however many items were to be seen.
    assert 1 <= answers[2].seconds <= sum(answer.seconds for answer in answers.values()) <= time.monotonic() - began
    browser.refresh()
    assert browser.find_element("id", "who").get_property("value") == "=anna"
    assert browser.find_element("id", "count").text == "3 of 3 labelled"
    assert browser.find_elements("css selector", "button[aria-pressed=true]")[0].text == NAMES[1]


def test_keys_choose_a_class_and_other_asks_what_it_is(browser: Any, tmp_path: Path) -> None:
    asked = Query(0, [4, 2, 7], keys=["a", "b", "c"], items=["a text"] * 3, classes={0: "cat", 1: "1"}, folder=tmp_path)
    assert dict(Files().label(asked)) == {}
    browser.get((tmp_path / "queries" / "round-000.html").as_uri())
    first, second, third = browser.find_elements("css selector", "article")

    def labels() -> list[str]:
        return [field.get_property("value") for field in browser.find_elements("css selector", "input.label")]

    first.find_element("css selector", ".text").click()
    for key in "923":  # there is no third class
        browser.switch_to.active_element.send_keys(key)
    assert labels() == ["1", "", ""]
    assert browser.switch_to.active_element == second
    third.find_element("css selector", "button.aside[value=other]").click()
    assert browser.find_element("id", "count").text == "1 of 3 labelled"
    assert browser.switch_to.active_element.get_property("placeholder") == "what is it?"
    browser.switch_to.active_element.send_keys("1 fox")
    assert browser.find_element("id", "count").text == "2 of 3 labelled"
    assert labels() == ["1", "", "other"]
    # The answers that the browser keeps outlast a change of the classes.
    asked.classes = {0: "kitten", 1: "1", 2: "wolf"}
    assert dict(Files().label(asked)) == {}
    browser.refresh()
    assert labels() == ["1", "", "other"]
    assert len(browser.find_elements("css selector", "button[value=wolf]")) == 3
