"""Oracles, which answer queries, and their registry."""

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.function import FunctionOracle, Labels, OracleLike, as_oracle, name_of, reveals
from lightning_al.oracle.query import Query
from lightning_al.oracle.registry import available_oracles, oracles, register_oracle
from lightning_al.oracle.revealed import Revealed

__all__ = [
    "FunctionOracle",
    "Labels",
    "Oracle",
    "OracleLike",
    "Query",
    "Revealed",
    "as_oracle",
    "available_oracles",
    "name_of",
    "oracles",
    "register_oracle",
    "reveals",
]
