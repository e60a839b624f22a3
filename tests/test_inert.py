"""Reading checkpoints without running code: tensors and plain containers come out, all else is inert."""

from __future__ import annotations

import functools
import pickle
import warnings
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_al.inert import Inert, read_checkpoint, read_weights


class Kept:
    """A user's class, an object of which would be made, and told its state, by an ordinary load."""

    made = 0

    def __init__(self) -> None:
        self.values = [1]

    def __setstate__(self, state: Any) -> None:
        Kept.made += 1


class Slotted(dict[str, int]):
    """A user's dict."""


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_tensors_and_plain_containers_come_out_as_they_were(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    content = {
        "tensors": [base[2:5], base.view(3, 4).t(), torch.zeros(0), torch.tensor(3, dtype=torch.bfloat16)],
        "kinds": [torch.tensor([True]), torch.tensor([1], dtype=torch.uint8), torch.tensor([1j])],
        "parameter": nn.Parameter(torch.ones(2)).data,
        "plain": {
            "a": (1, 2.5, None, True, "x", b"y", 1j),
            "set": {1, 2},
            "frozen": frozenset({3}),
            "b": bytearray(b"z"),
        },
        "ordered": OrderedDict(a=1),
        "counter": Counter("aab"),
        "of torch": [torch.Size([2, 3]), torch.device("cpu"), torch.float16],
    }
    torch.save(content, tmp_path / "a.ckpt")
    assert equal(read_checkpoint(tmp_path / "a.ckpt"), content)


@pytest.mark.parametrize(
    "thing",
    [
        Kept(),
        functools.partial(torch.optim.Adam, lr=1e-3),
        Path("somewhere"),
        nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        torch.optim.Adam,
        torch.relu,
        defaultdict(list, a=[1]),
        Slotted(a=1),
        range(3),
        {Kept()},
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_everything_else_is_inert(tmp_path: Path, thing: Any) -> None:
    Kept.made = 0
    torch.save(
        {"state_dict": {"w": torch.ones(2)}, "hyper_parameters": {"thing": thing, "lr": 0.1}}, tmp_path / "a.ckpt"
    )
    content = read_checkpoint(tmp_path / "a.ckpt")
    found = content["hyper_parameters"]["thing"]
    assert all(isinstance(part, Inert) or part is Inert for part in (found if isinstance(found, set) else [found]))
    assert content["hyper_parameters"]["lr"] == 0.1
    assert Kept.made == 0
    assert torch.equal(read_weights(tmp_path / "a.ckpt")["w"], torch.ones(2))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    old, compiled, listed, none = (tmp_path / name for name in ("old.ckpt", "compiled.pt", "list.ckpt", "none.ckpt"))
    torch.save({"state_dict": {}}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"is no checkpoint that `torch\.save` wrote as a zip file"):
        read_checkpoint(old)
    listed.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match=r"is no checkpoint that `torch\.save` wrote as a zip file"):
        read_checkpoint(listed)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it is deprecated, and its files are still about
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), compiled)
    with pytest.raises(ValueError, match=r"is no checkpoint that `torch\.save` wrote as a zip file"):
        read_checkpoint(compiled)
    torch.save([1], listed)
    with pytest.raises(ValueError, match="was to hold a checkpoint, which is a dict, but holds list"):
        read_checkpoint(listed)
    torch.save({"epoch": 1}, none)
    with pytest.raises(ValueError, match="has no `state_dict`, so its weights cannot be read without running code"):
        read_weights(none)
