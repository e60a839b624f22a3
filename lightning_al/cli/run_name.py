"""The name of a run in a comparison: by default that of its acquisition function."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


def put_name(config: DictConfig) -> None:
    """Name a run after ``active.acquisition=NAME``, where that is used in place of ``acquisition=NAME``.

    A name of the user's own stays.

    Args:
        config: The configuration of this command. References to Hydra's values are replaced.
    """
    named = OmegaConf.select(config, "active.acquisition", throw_on_missing=False)
    if isinstance(named, str) and config.name == HydraConfig.get().runtime.choices.get("acquisition"):
        config.name = named
