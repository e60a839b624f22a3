"""Whether a run may go on: what it was begun with, held against what it would go on with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lightning_al.run.identity import described, may_be_forced
from lightning_al.run.weights import non_persistent_buffers, whole_state_dict
from lightning_al.values.whole_numbers import shown


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
    here = json.loads(json.dumps(now))
    found = list(_differences(before, here))
    # Contents are not known under random augmentation.
    if None in (_contents(before), _contents(here)) and labels_agree(before.get("data", {}), here.get("data", {})):
        found = [one for one in found if one[0] not in ("data.labels", "data.classes")]
    if not found:
        return
    names = ", ".join(name for name, _, _ in found)
    differences = "; ".join(f"`{name}` {_difference(there, here)}" for name, there, here in found)
    fixed = [name for name, _, _ in found if not may_be_forced(name)]
    if force and not fixed:
        rank_zero_warn(f"`ActiveLearning(force=True)` goes on with another run. {place}: {differences}.")
        return
    remedy = (
        f"`force=True` is of no use where {', '.join(fixed)} differ, since the recorded rounds were of other points."
        if fixed
        else "Pass `force=True` to go on in spite of it, from here on otherwise."
    )
    raise ValueError(
        f"{place} holds another run: its {names} differ. {differences}. Start with what the run began "
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


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested data by their dotted names.

    >>> flat({"data": {"length": 3}, "seed": 0})
    {'data.length': 3, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return found


Difference = tuple[str, Any, Any]
"""A dotted name, and what is there and here."""


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield what differs of that which both headers have: earlier versions recorded less."""
    for name in now:
        if name == "text" or name not in before:
            continue
        there, here = before[name], now[name]
        if name == "classes":
            yield from _renumbered(there, here)
        elif isinstance(there, str) and isinstance(here, Mapping):  # as lightning_al 0.1.0 recorded objects
            text = now.get("text", {}).get(name)
            if there != text:
                yield name, there, text
        elif (_kind(there), _kind(here)) != (None, None) and _kind(there) != _kind(here):
            texts = described(before, name), described(now, name)
            yield (name, *(texts if texts[0] != texts[1] else (there, here)))
        else:
            yield from _differences_within(name, there, here, is_object=name == "datamodule")


def _differences_within(name: str, there: Any, here: Any, is_object: bool = False) -> Iterator[Difference]:
    if not (isinstance(there, Mapping) and isinstance(here, Mapping)) or _kind(there) != _kind(here):
        # Contents are not known under random augmentation.
        if there != here and not (name.endswith(".contents") and None in (there, here)):
            yield name, there, here
        return
    for part in dict.fromkeys((*here, *there)):
        # An option that an object did not have yet was not recorded.
        if part in there or not (is_object or "class" in here):
            yield from _differences_within(f"{name}.{part}", there.get(part), here.get(part))


def _renumbered(there: Any, here: Any) -> Iterator[Difference]:
    """Yield the classes that a label now means another one of; there may be more of them, or fewer."""
    before, now = (part.get("numbers") if isinstance(part, Mapping) else None for part in (there, here))
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name, number in before.items():
            if now.get(name, number) != number:
                yield f"classes.{name}", number, now[name]


def _kind(value: Any) -> Any:
    return value.get("class", value.get("function")) if isinstance(value, Mapping) else None


def _contents(header: Mapping[str, Any]) -> Any:
    data = header.get("data")
    return data.get("contents") if isinstance(data, Mapping) else None


def _difference(there: Any, here: Any) -> str:
    said = f"is {_shorten(there)} there and {_shorten(here)} here"
    if isinstance(there, list) and isinstance(here, list):
        same = [one == other for one, other in zip(there, here, strict=False)]
        said += f", from place {same.index(False) if False in same else len(same)} on"
    return said


def _shorten(value: Any) -> str:
    if _kind(value) is not None:
        return str(_kind(value))
    return shown(value, most=80)


def labels_agree(one: Any, other: Any) -> bool:
    """Return whether two fingerprints have the same labels, as far as both know them.

    Where contents are not known, an item may not have been readable, whose label is None.
    """
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):  # as a damaged journal may have it
        return False
    there, here = one.get("labels") or [], other.get("labels") or []
    if not (isinstance(there, list) and isinstance(here, list)):
        return False
    if None not in (one.get("contents"), other.get("contents")) or len(there) != len(here):
        return bool(there == here)
    return all(before == now or None in (before, now) for before, now in zip(there, here, strict=True))
