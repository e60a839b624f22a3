"""What an object is, as plain data: equal for equal objects in any process, another for any that act otherwise."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import logging
import random
import socket
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import BatchBALD, LastLayer, MCDropout
from lightning_al.run.config import LONGEST, UnknownStateError, config_of
from tests.support import programs

SCALE = 2.0


class Tilted:
    def __init__(self, beta: Any, _gamma: Any = 0.5) -> None:
        self.beta = beta
        self._gamma = _gamma


class Slotted:
    __slots__ = ("__secret", "beta")

    def __init__(self, beta: Any, secret: Any = 1) -> None:
        self.beta = beta
        self.__secret = secret


class Told(Tilted):
    """Says itself what it is, its cache left out."""

    def __init__(self, beta: Any) -> None:
        super().__init__(beta)
        self.cache = socket.socket

    def config(self) -> dict[str, Any]:
        return {"beta": self.beta, "weights": torch.ones(2)}


@dataclasses.dataclass
class Fields:
    a: Any
    hidden: Any = dataclasses.field(default=1, repr=False, compare=False)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Loud:
    """Runs code wherever it is looked at."""

    def __repr__(self) -> str:
        raise AssertionError("its code was run")

    __eq__ = __hash__ = __reduce_ex__ = __getstate__ = __len__ = __iter__ = __call__ = __repr__  # type: ignore

    @property
    def looked_at(self) -> None:
        raise AssertionError("its code was run")


def scaled(module: Any, batch: Any, factor: float = 2.0) -> Any:
    return module(batch[0]) * factor


def held(value: Any) -> Any:
    return lambda module, batch: module(batch[0]) * value


def with_default(value: Any) -> Any:
    def forward(module: Any, batch: Any, factor: Any = value) -> Any:
        return module(batch[0]) * factor

    return forward


def reads_its_module() -> float:
    return SCALE


def ring() -> Tilted:
    one = Tilted(1)
    one.beta = Tilted(one)
    return one


def net(p: float = 0.5, bias: float = 0.0) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(p))
    for weight in module.parameters():
        nn.init.constant_(weight, bias)
    return module


# All of these are different.
DIFFERENT: list[Any] = [
    None,
    True,
    1,
    1.5,
    float("inf"),
    2**70,
    "one",
    "é",
    b"one",
    Colour.RED,
    Colour.BLUE,
    [],
    [1],
    [1, 2],
    [2, 1],
    {},
    {"a": 1},
    {"a": 2},
    {"b": 1},
    {3: 1},
    range(3),
    Path("here"),
    torch.float16,
    torch.device("cpu"),
    torch.ones(2),
    torch.zeros(2),
    torch.ones(2, dtype=torch.int64),
    np.ones(3),
    np.array([None, 1.5, "x"], dtype=object),
    [0.0] * 10_000,
    [*[0.0] * 9_999, 1.0],
    "x" * 5_000,
    "x" * 4_999 + "y",
    Tilted(1),
    Tilted(2),
    Tilted(1, 0.25),
    Tilted(Tilted(1)),
    Tilted({"a": [1]}),
    Slotted(1),
    Slotted(2),
    Slotted(1, 2),
    Told(1),
    Told(2),
    Fields(1),
    Fields(2),
    Fields(1, hidden=2),
    types.SimpleNamespace(a=1),
    types.SimpleNamespace(a=2),
    MCDropout(3),
    BatchBALD(),
    BatchBALD(num_configurations=99),
    LastLayer("net.0"),
    net(),
    net(p=0.25),
    net(bias=1.0),
    nn.Dropout,
    torch,
    logging.getLogger("first"),
    logging.getLogger("second"),
    scaled,
    held(1),
    held(2),
    held([1, 2]),
    held(torch.ones(2)),
    held(held(1)),
    held(held(2)),
    with_default(1),
    with_default(2),
    functools.partial(scaled, factor=1),
    functools.partial(scaled, factor=2),
    functools.partial(held(1)),
    functools.partial(held(2)),
    Tilted(1).__init__,  # type: ignore[misc]
    Tilted(2).__init__,  # type: ignore[misc]
    (lambda module, batch: module(batch), lambda module, batch: -module(batch))[0],
    (lambda module, batch: module(batch), lambda module, batch: -module(batch))[1],
    torch.relu,
    torch.tanh,
    len,
    ring(),
]


def plain(thing: Any) -> str:
    return json.dumps(config_of(thing), sort_keys=True)


def test_what_differs_has_another_config() -> None:
    texts = [plain(thing) for thing in DIFFERENT]
    same = [(one, other) for n, one in enumerate(texts) for other in texts[:n] if one == other]
    assert same == []


def test_no_config_holds_an_address_and_none_is_long() -> None:
    for thing in DIFFERENT:
        assert " at 0x" not in plain(thing)
        assert len(plain(thing)) < 2 * LONGEST


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Tilted(1), Tilted(1)),
        (Tilted({"b": 1, "a": 2}), Tilted({"a": 2, "b": 1})),
        ({"b", "a", "c"}, {"c", "a", "b"}),
        ((1, 2), [1, 2]),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (Fields(1), Fields(1)),
        (Told(1), Told(1)),
        (net(), net()),
        (held(1), held(1)),
        (held(net()), held(net(bias=1.0))),
        (functools.partial(scaled, factor=1), functools.partial(scaled, factor=1)),
        (ring(), ring()),
    ],
)
def test_what_is_equal_has_one_config(one: Any, other: Any) -> None:
    assert config_of(one) == config_of(other)


SETS: list[Any] = [{"c", "a", "b"}, held({"c", "a", "b"}), Tilted(frozenset(map(str, range(99))))]


@pytest.mark.long
def test_it_is_the_same_in_another_process() -> None:
    code = "import json, tests.run.test_config as t; print(json.dumps([*map(t.plain, [*t.DIFFERENT, *t.SETS])]))"
    assert json.loads(programs.run("-c", code).stdout) == [*map(plain, [*DIFFERENT, *SETS])]


def test_what_it_says_can_be_read() -> None:
    assert config_of(Tilted(1.5)) == {"class": f"{__name__}.Tilted", "beta": 1.5, "_gamma": 0.5}
    assert config_of(BatchBALD())["class"] == "lightning_al.BatchBALD", "wherever its module may move"
    assert config_of(BatchBALD())["num_configurations"] == 10_000
    assert config_of(scaled)["function"] == f"{__name__}.scaled"
    assert config_of(held(3))["holds"] == {"value": 3}
    assert config_of(reads_its_module)["reads"] == {"SCALE": 2.0}
    assert config_of(len) == {"function": "builtins.len"}


def test_config_is_asked_before_anything_else() -> None:
    assert set(config_of(Told(1))) == {"class", "beta", "weights"}


def test_a_class_that_was_renamed_says_what_it_was() -> None:
    class Renamed(Tilted):
        def config(self) -> dict[str, Any]:
            return {"class": f"{__name__}.Tilted", "beta": self.beta, "_gamma": self._gamma}

    assert config_of(Renamed(1)) == config_of(Tilted(1))


def test_a_config_that_is_no_dict_is_refused() -> None:
    class Wrong:
        def config(self) -> Any:
            return [1]

    with pytest.raises(TypeError, match=r"`Wrong.config` has to return a dict, but returned list. Return"):
        config_of(Wrong())


def test_no_other_code_is_run() -> None:
    assert config_of(Loud()) == {"class": f"{__name__}.Loud"}
    assert config_of(Tilted(Loud()))["beta"] == {"class": f"{__name__}.Loud"}


@pytest.mark.parametrize(
    "make", [threading.Lock, lambda: (one for one in "x"), lambda: random.Random(1), torch.Generator]
)
def test_what_can_say_nothing_of_itself_is_named(make: Any) -> None:
    with pytest.raises(UnknownStateError, match=r"^it \(`.*`\) can say nothing of itself$"):
        config_of(make())
    with pytest.raises(UnknownStateError, match=r"^beta\[1\] \(`.*`\) can say nothing of itself$"):
        config_of(Tilted([0, make()]))


def test_an_open_socket_or_file_can_say_nothing_of_itself(tmp_path: Path) -> None:
    with socket.socket() as opened, pytest.raises(UnknownStateError, match=r"beta \(`socket.socket`\) can say nothing"):
        config_of(Tilted(opened))
    with (
        (tmp_path / "file").open("w") as file,
        pytest.raises(UnknownStateError, match=r"TextIOWrapper.* can say nothing"),
    ):
        config_of(Tilted(file))


@pytest.mark.long
def test_what_holds_everything_is_not_read_for_ever() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnknownStateError, match="is nested too deeply"):
        config_of(Tilted(deep))
    with pytest.raises(UnknownStateError, match="holds more than 1000000 values"):
        config_of(Tilted([[0] * 1_000] * 1_001))


def test_a_lambda_is_known_by_itself_and_not_by_its_line(tmp_path: Path) -> None:
    def made(line: str) -> Any:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(line)
        found: dict[str, Any] = {"__name__": "program"}
        exec(compile(line, str(path), "exec"), found)
        return config_of(found["f"])

    first = made("run, f = dict(budget=30), lambda m, b: -m(b[0])\n")
    assert made("run, f = dict(budget=40), lambda m, b: -m(b[0])\n") == first
    assert made("run, f = dict(budget=30), lambda m, b: m(b[0])\n") != first
    assert made("g, f = lambda m, b: 1, lambda m, b: -m(b[0])\n") == first


def test_a_function_without_source_is_known_by_what_it_was_compiled_to() -> None:
    def made(text: str) -> Any:
        found: dict[str, Any] = {"__name__": "program"}
        exec(text, found)
        return config_of(found["f"])

    first = made("def f(m, b): return m(b[0]) if b[1] in {'a', 'b', 'c'} else -m(b[0])")
    assert made("def f(m, b): return m(b[0]) if b[1] in {'c', 'b', 'a'} else -m(b[0])") == first
    assert made("def f(m, b): return m(b[0]) if b[1] in {'a', 'b', 'd'} else -m(b[0])") != first


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    max_leaves=8,
)


@given(values, values)
def test_plain_data_are_their_own_config(one: Any, other: Any) -> None:
    assert config_of(json.loads(json.dumps(config_of(one)))) == config_of(one)
    assert (plain(one) == plain(other)) == (repr_in_order(one) == repr_in_order(other))


def repr_in_order(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{sorted((key, repr_in_order(part)) for key, part in value.items())}}}"
    return f"[{', '.join(map(repr_in_order, value))}]" if isinstance(value, list) else repr(value)
