"""Stored configurations that are broken or absurd are refused in one line, at once."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import yaml
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from lightning_al.cli.configuration import as_stored, read_config, resolve_allowed
from tests.cli.test_cli import TINY
from tests.support.commands import refusal
from tests.support.stored import composed

LAUGHS = {f"a{place}": f"${{model.c.a{place + 1}}}" * 2 for place in range(60)} | {"a60": ""}
LONG = {f"a{place}": f"${{model.c.a{place + 1}}}" for place in range(3_000)} | {"a3000": 1}

BROKEN: dict[str, tuple[str, Any, str]] = {
    "nowhere": ("name", "${nope}", "Interpolation key 'nope' not found"),
    "itself": ("name", "${name}", "`name` refers to itself. Write the value itself"),
    "a circle": ("name", "${model.name}", "refers to itself"),
    "its own part": ("model.x", "${model}", "`model` refers to itself"),
    "laughs": ("model.c", LAUGHS, "becomes too large when its references are resolved. Write out"),
    "a long chain": ("model.c", LONG, "not the configuration of a run"),
    "nested": ("name", "${" * 5_000 + "a" + "}" * 5_000, "a text with references that is too long to be parsed"),
    "not closed": ("name", "${", "no viable alternative at input"),
    "no value": ("model.lr", "???", "it has no value for model.lr"),
    "no folder": ("name", "${folder}", "Missing mandatory value: folder"),
    "pool": ("pool", 3, "`pool` is 3, but a class and its arguments are expected. Give one"),
    "callbacks": ("callbacks", "abc", "`callbacks` is 'abc', but named classes are expected. Give"),
    "seed": ("seed", "abc", "`seed` is 'abc', which has the wrong type. Set it to a whole number"),
    "metric": ("metric", [1], "`metric` is [1], which has the wrong type"),
    "no threads": ("threads", 0, "`threads` is 0, which is less than 1. Set it to 1 or null"),
    "threads": ("threads", 10**9, "`threads` is 1e+09, which no machine can do. Set it to 1024 or less"),
    "devices": ("trainer.devices", 10**9, "which no machine can do"),
    "devices in words": ("trainer.devices", "1000000000", "which no machine can do"),
    "nodes": ("trainer.num_nodes", 10**9, "which no machine can do"),
    "samples": ("pool.samples_per_epoch", 10**15, "which no machine can do"),
    "workers": ("data.num_workers", 10**7, "which no machine can do"),
    "a query": ("active.query_size", 10**30, "has a number as large as"),
    "a width": (
        "callbacks.c",
        {"filename": "{epoch:0999999999d}"},
        "`callbacks.c.filename` asks for thousands of digits: {epoch:0999999999d}. Give it a smaller width",
    ),
    "a name": ("name", "x" * 900, "`name` has 900 characters. Set it to a text of 500 or fewer"),
}


@cache
def of_any_run() -> Any:
    return OmegaConf.to_container(as_stored(composed(Path("nowhere"))), resolve=False)


def stored(name: str, value: Any) -> dict[str, Any]:
    plain = copy.deepcopy(of_any_run())
    *owners, last = name.split(".")
    owner = plain
    for key in owners:
        owner = owner[key]
    owner[last] = value
    if value == "${model.name}":
        plain["model"]["name"] = "${name}"
    return plain


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_setting_is_refused_in_a_line(tmp_path: Path, case: str) -> None:
    name, value, said = BROKEN[case]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored(name, value), sort_keys=False))
    begun = monotonic()
    with pytest.raises(ConfigCompositionException, match="is not the configuration of a run: ") as found:
        read_config(tmp_path)
    assert monotonic() - begun < 20
    assert said in str(found.value)
    assert len(str(found.value).splitlines()) == 1
    assert found.value.__cause__ is None, "Hydra prints a cause of OmegaConf's in further lines"


@pytest.mark.parametrize(
    "content",
    [
        b"seed: 0\nseed: 1\n",
        b"pool:\n\ta: 1\n",
        b"name: \xff\n",
        b"\0",
        b"a: &a 1\nb: *a\n",
        b"? [1]\n: 2\n",
        b"null: 1\n",
    ],
)
def test_a_broken_file_is_refused_in_a_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigCompositionException, match="is not the configuration of a run: ") as found:
        read_config(tmp_path)
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize(
    "typed", ["trainer.devices=1000000000", "threads=1000000000", "seed=abc", "+data.num_workers=1000000"]
)
def test_what_is_typed_is_held_to_the_same(tmp_path: Path, typed: str) -> None:
    with pytest.raises(ConfigCompositionException, match=r"which (no machine|has the wrong)"):
        resolve_allowed(composed(tmp_path, typed), (), tmp_path)


@pytest.mark.parametrize(
    ("typed", "phrase"),
    [
        ("name=${nope}", "Check what the settings refer to, and their types."),
        ("model.lr=???", "`model.lr` has no value yet. Give one, as in model.lr=VALUE."),
    ],
)
def test_a_typed_reference_to_nothing_is_an_error_of_one_line(
    as_before, tmp_path: Path, typed: str, phrase: str
) -> None:
    said = refusal(tmp_path, *TINY, typed)
    assert phrase in said
    assert len(said.splitlines()) == 1


def test_a_typed_reference_to_nothing_is_refused_in_a_line(refused, tmp_path: Path) -> None:
    said = refused(*TINY, f"folder={tmp_path / 'run'}", "+model.x=${nope}")
    assert "Check what the settings refer to, and their types." in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.strip()]) == 1


def test_the_own_configuration_is_none_of_these(tmp_path: Path) -> None:
    OmegaConf.save(as_stored(composed(tmp_path, "logger=[csv,tensorboard,wandb,mlflow]")), tmp_path / "config.yaml")
    assert read_config(tmp_path) is not None


def test_a_command_is_not_tried_out_in_its_folder(tmp_path: Path) -> None:
    said = refusal(tmp_path, *TINY, "+trainer.fast_dev_run=true")
    assert "`trainer.fast_dev_run` only tries one out" in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
