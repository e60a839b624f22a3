"""The README and the pages of the site: their links, programs and commands work."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.support import programs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted((DOCS / "pages").rglob("*.md"))]

MADE = ("reference", "notebooks")
"""Pages that docs/made_pages.py makes; `mkdocs build --strict` looks at the links to them."""

BEFORE = """
import pytorch_lightning as pl
import torch
from torch import nn

import lightning_al
from lightning_al import ActiveDataModule, ActiveLearning
from quickstart import Digits, LitDigits

YourDataModule, YourModule = Digits, LitDigits
images = torch.rand(20, 64)
paths = ["a.png", *(f"{number}.png" for number in range(19))]
model = LitDigits()
model.net = nn.Sequential(nn.Linear(64, 8), nn.Dropout(0.5), nn.Linear(8, 2))
"""
"""What the programs of the pages take for granted."""

SHORTER = {
    r"max_epochs=10\b": "max_epochs=1",
    r"num_samples=50\b": "num_samples=3",
    r"samples_per_epoch=640\b": "samples_per_epoch=32",
    r"budget=(60|200)\b": "budget=30",
    r"pl\.Trainer\(": "pl.Trainer(logger=False, enable_checkpointing=False, ",
}
"""What is shorter in the test."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language, without those that include a file."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if "--8<--" not in block]


def test_links_lead_to_files() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text()):
            path = (page.parent / link).resolve()
            made = any(path.is_relative_to(DOCS / "pages" / folder) for folder in MADE)
            assert "://" in link or made or path.exists(), f"{link} in {page}"


def test_the_programs_of_the_pages_run(tmp_path: Path) -> None:
    """Each program, once, in one process, and shorter."""
    parts = list(dict.fromkeys(chain.from_iterable(blocks(page, "python") for page in PAGES)))
    assert len(parts) > 4
    text = "\n\n".join([BEFORE, *parts])
    for pattern, number in SHORTER.items():
        text = re.sub(pattern, number, text)
    shutil.copy(ROOT / "examples" / "quickstart.py", tmp_path)
    (tmp_path / "pages.py").write_text(text)
    said = programs.run(tmp_path / "pages.py", cwd=tmp_path).stdout
    assert "round 0: 20 labels" in said


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Each command `lightning-al` of the pages with its arguments."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("lightning-al "):
                    yield page, shlex.split(line, comments=True)[1:]


@pytest.mark.slow  # 7 s; tests/cli/test_conf.py composes every file of every group
def test_the_commands_of_the_pages_compose() -> None:
    parser = OverridesParser.create()
    tried = 0
    with initialize_config_module("lightning_al.conf", version_base="1.3"):
        for _, arguments in commands():
            overrides = [argument for argument in arguments if not argument.startswith("-")]
            if "..." in overrides or "job" in overrides:
                continue
            firsts = []
            for override in parser.parse_overrides(overrides):
                value = next(override.sweep_string_iterator()) if override.is_sweep_override() else None
                firsts.append(override.input_line if value is None else f"{override.get_key_element()}={value}")
            compose("config", overrides=firsts, return_hydra_config=True)
            tried += 1
    assert tried > 20


def test_links_of_the_readme_become_addresses() -> None:
    """As a release does (docs/index_links.py), so that they work on the package index too."""
    with_addresses = runpy.run_path(str(DOCS / "index_links.py"))["with_addresses"]
    text = with_addresses(README.read_text(), repository="https://r", tag="v1", site="https://s")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 15
    assert all(link.startswith(("https://r/", "https://s/")) for link in links)
    assert "https://s/guides/own_data.html" in links
    assert [link for link in links if link.endswith(".png")] == [re.search(r"https://r/raw/v1/\S+png", text)[0]]
