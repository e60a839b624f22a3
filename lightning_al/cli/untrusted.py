"""What a configuration stored in a run's folder may not set, since someone else may have written it.

It may name places to read data from. It may not name an address, a place outside the folder to write to, or anything
that is looked up by name on the machine that resumes the run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.allowed_names import ALLOWED
from lightning_al.cli.arguments import arguments_of, parameters_of
from lightning_al.cli.references import KeyPath
from lightning_al.registry import Registry

TO_WRITE = frozenset(
    ("artifact_location", "cache", "default_root_dir", "dirpath", "log_dir", "output_dir", "save_dir", "tracking_uri")
)
"""Arguments that are places to write to, also when relative."""

NEEDED = {
    "Trainer": ("default_root_dir",),
    "MLFlowLogger": ("artifact_location", "tracking_uri"),
    "WandbLogger": ("offline", "save_dir"),
    "TextEncoder": ("model",),
    "TimmEncoder": ("pretrained",),
}
"""Arguments without which a class writes into the current folder, uploads what it logs, or downloads."""

NOT_STORED = {
    "Trainer": frozenset(("model_registry", "plugins", "profiler")),
    "DDPStrategy": frozenset(("accelerator", "checkpoint_io", "cluster_environment", "precision_plugin")),
    "MLFlowLogger": frozenset(("log_model",)),
}
"""Optional arguments that lead to code or models by name, or to a place.

MLflow copies models to where its database says, and the database is in the folder.
"""

ONLY_STORED = {
    "WandbLogger": frozenset(
        ("group", "job_type", "log_model", "name", "notes", "offline", "prefix", "project", "save_dir", "tags")
    )
}
"""For classes that pass their arguments on, all arguments that may be stored. W&B's others name servers and files."""

FETCHES = "fetches files"
"""The claim that can be ignored: without it, nothing is downloaded."""

LISTED_PACKAGES = frozenset(module.split(".")[0] for module in ALLOWED)
"""The packages with classes on the list."""

_ADDRESS = re.compile(r"://|::|^[A-Za-z][\w+.-]+:[/\\]")
_VARIABLE = re.compile(r"\$[\w{(]")
_SLASH = re.compile(r"[/\\]")
_FIELD = re.compile(
    r"""\{
        (?!0[:}])                                   # by which Lightning passes all metrics
        (?!(?:[^{}:]*/)?\.\.?[/:}])                 # a parent folder
        [\w.-]+ (?:/[\w.-]+)*                       # a metric, as Lightning names them
        (?: : 0? \d{0,3} (?:\.\d{1,3})? [dfeg]? )? # a number as a number
    \}""",
    re.VERBOSE,
)
"""A metric in a file name. Other formats can turn a number into any text, `..` included."""


class Claims:
    """Find the settings of a stored configuration that only the user may set.

    Args:
        folder: The run's folder.
        allowed: The list that every name in the settings has passed.
    """

    def __init__(self, folder: Path, allowed: AllowList) -> None:
        self.folder = folder.resolve()
        self.allowed = allowed

    def find(self, settings: Any) -> Iterator[tuple[KeyPath, str]]:
        """Yield the key path of each such setting, or of the argument that a node lacks, and what is wrong with it."""
        yield from self._of(settings, (), None, "")

    def _of(self, value: Any, key_path: KeyPath, owner: Any, name: str) -> Iterator[tuple[KeyPath, str]]:
        """Look through a value that is passed to an owner under a name."""
        if isinstance(value, Mapping) and "_target_" in value:
            yield from self._of_node(value, key_path)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                yield from self._of(
                    part, (*key_path, key), owner, str(key) if owner is None or key in TO_WRITE else name
                )
        elif isinstance(value, list | tuple):
            for place, part in enumerate(value):
                yield from self._of(part, (*key_path, place), owner, name)
        else:
            why = self._why(value, owner, name)
            if why:
                yield key_path, why

    def _of_node(self, node: Mapping[str, Any], key_path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        made = self.allowed.find(node["_target_"])
        bases = [base.__name__ for base in getattr(made, "__mro__", ())]
        arguments = dict(arguments_of(node, made))
        for needed in (name for base in bases for name in NEEDED.get(base, ())):
            if not any(name == needed and value is not None for name, value in arguments.values()):
                yield (*key_path, needed), "is left out, so this machine would choose it"
        fetches = _default(made, "download") and not any(name == "download" for name, _ in arguments.values())
        if fetches:
            yield (*key_path, "download"), FETCHES
        if node.get("_partial_") and not TO_WRITE.isdisjoint(parameters_of(made)):
            yield (*key_path, "_partial_"), "leaves places to write to open"
        for place, (name, value) in arguments.items():
            refused = any(name in NOT_STORED.get(base, ()) for base in bases)
            refused |= any(base in ONLY_STORED and name not in ONLY_STORED[base] for base in bases)
            if refused and value is not None and value is not False:
                yield (*key_path, *place), "leads to what is not in the folder"
            else:
                yield from self._of(value, (*key_path, *place), made, name)

    def _why(self, value: Any, owner: Any, name: str) -> str | None:
        bases = [base.__name__ for base in getattr(owner, "__mro__", ())]
        if "WandbLogger" in bases and name == "offline":
            return None if value is True else "sends what is logged over the network"
        if name == "download":
            return FETCHES if value else None
        if ("TimmEncoder" in bases and name == "pretrained" and value is not False) or (
            isinstance(value, str)
            and (("TextEncoder" in bases and name == "model") or ("ActiveDataModule" in bases and name == "features"))
        ):
            return "is downloaded, or read from this machine"
        if value is None or isinstance(value, bool | int | float):
            return None
        if not isinstance(value, str | os.PathLike):
            return "is no plain value"
        text = os.fspath(value)
        if not isinstance(text, str):
            return "is no plain value"
        if "ActiveDataModule" in bases and name == "initial":
            return None if _is_own("acquisition", text) else "is looked up among the packages of this machine"
        if {"ActiveLearning", "Wrapper"} & {*bases} and name in ("acquisition", "posterior", "oracle"):
            return None if _is_own(name, text) else "is looked up among the packages of this machine"
        if name == "tracking_uri" and text.startswith("sqlite:///") and "?" not in text:
            text = text.removeprefix("sqlite:///")
        if name == "weights" and text == "default":
            return "is downloaded"
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
        """Return whether a place is in the run's folder after following every link."""
        return "~" not in text[:1] and "\0" not in text and Path(text).resolve().is_relative_to(self.folder)

    def _is_read(self, owner: Any, name: str) -> bool:
        """Return whether a place is only read: a dataset's root, or an argument of a class that the user allows."""
        home = str(getattr(owner, "__module__", ""))
        if home.startswith("lightning_al.data."):
            return name in ("root", "path", "val", "test")
        if home.startswith(("torchvision.datasets.", "lightning_al.demos.")):
            return name == "root"
        return owner is not None and home.split(".")[0] not in LISTED_PACKAGES


def _default(made: Any, name: str) -> Any:
    found = parameters_of(made).get(name)
    return None if found is None or found.default is found.empty else found.default


def _is_own(kind: str, name: str) -> bool:
    from lightning_al.acquisition.registry import acquisitions
    from lightning_al.oracle import oracles
    from lightning_al.posterior import posteriors

    registries: dict[str, Registry[Any]] = {"acquisition": acquisitions, "posterior": posteriors, "oracle": oracles}
    return registries[kind].is_own(name)
