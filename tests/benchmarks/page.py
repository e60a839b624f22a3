"""How long do people wait on the page: for the next item, and from the last answer of a query to the next query?

Run on demand, ``python -m tests.benchmarks.page turnaround`` and ``python -m tests.benchmarks.page browser``.

`turnaround` answers three queries of ten points for an MLP on 10,000 vectors, and for the digits CNN, with the settings
of the command line: 500 steps a round, BatchBALD, 50 samples. It prints the seconds from a query's last answer to the
first item of the next query. `browser` answers photos of 12 megapixels by keys in a headless Chromium, and prints the
milliseconds from a key to the frame in which the next photo is painted, once with a second for each photo and once as
fast as the page takes keys, with the labels a minute.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lightning_al import ActiveDataModule, ActiveLearning, BatchBALD, MCDropout, Page, Query
from lightning_al.demos import Classifier, Digits, digits_cnn, mlp
from lightning_al.host.namespace import NAMESPACE, pl
from lightning_al.oracle.page.publishing import Publishing
from lightning_al.page.place import Place
from lightning_al.page.starting import start
from tests.report.test_browser import BROWSER, DRIVER, SWITCHES
from tests.support.page import Remote, person

QUERY, QUERIES, VECTORS, INPUTS, CLASSES = 10, 3, 10_000, 32, 10

SIZE = (4000, 3000)
PHOTOS = 60
FILES = 12
"""Different photos, each shown several times under different paths."""

WATCH = """
window.painted = [];
let since = null;
addEventListener('keydown', (event) => { if (event.key === '1') since = event.timeStamp; }, { capture: true });
new MutationObserver(() => {
  const image = document.querySelector('#stage img');
  if (since === null || !image || document.getElementById('item').hidden) return;
  const began = since;
  since = null;
  // The task after a frame's callbacks begins when the frame is painted.
  const channel = new MessageChannel();
  channel.port1.onmessage = () => window.painted.push(performance.now() - began);
  image.decode().then(() => requestAnimationFrame(() => channel.port2.postMessage(0)));
}).observe(document.getElementById('stage'), { childList: true });
"""


def vectors() -> tuple[Any, Callable[[int], int]]:
    """Return vectors around a centre for each class, and the class of each."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (VECTORS,), generator=generator)
    centres = torch.randn(CLASSES, INPUTS, generator=generator)
    points = centres[labels] + torch.randn(VECTORS, INPUTS, generator=generator)
    return points.numpy(), lambda index: int(labels[index])


def digits() -> tuple[Any, Callable[[int], int]]:
    """Return the digits, and the class of each."""
    data = Digits()
    data.setup("fit")
    dataset = data.train_dataloader().dataset
    return Digits(), lambda index: int(dataset[index][1])


def turnarounds(data: Any, network: torch.nn.Module, label_of: Callable[[int], int]) -> list[float]:
    """Return the seconds from the last answer of each query to the first item of the next one."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "run")
        names = [str(number) for number in range(CLASSES)]
        active = ActiveLearning(
            BatchBALD(),
            query_size=QUERY,
            max_rounds=QUERIES + 1,
            posterior=MCDropout(50),
            oracle=Page(open_browser=False),
            seed=0,
            folder=folder,
            weights="last",
        )
        module = ActiveDataModule(data, initial_size=QUERY, classes=names, samples_per_epoch=3200, seed=0)
        quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            max_steps=500, max_epochs=-1, accelerator="cpu", enable_checkpointing=False, callbacks=[active], **quiet
        )
        with person(folder) as anna, ThreadPoolExecutor() as pool:
            waits = pool.submit(answer_all, anna, label_of)
            trainer.fit(Classifier(network, num_classes=CLASSES), datamodule=module)
            return waits.result(60)


def answer_all(anna: Remote, label_of: Callable[[int], int]) -> list[float]:
    """Answer all that is asked, and return how long each query but the first was waited for."""
    waits: list[float] = []
    query, last = None, time.perf_counter()
    while True:
        found = anna.wait_for("next", n=QUERY)
        state, items = found["state"], found["items"]
        if state["phase"] == "done":
            return waits
        if items and state["query"]["id"] != query:
            waits += [] if query is None else [time.perf_counter() - last]
            print(f"  {waits[-1]:.1f} s to the next query" if waits else "  the first query", flush=True)
            query = state["query"]["id"]
        for item in items:
            given = {"id": f"{item['point']}", "point": item["point"], "answer": {"class": label_of(item["point"])}}
            anna.wait_for("answers", answers=[given])
            last = time.perf_counter()
        time.sleep(0.05)


def measure_turnaround() -> None:
    """Print how long people wait for the next query."""
    for name, make, network in (
        (f"MLP on {VECTORS:,} vectors", vectors, lambda: mlp(INPUTS, CLASSES)),
        ("CNN on the digits", digits, lambda: digits_cnn(CLASSES)),
    ):
        data, label_of = make()
        torch.manual_seed(0)
        waits = turnarounds(data, network(), label_of)
        print(f"{name}: {', '.join(f'{wait:.1f}' for wait in waits)} s to the next query", flush=True)


def write_photos(folder: Path) -> list[Path]:
    """Write photos with noise, as large as those of a camera, each of them under several paths."""
    paths = []
    for number in range(FILES):
        path = folder / f"{number}.jpg"
        noise = Image.effect_noise((SIZE[0] // 4, SIZE[1] // 4), 60).resize(SIZE)
        Image.merge("RGB", [noise, noise.rotate(90 * (number % 4)), noise]).save(path, quality=92)
        paths.append(path)
    for number in range(FILES, PHOTOS):
        path = folder / f"{number}.jpg"
        path.hardlink_to(paths[number % FILES])
        paths.append(path)
    return paths


def painted(browser: Any, folder: Path, paths: Sequence[Path], pause: float) -> tuple[list[float], float]:
    """Return the milliseconds from each key to the next photo, and the labels a minute."""
    from selenium.webdriver.common.keys import Keys

    publishing = Publishing(Place(folder))
    keys, blank = [path.name for path in paths], [None] * len(paths)
    asked = Query(0, range(len(paths)), keys=keys, items=blank, paths=paths, classes={0: "cat"}, folder=folder)
    publishing.ask(asked, suggestions=False)
    publishing.show(asked)
    with person(folder):
        start(publishing.place)
        browser.get(publishing.place.address())
        wait_until(browser, "return document.getElementById('ask-name')?.open")
        browser.switch_to.active_element.send_keys("anna", Keys.ENTER)
        wait_until(browser, "return document.querySelector('#stage img')?.complete")
        time.sleep(2.0)  # the next ones are resized while somebody looks at the first
        browser.execute_script(WATCH)
        began, number = time.perf_counter(), len(paths) - 1
        for done in range(number):  # a key within a quarter of a second is not taken
            browser.switch_to.active_element.send_keys("1")
            wait_until(browser, f"return window.painted.length > {done}")
            time.sleep(pause)
        rate = 60 * number / (time.perf_counter() - began)
        return list(browser.execute_script("return window.painted")), rate


def wait_until(browser: Any, script: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not browser.execute_script(script):
        if time.monotonic() > deadline:
            raise TimeoutError(script)
        time.sleep(0.01)


def measure_browser() -> None:
    """Print how long people wait for the next photo."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    with tempfile.TemporaryDirectory() as root:
        for switch in [*SWITCHES, "--window-size=1600,1000", f"--user-data-dir={root}/profile"]:
            options.add_argument(switch)
        (photos := Path(root, "photos")).mkdir()
        paths = write_photos(photos)
        megabytes = statistics.mean(path.stat().st_size for path in paths) / 2**20
        print(f"{PHOTOS} photos of {SIZE[0]} x {SIZE[1]}, {megabytes:.1f} MB each", flush=True)
        browser = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(DRIVER))
        try:
            for name, pause in (("a second each", 1.0), ("as fast as possible", 0.25)):
                found, rate = painted(browser, Path(root, name), paths, pause)
                middle, high = statistics.median(found), statistics.quantiles(found, n=20)[-1]
                print(f"{name}: median {middle:.0f} ms, p95 {high:.0f} ms, {rate:.0f} labels a minute", flush=True)
        finally:
            browser.quit()


def main() -> None:
    """Measure what the command line names."""
    measures = {"turnaround": measure_turnaround, "browser": measure_browser}
    parser = argparse.ArgumentParser("python -m tests.benchmarks.page", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=[*measures])
    logging.getLogger(NAMESPACE).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    measures[parser.parse_args().what]()


if __name__ == "__main__":
    main()
