"""Every callback that Lightning ships: each round is what a new Trainer with new callbacks would make of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.run.journal import Journal
from lightning_al.run.seeds import seeded
from lightning_al.run.weights_file import load_weights
from tests.support.plain import TEST, TRAIN, VAL, plain_round, run, same_weights, weights_of
from tests.support.tasks import CLASSES, FEATURES, trainer

Callbacks = Callable[[], list[pl.Callback]]


class LitBackbone(pl.LightningModule):
    """A backbone and a head, as in a program that finetunes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(FEATURES, 12), nn.BatchNorm1d(12), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(12, CLASSES))
        self.register_buffer("mean", torch.zeros(FEATURES), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x - self.mean))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.mean.mul_(0.9).add_(batch[0].mean(0), alpha=0.1)
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam([weight for weight in self.parameters() if weight.requires_grad], lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Unfreeze(pl.callbacks.BaseFinetuning):
    """The finetuning callback of Lightning's documentation."""

    def __init__(self, epoch: int = 1) -> None:
        super().__init__()
        self.epoch = epoch

    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: pl.LightningModule, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if epoch == self.epoch:
            self.unfreeze_and_add_param_group(modules=pl_module.backbone, optimizer=optimizer, train_bn=True)


class Predictions(pl.callbacks.BasePredictionWriter):
    def __init__(self) -> None:
        super().__init__("epoch")


def named(name: str, *args: Any, **kwargs: Any) -> Callbacks:
    def make() -> list[pl.Callback]:
        if not hasattr(pl.callbacks, name):
            pytest.skip(f"this Lightning has no {name}")
        return [getattr(pl.callbacks, name)(*args, **kwargs)]

    return make


def averaging() -> list[pl.Callback]:
    if not hasattr(pl.callbacks, "WeightAveraging"):
        pytest.skip("this Lightning has no WeightAveraging")
    return [pl.callbacks.WeightAveraging()]


def observers() -> list[pl.Callback]:
    spikes = [pl.callbacks.SpikeDetection(warmup=100)] if hasattr(pl.callbacks, "SpikeDetection") else []
    nothing = pl.callbacks.LambdaCallback(on_train_epoch_end=lambda trainer, module: None)
    return [Predictions(), pl.Callback(), nothing, pl.callbacks.ModelSummary(), *spikes]


OBSERVERS = "BasePredictionWriter, Callback, LambdaCallback, ModelSummary, SpikeDetection"
"""Those that change nothing of a fit, all in one run."""


def pruned(**kwargs: Any) -> Callbacks:
    return named("ModelPruning", "l1_unstructured", amount=0.3, parameters_to_prune=None, **kwargs)


SHIPPED: dict[str, Callbacks] = {
    "BackboneFinetuning": named("BackboneFinetuning", 1),
    "BackboneFinetuning, late": named("BackboneFinetuning", 2, should_align=False),
    "BaseFinetuning": lambda: [Unfreeze()],
    "EMAWeightAveraging": named("EMAWeightAveraging", decay=0.9),
    "EarlyStopping": named("EarlyStopping", "val_loss", patience=1, min_delta=10.0),
    "EarlyStopping, at the end of training epochs": named(
        "EarlyStopping", "val_loss", patience=1, check_on_train_epoch_end=True
    ),
    "GradientAccumulationScheduler": named("GradientAccumulationScheduler", {0: 1, 1: 2}),
    "GradientAccumulationScheduler, from the start": named("GradientAccumulationScheduler", {0: 2, 2: 1}),
    "ModelCheckpoint": named("ModelCheckpoint", monitor="val_loss", save_top_k=2, save_last=True),
    "ModelPruning": pruned(),
    "ModelPruning, left as it is": pruned(make_pruning_permanent=False, use_lottery_ticket_hypothesis=False),
    "ModelPruning, with lottery tickets": pruned(use_lottery_ticket_hypothesis=True),
    "OnExceptionCheckpoint": named("OnExceptionCheckpoint", "."),
    "RichModelSummary": named("RichModelSummary"),
    "StochasticWeightAveraging": named("StochasticWeightAveraging", swa_lrs=0.01, swa_epoch_start=1),
    "StochasticWeightAveraging, by a share": named("StochasticWeightAveraging", swa_lrs=0.01, swa_epoch_start=0.5),
    "WeightAveraging": averaging,
    OBSERVERS: observers,
}
"""Callbacks, each made anew for each program."""

EXCEPTED = {
    "BatchSizeFinder": "refused: Lightning trains 0 steps from the second fit on",
    "LearningRateFinder": "refused, as above",
    "Checkpoint": "a base class without a method of its own",
    "DeviceStatsMonitor": "measures the machine, and needs a logger",
    "LearningRateMonitor": "needs a logger; tested below",
    "ProgressBar": "shows what happens, and is left alone",
    "RichProgressBar": "likewise",
    "TQDMProgressBar": "likewise",
    "ThroughputMonitor": "measures time",
    "Timer": "counts the whole run: tested in test_callback.py",
}
"""Callbacks of Lightning's that the test leaves out, and why."""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made() -> LitBackbone:
    with seeded(5):
        return LitBackbone()


def with_a_checkpoint(callbacks: Callbacks) -> Callbacks:
    """The same beside a ModelCheckpoint that monitors nothing, since plain Lightning keeps the last weights."""
    return lambda: [*callbacks(), pl.callbacks.ModelCheckpoint(every_n_epochs=1, save_top_k=1)]


QUICK = (
    "BackboneFinetuning",
    "EarlyStopping",
    "ModelPruning",
    "StochasticWeightAveraging",
    "WeightAveraging",
)
"""Those whose runs the default suite resumes too, of each family that keeps something of a fit; the slow suite has all.

Runs with checkpoints are resumed in tests/rounds/test_resume.py and tests/host/test_found_checkpoints.py.
"""

KEEPS_WEIGHTS = ("EarlyStopping", "ModelPruning", "StochasticWeightAveraging", "WeightAveraging")
"""Those that decide which weights a checkpoint holds. To the others it adds nothing, and is slow beside them."""


ANOTHER_ARGUMENT = (
    "BackboneFinetuning, late",
    "EarlyStopping, at the end of training epochs",
    "GradientAccumulationScheduler, from the start",
    "ModelPruning, left as it is",
    "ModelPruning, with lottery tickets",  # which it is by default
    "RichModelSummary",  # as ModelSummary, among the observers
    "StochasticWeightAveraging, by a share",
)
"""The same callbacks once more, on the same ways through the library; the slow suite has them."""


def slow_but(names: Iterable[str]) -> list[Any]:
    """All callbacks as parameters, those that are not quick among the slow tests."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def slow_if(is_slow: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if is_slow else []


def test_the_list_is_whole() -> None:
    shipped = {name for name, value in vars(pl.callbacks).items() if inspect.isclass(value)}
    assert shipped <= {name.split(",")[0] for name in SHIPPED} | {*OBSERVERS.split(", ")} | set(EXCEPTED)


def settings(callbacks: Callbacks) -> dict[str, Any]:
    has_checkpoint = any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks())
    has_summary = any(isinstance(callback, pl.callbacks.ModelSummary) for callback in callbacks())
    return {"max_epochs": 3, "enable_checkpointing": has_checkpoint, "enable_model_summary": has_summary}


def run_with_last_weights(tmp_path: Path, callbacks: Callbacks, folder: Path | None = None, **options: Any) -> Any:
    return run(made, tmp_path, callbacks, folder=folder, weights="last", **settings(callbacks), **options)


Whole = Callable[[str, bool], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a run that nothing interrupts, with callbacks of the list; each is made once."""

    @cache
    def uninterrupted(name: str, beside_a_checkpoint: bool) -> Any:
        callbacks = with_a_checkpoint(SHIPPED[name]) if beside_a_checkpoint else SHIPPED[name]
        return run_with_last_weights(tmp_path_factory.mktemp("whole"), callbacks)

    return uninterrupted


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")  # Lightning's word on them
@pytest.mark.filterwarnings(r"ignore:.*fit\(ckpt_path=")  # and on OnExceptionCheckpoint
@pytest.mark.parametrize(
    ("name", "beside_a_checkpoint"),
    [
        *(pytest.param(name, False, marks=slow_if(name in ANOTHER_ARGUMENT)) for name in SHIPPED),
        *(pytest.param(name, True, marks=slow_if(name not in KEEPS_WEIGHTS)) for name in SHIPPED),
    ],
)
def test_each_round_is_the_plain_program(tmp_path: Path, whole: Whole, name: str, beside_a_checkpoint: bool) -> None:
    callbacks = with_a_checkpoint(SHIPPED[name]) if beside_a_checkpoint else SHIPPED[name]
    options = settings(callbacks)
    module, active, data = whole(name, beside_a_checkpoint)
    for number, round in enumerate(active.history):
        plain = plain_round(made, active, data, number, tmp_path, callbacks, **options)
        assert plain.metrics.items() <= round.metrics.items()
    assert same_weights(weights_of(module), plain.weights)


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")
@pytest.mark.filterwarnings(r"ignore:.*fit\(ckpt_path=")
@pytest.mark.parametrize("name", slow_but(SHIPPED))
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, whole: Whole, name: str) -> None:
    module, active, _ = whole(name, False)
    folder = tmp_path / "folder"
    run_with_last_weights(tmp_path, SHIPPED[name], folder=folder, max_rounds=1)
    other, resumed, _ = run_with_last_weights(tmp_path, SHIPPED[name], folder=folder)
    assert [round.indices for round in resumed.history] == [round.indices for round in active.history]
    assert [round.metrics for round in resumed.history] == [round.metrics for round in active.history]
    assert same_weights(weights_of(other), weights_of(module))


class More(pl.Callback):
    """A user's callback that trains a bit longer than the Trainer says."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    def more(self, trainer: pl.Trainer) -> None:
        trainer.fit_loop.max_epochs += 1
        trainer.fit_loop.epoch_loop.max_steps += 100
        trainer.accumulate_grad_batches += 1
        trainer.gradient_clip_val = (trainer.gradient_clip_val or 0.0) + 0.5
        trainer.check_val_every_n_epoch += 1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.hook == "setup" and stage == "fit":
            self.more(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.hook == "on_fit_start":
            self.more(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.hook == "on_train_epoch_end" and trainer.current_epoch == 0:
            self.more(trainer)


# What is changed before training is put back in one place.
@pytest.mark.parametrize("hook", ["setup", pytest.param("on_fit_start", marks=pytest.mark.slow), "on_train_epoch_end"])
def test_what_a_callback_changes_of_the_trainer_does_not_grow(tmp_path: Path, hook: str) -> None:
    options = {"max_epochs": 2, "max_steps": 50}
    module, active, data = run(made, tmp_path, lambda: [More(hook)], **options)
    for number in range(len(active.history)):
        plain = plain_round(made, active, data, number, tmp_path, lambda: [More(hook)], **options)
    assert same_weights(weights_of(module), plain.weights)


def test_what_the_user_changes_between_two_calls_is_kept(tmp_path: Path) -> None:
    epochs: list[int] = []

    class Count(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            epochs.append(trainer.current_epoch)

    stopping = pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0)
    active = ActiveLearning("random", query_size=5, max_rounds=5, rounds_per_fit=1)
    data = ActiveDataModule(TRAIN, val=VAL, test=TEST, initial_size=8, batch_size=8)
    module = made()
    fitting = trainer(tmp_path, callbacks=[active, stopping, Count()], max_epochs=6)
    fitting.fit(module, datamodule=data)
    stopping.patience = 3
    module.backbone.requires_grad_(False)
    fitting.fit(module, datamodule=data)
    fitting.fit(module, datamodule=data)
    initial = active.state_dict()["initial"]
    assert torch.equal(module.backbone[0].weight, initial["backbone.0.weight"])
    assert not torch.equal(module.head[1].weight, initial["head.1.weight"])
    fitting.fit_loop.max_epochs = 3
    fitting.fit(module, datamodule=data)
    fitting.fit(module, datamodule=data)
    assert epochs == [2, 4, 4, 3, 3]


@pytest.mark.filterwarnings("ignore:The PyTorch Profiler default schedule will be overridden")  # on so few steps
@pytest.mark.parametrize("profiler", ["simple", pytest.param("advanced", marks=pytest.mark.slow), "pytorch"])
def test_a_profiler_goes_through_all_rounds(tmp_path: Path, profiler: str) -> None:
    profilers = {
        "simple": pl.profilers.SimpleProfiler,
        "advanced": pl.profilers.AdvancedProfiler,
        "pytorch": pl.profilers.PyTorchProfiler,
    }
    measuring = profilers[profiler](dirpath=tmp_path, filename="measured")
    module, active, data = run(made, tmp_path, max_epochs=2, profiler=measuring)
    assert active.done
    plain = plain_round(made, active, data, 1, tmp_path, max_epochs=2)
    assert same_weights(weights_of(module), plain.weights)
    report = "".join(path.read_text() for path in tmp_path.glob("*measured*.txt"))
    # PyTorch's has only the first of the names, some of them cut.
    assert "run_training_batch" in report or "training_step" in report or "[pl][profile]" in report


def test_a_learning_rate_monitor_sees_each_round_begin_anew(tmp_path: Path) -> None:
    monitor = pl.callbacks.LearningRateMonitor("epoch")
    seen: list[list[float]] = []

    class Watch(pl.Callback):
        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append(list(monitor.lrs["lr-Adam"]))

    logger = pl.loggers.CSVLogger(tmp_path)
    run(made, tmp_path, lambda: [monitor, Watch()], max_epochs=3, logger=logger)
    assert seen == [pytest.approx([0.05, 0.025, 0.0125])] * 2


def test_the_hooks_of_a_module_come_in_the_order_of_the_plain_program(tmp_path: Path) -> None:
    calls: list[str] = []

    class Tells(LitBackbone):
        def setup(self, stage: str) -> None:
            calls.append(f"setup {stage}")

        def on_fit_start(self) -> None:
            calls.append("on_fit_start")

        def on_fit_end(self) -> None:
            calls.append("on_fit_end")

        def teardown(self, stage: str) -> None:
            calls.append(f"teardown {stage}")

    class TellsToo(pl.Callback):
        def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
            calls.append(f"callback: setup {stage}")

        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            calls.append("callback: on_fit_end")

        def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
            calls.append(f"callback: teardown {stage}")

    _, active, data = run(Tells, tmp_path, lambda: [TellsToo()], max_epochs=1, max_rounds=3)
    ours, calls[:] = list(calls), []
    for number in range(3):
        plain_round(Tells, active, data, number, tmp_path, lambda: [TellsToo()], max_epochs=1)
    assert ours == calls


def test_buffers_that_a_folder_of_0_1_0_has_not_saved_are_the_modules_own(tmp_path: Path) -> None:
    module, active, _ = run(made, tmp_path / "one", max_epochs=2)
    assert "mean" in active.state_dict()["initial"]
    folder = tmp_path / "folder"
    run(made, tmp_path / "two", folder=folder, max_rounds=1, max_epochs=2)
    journal = Journal(folder)
    journal.save_weights("initial", {k: v for k, v in load_weights(folder, "initial").items() if k != "mean"})
    journal.close()
    other, resumed, _ = run(made, tmp_path / "two", folder=folder, max_epochs=2)
    assert [round.indices for round in resumed.history] == [round.indices for round in active.history]
    assert same_weights(weights_of(other), weights_of(module))
