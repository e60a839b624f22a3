"""Every argument is in the list of what makes a run the same, or in that of what may change, with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.acquisition.registry import acquisitions
from lightning_al.cli.configuration import FREE, MAY_GROW, WITH_FORCE
from lightning_al.oracle import oracles
from lightning_al.posterior import posteriors
from lightning_al.report.settings import METHOD, NEITHER
from lightning_al.run.config import config_of
from lightning_al.run.identity import OF_ACTIVE_LEARNING, OF_DATA, Free, Recorded, described, may_be_forced


def arguments(made: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(made).parameters if name != "self"]


def unlisted(made: Callable[..., Any], listed: Mapping[str, Any]) -> list[str]:
    """What stands in the signature or in the lists, but not in both."""
    return sorted({*arguments(made)} ^ {*listed})


@pytest.mark.parametrize(("made", "listed"), [(ActiveLearning, OF_ACTIVE_LEARNING), (ActiveDataModule, OF_DATA)])
def test_every_argument_is_in_one_of_the_lists(made: Any, listed: Mapping[str, Any]) -> None:
    assert unlisted(made, listed) == [], "put it into a list of lightning_al/run/identity.py"


def test_a_new_argument_in_neither_list_fails() -> None:
    class Newer(ActiveLearning):
        def __init__(self, acquisition: Any, *, temperature: float = 1.0, **arguments: Any) -> None:
            super().__init__(acquisition, **arguments)

    signature = inspect.signature(ActiveLearning)
    added = inspect.signature(Newer).parameters["temperature"]
    Newer.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])  # type: ignore
    assert unlisted(Newer, OF_ACTIVE_LEARNING) == ["temperature"]


def test_what_changes_nothing_has_a_reason() -> None:
    for argument in [*OF_ACTIVE_LEARNING.values(), *OF_DATA.values()]:
        if isinstance(argument, Free):
            assert argument.reason.endswith(".")
            assert len(argument.reason.split()) >= 5


REGISTERED = [(registry, name) for registry in (acquisitions, posteriors) for name in registry.available()]


def unsaid(thing: Any) -> list[str]:
    """The arguments of an object's class that its config says nothing of."""
    return sorted({*arguments(type(thing))} - {*config_of(thing)})


@pytest.mark.parametrize(("registry", "name"), REGISTERED, ids=lambda value: value if isinstance(value, str) else "")
def test_every_argument_of_a_registered_object_is_in_its_config(registry: Any, name: str) -> None:
    assert unsaid(registry.create(name)) == []


def test_an_argument_that_an_object_does_not_keep_fails() -> None:
    class Forgetful:
        def __init__(self, beta: float = 1.0, gamma: float = 1.0) -> None:
            self.beta = beta

    assert unsaid(Forgetful()) == ["gamma"]


def test_of_a_registered_oracle_no_argument_makes_another_run() -> None:
    assert oracles.available() != []
    assert isinstance(OF_ACTIVE_LEARNING["oracle"], Free), "with all that it takes"


def test_what_the_command_line_and_the_report_keep_of_their_own_is_in_the_list() -> None:
    both = {"active": OF_ACTIVE_LEARNING, "pool": OF_DATA}
    for name in (*METHOD, *WITH_FORCE):
        part, _, argument = name.partition(".")
        assert part not in both or isinstance(both[part][argument], Recorded)
    for name in (*NEITHER, *FREE, *MAY_GROW):
        part, _, argument = name.partition(".")
        assert part not in both or isinstance(both[part][argument], Free)


def test_of_other_points_or_labels_nothing_is_forced() -> None:
    for name in ("data.length", "data.labels", "data.classes", "data.members", "initial", "classes.cat"):
        assert not may_be_forced(name)
    for name in ("acquisition", "acquisition.beta", "data.contents", "data.form", "datamodule.seed", "forward.source"):
        assert may_be_forced(name)
    assert not may_be_forced("acquisitions")


def test_a_header_of_before_is_described_by_what_it_has() -> None:
    assert described({"acquisition": "BALD()"}, "acquisition") == "BALD()"
    assert described({"reset": "warm", "text": {}}, "reset") == "warm"
    assert described({}, "reset") is None
