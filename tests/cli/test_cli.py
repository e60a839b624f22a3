"""The command line, run for real on the digits with settings that take a second a round."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import warnings
from math import isnan
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from matplotlib.image import imread
from omegaconf import OmegaConf

from lightning_al.cli import run as cli_run
from lightning_al.host.namespace import pl
from lightning_al.oracle import Revealed
from lightning_al.report import Run, area_under_curve
from lightning_al.run.journal import Journal

TINY = [
    "trainer.max_steps=4",
    "pool.samples_per_epoch=64",
    "active.query_size=5",
    "active.budget=20",
    "posterior.num_samples=3",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
    "logger=none",
]

pytestmark = pytest.mark.usefixtures("as_before")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".hydra"}


def test_a_run_leaves_its_table_pictures_and_summary(command, tmp_path):
    out = command(*TINY, f"folder={tmp_path}", "seed=3")
    run, history = Run.read(tmp_path), Journal.read_history(tmp_path)
    assert (run.name, run.acquisition, run.seed, run.metric) == ("batchbald", "BatchBALD", 3, "test_acc")
    assert run.labels == [10, 15, 20]
    assert run.values == [round.metrics["test_acc"] for round in history]
    assert run.area == area_under_curve(run.labels, run.values)
    assert run.indices == [round.indices for round in history]
    assert len(run.initial) == 10
    assert run.settings["active.query_size"] == 5
    for picture in ("curve.png", "asked.png"):
        assert imread(tmp_path / picture).std() > 0.05
    assert names(tmp_path) == {
        "asked.png",
        "config.yaml",
        "curve.png",
        "history.jsonl",
        "initial.pt",
        "journal.sqlite",
        "summary.json",
    }
    for said in (str(tmp_path), "test_acc", f"{run.values[-1]:.4f}", f"{run.area:.4f}", *map(str, run.indices[0])):
        assert said in out


def test_a_finished_run_is_shown_and_not_fitted_again(command, tmp_path):
    command(*TINY, f"folder={tmp_path}")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix in (".png", ".json", ".pt")}
    out = command(f"folder={tmp_path}")
    assert f"{Run.read(tmp_path).area:.4f}" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_metric_that_nothing_logged_ends_the_run_after_its_first_round(command, refused, tmp_path):
    said = refused(*TINY, f"folder={tmp_path}", "metric=accuracy")
    assert "`metric=accuracy`, but round 0 logged no such metric. Choose one of: " in said
    assert "test_acc" in said
    assert "Traceback" not in said
    assert len(Journal.read_history(tmp_path)) == 1
    # Begun again, it says so before another step.
    refused(*TINY, f"folder={tmp_path}", "metric=accuracy")
    assert len(Journal.read_history(tmp_path)) == 1
    command(*TINY, f"folder={tmp_path}", "metric=test_acc")
    assert Run.read(tmp_path).labels == [10, 15, 20]


def test_a_metric_that_nothing_logged_is_named_where_there_is_one_round(refused, tmp_path):
    said = refused(*TINY, f"folder={tmp_path}", "metric=accuracy", "active.max_rounds=1")
    assert "`metric=accuracy`, but round 0 logged no such metric" in said


def test_a_run_that_cannot_be_scored_ends_before_its_first_step(refused, tmp_path):
    sizes = ["~model.network.num_classes", "+model.network.in_features=8", "+model.network.out_features=10"]
    network = ["model.network._target_=torch.nn.Linear", *sizes, "allow=[torch]"]
    said = refused(*TINY, f"folder={tmp_path}", *network)
    assert "the module gave [4, 1, 8, 10]. A prediction for each pixel or token" in said
    assert "This was found by the dry pass before round 0" in said
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("active.query_size=2.5", "`ActiveLearning` needs `query_size` to be a whole number, but got 2.5. Pass an int"),
        ("active.budget=5", "`ActiveLearning(budget=5)` is below the 10 initial labels"),
        ("pool.initial_size=5000", "`ActiveDataModule(initial_size=5000)` is larger than the training data"),
        ("pool.target=label", "`ActiveDataModule(target='label')` names a key"),
        ("trainer.max_steps=0", "trained 0 steps"),
    ],
)
def test_what_the_library_refuses_in_a_fit_needs_no_traceback(refused, tmp_path, override, said):
    message = refused(*TINY, f"folder={tmp_path}", override)
    assert said in message
    assert "Traceback" not in message


def test_what_fails_in_a_network_is_shown_where_it_fails(refused, tmp_path):
    sizes = ["~model.network.num_classes", "+model.network.in_features=7", "+model.network.out_features=10"]
    network = ["model.network._target_=torch.nn.Linear", *sizes, "allow=[torch]"]
    said = refused(*TINY, f"folder={tmp_path}", *network)
    assert "in forward" in said
    assert "mat1 and mat2 shapes cannot be multiplied" in said


def test_a_run_that_was_cut_off_goes_on_with_its_own_settings(command, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command(*TINY, f"folder={whole}", "acquisition=bald")
    answers = iter([Revealed.label])
    with monkeypatch.context() as patched:
        # The power fails in the second round.
        patched.setattr(Revealed, "label", lambda *asked: next(answers)(*asked))
        with pytest.raises(SystemExit):
            command(*TINY, f"folder={cut}", "acquisition=bald")
    assert len(Journal.read_history(cut)) == 1
    command(f"folder={cut}")
    assert Run.read(cut).indices == Run.read(whole).indices
    assert Run.read(cut).values == Run.read(whole).values
    assert Run.read(cut).name == "bald"


def test_the_pictures_are_drawn_again_where_the_end_was_cut_off(command, tmp_path):
    command(*TINY, f"folder={tmp_path}")
    summary = Run.read(tmp_path)
    for name in ("summary.json", "curve.png", "asked.png"):
        (tmp_path / name).unlink()
    command(f"folder={tmp_path}")
    assert Run.read(tmp_path) == summary
    assert {"curve.png", "asked.png"} <= names(tmp_path)


def test_a_finished_run_goes_on_to_a_larger_budget(command, tmp_path):
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    command(*TINY, f"folder={whole}")
    command(*TINY, f"folder={grown}", "active.budget=15")
    command(f"folder={grown}", "active.budget=20")
    assert Run.read(grown).indices == Run.read(whole).indices
    assert Run.read(grown).settings["active.budget"] == 20
    command(f"folder={grown}")
    assert len(Journal.read_history(grown)) == 3


def test_a_larger_budget_cut_off_before_its_report_is_reported_and_not_the_smaller_one(command, tmp_path, monkeypatch):
    command(*TINY, f"folder={tmp_path}", "active.budget=15")
    with monkeypatch.context() as patched:
        patched.setattr(cli_run, "report_run", unreachable)
        with pytest.raises(SystemExit):
            command(f"folder={tmp_path}", "active.budget=20")
    command(f"folder={tmp_path}")
    assert Run.read(tmp_path).labels == [10, 15, 20]


def unreachable(*arguments: object) -> None:
    raise ConnectionError("the power fails")


def test_another_metric_of_a_finished_run_can_be_shown(command, tmp_path):
    command(*TINY, f"folder={tmp_path}")
    command(f"folder={tmp_path}", "metric=test_loss")
    run, history = Run.read(tmp_path), Journal.read_history(tmp_path)
    assert len(history) == 3
    assert run.values == [round.metrics["test_loss"] for round in history]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("acquisition=bald", "acquisition._target_"),
        ("active.query_size=7", "active.query_size (stored 5, asked 7)"),
        ("active.budget=15", "active.budget (stored 20, asked 15)"),
        ("seed=1", "seed"),
        ("experiment=mnist_paper", "data._target_"),
    ],
)
def test_settings_that_contradict_the_folders_are_refused(command, refused, tmp_path, override, named):
    OmegaConf.save(stored_config(command, tmp_path), tmp_path / "config.yaml")
    said = refused(f"folder={tmp_path}", override)
    assert "was started with other settings" in said
    assert named in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("acquisition=bald", "acquisition._target_"),
        pytest.param("posterior.num_samples=4", "num_samples (stored 3, asked 4)", marks=pytest.mark.slow),
        pytest.param("active.query_size=4", "active.query_size (stored 5, asked 4)", marks=pytest.mark.slow),
        pytest.param("data.noise=0.1", "data.noise (stored 0.0, asked 0.1)", marks=pytest.mark.slow),
    ],
)
def test_what_is_sane_goes_on_by_force_with_a_warning(command, refused, tmp_path, override, named):
    command(*TINY, f"folder={tmp_path}", "active.budget=15")
    before = Journal.read_history(tmp_path)[0]
    said = refused(f"folder={tmp_path}", "active.budget=20", override)
    assert "With `active.force=true`, these may differ: " in said
    with pytest.warns(UserWarning, match=r"force=(true|True)") as warned:
        command(f"folder={tmp_path}", "active.budget=20", override, "active.force=true")
    messages = [str(warning.message) for warning in warned]
    assert any(named in message and message.startswith("`active.force=true`") for message in messages)
    assert any(message.startswith("`ActiveLearning(force=True)`") for message in messages)
    history = Journal.read_history(tmp_path)
    assert history[0] == before
    assert history[-1].labelled == 20
    assert OmegaConf.load(tmp_path / "config.yaml").active.force is False, "the word holds for one command"
    command(f"folder={tmp_path}")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed=1", "seed (stored 0, asked 1)"),
        ("pool.initial_size=9", "pool.initial_size (stored 10, asked 9)"),
        ("model.network._target_=lightning_al.demos.paper_cnn", "model.network._target_"),
        ("trainer.max_steps=5", "trainer.max_steps"),
    ],
)
def test_what_is_not_sane_is_refused_by_the_command_line_even_so(command, refused, tmp_path, override, named):
    OmegaConf.save(stored_config(command, tmp_path), tmp_path / "config.yaml")
    said = refused(f"folder={tmp_path}", override, "active.force=true")
    assert "was started with other settings" in said
    assert named in said
    assert "may differ" not in said


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "lacks"),
        ("- a\n- list\n", "it holds a list"),
        ("3", "is not the configuration of a run"),
        ("a: [", "is not the configuration of a run"),
        ("seed: 3\n", "it lacks acquisition, active"),
        ("!!python/object/apply:os.system ['touch MADE']", "could not determine a constructor"),
        (b"\xff\xfe\x00\x01", "is not the configuration of a run"),
    ],
)
def test_a_stored_configuration_that_is_none_is_refused(refused, tmp_path, content, named):
    content = content.replace("MADE", str(tmp_path / "made")) if isinstance(content, str) else content
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused(f"folder={tmp_path}")
    assert named in said
    assert "Put back a copy of it from before, or choose another folder" in said
    assert "Traceback" not in said
    assert not (tmp_path / "made").exists()


def stored_config(command, folder: Path):
    """The configuration of a run as the command line would store it, without running it."""
    text = command(*TINY, f"folder={folder}", "--cfg", "job")
    config = OmegaConf.create(text)
    config.name, config.folder = "batchbald", "???"
    return config


def test_settings_that_agree_are_no_contradiction(command, tmp_path):
    command(*TINY, f"folder={tmp_path}", "acquisition=random")
    assert "Random, seed 0" in command(*TINY, f"folder={tmp_path}", "acquisition=random")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+typo=1", "lightning-al has no setting named typo. Choose one of: folder, seed"),
        ("typo=1", "Key 'typo' is not in struct"),
        ("active.quey_size=1", "Key 'quey_size' is not in struct"),
        ("+active.quey_size=1", "quey_size"),
        ("+acquisition.typo=1", "typo"),
        ("+trainer.typo=1", "typo"),
        ("+data.typo=1", "typo"),
        ("+model.network.typo=1", "typo"),
        ("+callbacks.typo=1", "expects `callbacks.typo` to be a class and its arguments, but got 1"),
        ("acquisition=bold", "Could not find 'acquisition/bold'"),
        ("active.query_size=0", "needs `query_size` of at least 1"),
        ("active.force=perhaps", "takes `active.force` as true or false, but got 'perhaps'"),
        ("posterior=deterministic", "BatchBALD"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_fit(refused, tmp_path, override, said):
    arguments = [setting for setting in TINY if not setting.startswith("posterior") or "deterministic" not in override]
    message = refused(*arguments, f"folder={tmp_path}", override)
    assert said in message
    assert "Traceback" not in message
    assert not names(tmp_path) & {"config.yaml", "journal.sqlite"}


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp_spawn",
        "ddp_notebook_find_unused_parameters_true",
        "fsdp",
        "deepspeed_stage_3_offload",
        "{_target_: pytorch_lightning.strategies.DDPStrategy, start_method: spawn}",
    ],
)
def test_a_strategy_that_cannot_fit_again_is_refused_before_anything_starts(refused, tmp_path, strategy):
    message = refused(*TINY, f"folder={tmp_path}", "trainer.devices=2", f"trainer.strategy={strategy}")
    assert "\nlightning-al: `ActiveLearning` " in message
    assert 'Use `strategy="ddp"`' in message
    assert "Traceback" not in message
    assert names(tmp_path) == set()


def test_data_that_are_missing_are_named(refused, tmp_path):
    missing = ["data=mnist", f"data.root={tmp_path / 'none'}", "data.download=false"]
    message = refused(*TINY, f"folder={tmp_path}", *missing)
    assert f"in the folder {tmp_path / 'none' / 'MNIST' / 'raw'}" in message
    assert "Traceback" not in message


def test_lightnings_advice_on_srun_is_not_given_for_each_cell(command, tmp_path, monkeypatch, recwarn):
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(srun.parent), prepend=os.pathsep)
    warnings.simplefilter("always")
    with pytest.warns(UserWarning, match="The `srun` command is available on your system but is not used"):
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    command("-m", *TINY, "acquisition=random", "seed=0,1", f"folder={tmp_path / 'sweep'}")
    assert [str(warning.message) for warning in recwarn if "srun" in str(warning.message)] == []


def test_time_that_runs_out_leaves_a_run_to_go_on_with(command, tmp_path):
    out = command(*TINY, f"folder={tmp_path}", "trainer.max_time=00:00:00:01", "trainer.max_steps=1000000")
    assert f"Resume with: lightning-al folder={tmp_path}" in out
    assert not (tmp_path / "summary.json").exists()


def test_a_sweep_ends_with_one_comparison(command, tmp_path):
    out = command("-m", *TINY, f"folder={tmp_path}", "acquisition=random,bald", "seed=range(0,2)")
    runs = [Run.read(path.parent) for path in tmp_path.rglob("summary.json")]
    assert sorted((run.name, run.seed) for run in runs) == [("bald", 0), ("bald", 1), ("random", 0), ("random", 1)]
    first = {(run.name, run.seed): (run.initial, run.values[0]) for run in runs}
    for seed in (0, 1):
        assert first["bald", seed] == first["random", seed], "round 0 is the same for all methods of a seed"
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["random", "bald"]
    areas = {key: [run.area for run in sorted(runs, key=lambda run: run.seed) if run.name == key] for key in rows}
    difference = sum(areas["bald"]) / 2 - sum(areas["random"]) / 2
    assert float(rows["bald"]["difference"]) == pytest.approx(difference)
    assert imread(tmp_path / "comparison.png").std() > 0.05
    assert out.count("minus random") == 1
    assert out.count("┏") == 1
    assert "n too small" in out


def test_a_job_of_a_sweep_goes_on_by_its_folder_unquoted(command, tmp_path):
    command("-m", *TINY, f"folder={tmp_path}", "acquisition=random,bald")
    [folder] = [path.parent for path in tmp_path.rglob("summary.json") if "acquisition-bald" in str(path)]
    assert "BALD, seed 0" in command(f"folder={folder}")


def test_main_returns_the_area_for_a_sweeper(tmp_path, monkeypatch, command):
    returned = []
    run = cli_run.fit_and_report

    def keep(*args, **kwargs):
        returned.append(run(*args, **kwargs))
        return returned[-1]

    monkeypatch.setattr(cli_run, "fit_and_report", keep)
    command(*TINY, f"folder={tmp_path}")
    assert returned == [Run.read(tmp_path).area]
    assert not isnan(returned[0])


def test_the_installed_command_says_no_more_than_it_should(tmp_path):
    arguments = [setting for setting in TINY if setting not in ("callbacks=none", "trainer.enable_progress_bar=false")]
    program = Path(sys.executable).parent / "lightning-al"
    done = subprocess.run([program, *arguments, "active.budget=15"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    [summary] = tmp_path.glob("outputs/*/*/summary.json")
    assert len(json.loads(summary.read_text())["labels"]) == 2
    assert "round 0: 10 labels, test_acc" in done.stdout
    assert str(summary.parent) in done.stdout
    assert len(done.stdout.splitlines()) < 20


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--info", "defaults"]])
def test_questions_about_the_configuration_are_answered(command, arguments):
    assert "acquisition" in command(*arguments)


@pytest.mark.parametrize("mode", [[], ["-m", "seed=0"]])
def test_a_folder_is_read_before_hydra_knows_of_the_command(command, tmp_path, mode):
    for budget in (10, 15):  # the first command of a process each
        HydraConfig.instance().cfg = None
        said = command(*mode, *TINY, f"folder={tmp_path / 'run'}", f"active.budget={budget}")
        assert "Run folder: " in said
    folder = next((tmp_path / "run").rglob("summary.json")).parent
    assert [round.spent for round in Journal.read_history(folder)] == [10, 15]
