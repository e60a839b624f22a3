"""Sizes of the model that follow from the data, such as the number of classes."""

from __future__ import annotations

from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.references import KeyPath, dotted, mapped, values

SIZES = ("num_classes", "num_inputs")
"""Arguments of a model or network that are read from the data where they are null."""


def with_sizes(config: DictConfig, data: Any) -> DictConfig:
    """Return a configuration in which the sizes of the model are those of the data, where they are null.

    Args:
        config: The configuration, with all references resolved.
        data: The data. Their LightningDataModule has the sizes as attributes; None stays null.

    Raises:
        ConfigCompositionException: If the data do not say a size, or say one that the given one does not fit.
    """
    wrapped = getattr(data, "wrapped", data)

    def put_size(key_path: KeyPath, value: Any) -> Any:
        name = str(key_path[-1])
        if name not in SIZES:
            return value
        if value is not None:
            _check_size(f"model.{dotted(key_path)}", value, name, wrapped)
            return value
        if not hasattr(wrapped, name):
            raise ConfigCompositionException(
                f"lightning-al: `model.{dotted(key_path)}` is null, but `{type(wrapped).__name__}` has no attribute "
                f"`{name}`. Give {_with_its_setting(name, plain)}"
            )
        return getattr(wrapped, name)

    plain: Any = OmegaConf.to_container(config)
    filled = OmegaConf.create({**plain, "model": mapped(plain["model"], put_size)})
    assert isinstance(filled, DictConfig)
    return filled


def _with_its_setting(name: str, plain: Any) -> str:
    """Return what a size is and how to give it: at the outermost place without one, to which others may refer."""
    places = [key_path for key_path, value in values(plain["model"]) if key_path[-1] == name and value is None]
    setting = f"model.{dotted(min(places, key=len))}"
    if name == "num_inputs":
        return (
            f"the length of an input vector by {setting}=LENGTH. If inputs are no vectors, choose another model: "
            "model=image takes images, and model=text takes texts."
        )
    return f"it by {setting}={len(plain.get('pool', {}).get('classes') or ()) or 'NUMBER'}."


def _check_size(setting: str, value: Any, name: str, wrapped: Any) -> None:
    """Check a size that is given: there may be more outputs than classes, but not fewer."""
    there = getattr(wrapped, name, None)
    if type(value) is not int or type(there) is not int or value == there:
        return
    if name != "num_classes" or value < there:
        raise ConfigCompositionException(
            f"lightning-al: `{setting}` is {value}, which does not fit the {there} of the data. Remove it."
        )
