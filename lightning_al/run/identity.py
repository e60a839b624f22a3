"""What makes a run the same: every argument, and what another value of it means for a run that is there.

The journal, the checkpoints, the ranks, the command line, the sweeps and the report read these lists and have none of
their own. A test walks the signatures: an argument that stands in none of the lists fails it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """An argument that changes picks or weights: a run has the one that it began with.

    Attributes:
        name: By what name the header of a run has it, or what it leads to.
        force: Whether ``force=True`` resumes with another one. Of other points, initial labels or meanings of the
            recorded labels, the recorded rounds would be false.
    """

    name: str
    force: bool = True


@dataclass(frozen=True)
class Free:
    """An argument that a run may have otherwise whenever it is started again.

    Attributes:
        reason: Why.
        tells_apart: Whether two runs that differ in it may have other results: another oracle gives other labels, even
            though those that a run recorded stay as they are.
        on_every_rank: Whether all ranks must have the same all the same.
    """

    reason: str
    tells_apart: bool = False
    on_every_rank: bool = False


OF_ACTIVE_LEARNING: Mapping[str, Recorded | Free] = {
    "acquisition": Recorded("acquisition"),
    "query_size": Recorded("query_size"),
    "budget": Free("It says how far a run goes. What was queried stays.", on_every_rank=True),
    "max_rounds": Free("It says how far a run goes. What was queried stays.", on_every_rank=True),
    "posterior": Recorded("posterior"),
    "task": Recorded("task"),
    "forward": Recorded("forward"),
    "oracle": Free("Who answers may change from day to day. The recorded answers stay.", tells_apart=True),
    "seed": Recorded("seed"),
    "weights": Recorded("weights"),
    "reset": Recorded("reset"),
    "rounds_per_fit": Free("It says who calls the next fit, which is the same.", on_every_rank=True),
    "test": Free("It is measured after the query, under a seed of its own.", tells_apart=True, on_every_rank=True),
    "folder": Free("It says where a run lies, which may be moved."),
    "last_layer": Recorded("last_layer"),
    "unscorable": Free(
        "Rounds without such points are the same; a run that `raise` ended resumes with `skip`.",
        tells_apart=True,
        on_every_rank=True,
    ),
    "keep_checkpoints": Free("It says which files stay."),
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
    "val": Recorded("datamodule.val"),
    "test": Free("It is measured after the query, and nothing follows from it.", tells_apart=True),
    "predict": Free("Nothing of it is used in `trainer.fit`."),
    "batch_size": Recorded("datamodule.batch_size"),
    "num_workers": Free("It says which processes read the items."),
    "collate_fn": Recorded("datamodule.collate_fn"),
    "pin_memory": Free("It says where in memory a batch lies."),
}
"""Each argument of `ActiveDataModule`. Of `data`, a header has the length, labels, form and contents."""

GROWS = ("budget", "max_rounds")
"""How far a run goes, which may only become further once it is known."""

_BOTH = {"active": OF_ACTIVE_LEARNING, "pool": OF_DATA}
_BY_FORCE = (
    "data.form",
    *(one.name for part in _BOTH.values() for one in part.values() if isinstance(one, Recorded) and one.force),
)


def may_be_forced(name: str) -> bool:
    """Return whether ``force=True`` resumes with another value of what a header has by that name.

    >>> may_be_forced("acquisition.num_configurations"), may_be_forced("data.labels")
    (True, False)
    """
    return any(f"{name}.".startswith(f"{forced}.") for forced in _BY_FORCE)


def forced_settings() -> tuple[str, ...]:
    """Return the settings of a configuration that ``force=True`` may change, by their dotted names."""
    return _settings(lambda one: isinstance(one, Recorded) and one.force)


def free_settings() -> tuple[str, ...]:
    """Return the settings that may be others whenever a run is started again."""
    return _settings(lambda one: isinstance(one, Free))


def indifferent_settings() -> tuple[str, ...]:
    """Return the settings that two runs may have otherwise and yet have the same results.

    >>> "active.keep_checkpoints" in indifferent_settings(), "active.oracle" in indifferent_settings()
    (True, False)
    """
    return _settings(lambda one: isinstance(one, Free) and not one.tells_apart)


def described(header: Mapping[str, Any], name: str) -> Any:
    """Return an object that a header has, as people read it.

    >>> described({"acquisition": {"class": "lightning_al.BALD"}, "text": {"acquisition": "BALD()"}}, "acquisition")
    'BALD()'
    """
    texts = header.get("text")
    return texts[name] if isinstance(texts, Mapping) and name in texts else header.get(name)


def _settings(fits: Callable[[Recorded | Free], bool]) -> tuple[str, ...]:
    return tuple(f"{part}.{name}" for part, arguments in _BOTH.items() for name, one in arguments.items() if fits(one))
