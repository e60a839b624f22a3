"""Read a checkpoint without running code: tensors and containers come out, everything else comes out inert."""

from __future__ import annotations

import os
import pickle
import zipfile
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch

_BUILT_IN = {"set", "frozenset", "complex", "bytearray"}

_ALLOWED = {
    "collections": {"OrderedDict", "Counter"},
    "builtins": _BUILT_IN,
    "__builtin__": _BUILT_IN,  # as protocols that Python 2 reads have it
    "torch": {"Size", "Tensor", "device"},
    "torch.nn.parameter": {"Parameter"},
    "torch.serialization": {"_get_layout"},
    "torch.storage": {"UntypedStorage"},
    "torch._utils": {
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
        "_rebuild_parameter",
        "_rebuild_sparse_tensor",
        "_rebuild_qtensor",
        "_rebuild_meta_tensor_no_storage",
    },
}
"""What may be called while a file is read, by module: what tensors and plain containers are rebuilt by."""


class Inert:
    """Stand in for an object of any other kind. It takes what the file says of it, and does nothing."""

    parts: list[Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Take the arguments of whatever was to be made."""
        inert = super().__new__(cls)
        inert.parts = [*args, kwargs]
        return inert

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing more: a file may make an object without this."""

    def __setstate__(self, state: Any) -> None:
        self.parts = [state]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.parts.append((key, value))

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """Stand in for what a call of the object would have returned."""
        return Inert(*args, **kwargs)

    def append(self, part: Any) -> None:
        """Take a part, as a list or a set does."""
        self.parts.append(part)

    add = append


def _encode(text: Any, encoding: Any = None) -> Any:
    """Rebuild bytes as older protocols write them. Of other encodings, Python imports a module of that name."""
    return text.encode("latin1") if isinstance(text, str) and encoding == "latin1" else Inert(text, encoding)


class _Unpickler(pickle.Unpickler):
    """Rebuild tensors and plain containers, and nothing else."""

    def find_class(self, module_name: str, name: str) -> Any:
        if (module_name, name) == ("_codecs", "encode"):
            return _encode
        if name in _ALLOWED.get(module_name, ()):
            return super().find_class(module_name, name)
        # Not getattr, by which torch imports some of its parts.
        dtype = vars(torch).get(name) if module_name == "torch" else None
        return dtype if isinstance(dtype, torch.dtype) else Inert


_PICKLE = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler)
"""What `torch.load` reads by in place of Python's `pickle`."""


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint to the CPU, whoever wrote it: what is neither a tensor nor a plain container comes out inert.

    Hyperparameters, say, may hold a `functools.partial`, a path or a module. They are of no use here, and to rebuild
    them would run what the file says.

    Raises:
        ValueError: If it is no checkpoint of the form that `torch.save` has written since torch 1.6.
        Exception: What torch raises where the file is damaged.
    """
    with open(path, "rb") as file:
        if not is_in_usual_form(file):
            raise ValueError(
                f"{os.fspath(path)} is no checkpoint that `torch.save` wrote as a zip file. Let it be written by "
                "Lightning, or by `torch.save` with its defaults."
            )
        content = torch.load(file, map_location="cpu", pickle_module=_PICKLE, weights_only=False)
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.fspath(path)} was to hold a checkpoint, which is a dict, but holds {type(content).__name__}. Let it "
            "be written by Lightning's `Trainer.save_checkpoint`."
        )
    return content


def is_in_usual_form(file: BinaryIO) -> bool:
    """Return whether `torch.save` wrote a file as a zip file, as by default.

    In its other forms torch reads more than one pickle, unpacks archives, or loads a compiled program. Before torch
    2.6, which the package requires, these ran code with `weights_only=True` too.
    """
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    is_usual = is_zip and not any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(file).namelist())
    file.seek(0)
    return is_usual


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the `state_dict` of a module from a checkpoint, as `read_checkpoint` does.

    Raises:
        ValueError: If it has none, or if a part of it is more than tensors and plain data.
    """
    weights = read_checkpoint(path).get("state_dict")
    inert = [] if weights is None else [name for name, value in weights.items() if holds_inert(value)]
    if weights is None or inert:
        what = "has no `state_dict`" if weights is None else f"holds more than tensors and plain data in {inert[0]!r}"
        raise ValueError(
            f"The checkpoint {os.fspath(path)} {what}, so its weights cannot be read without running code. Let "
            "`get_extra_state` return tensors and plain data, or pass `ActiveLearning(weights='last')`."
        )
    return dict(weights)


def read_plain_parts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read those entries of a checkpoint that hold nothing but tensors and plain data, as `read_checkpoint` does."""
    return {name: value for name, value in read_checkpoint(path).items() if not holds_inert(value)}


def holds_inert(value: Any) -> bool:
    """Return whether an `Inert` object is among the parts of what was read."""
    if isinstance(value, dict):
        return any(holds_inert(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_inert, value))
    return isinstance(value, Inert) or value is Inert
