"""Run one implementation of BatchBALD in this process, and print what it chose and what it took as one line of JSON.

``tests.benchmarks.batchbald`` starts this once for each method and case, with the interpreter that has the method. A
method is three steps: what it imports, how it wants its input, and the run itself, of which only the last is timed.
Memory is what Linux says of this process: the floor after imports, and the peak of the first run above it, the input
included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.machine import limit_memory, resident, version
from tests.benchmarks.synthetic import SoftmaxModel

Array = np.ndarray[Any, Any]
CHUNK_BYTES = 2**23
"""How large a table of log-probabilities a stream gives at a time."""

Run = Callable[[], list[int]]
"""Chooses once, and returns the positions in the order of choice."""


@dataclass
class Outcome:
    """What one method did, or why it did nothing.

    Attributes:
        picks: Positions in the order of choice.
        seconds: Wall time of each run.
        processor_seconds: Processor time of each run, all threads together.
        step_seconds: Wall time of each step of the last run, where that is known.
        floor_bytes: Memory of the process after imports.
        peak_bytes: How much more it held at most in the first run.
        matmul_flops: Floating-point operations of its matrix products, where they were counted.
        making_seconds: Wall time of the last run that went into making the points, where they are streamed.
        shortfall: How many nats its gains may fall short of the greedy choice's, as the method says.
        versions: Name and version of each distribution.
        problem: Why there are no picks.
    """

    picks: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    floor_bytes: int = 0
    peak_bytes: int = 0
    matmul_flops: int = 0
    making_seconds: float = 0.0
    shortfall: float = 0.0
    versions: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Task:
    """What to choose: b of N points, with so many configurations.

    Attributes:
        N: Number of points.
        K: Number of posterior samples.
        C: Number of classes.
        b: How many points to choose.
        configurations: Most configurations to hold.
        log_probs: File of their log-probabilities ``[N, K, C]``; without one, they are made as they are asked for.
        spread: Spread of the model that makes them.
        max_memory: Most bytes for the points that are kept of a stream, as the library understands it.
        exact: Whether to pass over the stream again where a point that was not kept may be the better choice.
    """

    N: int
    K: int
    C: int
    b: int
    configurations: int
    log_probs: Path | None
    spread: float
    max_memory: str
    exact: bool

    def table(self, dtype: type[np.floating[Any]]) -> Array:
        """Read the log-probabilities; all methods are given the same float32 numbers, some in float64."""
        assert self.log_probs is not None
        return np.load(self.log_probs).astype(dtype, copy=False)


def ours(task: Task, outcome: Outcome) -> Run:
    """Choose by this library, in float32."""
    return ours_on("cpu", task)


def ours_on_gpu(task: Task, outcome: Outcome) -> Run:
    """Choose by this library, in float32, from a table that lies on a GPU."""
    return ours_on("cuda", task)


def ours_on(device: str, task: Task) -> Run:
    from lightning_al.acquisition.batchbald import batchbald

    log_probs_N_K_C = torch.from_numpy(task.table(np.float32)).to(device)

    def run() -> list[int]:
        return batchbald(log_probs_N_K_C, task.b, num_configurations=task.configurations).positions.tolist()

    return run


def ours_streamed(task: Task, outcome: Outcome) -> Run:
    """Choose by this library from points that are made as they are asked for, a few at a time."""
    from lightning_al.acquisition.batchbald import BatchBALD
    from lightning_al.points import Candidates

    model = SoftmaxModel(task.C, spread=task.spread)
    weights_K_D_C = model.posterior_samples(task.K, seed=0)
    chunk_size = max(1, CHUNK_BYTES // (4 * task.K * task.C))

    def timed_chunks() -> Iterator[torch.Tensor]:
        chunks = model.chunks(task.N, weights_K_D_C, chunk_size)
        while True:
            began = time.perf_counter()
            chunk_n_K_C = next(chunks, None)
            outcome.making_seconds += time.perf_counter() - began
            if chunk_n_K_C is None:
                return
            yield chunk_n_K_C

    def run() -> list[int]:
        outcome.making_seconds = 0.0
        acquisition = BatchBALD(task.configurations, max_memory=task.max_memory, exact=task.exact)
        selection = acquisition.select(
            Candidates.stream(task.N, timed_chunks), task.b, torch.Generator().manual_seed(0)
        )
        if selection.report is not None:
            outcome.shortfall = selection.report.shortfall
        return selection.positions.tolist()

    return run


def batchbald_redux(task: Task, outcome: Outcome) -> Run:
    """Choose by batchbald_redux in float64, as its authors do, and note how long each step takes."""
    from batchbald_redux.batchbald import get_batchbald_batch
    from batchbald_redux.joint_entropy import DynamicJointEntropy

    log_probs_N_K_C = torch.from_numpy(task.table(np.float64))
    compute_batch = DynamicJointEntropy.compute_batch
    marks: list[float] = []

    def marked_compute_batch(*args: Any, **kwargs: Any) -> Any:
        entropies = compute_batch(*args, **kwargs)
        marks.append(time.perf_counter())
        return entropies

    DynamicJointEntropy.compute_batch = marked_compute_batch

    def run() -> list[int]:
        marks[:] = [time.perf_counter()]
        batch = get_batchbald_batch(log_probs_N_K_C, task.b, task.configurations, dtype=torch.double)
        outcome.step_seconds = np.diff(marks).tolist()
        return batch.indices

    return run


def baal(task: Task, outcome: Outcome) -> Run:
    """Choose by baal: the first b of its ranks, in their order, which for BatchBALD is not the order of choice."""
    from baal.active.heuristics import BatchBALD

    probs_N_C_K = np.exp(task.table(np.float64)).transpose(0, 2, 1).copy()
    K = probs_N_C_K.shape[2]

    def run() -> list[int]:
        heuristic = BatchBALD(num_samples=task.b, num_draw=task.configurations // K)
        ranks, _ = heuristic.get_ranks(probs_N_C_K)
        return ranks[: task.b].tolist()

    return run


def scikit_activeml(task: Task, outcome: Outcome) -> Run:
    """Choose by scikit-activeml."""
    from skactiveml.pool import batch_bald

    probs_K_N_C = np.exp(task.table(np.float64)).transpose(1, 0, 2).copy()

    def run() -> list[int]:
        utilities_b_N = batch_bald(probs_K_N_C, task.b, n_MC_samples=task.configurations, random_state=0)
        return np.nanargmax(utilities_b_N, axis=1).tolist()

    return run


@dataclass(frozen=True)
class Method:
    """An implementation: the modules it needs, the distribution they come from, and how it is run."""

    module: str
    distribution: str
    prepare: Callable[[Task, Outcome], Run]
    count_flops: bool = False
    needs_gpu: bool = False


METHODS = {
    "lightning_al": Method("lightning_al.acquisition.batchbald.selection", "lightning_al", ours, count_flops=True),
    "lightning_al, GPU": Method(
        "lightning_al.acquisition.batchbald.selection", "lightning_al", ours_on_gpu, needs_gpu=True
    ),
    "lightning_al, streamed": Method("lightning_al.acquisition.batchbald.selection", "lightning_al", ours_streamed),
    "batchbald_redux": Method("batchbald_redux.batchbald", "batchbald_redux", batchbald_redux),
    "baal": Method("baal.active.heuristics", "baal", baal),
    "scikit-activeml": Method("skactiveml.pool", "scikit-activeml", scikit_activeml),
}


def measure(method: Method, task: Task, repeat_seconds: float, max_repeats: int, memory_bytes: int) -> Outcome:
    """Run a method once, and again while less than so many seconds have passed."""
    outcome = Outcome()
    try:
        importlib.import_module(method.module)
    except ImportError as error:
        outcome.problem = f"absent: {error}"
        return outcome
    if method.needs_gpu and not torch.cuda.is_available():
        outcome.problem = "absent: there is no GPU"
        return outcome
    outcome.versions = ", ".join(f"{name} {version(name)}" for name in (method.distribution, "torch", "numpy"))
    try:
        if not method.needs_gpu:  # CUDA reserves more addresses than it uses memory
            limit_memory(memory_bytes)
        outcome.floor_bytes = resident("VmRSS")
        reset_peak()
        run = method.prepare(task, outcome)
        repeat(run, outcome, repeat_seconds, max_repeats)
        if method.count_flops:
            outcome.matmul_flops = matmul_flops(run)
    except MemoryError:
        outcome.problem = f"out of memory at {memory_bytes / 1e9:.0f} GB"
    return outcome


def repeat(run: Run, outcome: Outcome, repeat_seconds: float, max_repeats: int) -> None:
    """Run and time once or more; picks and peak are those of the first run."""
    while not outcome.seconds or (sum(outcome.seconds) < repeat_seconds and len(outcome.seconds) < max_repeats):
        began, processor_began = time.perf_counter(), time.process_time()
        picks = run()
        outcome.seconds.append(time.perf_counter() - began)
        outcome.processor_seconds.append(time.process_time() - processor_began)
        if not outcome.picks:
            outcome.picks = picks
            outcome.peak_bytes = resident("VmHWM") - outcome.floor_bytes


def matmul_flops(run: Run) -> int:
    """Count the operations of all matrix products of one more run, which is not timed."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def reset_peak() -> None:
    """Let the peak begin anew at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Run one method as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("method", choices=METHODS)
    for name in ("N", "K", "C", "b", "configurations"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--log-probs", type=Path)
    parser.add_argument("--spread", type=float, default=0.25)
    parser.add_argument("--max-memory", default="1GB")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeat-seconds", type=float, default=0.0)
    parser.add_argument("--max-repeats", type=int, default=1)
    parser.add_argument("--memory-gb", type=float, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    outcome = measure(
        METHODS[arguments.method],
        Task(**{item.name: getattr(arguments, item.name) for item in fields(Task)}),
        arguments.repeat_seconds,
        arguments.max_repeats,
        int(arguments.memory_gb * 1e9),
    )
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
