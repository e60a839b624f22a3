"""What makes a run the same: every argument, and what another value of it means for an existing run.

The journal, the checkpoints, the ranks, the command line, the sweeps and the report read these lists and have none of
their own. A test fails for any argument of the signatures that is in none of the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """An argument that changes picks or weights: a run keeps the value that it began with.

    Attributes:
        name: Its name, or that of its effect, in the header of a run.
        force: Whether ``force=True`` resumes with another value. With other points, initial labels or meanings of
            labels, the recorded rounds would be wrong.
    """

    name: str
    force: bool = True


@dataclass(frozen=True)
class Free:
    """An argument that may change whenever a run is started again.

    Attributes:
        reason: Why.
        tells_apart: Whether two runs that differ in it may have other results: another oracle gives other labels, even
            though the recorded labels of a run are kept.
        on_every_rank: Whether all ranks must still have the same value.
    """

    reason: str
    tells_apart: bool = False
    on_every_rank: bool = False


OF_ACTIVE_LEARNING: Mapping[str, Recorded | Free] = {
    "acquisition": Recorded("acquisition"),
    "query_size": Recorded("query_size"),
    "budget": Free("It says how far a run goes. What was queried stays.", on_every_rank=True),
    "max_rounds": Free("It says how far a run goes. What was queried stays.", on_every_rank=True),
    "budget_seconds": Free("It says how far a run goes. What was queried stays.", on_every_rank=True),
    "posterior": Recorded("posterior"),
    "task": Recorded("task"),
    "forward": Recorded("forward"),
    "oracle": Free("Who answers may change from day to day. The recorded answers stay.", tells_apart=True),
    "seed": Recorded("seed"),
    "weights": Recorded("weights"),
    "reset": Recorded("reset"),
    "rounds_per_fit": Free("It says who calls the next fit. The fit is the same.", on_every_rank=True),
    "test": Free("It is measured after the query, under its own seed.", tells_apart=True, on_every_rank=True),
    "folder": Free("It says where a run lies. The folder may be moved."),
    "last_layer": Recorded("last_layer"),
    "unscorable": Free(
        "Rounds without such points are the same; a run that `raise` ended resumes with `skip`.",
        tells_apart=True,
        on_every_rank=True,
    ),
    "keep_checkpoints": Free("It says which files are kept."),
    "force": Free("It says what may differ this time."),
}
"""Each argument of `ActiveLearning`."""

OF_DATA: Mapping[str, Recorded | Free] = {
    "data": Recorded("data", force=False),
    "initial_size": Recorded("initial", force=False),
    "balanced": Recorded("initial", force=False),
    "initial": Recorded("initial", force=False),
    "seed": Recorded("datamodule.seed"),
    "target": Recorded("datamodule.target"),
    "pool_dataset": Recorded("data.contents"),
    "samples_per_epoch": Recorded("datamodule.samples_per_epoch"),
    "pool_batch_size": Free("Scores do not depend on the batch size.", on_every_rank=True),
    "classes": Recorded("classes", force=False),
    "target_inputs": Recorded("data.target_inputs"),
    "groups": Recorded("data.groups"),
    "keys": Recorded("data.keyed", force=False),
    "labels": Free("They are recorded as the answers of the initial points.", tells_apart=True),
    "audit": Recorded("datamodule.audit", force=False),
    "pseudo_labels": Recorded("datamodule.pseudo_labels"),
    "features": Recorded("datamodule.features"),
    "cache": Free("It says where features are kept."),
    "inputs": Recorded("datamodule.inputs"),
    "val": Recorded("datamodule.val"),
    "test": Free("It is measured after the query, and nothing follows from it.", tells_apart=True),
    "predict": Free("Nothing of it is used in `trainer.fit`."),
    "batch_size": Recorded("datamodule.batch_size"),
    "num_workers": Free("It says which processes read the items."),
    "collate_fn": Recorded("datamodule.collate_fn"),
    "pin_memory": Free("It says where in memory a batch lies."),
}
"""Each argument of `ActiveDataModule`. For `data`, a header has the length, labels, form and contents."""

GROWS = ("budget", "max_rounds", "budget_seconds")
"""How far a run goes. It may only grow once it is known."""

_BOTH = {"active": OF_ACTIVE_LEARNING, "pool": OF_DATA}
_BY_FORCE = (
    "data.form",
    "datamodule.scale",
    *(one.name for part in _BOTH.values() for one in part.values() if isinstance(one, Recorded) and one.force),
)


def may_be_forced(name: str) -> bool:
    """Return whether ``force=True`` resumes with another value of this entry of a header.

    >>> may_be_forced("acquisition.num_configurations"), may_be_forced("data.labels")
    (True, False)
    """
    return any(f"{name}.".startswith(f"{forced}.") for forced in _BY_FORCE)


def forced_settings() -> tuple[str, ...]:
    """Return the settings of a configuration that ``force=True`` may change, by their dotted names."""
    return _settings(lambda one: isinstance(one, Recorded) and one.force)


def free_settings() -> tuple[str, ...]:
    """Return the settings that may change whenever a run is started again."""
    return _settings(lambda one: isinstance(one, Free))


def indifferent_settings() -> tuple[str, ...]:
    """Return the settings in which two runs may differ and still have the same results.

    >>> "active.keep_checkpoints" in indifferent_settings(), "active.oracle" in indifferent_settings()
    (True, False)
    """
    return _settings(lambda one: isinstance(one, Free) and not one.tells_apart)


def described(header: Mapping[str, Any], name: str) -> Any:
    """Return an object of a header in the form that people read.

    >>> described({"acquisition": {"class": "lightning_al.BALD"}, "text": {"acquisition": "BALD()"}}, "acquisition")
    'BALD()'
    """
    texts = header.get("text")
    return texts[name] if isinstance(texts, Mapping) and name in texts else header.get(name)


def _settings(fits: Callable[[Recorded | Free], bool]) -> tuple[str, ...]:
    return tuple(f"{part}.{name}" for part, arguments in _BOTH.items() for name, one in arguments.items() if fits(one))
