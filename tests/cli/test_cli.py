"""The command line, run for real on the digits with settings that take a fraction of a second a round."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings
from math import isnan
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from matplotlib.image import imread
from omegaconf import OmegaConf

from lightning_al import ActiveLearning
from lightning_al.cli import run as cli_run
from lightning_al.cli.configuration import as_stored
from lightning_al.host.namespace import pl
from lightning_al.oracle import Revealed
from lightning_al.report import Run, area_under_curve
from lightning_al.run.journal import Journal
from tests.support.commands import refusal, run
from tests.support.stored import composed

TINY = [
    "data.test_size=1697",  # a pool of 100, and the first batch of the test
    "+trainer.limit_test_batches=1",
    "trainer.max_steps=2",
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


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def whole(out, command):
    """The folder of a run that nothing disturbed, beside what was said of it."""
    folder = out / "whole"
    if not folder.exists():
        (out / "said").write_text(command(*TINY, "acquisition=bald", f"folder={folder}", "seed=3"))
    return folder


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of it to write in."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def smaller(out, tmp_path):
    """A copy of a run that finished with a smaller budget."""
    folder = out / "smaller"
    if not folder.exists():
        area = run(folder, *TINY, "acquisition=bald", "seed=3", "active.budget=15")
        assert area == Run.read(folder).area, "as a sweeper needs it"
        assert not isnan(area)
    return Path(shutil.copytree(folder, tmp_path / "run"))


def test_a_run_leaves_its_table_pictures_and_summary(whole):
    run, history = Run.read(whole), Journal.read_history(whole)
    assert (run.name, run.acquisition, run.seed, run.metric) == ("bald", "BALD", 3, "test_acc")
    assert run.labels == [10, 15, 20]
    assert run.values == [round.metrics["test_acc"] for round in history]
    assert run.area == area_under_curve(run.labels, run.values)
    assert run.indices == [round.indices for round in history]
    assert len(run.initial) == 10
    assert run.settings["active.query_size"] == 5
    for picture in ("curve.png", "asked.png"):
        assert imread(whole / picture).std() > 0.05
    assert names(whole) == {
        "asked.png",
        "config.yaml",
        "curve.png",
        "history.jsonl",
        "initial.pt",
        "journal.sqlite",
        "labels.csv",
        "model.ckpt",
        "summary.json",
    }
    said = (whole.parent / "said").read_text()
    for part in (str(whole), "test_acc", f"{run.values[-1]:.4f}", f"{run.area:.4f}", *map(str, run.indices[0])):
        assert part in said


def test_a_finished_run_is_shown_and_not_fitted_again(command, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir() if path.suffix in (".png", ".json", ".pt")}
    HydraConfig.instance().cfg = None  # as in the first command of a process, which reads the folder before it is set
    out = command(f"folder={finished}")
    assert f"{Run.read(finished).area:.4f}" in out
    assert "BALD, seed 3" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_settings_that_agree_are_no_contradiction(finished, capfd):
    assert run(finished, *TINY, "acquisition=bald", "seed=3") == Run.read(finished).area
    assert "BALD, seed 3" in capfd.readouterr().out


@pytest.mark.long
def test_a_metric_that_nothing_logged_ends_the_run_after_its_first_round(refused, tmp_path):
    said = refused(*TINY, "active.budget=15", f"folder={tmp_path}", "metric=accuracy")
    assert "`metric=accuracy`, but round 0 logged no such metric. Choose one of: " in said
    assert "test_acc" in said
    assert "Traceback" not in said
    assert len(Journal.read_history(tmp_path)) == 1
    # Begun again, it says so before another step.
    assert "round 0 logged no such metric" in refusal(tmp_path, *TINY, "active.budget=15", "metric=accuracy")
    assert len(Journal.read_history(tmp_path)) == 1
    run(tmp_path, *TINY, "active.budget=15", "metric=test_acc")
    assert Run.read(tmp_path).labels == [10, 15]


def test_a_metric_that_nothing_logged_is_named_where_there_is_one_round(tmp_path):
    said = refusal(tmp_path, *TINY, "metric=accuracy", "active.max_rounds=1")
    assert "`metric=accuracy`, but round 0 logged no such metric" in said


def test_a_run_that_cannot_be_scored_ends_before_its_first_step(tmp_path):
    sizes = ["~model.network.num_classes", "+model.network.in_features=8", "+model.network.out_features=10"]
    network = ["model.network._target_=torch.nn.Linear", *sizes, "allow=[torch]"]
    said = refusal(tmp_path, *TINY, *network)
    assert "the module gave [4, 1, 8, 10]. A prediction for each pixel or token" in said
    assert "This was found by the dry pass before round 0" in said
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("active.query_size=2.5", "`ActiveLearning` needs `query_size` to be a whole number, but got 2.5. Pass an int"),
        ("pool.initial_size=5000", "`ActiveDataModule(initial_size=5000)` is larger than the training data"),
        ("pool.target=label", "`ActiveDataModule(target='label')` names a key"),
        ("trainer.max_steps=0", "trained 0 steps"),
    ],
)
def test_what_the_library_refuses_in_a_fit_is_an_error_of_one_line(tmp_path, override, said):
    assert said in refusal(tmp_path, *TINY, override)


def test_what_the_library_refuses_in_a_fit_needs_no_traceback(refused, tmp_path):
    message = refused(*TINY, f"folder={tmp_path}", "active.budget=5")
    assert "`ActiveLearning(budget=5)` is below the 10 initial labels" in message
    assert "Traceback" not in message


def test_what_fails_in_a_network_is_shown_where_it_fails(refused, tmp_path):
    sizes = ["~model.network.num_classes", "+model.network.in_features=7", "+model.network.out_features=10"]
    network = ["model.network._target_=torch.nn.Linear", *sizes, "allow=[torch]"]
    said = refused(*TINY, f"folder={tmp_path}", *network)
    assert "in forward" in said
    assert "mat1 and mat2 shapes cannot be multiplied" in said


@pytest.mark.long
def test_a_run_that_was_cut_off_goes_on_with_its_own_settings(whole, tmp_path, monkeypatch):
    answers = iter([Revealed.label])
    with monkeypatch.context() as patched:
        # The power fails in the second round.
        patched.setattr(Revealed, "label", lambda *asked: next(answers)(*asked))
        with pytest.raises(CompactHydraException, match="StopIteration"):
            run(tmp_path, *TINY, "acquisition=bald", "seed=3")
    assert len(Journal.read_history(tmp_path)) == 1
    run(tmp_path)
    assert Run.read(tmp_path).indices == Run.read(whole).indices
    assert Run.read(tmp_path).values == Run.read(whole).values
    assert Run.read(tmp_path).name == "bald"


def test_the_pictures_are_drawn_again_where_the_end_was_cut_off(finished):
    summary = Run.read(finished)
    for name in ("summary.json", "curve.png", "asked.png"):
        (finished / name).unlink()
    run(finished)
    assert Run.read(finished) == summary
    assert {"curve.png", "asked.png"} <= names(finished)


@pytest.mark.long
def test_a_finished_run_goes_on_to_a_larger_budget(whole, smaller):
    run(smaller, "active.budget=20")
    assert Run.read(smaller).indices == Run.read(whole).indices
    assert Run.read(smaller).settings["active.budget"] == 20
    run(smaller)
    assert len(Journal.read_history(smaller)) == 3


@pytest.mark.long
def test_a_larger_budget_cut_off_before_its_report_is_reported_and_not_the_smaller_one(smaller, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(cli_run, "report_run", unreachable)
        with pytest.raises(ConnectionError):
            run(smaller, "active.budget=20")
    run(smaller)
    assert Run.read(smaller).labels == [10, 15, 20]


@pytest.mark.long
def test_a_larger_budget_that_was_refused_is_not_taken_for_one_that_was_reached(smaller, monkeypatch):
    before = (smaller / "config.yaml").read_text()
    with monkeypatch.context() as patched:
        patched.setattr(ActiveLearning, "check_data", unreachable)
        with pytest.raises(ConnectionError):
            run(smaller, "active.budget=20")
    assert (smaller / "config.yaml").read_text() == before
    run(smaller, "active.budget=20")
    assert Run.read(smaller).labels == [10, 15, 20]
    assert OmegaConf.load(smaller / "config.yaml").active.budget == 20


def unreachable(*arguments: object) -> None:
    raise ConnectionError("the power fails")


def test_another_metric_of_a_finished_run_can_be_shown(finished):
    run(finished, "metric=test_loss")
    shown, history = Run.read(finished), Journal.read_history(finished)
    assert len(history) == 3
    assert shown.values == [round.metrics["test_loss"] for round in history]


@pytest.fixture
def stored(tmp_path):
    """A folder with the configuration of a run as the command line stores it, without running it."""
    OmegaConf.save(as_stored(composed(tmp_path, *TINY)), tmp_path / "config.yaml")
    return tmp_path


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("acquisition=bald", "acquisition._target_"),
        ("active.budget=15", "active.budget (stored 20, asked 15)"),
        pytest.param("seed=1", "seed", marks=pytest.mark.slow),  # as the acquisition
        ("experiment=mnist_paper", "data._target_"),
    ],
)
def test_settings_that_contradict_the_folders_are_refused(stored, override, named):
    said = refusal(stored, override)
    assert "was started with other settings" in said
    assert named in said


def test_settings_that_contradict_the_folders_need_no_traceback(refused, stored):
    said = refused(f"folder={stored}", "active.query_size=7")
    assert "was started with other settings" in said
    assert "active.query_size (stored 5, asked 7)" in said
    assert f"or choose another folder; `pool.labels={stored}` starts that one from the labels given here." in said
    assert len(said.splitlines()) == 1


def test_a_folder_named_after_a_group_is_named_as_it_is(refused, stored, tmp_path):
    folder = shutil.copytree(stored, tmp_path / "batchbald-0")
    assert f"The run in {folder} was started with other settings" in refused(f"folder={folder}", "active.query_size=7")


@pytest.mark.long
def test_commands_of_a_message_work_whatever_the_folder_is_called(command, refused, stored, tmp_path):
    folder = shutil.copytree(stored, tmp_path / "d ü" / "x=y, it's")
    said = refused(f'folder="{folder}"', "active.query_size=7")
    [(resume, labels)] = re.findall(r"Resume it with `(.+?)` alone, .* another folder; `(.+?)` starts", said)
    assert "Run folder: " in command(*shlex.split(resume)[1:])
    fresh = command(*TINY, "active.budget=25", *shlex.split(labels), f'folder="{tmp_path / "né w"}"')
    again = fresh.partition("to resume it: ")[2].partition(")\n")[0]
    assert f"Run folder: {tmp_path / 'né w'}" in command(*shlex.split(again)[1:], "active.budget=30")


def test_a_run_moves_to_other_hardware_by_force(smaller):
    assert "these may differ: trainer.accelerator." in refusal(smaller, "trainer.accelerator=auto")
    with pytest.warns(UserWarning, match=r"trainer.accelerator \(stored 'cpu', asked 'auto'\)"):
        run(smaller, "active.budget=20", "trainer.accelerator=auto", "active.force=true")
    assert Journal.read_history(smaller)[-1].labelled == 20


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("acquisition=entropy", "acquisition._target_"),
        pytest.param("posterior.num_samples=4", "num_samples (stored 3, asked 4)", marks=pytest.mark.slow),
        pytest.param("active.query_size=4", "active.query_size (stored 5, asked 4)", marks=pytest.mark.slow),
        pytest.param("data.noise=0.1", "data.noise (stored 0.0, asked 0.1)", marks=pytest.mark.slow),
    ],
)
def test_what_is_sane_goes_on_by_force_with_a_warning(smaller, override, named):
    before = Journal.read_history(smaller)[0]
    said = refusal(smaller, "active.budget=20", override)
    assert "With `active.force=true`, these may differ: " in said
    with pytest.warns(UserWarning, match=r"force=(true|True)") as warned:
        run(smaller, "active.budget=20", override, "active.force=true")
    messages = [str(warning.message) for warning in warned]
    assert any(named in message and message.startswith("`active.force=true`") for message in messages)
    assert any(message.startswith("`ActiveLearning(force=True)`") for message in messages)
    history = Journal.read_history(smaller)
    assert history[0] == before
    assert history[-1].labelled == 20
    assert OmegaConf.load(smaller / "config.yaml").active.force is False, "the word holds for one command"
    run(smaller)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed=1", "seed (stored 0, asked 1)"),
        ("model.network._target_=lightning_al.demos.paper_cnn", "model.network._target_"),
        ("pool.initial_size=9", "pool.initial_size (stored 10, asked 9)"),
        ("trainer.max_steps=5", "trainer.max_steps"),
    ],
)
def test_what_is_not_sane_is_refused_by_the_command_line_even_so(stored, override, named):
    said = refusal(stored, override, "active.force=true")
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
    said = refusal(tmp_path)
    assert named in said
    assert "Put back a copy of it from before, or choose another folder" in said
    if content == "3":
        message = refused(f"folder={tmp_path}")
        assert said in message
        assert "Traceback" not in message
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("typo=1", "There is no setting typo. Choose one: folder, seed"),
        pytest.param("active.quey_size=1", "quey_size (did you mean", marks=pytest.mark.slow),  # as above
        ("+active.quey_size=1", "quey_size"),
        ("acquisition=bold", "has no option 'bold' (did you mean bald?)"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_fit(refused, tmp_path, override, said):
    message = refused(*TINY, f"folder={tmp_path}", override)
    assert said in message
    assert "Traceback" not in message
    assert not names(tmp_path) & {"config.yaml", "journal.sqlite"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+typo=1", "lightning-al has no setting named typo. Choose one of: folder, seed"),
        # tests/cli/test_commands.py has one of the Trainer.
        ("+data.typo=1", "typo"),
        ("+model.network.typo=1", "typo"),
        ("+callbacks.typo=1", "expects `callbacks.typo` to be a class and its arguments, but got 1"),
        ("active.query_size=0", "needs `query_size` of at least 1"),
        ("active.force=perhaps", "takes `active.force` as true or false, but got 'perhaps'"),
        ("posterior=deterministic", "BatchBALD"),
    ],
)
def test_what_is_wrong_with_a_setting_is_an_error_of_one_line_before_the_first_fit(tmp_path, override, said):
    arguments = [setting for setting in TINY if not setting.startswith("posterior") or "deterministic" not in override]
    assert said in refusal(tmp_path, *arguments, override)
    assert not names(tmp_path) & {"config.yaml", "journal.sqlite"}


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp_notebook_find_unused_parameters_true",
        "fsdp",
        "deepspeed_stage_3_offload",
        "{_target_: pytorch_lightning.strategies.DDPStrategy, start_method: spawn}",
    ],
)
def test_a_strategy_that_cannot_fit_again_is_an_error_of_one_line(tmp_path, strategy):
    message = refusal(tmp_path, *TINY, "trainer.devices=2", f"trainer.strategy={strategy}")
    assert message.startswith("lightning-al: `ActiveLearning` ")
    assert 'Use `strategy="ddp"`' in message
    assert names(tmp_path) == set()


def test_a_strategy_that_cannot_fit_again_is_refused_before_anything_starts(refused, tmp_path):
    message = refused(*TINY, f"folder={tmp_path}", "trainer.devices=2", "trainer.strategy=ddp_spawn")
    assert message.startswith("lightning-al: `ActiveLearning` ")
    assert 'Use `strategy="ddp"`' in message
    assert "Traceback" not in message
    assert names(tmp_path) == set()


def test_data_that_are_missing_are_named(tmp_path):
    message = refusal(tmp_path, *TINY[1:], "data=mnist", f"data.root={tmp_path / 'none'}", "data.download=false")
    assert f"in the folder {tmp_path / 'none' / 'MNIST' / 'raw'}" in message


def test_lightnings_advice_on_srun_is_not_given_for_each_run(finished, tmp_path, monkeypatch, recwarn):
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(srun.parent), prepend=os.pathsep)
    warnings.simplefilter("always")
    with pytest.warns(UserWarning, match="The `srun` command is available on your system but is not used"):
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    before = len(recwarn)
    run(finished, "metric=test_loss")  # for which a Trainer is made
    assert [str(warning.message) for warning in recwarn[before:] if "srun" in str(warning.message)] == []


def test_time_that_runs_out_leaves_a_run_to_go_on_with(tmp_path, capfd):
    run(tmp_path, *TINY, "trainer.max_time={milliseconds: 100}", "trainer.max_steps=1000000")
    assert f"Resume with: lightning-al folder={tmp_path}" in capfd.readouterr().out
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--info", "defaults"]])
def test_questions_about_the_configuration_are_answered(command, arguments):
    assert "acquisition" in command(*arguments)
