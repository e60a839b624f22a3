"""How much sooner do two processes have the pool scored than one, and do they ask for the same points?

Run on demand, ``python -m tests.benchmarks.processes``. A Trainer of its own scores the same pool of random images with
the same weights in one process with one thread, in one process with two threads, and under ``strategy="ddp"`` in two
processes with one thread each, and BatchBALD chooses 10 points. The sides take turns, each turn in new processes whose
first round warms up. Linux only.

Seconds are of the clock on the wall, as the history of the run has them, and medians over turns; starting processes is
no part of them. A ratio is the median over turns of the first side's time by another's in the same turn, so that what
else the machine did meanwhile weighs little. Every process chooses for itself, so only scoring can gain.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.machine import processor, run_child
from tests.benchmarks.printing import Report
from tests.benchmarks.processes_run import Outcome


@dataclass(frozen=True)
class Case:
    """A pool of N points in batches, K posterior samples, a query of b."""

    name: str
    N: int
    K: int
    batch_size: int = 256
    b: int = 10

    def __str__(self) -> str:
        return f"N = {self.N:,} in batches of {self.batch_size}, K = {self.K}, b = {self.b}"

    def quick(self) -> Case:
        """Return a case to try it out."""
        return replace(self, N=self.N // 20, K=3, batch_size=32)


CASES = (Case("K-20", 3_000, 20), Case("K-100", 1_000, 100))


@dataclass(frozen=True)
class Side:
    """How many processes score, with how many threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        return f"{processes} x {'1 thread' if self.threads == 1 else f'{self.threads} threads'}"


SIDES = (Side(1, 1), Side(1, 2), Side(2, 1))

Turns = dict[Side, list[list[Outcome]]]
"""What each rank found, turn by turn."""


def compare(case: Case, turns: int, limit_seconds: float, report: Report) -> None:
    """Let all sides score in turns, and print what it took."""
    report.text(f"\n{case}; load average {os.getloadavg()[0]:.1f}")
    found: Turns = defaultdict(list)
    for turn in range(turns):
        for side in SIDES if turn % 2 == 0 else reversed(SIDES):
            outcome = run_child(command(case, side), side.threads, limit_seconds)
            if "problem" in outcome:
                report.text(f"  {side}: {outcome['problem']}")
                return
            ranks = [Outcome(**rank) for rank in outcome["ranks"]]
            found[side].append(ranks)
            report.text(f"  turn {turn}, {side}: {ranks[0].score:.4g} s to score, {ranks[0].select:.3g} s to select")
    columns = ["side", "turns", "score s", "speed-up", "select s", "both, speed-up", "exchange", "peak of each process"]
    report.table(str(case), columns, [[str(side), *figures(side, found)] for side in SIDES])
    for line in footnotes(found):
        report.text(line)


def command(case: Case, side: Side) -> list[str]:
    options = {"ranks": side.processes, "N": case.N, "K": case.K, "batch-size": case.batch_size, "b": case.b}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "tests.benchmarks.processes_run", *given]


def figures(side: Side, found: Turns) -> list[str]:
    """Say what a side took; times are those of its first rank."""
    its, firsts = ([first for first, *_ in found[which]] for which in (side, SIDES[0]))
    turns = list(zip(firsts, its, strict=True))
    speed_up = statistics.median(other.score / own.score for other, own in turns)
    both_speed_up = statistics.median((other.score + other.select) / (own.score + own.select) for other, own in turns)
    peaks = [statistics.median(rank.peak_bytes for rank in turns) for turns in zip(*found[side], strict=True)]
    return [
        str(len(its)),
        f"{statistics.median(own.score for own in its):.4g}",
        f"{speed_up:.2f}x",
        f"{statistics.median(own.select for own in its):.3g}",
        f"{both_speed_up:.2f}x",
        f"{statistics.median(own.exchange / own.score for own in its):.2%}" if side.processes > 1 else "-",
        ", ".join(f"{peak / 2**20:,.0f} MiB" for peak in peaks),
    ]


def footnotes(found: Turns) -> Iterator[str]:
    """Yield what must be known to read the table."""
    picks = {tuple(rank.picks) for turns in found.values() for ranks in turns for rank in ranks}
    yield (
        f"Picks: the same on every side, rank and turn, {list(picks.pop())}."
        if len(picks) == 1
        else f"Picks DIFFER: {len(picks)} queries, {sorted(picks)}."
    )
    yield "Exchange: the share of scoring that ranks take to exchange predictions, while none waits for another's."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="default: all")
    parser.add_argument("--quick", action="store_true", help="a few points and samples, to try it out")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1800, help="seconds that a side may take in a turn")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--out", type=Path, help="write to this file as well")
    arguments = parser.parse_args()

    cases = [case for case in CASES if case.name in (arguments.cases or case.name)]
    turns = arguments.turns
    if arguments.quick:
        cases, turns = [case.quick() for case in cases], 1
    report = Report(arguments.out, arguments.markdown)
    report.text(f"{processor()}, {os.cpu_count()} cores")
    for case in cases:
        compare(case, turns, arguments.limit, report)


if __name__ == "__main__":
    main()
