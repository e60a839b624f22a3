"""Posteriors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_al.registry import Registry

if TYPE_CHECKING:
    from lightning_al.posterior.base import Posterior

posteriors: Registry[Posterior] = Registry("posterior", group="lightning_al.posteriors")

register_posterior = posteriors.register
available_posteriors = posteriors.available
