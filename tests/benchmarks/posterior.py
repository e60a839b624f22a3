"""How fast are K posterior samples by dropout computed for a pool, and is each sample one function of its input?

Run on demand, ``python -m tests.benchmarks.posterior --peers-python PATH``, where PATH is an interpreter that has baal,
torchvision and transformers; by default it is the one that runs this. This library's part needs no Lightning there. All
methods of a table run in the same process, in turns: a plain loop as written by hand, this library, and baal's layers
in K passes, in one pass over K copies of each batch, and in one pass with its consistent masks. A method or a network
that cannot be imported is reported as absent. Linux only.

Seconds are medians of the runs. A ratio is the median over turns of another method's time by its time in the same turn,
so that what else the machine did meanwhile weighs little; take ``--threads 1`` where it is busy. The FLOP limit is the
time that K forward passes of the whole network would take at the rate of the fastest matrix product. A method that
does not compute everything K times may be faster than that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.machine import processor, run_child
from tests.benchmarks.posterior_peers import METHODS, Outcome
from tests.benchmarks.printing import Report

PLAIN, BAAL_LOOP = "plain loop", "baal, loop"

TOLERANCE = 1e-3
"""Log-probabilities that differ by less are the same but for rounding."""


@dataclass(frozen=True)
class Case:
    """A pool of N points for a network, in batches, with K posterior samples."""

    name: str
    title: str
    network: str
    N: int
    batch_size: int
    K: int

    def __str__(self) -> str:
        return f"{self.title}: N = {self.N:,} in batches of {self.batch_size}, K = {self.K}"

    @property
    def other_batch_size(self) -> int:
        """The size that results are compared with: 100 for 256, and in proportion."""
        return max(1, self.batch_size * 100 // 256)

    def quick(self) -> Case:
        """Return a case to try it out."""
        return replace(self, N=max(8, self.N // 20), batch_size=max(5, self.batch_size // 8), K=3)


CASES = (
    Case("cnn", "CNN of the BatchBALD paper, 1 x 28 x 28", "paper_cnn", 2_000, 256, 20),
    Case("cnn-100", "CNN of the BatchBALD paper, 1 x 28 x 28", "paper_cnn", 2_000, 256, 100),
    Case("mlp", "MLP 784-1024-1024-10, dropout after each hidden layer", "mlp", 2_000, 256, 20),
    Case("resnet-late", "ResNet-18, 3 x 64 x 64, dropout before the last layer", "resnet18_late", 256, 64, 20),
    Case("resnet-stages", "ResNet-18, 3 x 64 x 64, dropout after each stage", "resnet18_stages", 256, 64, 20),
    Case("vit", "ViT-B/16, 3 x 64 x 64, dropout throughout", "vit_b_16", 32, 16, 20),
    Case("bert", "BERT, 4 layers of 128, 64 tokens, dropout throughout", "bert", 512, 128, 20),
)


@dataclass(frozen=True)
class Settings:
    """What holds for all cases."""

    peers_python: str
    threads: int
    limit_seconds: float
    memory_gb: float
    methods: Sequence[str]
    device: str = "cpu"
    repeat_seconds: float = 60.0
    least_repeats: int = 3
    most_repeats: int = 9

    def quick(self) -> Settings:
        """Return the settings of a trial run, whose figures mean nothing."""
        return replace(self, repeat_seconds=0.1, least_repeats=1, most_repeats=1)


def compare(case: Case, settings: Settings, report: Report) -> None:
    """Let all methods predict, and print what it took."""
    report.text(f"\n{case}; load average {os.getloadavg()[0]:.1f}")
    outcome = predict(case, settings)
    if outcome.problem:
        report.text(f"  {outcome.problem}")
        return
    for method in settings.methods:
        runs = ", ".join(f"{seconds:.4g}" for seconds in outcome.seconds.get(method, []))
        report.text(f"  {method}: {outcome.problems.get(method) or f'{runs} s'}")
    columns = ["method", "runs", "seconds", "plain loop's / its", "baal loop's / its", "of FLOP limit"]
    report.table(str(case), columns, [[method, *figures(case, method, outcome)] for method in settings.methods])
    for line in footnotes(case, outcome, settings):
        report.text(line)


def predict(case: Case, settings: Settings) -> Outcome:
    """Let all methods predict in one fresh process."""
    options = {
        "N": case.N,
        "K": case.K,
        "threads": settings.threads,
        "least-repeats": settings.least_repeats,
        "most-repeats": settings.most_repeats,
        "repeat-seconds": settings.repeat_seconds,
        "memory-gb": settings.memory_gb,
        "device": settings.device,
    }
    command = [settings.peers_python, "-m", "tests.benchmarks.posterior_peers", case.network]
    command += ["--batch-sizes", str(case.batch_size), str(case.other_batch_size), "--methods", *settings.methods]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return Outcome(**run_child(command, settings.threads, settings.limit_seconds))


def figures(case: Case, method: str, outcome: Outcome) -> list[str]:
    """Say what a method took."""
    if method in outcome.problems:
        return [outcome.problems[method].partition(":")[0], *["-"] * 4]
    seconds = statistics.median(outcome.seconds[method])
    ratios = [ratio(outcome, other, method) for other in (PLAIN, BAAL_LOOP)]
    return [
        str(len(outcome.seconds[method])),
        f"{seconds:.4g}",
        *ratios,
        f"{limit_seconds(case, outcome) / seconds:.1%}",
    ]


def ratio(outcome: Outcome, other: str, method: str) -> str:
    if other not in outcome.seconds:
        return "-"
    turns = zip(outcome.seconds[other], outcome.seconds[method], strict=True)
    return f"{statistics.median(others / its for others, its in turns):.3g}x"


def pass_flops(case: Case, outcome: Outcome) -> float:
    """Return the operations of K forward passes over the pool."""
    return outcome.flops_per_point * case.N * case.K


def limit_seconds(case: Case, outcome: Outcome) -> float:
    """Return the time that these take at the rate of the fastest matrix product."""
    return pass_flops(case, outcome) / outcome.matmul_rate


def footnotes(case: Case, outcome: Outcome, settings: Settings) -> Iterator[str]:
    """Yield what must be known to read the table."""
    yield (
        f"K forward passes: {outcome.flops_per_point / 1e6:.4g} MFLOP a point, "
        f"{pass_flops(case, outcome) / 1e9:.4g} GFLOP in all. Matrix products at most {outcome.matmul_rate / 1e9:.0f} "
        f"GFLOP/s (float32, {settings.threads} threads): {limit_seconds(case, outcome):.3g} s."
    )
    yield (
        f"The same points in batches of {case.batch_size} and of {case.other_batch_size}, from the same seed: "
        f"log-probabilities differ at most by {listed(outcome.differences)}. Methods whose samples are each one "
        f"function of the input, however the pool is batched: {', '.join(consistent(outcome)) or 'none'}."
    )
    yield f"Probabilities differ from sample to sample by (root mean square): {listed(outcome.spreads)}."
    yield f"{outcome.versions}."


def listed(values: dict[str, float]) -> str:
    return "; ".join(f"{value:.2g} ({method})" for method, value in values.items())


def consistent(outcome: Outcome) -> list[str]:
    """Return the methods whose samples do not depend on how the pool is batched."""
    return [method for method, difference in outcome.differences.items() if difference <= TOLERANCE]


def machine(settings: Settings) -> str:
    """Say what the figures were measured on."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {settings.threads} threads; "
        f"at most {settings.limit_seconds:.0f} s and {settings.memory_gb:.0f} GB a case"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="default: all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--quick", action="store_true", help="a few points and samples, to try it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat-seconds", type=float, default=60, help="take turns for so long, three times at least")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that a case may take")
    parser.add_argument("--memory-gb", type=float, default=12, help="memory that a case may take")
    parser.add_argument("--device", default="cpu", help="where to predict: cpu, or cuda")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--out", type=Path, help="write to this file as well")
    arguments = parser.parse_args()

    settings = Settings(
        peers_python=arguments.peers_python,
        threads=arguments.threads,
        limit_seconds=arguments.limit,
        memory_gb=arguments.memory_gb,
        methods=arguments.methods,
        device=arguments.device,
        repeat_seconds=arguments.repeat_seconds,
    )
    cases = [case for case in CASES if case.name in (arguments.cases or case.name)]
    if arguments.quick:
        settings = settings.quick()
        cases = [case.quick() for case in cases]
    report = Report(arguments.out, arguments.markdown)
    report.text(machine(settings))
    for case in cases:
        compare(case, settings, report)


if __name__ == "__main__":
    main()
