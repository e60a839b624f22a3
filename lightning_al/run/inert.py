"""Read a checkpoint without running code. Everything but tensors and plain containers becomes an `Inert` object."""

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
    "__builtin__": _BUILT_IN,  # its name in the older protocols of pickle
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
"""What may be called while a file is read, by module: it rebuilds tensors and plain containers."""


class Inert:
    """Stand in for any other object. It keeps what the file says of the object, and does nothing."""

    parts: list[Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Keep the arguments with which the object would be made."""
        inert = super().__new__(cls)
        inert.parts = [*args, kwargs]
        return inert

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, since a file may make an object without this call."""

    def __setstate__(self, state: Any) -> None:
        self.parts = [state]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.parts.append((key, value))

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """Stand in for the result of calling the object."""
        return Inert(*args, **kwargs)

    def append(self, part: Any) -> None:
        """Add a part, like a list or a set."""
        self.parts.append(part)

    add = append


def _encode(text: Any, encoding: Any = None) -> Any:
    """Rebuild bytes, which older protocols write as text. For other encodings Python would import a module."""
    return text.encode("latin1") if isinstance(text, str) and encoding == "latin1" else Inert(text, encoding)


class _Unpickler(pickle.Unpickler):
    """Rebuild tensors and plain containers, and nothing else."""

    def find_class(self, module_name: str, name: str) -> Any:
        if (module_name, name) == ("_codecs", "encode"):
            return _encode
        if name in _ALLOWED.get(module_name, ()):
            return super().find_class(module_name, name)
        # `getattr` would let torch import some of its modules.
        dtype = vars(torch).get(name) if module_name == "torch" else None
        return dtype if isinstance(dtype, torch.dtype) else Inert


_PICKLE = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler)
"""What `torch.load` uses instead of Python's `pickle`."""


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint to the CPU, whoever wrote it. Everything but tensors and plain containers becomes inert.

    Hyperparameters, for example, may hold a `functools.partial`, a path or a module. They are not needed here, and
    rebuilding them would run what the file says.

    Raises:
        ValueError: If `torch.save` did not write the file in its form since torch 1.6, or it holds no dict.
        Exception: What torch raises if the file is damaged.
    """
    with open(path, "rb") as file:
        if not is_in_usual_form(file):
            raise ValueError(
                f"{os.fspath(path)} is no checkpoint that `torch.save` wrote as a zip file. Write it with Lightning, "
                "or with `torch.save` and its defaults."
            )
        content = torch.load(file, map_location="cpu", pickle_module=_PICKLE, weights_only=False)
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.fspath(path)} should hold a checkpoint, which is a dict, but holds {type(content).__name__}. Write "
            "it with Lightning's `Trainer.save_checkpoint`."
        )
    return content


def is_in_usual_form(file: BinaryIO) -> bool:
    """Return whether `torch.save` wrote a file in its default form, a zip file.

    For other forms torch reads several pickles, unpacks archives or loads a compiled program. Before torch 2.6, which
    the package requires, these ran code even with `weights_only=True`.
    """
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    is_usual = is_zip and not any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(file).namelist())
    file.seek(0)
    return is_usual


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the `state_dict` of a module from a checkpoint with `read_checkpoint`.

    Raises:
        ValueError: If there is none, or if it holds more than tensors and plain data.
    """
    weights = read_checkpoint(path).get("state_dict")
    inert = [] if weights is None else [name for name, value in weights.items() if holds_inert(value)]
    if weights is None or inert:
        what = "has no `state_dict`" if weights is None else f"holds more than tensors and plain data in {inert[0]!r}"
        raise ValueError(
            f"The checkpoint {os.fspath(path)} {what}, so its weights cannot be read without running code. Return "
            "tensors and plain data from `get_extra_state`, or pass `ActiveLearning(weights='last')`."
        )
    return dict(weights)


def read_plain_parts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the entries of a checkpoint that hold only tensors and plain data, with `read_checkpoint`."""
    return {name: value for name, value in read_checkpoint(path).items() if not holds_inert(value)}


def holds_inert(value: Any) -> bool:
    """Return whether a value from a checkpoint contains an `Inert` object."""
    if isinstance(value, dict):
        return any(holds_inert(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_inert, value))
    return isinstance(value, Inert) or value is Inert
