"""Points of the pool that cannot be scored end the run by name, or are left out as if they were not in the pool."""

from __future__ import annotations

import gc
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

from lightning_al import ActiveDataModule, ActiveLearning, BatchBALD, MCDropout, Subsample
from lightning_al.acquisition.base import Acquisition, Selection
from lightning_al.host.namespace import pl
from lightning_al.points import Candidates
from lightning_al.prediction.unscorable import UnscorableError, leave_out
from tests.support.combinations import one_in
from tests.support.tasks import LitMLP, points, trainer

SIZE = 50
NAN, BROKEN, ODD = [17, 40], [0, 23, 49], [31]
BAD = sorted(NAN + BROKEN + ODD)
INITIAL = list(range(1, 9))


class Faulty(Dataset[Any]):
    """Points of which some hold NaN, some cannot be decoded, and some have another shape than the others."""

    def __init__(self, nan: Sequence[int] = (), broken: Sequence[int] = (), odd: Sequence[int] = ()) -> None:
        self.points = points(SIZE)
        self.nan, self.broken, self.odd = set(nan), set(broken), set(odd)

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Any:
        x, y = self.points[index]
        if index in self.broken:
            raise OSError(f"image file is truncated ({index} bytes not processed)")
        if index in self.odd:
            return x.repeat(2), y
        return (x * torch.nan if index in self.nan else x), y


class Embeddings(Acquisition):
    """Asks for the embeddings of largest norm, and reads no log-probabilities."""

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        scores, positions = candidates.embeddings_N_D.norm(dim=1).topk(b)
        return Selection(positions, scores)


class LitFaulty(pl.LightningDataModule):
    """A datamodule whose sampler draws some of the points."""

    def __init__(self, dataset: Dataset[Any], members: Sequence[int], workers: int = 0, collate: Any = None) -> None:
        super().__init__()
        self.dataset, self.members, self.workers, self.collate = dataset, members, workers, collate

    def train_dataloader(self) -> DataLoader[Any]:
        sampler = SubsetRandomSampler(self.members)
        return DataLoader(
            self.dataset, 8, sampler=sampler, num_workers=self.workers, collate_fn=self.collate, drop_last=False
        )


def run(
    tmp_path: Path,
    dataset: Dataset[Any],
    acquisition: Any = "bald",
    *,
    members: Sequence[int] = range(SIZE),
    batch_size: int = 8,
    workers: int = 0,
    collate: Any = None,
    dry: bool = True,
    module: pl.LightningModule | None = None,
    data: dict[str, Any] | None = None,
    **arguments: Any,
) -> tuple[ActiveLearning, dict[str, Tensor]]:
    torch.manual_seed(3)
    module = LitMLP() if module is None else module
    wrapped = LitFaulty(dataset, members, workers, collate)
    data_module = ActiveDataModule(wrapped, **{"initial": INITIAL, "pool_batch_size": batch_size, **(data or {})})
    settings = {"query_size": 4, "max_rounds": 3, "posterior": MCDropout(3), "seed": 1, **arguments}
    active = ActiveLearning(acquisition, **settings)
    steps = {"num_sanity_val_steps": 2} if dry else {}
    trainer(tmp_path, callbacks=[active], max_epochs=1, **steps).fit(module, datamodule=data_module)
    return active, module.state_dict()


def skipping(tmp_path: Path, dataset: Dataset[Any], acquisition: Any = "bald", **arguments: Any) -> Any:
    with pytest.warns(UserWarning, match="unlabelled points cannot be scored and were left out: index"):
        return run(tmp_path, dataset, acquisition, unscorable="skip", **arguments)


ACQUISITIONS: dict[str, Callable[[], Any]] = {
    "random": lambda: "random",
    "entropy": lambda: "entropy",
    "batchbald": lambda: "batchbald",
    "streamed": lambda: BatchBALD(max_memory=16 * 30 * 3),
    "embeddings": Embeddings,
}


# Streamed BatchBALD selects as the one in memory does, and sees each batch more than once.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "batchbald" else name for name in ACQUISITIONS]
)
def test_points_are_left_out_as_if_they_were_not_in_the_pool(tmp_path: Path, name: str) -> None:
    without, expected = run(
        tmp_path, Faulty(), ACQUISITIONS[name](), members=[index for index in range(SIZE) if index not in BAD]
    )
    active, found = skipping(tmp_path, Faulty(NAN, BROKEN, ODD), ACQUISITIONS[name]())
    for round, other in zip(active.history, without.history, strict=True):
        assert round.indices == other.indices
        assert round.scores == other.scores
        assert round.details == other.details
        assert round.unscorable == (BAD if round.indices else [])
    assert all(torch.equal(found[weight], expected[weight]) for weight in expected)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> ActiveLearning:
    """A run that leaves points out, in batches of 8 that no worker reads."""
    return skipping(tmp_path_factory.mktemp("expected"), Faulty(NAN, BROKEN, ODD), max_rounds=2)[0]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*cannot be scored")
@pytest.mark.parametrize(
    ("batch_size", "workers"), [(1, 0), (5, 2), *(pytest.param(size, 0, marks=pytest.mark.slow) for size in (7, 100))]
)
def test_which_are_left_out_depends_on_no_batch_and_no_worker(
    tmp_path: Path, expected: ActiveLearning, batch_size: int, workers: int
) -> None:
    active, _ = run(
        tmp_path, Faulty(NAN, BROKEN, ODD), batch_size=batch_size, workers=workers, unscorable="skip", max_rounds=2
    )
    assert active.history[0].unscorable == expected.history[0].unscorable
    assert active.history[0].indices == expected.history[0].indices


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*cannot be scored")
def test_workers_of_a_loader_that_failed_end_at_once(tmp_path: Path) -> None:
    alive: list[int] = []

    class Counting(Embeddings):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            alive.append(len(multiprocessing.active_children()))
            return super().select(candidates, b, generator)

    gc.collect()
    gc.disable()
    try:
        run(
            tmp_path,
            Faulty(broken=BROKEN),
            Counting(),
            workers=2,
            batch_size=5,
            unscorable="skip",
            max_rounds=2,
            dry=False,
        )
    finally:
        gc.enable()
    # Before the first selection, those of training are alive.
    assert len(alive) == 2
    assert alive[1] == alive[0]


@pytest.mark.parametrize(("workers", "dry"), one_in(2, [0, 2], [True, False]))
def test_by_default_an_item_that_cannot_be_read_is_named(tmp_path: Path, workers: int, dry: bool) -> None:
    message = (
        r"(?s)Item 30 of the training data cannot be read: OSError: .*\(30 bytes not processed\).*unscorable=.skip"
    )
    with pytest.raises(OSError, match=message):
        run(tmp_path, Faulty(broken=[30]), workers=workers, dry=dry)


def test_by_default_an_item_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Item 31 of the training data cannot be read: RuntimeError: stack expects"):
        run(tmp_path, Faulty(odd=ODD))


def test_an_exception_that_needs_more_than_a_text_is_named_too(tmp_path: Path) -> None:
    class Undecodable(Faulty):
        def __getitem__(self, index: int) -> Any:
            return b"\xff".decode() if index == 30 else super().__getitem__(index)

    with pytest.raises(RuntimeError, match="Item 30 of the training data cannot be read: UnicodeDecodeError: "):
        run(tmp_path, Undecodable())


def test_an_item_that_is_left_out_by_the_collate_function_is_named(tmp_path: Path) -> None:
    class Nothing(Faulty):
        def __getitem__(self, index: int) -> Any:
            return None if index == 30 else super().__getitem__(index)

    def collate(items: list[Any]) -> Any:
        return torch.utils.data.default_collate([item for item in items if item is not None])

    with pytest.warns(UserWarning, match=r"index 30 \(ValueError: `collate_fn` left the point out of a batch of two"):
        active, _ = run(tmp_path, Nothing(), collate=collate, data={"target": 1}, unscorable="skip")
    assert [round.unscorable for round in active.history] == [[30], [30], []]


def test_what_is_left_out_is_named_counted_and_warned_of_once(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        active, _ = run(tmp_path, Faulty(NAN, BROKEN), unscorable="skip", folder=tmp_path / "run")
    said = [str(warning.message) for warning in caught if "cannot be scored" in str(warning.message)]
    assert len(said) == 1
    assert "round 0: 5 of 42 unlabelled points cannot be scored" in said[0]
    assert "index 0 (OSError: image file is truncated (0 bytes not processed))" in said[0]
    assert "index 17 (NaN or Inf)" in said[0]
    assert "left out 5 that cannot be scored" in repr(active.history)
    # The journal keeps it.
    again, _ = run(tmp_path, Faulty(NAN, BROKEN), unscorable="skip", folder=tmp_path / "run")
    assert [round.unscorable for round in again.history] == [round.unscorable for round in active.history]


def test_a_run_that_ended_by_such_a_point_goes_on_without_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match=r"`LitMLP` gave NaN or Inf for 1 of 42 .* begin with \[17\]"):
        run(tmp_path, Faulty([17]), folder=folder, dry=False)
    active, _ = skipping(tmp_path, Faulty([17]), folder=folder)
    assert [round.unscorable for round in active.history] == [[17], [17], []]
    expected, _ = skipping(tmp_path, Faulty([17]))
    assert [round.indices for round in active.history] == [round.indices for round in expected.history]


def test_a_point_that_can_be_scored_again_is_back_in_the_pool(tmp_path: Path) -> None:
    class Repaired(Faulty):
        """Is repaired where the first labels are given."""

        def label(self, indices: Sequence[int]) -> dict[int, Any]:
            self.broken.discard(23)
            return dict.fromkeys(indices)

    dataset = Repaired(broken=[0, 23])
    active, _ = skipping(tmp_path, dataset, oracle=dataset)
    assert [round.unscorable for round in active.history] == [[0, 23], [0], []]
    expected, _ = skipping(tmp_path, Faulty(broken=[0]), max_rounds=2)
    assert expected.history[0].unscorable == [0]


@pytest.mark.parametrize("dry", [True, False])
def test_a_network_that_diverged_still_ends_the_run(tmp_path: Path, dry: bool) -> None:
    class Diverged(LitMLP):
        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = super().forward(x)
            return outputs if self.training else outputs * torch.nan

    with pytest.raises(ValueError, match=r"`Diverged` gave NaN or Inf for (\d) of \1|42 of 42"):
        run(tmp_path, Faulty(), module=Diverged(), unscorable="skip", dry=dry)


def test_a_pool_of_which_nothing_can_be_read_ends_the_run(tmp_path: Path) -> None:
    rest = [index for index in range(SIZE) if index not in INITIAL]
    with pytest.raises(ValueError, match=r"cannot score 42 of 42 .*: index 0 \(OSError: .*Leave them out of"):
        run(tmp_path, Faulty(broken=rest), unscorable="skip", dry=False)


def test_an_error_of_the_network_is_none_of_a_point(tmp_path: Path) -> None:
    class Raises(LitMLP):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                raise ZeroDivisionError("of the user's own")
            outputs: Tensor = super().forward(x)
            return outputs

    with pytest.raises(ZeroDivisionError, match="of the user's own"):
        run(tmp_path, Faulty(broken=BROKEN), module=Raises(), unscorable="skip", dry=False)


@pytest.mark.filterwarnings("ignore:.*cannot be scored")
def test_the_last_points_may_be_fewer_than_a_query(tmp_path: Path) -> None:
    rest = [index for index in range(SIZE) if index not in [*INITIAL, 20, 21]]
    active, _ = run(tmp_path, Faulty(broken=rest), unscorable="skip", max_rounds=2)
    assert sorted(active.history[0].indices) == [20, 21]


@pytest.mark.parametrize(("workers", "dry", "broken"), one_in(2, [0, 2], [True, False], [INITIAL[0], 3]))
def test_a_labelled_item_that_cannot_be_read_ends_the_run_and_is_named(
    tmp_path: Path, workers: int, dry: bool, broken: int
) -> None:
    with pytest.raises(OSError, match=rf"Item {broken} of the training data cannot be read: OSError: image file is"):
        run(tmp_path, Faulty(broken=[broken]), unscorable="skip", workers=workers, dry=dry)


@pytest.mark.long
@pytest.mark.parametrize(
    ("workers", "oracle"),
    one_in(2, [0, 2], [None, lambda indices: dict.fromkeys(indices, 0)]),
    ids=["no worker-revealed", "no worker-given", "workers-revealed", "workers-given"],
)
def test_an_item_that_cannot_be_read_once_it_is_labelled_is_named(tmp_path: Path, workers: int, oracle: Any) -> None:
    """A file that is there when its point is scored, and gone when it is trained on."""
    dataset, asked = Faulty(), []

    class Breaks(LitMLP):
        def on_train_start(self) -> None:
            labelled = self.trainer.datamodule.pool.labelled  # type: ignore[attr-defined]
            asked[:] = labelled[len(INITIAL) :][:1]
            dataset.broken.update(asked)

    with pytest.raises(
        OSError, match=r"Item \d+ of the training data cannot be read: .*or give the point back by"
    ) as e:
        run(tmp_path, dataset, "random", module=Breaks(), workers=workers, oracle=oracle, unscorable="skip")
    assert f"Item {asked[0]} of" in str(e.value)


class FirstLabelled(Acquisition):
    """Asks for the embeddings of the labelled points."""

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        return Selection(torch.arange(b), candidates.labelled.embeddings_N_D.norm(dim=1)[:b])


@pytest.mark.timeout(60)
def test_a_target_input_that_cannot_be_scored_ends_the_run_and_is_named(tmp_path: Path) -> None:
    """Its place is no index of the pool, in which point 20 is a good one."""
    inputs = torch.randn(30, points(1)[0][0].numel())
    inputs[20] = torch.nan
    with pytest.raises(UnscorableError, match=r"NaN or Inf for 1 of 30 target inputs, .* begin with \[20\]"):
        run(tmp_path, Faulty(), "epig", data={"target_inputs": inputs}, unscorable="skip")


@pytest.mark.timeout(60)
def test_a_labelled_point_that_cannot_be_scored_ends_the_run_and_is_named(tmp_path: Path) -> None:
    class Diverges(LitMLP):
        """Gives NaN for the first labelled point, once it is fitted."""

        def forward(self, x: Tensor) -> Tensor:
            is_first_n = (x == points(SIZE)[INITIAL[0]][0]).all(1, keepdim=True)
            return super().forward(torch.where(is_first_n & (not self.training), torch.nan, x))

    with pytest.raises(
        UnscorableError, match=rf"NaN or Inf for 1 of 8 labelled points, .* begin with \[{INITIAL[0]}\]"
    ):
        run(tmp_path, Faulty(), FirstLabelled(), module=Diverges(), unscorable="skip", dry=False)


@pytest.mark.filterwarnings("ignore:.*cannot be scored")
@pytest.mark.parametrize("bad", [{"nan": BAD}, {"broken": BAD}], ids=str)
def test_self_training_does_without_those_that_the_query_did_not_look_at(tmp_path: Path, bad: Any) -> None:
    # Of four classes, the likeliest has at least this probability.
    data = {"pseudo_labels": 0.25}
    active, _ = run(tmp_path, Faulty(**bad), Subsample("entropy", size=4), data=data, unscorable="skip", max_rounds=2)
    first, second = active.history
    good = len(set(range(SIZE)) - {*INITIAL, *BAD, *first.indices})
    assert (first.pseudo_labels, second.pseudo_labels) == (0, good)


@pytest.mark.filterwarnings("ignore:.*cannot be scored")
def test_a_balanced_draw_does_without_them(tmp_path: Path) -> None:
    data = {"initial": None, "initial_size": 8, "balanced": True}
    active, _ = run(tmp_path, Faulty(broken=BROKEN), data=data, unscorable="skip", max_rounds=2)
    assert active.history[0].class_counts == {0: 2, 1: 2, 2: 2, 3: 2}
    assert active.history[0].unscorable == BROKEN


def test_the_choices_are_named() -> None:
    with pytest.raises(ValueError, match=r"unscorable='ignore'\)` is not known. Choose one of: raise, skip"):
        ActiveLearning("bald", query_size=1, unscorable="ignore")  # type: ignore[arg-type]


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 12)))
def test_any_suspicion_leads_to_the_same_points(bad: set[int], suspects: set[int]) -> None:
    """Whatever was left out before, the selection is made among exactly the points that can be scored."""

    def look(points: Sequence[int]) -> dict[int, str]:
        return {index: "bad" for index in points if index in bad}

    def select(points: list[int]) -> list[int]:
        if look(points):
            raise UnscorableError("some", look(points))
        return points

    if len(bad) == 10:
        with pytest.raises(UnscorableError):
            leave_out(range(10), sorted(suspects), select, look)
    else:
        selected, left_out = leave_out(range(10), sorted(suspects), select, look)
        assert selected == [index for index in range(10) if index not in bad]
        assert left_out == dict.fromkeys(sorted(bad), "bad")


@pytest.mark.parametrize("folder", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_pool_that_is_used_up_but_for_points_that_cannot_be_scored_ends_the_run(tmp_path: Path, folder: bool) -> None:
    dataset = Faulty(broken=[20, 41])
    arguments = {"query_size": 15, "max_rounds": None, "folder": tmp_path / "run" if folder else None}
    active, _ = skipping(tmp_path, dataset, **arguments)
    assert active.done
    assert [round.unscorable for round in active.history] == [[20, 41]] * len(active.history)
    assert active.history[-1].labelled == SIZE - 2
    # As where a sampler never draws them.
    members = [index for index in range(SIZE) if index not in (20, 41)]
    without, _ = run(tmp_path, dataset, members=members, **{**arguments, "folder": None})
    assert [round.indices for round in active.history] == [round.indices for round in without.history]


def test_a_network_that_diverges_on_the_last_points_is_named(tmp_path: Path) -> None:
    class Diverges(LitMLP):
        def forward(self, x: Tensor) -> Tensor:
            left_over = self.trainer.datamodule.pool.num_unlabelled < 20  # type: ignore[attr-defined]
            return super().forward(x) * (torch.nan if left_over and not self.training else 1.0)

    with pytest.raises(UnscorableError, match="gave NaN or Inf for 12 of 12 unlabelled points"):
        run(tmp_path, Faulty(), module=Diverges(), query_size=15, max_rounds=None, unscorable="skip")


@pytest.mark.parametrize(("acquisition", "unscorable"), [("bald", "skip"), ("bald", "raise"), ("random", "skip")])
def test_a_labelled_item_of_nan_is_named_where_the_training_diverged(
    tmp_path: Path, acquisition: str, unscorable: Any
) -> None:
    with pytest.raises(UnscorableError, match=r"Its weights are NaN .*The labelled points \[3\] hold NaN or Inf\."):
        run(tmp_path, Faulty(nan=[3]), acquisition, unscorable=unscorable)
