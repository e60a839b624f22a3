"""Who answers."""

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.revealed import Revealed
from lightning_al.registry import Registry

oracles: Registry[Oracle] = Registry("oracle")
oracles.register("revealed")(Revealed)

__all__ = ["Oracle", "Revealed", "oracles"]
