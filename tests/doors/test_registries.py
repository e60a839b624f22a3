"""Posteriors and oracles that a third party offers by name, in its program and as an installed package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import lightning_al
from lightning_al import (
    ActiveDataModule,
    ActiveLearning,
    Deterministic,
    MCDropout,
    Oracle,
    Posterior,
    Revealed,
    available,
    available_oracles,
    available_posteriors,
    register_oracle,
    register_posterior,
)
from lightning_al.oracle import oracles
from lightning_al.posterior import posteriors
from tests.cli.test_cli import TINY
from tests.support import programs
from tests.support.tasks import CLASSES, LitMLP, points, trainer

ROOT = Path(lightning_al.__file__).parent.parent


@pytest.fixture(autouse=True)
def _registries_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back the names that a test gives, for the tests that list all."""
    for registry in (oracles, posteriors):
        monkeypatch.setattr(registry, "classes", dict(registry.classes))


class Fixed(Posterior):
    """The network itself, which says whom it drew for."""

    num_samples = 1
    drawn = 0

    def draw(self, fits: Any, module: Any, labelled: Any, *, forward: Any, seed: int) -> Any:
        Fixed.drawn += 1
        return Deterministic().draw(fits, module, labelled, forward=forward, seed=seed)


class ByIndex(Oracle):
    asked: list[int] = []  # noqa: RUF012

    def label(self, query: Any) -> dict[int, int]:
        ByIndex.asked += query
        return {index: index % CLASSES for index in query}


def test_a_posterior_and_an_oracle_of_ones_own_are_used_by_name(tmp_path: Path) -> None:
    Fixed.drawn, ByIndex.asked = 0, []
    assert register_posterior("tests.fixed")(Fixed) is Fixed
    assert register_oracle("tests.by_index")(ByIndex) is ByIndex
    assert "tests.fixed" in available_posteriors()
    assert "tests.by_index" in available_oracles()
    active = ActiveLearning("entropy", query_size=2, max_rounds=2, posterior="tests.fixed", oracle="tests.by_index")
    assert type(active.posterior) is Fixed
    assert type(active.oracle) is ByIndex
    data = ActiveDataModule(points(24), initial_size=4, batch_size=4)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
    assert Fixed.drawn > 0
    assert ByIndex.asked == active.history[0].indices


def test_those_of_the_library_have_names() -> None:
    assert {"deterministic", "mc_dropout"} <= set(available_posteriors())
    assert "revealed" in available_oracles()
    assert type(ActiveLearning("bald", query_size=1, posterior="mc_dropout").posterior) is MCDropout
    assert type(ActiveLearning("entropy", query_size=1, posterior="deterministic").posterior) is Deterministic
    assert type(ActiveLearning("bald", query_size=1, oracle="revealed").oracle) is Revealed
    assert not {*available_posteriors(), *available_oracles()} & set(available())


def test_a_taken_name_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"posterior name 'mc_dropout' already belongs to .*MCDropout, so .*Fixed"):
        register_posterior("mc_dropout")(Fixed)
    with pytest.raises(ValueError, match=r"oracle name 'revealed' already belongs to .*Revealed, so .*ByIndex"):
        register_oracle("revealed")(ByIndex)
    with pytest.raises(ValueError, match=r"no posterior named 'Deterministic'.* Did you mean 'deterministic'"):
        ActiveLearning("bald", query_size=1, posterior="Deterministic")
    with pytest.raises(ValueError, match=r"no oracle named 'nobody'. Choose one of: .*revealed"):
        ActiveLearning("bald", query_size=1, oracle="nobody")


def test_a_name_stands_for_a_class() -> None:
    def ask(query: Any) -> dict[int, int]:
        return dict.fromkeys(query, 0)

    with pytest.raises(TypeError, match=r"oracle name 'hand' stands for a class, but got function\. Register a class"):
        register_oracle("hand")(ask)  # type: ignore[type-var]
    assert "hand" not in available_oracles()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The folder of a package with a posterior and an oracle, as pip would lay it out."""
    site = tmp_path / "site"
    metadata = site / "laboratory-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "laboratory.py").write_text(
        "from lightning_al import Deterministic, Oracle, Posterior\n"
        "print('laboratory is imported')\n"
        "class Once(Posterior):\n"
        "    num_samples = 1\n"
        "    def draw(self, fits, module, labelled, *, forward, seed):\n"
        "        return Deterministic().draw(fits, module, labelled, forward=forward, seed=seed)\n"
        "class Zeros(Oracle):\n"
        "    def label(self, query):\n"
        "        return dict.fromkeys(query, 0)\n"
    )
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: laboratory\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[lightning_al.posteriors]\nonce = laboratory:Once\n[lightning_al.oracles]\nzeros = laboratory:Zeros\n"
    )
    return site


def python(site: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(site), str(programs.ROOT)])
    return programs.run(*arguments, cwd=site.parent, environment={"PYTHONPATH": path}).stdout


def test_an_installed_package_offers_both_by_entry_points(installed: Path) -> None:
    said = python(
        installed,
        "-c",
        "from lightning_al import ActiveLearning, available_oracles, available_posteriors\n"
        "ActiveLearning('bald', query_size=1, oracle='revealed')\n"
        "print('not needed so far')\n"
        "print(ActiveLearning('entropy', query_size=1, posterior='once', oracle='zeros'))\n"
        "print('zeros' in available_oracles(), 'once' in available_posteriors())",
    )
    assert said.splitlines() == [
        "not needed so far",
        "laboratory is imported",
        "ActiveLearning(Entropy(), query_size=1, posterior=laboratory.Once, oracle=laboratory.Zeros; 0 rounds done)",
        "True True",
    ]


@pytest.mark.long
def test_the_command_line_takes_those_of_a_package_by_name(installed: Path) -> None:
    tiny = [setting for setting in TINY if not setting.startswith("posterior")]
    chosen = ["acquisition=entropy", "active.posterior=once", "active.oracle=zeros"]
    said = python(installed, "-m", "lightning_al.cli", *tiny, *chosen, "folder=run")
    assert "laboratory is imported" in said
    history = (installed.parent / "run" / "history.jsonl").read_text().splitlines()
    counts = [json.loads(line)["class_counts"] for line in history]
    gained = {label: counts[-1][label] - counts[0].get(label, 0) for label in counts[-1]}
    assert gained == {label: 10 if label == "0" else 0 for label in gained}
