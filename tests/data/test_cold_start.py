"""Initial points that an acquisition function selects by features, before there is a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_al import (
    Acquisition,
    ActiveDataModule,
    ActiveLearning,
    AtMostPerGroup,
    Candidates,
    Deterministic,
    Margin,
    MaxHerding,
    Query,
    Selection,
    available,
)
from lightning_al.acquisition.max_herding import max_herding
from lightning_al.data.features.points import features_at
from tests.support.tasks import CLASSES, LitMLP, points, trainer

N = 60
POOL = points(N)
X, Y = POOL.tensors
UNIT = torch.nn.functional.normalize(X, dim=1)


class Farthest(Acquisition):
    """Selects the points that are farthest along the first feature, and keeps what it read."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def config(self) -> dict[str, Any]:
        return {}

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        self.seen.append((candidates.features_N_D, candidates.labelled.features_N_D))
        scores, positions = candidates.features_N_D[:, 0].topk(b)
        return Selection(positions, scores)


def set_up(data: Any = POOL, **arguments: Any) -> ActiveDataModule:
    made = ActiveDataModule(data, **{"features": X, "initial_size": 8, "seed": 3, **arguments})
    made.setup("fit")
    return made


@pytest.mark.parametrize("initial", ["max_herding", MaxHerding()], ids=["name", "object"])
def test_initial_points_are_those_of_the_method_on_all_points(initial: Any) -> None:
    draws = max_herding(UNIT, 8).positions.tolist()
    first = set_up(initial=initial).pool.initial
    assert first == draws
    assert set_up(initial=initial).pool.initial == first


def test_what_a_method_says_of_its_selection_is_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"\(initial=...\)`: .*it selected up to 2 of a group"):
        pool = set_up(initial=AtMostPerGroup("max_herding", n=1), groups=[n % 4 for n in range(N)]).pool
    assert sorted(index % 4 for index in pool.initial) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_draw_follows_the_seed() -> None:
    drawn = [set_up(initial="random", seed=seed).pool.initial for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_audit_points_and_points_with_a_label_are_not_selected(tmp_path: Path) -> None:
    method = Farthest()
    data = set_up(initial=method, audit=30)
    audit = data.pool.audit.drawn
    [(features, labelled)] = method.seen
    assert len(labelled) == 0
    assert torch.equal(features, X[[index for index in range(N) if index not in audit]])
    assert not set(data.pool.initial) & set(audit)

    class Partly(torch.utils.data.Dataset[Any]):
        targets: ClassVar = [int(Y[i]) if i in (5, 9, 11) else None for i in range(N)]

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> Any:
            return X[index], self.targets[index]

    method = Farthest()
    data = set_up(Partly(), initial=method, classes=range(CLASSES))
    assert data.pool.initial[:3] == [5, 9, 11]
    assert len(data.pool.initial) == 8
    assert torch.equal(method.seen[0][1], X[[5, 9, 11]])
    assert set_up(Partly(), initial=method, classes=range(CLASSES), initial_size=2).pool.initial == [5, 9, 11]


def test_labels_of_an_earlier_run_come_first(tmp_path: Path) -> None:
    _, before = run(tmp_path, X, oracle=right, max_rounds=2, folder=tmp_path / "run")
    method = Farthest()
    data = set_up(X.numpy(), classes=range(CLASSES), initial=method, initial_size=12, labels=tmp_path / "run")
    assert data.pool.initial[:10] == before.pool.labelled
    assert torch.equal(method.seen[0][1], X[data.pool.initial[:10]])
    assert len(data.pool.initial) == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"features": None}, r"by features of the points, but `features` is None. Pass `features=`"),
        ({"initial": "margin"}, "lets `Margin` select before there is a model, but it reads the outputs"),
        ({"initial": Margin()}, r"Choose one that reads features alone: .*max_herding, .*random"),
        ({"initial": "badge"}, "lets `BADGE` select before there is a model, but it reads"),
        ({"initial_size": None}, r"of which `initial_size` does not say how many. Pass `initial_size=`, and leave"),
        ({"balanced": True}, r"of which `balanced=True` knows none"),
        ({"initial": "no such"}, "There is no acquisition function named 'no such'"),
        ({"initial_size": 61}, "is larger than the training data, which have 60 points"),
    ],
)
def test_what_cannot_be_selected_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        set_up(**{"initial": "max_herding", **arguments})


def test_each_function_selects_by_features_or_is_refused_by_name() -> None:
    for name in available():
        try:
            assert len(set(set_up(initial=name, groups=range(N)).pool.initial)) == 8
        except ValueError as error:
            assert "select before there is a model, but it reads the outputs" in str(error)  # noqa: PT017


def right(query: Query) -> dict[int, int]:
    return {index: int(Y[index]) for index in query.indices}


def run(root: Path, encoder: Any, **arguments: Any) -> tuple[ActiveLearning, ActiveDataModule]:
    of_data = {"initial": "max_herding", "initial_size": 6, **arguments.pop("data", {})}
    active = ActiveLearning("max_herding", query_size=4, posterior=Deterministic(), **arguments)
    data = ActiveDataModule(X.numpy(), classes=range(CLASSES), features=encoder, batch_size=8, seed=0, **of_data)
    trainer(root, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
    return active, data


def test_a_resumed_run_keeps_its_initial_points_whatever_the_features_are_now(tmp_path: Path) -> None:
    """As on another device, whose last digits differ."""
    asked: list[int] = []

    def nobody(query: Query) -> dict[int, int]:
        asked.extend(query.indices)
        return {}

    noise = [0.0]

    class Inexact:
        def __call__(self, inputs: Tensor) -> Tensor:
            return inputs + noise[0] * torch.randn(inputs.shape)

        def config(self) -> dict[str, Any]:
            return {"noise": noise[0]} if noise[0] == 0 else {"noise": 0.0}

    folder = tmp_path / "run"
    _, first = run(tmp_path, Inexact(), oracle=nobody, max_rounds=2, folder=folder)
    assert sorted(asked) == sorted(first.pool.initial)
    noise[0] = 10.0
    for path in folder.glob("features-*.npy"):
        path.unlink()
    active, second = run(tmp_path, Inexact(), oracle=right, max_rounds=2, folder=folder)
    assert second.pool.initial == first.pool.initial
    assert active.history[0].labelled == 6
    assert active.done


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"initial": "random"}, r"`datamodule.initial` is .*MaxHerding there and .*Random here"),
        ({"initial_size": 7}, "initial differ"),
    ],
)
def test_a_run_with_other_initial_points_is_another(tmp_path: Path, other: Any, said: str) -> None:
    run(tmp_path, np.asarray(X), oracle=right, max_rounds=1, folder=tmp_path / "run")
    with pytest.raises(ValueError, match=said):
        run(tmp_path, np.asarray(X), oracle=right, max_rounds=1, folder=tmp_path / "run", data=other)


def test_an_encoder_for_the_initial_points_runs_once(tmp_path: Path) -> None:
    items = [0]

    class Counted:
        def __call__(self, inputs: Tensor) -> Tensor:
            items[0] += len(inputs)
            return inputs

        def config(self) -> dict[str, Any]:
            return {}

    _, data = run(tmp_path, Counted(), oracle=right, max_rounds=2, folder=tmp_path / "run")
    assert items[0] == N
    assert torch.equal(features_at(data, [3, 1]), X[[3, 1]])
    assert len(list((tmp_path / "run").glob("features-train-*.npy"))) == 1


@pytest.mark.parametrize("kind", ["array", "encoder"])
def test_points_without_features_are_not_selected_and_are_named(kind: str) -> None:
    rows = X.clone()
    rows[[7, 20]] = torch.nan
    others = [index for index in range(N) if index not in (7, 20)]
    given = (
        rows if kind == "array" else lambda inputs: torch.where((inputs == X[[7, 20]][:, None]).any(0), np.nan, inputs)
    )
    data = ActiveDataModule(POOL, features=given, initial="max_herding", initial_size=8)
    data.skips_unreadable = True
    with pytest.warns(UserWarning, match=r"does not select 2 of 60 points, which have no features: \[7, 20\]"):
        data.setup("fit")
    expected = max_herding(UNIT[others], 8).positions.tolist()
    assert data.pool.initial == [others[position] for position in expected]


def test_too_few_points_with_features_are_refused() -> None:
    rows = X.clone()
    rows[5:] = torch.nan
    data = ActiveDataModule(POOL, features=rows, initial="max_herding", initial_size=8)
    data.skips_unreadable = True
    with pytest.raises(ValueError, match="initial_size=8"), pytest.warns(UserWarning, match="which have no features"):
        data.setup("fit")


@pytest.mark.parametrize("inputs", [None, "features"])
def test_a_labelled_point_without_features_is_named_before_the_first_step(tmp_path: Path, inputs: Any) -> None:
    rows = X.clone()
    rows[[7, 20]] = torch.nan
    data = ActiveDataModule(POOL, features=rows, initial=[1, 20, 7], inputs=inputs)
    active = ActiveLearning("max_herding", query_size=4, posterior=Deterministic(), unscorable="skip")
    with pytest.raises(ValueError, match=r"labelled points \[20, 7\] have no features. .* Give "):
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
    assert active.round == 0
