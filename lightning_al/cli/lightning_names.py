"""The classes of Lightning that a configuration names, in the package that this process uses.

`pytorch_lightning` and `lightning.pytorch` have the same classes under the same names. A configuration may name either.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.references import mapped, put, values

STORED = "pytorch_lightning"
"""The package that conf/ names."""

EARLIER = "lightning_al._lightning.pl"
"""The package that earlier versions stored."""


def in_this_process(settings: Any) -> dict[str, Any]:
    """Return resolved settings that name each class of Lightning in the package that this process uses.

    >>> in_this_process({"trainer": {"_target_": "lightning.pytorch.Trainer", "devices": 1}})
    {'trainer': {'_target_': 'pytorch_lightning.Trainer', 'devices': 1}}
    """
    from lightning_al.host.namespace import NAMESPACE, NAMESPACES

    def renamed(key_path: Any, value: Any) -> Any:
        return _renamed(value, NAMESPACES, NAMESPACE) if key_path and key_path[-1] == "_target_" else value

    return dict(mapped(settings, renamed))


def rename_earlier(stored: DictConfig) -> None:
    """Change the names that earlier versions stored into those of today."""
    for key_path, value in list(values(OmegaConf.to_container(stored, resolve=False))):
        if key_path[-1] == "_target_" and _renamed(value, (EARLIER,), STORED) != value:
            put(stored, key_path, _renamed(value, (EARLIER,), STORED))


def _renamed(name: Any, packages: tuple[str, ...], package: str) -> Any:
    found = next((one for one in packages if isinstance(name, str) and name.startswith(f"{one}.")), None)
    return name if found is None else package + name.removeprefix(found)
