"""The callback: what it asks, when it stops, and that every round is as if it were the only one."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
import shutil
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing import ProcessRaisedException
from torch.utils.data import DataLoader, Subset

from lightning_al import (
    ActiveDataModule,
    ActiveLearning,
    Candidates,
    MCDropout,
    Oracle,
    Round,
    ScoreAcquisition,
    Selection,
)
from lightning_al.acquisition import Acquisition
from lightning_al.host.namespace import pl
from lightning_al.host.round_folder import MARK
from lightning_al.run.journal import Journal
from lightning_al.run.seeds import derive, generator, seeded
from tests.support.tasks import LitMLP, points, trainer


def active_data(n: int = 60, initial_size: int = 8, **kwargs: Any) -> ActiveDataModule:
    defaults: dict[str, Any] = {"val": points(20, seed=1), "test": points(20, seed=2), "batch_size": 8}
    return ActiveDataModule(points(n), initial_size=initial_size, **{**defaults, **kwargs})


def on_two_devices(strategy: Any) -> pl.Trainer:
    """Make a Trainer that starts no processes yet, by a strategy's name or class."""
    strategy = strategy if isinstance(strategy, str) else strategy()
    waiting = pl.Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)
    waiting.datamodule = active_data()
    waiting.datamodule.setup("fit")
    return waiting


def model(cls: type[LitMLP] = LitMLP) -> LitMLP:
    with seeded(7):
        return cls()


# The default is 20 samples, of which tests need no more than differ.
FEW = MCDropout(3)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def plain(rounds: Any) -> list[dict[str, Any]]:
    """Return rounds without their wall times and memory, which no two runs share."""
    return [{**round.to_dict(), "seconds": None, "peak_bytes": None} for round in rounds]


class OneCycle(LitMLP):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Manual(LitMLP):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        ("budget", "query_size", "labelled"),
        [(14, 3, [8, 11, 14]), (13, 3, [8, 11, 13]), (8, 3, [8]), (None, 30, [8, 38, 60]), (99, 52, [8, 60])],
        ids=["multiple", "not a multiple", "nothing to ask", "whole pool", "query as large as the pool"],
    )
    def test_asks_to_the_budget_and_trains_on_the_last_labels(
        self, tmp_path: Path, budget: int | None, query_size: int, labelled: list[int]
    ) -> None:
        data = active_data()
        active = ActiveLearning("entropy", query_size=query_size, budget=budget, posterior=FEW)
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(model(), datamodule=data)
        assert [round.labelled for round in active.history] == labelled
        assert active.done
        assert active.history[-1].indices == []
        asked = [index for round in active.history for index in round.indices]
        assert data.pool.labelled == data.pool.initial + asked
        assert len(set(data.pool.labelled)) == labelled[-1]
        assert [round.number for round in active.history] == list(range(len(labelled)))

    def test_an_empty_pool_makes_one_round(self, tmp_path: Path) -> None:
        active = ActiveLearning("batchbald", query_size=5)
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(model(), datamodule=active_data(initial_size=60))
        assert [(round.labelled, round.indices) for round in active.history] == [(60, [])]
        assert active.done

    def test_max_rounds_counts_fits(self, tmp_path: Path) -> None:
        active = ActiveLearning("random", query_size=2, max_rounds=3)
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(model(), datamodule=active_data())
        assert [round.labelled for round in active.history] == [8, 10, 12]
        assert active.done

    def test_equals_a_loop_written_by_hand(self, tmp_path: Path) -> None:
        """Plain Lightning fits on plain Subsets, and entropy by its definition, ask for the same points."""
        data = active_data(seed=3)
        active = ActiveLearning("entropy", query_size=4, budget=16, posterior="deterministic", seed=5)
        module = model()
        trainer(tmp_path, max_epochs=3, callbacks=[active]).fit(module, datamodule=data)

        dataset, labelled = points(60), list(data.pool.initial)
        for round in active.history:
            by_hand = model()
            order = generator(3, round.number, "batches")
            loader = DataLoader(Subset(dataset, labelled), batch_size=8, shuffle=True, generator=order)
            with seeded(derive(5, round.number, "fit")):
                trainer(tmp_path, max_epochs=3).fit(by_hand, loader, DataLoader(points(20, seed=1), batch_size=8))
            rest = [index for index in range(60) if index not in labelled]
            with torch.no_grad():
                p = by_hand.cpu().eval()(torch.stack([dataset[index][0] for index in rest])).softmax(1).tolist()
            entropies = [-sum(q * math.log(q) for q in row) for row in p]
            best = sorted(range(len(rest)), key=lambda position: -entropies[position])[:4]
            if round.indices:
                assert round.indices == [rest[position] for position in best]
                assert round.scores == pytest.approx([entropies[position] for position in best], rel=1e-4)
            labelled += round.indices
        assert same_weights(weights(module), weights(by_hand))

    def test_what_a_round_says(self, tmp_path: Path) -> None:
        data = active_data()
        active = ActiveLearning("bald", query_size=5, budget=18, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)
        labels = [int(label) for _, label in points(60)]
        labelled = list(data.pool.initial)
        for round in active.history:
            expected = {c: sum(labels[index] == c for index in labelled) for c in range(4)}
            assert round.class_counts == {c: count for c, count in expected.items() if count}
            assert round.validation_labels == 20
            assert round.steps == 2 * math.ceil(round.labelled / 8)
            assert {"val_loss", "val_acc", "test_acc"} <= set(round.metrics)
            assert all(type(index) is int for index in round.indices)
            assert set(round.seconds) >= ({"fit", "score", "select", "test", "label"} if round.indices else {"fit"})
            of_gpu = {f"{part}_cuda" for part in round.seconds} if torch.cuda.is_available() else set()
            assert set(round.peak_bytes) == set(round.seconds) | of_gpu
            labelled += round.indices
        assert active.history.curve("test_acc")[0] == [8, 13, 18]

    @pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")  # Lightning's word on it
    def test_validation_that_is_there_but_empty_counts_no_labels(self, tmp_path: Path) -> None:
        class NoValidation(pl.LightningDataModule):
            def train_dataloader(self) -> DataLoader[Any]:
                return DataLoader(points(20), batch_size=8)

            def val_dataloader(self) -> list[DataLoader[Any]]:
                return []

        active = ActiveLearning("bald", query_size=5, budget=13, posterior=FEW)
        data = ActiveDataModule(NoValidation(), initial_size=8)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)
        assert [round.validation_labels for round in active.history] == [0, 0]

    def test_reloaded_loaders_bring_a_new_order_each_epoch(self, tmp_path: Path) -> None:
        orders: list[list[float]] = []

        class Watching(LitMLP):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                orders.append(batch[0][:, 0].tolist())
                return super().training_step(batch, batch_idx)

        active = ActiveLearning("random", query_size=5, max_rounds=1)
        data = active_data(initial_size=12, batch_size=12)
        fitting = trainer(tmp_path, max_epochs=3, reload_dataloaders_every_n_epochs=1, callbacks=[active])
        fitting.fit(model(Watching), datamodule=data)
        assert len({tuple(order) for order in orders}) == 3
        assert len({tuple(sorted(order)) for order in orders}) == 1

    def test_round_0_is_the_same_for_all_methods(self, tmp_path: Path) -> None:
        first: list[Any] = []
        # One of each kind: those that need no scores, those that score points, and those that choose whole batches.
        for name in ("random", "entropy", "bald", "batchbald", "badge", "core_set"):
            active = ActiveLearning(name, query_size=3, budget=11, seed=4, posterior=FEW, rounds_per_fit=1)
            data = active_data(seed=4)
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)
            first.append((data.pool.initial, active.history[0].metrics, active.history[0].class_counts))
        assert all(found == first[0] for found in first[1:])

    def test_random_never_runs_the_model_on_the_pool(self, tmp_path: Path) -> None:
        def fail(module: nn.Module, batch: Any) -> Tensor:
            raise AssertionError("the pool was scored")

        active = ActiveLearning("random", query_size=3, budget=11, forward=fail)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())
        assert active.done
        assert "score" not in active.history[0].seconds

    def test_scoring_never_sees_a_label(self, tmp_path: Path) -> None:
        seen: list[Tensor] = []

        def logits(module: nn.Module, batch: Any) -> Tensor:
            seen.append(batch[1])
            return module(batch[0])

        active = ActiveLearning("entropy", query_size=3, budget=14, forward=logits, posterior="deterministic")
        data = active_data()
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)
        assert len(torch.cat(seen)) == 52 + 49
        assert set(torch.cat(seen).tolist()) == {data.class_of(data.pool.initial[0])}, "one label stands for all"


def swa() -> list[pl.Callback]:
    return [pl.callbacks.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)]


def ema() -> list[pl.Callback]:
    if not hasattr(pl.callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    return [pl.callbacks.EMAWeightAveraging(decay=0.9)]


def stopping() -> list[pl.Callback]:
    return [
        pl.callbacks.EarlyStopping("val_loss", patience=1),
        pl.callbacks.ModelCheckpoint(monitor="val_loss", save_last=True),
    ]


CASES: dict[str, tuple[type[LitMLP], Callable[[], list[pl.Callback]], dict[str, Any]]] = {
    "plain": (LitMLP, list, {}),
    "early stopping and checkpoints": (LitMLP, stopping, {"max_epochs": 6, "enable_checkpointing": True}),
    "max_steps": (LitMLP, list, {"max_steps": 5, "max_epochs": -1}),
    "swa": (LitMLP, swa, {"max_epochs": 4}),
    "ema": (LitMLP, ema, {"max_epochs": 3}),
    "one cycle": (OneCycle, list, {"max_epochs": 3}),
    "accumulated gradients": (LitMLP, list, {"max_epochs": 3, "accumulate_grad_batches": 2}),
    "validation by steps": (
        LitMLP,
        stopping,
        {"max_steps": 7, "max_epochs": -1, "val_check_interval": 3, "check_val_every_n_epoch": None,
         "enable_checkpointing": True},
    ),
    "manual optimization": (Manual, list, {"max_epochs": 2}),
    "bfloat16": (LitMLP, list, {"precision": "bf16-mixed"}),
    "sanity check": (LitMLP, list, {"num_sanity_val_steps": 2}),
    "several settings": (
        OneCycle,
        list,
        {"max_epochs": 3, "accumulate_grad_batches": 2, "precision": "bf16-mixed", "num_sanity_val_steps": 2},
    ),
}  # fmt: skip


def slow_unless(is_default: bool, *values: Any) -> Any:
    return pytest.param(*values, marks=[] if is_default else [pytest.mark.slow])


FIRST = ["plain", "early stopping and checkpoints", "validation by steps", "manual optimization", "several settings"]
"""Among them are all settings: "several settings" has those that may go together, and each alone is slow."""
LAST = ["early stopping and checkpoints", "swa"]
"""Callbacks that act when training ends, where the place might count; elsewhere it does not."""


class TestEveryRoundIsAsIfItWereTheOnlyOne:
    @pytest.mark.parametrize(
        ("case", "place"),
        [
            *(slow_unless(case in FIRST, case, "first") for case in CASES),
            *(slow_unless(case in LAST, case, "last") for case in CASES),
        ],
    )
    def test_one_fit_equals_a_new_trainer_for_each_round(self, tmp_path: Path, case: str, place: str) -> None:
        """What Lightning, callbacks, schedules and seeds keep from a round would make the two differ."""
        ways = [(1, True), (1, False)] if case == "plain" else [(1, place == "first")]
        self.assert_equal_one_fit(tmp_path, case, place, ways)

    # Two rounds in a call and then one in another are both of the ways above, one after the other.
    @pytest.mark.parametrize("case", [slow_unless(case == LAST[0], case) for case in CASES])
    def test_one_fit_equals_two_rounds_and_then_the_rest(self, tmp_path: Path, case: str) -> None:
        self.assert_equal_one_fit(tmp_path, case, "first", [(2, False)])

    def assert_equal_one_fit(self, tmp_path: Path, case: str, place: str, ways: list[tuple[int, bool]]) -> None:
        """Compare a single fit with calls of so many rounds, by the same Trainer or by a new one each."""
        cls, callbacks, settings = CASES[case]

        def run(rounds_per_fit: int | None, same_trainer: bool, folder: str) -> tuple[Any, ...]:
            module, data = model(cls), active_data(20, val=points(8, seed=1), test=points(8, seed=2))
            active = ActiveLearning(
                "bald", query_size=4, budget=16, rounds_per_fit=rounds_per_fit, seed=1, posterior=FEW
            )

            def new_trainer() -> pl.Trainer:
                others = callbacks()
                both = [active, *others] if place == "first" else [*others, active]
                return trainer(tmp_path / folder, callbacks=both, **settings)

            current = new_trainer()
            while not active.done:
                current.fit(module, datamodule=data)
                current = current if same_trainer else new_trainer()
            return plain(active.history), weights(module)

        history, final = run(None, True, "all")
        assert [round["labelled"] for round in history] == [8, 12, 16]
        for rounds_per_fit, same_trainer in ways:
            other_history, other_final = run(rounds_per_fit, same_trainer, f"{rounds_per_fit} {same_trainer}")
            assert other_history == history
            assert same_weights(other_final, final)

    def test_global_generators_are_put_back(self, tmp_path: Path) -> None:
        torch.manual_seed(11)
        expected = torch.rand(3)
        torch.manual_seed(11)
        active = ActiveLearning("bald", query_size=4, budget=12, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())
        assert torch.equal(torch.rand(3), expected)

    def test_loggers_step_never_goes_back(self, tmp_path: Path) -> None:
        from pytorch_lightning.loggers import CSVLogger

        logger = CSVLogger(tmp_path)
        active = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW)
        trainer(tmp_path, logger=logger, log_every_n_steps=1, callbacks=[active]).fit(model(), datamodule=active_data())
        header, *lines = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
        rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
        steps = [int(row["step"]) for row in rows]
        assert steps == sorted(steps)
        logged = [row for row in rows if row["al/labelled"]]
        assert [int(float(row["al/labelled"])) for row in logged] == [8, 12, 16]
        for row, round in zip(logged, active.history, strict=True):
            assert float(row["al/test_acc"]) == pytest.approx(round.metrics["test_acc"])
        assert int(logged[-1]["step"]) == sum(round.steps for round in active.history)

    def test_tensorboard_shows_the_curve(self, tmp_path: Path) -> None:
        from pytorch_lightning.loggers import TensorBoardLogger
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        logger = TensorBoardLogger(tmp_path)
        active = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW)
        trainer(tmp_path, logger=logger, log_every_n_steps=1, callbacks=[active]).fit(model(), datamodule=active_data())
        found = {}
        for file in Path(logger.log_dir).glob("events*"):
            events = EventAccumulator(str(file)).Reload()
            if "al/labelled" in events.Tags()["scalars"]:
                found.update({event.step: event.value for event in events.Scalars("al/labelled")})
        assert [found[step] for step in sorted(found)] == [8, 12, 16]

    def test_says_once_what_lightning_says_at_every_fit(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        importlib.import_module("lightning.pytorch")  # which takes over what Lightning's two namespaces log by
        caplog.set_level("INFO")
        active = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW)
        fitting = trainer(tmp_path, enable_model_summary=True, callbacks=[active])
        fitting.fit(model(), datamodule=active_data())
        # What is logged may be printed too.
        said = [caplog.text, *capsys.readouterr()]
        assert max(text.count("Trainable params") for text in said) == 1
        assert max(text.count("`Trainer.fit` stopped") for text in said) == 1
        assert any(isinstance(callback, pl.callbacks.ModelSummary) for callback in fitting.callbacks)


class TestKindsOfTrainers:
    @pytest.mark.filterwarnings("ignore:You are running in")
    @pytest.mark.parametrize("settings", [{"fast_dev_run": True}, {"limit_train_batches": 1, "limit_test_batches": 1}])
    def test_short_runs_go_through_every_round(self, tmp_path: Path, settings: dict[str, Any]) -> None:
        active = ActiveLearning("batchbald", query_size=8, posterior=FEW)
        trainer(tmp_path, callbacks=[active], **settings).fit(model(), datamodule=active_data(20))
        assert [round.labelled for round in active.history] == [8, 16, 20]

    def test_callbacks_of_the_module(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        class Configuring(LitMLP):
            def configure_callbacks(self) -> list[pl.Callback]:
                return stopping()

        caplog.set_level("INFO")
        active = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW)
        fitting = trainer(tmp_path, enable_checkpointing=True, max_epochs=5, callbacks=[active])
        fitting.fit(model(Configuring), datamodule=active_data())
        assert [round.labelled for round in active.history] == [8, 12, 16]
        assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"round-2"}
        assert caplog.text.count("configure_callbacks") == 1

    def test_a_module_that_is_built_when_the_fit_begins(self, tmp_path: Path) -> None:
        class Lazy(LitMLP):
            def __init__(self) -> None:
                super().__init__()
                del self.net

            def configure_model(self) -> None:
                if not hasattr(self, "net"):
                    self.net = LitMLP().net

        active = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(Lazy), datamodule=active_data())
        assert [round.labelled for round in active.history] == [8, 12, 16]


class TestWeights:
    def test_best_are_those_of_the_best_checkpoint(self, tmp_path: Path) -> None:
        class Diverging(LitMLP):
            def __init__(self) -> None:
                super().__init__(lr=0.5)

        checkpoint = pl.callbacks.ModelCheckpoint(monitor="val_loss")
        module = model(Diverging)
        active = ActiveLearning("bald", query_size=4, budget=12, posterior=FEW)
        fitting = trainer(tmp_path, max_epochs=8, enable_checkpointing=True, callbacks=[active, checkpoint])
        fitting.fit(module, datamodule=active_data())
        best = torch.load(checkpoint.best_model_path, weights_only=True)
        assert best["epoch"] < 7  # or best and last weights would be the same
        assert same_weights(weights(module), best["state_dict"])
        assert active.history[-1].metrics["val_loss"] == pytest.approx(float(checkpoint.best_model_score))

    def test_without_a_monitor_they_are_the_last_and_it_is_said_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        active = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())
        assert caplog.text.count("keeps its last weights") == 1

    @pytest.mark.parametrize("keep", [False, True])
    def test_only_the_newest_rounds_checkpoints_stay(self, tmp_path: Path, keep: bool) -> None:
        checkpoint = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
        active = ActiveLearning("bald", query_size=4, budget=16, keep_checkpoints=keep)
        fitting = trainer(tmp_path, enable_checkpointing=True, callbacks=[checkpoint, active])
        fitting.fit(model(), datamodule=active_data())
        folders = sorted(path.name for path in (tmp_path / "kept").iterdir())
        assert folders == (["round-0", "round-1", "round-2"] if keep else ["round-2"])
        kept = {MARK, "last.ckpt", "epoch=1-step=4.ckpt"}
        assert {path.name for path in (tmp_path / "kept" / "round-2").iterdir()} == kept
        assert Path(checkpoint.best_model_path).exists()

    def test_warm_goes_on_from_the_round_before(self, tmp_path: Path) -> None:
        begun: list[dict[str, Tensor]] = []
        ended: list[dict[str, Tensor]] = []

        class Watching(LitMLP):
            def on_train_start(self) -> None:
                begun.append(weights(self))

            def on_fit_end(self) -> None:
                ended.append(weights(self))

        active = ActiveLearning("bald", query_size=4, budget=16, reset="warm", rounds_per_fit=1)
        module, data = model(Watching), active_data()
        while not active.done:
            trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
        assert len(begun) == 3
        assert all(same_weights(begun[number + 1], ended[number]) for number in range(2))

    def test_fresh_draws_new_ones_that_depend_on_seed_and_round_alone(self, tmp_path: Path) -> None:
        def begun(seed: int, reset: Any = "fresh") -> list[dict[str, Tensor]]:
            found: list[dict[str, Tensor]] = []

            class Watching(LitMLP):
                def on_train_start(self) -> None:
                    found.append(weights(self))

            active = ActiveLearning("random", query_size=4, budget=16, reset=reset, seed=seed)
            trainer(tmp_path, callbacks=[active]).fit(model(Watching), datamodule=active_data())
            return found

        one, again, other, made = begun(0), begun(0), begun(1), begun(0, LitMLP)
        assert same_weights(one[0], weights(model()))
        assert not same_weights(one[1], one[0])
        assert not same_weights(one[1], one[2])
        assert all(map(same_weights, one, again))
        assert not same_weights(one[1], other[1])
        assert same_weights(made[1], one[1])  # the module's own initialisation is what reset_parameters repeats

    def test_a_parameter_that_cannot_be_drawn_anew_is_named(self, tmp_path: Path) -> None:
        class Scaled(LitMLP):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(()))

            def forward(self, x: Tensor) -> Tensor:
                return self.scale * super().forward(x)

        active = ActiveLearning("random", query_size=4, budget=16, reset="fresh")
        with pytest.raises(ValueError, match=r"cannot reset 'scale' of `Scaled`.*`reset=` a function"):
            trainer(tmp_path, callbacks=[active]).fit(model(Scaled), datamodule=active_data())


class TestTime:
    def test_max_time_holds_for_the_whole_run(self, tmp_path: Path) -> None:
        class Slow(LitMLP):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                time.sleep(0.05)
                return super().training_step(batch, batch_idx)

        active = ActiveLearning("random", query_size=1, test=None)
        timer = pl.callbacks.Timer(timedelta(seconds=1), interval="step")
        data = active_data(val=None)
        began = time.monotonic()
        fitting = trainer(tmp_path, max_epochs=2, callbacks=[active, timer])
        fitting.fit(model(Slow), datamodule=data)  # a round takes 0.1 s or more, the whole pool 53 rounds
        assert time.monotonic() - began >= 1
        assert 1 <= len(active.history) < 12
        assert not active.done
        assert data.pool.num_labelled == 8 + len(active.history)

    @pytest.mark.long
    def test_time_that_is_up_between_two_fits_ends_the_run_as_within_one(self, tmp_path: Path) -> None:
        class Waiting(pl.Callback):
            def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                time.sleep(3 if len(active.history) == 1 else 0)

        active = ActiveLearning("random", query_size=1, test=None)
        timer = pl.callbacks.Timer(timedelta(seconds=2), interval="step")
        data = active_data(val=None)
        trainer(tmp_path, max_epochs=2, callbacks=[Waiting(), active, timer]).fit(model(), datamodule=data)
        assert len(active.history) == 2
        assert not active.done
        assert data.pool.num_labelled == 10


class TestExceptions:
    class Failing(LitMLP):
        def __init__(self) -> None:
            super().__init__()
            self.begun: list[int] = []
            self.exception: BaseException = RuntimeError("boom")

        def on_train_start(self) -> None:
            self.begun.append(self.trainer.global_step)
            if len(self.begun) == 2:
                raise self.exception

    class Watching(pl.Callback):
        def __init__(self) -> None:
            self.told: list[BaseException] = []

        def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
            self.told.append(exception)

    @pytest.mark.parametrize("exception", [RuntimeError("boom"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
    def test_each_callback_is_told_once_and_everything_is_put_back(
        self, tmp_path: Path, exception: BaseException
    ) -> None:
        watching, active = self.Watching(), ActiveLearning("bald", query_size=4, budget=20, posterior=FEW)
        fitting = trainer(tmp_path, callbacks=[watching, active])
        module, data = model(self.Failing), active_data()
        module.exception = exception
        handler = signal.getsignal(signal.SIGINT)
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        try:
            with pytest.raises((RuntimeError, SystemExit)):
                fitting.fit(module, datamodule=data)
        finally:
            signal.signal(signal.SIGINT, handler)
        assert watching.told == [exception]
        assert torch.equal(torch.rand(2), expected)
        assert watching in fitting.callbacks
        assert len(active.history) == 1
        # What was asked before is kept, and the run goes on with a new Trainer.
        fitting = trainer(tmp_path, callbacks=[watching, active])
        fitting.fit(module, datamodule=data)
        assert [round.labelled for round in active.history] == [8, 12, 16, 20]
        undisturbed = ActiveLearning("bald", query_size=4, budget=20, posterior=FEW)
        trainer(tmp_path, callbacks=[undisturbed]).fit(model(), datamodule=active_data())
        assert plain(active.history) == plain(undisturbed.history)

    def test_an_exception_in_a_test_is_told_once_too(self, tmp_path: Path) -> None:
        class FailingTest(LitMLP):
            def test_step(self, batch: Any, batch_idx: int) -> None:
                raise RuntimeError("boom")

        watching = self.Watching()
        active = ActiveLearning("bald", query_size=4, budget=20, posterior=FEW)
        with pytest.raises(RuntimeError, match="boom"):
            trainer(tmp_path, callbacks=[watching, active]).fit(model(FailingTest), datamodule=active_data())
        assert len(watching.told) == 1


# Lightning's word on a module with transfer hooks beside a datamodule, which is whose hooks it takes.
@pytest.mark.filterwarnings("ignore:You have overridden `.*` in `LightningModule` but have passed in")
class TestHooksAndStages:
    def test_training_augmentation_does_not_reach_the_pool(self, tmp_path: Path) -> None:
        class Augmenting(LitMLP):
            def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                x, y = batch
                return (x * float("nan"), y) if self.trainer.predicting is False and self.trainer.training else (x, y)

            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                assert bool(batch[0].isnan().all())
                return super().training_step((batch[0].nan_to_num(), batch[1]), batch_idx)

        active = ActiveLearning("bald", query_size=4, budget=12, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(Augmenting), datamodule=active_data())
        assert active.done

    def test_transfer_hooks_of_the_module_reach_the_pool(self, tmp_path: Path) -> None:
        seen: list[int] = []

        class Hooked(LitMLP):
            def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
                if self.trainer.predicting:
                    seen.append(len(batch[0]))
                return batch

        active = ActiveLearning("bald", query_size=4, budget=12, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(Hooked), datamodule=active_data())
        assert sum(seen) == 52

    def test_modes_and_stage_are_put_back_after_scoring(self, tmp_path: Path) -> None:
        class Last(pl.Callback):
            def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                found.append((pl_module.net[2].training, all(p.requires_grad for p in pl_module.parameters())))

        found: list[tuple[bool, bool]] = []
        active = ActiveLearning("bald", query_size=4, budget=12, test=None, posterior=FEW)
        trainer(tmp_path, callbacks=[active, Last()]).fit(model(), datamodule=active_data())
        assert found == [(True, True)] * 2

    def test_posterior_mean_is_tested_under_names_of_its_own(self, tmp_path: Path) -> None:
        active = ActiveLearning("bald", query_size=4, budget=12, test="posterior", posterior=MCDropout(10))
        trainer(tmp_path, max_epochs=20, callbacks=[active]).fit(model(), datamodule=active_data())
        for round in active.history:
            assert round.tested_with == "posterior"
            assert {"test_acc", "posterior_accuracy", "posterior_nll", "posterior_ece"} <= set(round.metrics)
            assert {"deterministic_accuracy", "deterministic_nll", "deterministic_ece"} <= set(round.metrics)

    def test_without_a_test_step_nothing_is_tested(self, tmp_path: Path) -> None:
        active = ActiveLearning("bald", query_size=4, budget=12, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data(test=None))
        assert "test" not in active.history[0].seconds


class TestOracles:
    def test_an_oracles_labels_are_trained_on(self, tmp_path: Path) -> None:
        class AlwaysThree(Oracle):
            def label(self, indices: Any) -> dict[int, int]:
                return dict.fromkeys(indices, 3)

        trained: dict[bytes, int] = {}

        class Watching(LitMLP):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                trained.update({x.numpy().tobytes(): int(y) for x, y in zip(*batch, strict=True)})
                return super().training_step(batch, batch_idx)

        data = active_data()
        active = ActiveLearning("random", query_size=6, budget=20, oracle=AlwaysThree())
        trainer(tmp_path, callbacks=[active]).fit(model(Watching), datamodule=data)
        dataset = points(60)
        for index in data.pool.labelled:
            expected = int(dataset[index][1]) if index in data.pool.initial else 3
            assert trained[dataset[index][0].numpy().tobytes()] == expected
        assert active.history[-1].class_counts[3] >= 12

    def test_an_oracle_must_answer_for_nothing_else_than_it_was_asked(self, tmp_path: Path) -> None:
        class Forgetful(Oracle):
            def label(self, indices: Any) -> dict[int, None]:
                return dict.fromkeys([*indices[1:], 999])

        data = active_data()
        active = ActiveLearning("random", query_size=6, budget=20, oracle=Forgetful())
        with pytest.raises(ValueError, match=r"`Forgetful` was asked to label the indices .* answered for"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)
        assert data.pool.num_labelled == 8


class TestBadInput:
    def test_no_active_datamodule(self, tmp_path: Path) -> None:
        active = ActiveLearning("bald", query_size=4)
        loader = DataLoader(points(20), batch_size=8)
        with pytest.raises(TypeError, match=r"needs an `ActiveDataModule`.*has no datamodule"):
            trainer(tmp_path, callbacks=[active]).fit(model(), loader)

    def test_nan_is_reported_with_its_indices(self, tmp_path: Path) -> None:
        dataset = points(60)
        dataset.tensors[0][[17, 40]] = float("inf")
        data = ActiveDataModule(dataset, initial=range(8), batch_size=8)
        active = ActiveLearning("bald", query_size=4)
        with pytest.raises(ValueError, match=r"`LitMLP` gave NaN or Inf for 2 of 52 .* begin with \[17, 40\]"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)

    def test_a_fit_of_no_steps(self, tmp_path: Path) -> None:
        for settings in ({"max_epochs": 0}, {"max_steps": 0}, {"limit_train_batches": 0}):
            data = active_data()
            active = ActiveLearning("bald", query_size=4)
            with pytest.raises(RuntimeError, match="Round 0 of active learning trained 0 steps"):
                trainer(tmp_path, callbacks=[active], **settings).fit(model(), datamodule=data)
            assert data.pool.num_labelled == 8

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"query_size": 1, "weights": "worst"}, r"weights='worst'\)` is not known. Choose one of: best, last"),
            (
                {"query_size": 1, "reset": "never"},
                r"reset='never'\)` is not known. Choose one of: initial, fresh, warm, or a function that returns",
            ),
            (
                {"query_size": 1, "test": "luck"},
                r"test='luck'\)` is not known. Choose one of: module, posterior, or None",
            ),
            ({"query_size": 1, "posterior": "gut"}, "no posterior named 'gut'.*deterministic, mc_dropout"),
            ({"query_size": 1, "oracle": "delphi"}, "no oracle named 'delphi'.*revealed"),
            (
                {"query_size": 1, "posterior": "deterministic"},
                r"`BALD` needs `num_samples` of at least 2, but `Deterministic` has 1. Use `posterior",
            ),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ActiveLearning("bald", **arguments)

    @pytest.mark.parametrize("name", ["query_size", "budget", "max_rounds", "rounds_per_fit"])
    @pytest.mark.parametrize("number", [0, -1])
    def test_numbers_below_one(self, name: str, number: int) -> None:
        with pytest.raises(ValueError, match=f"`ActiveLearning` needs `{name}` of at least 1, but got {number}. Pass"):
            ActiveLearning("bald", **{"query_size": 1, name: number})

    def test_unknown_acquisition(self) -> None:
        with pytest.raises(ValueError, match=r"no acquisition function named 'bold'.*bald, .*batchbald"):
            ActiveLearning("bold", query_size=1)

    def test_a_function_target_cannot_be_tested_by_batch(self, tmp_path: Path) -> None:
        data = active_data(target=lambda item: item[1], pool_dataset=points(60))
        active = ActiveLearning("bald", query_size=4, test="posterior")
        with pytest.raises(ValueError, match=r"test='posterior'.*`target=` as a key or a position"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)

    def test_budget_below_the_initial_set(self, tmp_path: Path) -> None:
        active = ActiveLearning("bald", query_size=4, budget=7)
        with pytest.raises(ValueError, match=r"budget=7.* is below the 8 initial labels"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())

    @pytest.mark.parametrize(
        ("strategy", "message"),
        [
            ("ddp_spawn", r"starts processes by 'spawn'.*strategy=\"ddp\"` in a script, or one device"),
            ("ddp_fork", r"starts processes by 'fork'.*strategy=\"ddp\"` in a script, or one device"),
            ("ddp_notebook", r"starts processes by 'fork'.*strategy=\"ddp\"` in a script, or one device"),
            (pl.strategies.ModelParallelStrategy, r"under `DDPStrategy`, but .* `ModelParallelStrategy`.*`devices=1`"),
        ],
    )
    def test_strategies(self, strategy: Any, message: str) -> None:
        active = ActiveLearning("bald", query_size=4)
        with pytest.raises(ValueError, match=message):
            active.setup(on_two_devices(strategy), model(), "fit")

    @pytest.mark.parametrize(
        "strategy", ["auto", "ddp", "ddp_find_unused_parameters_true", pl.strategies.SingleDeviceStrategy]
    )
    def test_no_strategy_that_can_refit(self, strategy: Any) -> None:
        ActiveLearning("bald", query_size=4).setup(on_two_devices(strategy), model(), "fit")

    @pytest.mark.parametrize("strategy", [name for name in pl.strategies.StrategyRegistry if "spawn" in name], ids=str)
    def test_spawned_processes_before_there_are_any(self, tmp_path: Path, strategy: str) -> None:
        active = ActiveLearning("bald", query_size=4)
        spawning = trainer(tmp_path, strategy=strategy, callbacks=[active])
        with pytest.raises(
            ValueError, match=r"cannot fit .* by 'spawn'.*`strategy=\"ddp\"` in a script, or one device"
        ):
            spawning.fit(model(), datamodule=active_data())
        assert spawning.strategy.launcher.procs == []

    @pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has used a GPU forks none that trains")
    def test_forked_processes_before_the_first_step(self, tmp_path: Path) -> None:
        active, module = ActiveLearning("bald", query_size=4), model()
        before = weights(module)
        with pytest.raises(ProcessRaisedException, match=r"ValueError: `ActiveLearning` cannot fit .* by 'fork'"):
            trainer(tmp_path, strategy="ddp_fork", callbacks=[active]).fit(module, datamodule=active_data())
        assert same_weights(weights(module), before)

    def test_no_copy_of_the_callback(self) -> None:
        active = ActiveLearning("bald", query_size=4, seed=3)
        for copied in (copy.deepcopy(active), pickle.loads(pickle.dumps(active))):
            assert (copied.acquisition, copied.query_size, copied.seed) == (active.acquisition, 4, 3)

    @pytest.mark.parametrize("finder", [pl.callbacks.LearningRateFinder, pl.callbacks.BatchSizeFinder])
    def test_tuners(self, tmp_path: Path, finder: Callable[[], pl.Callback]) -> None:
        active = ActiveLearning("bald", query_size=4)
        fitting = trainer(tmp_path, callbacks=[active, finder()])
        fitting.datamodule = active_data()
        with pytest.raises(ValueError, match=r"`(LearningRate|BatchSize)Finder`.*Tuner"):
            active.setup(fitting, model(), "fit")

    def test_a_history_and_a_pool_that_do_not_belong_together(self, tmp_path: Path) -> None:
        active = ActiveLearning("bald", query_size=4, budget=12, posterior=FEW)
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())
        with pytest.raises(ValueError, match=r"history of 2 rounds, but the pool .* has other labels"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())

    def test_a_history_and_a_folder_that_do_not_belong_together(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        active = ActiveLearning("bald", query_size=4, budget=12, rounds_per_fit=1, folder=folder)
        module, data = model(), active_data()
        trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
        shutil.rmtree(folder)
        with pytest.raises(ValueError, match=r"history of 1 rounds, but its folder .*run holds 0. Resume with a new"):
            trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
        assert len(Journal.read_history(folder)) == 0

    @pytest.mark.parametrize("positions", [[0, 0, 1], [0, 1], [0, 1, 52], [-1, 0, 1]])
    def test_an_acquisition_function_that_selects_nonsense(self, tmp_path: Path, positions: list[int]) -> None:
        class Nonsense(Acquisition):
            def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
                return Selection(torch.tensor(positions), torch.zeros(len(positions)))

        active = ActiveLearning(Nonsense(), query_size=3)
        with pytest.raises(ValueError, match=r"`Nonsense.select` should return 3 different positions between 0 and 51"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data())


def test_an_acquisition_function_of_ones_own(tmp_path: Path) -> None:
    class FirstOnes(ScoreAcquisition):
        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return -torch.arange(len(candidates), dtype=torch.float32)

    data = active_data(initial_size=None, initial=[0, 2, 5])
    active = ActiveLearning(FirstOnes(), query_size=3, budget=9)
    trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=data)
    assert [round.indices for round in active.history] == [[1, 3, 4], [6, 7, 8], []]


def test_a_done_run_fitted_again_gives_the_same_weights_and_history(tmp_path: Path) -> None:
    active, module, data = ActiveLearning("bald", query_size=4, budget=16, posterior=FEW), model(), active_data()
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    history, final = list[Round](active.history), weights(module)
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    assert list(active.history) == history
    assert same_weights(weights(module), final)
