"""The classes of a run, which may have been changed since its settings were stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.references import KeyPath, mapped
from lightning_al.cli.sizes import SIZES


def with_recorded_classes(stored: DictConfig, folder: Path) -> DictConfig:
    """Return the stored settings with the classes that the journal has, and a model of as many outputs.

    Args:
        stored: The settings as they are stored.
        folder: The run's folder.
    """
    from lightning_al.run.journal import Journal
    from lightning_al.task.class_names import Classes

    try:
        header: dict[str, Any] = Journal.read(folder).header or {}
    except FileNotFoundError:
        return stored
    recorded = header.get("classes") or {}
    if not recorded.get("changed"):
        return stored
    names = list(Classes.from_dict(recorded).names.values())
    raw: Any = OmegaConf.to_container(stored, resolve=False)
    owner = raw["data"] if "classes" in raw["data"] else raw["pool"]
    before, owner["classes"] = owner.get("classes"), names

    def put_size(key_path: KeyPath, value: Any) -> Any:
        is_number = key_path[-1] == SIZES[0] and isinstance(value, int) and isinstance(before, list)
        return len(names) if is_number and value == len(before) else value

    changed = OmegaConf.create({**raw, "model": mapped(raw["model"], put_size)})
    assert isinstance(changed, DictConfig)
    return changed
