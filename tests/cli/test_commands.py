"""Commands as newcomers type them: each runs, or ends in one line that says what to write.

`COMMANDS` is a list that a reader of the library typed, in order. The default suite refuses in this process what is
refused before a step is trained; all of them, by the command itself, are one slow test.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightning_al import __version__
from lightning_al.cli import journal, score
from lightning_al.cli.allow_list import AllowList
from lightning_al.cli.command_line import CommandLineError, check_command_line, overrides_in
from lightning_al.cli.named_points import indices_of
from lightning_al.cli.run_name import put_name
from lightning_al.cli.unknown_settings import unknown_setting
from lightning_al.report import command as report
from lightning_al.run.folder_path import make_folder
from lightning_al.run.run_command import run_command, setting
from tests.support.commands import refusal
from tests.support.stored import composed

pytestmark = pytest.mark.usefixtures("as_before")

BESIDE = ("trainer.max_steps=5", "active.budget=20", "posterior.num_samples=3")
"""What stands beside each command that does not give it itself."""

RUNS = ""

COMMANDS = [
    ("active.query_size=0", "`query_size` of at least 1, but got 0"),
    ("active.query_size=2.5", "`query_size` to be a whole number, but got 2.5"),
    ("+new=1", "no setting named new"),
    ("+active.new=1", "`active` takes no setting `new`"),
    ("trainer.max_steps=5 active.budget=20 posterior.num_samples=3 active.budget=5", "is below the 10 initial labels"),
    ("pool.initial_size=0", "`initial_size` of at least 1, but got 0"),
    ("pool.initial_size=5000", "is larger than the training data, which have 1347 points"),
    ("pool.initial_size=-1", "`initial_size` of at least 1, but got -1"),
    ("metric=accuracy", "round 0 logged no such metric"),
    ("data=mnist data.root=/nonexistent", "`MNIST` expects the files"),
    ("seed=abc", "`seed` is 'abc', which has the wrong type. Set it to a whole number"),
    ("seed=-1", "`seed` of at least 0, but got -1"),
    ("active.budget=20 trainer.max_steps=5 posterior.num_samples=0", "`num_samples` of at least 1, but got 0"),
    (
        "active.budget=20 trainer.max_steps=5 posterior=deterministic",
        "no setting posterior.num_samples: `posterior` has none",
    ),
    (
        "active.budget=20 trainer.max_steps=5 posterior=ensemble",
        "The group `posterior` has no option 'ensemble'. Choose one of: deterministic,",
    ),
    ("model.network._target_=my_package.Network", "`my_package` is not on the list"),
    ("allow=[my_package] model.network._target_=my_package.Network", "`my_package` cannot be imported"),
    ("model._target_=os.system", "`model._target_: os.system` is refused"),
    ("trainer.max_steps=-1 trainer.max_time=00:00:00:05 active.budget=20 posterior.num_samples=3", RUNS),
    ("trainer.max_steps=5 active.budget=20 posterior.num_samples=3 trainer.max_steps=0", "trained 0 steps"),
    ("threads=0", "`threads` is 0, which is less than 1"),
    ("active.reset=freshh", "`ActiveLearning(reset='freshh')` is not known"),
    ("active.test_with=postirior", "(did you mean active.test?)"),
    ("logger=tensorbaord", "(did you mean tensorboard?)"),
    ("logger=wandb", "`logger.wandb` cannot be made"),
    ("experiment=mnist", "(did you mean mnist_10k?)"),
    ("bald", "Write acquisition=bald."),
    ("--acquisition=bald", "Write settings without dashes, as in acquisition=bald"),
    ("data.batch_size=0", "`batch_size` of at least 1, but got 0"),
    ("active.query_size=1e3", RUNS),
    ("folder=/proc/x", "'/proc/x' cannot be a run's folder"),
    ("callbacks=early_stopping", "watches a metric of the validation, but there is none"),
    ("active.weights=best", RUNS),
    ("acquisition=[bald,random]", "`acquisition` takes one name, but got a list"),
    ("acquisition=bald,random", "Add -m to run each of them"),
    ("acquisition.num_configurations=-1", "`BatchBALD` needs `num_configurations` of at least 1"),
    (
        "acquisition=bald acquisition.num_configurations=3",
        "no setting acquisition.num_configurations: `acquisition` has none",
    ),
    ("model.lr=-1", "`lr` to be a number of 0 or more, but got -1"),
    ("trainer.precision=16", RUNS),
    ("active.max_rounds=0", "`max_rounds` of at least 1, but got 0"),
    ("data.test_size=1797", "`test_size` up to 1,787, but got 1797"),
    ("data.test_size=0", "`test_size` of at least 10, but got 0"),
    ("model.num_classes=2", "num_classes` is 2, which does not fit the 10 of the data"),
    ("data.root=/x", "no setting data.root. Choose one of data: batch_size"),
    ("active.acquisition=bald", RUNS),
    ("acquisition=bald posterior=mc_dropout_50 pool.target=foo", "names a key, but an item is a tuple"),
    ("active.oracle=people", "There is no oracle named 'people'"),
    ("metric=test_acc folder=outputs/m", RUNS),
    ("metric=accuracy folder=outputs/m2", "round 0 logged no such metric"),
    ("metric=test_acc folder=outputs/m2", RUNS),
    (
        "callbacks=early_stopping trainer.enable_checkpointing=true trainer.max_steps=20 active.budget=20 "
        "posterior.num_samples=3",
        "watches a metric of the validation, but there is none",
    ),
    ("folder=outputs/m seed=5", "was started with other settings: seed"),
    ("folder=outputs/m acquisition=bald", "was started with other settings: acquisition"),
    ("folder=outputs/m posterior.num_samples=4", "was started with other settings: posterior.num_samples"),
    ("active.oracle=revealed logger=none callbacks=none", RUNS),
    ("logger=tensorboard", RUNS),
    ("logger=[csv,tensorboard]", RUNS),
    ("logger=mlflow", "`logger.mlflow` cannot be made"),
    ("acquisition=bald name='my run'", RUNS),
    ("trainer.devices=2 trainer.strategy=ddp_spawn", "processes by 'spawn'"),
    ("trainer.max_epochs=2 trainer.max_steps=-1 active.budget=20 posterior.num_samples=3", RUNS),
    ("data=digits_repeated data.test_size=100 data.seed=4", RUNS),
    ("experiment=mnist_paper data.root=mnist", "`MNIST` expects the files"),
]

LIKE_ANOTHER = {
    "active.query_size=0",
    "+new=1",
    "+active.new=1",
    "active.test_with=postirior",
    "logger=tensorbaord",
    "experiment=mnist",
    "data.test_size=1797",
    "callbacks=early_stopping",
    "model._target_=os.system",
    "active.query_size=2.5",
    "active.reset=freshh",
    "data.batch_size=0",
    "pool.initial_size=0",
    "pool.initial_size=5000",
    "trainer.devices=2 trainer.strategy=ddp_spawn",
    "pool.initial_size=-1",
    "active.max_rounds=0",
    "active.budget=20 trainer.max_steps=5 posterior.num_samples=0",
    "acquisition.num_configurations=-1",
    "allow=[my_package] model.network._target_=my_package.Network",
    "threads=0",
    "data.test_size=0",
    "data.root=/x",
    "acquisition=bald acquisition.num_configurations=3",
    "active.oracle=people",
    "logger=mlflow",
    "callbacks=early_stopping trainer.enable_checkpointing=true trainer.max_steps=20 active.budget=20 "
    "posterior.num_samples=3",
    "experiment=mnist_paper data.root=mnist",
}
"""Commands that are wrong in the way of another one, here or in tests/cli/test_cli.py."""

OF_A_RUN = re.compile(r"metric=accuracy|folder=")
"""Commands that are refused only after a round, because of a run in the folder, or by Hydra's start."""


def words_of(line: str) -> list[str]:
    """The words of a command, after what stands beside it."""
    words = shlex.split(line)
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in BESIDE if word.partition("=")[0] not in given), *words]


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens


def said_of(words: list[str], folder: Path) -> str:
    """What a command that is refused before its first step says."""
    try:
        check_command_line(words)
    except CommandLineError as error:
        return str(error)
    said = refusal(folder, *words)
    return str(unknown_setting(words)) if said.startswith("Could not override") else said


@pytest.mark.parametrize(
    ("line", "phrase"),
    [(line, phrase) for line, phrase in COMMANDS if phrase and line not in LIKE_ANOTHER and not OF_A_RUN.search(line)],
)
def test_a_wrong_command_is_refused_in_a_line(without_network, tmp_path, line, phrase):
    if line == "logger=wandb" and find_spec("wandb"):
        pytest.skip("wandb is installed, so the command runs")
    said = said_of(words_of(line), tmp_path)
    assert phrase in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow  # a minute or more for all, by the command itself
def test_each_command_runs_or_is_refused_in_a_line(without_network, tmp_path):
    command = Path(sys.executable).with_name("lightning-al")
    for line, phrase in COMMANDS:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [command, *words_of(line)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        said = f"{line}: {done.stdout}{done.stderr}"
        assert "Traceback" not in said
        is_installed = find_spec(line.removeprefix("logger=")) is not None if line.startswith("logger=") else False
        if phrase and not is_installed:
            assert done.returncode == 1, said
            assert phrase in done.stderr, said
            assert len(done.stderr.splitlines()) == 1, said
            assert len(done.stdout.splitlines()) <= 1 or "metric=accuracy" in line, said
        else:
            assert done.returncode == 0, said


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("acquisition bald", "'acquisition' is not a setting. Write acquisition=bald."),
        ("acquisition = bald", "There are spaces around the = of 'acquisition'. Write acquisition=bald, with"),
        ("acquisition= bald", "There are spaces around the = of 'acquisition'. Write acquisition=bald, with"),
        ("'acquisition = bald'", "There are spaces around the = of 'acquisition = bald'. Write acquisition=bald, with"),
        ("folder=", "The setting 'folder=' has no value; a variable of the shell may be empty. Give one"),
        ("active.budget=", "The setting 'active.budget=' has no value"),
        ("=5", "'=5' is not a setting. Write each one as key=value"),
        ("train", "'train' is not a setting (did you mean trainer?)"),
        ("--budget 30", "There is no flag '--budget'. Write settings without dashes, as in budget=30."),
        ("--verbose", "There is no flag '--verbose'. Choose one of `lightning-al --help`."),
        ("name=a=b", "'name=a=b' cannot be read as key=value. Put a value with brackets"),
        ("acquisition=BALD", "The group `acquisition` has no option 'BALD' (did you mean bald?). Choose one of: "),
        ("acquisition=5", "'acquisition=5' is not the name of an option of `acquisition`. Choose one of: "),
        ("-m acquisition=bald,margni", "The group `acquisition` has no option 'margni' (did you mean margin?)"),
        ("-m logger=[csv,tensorbord]", "The group `logger` has no option 'tensorbord' (did you mean tensorboard?)"),
        ("seed=range(3)", "'seed=range(3)' gives `seed` several values, which only a sweep takes. Add -m"),
    ],
)
def test_words_are_checked_before_hydra_reads_them(line, phrase):
    with pytest.raises(CommandLineError, match=re.escape(phrase)):
        check_command_line(shlex.split(line))


FOLDERS = ["outputs/mine", "a b", "d ü/r", "/tmp/ü", "x=y", "it's", 'say "a"', "a,b", "a\\", "[a]", "{a: b}", "a#b~c"]
FOLDERS += ["2026", "null", "-m", "$HOME", "a(b)", "日本"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_command_that_a_message_names_can_be_pasted(folder):
    [name, *words] = shlex.split(run_command(folder, setting("data.classes", [folder, "b"]), setting("name", folder)))
    assert name == "lightning-al"
    check_command_line(words)
    assert [override.value() for override in overrides_in(words)] == [folder, [folder, "b"], folder]


@pytest.mark.parametrize("folder", ["/tmp/ü", "x=y", "it's", "a(b"])
def test_a_value_that_needs_quotes_is_shown_with_them(folder):
    with pytest.raises(CommandLineError, match="letters other than a to z into quotes of its own, such as") as refused:
        check_command_line([f"folder={folder}"])
    words = shlex.split(str(refused.value).partition("such as ")[2].removesuffix("."))
    check_command_line(words)
    assert [override.value() for override in overrides_in(words)] == [folder]


def test_no_message_writes_a_folder_into_a_command_by_itself():
    """`run_command`, `setting` and the journal's `command` know what needs quotes."""
    by_itself = re.compile(r"\bfolder=\{|data\.\w+=\[?\{|pool\.labels=\{|lightning-al-\w+ [^`]*\{")
    sources = Path(journal.__file__).parents[1].rglob("*.py")
    assert not [line for path in sources for line in path.read_text("utf-8").splitlines() if by_itself.search(line)]


@pytest.mark.parametrize(
    "line",
    [
        "-m acquisition=bald,random seed=range(3)",
        "--multirun acquisition=glob(*)",
        "--cfg job --package active seed=3",
        "--info defaults-tree",
        "experiment=null logger=[csv,tensorboard]",
        "acquisition=bald.yaml experiment=mine/first ~logger",
        "acquisition=mine hydra.searchpath=[file:///mine]",
        "+a.b=1 ++c=2 name='my run' hydra/launcher=joblib",
        "--config-dir /nonexistent --resolve",
    ],
)
def test_what_hydra_can_read_is_left_to_hydra(line):
    check_command_line(shlex.split(line))


def test_options_of_ones_own_count(tmp_path):
    (tmp_path / "acquisition").mkdir()
    (tmp_path / "acquisition" / "mine.yaml").write_text("_target_: mine.Mine\n")
    check_command_line([f"--config-dir={tmp_path}", "acquisition=mine"])
    with pytest.raises(CommandLineError, match="The group `acquisition` has no option 'mine'"):
        check_command_line(["acquisition=mine"])


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("budget=30", "There is no setting budget (did you mean active.budget?). Choose one: folder, seed"),
        ("trainer.max_step=3", "(did you mean trainer.max_steps?). Choose one of trainer: accelerator"),
        ("trainer.gradient_clip_val=1", "Write +trainer.gradient_clip_val for an argument that no file lists."),
        ("seed.x=3", "There is no setting seed.x: `seed` is one value. Set `seed` itself."),
        ("-m acquisition=bald,random acquisition.exact=true", "acquisition.exact: `acquisition` has none"),
    ],
)
def test_a_setting_that_is_not_there_is_named_with_the_nearest(line, phrase):
    assert phrase in str(unknown_setting(shlex.split(line)))


@pytest.mark.parametrize("words", [["active.bugdet=5"], ["-m", "active.bugdet=5,6"]])
def test_hydra_says_nothing_more(refused, monkeypatch, words):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    said = refused(*words)
    assert said.startswith("lightning-al: There is no setting active.bugdet (did you mean active.budget?)")
    assert len(said.splitlines()) == 1
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_hydra_says_in_a_line_what_this_command_does_not_know(refused):
    said = refused("hydra/launcher=joblibb")
    assert "Could not find 'hydra/launcher/joblibb'" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["+trainer.max_step=3"], "`trainer` takes no setting `max_step` (did you mean max_steps?). Choose one of: "),
        (["model.network._target_=lightning_al.demos.digits_cn"], "(did you mean lightning_al.demos.digits_cnn?)"),
        (["model.lr=abc"], "`model.lr` is the text 'abc', but a number is expected. Write one."),
        (["+aquisition=bald"], "no setting named aquisition (did you mean acquisition?)"),
        (["active.acquisition=bal"], "Did you mean 'bald'?"),
        (["pool.balanced=maybe"], "`pool.balanced` is the text 'maybe', but true or false is expected. Write one."),
        (["model=paper_cnn"], "the run fails with its `active`. RuntimeError: `Classifier` failed"),
        (["trainer.precision=17"], "`trainer` cannot be made. ValueError: "),
    ],
)
def test_objects_that_cannot_be_made_say_why_in_a_line(tmp_path, words, phrase):
    said = refusal(tmp_path, *words)
    assert phrase in said
    assert len(said.splitlines()) == 1


def test_a_name_below_a_listed_class_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"does not exist.* Check the spelling") as found:
        AllowList().find("lightning_al.BALD.acquire")
    assert "(did you mean lightning_al.BALD?)" in str(found.value)


def test_a_folder_where_nothing_can_be_made_is_refused(tmp_path):
    made = tmp_path / "a" / "b"
    make_folder(made)
    make_folder(made)
    assert made.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be a run's folder: it cannot be made"):
        make_folder(tmp_path / "file" / "c")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot be a run's folder: nothing may be written there"):
        make_folder(tmp_path)


def test_a_run_is_named_after_its_acquisition_function(tmp_path):
    for words, name in [(["active.acquisition=bald"], "bald"), (["active.acquisition=bald", "name=mine"], "mine")]:
        config = composed(tmp_path, *words)
        put_name(config)
        assert config.name == name


def test_help_is_short_and_has_examples(command, capfd):
    with pytest.raises(SystemExit):
        command("--help")
    pages = [capfd.readouterr().out]
    for main in (report.main, journal.main, score.main):
        with pytest.raises(SystemExit):
            main(["--help"])
        pages.append(capfd.readouterr().out)
    for page in pages:
        assert len(page.splitlines()) < 40
        assert "example: lightning-al-" in page or "lightning-al acquisition=bald active.query_size=20" in page


def test_each_command_says_our_version(command, capfd):
    said = [command("--version")]
    for main in (report.main, journal.main, score.main):
        with pytest.raises(SystemExit):
            main(["--version"])
        said.append(capfd.readouterr().out)
    assert said == [f"lightning-al {__version__}\n"] * 4


@pytest.mark.parametrize("main", [report.main, journal.main, score.main])
def test_wrong_arguments_are_refused_in_a_line(main, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--what"])
    said = capsys.readouterr().err
    assert (ended.value.code, len(said.splitlines())) == (2, 1)
    assert "--help`." in said


def test_a_point_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r".* came where an index of the run in run is expected"):
        indices_of(["seven"], [], Path("run"))


@pytest.mark.slow  # a sweep in two processes
def test_cells_that_print_at_the_same_time_name_themselves(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = Path(sys.executable).with_name("lightning-al")
    words = ["-m", *BESIDE, "acquisition=bald,random", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = subprocess.run([command, *words], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300)
    rounds = [line.partition(", round ")[0] for line in done.stdout.splitlines() if re.search(r"\bround \d+:", line)]
    assert sorted({name.partition("_")[0] for name in rounds}) == ["acquisition-bald", "acquisition-random"]
