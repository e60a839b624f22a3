"""No acknowledged label or round is lost or doubled: runs that are killed end as a run that nothing disturbed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.records import OpenQuery
from tests.support import programs
from tests.support.killing import WEIGHTS, differences, rounds


def outcomes(out: Path, *arguments: str) -> list[dict[str, Any]]:
    """Kill runs in processes forked from a new one, since this one may have threads that a fork would lose."""
    done = programs.run("-m", "tests.support.killing", out, *arguments, timeout=4 * 3600)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[dict[str, Any]], *, named: int, random: int) -> None:
    assert [outcome for outcome in found if outcome["differences"]] == []
    places = [outcome for outcome in found if isinstance(outcome["kills"][0], dict)]
    assert all(outcome["hits"] == len(outcome["kills"]) for outcome in places), "each place was come to"
    assert sum(len(outcome["kills"]) for outcome in places) >= named
    assert sum(outcome["hits"] for outcome in found if outcome not in places) == random


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def found(out: Path) -> list[dict[str, Any]]:
    # Counted in each process anew: these are in the rounds 0 and 1.
    places = "begin:after:1,append:before:2"
    return outcomes(out, "--variants", "warm and best", "--named", places, "--rounds", "3")


@pytest.mark.long
def test_runs_killed_at_places_end_as_an_undisturbed_one(found: list[dict[str, Any]]) -> None:
    check(found, named=2, random=0)


@pytest.mark.slow  # the next tests kill the same steps of a small program, without what the command line takes
def test_runs_of_a_person_who_pauses_lose_no_answer_when_killed_and_end_as_one_without_pauses(
    found: list[dict[str, Any]], out: Path, tmp_path: Path
) -> None:
    places, variant = "ask:before:1,answer:after:2,save weights:after:2,checkpoint:after:2", "asked and warm and best"
    check(outcomes(tmp_path, "--variants", variant, "--named", places, "--rounds", "3"), named=4, random=0)
    paused, whole = rounds(tmp_path / variant / "whole"), rounds(out / "warm and best" / "whole")
    assert [{**round, "label_seconds": 0.0} for round in paused] == whole
    assert paused[-1]["label_seconds"] > paused[0]["label_seconds"] > 0


@pytest.mark.long
def test_programs_of_a_person_who_pauses_lose_no_answer_when_killed(tmp_path: Path) -> None:
    plans = ["ask:before:1,answer:after:2", "append:after:1"]
    check(outcomes(tmp_path, "--variants", "audited program", "--named", *plans, "--rounds", "2"), named=3, random=0)


def test_answers_told_by_programs_that_are_killed_are_recorded_once(tmp_path: Path) -> None:
    plans = ["tell insert:after:2,tell close:before:1", "tell answer:before:3,tell history for people:after:2"]
    check(outcomes(tmp_path, "--variants", "told program", "--named", *plans, "--rounds", "1"), named=4, random=0)


def lose_a_round(folder: Path) -> None:
    journal = Journal(folder)
    journal.take_back()
    journal.close()


def change_a_weight(folder: Path) -> None:
    weights = torch.load(folder / WEIGHTS, weights_only=True)
    next(iter(weights.values())).flatten()[0].mul_(1 + 2e-7)
    torch.save(weights, folder / WEIGHTS)


def change_the_order(folder: Path) -> None:
    journal = Journal(folder)
    last = journal.history[-2]
    journal.take_back()
    journal.take_back()
    journal.append(Round.from_dict({**last.to_dict(), "indices": last.indices[::-1]}), labels={})
    journal.close()


def leave_a_file(folder: Path) -> None:
    (folder / ".summary.json.part").touch()


def acknowledge_what_is_not_there(folder: Path) -> None:
    folder.with_suffix(".diary").write_text("acknowledged 9999\n")


def ask_again_what_was_acknowledged(folder: Path) -> None:
    index = Journal.read_history(folder)[0].indices[0]
    folder.with_suffix(".diary").write_text(f"acknowledged {index}\nasked {index}\n")


def answer_twice(folder: Path) -> None:
    journal = Journal(folder)
    journal.take_back()
    number = len(journal.history)
    index = next(index for index in range(100) if index not in journal.records.answered)
    journal.ask(OpenQuery(number, [index], [0.5]))
    journal.answer({index: 1})
    journal.answer({index: 1})
    journal.close()


def change_the_table_of_labels(folder: Path) -> None:
    with (folder / "labels.csv").open("a") as file:
        file.write("\n")


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (acknowledge_what_is_not_there, "lost: [9999]"),
        (ask_again_what_was_acknowledged, "asked again"),
        (answer_twice, "twice"),
        (change_the_table_of_labels, "labels.csv"),
        (lose_a_round, "rounds"),
        (change_the_order, "rounds"),
        (change_a_weight, f"weights of {WEIGHTS}"),
        (leave_a_file, "a temporary file"),
    ],
)
def test_a_difference_would_be_seen(
    found: list[dict[str, Any]], out: Path, tmp_path: Path, change: Any, said: str
) -> None:
    whole = out / "warm and best" / "whole"
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    assert list(differences(whole, other)) == []
    change(other)
    assert any(difference.startswith(said) for difference in differences(whole, other))


@pytest.mark.slow
def test_300_kills_and_every_place(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "--variants", "initial", "warm", "best", "--named", "all", "--random", "300")
    check(found, named=200, random=300)


@pytest.mark.slow
def test_every_place_of_runs_of_a_person_who_pauses(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "--variants", "asked", "asked and warm and best", "--named", "all", "--random", "100")
    check(found, named=150, random=100)


@pytest.mark.slow  # some hundred runs
def test_every_place_of_audits_keys_and_told_answers(tmp_path: Path) -> None:
    variants = ["audited program", "keyed program", "told program", "filed program"]
    check(outcomes(tmp_path, "--variants", *variants, "--named", "all", "--random", "60"), named=400, random=60)


@pytest.mark.slow  # some hundred runs of the command line
def test_every_place_of_audits_keys_and_told_answers_on_the_command_line(tmp_path: Path) -> None:
    variants = ["audited", "keyed and audited and warm"]
    check(outcomes(tmp_path, "--variants", *variants, "--named", "all", "--rounds", "3"), named=200, random=0)
