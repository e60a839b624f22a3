"""How long does each acquisition function take here, how much memory, and how do peers compare?

Run on demand, ``python -m tests.benchmarks.acquisitions``. Each method selects in a fresh process, from the same
tables: K = 20, C = 10, D = 128, and b = 100, or b = 10 where a batch is costly. With ``--peers-python PATH``, an
interpreter that has scikit-activeml, the methods that it has are run there too, in its float64. Memory is the peak
above that after the imports and the making of the tables. Linux only.

Features come in two kinds, since some methods are fast only where points lie in clusters: ``clusters``, around 100
centres, and ``noise``, without any structure. Both have rows of length 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.machine import limit_memory, processor, resident, run_child
from tests.benchmarks.printing import Report

NUM_SAMPLES, NUM_CLASSES, NUM_FEATURES, NUM_TARGETS = 20, 10, 128, 100
KINDS = ("clusters", "noise")
Tables = Mapping[str, Tensor]
Run = Callable[[], list[int]]


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def features(kind: str, N: int) -> Tensor:
    """Make features ``[N, D]`` of length 1."""
    table_N_D = torch.randn(N, NUM_FEATURES, generator=seeded(0))
    if kind == "clusters":
        centres = torch.randn(100, NUM_FEATURES, generator=seeded(1))
        table_N_D = 0.3 * table_N_D + centres[torch.randint(100, (N,), generator=seeded(2))]
    return torch.nn.functional.normalize(table_N_D)


def tables(kind: str, N: int, *, needs_samples: bool) -> dict[str, Tensor]:
    """Make what methods read: features, and predictions of a linear softmax model of them."""
    table_N_D = features(kind, N)
    mean_D_C = 8 * torch.randn(NUM_FEATURES, NUM_CLASSES, generator=seeded(3))
    probs_N_C = (table_N_D @ mean_D_C).softmax(1)
    residuals_N_C = probs_N_C - torch.nn.functional.one_hot(probs_N_C.argmax(1), NUM_CLASSES)
    found = {"features": table_N_D, "probs": probs_N_C, "residuals": residuals_N_C}
    if needs_samples:
        log_probs_N_K_C = torch.empty(N, NUM_SAMPLES, NUM_CLASSES)
        for sample in range(NUM_SAMPLES):
            noise_D_C = 2 * torch.randn(NUM_FEATURES, NUM_CLASSES, generator=seeded(4 + sample))
            log_probs_N_K_C[:, sample] = (table_N_D @ (mean_D_C + noise_D_C)).log_softmax(1)
        found["log_probs"] = log_probs_N_K_C
    return found


def ours(method: str, found: Tables, b: int) -> Run:
    """Return a call of one of the library's functions on tensors."""
    import lightning_al as al

    table_N_D, log_probs_N_K_C = found["features"], found.get("log_probs", torch.empty(0))
    labelled_n_D, probs_N_C = table_N_D[:100], found["probs"]
    targets_T_K_C = log_probs_N_K_C[:NUM_TARGETS]

    def margins_N() -> Tensor:
        first_N, second_N = probs_N_C.topk(2).values.unbind(1)
        return first_N - second_N

    def top(scores_N: Tensor) -> Tensor:
        return scores_N.topk(b).indices

    calls: dict[str, Callable[[], Tensor]] = {
        "margin": lambda: top(-margins_N()),
        "bald": lambda: top(al.bald(log_probs_N_K_C)),
        "batchbald": lambda: al.batchbald(log_probs_N_K_C, b, generator=seeded(0)).positions,
        "power_bald": lambda: al.stochastic(al.bald(log_probs_N_K_C), b, generator=seeded(0)).positions,
        "epig": lambda: top(al.epig(log_probs_N_K_C, targets_T_K_C)),
        "batch_epig": lambda: al.batch_epig(log_probs_N_K_C, targets_T_K_C, b, generator=seeded(0)).positions,
        "max_herding": lambda: al.max_herding(table_N_D, b).positions,
        "uherding": lambda: al.uherding(table_N_D, log_probs_N_K_C, b, labelled_n_D=labelled_n_D).positions,
        "core_set": lambda: al.core_set(table_N_D, b, labelled_n_D=labelled_n_D).positions,
        "prob_cover": lambda: al.prob_cover(table_N_D, b).positions,
        "typiclust": lambda: al.typiclust(table_N_D, b, generator=seeded(0)).positions,
        "badge": lambda: al.badge(table_N_D, found["residuals"], b, generator=seeded(0)).positions,
        "bait": lambda: al.bait(table_N_D, probs_N_C, b, generator=seeded(0)).positions,
        "dropquery": lambda: al.dropquery(log_probs_N_K_C, table_N_D, b, generator=seeded(0)).positions,
        "cluster_margin": lambda: al.cluster_margin(margins_N(), table_N_D, b, generator=seeded(0)).positions,
    }
    return lambda: calls[method]().tolist()


def scikit_activeml(method: str, found: Tables, b: int) -> Run:
    """Return a query of scikit-activeml, which reads NumPy's float64."""
    from skactiveml.pool import CoreSet, MaxHerding, ProbCover, TypiClust

    strategies = {
        "max_herding": lambda: MaxHerding(metric_dict={"gamma": 1.0}, random_state=0),
        "core_set": lambda: CoreSet(random_state=0),
        "prob_cover": lambda: ProbCover(n_classes=NUM_CLASSES, random_state=0),
        "typiclust": lambda: TypiClust(k=20, random_state=0),
    }
    inputs, labels = found["features"].double().numpy(), np.full(len(found["features"]), np.nan)
    if method == "core_set":
        labels[:100] = 0
    return lambda: [int(position) for position in strategies[method]().query(inputs, labels, batch_size=b)]


LIBRARIES = {"lightning_al": ours, "scikit-activeml": scikit_activeml}
WITH_SAMPLES = {"bald", "batchbald", "power_bald", "epig", "batch_epig", "uherding", "dropquery"}
COSTLY = {"batchbald", "batch_epig", "bait"}
IN_PEER = {"max_herding", "core_set", "prob_cover", "typiclust"}
METHODS = [
    "margin",
    "bald",
    "power_bald",
    "batchbald",
    "epig",
    "batch_epig",
    "max_herding",
    "uherding",
    "core_set",
    "prob_cover",
    "typiclust",
    "badge",
    "bait",
    "dropquery",
    "cluster_margin",
]


def measure(library: str, method: str, kind: str, N: int, b: int, repeats: int) -> dict[str, Any]:
    """Select several times in this process, and return seconds, peak memory in bytes, and picks."""
    found = tables(kind, N, needs_samples=method in WITH_SAMPLES)
    run = LIBRARIES[library](method, found, b)
    if library == "lightning_al":
        ours(
            method, tables(kind, 600, needs_samples=method in WITH_SAMPLES), 2
        )()  # which imports what is imported late
    Path("/proc/self/clear_refs").write_text("5")
    floor = resident("VmRSS")
    seconds, processor_seconds, picks = [], [], list[int]()
    for _ in range(repeats):
        began, began_processor = time.perf_counter(), time.process_time()
        picks = run()
        seconds.append(time.perf_counter() - began)
        processor_seconds.append(time.process_time() - began_processor)
        if sum(seconds) > 60:
            break
    assert len(set(picks)) == b, f"{method} picked {len(set(picks))} points"
    return {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "peak_bytes": resident("VmHWM") - floor,
        "picks": picks,
    }


def compared(arguments: argparse.Namespace, report: Report) -> None:
    """Run all methods one after the other, and print a row for each as it comes."""
    columns = ["method", "library", "b", "runs", "seconds", "processor s", "peak, MB", "peer's / ours", "picks shared"]
    for kind in arguments.kinds:
        for N in arguments.sizes:
            rows = []
            for method in arguments.methods:
                b = min(10 if method in COSTLY else 100, N)
                own: dict[str, Any] = {}
                libraries = ["lightning_al"]
                if arguments.peers_python and method in IN_PEER:
                    libraries.append("scikit-activeml")
                for library in libraries:
                    is_own = library == "lightning_al"
                    python = sys.executable if is_own else arguments.peers_python
                    command = [
                        python,
                        "-m",
                        "tests.benchmarks.acquisitions",
                        "--one",
                        library,
                        method,
                        kind,
                        str(N),
                        str(b),
                    ]
                    command += [str(arguments.repeats), "--memory-gb", str(arguments.memory_gb)]
                    command += ["--threads", str(arguments.threads)]
                    outcome = run_child(command, arguments.threads, arguments.limit)
                    own = outcome if is_own else own
                    rows.append([method, library, str(b), *figures(outcome, own)])
                    report.text(f"  {kind}, N = {N:,}: {', '.join(rows[-1])}")
            report.table(f"{kind}, N = {N:,}", columns, rows)


def figures(outcome: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Say what a method took, and what a peer took beside ours."""
    if "problem" in outcome:
        return [outcome["problem"].partition(":")[0], *["-"] * 5]
    taken, processor_taken = (statistics.median(outcome[name]) for name in ("seconds", "processor_seconds"))
    beside = ["-", "-"]
    if outcome is not own and "seconds" in own:
        shared = len(set(outcome["picks"]) & set(own["picks"]))
        beside = [f"{taken / statistics.median(own['seconds']):.3g}x", f"{shared} of {len(own['picks'])}"]
    peak = f"{outcome['peak_bytes'] / 1e6:.0f}"
    return [str(len(outcome["seconds"])), f"{taken:.3g}", f"{processor_taken:.3g}", peak, *beside]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="an interpreter that has scikit-activeml and torch")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000], help="numbers of points N")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds that a method may take")
    parser.add_argument("--memory-gb", type=float, default=12, help="memory that a method may take")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--out", type=Path, help="write to this file as well")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        library, method, kind, *numbers = arguments.one
        limit_memory(int(arguments.memory_gb * 1e9))
        print(json.dumps(measure(library, method, kind, *map(int, numbers))))
        return
    report = Report(arguments.out, arguments.markdown)
    report.text(
        f"{processor()}, {arguments.threads} threads; K = {NUM_SAMPLES}, C = {NUM_CLASSES}, D = {NUM_FEATURES}, "
        f"{NUM_TARGETS} targets; median of at most {arguments.repeats} runs"
    )
    compared(arguments, report)


if __name__ == "__main__":
    main()
