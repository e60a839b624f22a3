"""Reading checkpoints without running code: tensors and plain containers come out, all else is inert."""

from __future__ import annotations

import ast
import codecs
import functools
import pickle
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_al.run.inert import Inert, read_checkpoint, read_weights
from tests.support.sources import nodes_of
from tests.test_imports import FILES, name_of


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
    with pytest.raises(ValueError, match="should hold a checkpoint, which is a dict, but holds list"):
        read_checkpoint(listed)
    torch.save({"epoch": 1}, none)
    with pytest.raises(ValueError, match="has no `state_dict`, so its weights cannot be read without running code"):
        read_weights(none)


@pytest.mark.parametrize("encoding", ["payload", "zlib", "idna", "utf-7"])
def test_an_encoding_is_not_looked_up(tmp_path: Path, encoding: str) -> None:
    """Python imports the module of an encoding by its name; one of them decompresses."""

    class Encoded:
        def __reduce__(self) -> Any:
            return codecs.encode, ("x", encoding)

    torch.save({"state_dict": {"a": Encoded()}}, tmp_path / "a.ckpt")
    looked_up = []
    codecs.register(lambda name: looked_up.append(name))
    assert isinstance(read_checkpoint(tmp_path / "a.ckpt")["state_dict"]["a"], Inert)
    assert looked_up == []


def test_bytes_of_an_older_protocol_come_out(tmp_path: Path) -> None:
    torch.save({"a": b"\x00\xff"}, tmp_path / "a.ckpt", pickle_protocol=2)
    assert read_checkpoint(tmp_path / "a.ckpt") == {"a": b"\x00\xff"}


def test_nothing_of_torch_is_imported_by_its_name(tmp_path: Path) -> None:
    named = b"\x80\x02}U\x01actorch\n_inductor\ns."
    torch.save({"a": 1}, tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt") as old, zipfile.ZipFile(tmp_path / "b.ckpt", "w") as new:
        for name in old.namelist():
            new.writestr(name, named if name.endswith("data.pkl") else old.read(name))
    before = set(sys.modules)
    assert read_checkpoint(tmp_path / "b.ckpt")["a"] is Inert
    assert not [name for name in set(sys.modules) - before if name.startswith("torch._inductor")]


# Nothing else in the package reads what could run.


def unpicklers(path: Path) -> list[str]:
    """The calls in a file by which code could be read from a file or a text."""
    found = []
    for node in nodes_of(path):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            is_load = last in ("load", "loads", "fromfile", "read_pickle", "Unpickler") and called not in (
                "json.loads",
                "json.load",
            )
            is_safe = called == "torch.load" and options.get("weights_only") == "True"
            is_safe = is_safe or (called == "np.load" and options.get("allow_pickle") == "False")
            is_safe = is_safe or called in ("OmegaConf.load", "entry.load")
            code = called in ("eval", "exec", "compile", "__import__") or last in (
                "load_from_checkpoint",
                "unsafe_load",
                "full_load",
            )
            if (is_load and not is_safe) or code:
                found.append(f"{called} {options}")
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [
                name
                for name in names
                if name.split(".")[0] in ("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
            ]
    return found


def test_nothing_of_the_package_unpickles_but_the_inert_reader() -> None:
    found = {name_of(path): unpicklers(path) for path in FILES}
    assert {name: calls for name, calls in found.items() if calls} == {
        "run.inert": [
            "pickle",
            "torch.load {'map_location': \"'cpu'\", 'pickle_module': '_PICKLE', 'weights_only': 'False'}",
        ],
        # What the processes of one run tell each other, and no file.
        "host.ranks": ["pickle", "pickle.loads {}", "pickle.loads {}"],
    }


def test_a_second_unpickler_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "import numpy\nimport pickle\ntorch.load(x)\npickle.load(x)\nnumpy.load(x)\neval(x)\nM.load_from_checkpoint(x)"
    )
    assert len(unpicklers(path)) == 6
