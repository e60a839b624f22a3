"""Whether a run may go on: what it was begun with, held against what it would go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightning_al._lightning import rank_zero_warn
from lightning_al.fingerprint import labels_agree
from lightning_al.weights import non_persistent_buffers, whole_state_dict

WITH_FORCE = (
    "acquisition",
    "posterior",
    "last_layer",
    "query_size",
    "seed",
    "reset",
    "data.form",
    "data.contents",
)
"""What a user may change from here on. Of other points or other initial labels, the recorded rounds would be false."""


def check_same_run(place: str, before: Mapping[str, Any], now: Mapping[str, Any], *, force: bool) -> None:
    """Refuse to go on with another run, or, where that is sane and asked for, warn.

    Args:
        place: Where the run is kept, as an error should say it.
        before: What the run was begun with, nested at will.
        now: What it would go on with.
        force: Whether to go on in spite of what a user may change.

    Raises:
        ValueError: If they differ; the message says in what, and what to do.
    """
    there, here = _flat(before), _flat(json.loads(json.dumps(now)))
    differing = [name for name, value in here.items() if there.get(name) != value]
    # Contents are not known under random augmentation.
    if None in (there.get("data.contents"), here.get("data.contents")):
        differing = [name for name in differing if name != "data.contents"]
        if "data.labels" in differing and labels_agree(before.get("data", {}), now["data"]):
            differing = [name for name in differing if name not in ("data.labels", "data.classes")]
    if not differing:
        return
    differences = "; ".join(f"`{name}` {_difference(there.get(name), here[name])}" for name in differing)
    fixed = [name for name in differing if name not in WITH_FORCE]
    if force and not fixed:
        rank_zero_warn(f"`ActiveLearning(force=True)` goes on with another run. {place}: {differences}.")
        return
    remedy = (
        f"`force=True` is of no use where {', '.join(fixed)} differ, since the recorded rounds were of other points."
        if fixed
        else "Pass `force=True` to go on in spite of it, from here on otherwise."
    )
    raise ValueError(
        f"{place} holds another run: its {', '.join(differing)} differ. {differences}. Start with what the run began "
        f"with, or leave it and begin another. {remedy}"
    )


def check_same_weights(
    place: str, saved: Mapping[str, Tensor], module: nn.Module, remedy: str = "choose another folder"
) -> None:
    """Refuse saved weights that are not those of the module by name and shape.

    Buffers that the module's `state_dict` leaves out need not be among them: lightning_al 0.1.0 did not save these.

    Args:
        place: Where the weights are, for the error.
        saved: The weights.
        module: The module to load them into.
        remedy: What else can be done than to make the module as it was.

    Raises:
        ValueError: If they differ; the message names the first that does.
    """
    others = dict(non_persistent_buffers(module))
    there = {name: _shape(value) for name, value in saved.items() if name not in others}
    here = {name: _shape(value) for name, value in whole_state_dict(module).items()}
    differing = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differing:
        name = differing[0]
        raise ValueError(
            f"The weights in {place} are not those of `{type(module).__name__}`: {len(differing)} differ. The shape of "
            f"`{name}` is {there.get(name, 'none')} there and {here.get(name, 'none')} here. Make the model as the run "
            f"began with, or {remedy}."
        )


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def _difference(there: Any, here: Any) -> str:
    said = f"is {_shorten(there)} there and {_shorten(here)} here"
    if isinstance(there, list) and isinstance(here, list):
        same = [one == other for one, other in zip(there, here, strict=False)]
        said += f", from place {same.index(False) if False in same else len(same)} on"
    return said


def _shorten(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
