"""What the configuration in a run's folder may not say by itself, since somebody else may have written it.

It may name places to read data from. It may not name a place outside the folder to write to, an address, or anything
that is looked up by name on the machine that goes on with the run.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.allowed_names import ALLOWED
from lightning_al.cli.references import Way, at
from lightning_al.registry import Registry

TO_WRITE = frozenset(
    ("artifact_location", "default_root_dir", "dirpath", "log_dir", "output_dir", "save_dir", "tracking_uri")
)
"""Arguments that are places to write to, relative ones too."""

NEEDED = {
    "Trainer": ("default_root_dir",),
    "MLFlowLogger": ("artifact_location", "tracking_uri"),
    "WandbLogger": ("offline", "save_dir"),
}
"""Arguments without which a class writes into the current folder, or sends what it logs."""

NOT_STORED = {
    "Trainer": frozenset(("model_registry", "plugins", "profiler")),
    "DDPStrategy": frozenset(("accelerator", "checkpoint_io", "cluster_environment", "precision_plugin")),
    "MLFlowLogger": frozenset(("log_model",)),
}
"""Arguments that a run can do without, and that lead to code or models by name, or to a place.

MLflow copies models to where its database says, and the database lies in the folder.
"""

ONLY_STORED = {
    "WandbLogger": frozenset(
        ("group", "job_type", "log_model", "name", "notes", "offline", "prefix", "project", "save_dir", "tags")
    )
}
"""Of classes that pass on what they are given, all that may be stored. W&B's others name servers and files."""

FETCHES = "fetches files"
"""Of what a folder claims, what can be left out."""

LISTED_PACKAGES = frozenset(module.split(".")[0] for module in ALLOWED)
"""The packages whose classes a configuration may name by itself."""

_ADDRESS = re.compile(r"://|::|^[A-Za-z][\w+.-]+:[/\\]")
_VARIABLE = re.compile(r"\$[\w{(]")
_SLASH = re.compile(r"[/\\]")
_FIELD = re.compile(
    r"""\{
        (?!0[:}])                                   # by which Lightning has all metrics
        (?!(?:[^{}:]*/)?\.\.?[/:}])                 # a way up
        [\w.-]+ (?:/[\w.-]+)*                       # a metric, as Lightning names them
        (?: : 0? \d{0,3} (?:\.\d{1,3})? [dfeg]? )? # a number as a number
    \}""",
    re.VERBOSE,
)
"""A metric in the name of a file. Other formats make other text of a number, a way up among it."""


class Claims:
    """Find what a run's folder claims that only the user may say.

    Args:
        folder: The run's folder.
        allowed: What may be made; everything in the settings has passed it.
    """

    def __init__(self, folder: Path, allowed: AllowList) -> None:
        self.folder = folder.resolve()
        self.allowed = allowed

    def find(self, settings: Any) -> Iterator[tuple[Way, str]]:
        """Yield the way to each such setting, of a node for what it lacks, and what is wrong with it."""
        yield from self._of(settings, (), None, "")

    def _of(self, value: Any, way: Way, owner: Any, name: str) -> Iterator[tuple[Way, str]]:
        """Look through a value that an owner is to be made with under a name."""
        if isinstance(value, Mapping) and "_target_" in value:
            yield from self._of_node(value, way)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                yield from self._of(part, (*way, key), owner, str(key) if owner is None or key in TO_WRITE else name)
        elif isinstance(value, list | tuple):
            for place, part in enumerate(value):
                yield from self._of(part, (*way, place), owner, name)
        else:
            why = self._why(value, owner, name)
            if why:
                yield way, why

    def _of_node(self, node: Mapping[str, Any], way: Way) -> Iterator[tuple[Way, str]]:
        made = self.allowed.find(node["_target_"])
        bases = [base.__name__ for base in getattr(made, "__mro__", ())]
        arguments = dict(arguments_of(node, made))
        for needed in (name for base in bases for name in NEEDED.get(base, ())):
            if not any(name == needed and value is not None for name, value in arguments.values()):
                yield (*way, needed), "is left out, so that this machine would choose it"
        fetches = _default(made, "download") and not any(name == "download" for name, _ in arguments.values())
        if fetches:
            yield (*way, "download"), FETCHES
        if node.get("_partial_") and not TO_WRITE.isdisjoint(parameters_of(made)):
            yield (*way, "_partial_"), "leaves places to write to open"
        for place, (name, value) in arguments.items():
            refused = any(name in NOT_STORED.get(base, ()) for base in bases)
            refused |= any(base in ONLY_STORED and name not in ONLY_STORED[base] for base in bases)
            if refused and value is not None and value is not False:
                yield (*way, *place), "leads to what is not in the folder"
            else:
                yield from self._of(value, (*way, *place), made, name)

    def _why(self, value: Any, owner: Any, name: str) -> str | None:
        bases = [base.__name__ for base in getattr(owner, "__mro__", ())]
        if "WandbLogger" in bases and name == "offline":
            return None if value is True else "sends what is logged over the network"
        if name == "download":
            return FETCHES if value else None
        if value is None or isinstance(value, bool | int | float):
            return None
        if not isinstance(value, str | os.PathLike):
            return "is no plain value"
        text = os.fspath(value)
        if not isinstance(text, str):
            return "is no plain value"
        if "ActiveLearning" in bases and name in ("acquisition", "posterior", "oracle"):
            return None if _is_own(name, text) else "is looked up among the packages of this machine"
        if name == "tracking_uri" and text.startswith("sqlite:///") and "?" not in text:
            text = text.removeprefix("sqlite:///")
        if _ADDRESS.search(text):
            return "is an address"
        if _VARIABLE.search(text):
            return "reads the environment"
        if name == "filename" and re.search("[{}]", _FIELD.sub("", text)):
            return "reads more than a metric into the name of a file"
        if name in TO_WRITE:
            return None if self._is_inside(text) else "is a place outside the run's folder to write to"
        is_place = _SLASH.match(text) or text.startswith("~") or ".." in _SLASH.split(text) or re.match(r"\w:", text)
        if is_place and not self._is_inside(text) and not self._is_read(owner, name):
            return "is a place outside the run's folder"
        return None

    def _is_inside(self, text: str) -> bool:
        """Return whether a place lies in the run's folder, with every link followed."""
        return "~" not in text[:1] and "\0" not in text and Path(text).resolve().is_relative_to(self.folder)

    def _is_read(self, owner: Any, name: str) -> bool:
        """Return whether a place is one to read: the root of a dataset, or what a class that the user allows takes."""
        home = str(getattr(owner, "__module__", ""))
        if home.startswith(("torchvision.datasets.", "lightning_al.demos.")):
            return name == "root"
        return owner is not None and home.split(".")[0] not in LISTED_PACKAGES


def argument_at(settings: Any, way: Way, allowed: AllowList) -> tuple[Any, str]:
    """Return what the innermost node on a way makes, and the name of the argument that the way leads into.

    Of what lies in no node, these are None and an empty text.
    """
    for length in range(len(way) - 1, -1, -1):
        node = at(settings, way[:length])
        if isinstance(node, Mapping) and "_target_" in node:
            made, rest = allowed.find(node["_target_"]), way[length:]
            names = (name for place, (name, _) in arguments_of(node, made) if rest[: len(place)] == place)
            return made, next(names, "")
    return None, ""


def arguments_of(node: Mapping[str, Any], made: Any) -> Iterator[tuple[Way, tuple[str, Any]]]:
    """Yield the way to each argument of a node with its name, those given by their place too, and its value."""
    parameters = list(parameters_of(made))
    given = node.get("_args_")
    for place, value in enumerate(given if isinstance(given, list | tuple) else ()):
        yield ("_args_", place), (parameters[place] if place < len(parameters) else "", value)
    for name, value in node.items():
        if name not in ("_target_", "_args_", "_partial_", "_recursive_", "_convert_"):
            yield (name,), (str(name), value)


def parameters_of(made: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function by their names, or none where Python does not know them."""
    try:
        return inspect.signature(made).parameters
    except (TypeError, ValueError):
        return {}


def _default(made: Any, name: str) -> Any:
    found = parameters_of(made).get(name)
    return None if found is None or found.default is found.empty else found.default


def _is_own(kind: str, name: str) -> bool:
    from lightning_al.acquisition.registry import acquisitions
    from lightning_al.oracle import oracles
    from lightning_al.posterior import posteriors

    registries: dict[str, Registry[Any]] = {"acquisition": acquisitions, "posterior": posteriors, "oracle": oracles}
    return registries[kind].is_own(name)
