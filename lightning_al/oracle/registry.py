"""Oracles by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_al.registry import Registry

if TYPE_CHECKING:
    from lightning_al.oracle.base import Oracle

oracles: Registry[Oracle] = Registry("oracle", group="lightning_al.oracles")

register_oracle = oracles.register
available_oracles = oracles.available
