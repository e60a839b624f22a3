"""A run folder in which something else lies than a run put there is refused in a line; nothing outside changes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException

from lightning_al import ActiveLearning
from lightning_al.cli.configuration import read_config
from lightning_al.host.namespace import pl
from lightning_al.report import Run
from lightning_al.report.command import main as report
from lightning_al.run.folder import check_places, check_tree
from lightning_al.run.journal import Journal
from lightning_al.run.journal_database import hash_of
from lightning_al.run.journal_reading import read_header
from lightning_al.run.weights_file import load_weights
from tests.cli.test_cli import TINY
from tests.run.test_files import MAKE
from tests.support import programs
from tests.support.rounds import HEADER, write
from tests.support.tasks import trainer
from tests.test_callback import active_data, model

WRITTEN = ["journal.sqlite", "journal.sqlite-journal", "history.jsonl", "writer.json", "initial.pt", "warm-3.pt"]
BY_COMMAND = ["config.yaml", "summary.json", "loggers.json", "error.txt", "curve.png", "asked.png"]


@pytest.fixture(autouse=True)
def never_waiting() -> Iterator[None]:
    """End a test that waits for the other end of a pipe."""

    def end(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, Any]:
    """All that lies below a folder, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file() and not path.is_symlink()
        else path.lstat()[:2]
        for path in folder.rglob("*")
    }


def put(kind: str, path: Path, outside: Path) -> None:
    """Put something in place of a file, with what it would lead to outside."""
    outside.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        shutil.move(path, outside)
    else:
        outside.write_text("mine")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a link":
        path.symlink_to(outside)
    else:
        MAKE[kind](path)


# The journal.


@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder", "a dangling link", "a device"])
@pytest.mark.parametrize("name", WRITTEN)
def test_the_journal_refuses_what_is_no_file_of_its_own(tmp_path: Path, kind: str, name: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    write(run, 2)
    put(kind, run / name, outside / name)
    before = contents(tmp_path)
    said = rf"has {kind.replace('dangling ', '')} named {name}, where a run keeps a file of its own\. Remove it"
    for use in (Journal, Journal.read_history, Journal.salvage):
        if name != "writer.json" or use is Journal:
            with pytest.raises(ValueError, match=said):
                use(run)
    assert contents(tmp_path) == before
    if name == "initial.pt":
        with pytest.raises(RuntimeError, match=r"initial\.pt could not be read: .*, where a file is expected"):
            load_weights(run, "initial")


def test_a_run_folder_may_be_a_link_itself(tmp_path: Path) -> None:
    write(tmp_path / "run", 2)
    (tmp_path / "link").symlink_to("run")
    journal = Journal(tmp_path / "link")
    journal.close()
    assert len(Journal.read_history(tmp_path / "link")) == 2


def test_a_journal_with_another_name_is_read_and_gets_a_file_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "run", 2)
    (tmp_path / "copy").mkdir()
    os.link(tmp_path / "run" / "journal.sqlite", tmp_path / "copy" / "journal.sqlite")
    assert len(Journal.read_history(tmp_path / "copy")) == 2
    assert (tmp_path / "run" / "journal.sqlite").stat().st_nlink == 2
    Journal(tmp_path / "copy").close()
    assert (tmp_path / "run" / "journal.sqlite").stat().st_nlink == 1
    assert len(Journal.read_history(tmp_path / "copy")) == 2


@pytest.mark.parametrize("name", ["history.jsonl", "writer.json", "initial.pt", "warm-1.pt"])
@pytest.mark.parametrize("journal", [None, b""])
def test_a_folder_that_is_not_a_runs_stays_as_it_is(tmp_path: Path, name: str, journal: bytes | None) -> None:
    if name == "history.jsonl" and journal is not None:
        return  # a damaged run, and refused as one
    (tmp_path / name).write_text("mine")
    if journal is not None:
        (tmp_path / "journal.sqlite").write_bytes(journal)
    before = contents(tmp_path)
    with pytest.raises(
        ValueError, match=rf"has {name}, which a run would overwrite, but no journal\.sqlite, .*\. Choose"
    ):
        Journal(tmp_path)
    active = ActiveLearning("bald", query_size=4, budget=12, folder=tmp_path)
    with pytest.raises(ValueError, match="which a run would overwrite"):
        trainer(tmp_path, callbacks=[active]).fit(model(), datamodule=active_data(20))
    assert contents(tmp_path) == before


def test_files_that_a_run_does_not_write_may_lie_there_beforehand(tmp_path: Path) -> None:
    for name in (".hydra/config.yaml", "main.log", "config.yaml", "notes.pt", "lightning_logs/version_0/metrics.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "data").symlink_to("/")
    before = contents(tmp_path)
    Journal(tmp_path).close()
    assert before.items() <= contents(tmp_path).items()


def rewrite(run: Path, number: int, text: str) -> None:
    """Put another body into a row, and mend the chain of hashes, as a liar would."""
    with sqlite3.connect(run / "journal.sqlite") as database:
        rows = database.execute("SELECT number, body FROM rows ORDER BY number").fetchall()
        previous = ""
        for place, body in rows:
            body = text if place == number else body
            previous = hash_of(previous, body)
            database.execute("UPDATE rows SET body = ?, hash = ? WHERE number = ?", (body, previous, place))
    database.close()


@pytest.mark.parametrize(
    "text",
    [
        '{"round": {"number": 0, "labelled": 1%s, "indices": [], "scores": []}, "labels": {}}' % ("0" * 400),
        '{"round": {"number": 0, "labelled": 1%s, "indices": [], "scores": []}, "labels": {}}' % ("0" * 9_000),
        '{"round": {"number": 0}, "labels": {}}',
        '{"round": 3}',
        "3",
        "[" * 50_000,
        "nothing",
    ],
    ids=["400 digits", "9,000 digits", "a round that lacks most", "no round", "a number", "nested", "no JSON"],
)
def test_rows_that_no_run_writes_are_refused_in_words(tmp_path: Path, text: str) -> None:
    write(tmp_path, 2)
    rewrite(tmp_path, 1, text)
    for use in (Journal, Journal.read_history):
        with pytest.raises(RuntimeError, match=r"has rows that no run writes: .*\. Put back a copy of journal\.sqlite"):
            use(tmp_path)


def name_a_second_journal(run: Path, victim: Path) -> None:
    """Leave a rollback journal as of a transaction on several databases, in SQLite's format."""
    content, magic, sector, nonce = (run / "journal.sqlite").read_bytes(), bytes.fromhex("d9d505f920a163d7"), 512, 1
    (page,) = struct.unpack(">H", content[16:18])
    first, name = content[:page], str(victim).encode()
    checksum = nonce + sum(first[place] for place in range(page - 200, 0, -200))
    header = (magic + struct.pack(">5I", 1, nonce, len(content) // page, sector, page)).ljust(sector, b"\0")
    record = struct.pack(">I", 1) + first + struct.pack(">I", checksum)
    second = struct.pack(">I", 2**30 // page + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    (run / "journal.sqlite-journal").write_bytes(header + record + second)


def test_a_journal_that_lets_sqlite_remove_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, victim = tmp_path / "run", tmp_path / "thesis.tex"
    write(run, 2)
    victim.write_text("years of work")
    name_a_second_journal(run, victim)
    for use in (Journal, Journal.read_history, Journal.salvage):
        with pytest.raises(ValueError, match=r"journal\.sqlite-journal names another file, which SQLite would remove"):
            use(run)
    assert report([str(run), "--out", str(tmp_path / "report")]) == 2
    assert "names another file" in capsys.readouterr().err
    assert victim.read_text() == "years of work"
    sqlite3.connect(run / "journal.sqlite").execute("SELECT * FROM rows").connection.close()
    assert not victim.exists()  # as SQLite does


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n) SELECT x number, '' body, '' hash FROM n"


@pytest.mark.parametrize(
    ("script", "damage"),
    [
        (f"DROP TABLE rows; CREATE VIEW rows AS {ENDLESS}", "at row 0; no round is good"),
        # The rows are what the run wrote; nothing is written to them.
        (
            f"CREATE TRIGGER t BEFORE DELETE ON rows BEGIN INSERT INTO rows {ENDLESS}; END",
            "at row 3; the last good round",
        ),
    ],
    ids=["view", "trigger"],
)
def test_a_database_that_computes_without_end_is_damaged(tmp_path: Path, script: str, damage: str) -> None:
    write(tmp_path, 2)
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.executescript(script)
    database.close()
    for use in (Journal, Journal.read_history):
        with pytest.raises(RuntimeError, match=f"is damaged {damage}"):
            use(tmp_path)
    with pytest.raises(ValueError, match=r"the database of journal\.sqlite computes something, which no run's does"):
        read_header(tmp_path)


def test_in_a_folder_that_is_a_link_places_are_found_by_either_name(tmp_path: Path) -> None:
    (tmp_path / "run" / "kept").mkdir(parents=True)
    (tmp_path / "run" / "kept" / "x.csv").symlink_to("/etc/passwd")
    (tmp_path / "link").symlink_to("run")
    for folder, place in itertools.product(("run", "link"), ("run", "link")):
        if (folder, place) != ("run", "link"):
            with pytest.raises(ValueError, match=r"has a link named kept/x\.csv"):
                check_places(tmp_path / folder, [tmp_path / place / "kept"])


@pytest.mark.parametrize("size", [2**33, 2**40])
def test_a_journal_of_absurd_size_is_refused(tmp_path: Path, size: int) -> None:
    write(tmp_path, 2)
    os.truncate(tmp_path / "journal.sqlite", size)
    with pytest.raises(ValueError, match=rf"journal\.sqlite has {size} bytes, but such a file has at most 4294967296"):
        Journal.read_history(tmp_path)


def test_weights_of_absurd_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "initial.pt").touch()
    os.truncate(tmp_path / "initial.pt", 2**42)
    with pytest.raises(
        RuntimeError, match=r"initial\.pt could not be read: .* has 4398046511104 bytes, but such a file"
    ):
        load_weights(tmp_path, "initial")
    os.truncate(tmp_path / "initial.pt", 2**28)  # it may be one, and is read in parts
    with pytest.raises(RuntimeError, match=r"initial\.pt is damaged"):
        load_weights(tmp_path, "initial")


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="a whole number of 30 digits"):
        journal.begin({**HEADER, "seed": int("1" * 30)})
    journal.begin(HEADER)
    journal.close()


# Loggers and checkpoints.


@pytest.mark.parametrize("place", ["logs", "logs/version_0", "logs/version_0/metrics.csv", "checkpoints", "kept"])
def test_a_link_where_a_logger_or_a_checkpoint_writes_is_refused(tmp_path: Path, place: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    (outside / "version_0").mkdir(parents=True)
    (outside / "version_0" / "metrics.csv").write_text("mine")
    (run / place).parent.mkdir(parents=True)
    (run / place).symlink_to(outside / place.removeprefix("logs/") if "/" in place else outside)
    before = contents(outside)
    active = ActiveLearning("bald", query_size=4, budget=12, folder=run)
    logger = pl.loggers.CSVLogger(run, name="logs")
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=run / "kept" if place == "kept" else None)
    callbacks = [active, checkpoint]
    fitting = trainer(tmp_path, default_root_dir=run, logger=logger, enable_checkpointing=True, callbacks=callbacks)
    with pytest.raises(
        ValueError, match=rf"has a link named {place}.*would write\. Remove it, or choose another folder"
    ):
        fitting.fit(model(), datamodule=active_data(20))
    shutil.rmtree(outside / "version_1", ignore_errors=True)  # Lightning has made it, empty, before any other hook
    assert contents(outside) == before
    assert not (run / "journal.sqlite").exists()


def test_links_of_lightnings_and_of_wandbs_own_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "epoch=1.ckpt").touch()
    (tmp_path / "kept" / "last.ckpt").symlink_to("epoch=1.ckpt")
    logs = tmp_path / "wandb" / "offline-run-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug.log").touch()
    (logs / "debug-core.log").symlink_to("/root/.cache/wandb/logs/core-debug-1.log")
    (tmp_path / "wandb" / "latest-run").symlink_to("offline-run-1")
    (tmp_path / "wandb" / "debug.log").symlink_to("offline-run-1/logs/debug.log")
    (tmp_path / "home").symlink_to("/")
    check_places(tmp_path, [tmp_path / "kept", tmp_path / "wandb", "s3://elsewhere", "/elsewhere", None])


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("kept/last.ckpt", "../journal.sqlite"),
        ("kept/last.ckpt", "/etc/passwd"),
        ("kept/last.ckpt", "other.ckpt"),
        ("kept/metrics.csv", "epoch=1.ckpt"),
        ("wandb/latest-run", "/tmp"),
        ("wandb/latest-run", "../kept"),
        ("wandb/run-1/files/config.yaml", "/etc/passwd"),
    ],
)
def test_no_other_links_are(tmp_path: Path, link: str, target: str) -> None:
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(target)
    if target == "other.ckpt":  # a link to a link
        (tmp_path / "kept" / "other.ckpt").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match=r"has a link named .*where Hydra, a logger or a checkpoint would write"):
        check_tree(tmp_path, (tmp_path / link).parent)


def test_a_pipe_below_a_loggers_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    os.mkfifo(tmp_path / "csv" / "metrics.csv")
    with pytest.raises(ValueError, match=r"has a pipe named csv/metrics\.csv"):
        check_places(tmp_path, [tmp_path / "csv"])


# The command line and the report.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the command line, made in a process of its own."""
    home = tmp_path_factory.mktemp("finished") / "run"
    overrides = [setting for setting in TINY if not setting.startswith("logger")]
    programs.run("-m", "lightning_al.cli", *overrides, "active.max_rounds=2", f"folder={home}", cwd=home.parent)
    return home


def write_text(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


def summary(**changes: Any) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes})) and None


def config(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text() + text) and None


KINDS = ["a link", "a pipe"]
PLACES = [
    *(WRITTEN[place] for place in (0, 1, 4)),
    "config.yaml",
    "summary.json",
    ".hydra",
    ".hydra/config.yaml",
    "csv",
    "csv/metrics.csv",
    "csv/hparams.yaml",
    "checkpoints",
    "lightning-al.log",
]
BY_DEFAULT = {"config.yaml": "a pipe", ".hydra": "a link", "csv": "a pipe", "lightning-al.log": "a pipe"}
"""One that is read first, and one each of Hydra's, of a logger's and of the command's own.

Those of the journal are refused above without the command line, and others of loggers too.
"""


def refuses(refused: Any, outside: Path, *overrides: str) -> str:
    before = contents(outside)
    said = refused(*overrides)
    assert said.startswith(("lightning-al: ", "Error executing job")) or "is not the configuration of a run" in said
    assert len(said.splitlines()) <= 5, said  # of which Hydra's own are some
    assert "Traceback" not in said
    assert contents(outside) == before
    return str(said)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if BY_DEFAULT.get(name) == kind else pytest.mark.slow)
        for name in PLACES
        for kind in KINDS
    ],
)
def test_the_command_line_refuses_what_leads_elsewhere(
    refused: Any, finished: Path, tmp_path: Path, name: str, kind: str
):
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(finished, run)
    (outside / name).parent.mkdir(parents=True, exist_ok=True)
    put(kind, run / name, outside / name)
    said = refuses(refused, outside, f"folder={run}")
    assert name.split("/")[-1] in said
    assert kind in said


ABSURD: list[tuple[str, Callable[[Path], None]]] = [
    ("config.yaml", sparse),
    ("summary.json", sparse),
    ("config.yaml", config(f"other: {'9' * 5_000}\n")),
    ("config.yaml", config(f"other: {'9' * 30}\n")),
    ("config.yaml", config(f"other: {':'.join(['1'] * 400_000)}\n")),
    ("config.yaml", config(f"other: {'[' * 2_000}\n")),
    ("config.yaml", config("a: &a [1]\nb: [*a, *a]\n")),
    ("summary.json", write_text("[" * 100_000)),
    ("summary.json", write_text('{"name": ' + "9" * 6_000 + "}")),
    ("summary.json", write_text("\0")),
    ("summary.json", summary(labels=[10, 10**30])),
    ("summary.json", summary(values=[1e300, 0.5])),
    ("summary.json", summary(name=[3])),
]


@pytest.mark.parametrize(("name", "make"), ABSURD)
def test_absurd_sizes_are_refused_where_a_file_is_read(
    finished: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    make(run / name)
    read: Callable[[Path], Any] = read_config if name == "config.yaml" else Run.read
    with pytest.raises((ValueError, ConfigCompositionException)) as raised:
        read(run)
    assert name in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("journal.sqlite", sparse, marks=pytest.mark.slow),
        # One for each other file; the errors of the rest are tested above.
        *(
            case if place in (3, 11) else pytest.param(*case, marks=pytest.mark.slow)
            for place, case in enumerate(ABSURD)
        ),
    ],
)
def test_absurd_sizes_end_in_one_line(
    refused: Any, finished: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    make(run / name)
    said = refuses(refused, tmp_path / "outside", f"folder={run}")
    assert name in said


@pytest.mark.parametrize(
    "name",
    [
        *("csv", "journal.sqlite"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("summary.json", "curve.png", "loggers.json", "initial.pt")
        ),
    ],
)
def test_the_command_line_leaves_a_folder_alone_that_is_not_a_runs(refused: Any, tmp_path: Path, name: str) -> None:
    if name == "csv":
        (tmp_path / "csv").mkdir()
        (tmp_path / "csv" / "metrics.csv").write_text("mine")
    else:
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    refused(*TINY, f"folder={tmp_path}")
    after = contents(tmp_path)
    assert before.items() <= after.items()
    if name != "journal.sqlite":
        assert after == before


def test_a_sweep_leaves_a_folder_alone_that_is_not_a_sweeps(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "comparison.csv").write_text("mine")
    said = refused("-m", *TINY, "seed=0,1", f"folder={tmp_path}")
    assert (
        "has comparison.csv, which a sweep would overwrite, but no cells, so it is not the folder of a sweep. Choose"
        in said
    )
    assert contents(tmp_path) == {"comparison.csv": b"mine"}


@pytest.mark.parametrize(
    "place",
    ["multirun.yaml", pytest.param("seed-0_0123456789", marks=pytest.mark.slow), "seed-0_0123456789/.hydra"],
)
def test_a_sweep_refuses_what_leads_elsewhere(refused: Any, tmp_path: Path, place: str) -> None:
    outside, sweep = tmp_path / "outside", tmp_path / "sweep"
    outside.mkdir()
    (sweep / place).parent.mkdir(parents=True)
    (sweep / place).symlink_to(outside)
    assert f"a link named {place.split('/')[-1]}" in refused("-m", *TINY, "seed=0,1", f"folder={sweep}")
    assert contents(outside) == {}
    assert len(contents(sweep)) == place.count("/") + 1


OF_REPORT = [
    "journal.sqlite",
    "config.yaml",
    "summary.json",
    "initial.pt",
    "journal.sqlite-wal",
    "asked.png",
    "error.txt",
]


@pytest.mark.long
@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in (1, 2, 3))])
def test_the_report_leaves_out_what_leads_elsewhere_in_a_line(
    finished: Path, tmp_path: Path, turn: int, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ["a pipe", "a link", "a device", "a folder"]
    put_there = {name: kinds[(place + turn) % 4] for place, name in enumerate(OF_REPORT)}
    for name, kind in put_there.items():
        shutil.copytree(finished, tmp_path / "runs" / name)
        put(kind, tmp_path / "runs" / name / name, tmp_path / "outside" / name)
    (tmp_path / "runs" / "error.txt" / "journal.sqlite").unlink()
    (tmp_path / "runs" / "error.txt" / "history.jsonl").unlink()
    (tmp_path / "runs" / "error.txt" / "summary.json").unlink()
    before = contents(tmp_path / "runs"), contents(tmp_path / "outside")
    assert report([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0  # on the one without its picture
    lines = capsys.readouterr().err.splitlines()
    for name, kind in put_there.items():
        found = [line for line in lines if f"left out {tmp_path / 'runs' / name}: " in line and kind in line]
        assert len(found) == (name != "asked.png"), lines
    assert (contents(tmp_path / "runs"), contents(tmp_path / "outside")) == before
