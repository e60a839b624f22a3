"""Acquisition functions that a third party writes, with public names alone."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_al import (
    BALD,
    Acquisition,
    ActiveDataModule,
    ActiveLearning,
    Candidates,
    MCDropout,
    ScoreAcquisition,
    Selection,
)
from tests.support.tasks import CLASSES, LitMLP, points, trainer

K = 5


def epig(log_probs_N_K_C: Tensor, targets_M_K_C: Tensor) -> Tensor:
    """Expected predictive information gain [N], by enumeration."""
    p, t = log_probs_N_K_C.exp(), targets_M_K_C.exp()

    def entropy(q: Tensor, *axes: int) -> Tensor:
        return -(q * q.clamp_min(1e-30).log()).sum(axes)

    joint = torch.einsum("nkc,mkd->nmcd", p, t) / p.shape[1]
    return (entropy(p.mean(1), -1)[:, None] + entropy(t.mean(1), -1) - entropy(joint, -1, -2)).mean(1)


@dataclass(frozen=True)
class EPIG(ScoreAcquisition):
    min_samples: ClassVar[int] = 2

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        return epig(candidates.log_probs_N_K_C, candidates.target_inputs.log_probs_N_K_C)


@dataclass(frozen=True)
class CoreSet(Acquisition):
    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        embeddings_N_D, positions, scores = candidates.embeddings_N_D, [], []
        nearest_N = torch.cdist(embeddings_N_D, candidates.labelled.embeddings_N_D).amin(1)
        for _ in range(b):
            positions.append(int(nearest_N.argmax()))
            scores.append(float(nearest_N.max()))
            nearest_N = torch.minimum(nearest_N, torch.cdist(embeddings_N_D, embeddings_N_D[positions[-1:]])[:, 0])
        return Selection(torch.tensor(positions), torch.tensor(scores))


@dataclass(frozen=True)
class Subsample(Acquisition):
    """Let another method choose among some of the candidates."""

    base: Acquisition
    size: int

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        some = torch.randperm(len(candidates), generator=generator)[: self.size]
        chosen = self.base.select(candidates.at(some), b, generator)
        return Selection(some[chosen.positions], chosen.scores, chosen.metrics, chosen.warning)


class Kept(Acquisition):
    """Keep the candidates of the last query, all that they offer read."""

    def __init__(self, base: Acquisition) -> None:
        self.base = base
        self.kept: list[dict[str, Any]] = []

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept(self.base)

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        labelled, targets = candidates.labelled, candidates.target_inputs
        self.kept.append(
            {
                "pool": candidates.log_probs_N_K_C,
                "labelled": labelled.log_probs_N_K_C,
                "embeddings": labelled.embeddings_N_D,
                "labels": labelled.labels_N,
                "targets": targets.log_probs_N_K_C,
                "is pool": targets is candidates,
            }
        )
        return self.base.select(candidates, b, generator)


def run(
    tmp_path: Path, acquisition: Any, *, dry: bool = True, rounds: int = 3, **arguments: Any
) -> tuple[ActiveLearning, Any]:
    torch.manual_seed(0)
    given = {"val": points(12, seed=3), **arguments}
    data = ActiveDataModule(points(40), initial_size=8, batch_size=8, pool_batch_size=6, **given)
    active = ActiveLearning(acquisition, query_size=3, max_rounds=rounds, posterior=MCDropout(K))
    steps = 2 if dry else 0
    trainer(tmp_path, callbacks=[active], max_epochs=1, num_sanity_val_steps=steps).fit(LitMLP(), datamodule=data)
    return active, data


TARGETS = torch.randn(9, 8, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("target_inputs", "number"),
    [
        (None, 32),
        ("val", 12),
        (TensorDataset(TARGETS, torch.zeros(9, dtype=torch.int64)), 9),
        pytest.param(TensorDataset(TARGETS), 9, marks=pytest.mark.slow),  # as inputs alone
        (list(TARGETS), 9),
    ],
    ids=["pool", "val", "items", "items without labels", "inputs alone"],
)
def test_epig_by_target_inputs(tmp_path: Path, target_inputs: Any, number: int) -> None:
    kept = Kept(EPIG())
    active, _ = run(tmp_path, kept, rounds=2, target_inputs=target_inputs)
    assert [len(round.indices) for round in active.history] == [3, 0]
    first = kept.kept[0]
    assert first["targets"].shape == (number, K, CLASSES)
    assert first["is pool"] == (target_inputs is None)
    scores, _ = epig(first["pool"], first["targets"]).sort(descending=True)
    assert active.history[0].scores == pytest.approx(scores[:3].tolist(), abs=1e-5)


def test_target_inputs_are_predicted_by_the_samples_of_the_pool(tmp_path: Path) -> None:
    same = points(40)
    kept = Kept(EPIG())
    _, data = run(tmp_path, kept, rounds=2, target_inputs=same)
    first = kept.kept[0]
    unlabelled = [index for index in range(40) if index not in data.pool.initial]
    torch.testing.assert_close(first["targets"][unlabelled], first["pool"])
    torch.testing.assert_close(first["targets"][data.pool.initial], first["labelled"])


@pytest.mark.parametrize(("target_inputs", "number"), [(None, 32), ("val", 12)], ids=["pool", "val"])
def test_some_of_the_candidates_have_the_target_inputs_of_all(tmp_path: Path, target_inputs: Any, number: int) -> None:
    sizes: list[int] = []

    class Some(Acquisition):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            some = candidates.at([5, 0, 2])
            sizes.extend([len(some.target_inputs), len(some.at([1]).target_inputs)])
            last = some.target_inputs.at([number - 1, 0]).log_probs_N_K_C
            torch.testing.assert_close(last, candidates.target_inputs.log_probs_N_K_C[[-1, 0]])
            return Selection(torch.arange(b), torch.zeros(b))

    run(tmp_path, Some(), rounds=2, target_inputs=target_inputs, dry=False)
    assert sizes == [number, number]


def test_labelled_points_have_their_labels(tmp_path: Path) -> None:
    kept = Kept(BALD())
    active, data = run(tmp_path, kept)
    for number, seen in enumerate(kept.kept):
        labelled = [*data.pool.initial, *(index for round in active.history[:number] for index in round.indices)]
        assert seen["labels"].tolist() == [int(points(40)[index][1]) for index in labelled]
        assert len(seen["embeddings"]) == len(labelled)


def test_coreset_covers_what_is_labelled(tmp_path: Path) -> None:
    active, _ = run(tmp_path, CoreSet())
    assert [len(round.indices) for round in active.history] == [3, 3, 0]
    for round in active.history[:2]:
        assert round.scores == sorted(round.scores, reverse=True)


def test_a_wrapper_scores_only_what_it_passes_on(tmp_path: Path) -> None:
    scored: list[int] = []

    class Counting(ScoreAcquisition):
        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            scored.append(len(candidates.log_probs_N_K_C))
            return BALD().score(candidates, generator)

    active, _ = run(tmp_path, Subsample(Counting(), 10), dry=False)
    assert scored == [10, 10]
    assert len(set(active.history[0].indices)) == 3


def test_metrics_and_warnings_of_any_method_are_recorded(tmp_path: Path) -> None:
    class Telling(Acquisition):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            metrics: Any = {"diversity": torch.tensor(0.5), "gains": torch.arange(b)}
            return Selection(torch.arange(b), torch.zeros(b), metrics, "the pool is small")

    with pytest.warns(UserWarning, match="round 0: the pool is small") as caught:
        active, _ = run(tmp_path, Telling())
    assert len([one for one in caught if "the pool is small" in str(one.message)]) == 1
    assert active.history[0].details == {"diversity": 0.5, "gains": [0.0, 1.0, 2.0]}
    assert active.history[1].warning == "the pool is small"


def test_metrics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    class Wrong(Acquisition):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            metrics: Any = {"diversity": "high"}
            return Selection(torch.arange(b), torch.zeros(b), metrics)

    with pytest.raises(TypeError, match=r"(?s)`Wrong.select` should return .* whose `metrics` map names.*round 0"):
        run(tmp_path, Wrong())


def test_groups(tmp_path: Path) -> None:
    class ByGroup(Acquisition):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            known = set(candidates.labelled.groups_N.tolist())
            new = [place for place, group in enumerate(candidates.groups_N.tolist()) if group not in known]
            return Selection(
                torch.tensor((new + [p for p in range(len(candidates)) if p not in new])[:b]), torch.zeros(b)
            )

    groups = [f"patient {index // 4}" for index in range(40)]
    active, data = run(tmp_path, ByGroup(), groups=groups)
    known = {groups[index] for index in data.pool.initial}
    fresh = [index for index in range(40) if groups[index] not in known]
    assert active.history[0].indices == (fresh + [i for i in range(40) if i not in fresh])[:3]
    with pytest.raises(ValueError, match=r"groups=...\)` has 39 groups, but the training data have 40 points"):
        run(tmp_path, ByGroup(), groups=groups[1:])


@pytest.mark.parametrize("missing", [None, math.nan, np.nan, pd.NA, pd.NaT, [3], torch.tensor(3)], ids=repr)
def test_a_point_without_a_group_is_named(tmp_path: Path, missing: Any) -> None:
    groups = [*range(38), missing, missing]
    with pytest.raises(ValueError, match=r"a number or a name for each point, but got .* for point 38 \(2 such"):
        run(tmp_path, BALD(), groups=groups)


def test_missing_groups_of_a_table_are_named(tmp_path: Path) -> None:
    groups = pd.Series([*range(39), None])
    for given in (groups, groups.to_numpy(), torch.tensor(groups.to_numpy()), groups.astype("Int64")):
        with pytest.raises(ValueError, match=r"for point 39 \(1 such"):
            run(tmp_path, BALD(), groups=given)


def test_a_method_for_another_task_is_refused_and_others_are_named() -> None:
    class Variance(ScoreAcquisition):
        tasks = frozenset({"regression"})

        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return torch.zeros(len(candidates))

    with pytest.raises(
        ValueError, match=r"`Variance` is for the tasks regression, but the task .*: .*bald, .*batchbald,"
    ):
        ActiveLearning(Variance(), query_size=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_inputs": "test"}, r"target_inputs='test'\)` is not known. Pass 'val'"),
        ({"target_inputs": "val", "val": None}, r"\(target_inputs='val'\)` found no validation dataset"),
        (
            {"target_inputs": [(torch.zeros(8), 1, 2)]},
            r"\(target_inputs=...\)` expected items like those",
        ),
    ],
)
def test_target_inputs_that_are_none_are_refused(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, EPIG(), **arguments)


def test_what_was_not_given_is_said() -> None:
    data = ActiveDataModule(points(20), initial_size=4)
    data.setup("fit")
    with pytest.raises(ValueError, match="was given no `target_inputs`"):
        data.target_inputs_dataset()
    with pytest.raises(ValueError, match="was given no `groups`"):
        data.group_numbers([0])


class Broken(TensorDataset):
    """Has one item that cannot be read."""

    def __getitem__(self, index: int) -> Any:
        if index == 11:
            raise OSError("cut off")
        return super().__getitem__(index)


def test_a_query_answered_in_part_keeps_all_that_was_said_of_it(tmp_path: Path) -> None:
    class Telling(ScoreAcquisition):
        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return BALD().score(candidates, generator)

        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            chosen = super().select(candidates, b, generator)
            return Selection(chosen.positions, chosen.scores, {"size": len(candidates)}, "all is well")

    histories = []
    for fails in (False, True):
        failed: list[bool] = []

        def answer(indices: list[int], fails: bool = fails, failed: list[bool] = failed) -> Any:
            for number, index in enumerate(indices):
                if fails and number == 2 and not failed:
                    failed.append(True)
                    raise OSError("come back later")
                yield index, index % CLASSES

        def start(folder: Path, answer: Any = answer) -> ActiveLearning:
            torch.manual_seed(0)
            data = ActiveDataModule(Broken(*points(40).tensors), initial=range(8), batch_size=8)
            active = ActiveLearning(
                Telling(),
                query_size=3,
                max_rounds=3,
                posterior=MCDropout(K),
                oracle=answer,
                unscorable="skip",
                folder=folder,
            )
            trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
            return active

        folder = tmp_path / str(fails)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if fails:
                with pytest.raises(OSError, match="come back later"):
                    start(folder)
            histories.append(start(folder).history)
    whole, resumed = histories
    for name in ("indices", "scores", "details", "warning", "unscorable"):
        assert [getattr(round, name) for round in resumed] == [getattr(round, name) for round in whole], name
    assert whole[0].warning == "all is well"
    assert whole[0].unscorable == [11]
