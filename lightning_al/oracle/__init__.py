"""Who answers."""

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.function import FunctionOracle, Labels, OracleLike, as_oracle, name_of
from lightning_al.oracle.query import Query
from lightning_al.oracle.revealed import Revealed
from lightning_al.registry import Registry

oracles: Registry[Oracle] = Registry("oracle")
oracles.register("revealed")(Revealed)

__all__ = ["FunctionOracle", "Labels", "Oracle", "OracleLike", "Query", "Revealed", "as_oracle", "name_of", "oracles"]
