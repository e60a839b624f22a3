"""How fast is BatchBALD here, how much memory does it take, and are its batches as good as those of others?

Run on demand, ``python -m tests.benchmarks.batchbald --peers-python PATH``, where PATH is an interpreter that has the
packages of the extra ``peers``; by default it is the one that runs this. Each method chooses from the same
log-probabilities in a fresh process, one after the other: this library in float32, the others in float64. A method that
cannot be imported, takes too long or needs too much memory is reported as such. Linux only.

Where other work keeps the machine busy, several threads wait for one another and wall times mean little: run it with
``--threads 1``, and compare processor times.

One judge re-estimates the information of every batch with fresh posterior samples of the model that the
log-probabilities came from. ``--judge-seeds 20`` compares only that, between this library and batchbald_redux, over
several such models. ``--stream`` chooses from pools that are never held as a whole.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.machine import processor, product_rate, run_child
from tests.benchmarks.peers import METHODS, Outcome
from tests.benchmarks.printing import Report
from tests.benchmarks.synthetic import SoftmaxModel, joint_information, log_probs

OURS, STREAMED, REDUX = "lightning_al", "lightning_al, streamed", "batchbald_redux"

IN_MEMORY = [method for method in METHODS if method != STREAMED]

PREFIXES = (2, 5)
"""Information is judged after so many picks too, where it is far from its cap."""

TOLERANCE = 0.005
"""Nats by which the information of a batch may fall below redux's."""


@dataclass(frozen=True)
class Case:
    """N points, K posterior samples, C classes, a batch of b; redux may be run for its first steps only."""

    name: str
    N: int
    K: int
    C: int
    b: int
    redux_steps: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: N = {self.N:,}, K = {self.K}, C = {self.C:,}, b = {self.b}"

    @property
    def sizes(self) -> list[int]:
        """How many of the first picks to judge; the last are all."""
        return [t for t in PREFIXES if t < self.b] + [self.b]

    def full_flops(self, configurations: int) -> int:
        """Count the operations of the matrix products if every candidate is computed in full at each step."""
        per_step = (min(self.C**step, configurations) for step in range(self.b))
        return sum(2 * self.N * self.K * self.C * M for M in per_step)


CASES = (
    Case("small", 1_000, 20, 10, 5),
    Case("medium", 1_000, 100, 10, 10),
    Case("large", 10_000, 100, 10, 10),
    Case("long", 2_000, 100, 10, 50, redux_steps=8),
)

STREAMS = (
    Case("100k", 100_000, 20, 10, 10),
    Case("300k", 300_000, 20, 10, 10),
    Case("1M", 1_000_000, 20, 10, 10),
    Case("many classes", 50_000, 20, 1_000, 10),
)


@dataclass(frozen=True)
class Settings:
    """What holds for all cases."""

    peers_python: str
    threads: int
    limit_seconds: float
    memory_gb: float
    spread: float
    methods: Sequence[str]
    configurations: int = 10_000
    judge_samples: int = 1_000
    judge_configurations: int = 100_000
    repeat_seconds: float = 10.0
    max_repeats: int = 7

    def quick(self) -> Settings:
        """Return the settings of a trial run, whose figures mean nothing."""
        return replace(
            self, configurations=1_000, judge_samples=200, judge_configurations=2_000, repeat_seconds=0, max_repeats=1
        )


def choose(method: str, case: Case, settings: Settings, *flags: str, **options: object) -> Outcome:
    """Let one method choose in a fresh process."""
    python = sys.executable if method.startswith(OURS) else settings.peers_python
    options |= {
        "N": case.N,
        "K": case.K,
        "C": case.C,
        "b": (case.redux_steps or case.b) if method == REDUX else case.b,
        "configurations": settings.configurations,
        "threads": settings.threads,
        "memory-gb": settings.memory_gb,
        "repeat-seconds": settings.repeat_seconds,
        "max-repeats": settings.max_repeats,
    }
    command = [python, "-m", "tests.benchmarks.peers", method, *flags]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return Outcome(**run_child(command, settings.threads, settings.limit_seconds))


class Judge:
    """Re-estimate what the labels of a batch tell about which of some posterior samples is right."""

    def __init__(self, model: SoftmaxModel, weights_K_D_C: torch.Tensor, settings: Settings) -> None:
        self.model = model
        self.weights_K_D_C = weights_K_D_C.double()
        self.configurations = settings.judge_configurations
        self.known: dict[tuple[int, ...], tuple[float, float]] = {}

    def __call__(self, picks: Sequence[int]) -> tuple[float, float]:
        """Return the information in nats and its standard error; the order of the picks makes no difference."""
        batch = tuple(sorted(picks))
        if batch not in self.known:
            log_probs_t_K_C = log_probs(self.model.points(batch).double(), self.weights_K_D_C)
            seeds = [(self.model.seed, 4, position) for position in batch]
            self.known[batch] = joint_information(log_probs_t_K_C, seeds, self.configurations)
        return self.known[batch]


def compare(case: Case, settings: Settings, report: Report) -> None:
    """Let all methods choose, and print what they chose and what it took."""
    model = SoftmaxModel(case.C, spread=settings.spread)
    outcomes = {}
    with tempfile.TemporaryDirectory() as folder:
        table = saved_log_probs(model, case, folder)
        report.text(f"\n{case}; load average {os.getloadavg()[0]:.1f}")
        for method in settings.methods:
            outcomes[method] = choose(method, case, settings, **{"log-probs": table})
            report.text(f"  {method}: {progress(outcomes[method])}")
    rate = matmul_rate(case, settings)
    judge = Judge(model, model.posterior_samples(settings.judge_samples, seed=1), settings)
    redux = whole_seconds(case, outcomes.get(REDUX, Outcome()))
    columns = ["method", *(f"nats of {t}" for t in case.sizes)]
    columns += [
        "runs",
        "seconds",
        "redux's / its",
        "processor s",
        "redux's / its",
        "peak, GB",
        "imports, GB",
        "GFLOP",
        "of matmul rate",
    ]
    rows = [
        [method, *judged(judge, outcome, case.sizes), *figures(case, outcome, redux, rate)]
        for method, outcome in outcomes.items()
    ]
    report.table(str(case), columns, rows)
    for line in footnotes(case, outcomes, settings, rate, judge):
        report.text(line)


def saved_log_probs(model: SoftmaxModel, case: Case, folder: str) -> Path:
    """Write the log-probabilities of all points to a file."""
    path = Path(folder) / "log_probs.npy"
    weights_K_D_C = model.posterior_samples(case.K, seed=0)
    np.save(path, torch.cat(list(model.chunks(case.N, weights_K_D_C, 1000))).numpy())
    return path


def progress(outcome: Outcome) -> str:
    if outcome.problem:
        return outcome.problem
    runs = ", ".join(f"{seconds:.4g}" for seconds in outcome.seconds)
    return f"{runs} s; {outcome.versions}"


def whole_seconds(case: Case, outcome: Outcome) -> tuple[float, float]:
    """Return the median wall and processor time of a run.

    Where only the first steps were run, the last ones stand for those to come.
    """
    if not outcome.seconds:
        return math.nan, math.nan
    seconds, processor_seconds = statistics.median(outcome.seconds), statistics.median(outcome.processor_seconds)
    if len(outcome.picks) == case.b:
        return seconds, processor_seconds
    whole = seconds + (case.b - len(outcome.picks)) * statistics.mean(costly_steps(outcome))
    return whole, processor_seconds * whole / seconds


def costly_steps(outcome: Outcome) -> list[float]:
    """Return the times of the last steps, those with the most configurations."""
    return outcome.step_seconds[-3:]


def judged(judge: Judge, outcome: Outcome, sizes: Sequence[int]) -> Iterator[str]:
    """Yield the information of the first picks and of the whole batch."""
    for t in sizes:
        yield f"{judge(outcome.picks[:t])[0]:.4f}" if len(outcome.picks) >= t else "-"


def figures(case: Case, outcome: Outcome, redux: tuple[float, float], rate: float) -> list[str]:
    """Say what a run took."""
    if outcome.problem:
        return [outcome.problem.partition(":")[0], *["-"] * 8]
    taken = [str(len(outcome.seconds))]
    for seconds, of_redux in zip(whole_seconds(case, outcome), redux, strict=True):
        taken += [f"{seconds:.4g}", "-" if math.isnan(of_redux) else f"{of_redux / seconds:.3g}x"]
    flops = outcome.matmul_flops
    return [
        *taken,
        f"{outcome.peak_bytes / 1e9:.3f}",
        f"{outcome.floor_bytes / 1e9:.2f}",
        f"{flops / 1e9:.3g}" if flops else "-",
        f"{flops / rate / statistics.median(outcome.seconds):.1%}" if flops else "-",
    ]


def footnotes(case: Case, outcomes: dict[str, Outcome], settings: Settings, rate: float, judge: Judge) -> Iterator[str]:
    """Yield what must be known to read the table."""
    full = case.full_flops(settings.configurations) / 1e9
    yield (
        f"Matrix products at most {rate / 1e9:.0f} GFLOP/s (float32, {settings.threads} threads). "
        f"All candidates in full: {full:.4g} GFLOP, {full * 1e9 / rate:.3g} s at that rate."
    )
    yield (
        f"Information is at most {np.log(settings.judge_samples):.3f} nats for the judge, whose standard error is "
        + (
            f"at most {max((error for _, error in judge.known.values()), default=float('nan')):.4f}; "
            f"at most {np.log(case.K):.3f} for the {case.K} samples that methods were given."
        )
    )
    redux = outcomes.get(REDUX, Outcome())
    if redux.picks and len(redux.picks) < case.b:
        steps = ", ".join(f"{seconds:.3g}" for seconds in redux.step_seconds)
        yield (
            f"{REDUX} was run for {len(redux.picks)} of {case.b} steps ({steps} s). Its time is EXTRAPOLATED: "
            f"each step to come is taken to last as long as the last {len(costly_steps(redux))} on average. "
            "Its peak is that of these steps."
        )
    for method, outcome in outcomes.items():
        if outcome.picks:
            yield f"Picks of {method}: {' '.join(map(str, outcome.picks))}"


def matmul_rate(case: Case, settings: Settings) -> float:
    """Measure operations a second of a float32 product ``[rows, K] x [K, M]``, the best of two sizes of block."""
    posteriors_K_M = torch.rand(case.K, settings.configurations)
    return max(product_rate(torch.rand(rows, case.K), posteriors_K_M) for rows in (200, 200 * case.C))


def compare_seeds(case: Case, num_seeds: int, settings: Settings, report: Report) -> None:
    """Compare the information of our batches with that of redux's over several models."""
    settings = replace(settings, max_repeats=1)
    differences: dict[str, list[float]] = {}
    for seed in range(num_seeds):
        model = SoftmaxModel(case.C, spread=settings.spread, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            table = saved_log_probs(model, case, folder)
            ours, redux = (choose(method, case, settings, **{"log-probs": table}) for method in (OURS, REDUX))
        if ours.problem or redux.problem:
            report.text(f"  seed {seed}: {OURS} {ours.problem or 'ran'}, {REDUX} {redux.problem or 'ran'}")
            continue
        fresh = Judge(model, model.posterior_samples(settings.judge_samples, seed=1), settings)
        given = Judge(model, model.posterior_samples(case.K, seed=0), settings)
        found = {f"{t}, by fresh samples": (fresh, t) for t in case.sizes}
        found[f"{case.b}, by the given samples"] = (given, case.b)
        for name, (judge, t) in found.items():
            information = [judge(outcome.picks[:t])[0] for outcome in (ours, redux)]
            differences.setdefault(name, []).append(information[0] - information[1])
        shared = len(set(ours.picks) & set(redux.picks))
        latest = "; ".join(f"{values[-1]:+.4f} of {name}" for name, values in differences.items())
        report.text(f"  seed {seed}: {shared} of {case.b} picks shared; nats {latest}")
    report.table(
        f"{case}; information of our picks minus that of redux's, nats, over {num_seeds} models",
        ["picks", "models", "mean", "least", "greatest", "equal", f"below -{TOLERANCE}"],
        [[name, *summary(values)] for name, values in differences.items()],
    )


def stream(cases: Sequence[Case], max_memory: str, settings: Settings, report: Report) -> None:
    """Choose from pools that are made as they are read, in one pass and exactly, and print what it took."""
    settings = replace(settings, max_repeats=1)
    columns = ["N x K x C", "table, GB", "passes", "seconds", "of it to make points", "processor s", "peak, GB"]
    columns += ["imports, GB", *(f"nats of {t}" for t in (*PREFIXES, "all")), "short by at most"]
    rows = []
    for case in cases:
        model = SoftmaxModel(case.C, spread=settings.spread)
        judge = Judge(model, model.posterior_samples(settings.judge_samples, seed=1), settings)
        pool, table = f"{case.N:,} x {case.K} x {case.C:,}", f"{4 * case.N * case.K * case.C / 1e9:.2f}"
        for passes, flags in {"one": [], "as needed": ["--exact"]}.items():
            options = {"max-memory": max_memory, "spread": settings.spread}
            outcome = choose(STREAMED, case, settings, *flags, **options)
            report.text(f"  {case}, {passes}: {progress(outcome)}; picks {' '.join(map(str, outcome.picks))}")
            rows.append([pool, table, passes, *stream_figures(outcome)])
            rows[-1] += [*judged(judge, outcome, case.sizes), "-" if outcome.problem else f"{outcome.shortfall:.3g}"]
    report.table(f"Streamed, {max_memory} for the points that are kept", columns, rows)


def stream_figures(outcome: Outcome) -> list[str]:
    if outcome.problem:
        return [outcome.problem.partition(":")[0], *["-"] * 4]
    [seconds] = outcome.seconds
    return [
        f"{seconds:.4g}",
        f"{outcome.making_seconds:.4g}",
        f"{outcome.processor_seconds[0]:.4g}",
        f"{outcome.peak_bytes / 1e9:.3f}",
        f"{outcome.floor_bytes / 1e9:.2f}",
    ]


def summary(differences: Sequence[float]) -> list[str]:
    return [
        str(len(differences)),
        f"{statistics.mean(differences):+.5f}",
        f"{min(differences):+.5f}",
        f"{max(differences):+.5f}",
        str(sum(difference == 0 for difference in differences)),
        str(sum(difference < -TOLERANCE for difference in differences)),
    ]


def machine(settings: Settings) -> str:
    """Say what the figures were measured on."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {settings.threads} threads; "
        f"M = {settings.configurations:,} configurations; "
        f"at most {settings.limit_seconds:.0f} s and {settings.memory_gb:.0f} GB a method"
    )


def main() -> None:
    names = [case.name for case in (*CASES, *STREAMS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--cases", nargs="+", choices=names, help="default: all; with --judge-seeds, small")
    parser.add_argument("--methods", nargs="+", choices=IN_MEMORY, default=IN_MEMORY)
    parser.add_argument(
        "--judge-seeds", type=int, metavar="SEEDS", help="compare information only, over so many models"
    )
    parser.add_argument("--stream", action="store_true", help="choose from pools that are never held as a whole")
    parser.add_argument("--max-memory", default="1GB", help="with --stream: what the kept points may take")
    parser.add_argument("--quick", action="store_true", help="a tenth of the points and configurations, to try it out")
    parser.add_argument("--redux-steps", type=int, help="run redux for so many steps, and extrapolate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds that a method may take for a case")
    parser.add_argument("--memory-gb", type=float, default=12, help="memory that a method may take")
    parser.add_argument("--spread", type=float, default=0.25, help="posterior standard deviation of a weight")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--out", type=Path, help="write to this file as well")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    settings = Settings(
        peers_python=arguments.peers_python,
        threads=arguments.threads,
        limit_seconds=arguments.limit,
        memory_gb=arguments.memory_gb,
        spread=arguments.spread,
        methods=arguments.methods,
    )
    cases: Sequence[Case] = STREAMS if arguments.stream else CASES[:1] if arguments.judge_seeds else CASES
    if arguments.cases:
        cases = [case for case in (*CASES, *STREAMS) if case.name in arguments.cases]
    if arguments.redux_steps is not None:
        cases = [replace(case, redux_steps=min(case.b, arguments.redux_steps)) for case in cases]
    if arguments.quick:
        settings = settings.quick()
        cases = [replace(case, N=case.N // 10) for case in cases]
    report = Report(arguments.out, arguments.markdown)
    report.text(machine(settings))
    if arguments.stream:
        stream(cases, arguments.max_memory, settings, report)
        return
    for case in cases:
        if arguments.judge_seeds:
            compare_seeds(case, arguments.judge_seeds, settings, report)
        else:
            compare(case, settings, report)


if __name__ == "__main__":
    main()
