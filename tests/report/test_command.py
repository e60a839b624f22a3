"""The report's command line, from run folders to files."""

from __future__ import annotations

import csv
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.image import imread

from lightning_al.report.command import main
from lightning_al.report.runs import read_all
from lightning_al.report.study import make_studies
from tests.report.conftest import HOSTILE
from tests.support import programs
from tests.support.runs import record


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self._table = ""
        self._is_cell = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._table = dict(attrs)["data-name"] or ""
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        self._is_cell = tag in ("td", "th")
        if self._is_cell:
            self.tables[self._table][-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_cell:
            self.tables[self._table][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = False


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_writes_a_page_pictures_and_tables(study):
    report = study / "report"
    names = {"curves", "differences", "evenness", "classes-0", "classes-1", "time", "noise"}
    tables = {"curves", "comparison", "labels_to_target", "phases", "classes", "asked", "noise"}
    expected = {f"{name}.{form}" for name in names for form in ("png", "svg", "dark.svg")} | {
        f"{name}.csv" for name in tables
    }
    assert {path.name for path in report.iterdir()} == expected | {"index.html"}
    for name in names:
        assert imread(report / f"{name}.png").shape[1] > 500


def test_tables_and_files_have_the_figures_of_the_runs(study):
    [found], _ = make_studies(read_all([study / "sweep"])[0])
    [random, bald] = found.compared
    page = Page(study / "report" / "index.html")
    [heads, first, second] = page.tables["comparison"]
    assert first[:3] == ["random", "8", f"{random.mean_area:.3f} ± {random.sd_area:.3f}"]
    assert second[3] == f"{bald.difference.mean:+.3f}"
    assert second[4] == f"{bald.difference.low:+.3f} to {bald.difference.high:+.3f}"
    assert heads[6:] == ["sign-flip p", "corrected sign-flip p", "t test p", "corrected t test p"]
    assert second[6:8] == [".008", ".008"]
    assert [row[:5] for row in page.tables["labels to target"][1:]] == [
        ["random", "0.7", "30", "30", "30"],
        ["bald", "0.7", "20", "20", "20"],
        ["random", "0.95", "over 30", "over 30", "over 30"],
        ["bald", "0.95", "over 30", "over 30", "over 30"],
    ]
    assert page.text.index("bald is best: it reaches") < page.text.index("bald's curve lies 0.118 above random's.")
    written = lines(study / "report" / "comparison.csv")
    assert float(written[1]["difference"]) == bald.difference.mean
    targets = [row for row in lines(study / "report" / "labels_to_target.csv") if row["method"] == "bald"]
    assert [row["seed"] for row in targets] == [*"01234567"] * 2
    assert [row["labels"] for row in targets] == ["20"] * 8 + [""] * 8
    curves = lines(study / "report" / "curves.csv")
    assert len(curves) == 16 * 3
    assert {(row["validation_labels"], row["metric"]) for row in curves} == {("7", "test_acc")}


def test_the_two_uncertainties_of_a_batch_are_told_apart_by_name(study):
    page = Page(study / "report" / "index.html")
    heads, first = page.tables["noise"][:2]
    assert {"picks below Monte Carlo error", "largest Monte Carlo error", "halves agree"} < set(heads)
    assert first[heads.index("halves agree")] == "not measured"
    assert "None of these figures holds the sampling noise, which is larger" in page.text


def test_the_page_needs_nothing_beside_it(study):
    page = Page(study / "report" / "index.html")
    assert not {"script", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    addresses = [attrs[name] for _, attrs in page.tags for name in ("src", "srcset", "href") if name in attrs]
    assert len(addresses) > 10
    assert all(address is not None and address.startswith("data:") for address in addresses)
    [policy] = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.long
def test_names_are_text_and_nothing_else(hostile):
    page = Page(hostile / "index.html")
    assert not {"script", "b", "i", "svg"} & {tag for tag, _ in page.tags}
    assert len([tag for tag, _ in page.tags if tag == "style"]) == 1
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    shown = {row[0] for row in page.tables["comparison"][1:]}
    assert {"random", HOSTILE[0], HOSTILE[1], HOSTILE[3], "_hidden"} <= shown
    assert len(shown) == len(HOSTILE) + 2
    pictures = list(hostile.glob("*.svg"))
    assert len(pictures) > 6
    assert not any(b"<script" in path.read_bytes() for path in pictures)
    methods = {row["method"] for row in lines(hostile / "curves.csv")}
    assert len(methods) == len(shown)
    assert not any(name.startswith(("=", "+", "-", "@")) for name in methods)


@pytest.mark.slow
@pytest.mark.parametrize("metric", HOSTILE)
def test_a_metric_may_be_called_anything(tmp_path, metric):
    record(tmp_path / "run", metric=metric)
    asked = ["--out", str(tmp_path / "out"), f"--metric={metric}", "--target", "0.7", "--mode", "max"]
    assert main([str(tmp_path / "run"), *asked]) == 0
    assert not {"script", "b", "i", "svg"} & {tag for tag, _ in Page(tmp_path / "out" / "index.html").tags}


@pytest.mark.long
def test_several_tasks_have_sections_of_their_own(tmp_path):
    record(tmp_path / "runs" / "a", [0.5])
    record(tmp_path / "runs" / "b", [0.5], data__noise=0.1)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    page = Page(tmp_path / "out" / "index.html")
    assert "Digits data.noise=0.0" in page.text
    assert "Digits data.noise=0.1" in page.text
    assert (tmp_path / "out" / "task-2-curves.png").exists()
    assert len({row["task"] for row in lines(tmp_path / "out" / "curves.csv")}) == 2


def test_the_shortest_of_runs_has_a_report_and_what_is_damaged_is_named_in_it(tmp_path, capsys):
    record(tmp_path / "runs" / "good", [0.5])
    (tmp_path / "runs" / "good" / "asked.png").write_bytes(b"<svg onload=alert(1)>")
    record(tmp_path / "runs" / "bad", seed=1)
    (tmp_path / "runs" / "bad" / "config.yaml").write_text("- 1")
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--band", "interval"]) == 0
    assert "left out" in capsys.readouterr().err
    page = Page(tmp_path / "out" / "index.html")
    assert "config.yaml holds no settings" in page.text
    assert "The images that" not in page.text


@pytest.mark.long
def test_runs_that_diverged_are_in_every_table_and_picture(tmp_path, capsys):
    for seed, middle in enumerate([0.6, float("nan"), float("inf")]):
        record(tmp_path / f"r-{seed}", name="random", acquisition="Random", seed=seed)
        record(tmp_path / f"b-{seed}", [0.5, middle, 0.9], seed=seed)
    record(tmp_path / "z", [float("nan")] * 3, name="lost", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--target", "0.8", "--band", "interval"]) == 0
    page = Page(tmp_path / "out" / "index.html")
    found = {row[0]: row[1:] for row in page.tables["comparison"][1:]}
    assert list(found) == ["random", "bald", "bald, diverged at 0.500", "lost", "lost, diverged at 0.500"]
    assert found["bald"][:2] == ["2 of 3 diverged", "(0.650)"]
    assert found["bald"][2:] == [""] * 7
    assert found["lost"][:2] == ["1 of 1 diverged", "none"]
    assert found["bald, diverged at 0.500"][4] == "3"
    assert [row[:5] for row in page.tables["labels to target"][1:]][1:] == [
        ["bald", "0.8", "30", "30", "30"],
        ["lost", "0.8", "over 30", "over 30", "over 30"],
    ]
    assert "nan" not in page.text.lower().split("settings")[0]
    said = capsys.readouterr().out
    assert "2 of 3 diverged" in " ".join(said.split())
    assert "bald seed 1 with 20 labels, bald seed 2 with 20 labels, lost seed 0 with 10 labels. In" in said
    assert {row["value"] for row in lines(tmp_path / "out" / "curves.csv")} >= {"nan", "inf", "0.5"}


@pytest.mark.long
def test_targets_of_a_metric_whose_direction_is_not_known_need_one(tmp_path, capsys):
    record(tmp_path / "run", [3.0, 2.0, 1.0], metric="quality")
    asked = [str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--target", "2.5"]
    assert main(asked) == 2
    assert "less or more of quality is better is not known" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*asked, "--mode", "min"]) == 0
    assert Page(tmp_path / "out" / "index.html").tables["labels to target"][1][:5] == ["bald", "2.5", "20", "20", "20"]
    assert "at or below the target" in Page(tmp_path / "out" / "index.html").text
    assert [row["labels"] for row in lines(tmp_path / "out" / "labels_to_target.csv")] == ["20"]


@pytest.mark.long
def test_every_two_methods_are_in_the_page_the_terminal_and_a_file(tmp_path, capsys):
    for seed in range(8):
        for place, (name, acquisition) in enumerate({"random": "Random", "bald": "BALD", "entropy": "Entropy"}.items()):
            heights = [0.5, 0.6 + 0.1 * place + 0.01 * seed * place, 0.9]
            record(tmp_path / f"{name}-{seed}", heights, name=name, acquisition=acquisition, seed=seed)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    [_, row] = Page(tmp_path / "out" / "index.html").tables["pairs"]
    [written] = lines(tmp_path / "out" / "pairs.csv")
    assert row[:3] == ["entropy", "bald", f"{float(written['difference']):+.3f}"]
    assert float(written["difference"]) == pytest.approx(0.05 + 0.005 * 3.5)
    assert (row[4], row[5], row[6]) == ("8", ".008", ".008")
    assert (written["pairs"], written["p_sign_flip_holm"]) == ("8", "0.0078125")
    said = capsys.readouterr().out
    assert "pairs" in said.partition("Normalised area")[2]


@pytest.mark.long
def test_a_narrow_terminal_shows_whole_names_and_the_largest_of_many_pairs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ["least_confidence_of_the_mean_of_all_posterior_samples", *(f"m{place}" for place in range(5))]
    for place, name in enumerate(names):
        record(tmp_path / name, [0.5, 0.6 + 0.01 * place, 0.9], name=name)
    assert main([str(tmp_path), "--target", "0.6", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "The 10 largest differences of 15 pairs; pairs.csv has all." in " ".join(said.split())
    assert len(lines(tmp_path / "out" / "pairs.csv")) == 15
    assert len(Page(tmp_path / "out" / "index.html").tables["pairs"]) == 1 + 15
    table = said.partition("labels to target")[2].partition("└")[0]
    column = "".join(line.split("│")[1].strip() for line in table.splitlines() if line.startswith("│"))
    assert "".join(names) == column.replace(" ", "")


def command(*arguments: str, cwd: Path, fork: bool = True) -> subprocess.CompletedProcess[str]:
    return programs.run("-m", "lightning_al.report.command", *arguments, cwd=cwd, check=False, fork=fork)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "missing is not a folder that can be read: No such file or directory"),
        (["."], "No run to report on in ."),
        (["run", "--metric", "f1"], "No run has the metric f1. Choose one of: test_acc, test_loss."),
        (["run", "--out", "run/report"], "would be written into the run folder"),
        (["run", "--out", "file"], "--out file is a file. Name a folder."),
        (["run", "--target", "nan"], "a value is a finite number, but got nan. Give"),
        (["run", "--target", "nan"], "Give one such as 0.9. See `"),
        (["run", "--target", "high"], "invalid"),
        (["run", "--mode", "lowest"], "invalid choice: 'lowest'"),
        (["run", "--chance", "nan"], "a value is a finite number, but got nan"),
        (["run", "--band", "wide"], "invalid choice: 'wide'"),
    ],
)
def test_bad_input_gets_one_error(tmp_path, capsys, monkeypatch, arguments, said):
    if arguments[0] == "run":
        record(tmp_path / "run")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_process_ends_with_code_2_and_no_traceback(tmp_path):
    done = command("missing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("lightning-al-report: missing is not a folder")


def test_help_answers_before_torch_is_imported(tmp_path):
    slow = {"torch", "numpy", "pandas", "matplotlib", "scipy", "rich", "jinja2", "hydra"}
    code = f"import sys, lightning_al.report.command; print(sorted({slow} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
    assert "--with-validation-labels" in command("--help", cwd=tmp_path, fork=False).stdout


def test_without_names_and_times_there_are_numbers_and_no_times(study: Path) -> None:
    page = Page(study / "report" / "index.html")
    assert "class 0" in page.text
    assert {line["name"] for line in lines(study / "report" / "classes.csv")} == {""}
    assert "people who label" not in page.text
    assert not (study / "report" / "labelling.svg").exists()
