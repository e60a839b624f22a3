"""Going on with what is not the same run: refused in words, or, where it is sane and asked for, done with a warning."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, BatchBALD, LastLayer, MCDropout
from lightning_al.host.namespace import pl
from lightning_al.run.journal import Journal
from lightning_al.run.same_run import check_same_run
from lightning_al.run.seeds import seeded
from tests.rounds.test_resume import Cut, InterruptedFitError
from tests.run.test_journal import execute
from tests.support.tasks import CLASSES, Items, LitMLP, points, trainer

N = 20

# Lightning's word on a ModelCheckpoint that the Trainer that goes on does without.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


@dataclass
class Going:
    """What a run is started with, or goes on with: as it was, unless a case changes it."""

    folder: Path | None
    points: Any = field(default_factory=lambda: points(N))
    module: nn.Module | None = None
    active: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)

    def run(self, home: Path, *callbacks: pl.Callback, **kwargs: Any) -> ActiveLearning:
        settings = {"query_size": 4, "budget": N, "seed": 1, "folder": self.folder, **self.active, **kwargs}
        active = ActiveLearning(settings.pop("acquisition", "bald"), **settings)
        with seeded(7):
            module = LitMLP() if self.module is None else self.module
        data = ActiveDataModule(
            self.points,
            **{"initial": [0, 5, 10, 15, 1, 6, 11, 16], "val": points(8, seed=1), "batch_size": 8, **self.data},
        )
        extra = {"enable_checkpointing": bool(callbacks)}
        trainer(home, max_epochs=2, callbacks=[active, *callbacks], **extra).fit(module, datamodule=data, **self.fit)
        return active


class Wider(LitMLP):
    def __init__(self) -> None:
        super().__init__(hidden=17)


class Deeper(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.net.append(nn.Linear(CLASSES, CLASSES))


class Normed(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)


class MoreClasses(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.net[3] = nn.Linear(16, CLASSES + 1)


class Renamed(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.network = self.net
        del self.net

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)


def relabelled(change: Callable[[torch.Tensor], torch.Tensor]) -> TensorDataset:
    inputs, labels = points(N).tensors
    return TensorDataset(inputs, change(labels))


def with_inputs(change: Callable[[torch.Tensor], torch.Tensor]) -> TensorDataset:
    inputs, labels = points(N).tensors
    return TensorDataset(change(inputs), labels)


def one_other(inputs: torch.Tensor) -> torch.Tensor:
    inputs = inputs.clone()
    inputs[7, 3] += 1e-6
    return inputs


def swapped(inputs: torch.Tensor) -> torch.Tensor:
    """Points 2 and 6 of the same class in each other's place."""
    order = torch.arange(N)
    order[[2, 6]] = order[[6, 2]]
    return inputs[order]


# Each case: what is changed, what the error says, and whether force goes on in spite of it.
Change = Callable[[Going], None]
SETTINGS: dict[str, tuple[Change, str, bool]] = {}


def case(name: str, message: str, sane: bool = False) -> Callable[[Change], None]:
    def add(change: Change) -> None:
        assert name not in SETTINGS
        SETTINGS[name] = (change, message, sane)

    return add


def setting(name: str, part: str, message: str, sane: bool = False, **values: Any) -> None:
    case(name, message, sane)(lambda going: getattr(going, part).update(values))


def dataset(name: str, make: Callable[[], Dataset[Any]], message: str, sane: bool = False) -> None:
    case(name, message, sane)(lambda going: setattr(going, "points", make()))


setting("acquisition by name", "active", r"`acquisition` is 'BALD\(\)' there and 'Entropy", True, acquisition="entropy")
setting("batchbald", "active", r"`acquisition` is 'BALD\(\)' there and 'BatchBALD", True, acquisition="batchbald")
setting("random", "active", "its acquisition differ", True, acquisition="random")
setting("margin", "active", "its acquisition differ", True, acquisition="margin")
setting("acquisition's own", "active", "its acquisition differ", True, acquisition=BatchBALD(num_configurations=99))
setting("fewer samples", "active", "`posterior.num_samples` is 20 there and 5 here", True, posterior=MCDropout(5))
setting(
    "autocast",
    "active",
    "`posterior.autocast` is False there and True here",
    True,
    posterior=MCDropout(20, autocast=True),
)
setting(
    "no samples", "active", "its acquisition, posterior differ", True, acquisition="entropy", posterior="deterministic"
)
setting(
    "another layer", "active", "`last_layer.layer` is None there and 'net.0' here", True, last_layer=LastLayer("net.0")
)
setting(
    "half precision", "active", "`last_layer.dtype` is 'float32' there", True, last_layer=LastLayer(dtype="float16")
)
setting("smaller queries", "active", "`query_size` is 4 there and 2 here", True, query_size=2)
setting("larger queries", "active", "`query_size` is 4 there and 5 here", True, query_size=5)
setting("seed", "active", "`seed` is 1 there and 2 here", True, seed=2)
setting("reset", "active", "`reset` is 'initial' there and 'fresh' here", True, reset="fresh")
setting("two at once", "active", "its query_size, seed differ", True, seed=2, query_size=3)

dataset("longer", lambda: points(N + 4), rf"`data.length` is {N} there and {N + 4} here")
dataset("shorter", lambda: points(N - 1), rf"`data.length` is {N} there and {N - 1} here")
dataset("labels moved on", lambda: relabelled(lambda y: (y + 1) % CLASSES), r"its data.labels, data.contents differ")
dataset("one other label", lambda: relabelled(lambda y: y.index_fill(0, torch.tensor(9), 3)), "from place 9 on")
dataset("fewer classes", lambda: relabelled(lambda y: y % 3), r"`data.classes` is \[0, 1, 2, 3\] there and \[0, 1, 2\]")
dataset("other numbers of classes", lambda: relabelled(lambda y: 3 * (y > 0)), r"there and \[0, 3\] here")
dataset("labels of two kinds", lambda: relabelled(lambda y: y.float()), r"`data.classes` is .* and \[\] here")
dataset("turned round", lambda: TensorDataset(*(part.flip(0) for part in points(N).tensors)), "its data.labels")

dataset("other points", lambda: with_inputs(lambda x: x + 1), "its data.contents differ", True)
dataset("one number of one point", lambda: with_inputs(one_other), "its data.contents differ", True)
dataset("two points exchanged", lambda: with_inputs(swapped), "its data.contents differ", True)
dataset("normalised", lambda: with_inputs(lambda x: (x - x.mean()) / x.std()), "its data.contents differ", True)
dataset("lists", lambda: Items(N, lambda x, y: [x, y]), r"`data.form` is '\(Tensor of .* there and '\[Tensor", True)
dataset("plain labels", lambda: Items(N, lambda x, y: (x, y)), r"`data.form` is .* and .*, int\)' here", True)
dataset("arrays", lambda: Items(N, lambda x, y: (x.numpy(), np.int64(y))), "`data.form` .* 'ndarray of|ndarray", True)

setting("initial draw", "data", "its initial differ", initial=None, initial_size=8)
setting("more initial", "data", "its initial differ.*from place 8 on", initial=[0, 5, 10, 15, 1, 6, 11, 16, 2])
setting("fewer initial", "data", "its initial differ.*from place 7 on", initial=[0, 5, 10, 15, 1, 6, 11])
setting("initial in another order", "data", "its initial differ", initial=[5, 0, 10, 15, 1, 6, 11, 16])
setting("balanced draw", "data", "its initial differ", initial=None, initial_size=8, balanced=True)

for model, said in (
    (Wider, r"`LitMLP|`Wider`: 3 differ. The shape of `net.0.weight` is \[16, 8\] there and \[17, 8\] here"),
    (Deeper, r"`Deeper`: 2 differ. The shape of `net.4.weight` is none there and \[4, 4\] here"),
    (Normed, r"`Normed`: 5 differ. The shape of `norm.weight` is none there"),
    (MoreClasses, r"`MoreClasses`: 2 differ. The shape of `net.3.weight` is \[4, 16\] there and \[5, 16\] here"),
    (Renamed, r"`Renamed`: 8 differ. The shape of `net.0.weight` is \[16, 8\] there and none here"),
):
    case(model.__name__, said)(lambda going, model=model: setattr(going, "module", model()))


def folder_of(going: Going) -> Path:
    assert going.folder is not None
    return going.folder


def rewrite_header(folder: Path, **changes: Any) -> None:
    """Write another first row with the hashes that a version with such a header would have written."""
    database = sqlite3.connect(folder / "journal.sqlite")
    rows = database.execute("SELECT number, body FROM rows ORDER BY number").fetchall()
    previous = ""
    with database:
        for number, body in rows:
            text = body if number else json.dumps({**json.loads(body), **changes})
            previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
            database.execute("UPDATE rows SET body = ?, hash = ? WHERE number = ?", (text, previous, number))
    database.close()


@case("no initial weights", r"needs initial.pt, which is not there. Put back a copy")
def _(going: Going) -> None:
    (folder_of(going) / "initial.pt").unlink()


@case("half of the initial weights", r"initial.pt is damaged: its bytes do not have the hash")
def _(going: Going) -> None:
    path = folder_of(going) / "initial.pt"
    path.write_bytes(path.read_bytes()[:-100])


@case("empty initial weights", r"initial.pt is damaged")
def _(going: Going) -> None:
    (folder_of(going) / "initial.pt").write_bytes(b"")


@case("initial weights of another model", r"initial.pt are not those of `LitMLP`: 3 differ")
def _(going: Going) -> None:
    journal = Journal(folder_of(going))
    journal.save_weights("initial", Wider().state_dict())
    journal.close()


@case("no weights of the round before", r"needs warm-0.pt, which is not there. Put back a copy")
def _(going: Going) -> None:
    going.folder = folder_of(going).with_name("warm")
    going.active["reset"] = "warm"
    (going.folder / "warm-0.pt").unlink()


@case("weights of the round before of another model", r"warm-0.pt are not those of `LitMLP`: 3 differ")
def _(going: Going) -> None:
    going.folder = folder_of(going).with_name("warm")
    going.active["reset"] = "warm"
    journal = Journal(going.folder)
    journal.save_weights("warm-0", Wider().state_dict())
    journal.close()


@case("an altered row", r"is damaged at row 1; no round is good")
def _(going: Going) -> None:
    execute(folder_of(going), "UPDATE rows SET body = replace(body, 'indices', 'indexes') WHERE number = 1")


@case("a row that is gone", r"is damaged at row 2; the last good round is 0")
def _(going: Going) -> None:
    execute(folder_of(going), "DELETE FROM rows WHERE number = 2")


@case("a newer schema", r"has schema 3, but this version of lightning_al reads schemas up to 2")
def _(going: Going) -> None:
    rewrite_header(folder_of(going), schema=3)


@case("no database", r"is damaged.*Put back a copy")
def _(going: Going) -> None:
    (folder_of(going) / "journal.sqlite").write_bytes(b"not a database, but longer than a header would be" * 99)


@case(
    "no journal, where there were rounds",
    r"has history\.jsonl, initial\.pt, labels\.csv, model\.ckpt, which a run would overwrite, but no",
)
def _(going: Going) -> None:
    (folder_of(going) / "journal.sqlite").unlink()


@case("a header without the data", r"`data.length` is None there", False)
def _(going: Going) -> None:
    rewrite_header(folder_of(going), data={})


@case("an earlier header without the form of the data", r"`data.form` is None there", True)
def _(going: Going) -> None:
    journal = Journal(folder_of(going))
    header = journal.header
    journal.close()
    assert header is not None
    del header["data"]["form"]
    rewrite_header(folder_of(going), data=header["data"])


# Checkpoints.


def from_checkpoint(
    name: str, message: str, sane: bool = False, folder: bool = False
) -> Callable[[Callable[[Going, dict[str, Any]], None]], None]:
    """A case that goes on from the checkpoint of a round under way, with or without the run's folder."""

    def add(change: Callable[[Going, dict[str, Any]], None]) -> None:
        def prepare(going: Going) -> None:
            path = folder_of(going).parent / "kept" / "round-1" / "last.ckpt"
            going.fit = {"ckpt_path": path}
            saved = torch.load(path, weights_only=True)
            if not folder:
                going.folder = None
            change(going, saved)
            torch.save(saved, path)

        case(f"checkpoint: {name}", message, sane)(prepare)

    return add


@from_checkpoint("another seed", "The checkpoint holds another run: its seed differ", True)
def _(going: Going, saved: dict[str, Any]) -> None:
    going.active["seed"] = 2


@from_checkpoint("another acquisition", "The checkpoint holds another run: its acquisition differ", True)
def _(going: Going, saved: dict[str, Any]) -> None:
    going.active["acquisition"] = "random"


@from_checkpoint("other contents", "The checkpoint holds another run: its data.contents differ", True)
def _(going: Going, saved: dict[str, Any]) -> None:
    going.points = with_inputs(one_other)


@from_checkpoint("other labels", "The checkpoint holds another run: its data.labels")
def _(going: Going, saved: dict[str, Any]) -> None:
    going.points = relabelled(lambda y: (y + 1) % CLASSES)


@from_checkpoint("a longer dataset", f"The saved pool has {N} points, but the dataset has {N + 4}. Resume with")
def _(going: Going, saved: dict[str, Any]) -> None:
    going.points = points(N + 4)


@from_checkpoint("of a run without active learning", "does not belong to an active learning run: it has no state of")
def _(going: Going, saved: dict[str, Any]) -> None:
    del saved["callbacks"]["ActiveLearning"]


@from_checkpoint("of a datamodule of another class", "the pool of its `ActiveDataModule` has other labels")
def _(going: Going, saved: dict[str, Any]) -> None:
    del saved["ActiveDataModule"]


@from_checkpoint("a round behind the folder", "The checkpoint is at round 1, but the run folder", folder=True)
def _(going: Going, saved: dict[str, Any]) -> None:
    going.active["max_rounds"] = 2


@from_checkpoint("other picks than in the folder", "belong to two runs, which queried different points", folder=True)
def _(going: Going, saved: dict[str, Any]) -> None:
    saved["callbacks"]["ActiveLearning"]["history"]["rounds"][0]["indices"].reverse()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds that may go on to more, and a checkpoint of another, cut off in its second round."""
    home = tmp_path_factory.mktemp("begun")
    Going(home / "run").run(home, max_rounds=2)
    Going(home / "warm").run(home, max_rounds=2, reset="warm")
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=home / "kept", monitor="val_loss", save_last=True)
    with pytest.raises(InterruptedFitError):
        Going(home / "cut").run(home, checkpoint, Cut(2, "fit"))
    return home


@pytest.fixture
def going(begun: Path, tmp_path: Path) -> Going:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return Going(tmp_path / "run")


def test_what_is_the_same_goes_on(going: Going, tmp_path: Path) -> None:
    before = list(Journal.read_history(tmp_path / "run"))
    active = going.run(tmp_path)
    assert [round.labelled for round in active.history] == [8, 12, 16, 20]
    assert active.history[0] == before[0]


def test_the_checkpoint_of_the_same_run_goes_on(going: Going, tmp_path: Path) -> None:
    going.folder, going.fit = tmp_path / "cut", {"ckpt_path": tmp_path / "kept" / "round-1" / "last.ckpt"}
    assert [round.labelled for round in going.run(tmp_path).history] == [8, 12, 16, 20]


def test_there_are_enough_cases() -> None:
    assert len(SETTINGS) >= 50
    assert sum(sane for _, _, sane in SETTINGS.values()) >= 15


def some(names: list[str]) -> list[Any]:
    """Every sixth case; the others are slow."""
    return [name if place % 6 == 0 else pytest.param(name, marks=pytest.mark.slow) for place, name in enumerate(names)]


LIKE_OTHERS = (
    "batchbald",
    "random",
    "margin",
    "larger queries",
    "shorter",
    "other points",
    "normalised",
    "fewer initial",
)
"""Cases that differ from another one in a value alone."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in SETTINGS]
)
def test_what_differs_is_refused_in_words(going: Going, tmp_path: Path, name: str) -> None:
    change, message, _ = SETTINGS[name]
    change(going)
    with pytest.raises((ValueError, RuntimeError), match=message) as error:
        going.run(tmp_path)
    assert error.value.__cause__ is None or isinstance(error.value.__cause__, sqlite3.Error)
    said = str(error.value)
    assert said.count(". ") >= 1
    assert any(word in said for word in ("Start", "Make", "Put back", "Use", "Leave", "Resume", "To start", "Choose"))
    assert "force=True" not in said or ("Pass `force=True`" in said) == SETTINGS[name][2]


@pytest.mark.parametrize("name", some([name for name, (_, _, sane) in SETTINGS.items() if sane]))
def test_what_is_sane_goes_on_by_force(going: Going, tmp_path: Path, name: str) -> None:
    change, _, _ = SETTINGS[name]
    before = list(Journal.read_history(tmp_path / "run"))
    change(going)
    with pytest.warns(UserWarning, match=r"ActiveLearning\(force=True\)` resumes a run that began with other"):
        active = going.run(tmp_path, force=True)
    assert active.done
    assert active.history[-1].labelled == N
    assert active.history[0].indices == before[0].indices, "what was recorded stays"


@pytest.mark.parametrize("name", some([name for name, (_, _, sane) in SETTINGS.items() if not sane]))
def test_what_is_not_sane_is_refused_even_so(going: Going, tmp_path: Path, name: str) -> None:
    change, message, _ = SETTINGS[name]
    change(going)
    with pytest.raises((ValueError, RuntimeError), match=message):
        going.run(tmp_path, force=True)


def test_a_forced_reset_needs_its_weights_all_the_same(going: Going, tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match="`reset` is 'initial' there and 'warm' here"),
        pytest.raises(RuntimeError, match=r"needs warm-0.pt, which is not there"),
    ):
        going.run(tmp_path, reset="warm", force=True)


def as_before(folder: Path, **changes: Any) -> None:
    """Write the header that lightning_al 0.1.0 would have written."""
    journal = Journal(folder)
    header = journal.header
    journal.close()
    assert header is not None
    kept = ("query_size", "seed", "data", "initial")
    texts = {"acquisition": "BALD()", "posterior": "MCDropout(num_samples=20, autocast=False)", "reset": "initial"}
    database = sqlite3.connect(folder / "journal.sqlite")
    database.execute("UPDATE rows SET body = ? WHERE number = 0", (json.dumps({"schema": header["schema"]}),))
    database.commit()
    database.close()
    rewrite_header(folder, **{name: header[name] for name in kept}, **texts, **changes)


def test_what_an_earlier_version_did_not_record_is_not_compared(going: Going, tmp_path: Path) -> None:
    as_before(tmp_path / "run", last_layer="LastLayer(layer=None, dtype='float32')")
    assert going.run(tmp_path, weights="last", forward=lambda module, batch: module(batch[0])).done


def test_what_an_earlier_version_recorded_as_text_is_compared_as_text(going: Going, tmp_path: Path) -> None:
    as_before(tmp_path / "run", last_layer="LastLayer(layer='net.0', dtype='float32')")
    with pytest.raises(ValueError, match=r"its last_layer differ. `last_layer` is .*layer='net.0'.* there and .*None"):
        going.run(tmp_path)
    with pytest.raises(ValueError, match=r"its acquisition, last_layer differ. `acquisition` is 'BALD\(\)' there"):
        going.run(tmp_path, acquisition="entropy")


def test_two_classes_of_one_repr_are_told_apart() -> None:
    one, other = ({"acquisition": {"class": name}, "text": {"acquisition": "X()"}} for name in ("a.X", "b.X"))
    with pytest.raises(ValueError, match=r"`acquisition` is a.X there and b.X here"):
        check_same_run("The run", one, other, force=False)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"class": "X", "a": 1}, {"class": "X", "a": 1, "b": 2}, None),  # an option that it has since
        ({"class": "X", "a": 1, "b": 2}, {"class": "X", "a": 1}, r"`thing.b` is 2 there and None here"),
        ({"class": "X", "a": {"p": 1}}, {"class": "X", "a": {"p": 1, "q": 2}}, r"`thing.a.q` is None there and 2 here"),
        (
            {"function": "f", "source": "a"},
            {"function": "f", "source": "b"},
            r"`thing.source` is 'a' there and 'b' here",
        ),
        ("f", {"function": "f", "source": "b"}, r"`thing` is 'f' there and None here"),
        (None, {"function": "f"}, r"`thing` is None there and f here"),
    ],
)
def test_of_objects_what_was_recorded_is_compared(before: Any, now: Any, said: str | None) -> None:
    if said is None:
        check_same_run("The run", {"thing": before}, {"thing": now}, force=False)
        return
    with pytest.raises(ValueError, match=said):
        check_same_run("The run", {"thing": before}, {"thing": now}, force=False)


@pytest.mark.parametrize(("before", "now"), [(None, "ab"), ("ab", None)])
def test_contents_that_are_not_known_are_not_compared(before: str | None, now: str | None) -> None:
    check_same_run("The run", {"data": {"contents": before}}, {"data": {"contents": now}}, force=False)
    with pytest.raises(ValueError, match=r"its data.contents differ"):
        check_same_run("The run", {"data": {"contents": "ab"}}, {"data": {"contents": "cd"}}, force=False)


def test_a_smaller_budget_than_was_spent_leaves_the_run_as_it_is(going: Going, tmp_path: Path) -> None:
    going.run(tmp_path)
    before = list(Journal.read_history(tmp_path / "run"))
    going.run(tmp_path, budget=12)
    assert list(Journal.read_history(tmp_path / "run")) == before
