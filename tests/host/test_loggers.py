"""The loggers of conf/logger, read back: a run reads well in each, and one that was cut off as one that was not."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from lightning_al import ActiveLearning, MCDropout, cli
from lightning_al.demos import Classifier
from lightning_al.host.loggers import NAME, arguments_to_resume, held_open, one_log
from lightning_al.host.namespace import pl
from lightning_al.run.history import History
from lightning_al.run.journal import Journal
from tests.support import programs
from tests.support.logs import READERS, Curves, mlflow_run, wandb_records
from tests.support.tasks import LitMLP, trainer
from tests.test_callback import active_data

ROOT = Path(__file__).parents[2]
KINDS = [kind for kind in READERS if kind == "csv" or find_spec(kind)]
STEPS = 6

TINY = [
    "data.test_size=1697",  # a pool of 100, and the first batch of the test
    "+trainer.limit_test_batches=1",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=2",
    "pool.samples_per_epoch=64",
    "active.query_size=5",
    "active.budget=20",
    "posterior.num_samples=3",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
]

needs = {kind: pytest.mark.skipif(kind not in KINDS, reason=f"{kind} is not installed") for kind in READERS}
each_kind = pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs[kind]) for kind in READERS])


def command(*arguments: Any) -> None:
    """Run the command line in this process, and put back what it leaves changed."""
    threads, handlers = torch.get_num_threads(), logging.getLogger().handlers[:]
    levels = {name: logging.getLogger(name).level for name in (None, "pytorch_lightning", "lightning_fabric")}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "argv", ["lightning-al", *map(str, arguments)])
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("WANDB_SILENT", "true")
        # What these two packages are warned of by their own dependencies.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            cli.main()
        finally:
            torch.set_num_threads(threads)
            logging.getLogger().handlers[:] = handlers
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None


def cut_off_in_the_fit_of(round: int, *arguments: Any) -> None:
    """Run the command line until a SIGTERM comes in the second but last step of a round."""
    steps = 0

    def counting(self: Classifier, batch: Any, batch_idx: int) -> Any:
        nonlocal steps
        steps += 1
        if steps == STEPS * (round + 1) - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    training_step = Classifier.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "training_step", counting)
        with pytest.raises(SystemExit):
            command(*arguments)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty current directory."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, elsewhere: Path) -> Path:
    """A run of three rounds that all loggers there are write."""
    folder = tmp_path_factory.mktemp("whole")
    command(*TINY, f"folder={folder}", f"logger=[{','.join(KINDS)}]")
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, elsewhere: Path) -> Path:
    """The same run, stopped in its second round, and started again."""
    folder = tmp_path_factory.mktemp("cut")
    cut_off_in_the_fit_of(1, *TINY, f"folder={folder}", f"logger=[{','.join(KINDS)}]")
    command(f"folder={folder}")
    return folder


def of_rounds(curves: Curves) -> dict[str, list[tuple[int, float]]]:
    """Return the figures that come once a round, of which those of the clock and of memory differ between runs."""
    return {
        tag: values
        for tag, values in curves.items()
        if tag.startswith(("al/", "over_labels/", "test_")) and "seconds" not in tag and "bytes" not in tag
    }


def assert_reads_well(curves: Curves, history: History, kind: str) -> None:
    ends = [STEPS * (round.number + 1) for round in history]
    for name in ("round", "labelled", "test_acc", "asked"):
        assert [step for step, _ in curves[f"al/{name}"]] == ends, f"{name} once a round"
    assert [value for _, value in curves["al/labelled"]] == [round.labelled for round in history]
    accuracies = [round.metrics["test_acc"] for round in history]
    assert [value for _, value in curves["al/test_acc"]] == pytest.approx(accuracies)
    assert curves["test_acc"] == curves["al/test_acc"]
    assert [step for step, _ in curves["train_loss"]] == list(range(1, ends[-1], 2))
    if kind in ("tensorboard", "mlflow"):
        over_labels = [(round.labelled, value) for round, (_, value) in zip(history, curves["test_acc"], strict=True)]
        assert curves["over_labels/test_acc"] == over_labels
    else:
        assert not [tag for tag in curves if tag.startswith("over_labels/")]


@pytest.mark.long
@each_kind
def test_a_run_reads_well(whole: Path, kind: str) -> None:
    assert_reads_well(READERS[kind](whole), Journal.read_history(whole), kind)


@pytest.mark.parametrize("kind", ["csv", pytest.param("wandb", marks=needs["wandb"])])
def test_rows_never_go_back(whole: Path, kind: str) -> None:
    steps = [step for values in READERS[kind](whole).values() for step, _ in values]
    for values in READERS[kind](whole).values():
        assert [step for step, _ in values] == sorted(step for step, _ in values)
    assert max(steps) == 3 * STEPS


@pytest.mark.long
@pytest.mark.parametrize("kind", ["csv", pytest.param("tensorboard", marks=needs["tensorboard"])])
def test_a_run_that_was_cut_off_is_logged_as_a_whole_one(whole: Path, cut: Path, kind: str) -> None:
    expected, found = READERS[kind](whole), READERS[kind](cut)
    assert of_rounds(found) == of_rounds(expected)
    assert found["train_loss"] == expected["train_loss"]
    assert found["epoch"] == expected["epoch"]


@pytest.mark.long
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs[kind]) for kind in ("mlflow", "wandb")])
def test_a_run_that_was_cut_off_doubles_no_round(whole: Path, cut: Path, kind: str) -> None:
    """What these have been given is there for good, the steps of the fit that was cut off too."""
    expected, found = READERS[kind](whole), READERS[kind](cut)
    assert of_rounds(found) == of_rounds(expected)
    assert set(found["train_loss"]) == set(expected["train_loss"])
    assert len(found["train_loss"]) - len(expected["train_loss"]) == 2


@pytest.mark.long
def test_nothing_is_written_elsewhere(whole: Path, cut: Path, elsewhere: Path) -> None:
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("run", ["whole", pytest.param("cut", marks=pytest.mark.long)])
class TestHyperparametersAreLoggedOnce:
    def test_csv(self, run: str, request: pytest.FixtureRequest) -> None:
        logged = yaml.safe_load((request.getfixturevalue(run) / "csv" / "hparams.yaml").read_text())
        assert logged["active"]["query_size"] == 5
        assert logged["acquisition"]["_target_"] == "lightning_al.acquisition.BatchBALD"
        assert not {"folder", "logger", "allow"} & set(logged)

    @needs["tensorboard"]
    def test_tensorboard(self, run: str, request: pytest.FixtureRequest) -> None:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        files = sorted(request.getfixturevalue(run).glob("tensorboard/events*"))
        assert len(files) == (1 if run == "whole" else 2), "one for each process"
        events = [event for file in files for event in EventFileLoader(str(file)).Load()]
        values = [value for event in events for value in event.summary.value]
        (start,) = [value for value in values if value.tag == "_hparams_/session_start_info"]
        logged = HParamsPluginData.FromString(start.metadata.plugin_data.content).session_start_info.hparams
        assert logged["active/query_size"].number_value == 5
        assert logged["seed"].number_value == 0
        assert len([value for value in values if value.tag == "hp_metric"]) == 1

    @needs["mlflow"]
    def test_mlflow(self, run: str, request: pytest.FixtureRequest) -> None:
        _, found = mlflow_run(request.getfixturevalue(run))
        assert found.data.params["active/query_size"] == "5"
        assert found.info.status == "FINISHED"
        assert found.info.run_name == "batchbald, seed 0"

    @needs["wandb"]
    def test_wandb(self, run: str, request: pytest.FixtureRequest) -> None:
        records = wandb_records(request.getfixturevalue(run))
        updates = [update for record in records if record.HasField("config") for update in record.config.update]
        (active,) = [json.loads(update.value_json) for update in updates if update.key == "active"]
        assert active["query_size"] == 5
        runs = [record.run for record in records if record.HasField("run")]
        assert len({run.run_id for run in runs}) == 1
        assert runs[0].display_name == "batchbald, seed 0"
        codes = [record.exit.exit_code for record in records if record.HasField("exit")]
        assert codes == ([0] if run == "whole" else [1, 0])


@pytest.mark.long
def test_a_larger_budget_logs_the_last_round_anew(cut: Path, whole: Path, elsewhere: Path) -> None:
    """Runs last in this file, since it changes what the tests before read."""
    command(f"folder={cut}", "active.budget=25")
    for kind in ("csv", "tensorboard"):
        if kind in KINDS:
            assert_reads_well(READERS[kind](cut), Journal.read_history(cut), kind)


class Ends(pl.loggers.CSVLogger):
    """Count how often the run is said to be over."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ends: list[str] = []
        self.settings = 0

    def finalize(self, status: str) -> None:
        self.ends.append(status)
        super().finalize(status)

    def log_hyperparams(self, params: Any = None) -> None:
        self.settings += 1
        super().log_hyperparams(params)


class TestOneFitOfManyRounds:
    def test_ends_its_loggers_once(self, tmp_path: Path) -> None:
        logger = Ends(tmp_path)
        active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16)
        fitting = trainer(tmp_path, logger=logger, log_every_n_steps=1, callbacks=[active])
        fitting.fit(LitMLP(), datamodule=active_data())
        assert len(active.history) == 3
        assert logger.ends == ["success"]
        if hasattr(fitting, "enable_autolog_hparams"):  # not before Lightning 2.5
            assert logger.settings == 1
        fitting.test(LitMLP(), datamodule=active_data())
        assert logger.ends == ["success", "success"], "loggers are let go of"

    def test_that_fails_says_so_once(self, tmp_path: Path) -> None:
        class Failing(pl.Callback):
            def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
                if active.round == 1:
                    raise RuntimeError("boom")

        logger = Ends(tmp_path)
        active = ActiveLearning("bald", posterior=MCDropout(3), query_size=4, budget=16)
        fitting = trainer(tmp_path, logger=logger, log_every_n_steps=1, callbacks=[active, Failing()])
        with pytest.raises(RuntimeError, match="boom"):
            fitting.fit(LitMLP(), datamodule=active_data())
        assert logger.ends == ["failed"]


def test_holding_open_leaves_the_trainer_as_it_was(tmp_path: Path) -> None:
    logger = Ends(tmp_path)
    held = trainer(tmp_path, logger=[logger, logger])
    before = dict(vars(held)), dict(vars(logger))
    with held_open(held):
        logger.finalize("success")
    assert logger.ends == []
    assert vars(logger) == before[1]
    assert vars(held).get("enable_autolog_hparams", True) == before[0].get("enable_autolog_hparams", True)


def test_a_function_that_makes_a_logger_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"mine": "7"}')
    assert arguments_to_resume(lambda: None, "mine", tmp_path) == {}
    assert arguments_to_resume(pl.loggers.MLFlowLogger, "mine", tmp_path) == {"run_id": "7"}
    assert arguments_to_resume(pl.loggers.WandbLogger, "mine", tmp_path) == {"id": "7"}
    assert arguments_to_resume(pl.loggers.WandbLogger, "other", tmp_path) == {}


@pytest.mark.parametrize("damaged", ['{"csv": ', "3"])
def test_a_damaged_list_of_loggers_is_refused_in_words(tmp_path: Path, damaged: str) -> None:
    (tmp_path / NAME).write_text(damaged)
    with pytest.raises(ValueError, match=r"should name the loggers of the run, but is damaged\. Remove it"):
        arguments_to_resume(pl.loggers.CSVLogger, "csv", tmp_path)


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_csv_rows_are_kept_by_a_process_that_adds_none(tmp_path: Path) -> None:
    table = tmp_path / "csv" / "metrics.csv"
    for process in range(3):
        logger = pl.loggers.CSVLogger(tmp_path, name="csv", version="")
        with one_log({"csv": logger}, tmp_path, {"seed": 3}):
            if process == 0:
                logger.log_metrics({"figure": 0.5, "other": 0.25}, step=0)
                logger.save()
        with table.open("a") as file:
            file.write("0.5,0.")  # a row that a kill left half written; the step is the last column
    assert table.read_text().splitlines()[:2] == ["figure,other,step", "0.5,0.25,0"]
    assert table.read_text().count("0.25") == 1
    assert yaml.safe_load((tmp_path / "csv" / "hparams.yaml").read_text()) == {"seed": 3}


@needs["mlflow"]
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what MLflow uses itself
def test_mlflow_shows_that_a_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    status = []
    for end in ("failed", "success"):
        known = arguments_to_resume(pl.loggers.MLFlowLogger, "mlflow", tmp_path)
        logger = pl.loggers.MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db", **known)
        with one_log({"mlflow": logger}, tmp_path, {}):
            status.append(mlflow_run(tmp_path)[1].info.status)
        logger.finalize(end)
        status.append(mlflow_run(tmp_path)[1].info.status)
    assert status == ["RUNNING", "FAILED", "RUNNING", "FINISHED"]


@needs["wandb"]
def test_each_run_of_a_sweep_has_its_own_log(tmp_path: Path, elsewhere: Path) -> None:
    command("-m", *TINY, f"folder={tmp_path}", "logger=wandb", "active.max_rounds=1", "acquisition=random,bald")
    for name in ("random", "bald"):
        (folder,) = tmp_path.glob(f"*acquisition-{name}*")
        assert len(READERS["wandb"](folder)["al/round"]) == 1


def assert_runs(program: str, cwd: Path, *arguments: Any, returns: int = 0) -> None:
    """Run a program in a process of its own, in a folder that it is written to."""
    script = cwd / "main.py"
    script.write_text(program)
    silent = {"WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = programs.run(script, *arguments, cwd=cwd, environment=silent, check=False, fork=False)
    assert done.returncode == returns, done.stderr[-3000:]


COMMAND = """
from lightning_al import cli
if __name__ == "__main__":
    cli.main()
"""

KILLED = f"""
import os, signal
from lightning_al.demos import Classifier
training_step, steps = Classifier.training_step, 0
def counting(self, batch, batch_idx):
    global steps
    steps += 1
    if steps == {STEPS * 2 - 1}:
        os.kill(os.getpid(), signal.SIGKILL)
    return training_step(self, batch, batch_idx)
Classifier.training_step = counting
{COMMAND}"""


@pytest.mark.slow
def test_a_run_that_was_killed_is_logged_as_a_whole_one(whole: Path, tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if kind != "wandb"]  # which keeps some of its last rows in memory
    folder = tmp_path / "run"
    killed = [*TINY, f"folder={folder}", f"logger=[{','.join(kinds)}]"]
    assert_runs(KILLED, tmp_path, *killed, returns=-signal.SIGKILL)
    assert_runs(COMMAND, tmp_path, f"folder={folder}")
    for kind in kinds:
        assert of_rounds(READERS[kind](folder)) == of_rounds(READERS[kind](whole))
    for kind in {"csv", "tensorboard"} & {*kinds}:
        assert READERS[kind](folder)["train_loss"] == READERS[kind](whole)["train_loss"]


@pytest.mark.slow
def test_of_two_processes_one_writes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    two = ["trainer.devices=2", "trainer.strategy=ddp"]
    assert_runs(COMMAND, tmp_path, *TINY, *two, f"folder={folder}", f"logger=[{','.join(KINDS)}]")
    assert {path.name for path in tmp_path.iterdir()} == {"main.py", "run"}
    for kind in KINDS:
        assert_reads_well(READERS[kind](folder), Journal.read_history(folder), kind)
    if "tensorboard" in KINDS:
        assert len(list(folder.glob("tensorboard/events*"))) == 1
    if "wandb" in KINDS:
        assert len(list(folder.glob("wandb/offline-run-*"))) == 1
