"""Items with keys: a pool that changes between two starts of a run, while labelled items stay what they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Query, Unusable, table
from lightning_al.cli.journal import main
from lightning_al.cli.recorded_run import put_labels
from lightning_al.data.features.points import features_at
from lightning_al.host.namespace import pl
from lightning_al.oracle.corrections import give_back
from lightning_al.run.journal import Journal
from lightning_al.run.recorded_labels import recorded_labels
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(60).tensors
NAMES = ["ant", "bee", "cat", "dog"]
COLUMNS = [f"x{place}" for place in range(X.shape[1])]


class Photos(Dataset[Tensor]):
    """Some of the points, each known by a name, in any order."""

    def __init__(self, numbers: Sequence[int], changed: Sequence[int] = ()) -> None:
        self.numbers = list(numbers)
        self.changed = set(changed)
        self.keys = [f"photos/{number:03}.png" for number in self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Tensor:
        number = self.numbers[place]
        return X[number] + (number in self.changed)


def number_of(key: Any) -> int:
    return int(str(key)[7:10])


class ByKey:
    """Answers by the key alone, some rounds a call."""

    def __init__(self, rounds: int = 99) -> None:
        self.rounds = rounds
        self.asked: list[str] = []

    def label(self, query: Query) -> dict[int, str]:
        if query.round >= self.rounds:
            return {}
        self.asked += query.keys
        return {index: NAMES[int(Y[number_of(key)])] for index, key in zip(query, query.keys, strict=True)}


def run(
    root: Path, data: Any, oracle: Any, folder: Path | None, max_rounds: int = 4, force: bool = False, **arguments: Any
) -> Any:
    """Run a program from its start."""
    torch.manual_seed(0)
    pool = ActiveDataModule(data, classes=NAMES, seed=0, **{"initial_size": 6, "batch_size": 8, **arguments})
    options: Any = {"query_size": 4, "max_rounds": max_rounds, "posterior": MCDropout(2), "seed": 0, "force": force}
    active = ActiveLearning("bald", oracle=oracle, folder=folder, **options)
    module = LitMLP()
    trainer(root, max_epochs=1, callbacks=[active]).fit(module, datamodule=pool)
    return active, pool, module


def keys_labelled(pool: ActiveDataModule) -> list[Any]:
    return [pool.key_of(index) for index in pool.pool.labelled]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run that was stopped while the query of round 1 is open."""
    run(tmp_path, Photos(range(30)), ByKey(rounds=1), tmp_path / "run")
    assert Journal.read(tmp_path / "run").query is not None
    return tmp_path / "run"


def labelled_keys(folder: Path) -> dict[str, Any]:
    records, keys = Journal.read(folder), Photos(range(30)).keys
    return {keys[one.index]: one.label for one in recorded_labels(records)}


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(list(range(30)), marks=pytest.mark.slow),
        list(reversed(range(30))),
        [*range(0, 30, 2), *range(1, 30, 2)],
    ],
    ids=str,
)
def test_the_order_of_the_items_does_not_matter(tmp_path: Path, begun: Path, numbers: list[int]) -> None:
    whole = run(tmp_path, Photos(range(30)), ByKey(), tmp_path / "whole")
    found = run(tmp_path, Photos(numbers), ByKey(), begun)
    assert keys_labelled(found[1]) == keys_labelled(whole[1])
    assert [round.indices for round in found[0].history] == [round.indices for round in whole[0].history]
    for name, value in found[2].state_dict().items():
        assert torch.equal(value, whole[2].state_dict()[name])


class Sorted(Photos):
    """Photos of which some lie in the folder of their class."""

    classes = NAMES

    def __init__(self, numbers: Sequence[int], in_folders: Sequence[int]) -> None:
        super().__init__(numbers)
        self.targets = [int(Y[number]) if number in in_folders else None for number in self.numbers]

    def __getitem__(self, place: int) -> Any:
        return super().__getitem__(place), -1 if self.targets[place] is None else self.targets[place]


def test_items_that_join_with_a_label_are_not_asked_for(tmp_path: Path) -> None:
    run(tmp_path, Sorted(range(30), [0, 1, 2, 3, 7, 9]), ByKey(rounds=1), tmp_path / "run")
    in_folders = [0, 1, 2, 3, 7, 9, *range(30, 60)]
    oracle = ByKey()
    _, pool, _ = run(tmp_path, Sorted(range(59, -1, -1), in_folders), oracle, tmp_path / "run", max_rounds=7)
    joined = [index for index in pool.pool.labelled if number_of(pool.key_of(index)) >= 30]
    assert joined
    assert all(pool.class_of(index) == int(Y[number_of(pool.key_of(index))]) for index in pool.pool.labelled)
    assert not any(number_of(key) in in_folders for key in oracle.asked)


def test_items_join_and_unlabelled_ones_leave(tmp_path: Path, begun: Path) -> None:
    before = labelled_keys(begun)
    records = Journal.read(begun)
    stay = {*(number_of(key) for key in before), *records.query.indices}
    gone = next(number for number in range(30) if number not in stay)
    numbers = [number for number in [*range(30, 60), *range(30)] if number != gone]
    oracle = ByKey()
    active, pool, _ = run(tmp_path, Photos(numbers), oracle, begun, max_rounds=7)
    assert active.done
    labelled = keys_labelled(pool)
    assert labelled[: len(before)] == list(before)
    assert not set(oracle.asked) & set(before)
    assert any(number_of(key) >= 30 for key in labelled)
    assert all(label == int(Y[number_of(pool.key_of(index))]) for index, label in pool.pool.labels.items())
    assert pool.pool.num_unlabelled == len(numbers) - len(labelled)
    # A third start numbers the items as the second one did, in any order again.
    again = run(tmp_path, Photos(sorted(numbers)), ByKey(), begun, max_rounds=8)
    assert keys_labelled(again[1])[: len(labelled)] == labelled
    assert [round.indices for round in again[0].history][:6] == [round.indices for round in active.history][:6]


class PartlyLabelled(Photos):
    """Photos, of which the first twelve have labels already."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(numbers)
        self.targets = [int(Y[number]) if number < 12 else None for number in self.numbers]

    def __getitem__(self, place: int) -> Any:
        return super().__getitem__(place), self.targets[place]


def test_more_labels_than_the_initial_size_are_those_of_the_run_when_items_join(tmp_path: Path) -> None:
    folder, oracle = tmp_path / "run", ByKey(rounds=1)
    _, before, _ = run(tmp_path, PartlyLabelled(range(30)), oracle, folder)
    assert sorted(map(number_of, keys_labelled(before)))[:12] == list(range(12))
    assert all(number_of(key) >= 12 for key in oracle.asked)
    _, after, _ = run(tmp_path, PartlyLabelled([*reversed(range(30)), 40, 41]), oracle, folder)
    assert after.pool.initial == before.pool.initial
    assert keys_labelled(after)[: before.pool.num_labelled] == keys_labelled(before)


def test_the_contents_of_an_unusable_item_are_not_recorded(tmp_path: Path) -> None:
    class Discards(ByKey):
        def label(self, query: Query) -> dict[int, Any]:
            answers = super().label(query)
            return dict.fromkeys(answers, Unusable("dark")) if query.round == 0 else answers

    _, pool, _ = run(tmp_path, Photos(range(20)), Discards(), tmp_path / "run", max_rounds=2)
    assert len(pool.pool.unusable) == 4
    assert not set(pool.pool.unusable) & set(Journal.read(tmp_path / "run").items)


@pytest.mark.parametrize("is_initial", [True, False])
def test_a_labelled_item_that_is_gone_is_named(tmp_path: Path, begun: Path, is_initial: bool) -> None:
    key = list(labelled_keys(begun))[0 if is_initial else -1]
    others = [number for number in range(30) if number != number_of(key)]
    with pytest.raises(ValueError, match=f"1 labelled items of the run .* are gone from the data: '{key}'"):
        run(tmp_path, Photos(others), ByKey(), begun)
    assert labelled_keys(begun)[key] is not None
    run(tmp_path, Photos(range(30)), ByKey(), begun)


def test_one_that_was_given_back_may_be_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(tmp_path, Photos(range(30)), ByKey(), folder, max_rounds=2)
    index = Journal.read(folder).rounds[0]["indices"][0]
    give_back(folder, index)
    oracle = ByKey()
    _, pool, _ = run(tmp_path, Photos([n for n in range(30) if n != index]), oracle, folder, max_rounds=4)
    assert index not in pool.pool.labelled
    assert index not in pool.pool.unlabelled
    assert Photos([index]).keys[0] not in oracle.asked


@pytest.mark.parametrize("which", ["of a round", "initial", "audit"])
def test_one_that_is_being_asked_for_is_named_and_may_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    folder, audit = tmp_path / "run", {"audit": 3} if which == "audit" else {}
    run(tmp_path, Photos(range(30)), ByKey(rounds=1 if which == "of a round" else -1), folder, **audit)
    query = Journal.read(folder).query
    assert query is not None
    gone = sorted([*query.audited, *query.indices][:2] if which == "audit" else query.indices[:2])
    left = [number for number in range(30) if number not in gone]
    with pytest.raises(ValueError, match=r"2 items that are being labelled of .* Put them back, or skip"):
        run(tmp_path, Photos(left), ByKey(), folder, **audit)
    assert main(["skip", str(folder), Photos(gone).keys[0], str(gone[1])]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"{gone[0]} ({Photos(gone).keys[0]}) is skipped, at no cost" in said[-2]
    assert main(["skip", str(folder), str(left[0] if left[0] not in query.points else 29), str(gone[0])]) == 2
    assert "is no point that awaits an answer" in capsys.readouterr().err
    if which == "of a round":  # it is not scored either
        scored = ActiveDataModule(Photos(left), classes=NAMES, batch_size=8, seed=0, initial_size=6)
        active = ActiveLearning("bald", query_size=4, posterior=MCDropout(2), oracle=ByKey(), seed=0)
        put_labels(Journal.read(folder), folder, trainer(tmp_path), active, scored)
        assert len(scored.pool.unlabelled) == len(set(left) - set(scored.pool.labelled))
        assert set(scored.pool.unlabelled) <= set(left)
    oracle = ByKey()
    active, pool, _ = run(tmp_path, Photos(left), oracle, folder, **audit)
    assert active.done
    assert active.history[-1].spent == pool.pool.num_labelled + len(pool.pool.audit.labelled)
    assert not set(Photos(gone).keys) & set(oracle.asked)
    states = {one.index: one.state for one in recorded_labels(Journal.read(folder))}
    assert {states[index] for index in gone} == {"skip"}
    assert set(pool.pool.labelled) | set(pool.pool.audit.labelled) <= set(left)


def test_a_labelled_item_with_other_contents_is_named(tmp_path: Path, begun: Path) -> None:
    key = list(labelled_keys(begun))[-1]
    with pytest.raises(ValueError, match=f"1 labelled items of the run .* have other contents .*'{key}'"):
        run(tmp_path, Photos(range(30), changed=[number_of(key)]), ByKey(), begun)


def test_unlabelled_items_may_have_other_contents(tmp_path: Path, begun: Path) -> None:
    labelled = {number_of(key) for key in labelled_keys(begun)}
    others = [number for number in range(30) if number not in labelled]
    assert run(tmp_path, Photos(range(30), changed=others), ByKey(), begun)[0].done


def written_table(path: Path, numbers: Sequence[int], changed: Sequence[int] = (), **columns: Any) -> Path:
    """Write some of the points as a table, far from a mean of 0 and a deviation of 1."""
    rows = 100 + 9 * X[list(numbers)]
    frame = pd.DataFrame(rows.numpy(), columns=COLUMNS).assign(id=Photos(numbers).keys, **columns)
    frame.loc[[number in changed for number in numbers], COLUMNS[0]] += 1
    frame.to_csv(path, index=False)
    return path


def read_table(path: Path, **arguments: Any) -> Any:
    return table(path, columns=COLUMNS, key="id", classes=NAMES, label="name", batch_size=8, **arguments)


def test_a_table_grows_and_shrinks_and_its_rows_keep_their_inputs(tmp_path: Path) -> None:
    path, folder = tmp_path / "x.csv", tmp_path / "run"
    names = [NAMES[number] for number in Y[40:].tolist()]
    val = written_table(tmp_path / "val.csv", range(40, 60), name=names)
    _, before, _ = run(
        tmp_path, read_table(written_table(path, range(30), name=""), val=val), ByKey(1), folder, batch_size=32
    )
    asked = set(map(number_of, before.keys_of([*before.pool.labelled, *Journal.read(folder).query.rest])))
    gone = next(number for number in range(30) if number not in asked)
    here = [number for number in reversed(range(36)) if number != gone]
    written_table(path, here, changed=[35], name="")
    _, after, _ = run(tmp_path, read_table(path, val=val), ByKey(), folder, batch_size=32)
    assert after.pool.num_labelled > before.pool.num_labelled
    for number in set(here) & set(range(30)):
        assert torch.equal(after.item_of(number)[0], before.item_of(number)[0])
    for place in range(20):
        assert torch.equal(after.val_dataloader().dataset[place][0], before.val_dataloader().dataset[place][0])
    first = 100 + 9 * X[:30].double()
    joined = (100 + 9 * X[34].double() - first.mean(0)) / first.std(0, correction=0)
    assert torch.allclose(after.item_of(after.keys.index(Photos([34]).keys[0]))[0], joined.float(), atol=1e-5)


def test_a_labelled_row_with_another_cell_is_named(tmp_path: Path) -> None:
    path, folder = tmp_path / "x.csv", tmp_path / "run"
    _, pool, _ = run(tmp_path, read_table(written_table(path, range(30), name="")), ByKey(), folder, 1, batch_size=32)
    key = pool.key_of(pool.pool.labelled[0])
    written_table(path, range(36), changed=[number_of(key)], name="")
    with pytest.raises(ValueError, match=rf"1 labelled items of the run .* have other contents .*'{key}'"):
        run(tmp_path, read_table(path), ByKey(), folder, batch_size=32)


def with_rows(numbers: Sequence[int], changed: Sequence[int] = (), size: int = 8) -> dict[str, Any]:
    """Features of some of the points, in the order of the points."""
    rows = 2 * X[list(numbers), :size]
    rows[[number in changed for number in numbers]] += 1
    return {"features": {"train": rows}}


def test_rows_of_features_follow_their_items_when_a_pool_grows(tmp_path: Path) -> None:
    folder, numbers = tmp_path / "run", list(range(30))
    _, before, _ = run(tmp_path, Photos(numbers), ByKey(1), folder, **with_rows(numbers))
    asked = set(map(number_of, before.keys_of([*before.pool.labelled, *Journal.read(folder).query.rest])))
    gone = next(number for number in numbers if number not in asked)
    others = [number for number in numbers if number not in {*asked, gone}]
    here = [number for number in reversed(range(36)) if number != gone]
    active, after, _ = run(tmp_path, Photos(here), ByKey(), folder, **with_rows(here, changed=others))
    assert active.done
    labelled = after.pool.labelled[: before.pool.num_labelled]
    assert torch.equal(features_at(after, labelled), 2 * X[[number_of(after.key_of(index)) for index in labelled]])
    assert torch.equal(features_at(after, [32]), 2 * X[[number_of(after.key_of(32))]])


def test_another_row_of_a_labelled_item_is_named(tmp_path: Path) -> None:
    folder, here = tmp_path / "run", list(range(36))
    _, pool, _ = run(tmp_path, Photos(range(30)), ByKey(), folder, 2, **with_rows(range(30)))
    key = pool.key_of(pool.pool.labelled[-1])
    for rows, said in (
        (
            with_rows(here, changed=[number_of(key)]),
            rf"other rows in `ActiveDataModule\(features=...\)` .* '{key}'. Pass",
        ),
        (with_rows(here, size=5), r"datamodule.features.train` is 'ndarray \[\*, 8\] of float32' there and"),
        (with_rows(range(30)), "has 30 rows for the train data, which have 36 items"),
    ):
        with pytest.raises(ValueError, match=said):
            run(tmp_path, Photos(here), ByKey(), folder, 3, **rows)
    with pytest.warns(UserWarning, match=rf"force=True.* resumes a run whose labelled items had other rows .*'{key}'"):
        active, _, _ = run(tmp_path, Photos(here), ByKey(), folder, 3, True, **with_rows(here, [number_of(key)]))
    assert active.done


def test_without_keys_another_pool_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    answers = lambda query: {index: NAMES[int(Y[index])] for index in query}  # noqa: E731
    run(tmp_path, X[:30], answers, folder, max_rounds=2)
    with pytest.raises(ValueError, match=r"data\.length"):
        run(tmp_path, X, answers, folder, max_rounds=3)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "does not hold the keys that the run began with"),
        (lambda path: path.write_text(path.read_text().replace("000", "999")), "does not hold the keys that"),
        (lambda path: path.write_text("{"), r"cannot be read: .* Put back a copy of journal.sqlite"),
        (lambda path: path.write_text("0.5\n"), r"0.5 is no key that a run writes. Put back a copy"),
    ],
    ids=["missing", "other keys", "no JSON", "no key"],
)
def test_lost_numbers_are_not_guessed(tmp_path: Path, begun: Path, damage: Any, said: str) -> None:
    path = begun / "keys.jsonl"
    whole = path.read_text()
    damage(path)
    with pytest.raises(RuntimeError, match=said):
        run(tmp_path, Photos(range(30)), ByKey(), begun)
    path.write_text(whole)
    assert run(tmp_path, Photos(range(30)), ByKey(), begun)[0].done


def test_numbers_of_items_that_joined_are_checked_too(tmp_path: Path, begun: Path) -> None:
    run(tmp_path, Photos([*range(30), 31, 32]), ByKey(), begun, max_rounds=8)
    path = begun / "keys.jsonl"
    *first, last, end = path.read_text().splitlines()
    labelled = {one.index for one in recorded_labels(Journal.read(begun))}
    assert {30, 31} <= labelled
    path.write_text("\n".join([*first, end, last, ""]))
    with pytest.raises(RuntimeError, match=r"says that item \d+ is 'photos/03\d\.png', but the journal says"):
        run(tmp_path, Photos([*range(30), 31, 32]), ByKey(), begun, max_rounds=9)


def test_an_item_that_is_gone_cannot_be_read(tmp_path: Path, begun: Path) -> None:
    records = Journal.read(begun)
    stay = {*(one.index for one in recorded_labels(records)), *records.query.indices}
    gone = next(number for number in range(30) if number not in stay)
    _, pool, _ = run(tmp_path, Photos([number for number in range(30) if number != gone]), ByKey(), begun)
    with pytest.raises(LookupError, match=f"'photos/{gone:03}.png' is gone from the data"):
        pool.item_of(gone)
    with pytest.raises(ValueError, match=r"`Pool.leave` got indices \[\d+\], which are labelled"):
        pool.pool.leave(pool.pool.labelled[:1])


def test_the_keys_of_a_datamodule_may_not_change(tmp_path: Path) -> None:
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(TensorDataset(X[:20], Y[:20]), batch_size=8, shuffle=True)

    def start(keys: list[str], rounds: int) -> Any:
        torch.manual_seed(0)
        pool = ActiveDataModule(Data(), initial_size=6, keys=keys, seed=0)
        options: Any = {"posterior": MCDropout(2), "folder": tmp_path / "run", "seed": 0, "max_rounds": rounds}
        active = ActiveLearning("bald", query_size=4, **options)
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=pool)
        return pool

    keys = Photos(range(20)).keys
    assert start(keys, 2).key_of(3) == "photos/003.png"
    start(keys, 3)
    with pytest.raises(ValueError, match="have other keys, or another order, than when the run began"):
        start(keys[::-1], 4)


def test_the_keys_come_from_a_column(tmp_path: Path) -> None:
    table = pd.DataFrame(X[:20].numpy(), columns=[f"f{column}" for column in range(X.shape[1])])
    table["id"] = [f"photos/{number:03}.png" for number in range(20)]
    shuffled = table.sample(frac=1, random_state=3)
    first = run(tmp_path, table, ByKey(rounds=1), tmp_path / "run", keys="id")
    assert first[1].item_of(3)[0].tolist() == X[3].tolist()
    _, pool, _ = run(tmp_path, shuffled, ByKey(), tmp_path / "run", keys="id")
    for index, label in pool.pool.labels.items():
        assert label == int(Y[number_of(pool.key_of(index))])


def test_groups_follow_their_items(tmp_path: Path, begun: Path) -> None:
    numbers = list(reversed(range(30)))
    _, pool, _ = run(tmp_path, Photos(numbers), ByKey(), begun, groups=[number % 5 for number in numbers])
    same = pool.group_numbers(list(range(30)))
    for index in range(30):
        assert (same == same[index]).nonzero().flatten().tolist() == [i for i in range(30) if i % 5 == index % 5]


def test_files_are_known_by_their_bytes(tmp_path: Path) -> None:
    class Files(Photos):
        def path_of(self, place: int) -> Path:
            return tmp_path / str(self.numbers[place])

    for number in range(12):
        (tmp_path / str(number)).write_bytes(bytes([number]))
    folder = tmp_path / "run"
    _, pool, _ = run(tmp_path, Files(range(12)), ByKey(), folder, max_rounds=2)
    labelled = pool.pool.labelled[-1]
    (tmp_path / str(labelled)).write_bytes(b"other")
    with pytest.raises(ValueError, match="have other contents than when they were labelled"):
        run(tmp_path, Files(reversed(range(12))), ByKey(), folder, max_rounds=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        (["a", "b"], ValueError, "got 2 keys for 3 items. Pass one for each item, in the order"),
        (["a", "b", "a"], ValueError, "got keys that come twice: 'a'"),
        (["a", 0.5, "b"], TypeError, "got 0.5 for a key. Pass texts or whole numbers"),
        (7, TypeError, "expected one key for each item, but got 7"),
        ("id", ValueError, "names a column of a table, but `data`"),
    ],
)
def test_keys_that_are_none(keys: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ActiveDataModule(X[:3], initial_size=1, classes=NAMES, keys=keys).setup("fit")
