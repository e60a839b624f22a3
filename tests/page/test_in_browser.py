"""The page in a real browser: what is pressed is sent once, in order, whatever dies meanwhile.

Most tests are on a server in memory, which can be taken down between any two requests; the last is on the real one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_al import Query
from lightning_al.oracle.page.publishing import Publishing
from lightning_al.page.place import Place
from lightning_al.page.store import read_events
from tests.report.test_browser import BROWSER, DRIVER, SWITCHES
from tests.support.page_api import PageApi

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs Chromium and its chromedriver"),
]

webdriver = pytest.importorskip("selenium.webdriver")
keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

HOSTILE = '<img src=x onerror="document.title = 1">'
UNSENT = "return Object.keys(localStorage).some((name) => name.includes('unsent'))"
PICTURE = {"url": "/api/picture/0/0?side=1600", "width": 8, "height": 8, "small": True}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in [*SWITCHES, "--window-size=1280,900", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
    service.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., PageApi]]:
    """Start servers, each on a port of its own, where the browser has kept nothing."""
    started: list[PageApi] = []

    def start(items: int | list[dict[str, Any]] = 7, classes: int | list[str] = 3, **state: Any) -> PageApi:
        texts = (
            [{"point": point, "texts": [f"text {point}"]} for point in range(items)] if isinstance(items, int) else []
        )
        listed = items if isinstance(items, list) else texts
        names = [f"class {number}" for number in range(classes)] if isinstance(classes, int) else classes
        started.append(PageApi(listed, names, **state))
        return started[-1]

    yield start
    for page in started:
        page.close()


def until(true: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := true():
            return got
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def begin(browser: Any, page: PageApi, who: str | None = "anna") -> None:
    browser.get(page.address)
    if who is not None:
        until(lambda: browser.execute_script("return document.getElementById('ask-name').open"))
        press(browser, who, keys.ENTER)
    until(lambda: seen(browser, "item"))


def press(browser: Any, *what: str) -> None:
    webdriver.ActionChains(browser, duration=0).send_keys(*what).perform()


def answer(browser: Any, *what: str) -> None:
    """Answer as soon as the page takes an answer: a quarter of a second after it showed the item."""
    time.sleep(0.27)
    press(browser, *what)


def seen(browser: Any, name: str) -> bool:
    return bool(browser.execute_script(f"return !document.getElementById('{name}').closest('[hidden]')"))


def text(browser: Any, name: str) -> str:
    return str(browser.execute_script(f"return document.getElementById('{name}').textContent"))


def classes_of(page: PageApi) -> list[Any]:
    return [(one["point"], one["answer"].get("class", one["answer"])) for one in page.answers]


def test_a_press_is_one_answer_however_long_the_key_is_held(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve()
    begin(browser, page)
    time.sleep(0.3)
    event = {"type": "keyDown", "key": "2", "code": "Digit2", "text": "2", "windowsVirtualKeyCode": 50}
    for repeat in (False, *[True] * 4):
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", event | {"autoRepeat": repeat})
        time.sleep(0.15 if repeat else 0)
    browser.execute_cdp_cmd("Input.dispatchKeyEvent", {**event, "type": "keyUp"})
    press(browser, "1", "1")  # a double press
    answer(browser, "4")  # no class has this number
    press(browser, "s")
    until(lambda: len(page.answers) == 3)
    assert classes_of(page) == [(0, 1), (1, 0), (2, {"skip": True})]
    assert all(0.2 < one["seconds"] < 5 and one["suggestion_shown"] is False for one in page.answers)
    assert {one["who"] for one in page.answers} == {"anna"}
    assert text(browser, "item-name") == "3.png"
    assert browser.title == "(4) photos"
    until(lambda: {3, 4, 5, 6} <= set([body["seen"] for name, body in page.posts if name == "next"][-1]))
    for key, words, made in (("x", "too dark", {"unusable": "too dark"}), ("o", "a fox", {"other": "a fox"})):
        answer(browser, key)
        press(browser, words, keys.ENTER)
        assert until(lambda made=made: made in [one["answer"] for one in page.answers])
    answer(browser, "2")
    until(lambda: len(page.answers) == 6)
    press(browser, "u")
    until(lambda: len(page.answers) == 5)
    answer(browser, "o", keys.ENTER)  # other than what? It is not sent, and can be left
    press(browser, keys.ESCAPE)
    browser.find_elements("css selector", "#classes button")[2].click()
    until(lambda: len(page.answers) == 6)
    assert classes_of(page)[-1] == (5, 2)


def test_answers_wait_in_the_browser_and_are_sent_once_in_order(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve()
    begin(browser, page)
    page.fails = "down"
    for key in "123":
        answer(browser, key)
    until(lambda: text(browser, "unsent") == "3 unsent, no connection")
    assert seen(browser, "unsent")
    press(browser, "u")
    answer(browser, "1")
    assert page.answers == []
    browser.refresh()
    page.fails = "lost"
    until(lambda: page.events)
    page.fails = ""
    until(lambda: len(page.events) == 4 and len(page.answers) == 3)
    assert classes_of(page) == [(0, 0), (1, 1), (2, 0)]
    assert [one["answer"]["class"] for one in page.events.values()] == [0, 1, 2, 0]
    until(lambda: not browser.execute_script(UNSENT) and not seen(browser, "unsent"))
    until(lambda: text(browser, "item-name") == "3.png")
    names = [name for name, _ in page.posts if name != "next"]
    assert names.index("undo") < len(names) - 1 - names[::-1].index("answers")


def test_another_run_on_the_same_port_never_gets_them(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve()
    begin(browser, page)
    page.fails = "down"
    answer(browser, "1")
    page.state["run"] = "another"
    browser.refresh()
    page.fails = ""
    until(lambda: seen(browser, "item"))
    answer(browser, "2")
    until(lambda: page.answers)
    assert classes_of(page) == [(0, 1)]


def test_undo_reaches_back_across_rounds_and_a_reload(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve(2, round=-1)
    begin(browser, page)
    assert text(browser, "progress") == "First questions: 2 of 2 left"
    answer(browser, "1")
    answer(browser, "2")
    until(lambda: len(page.answers) == 2)
    page.offered = []
    audit = {"labels": 10, "right": 9, "acc": 0.9, "low": 0.596, "high": 0.982}
    page.state |= {"phase": "fitting", "curve": [[5, 0.5], [10, 0.75]], "audit": audit}
    until(lambda: "is learning" in text(browser, "waiting-name"))
    assert re.search(r"^2 labels so far\. .* \d s until now\.$", text(browser, "waiting-text"))
    assert browser.title == "photos"
    drawn = browser.execute_script("return [...document.querySelectorAll('svg')].map((one) => one.ariaLabel)")
    assert drawn == [
        "Audit: 9 of 10 right, 0.90 (95 % interval 0.60 to 0.98)",
        "acc went from 0.5 at 5 labels to 0.75 at 10 labels.",
    ]
    webdriver.ActionChains(browser).key_down(keys.CONTROL).send_keys("z").key_up(keys.CONTROL).perform()
    until(lambda: seen(browser, "item") and text(browser, "item-name") == "1.png")
    answer(browser, "3")
    until(lambda: classes_of(page) == [(0, 0), (1, 2)])
    browser.refresh()
    until(lambda: len(browser.find_elements("css selector", "#strip button")) == 2)
    press(browser, "u")
    until(lambda: text(browser, "item-name") == "1.png" and seen(browser, "item"))
    browser.find_element("css selector", "#strip button").click()  # the other one
    until(lambda: text(browser, "item-name") == "0.png")
    assert page.answers == []
    answer(browser, "2")
    answer(browser, "2")
    until(lambda: classes_of(page) == [(0, 1), (1, 1)])
    page.items[7] = page.items[0] | {"point": 7, "key": "7.png"}
    page.offered = [7]
    page.state |= {"phase": "asking", "round": 2}
    until(lambda: browser.title == "(1) photos" and text(browser, "item-name") == "7.png")


def test_a_late_reply_does_not_bring_back_what_was(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve(1)
    begin(browser, page)
    page.fails = "late"
    answer(browser, "1")
    until(lambda: page.answers)
    page.state["phase"] = "fitting"
    until(lambda: "is learning" in text(browser, "waiting-name"))
    browser.execute_script(
        "window.heads = []; const head = document.getElementById('waiting-name');"
        "new MutationObserver(() => heads.push(head.textContent)).observe(head, {childList: true});"
    )
    sent = len(page.posts)
    page.fails = ""
    until(lambda: len(page.posts) > sent)
    time.sleep(0.1)
    assert browser.execute_script("return heads") == []


def test_two_tabs_and_two_people_never_answer_the_same_in_silence(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve()
    begin(browser, page)
    page.events["x"] = {"id": "x", "point": 0, "answer": {"class": 1}, "who": "ben"}
    answer(browser, "1")
    until(lambda: "ben answered it" in text(browser, "notices"))
    assert classes_of(page) == [(0, 1)]
    page.closed = {1}
    answer(browser, "1", "u")
    until(lambda: "1.png. This item is not asked for any more" in text(browser, "notices"))
    until(lambda: text(browser, "item-name") == "2.png")
    page.events["y"] = {"id": "y", "point": 2, "answer": {"class": 0}, "who": "ben"}
    until(lambda: text(browser, "item-name") == "3.png")  # ben was faster
    assert classes_of(page) == [(0, 1), (1, 0), (2, 0)]
    browser.execute_script("open(location.href)")  # with what the first tab's session holds
    first, second = browser.window_handles
    browser.switch_to.window(second)
    until(lambda: len({body["client"] for name, body in page.posts if name == "next"}) == 2)
    browser.close()
    browser.switch_to.window(first)


def test_an_item_of_an_earlier_round_is_not_skipped(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve(3)
    begin(browser, page)
    answer(browser, "1")
    until(lambda: len(page.answers) == 1)
    page.items[0]["earlier"] = True
    answer(browser, "u")
    until(lambda: text(browser, "item-name") == "0.png")
    until(lambda: not browser.find_element("id", "skip").is_displayed())
    assert browser.find_element("id", "unusable").is_displayed()
    answer(browser, "s", "3")
    until(lambda: browser.find_element("id", "skip").is_displayed())
    answer(browser, "s")
    until(lambda: classes_of(page) == [(0, 2), (1, {"skip": True})])


def test_300_classes_are_found_by_name_in_their_order(browser: Any, serve: Callable[..., PageApi]) -> None:
    names = [f"{kind} {number}" for number in range(100) for kind in ("wren", "Émeu", HOSTILE)]
    page = serve(4, names)
    begin(browser, page)
    shown = (
        "return [...document.querySelectorAll('#classes button:not([hidden]) .label')].map((one) => one.textContent)"
    )
    assert browser.execute_script(shown) == names
    answer(browser, "/", "emeu 1")
    assert browser.execute_script(shown) == [f"Émeu {n}" for n in range(100) if "1" in str(n)]
    press(browser, keys.ARROW_DOWN, keys.ENTER)
    answer(browser, keys.ENTER)  # nothing was typed
    press(browser, "zebra")
    assert browser.find_element("id", "found").text == "No class has this name."
    press(browser, keys.ESCAPE, "/", "wren 99", keys.ENTER)
    until(lambda: len(page.answers) == 2)
    assert classes_of(page) == [(0, names.index("Émeu 10")), (1, names.index("wren 99"))]


def test_digits_have_their_own_keys(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve(3, [str(digit) for digit in range(10)])
    begin(browser, page)
    for digit in "073":
        answer(browser, digit)
    until(lambda: len(page.answers) == 3)
    assert classes_of(page) == [(0, 0), (1, 7), (2, 3)]


def test_a_reason_is_never_that_of_another_item(browser: Any, serve: Callable[..., PageApi]) -> None:
    page = serve()
    begin(browser, page)
    answer(browser, "x")
    press(browser, "too dark")
    page.events["y"] = {"id": "y", "point": 0, "answer": {"class": 0}, "who": "ben"}
    press(browser, keys.TAB, keys.TAB)
    browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")  # leases are renewed
    until(lambda: text(browser, "item-name") == "1.png")
    press(browser, keys.ENTER)
    answer(browser, "2")
    until(lambda: len(page.answers) == 2)
    assert classes_of(page) == [(0, 0), (1, 1)]


def test_the_grid_takes_all_but_the_exceptions(browser: Any, serve: Callable[..., PageApi]) -> None:
    believed = [None, 2, 1, 1, 0, 2]
    page = serve(
        [
            {"point": point, "pictures": [PICTURE], "grid": number is not None}
            | {"suggestion": None if number is None else {"class": number, "probability": 0.5}}
            for point, number in enumerate(believed)
        ]
    )
    begin(browser, page)
    for key, is_larger in (("+", True), ("0", False)):
        press(browser, key)
        larger = "const stage = document.getElementById('stage'); return stage.scrollWidth > stage.clientWidth"
        assert browser.execute_script(larger) is is_larger
    assert not seen(browser, "guess")
    press(browser, "m")
    assert seen(browser, "guess")
    assert "believes" not in text(browser, "guess")  # an audit item
    answer(browser, "1")
    assert text(browser, "guess") == "The model believes: class 2 (0.50)"
    press(browser, "m", "g")
    until(lambda: seen(browser, "grid"))
    assert text(browser, "accept") == "Accept all 5 A"
    said = browser.execute_script("return [...document.querySelectorAll('#tiles .key')].map((one) => one.textContent)")
    assert said == ["4.png", "2.png", "3.png", "1.png", "5.png"]
    browser.find_elements("css selector", "#tiles button")[1].click()
    answer(browser, "a")
    until(lambda: text(browser, "item-name") == "2.png" and seen(browser, "item"))
    answer(browser, "3")
    until(lambda: len(page.answers) == 6)
    assert classes_of(page) == [(0, 0), (4, 0), (3, 1), (1, 2), (5, 2), (2, 2)]
    assert [one["suggestion_shown"] for one in page.answers] == [False, *[True] * 5]
    press(browser, "u", "u")  # the last one, then the others that were accepted together
    until(lambda: classes_of(page) == [(0, 0)])


@pytest.mark.parametrize(("width", "mode"), [(390, "dark"), (1280, "light")])
def test_it_asks_for_its_own_alone_and_fits(browser: Any, serve: Callable[..., PageApi], width: int, mode: str) -> None:
    shown = {"pictures": [PICTURE, PICTURE], "texts": [HOSTILE * 99], "rows": [[HOSTILE, HOSTILE]], "fault": HOSTILE}
    page = serve([{"point": 0, "key": HOSTILE} | shown], [HOSTILE, "b" * 200], title=HOSTILE, people=[HOSTILE])
    for number in range(10):
        event = {"id": str(number), "point": 90 + number, "answer": {"other": HOSTILE}, "who": HOSTILE}
        page.events[str(number)] = event
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]}
    )
    try:
        browser.get_log("browser")  # what the tests before it wanted to fail
        begin(browser, page)
        assert browser.get_log("browser") == []
        assert browser.title == f"(1) {HOSTILE}"
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.execute_script("return [...document.images].map((image) => image.naturalWidth)") == [8, 8]
        asked = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
        assert asked
        assert all(name.startswith(page.address) for name in asked)
        assert page.seen == {"/", "/page.css", "/page.js", "/api/state", "/api/events", "/api/picture/0/0"}
        unnamed = browser.execute_script(
            "return [...document.querySelectorAll('button, input')].filter((one) => "
            "!one.textContent.trim() && !one.ariaLabel && !one.labels?.length).map((one) => one.outerHTML)"
        )
        assert unnamed == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_real_server_killed_and_started_again_has_each_answer_once(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    publishing = Publishing(Place(tmp_path))
    texts = [f"text {point}" for point in range(9)]
    query = Query(0, range(9), keys=texts, items=texts, classes={0: "cat", 1: "dog"}, folder=tmp_path)
    publishing.ask(query, suggestions=False)
    publishing.show(query)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "lightning_al.page", str(tmp_path), "--quiet"])
        until(lambda: publishing.place.is_served() and publishing.place.served_by().get("pid") == process.pid)
        return process

    process = start()
    try:
        browser.get(publishing.place.address())
        until(lambda: browser.execute_script("return document.getElementById('ask-name')?.open"))
        press(browser, "anna", keys.ENTER)
        until(lambda: seen(browser, "item"))
        assert "token" not in browser.current_url
        for kills in range(2):
            answer(browser, "1")
            answer(browser, "2")
            process.kill()
            process.wait()
            answer(browser, "u")
            answer(browser, "1")
            if kills == 1:
                browser.get("about:blank")  # and the page itself is left while its answers are not sent
            process = start()
            if kills == 1:
                browser.get(publishing.place.address())
            until(lambda: not browser.execute_script(UNSENT))
            until(lambda: seen(browser, "item"))
    finally:
        process.kill()
        process.wait()
    events = read_events(publishing.place.store)
    assert [event.answer for event in events] == 2 * [{"class": 0}, {"class": 1}, None, {"class": 0}]
    assert [event.point for event in events] == [0, 1, 1, 1, 2, 3, 3, 3]
    assert {event.who for event in events} == {"anna"}
