"""The site: it builds without a warning, needs no other host, and its notebooks run."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

import lightning_al
import lightning_al.demos
import lightning_al.report
import lightning_al.testing
from tests.support.installed import environment_with
from tests.test_package import wheel  # noqa: F401

# The site needs the extra docs, takes half a minute, and is built by .ci/run too; a notebook trains for half a minute.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: each warning, such as that of a broken link, is an error."""
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "--strict",
        "-f",
        str(DOCS / "mkdocs.yml"),
        "-d",
        str(folder),
    ]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"?([^\"> ]+)|<link[^>]* href=\"?([^\"> ]+)", page.read_text()
        )
        addresses = [address for address in chain.from_iterable(loaded) if address]
        assert len(addresses) > 3
        assert not [address for address in addresses if re.match(r"(\w+:)?//", address)], page


def test_the_reference_has_every_public_name(site: Path) -> None:
    reference = "".join(path.read_text() for path in site.glob("reference/*.html"))
    modules = [lightning_al, lightning_al.testing, lightning_al.report, lightning_al.demos]
    for module in modules:
        for name in module.__all__:
            assert f'id="{module.__name__}.{name}"' in reference, f"{module.__name__}.{name}"


def test_the_gallery_shows_the_files_of_examples(site: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "gallery.html").read_text()))
    for path in (ROOT / "examples").rglob("*.py"):
        assert "\n".join(path.read_text().splitlines()[:20]) in text, path


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs Chromium and its chromedriver")
def test_the_search_works_on_pages_opened_as_files(site: Path, tmp_path: Path) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    waiting = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(switch)
    service = webdriver.chrome.service.Service(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get((site / "index.html").as_uri() + "?q=batchbald")
        found = waiting(browser, 60).until(
            lambda browser: browser.find_elements("css selector", "a.md-search-result__link")
        )
        assert len(found) > 3
    finally:
        browser.quit()
        service.stop()


@pytest.mark.parametrize("name", ["first_round", "own_images"])
def test_notebooks_run_with_an_installed_wheel(name: str, wheel: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    bin, site = environment_with(wheel, tmp_path / "env")
    notebook = shutil.copy(DOCS / "notebooks" / f"{name}.ipynb", tmp_path)
    code = (
        "import sys, nbclient, nbformat\n"
        "notebook = nbformat.read(sys.argv[1], 4)\n"
        "notebook.cells.append(nbformat.v4.new_code_cell('import lightning_al; print(lightning_al.__file__)'))\n"
        "nbclient.NotebookClient(notebook, timeout=280, kernel_name='python3').execute()\n"
        "print(notebook.cells[-1].outputs[0].text)"
    )
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "JUPYTER_PATH")}
    done = subprocess.run(
        [str(bin / "python"), "-c", code, str(notebook)],
        cwd=tmp_path, env={**clean, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().startswith(str(site)), "the notebook runs the installed wheel"
