"""What is not the run's stays as it is: other names of its files, other programs' files, and what no folder can be.

Whatever is put in the place of a file or a folder of a run, the command line, the report and the journal's command end
in a right run, or in a line or two.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import CompactHydraException, ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from lightning_al import ActiveLearning, cli
from lightning_al.cli.command_folder import check_before_hydra, check_command_folder, check_sweep_folder
from lightning_al.cli.hydra_files import check_hydra_files
from lightning_al.cli.journal import main as journal_command
from lightning_al.cli.one_line_errors import in_one_line
from lightning_al.host.loggers import keep_rows
from lightning_al.host.namespace import pl
from lightning_al.report.command import main as report
from lightning_al.run.folder_path import LONGEST_NAME
from lightning_al.run.hard_links import break_link, break_links_below
from lightning_al.run.journal import Journal
from lightning_al.run.lock import RunLock
from lightning_al.run.lock_file import MARK
from tests.cli.test_cli import TINY
from tests.run.test_folder import contents, finished, never_waiting, rewrite  # noqa: F401, which are fixtures
from tests.support.rounds import LABELS, ROUNDS, write
from tests.support.tasks import trainer
from tests.test_callback import active_data, model


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder as ``cp -al`` does."""
    shutil.copytree(source, target, copy_function=os.link)


# Other names on the disk.


def test_a_link_is_broken_and_the_copy_is_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "below" / "other"
    one.write_bytes(random.Random(0).randbytes(3 * 2**20))
    one.chmod(0o640)
    other.parent.mkdir()
    os.link(one, other)
    (tmp_path / "below" / "link").symlink_to(one)
    break_links_below(tmp_path / "below")
    break_links_below(tmp_path / "nowhere")
    assert not one.samefile(other)
    assert other.read_bytes() == one.read_bytes()
    assert other.stat()[:1] + other.stat()[7:9] == one.stat()[:1] + one.stat()[7:9]
    assert (one.stat().st_nlink, other.stat().st_nlink) == (1, 1)
    assert (tmp_path / "below" / "link").is_symlink()
    assert sorted(path.name for path in other.parent.iterdir()) == ["link", "other"]


def test_a_file_that_changes_while_it_is_copied_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").write_text("mine")
    os.link(tmp_path / "one", tmp_path / "other")

    def written_to(*_: Any) -> None:
        (tmp_path / "one").write_text("written to")

    monkeypatch.setattr(shutil, "copyfileobj", written_to)
    with pytest.raises(OSError, match=r"was written to under another name while .*\. Let nothing else"):
        break_link(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


@pytest.mark.parametrize("use", ["append", "salvage", "weights", "a rollback journal", "while it runs"])
def test_a_run_that_was_copied_by_links_goes_on_and_leaves_the_other_alone(tmp_path: Path, use: str) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    write(run, 2)
    if use == "a rollback journal":
        (run / "journal.sqlite-journal").write_bytes(b"\0" * 512)
    if use == "while it runs":
        opened = Journal(run)
        link_tree(run, copy)
        before = contents(copy)
        opened.append(ROUNDS[2], LABELS[2])
        opened.close()
        assert contents(copy) == before
        assert len(Journal.read_history(run)) == 3
        return
    if use == "salvage":
        with sqlite3.connect(run / "journal.sqlite") as database:
            database.execute("UPDATE rows SET hash = 'x' WHERE number = 2")
        database.close()
    link_tree(run, copy)
    before = contents(run)
    if use == "a rollback journal":
        Journal.read_history(copy)
    elif use == "salvage":
        assert Journal.salvage(copy) == 1
    journal = Journal(copy)
    if use == "weights":
        journal.save_weights("initial", {})
    journal.append(ROUNDS[len(journal.history)], LABELS[len(journal.history)])
    journal.close()
    assert contents(run) == before


@pytest.mark.filterwarnings("ignore:(Experiment logs|Checkpoint) directory")
def test_what_loggers_and_checkpoints_write_has_no_other_name(tmp_path: Path) -> None:
    def go(run: Path, budget: int) -> ActiveLearning:
        active = ActiveLearning("random", query_size=4, budget=budget, folder=run, keep_checkpoints=True)
        logger = pl.loggers.CSVLogger(run, name="logs", version=0)
        checkpoint = pl.callbacks.ModelCheckpoint(dirpath=run / "kept", filename="same", save_last=True)
        kept = [active, checkpoint]
        trainer(run, logger=logger, enable_checkpointing=True, callbacks=kept).fit(model(), datamodule=active_data(20))
        return active

    run, copy = tmp_path / "run", tmp_path / "copy"
    go(run, 12)
    link_tree(run, copy)
    before = contents(run)
    assert go(copy, 16).history[-1].labelled == 16
    assert contents(run) == before
    assert (copy / "logs/version_0/hparams.yaml").stat().st_nlink == 1


# Other programs' files.


@pytest.mark.parametrize("content", [b"mine", b"", MARK])
def test_a_lock_is_removed_by_who_made_it_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "writer.lock").write_bytes(content)
    if content == b"mine":
        with pytest.raises(ValueError, match=r"has a writer\.lock that no run wrote, .*\. Remove it, or choose"):
            Journal(tmp_path)
    else:
        Journal(tmp_path).close()
    assert (tmp_path / "writer.lock").exists() == (content != MARK)
    assert content == MARK or (tmp_path / "writer.lock").read_bytes() == content


def test_another_programs_lock_in_a_running_run_loses_no_label(tmp_path: Path) -> None:
    write(tmp_path / "run", 1)
    opened = Journal(tmp_path / "run")
    (tmp_path / "run" / "writer.lock").unlink()
    (tmp_path / "run" / "writer.lock").write_text("mine")
    with pytest.raises(RuntimeError, match="its lock is another one"):
        opened.append(ROUNDS[1], LABELS[1])
    opened.close()
    assert list(Journal.read_history(tmp_path / "run-rescued")) == ROUNDS[:2]
    assert (tmp_path / "run" / "writer.lock").read_text() == "mine"


def test_a_lock_says_whose_it_is(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.acquire()
    assert (
        tmp_path / "writer.lock"
    ).read_bytes() == MARK + f"The folder's number is {tmp_path.stat().st_ino}.\n".encode()
    lock.release()
    assert list(tmp_path.iterdir()) == []


THEIRS = "of another program that uses Hydra|is not the configuration of a run"


@pytest.mark.parametrize("name", [".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "config.yaml"])
@pytest.mark.parametrize("content", [b"lr: 1\nmodel: x\n", b"\xff\xfe", b"hydra: {job: {name: theirs}}"])
def test_another_programs_configuration_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises((ValueError, ConfigCompositionException), match=THEIRS):
        check_before_hydra(of_a_command(), tmp_path)
    assert contents(tmp_path) == before


def of_a_command() -> DictConfig:
    """The part of a command's configuration that says where Hydra, loggers and checkpoints write."""
    parts = {"logger": {}, "callbacks": {}, "trainer": {}}
    return OmegaConf.create({**parts, "hydra": {"output_subdir": ".hydra", "job": {"name": "lightning-al"}}})


def test_another_programs_configuration_is_not_overwritten(refused: Any, tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("lr: 1\n")
    before = contents(tmp_path)
    assert re.search(THEIRS, refused(*TINY, f"folder={tmp_path}"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["multirun.yaml", "optimization_results.yaml", "comparison.png"])
def test_another_programs_sweep_is_refused(tmp_path: Path, name: str) -> None:
    """That a command refuses it is in test_folder.py."""
    (tmp_path / name).write_text("lr: 1\n")
    with pytest.raises(ValueError, match=f"has {name}, which a sweep would overwrite, but no cells"):
        check_sweep_folder(of_a_command(), tmp_path)


def test_what_a_command_left_that_was_cut_off_is_written_anew(command: Any, tmp_path: Path) -> None:
    """Hydra opens its files before it has anything to write."""
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").touch()
    command(*TINY, "active.max_rounds=1", f"folder={tmp_path}")
    assert "lightning_al.cli" in (tmp_path / ".hydra" / "hydra.yaml").read_text()


# Names of folders.


def names_of_no_folder(home: Path) -> dict[str, Any]:
    (home / "file").write_text("mine")
    os.mkfifo(home / "pipe")
    (home / "dangling").symlink_to("nowhere")
    (home / "loop").symlink_to("loop")
    return {
        "a file": home / "file",
        "a slash": f"{home}/file/",
        "below a file": home / "file" / "run",
        "a pipe": home / "pipe",
        "a dangling link": home / "dangling",
        "a loop": home / "loop",
        "below a loop": home / "loop" / "run",
        "a long name": home / ("a" * (LONGEST_NAME + 1)),
        "a long name in a new folder": home / "new" / ("a" * (LONGEST_NAME + 1)),
        "a long path": home / "/".join(["a" * 200] * 30),
    }


@pytest.mark.parametrize("kind", ["a number", "nothing", "a list", "a dict", "a truth", "a zero byte", "blank"])
def test_what_is_no_name_is_refused(kind: str) -> None:
    values = {"a number": 5, "nothing": "", "a list": ["a"], "a dict": {}, "a truth": True, "a zero byte": "a\0b"}
    words = r"`folder` (is the name of a folder, but got|is the empty name\. Pass|has a zero byte in its name.*Choose)"
    with pytest.raises(ValueError, match=words):
        ActiveLearning("bald", query_size=4, budget=12, folder=values.get(kind, "  "))


def test_what_can_be_no_folder_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    names = names_of_no_folder(tmp_path)
    before = contents(tmp_path)
    for kind, name in names.items():
        active = ActiveLearning("bald", query_size=4, budget=12, folder=name)
        with pytest.raises(ValueError, match=r"cannot be a run's folder: .*Choose another folder"):
            trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data(20))
        assert contents(tmp_path) == before, kind


def one_line(said: str) -> None:
    assert said.startswith("lightning-al: "), said
    assert len(said.splitlines()) <= 2, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("mode", "step"),
    # A sweep checks its folder as a run does: some of the names show that it does.
    # The names are refused above without the command line, of which a few show that it refuses them in a line.
    [([], 9), (["-m"], 18), *(pytest.param(mode, 1, marks=pytest.mark.slow) for mode in ([], ["-m"]))],
    ids=["run", "sweep", "run, all names", "sweep, all names"],
)
def test_the_command_line_refuses_what_can_be_no_folder_in_a_line(
    refused: Any, tmp_path: Path, mode: list[str], step: int
) -> None:
    names = [str(name) for name in names_of_no_folder(tmp_path).values()]
    before = contents(tmp_path)
    for name in [*names, "5", "5.5", "true", "null", "[a]", "{}", "''", ""][::step]:
        one_line(refused(*mode, *TINY, f"folder={name}"))
        assert contents(tmp_path) == before


# Damaged files.

TABLE = "a,step\n0.5,0\n0.25,1\n"
TABLES = {
    "no step": b"a,b\n1,2\n",
    "too many cells": b"a,step\n1,2,3\n",
    "a huge field": b"a,step\n" + b"9" * 200_000 + b",1\n",
    "latin-1": "a,step\né,1\n".encode("latin-1"),
    "zero bytes": b"a,step\n1,\0\0\n",
    "no number": b"a,step\n1,x\n",
    "half a number": b"a,step\n1,1.5\n",
    "a huge number": b"a,step\n1," + b"9" * 5_000 + b"\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_table_of_a_logger_is_named(tmp_path: Path, kind: str) -> None:
    logger = pl.loggers.CSVLogger(tmp_path, name="", version="")
    (tmp_path / "metrics.csv").write_bytes(TABLES[kind])
    with pytest.raises(ValueError, match=r"metrics\.csv is not the table that .*\. Remove it: the run"):
        keep_rows(logger, 1)
    assert (tmp_path / "metrics.csv").read_bytes() == TABLES[kind]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
@pytest.mark.parametrize("text", ["", "a,step\n", TABLE, TABLE + "0.1", TABLE + "0.1,2\n"])
def test_rows_that_a_killed_process_left_half_are_dropped(tmp_path: Path, text: str) -> None:
    logger = pl.loggers.CSVLogger(tmp_path, name="", version="")
    (tmp_path / "metrics.csv").write_text(text)
    keep_rows(logger, 1)
    found = (tmp_path / "metrics.csv").read_text() if (tmp_path / "metrics.csv").exists() else ""
    assert found.split() == (TABLE.split() if TABLE in text else [])


QUERY = {"number": 2, "indices": [3, 6], "scores": [0.5, 0.5], "details": {}, "num_outputs": None}
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "answers without a query": {"answers": {"3": 1}},
    "an answer that was not asked": {"answers": {"8": 1}, "query": QUERY},
    "a query of another round": {"answers": {}, "query": {**QUERY, "number": 5}},
    "a query without scores": {"answers": {}, "query": {**QUERY, "scores": []}},
    "a query of a point twice": {"answers": {}, "query": {**QUERY, "indices": [3, 3]}},
    "a query of no points": {"answers": {}, "query": {**QUERY, "indices": ["3", None]}},
    "a query that is none": {"answers": {}, "query": 3},
    "a query that warns of a number": {"answers": {}, "query": {**QUERY, "warning": 3}},
    "a query without some text": {"answers": {}, "query": {**QUERY, "unscorable": "x"}},
    "a round twice": {"round": ROUNDS[1].to_dict(), "labels": {}},
    "a round left out": {"round": ROUNDS[3].to_dict(), "labels": {}},
    "a label of another round": {"round": ROUNDS[2].to_dict(), "labels": {"7": 1}},
    "a round without labels": {"round": ROUNDS[2].to_dict()},
    "labels that are a list": {"round": ROUNDS[2].to_dict(), "labels": [1]},
    "a change of no label": {"change": {"index": 150, "label": 1, "given_back": False}},
    "a change of no index": {"change": {"index": "7", "label": 1, "given_back": False}},
    "a change of too little": {"change": {}},
    "another round taken back": {"taken_back": 0},
    "more rounds taken back than there are": {"taken_back": 7},
    "a second header": {"schema": 1, "seed": 3},
    "nothing": {},
} | {
    f"{name} that is {value!r}": {"round": {**ROUNDS[2].to_dict(), name: value}, "labels": {}}
    for name in ROUNDS[2].to_dict()
    for value in ("x", -1, None)
    if (name, value) not in {("class_counts", None), ("tested_with", "x"), ("warning", None), ("warning", "x")}
}


NAMED = [kind for kind in CONTRADICTIONS if " that is " in kind and "round" in CONTRADICTIONS[kind]]
"""A round with a wrong value, of which there are three for most entries."""


@pytest.mark.parametrize(
    "kind",
    # The three wrong values of an entry are read by the same check.
    [
        pytest.param(kind, marks=pytest.mark.slow) if kind in NAMED and NAMED.index(kind) % 3 else kind
        for kind in CONTRADICTIONS
    ],
)
def test_a_row_that_contradicts_another_is_refused_in_a_line(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, 3)
    rewrite(tmp_path, 3, json.dumps(CONTRADICTIONS[kind]))
    for use in (Journal, Journal.read):
        with pytest.raises(RuntimeError, match=r"has rows that no run writes: .*Put back a copy"):
            use(tmp_path)
    assert journal_command(["show", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_rows_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    write(tmp_path, 3)
    rewrite(tmp_path, 3, json.dumps(CONTRADICTIONS["answers without a query"]))
    with pytest.raises(RuntimeError, match="a row contradicts those before: it has answers, but no query is open"):
        Journal.read(tmp_path)
    rewrite(tmp_path, 3, json.dumps({"round": {**ROUNDS[2].to_dict(), "steps": "x"}, "labels": {}}))
    with pytest.raises(RuntimeError, match="`steps` of round 2 is 'x', which no run writes there"):
        Journal.read(tmp_path)


@pytest.mark.parametrize("order", ["0 2 1", "0 1 1", "0 2", "1 0", "1 2", "2 1 0"])
def test_rows_left_out_doubled_or_out_of_order_are_refused(tmp_path: Path, order: str) -> None:
    """Of a run of a header and two rounds, with the chain of hashes mended."""
    write(tmp_path, 2)
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        bodies = [body for (body,) in database.execute("SELECT body FROM rows ORDER BY number").fetchall()]
        database.execute("DELETE FROM rows")
        chosen = [bodies[int(place)] for place in order.split()]
        database.executemany("INSERT INTO rows VALUES (?, ?, '')", list(enumerate(chosen)))
        database.execute(f"PRAGMA user_version = {len(chosen)}")
    database.close()
    rewrite(tmp_path, -1, "")
    with pytest.raises(RuntimeError, match=r"has rows that no run writes|has schema None"):
        Journal.read(tmp_path)


def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "csv").write_text("mine")
    config = OmegaConf.create({"logger": {}, "callbacks": {}, "trainer": {}})
    with pytest.raises(
        ValueError, match=r"has a file named csv, where a logger or checkpoint needs a folder\. Remove it"
    ):
        check_command_folder(tmp_path, config)
    (tmp_path / ".hydra").write_text("mine")
    with pytest.raises(ValueError, match=r"\.hydra is a file, where Hydra needs a folder\. Remove it"):
        check_hydra_files(tmp_path, ".hydra")
    check_hydra_files(tmp_path, None)


def test_what_the_system_refuses_in_the_folder_is_a_line_and_elsewhere_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        pytest.raises(CompactHydraException, match=r"run cannot be read or written: Is a directory\. Make it readable"),
        in_one_line(tmp_path),
    ):
        (tmp_path / "run").read_text()
    with pytest.raises(IsADirectoryError), in_one_line(tmp_path / "run"):
        tmp_path.read_text()


# The walk: each file and folder of a finished run, replaced.


def a_folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


def half(path: Path, outside: Path) -> None:
    content = outside.read_bytes() if outside.is_file() else b"half"
    path.write_bytes(content[: len(content) // 2])


def a_hard_link(path: Path, outside: Path) -> None:
    if outside.is_dir():
        link_tree(outside, path)
    else:
        os.link(outside, path)


REPLACED: dict[str, Callable[[Path, Path], Any]] = {
    "a folder": a_folder,
    "an empty file": lambda path, outside: path.touch(),
    "random bytes": lambda path, outside: path.write_bytes(random.Random(0).randbytes(1000)),
    "a pipe": lambda path, outside: os.mkfifo(path),
    "a dangling link": lambda path, outside: path.symlink_to("nowhere"),
    "a link": lambda path, outside: path.symlink_to(outside),
    "half": half,
    "a hard link": a_hard_link,
}
LEFT = [
    ".hydra",
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
    "asked.png",
    "config.yaml",
    "csv",
    "csv/hparams.yaml",
    "csv/metrics.csv",
    "curve.png",
    "history.jsonl",
    "initial.pt",
    "journal.sqlite",
    "labels.csv",
    "loggers.json",
    "model.ckpt",
    "summary.json",
]
NOT_LEFT = ["writer.lock", "writer.json", "error.txt", "checkpoints", "lightning-al.log", "journal.sqlite-wal"]
SAMPLE = {("journal.sqlite", "a hard link")}
"""One whose run goes on. What is refused is above: Hydra's files, names of folders, and a logger's damaged table."""


@pytest.mark.long
def test_the_walk_knows_all_that_a_run_leaves(finished: Path) -> None:  # noqa: F811
    assert sorted(str(path.relative_to(finished)) for path in finished.rglob("*")) == LEFT


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=pytest.mark.long if (name, kind) in SAMPLE else pytest.mark.slow)
        for name in (*LEFT, *NOT_LEFT)
        for kind in REPLACED
    ],
)
def test_whatever_is_in_the_place_of_a_file_ends_in_a_run_or_a_line(
    finished: Path,  # noqa: F811
    tmp_path: Path,
    as_before: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    kind: str,
) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside" / Path(name).name
    shutil.copytree(finished, run)
    outside.parent.mkdir()
    if (run / name).exists():
        shutil.move(run / name, outside)
    else:
        outside.write_text("mine")
    REPLACED[kind](run / name, outside)
    before, in_run = contents(outside.parent), contents(run)

    def resume(*overrides: str) -> int:
        monkeypatch.setattr("sys.argv", ["lightning-al", f"folder={run}", *overrides])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def check(code: int) -> None:
        said = capfd.readouterr().err
        # What Lightning notes comes here or not, by what earlier tests left of its loggers.
        lines = [line for line in said.splitlines() if not line.startswith("INFO: ")]
        ours = [line for line in lines if line.strip() and "HYDRA_FULL_ERROR" not in line]
        assert "Traceback" not in said, said
        assert code == 0 or 1 <= len([line for line in ours if "Error executing job" not in line]) <= 2, said
        assert contents(outside.parent) == before

    capfd.readouterr()
    check(journal_command(["show", str(run)]))
    check(report([str(run), "--out", str(tmp_path / "report")]))
    assert contents(run) == in_run
    check(resume())
    check(resume("active.max_rounds=3"))
