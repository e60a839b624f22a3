"""Oracles, which answer queries, and their registry."""

from lightning_al.oracle.answer import Answer
from lightning_al.oracle.ask import Ask
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.files import Files
from lightning_al.oracle.function import (
    FunctionOracle,
    Labels,
    OracleLike,
    as_oracle,
    enough_of,
    name_of,
    needs_of,
    reveals,
    seconds_to_wait,
)
from lightning_al.oracle.label_studio import LabelStudio
from lightning_al.oracle.noisy import Noisy
from lightning_al.oracle.page import Page
from lightning_al.oracle.progress import Progress
from lightning_al.oracle.query import Query, Truth
from lightning_al.oracle.registry import available_oracles, oracles, register_oracle
from lightning_al.oracle.revealed import Revealed
from lightning_al.oracle.set_aside import Other, Skip, Unusable

__all__ = [
    "Answer",
    "Ask",
    "Correction",
    "Files",
    "FunctionOracle",
    "LabelStudio",
    "Labels",
    "Noisy",
    "Oracle",
    "OracleLike",
    "Other",
    "Page",
    "Progress",
    "Query",
    "Revealed",
    "Skip",
    "Truth",
    "Unusable",
    "as_oracle",
    "available_oracles",
    "enough_of",
    "name_of",
    "needs_of",
    "oracles",
    "register_oracle",
    "reveals",
    "seconds_to_wait",
]
