"""Every example runs, as a user would run it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.installed import environment_with
from tests.test_package import wheel  # noqa: F401

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(tmp_path: Path, name: str, *arguments: str) -> str:
    return programs.run(EXAMPLES / name, *arguments, cwd=tmp_path).stdout


# Whole, they take half a minute. By default they run as they are but for fewer epochs, steps and posterior samples.
LENGTHS = ["short", pytest.param("whole", marks=pytest.mark.slow)]
SHORTER = {r"max_epochs=\d+": "max_epochs=1", r"num_samples=50\b": "num_samples=5", r"=640\b": "=64"}


def run_of_length(tmp_path: Path, name: str, length: str) -> str:
    if length == "whole":
        return run(tmp_path, name)
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text()
        for pattern, number in SHORTER.items():
            text = re.sub(pattern, number, text)
        (tmp_path / path.name).write_text(text)
    assert (tmp_path / name).read_text().count("max_epochs=1,") == 1
    return programs.run(tmp_path / name, cwd=tmp_path).stdout


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    "name",
    [
        "quickstart.py",
        *(pytest.param(f"own_{part}.py", marks=pytest.mark.long) for part in ("acquisition", "posterior", "ensemble")),
    ],
)
def test_prints_its_history(tmp_path: Path, name: str, length: str) -> None:
    said = run_of_length(tmp_path, name, length)
    assert "round 0: 20 labels, test_acc" in said
    assert "asked nothing" in said


@pytest.mark.long
@pytest.mark.parametrize("length", LENGTHS)
def test_own_loop(tmp_path: Path, length: str) -> None:
    said = run_of_length(tmp_path, "own_loop.py", length)
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("round")] == [
        "round 0",
        "round 1",
        "round 2",
    ]


@pytest.mark.long
def test_own_oracle(tmp_path: Path) -> None:
    said = run(tmp_path, "own_oracle.py")
    waiting = [line for line in said.splitlines() if line.startswith("round") and "awaits" in line]
    assert waiting == [f"round {number} awaits {left} answers" for number in (0, 1) for left in (10, 4)]
    assert "round 2: 40 labels, test_acc" in said
    assert "asked nothing" in said


@pytest.mark.long
def test_lightning_and_hydra(tmp_path: Path) -> None:
    overrides = ["acquisition=bald", "active.query_size=20", "posterior.num_samples=5", "trainer.max_epochs=2"]
    said = run(tmp_path, "lightning_and_hydra.py", *overrides, "hydra.run.dir=out")
    assert "round 2: 50 labels" in said
    assert (tmp_path / "out" / "al" / "history.jsonl").exists()


def test_lightning_cli(tmp_path: Path) -> None:
    pytest.importorskip("jsonargparse")
    config = str(EXAMPLES / "lightning_cli" / "config.yaml")
    quick = ["--trainer.max_epochs=2", "--data.initial_size=30", "--trainer.callbacks.acquisition=BALD"]
    # An interpreter of its own: jsonargparse finds classes by their names among all that are imported.
    arguments = [EXAMPLES / "lightning_cli" / "main.py", "fit", "--config", config, *quick]
    programs.run(*arguments, cwd=tmp_path, fork=False)
    rounds = [json.loads(line) for line in (tmp_path / "al" / "history.jsonl").read_text().splitlines()]
    assert [round["labelled"] for round in rounds] == [30, 40, 50, 60]
    assert "test_acc" in rounds[-1]["metrics"]
    assert (tmp_path / "lightning_logs" / "version_0" / "config.yaml").exists()


@pytest.mark.long
def test_own_project(tmp_path: Path) -> None:
    quick = ["active.budget=9", "trainer.max_steps=20", "callbacks=none", "trainer.enable_progress_bar=false"]
    own = ["--config-dir", str(EXAMPLES / "own_project" / "conf"), "experiment=biopsies", "allow=[biopsies]"]
    path = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES / "own_project"), str(ROOT)])}
    done = programs.run("-m", "lightning_al.cli", *own, *quick, "folder=run", cwd=tmp_path, environment=path)
    assert f"to resume it: lightning-al folder={tmp_path / 'run'} 'allow=[biopsies]')" in done.stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["labels"] == [6, 9]
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.slow
def test_own_project_alone_with_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:  # noqa: F811
    """The guide's commands, in a copy of the project and nothing else, in an environment with the wheel."""
    project = tmp_path / "project"
    bin, site = environment_with(wheel, tmp_path / "env")
    shutil.copytree(
        EXAMPLES / "own_project", project, ignore=shutil.ignore_patterns("__pycache__", "outputs", "multirun")
    )

    def shell(command: str) -> str:
        path = os.pathsep.join([str(bin), os.environ["PATH"]])
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project,
            env={**clean, "PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert shell("python -c 'import lightning_al; print(lightning_al.__file__)'").startswith(str(site))
    guide = ROOT / "docs" / "pages" / "guides" / "existing_project.md"
    one, sweep = re.findall(r"^PYTHONPATH=\. lightning-al .*$", guide.read_text(), re.MULTILINE)
    said = shell(one)
    assert "mean test_acc over 6 to 30 labels" in said
    (run,) = project.glob("outputs/*/*")
    assert {"curve.png", "summary.json", "history.jsonl", "journal.sqlite"} <= {path.name for path in run.iterdir()}
    (again,) = re.findall(r"to resume it: (.*)\)$", said, re.MULTILINE)
    assert "mean test_acc over 6 to 30 labels" in shell(f"PYTHONPATH=. {again}"), "it can be typed as it stands"
    assert "Compared 4 runs" in shell(sweep)
    (runs,) = project.glob("multirun/*/*")
    summaries = [json.loads(path.read_text()) for path in runs.glob("*/summary.json")]
    cells = sorted((summary["acquisition"], summary["seed"]) for summary in summaries)
    assert cells == [("BatchBALD", 0), ("BatchBALD", 1), ("Random", 0), ("Random", 1)]
    with (runs / "comparison.csv").open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"random", "batchbald"}


def test_every_example_is_here() -> None:
    tested = {
        "quickstart.py",
        "own_acquisition.py",
        "own_ensemble.py",
        "own_loop.py",
        "own_oracle.py",
        "own_posterior.py",
        "lightning_and_hydra.py",
        "lightning_cli/main.py",
        "own_project/biopsies.py",
        "photos/answer.py",
        "photos/make_photos.py",
    }
    assert {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")} == tested


@pytest.mark.slow
def test_from_photos_to_a_model(tmp_path: Path) -> None:
    """Each command of the example's README as it is written there."""
    pages = EXAMPLES / "photos"
    commands = re.findall(r"^(?:python|lightning-al).*$", (pages / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 9
    modules = {"lightning-al": "lightning_al.cli", "lightning-al-score": "lightning_al.cli.score"}
    for command in commands:
        name, *arguments = shlex.split(command)
        if name == "python":
            done = programs.run(pages / arguments[0], *arguments[1:], cwd=tmp_path)
        else:
            done = programs.run("-m", modules[name], *arguments, cwd=tmp_path, check=False)
            assert done.returncode in (0, 75), done.stderr
    labels, predictions = (
        list(csv.DictReader((tmp_path / "run" / name).read_text().splitlines()))
        for name in ("labels.csv", "predictions.csv")
    )
    truth = dict(csv.reader((tmp_path / "truth.csv").read_text().splitlines()))
    assert len(labels) == 40
    assert sum(row["audit"] == "yes" for row in labels) == 10
    assert all(row["class"] == truth[row["key"]] for row in labels)
    assert len(predictions) + len(labels) == len(truth)
    right = sum(row["predicted"] == truth[row["key"]] for row in predictions) / len(predictions)
    assert right > 0.9
    assert (tmp_path / "run" / "model.ckpt").exists()
