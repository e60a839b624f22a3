"""Whether a run may be resumed: the arguments that it began with, compared with the present ones."""

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
    """Refuse to resume a run with other arguments, or warn if `force` allows it.

    Args:
        place: Where the run is kept, as an error should say it.
        before: The header of the run.
        now: The header that a new run would have.
        force: Whether to resume in spite of differences that a user may force.

    Raises:
        ValueError: If they differ; the message says in what, and what to do.
    """
    here = json.loads(json.dumps(now))
    _check_classes(place, before.get("classes"), here.get("classes"))
    found = list(_differences(before, here))
    # Contents are not known under random augmentation.
    if None in (_contents(before), _contents(here)) and labels_agree(before.get("data", {}), here.get("data", {})):
        found = [one for one in found if one[0] not in ("data.labels", "data.classes")]
    # A factory that makes a module for more classes is another one.
    if _has_changed_classes(before) and isinstance(before.get("reset"), Mapping) and isinstance(now["reset"], Mapping):
        found = [one for one in found if one[0].partition(".")[0] != "reset"]
    if not found:
        return
    names = ", ".join(name for name, _, _ in found)
    differences = "; ".join(f"`{name}` {_difference(there, here)}" for name, there, here in found)
    fixed = [name for name, _, _ in found if not may_be_forced(name)]
    if force and not fixed:
        rank_zero_warn(
            f"`ActiveLearning(force=True)` resumes a run that began with other arguments. {place}: {differences}."
        )
        return
    remedy = (
        f"`force=True` cannot help where {', '.join(fixed)} differ, because the recorded rounds were of other points."
        if fixed
        else "Pass `force=True` to resume it with these arguments from here on."
    )
    raise ValueError(
        f"{place} holds another run: its {names} differ. {differences}. Start with what the run began "
        f"with, or leave it and begin another. {remedy}"
    )


def _has_changed_classes(header: Mapping[str, Any]) -> bool:
    classes = header.get("classes")
    return isinstance(classes, Mapping) and bool(classes.get("changed"))


def _check_classes(place: str, there: Any, here: Any) -> None:
    """Refuse other classes than those that the run got after it had begun.

    Raises:
        ValueError: If they differ. The message lists the run's.
    """
    if not _has_changed_classes({"classes": there}) or not isinstance(here, Mapping):
        return
    numbers = there["numbers"]
    if here.get("numbers") != numbers:
        names = ", ".join(sorted(numbers, key=numbers.__getitem__))
        raise ValueError(
            f"{place} holds a run whose classes were changed by `lightning-al-journal`: they are {names}, but the data "
            f"have {', '.join(here.get('numbers', ())) or 'no names of classes'}. Pass "
            f"`ActiveDataModule(classes={sorted(numbers, key=numbers.__getitem__)!r})`."
        )


def check_same_weights(
    place: str, saved: Mapping[str, Tensor], module: nn.Module, remedy: str = "choose another folder"
) -> None:
    """Refuse saved weights that are not those of the module by name and shape.

    Buffers that the module's `state_dict` leaves out may be missing: lightning_al 0.1.0 did not save them.

    Args:
        place: Where the weights are, for the error.
        saved: The weights.
        module: The module to load them into.
        remedy: What to do if the module cannot be made as it was.

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
    """Return nested data by dotted names.

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
    """Yield the differences between the parts that both headers have. Earlier versions recorded fewer parts."""
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
        # Options that an object got in a later version were not recorded.
        if part in there or not (is_object or "class" in here):
            yield from _differences_within(f"{name}.{part}", there.get(part), here.get(part))


def _renumbered(there: Any, here: Any) -> Iterator[Difference]:
    """Yield the classes that changed their numbers. There may be more classes than before, or fewer."""
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

    If the contents are unknown, an item may have been unreadable. Then its label is None.
    """
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):  # in a damaged journal
        return False
    there, here = one.get("labels") or [], other.get("labels") or []
    if not (isinstance(there, list) and isinstance(here, list)):
        return False
    if None not in (one.get("contents"), other.get("contents")) or len(there) != len(here):
        return bool(there == here)
    return all(before == now or None in (before, now) for before, now in zip(there, here, strict=True))
