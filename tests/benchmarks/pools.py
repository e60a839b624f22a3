"""On which pools is BatchBALD fast? The ratio of batchbald_redux's time to this library's, on pools of many kinds.

Run on demand, ``python -m tests.benchmarks.pools --peers-python PATH``, where PATH is an interpreter that has
batchbald_redux. Bounds leave few points out where points are sharp and posterior samples agree in nothing, so pools are
made with three spreads of the softmax model, with three of independent log-probabilities, and by a network with dropout
in rounds 0, 5 and 9 of a run on scikit-learn's digits, and on MNIST with ``--mnist FOLDER``. Each method runs in a
fresh process, this library before and after batchbald_redux. ``--check`` compares the picks with those of evaluating
every candidate under every configuration, in minutes for each pool.

Axes: N points, K posterior samples, C classes, b batch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightning_al.acquisition.batchbald import batchbald
from lightning_al.demos.digits import Digits
from lightning_al.demos.mnist import MNIST
from lightning_al.demos.networks import digits_cnn, paper_cnn
from lightning_al.run.seeds import seeded
from tests import references
from tests.benchmarks.agreement import INITIAL, QUERY, fitted, predicted
from tests.benchmarks.batchbald import CASES, OURS, REDUX, Case, Settings, choose, machine
from tests.benchmarks.peers import Outcome
from tests.benchmarks.printing import Report
from tests.benchmarks.synthetic import SoftmaxModel
from tests.benchmarks.synthetic import seeded as seeded_generator

SIZES = [case for case in CASES if case.name in ("small", "medium")]

SPREADS = (0.1, 0.25, 1.0)
"""Of the posterior of a weight of the softmax model."""

SHARPNESS = (1.0, 3.0, 10.0)
"""Standard deviations of independent logits."""

ROUNDS = (0, 5, 9)


@dataclass(frozen=True)
class Pool:
    """A kind of pool: its name, and what makes its log-probabilities ``[N, K, C]`` for a case."""

    name: str
    log_probs: Callable[[Case], Tensor]


def synthetic_pools() -> Iterator[Pool]:
    """Yield pools of the softmax model, whose points share its weights, and pools whose points share nothing."""

    def softmax(spread: float) -> Callable[[Case], Tensor]:
        def log_probs(case: Case) -> Tensor:
            model = SoftmaxModel(case.C, spread=spread)
            return torch.cat(list(model.chunks(case.N, model.posterior_samples(case.K, seed=0), case.N)))

        return log_probs

    def independent(sharpness: float) -> Callable[[Case], Tensor]:
        def log_probs(case: Case) -> Tensor:
            logits_N_K_C = torch.randn(case.N, case.K, case.C, generator=seeded_generator(0))
            return (sharpness * logits_N_K_C).log_softmax(-1)

        return log_probs

    yield from (Pool(f"softmax {spread:g}", softmax(spread)) for spread in SPREADS)
    yield from (Pool(f"independent {sharpness:g}", independent(sharpness)) for sharpness in SHARPNESS)


def network_pools(name: str, images: Tensor, labels: Tensor, network: nn.Module) -> Iterator[Pool]:
    """Yield the pools of some rounds of a run that queries 10 labels a round by BatchBALD."""
    most_samples = max(case.K for case in SIZES)

    def first(log_probs_N_K_C: Tensor) -> Callable[[Case], Tensor]:
        return lambda case: log_probs_N_K_C[: case.N, : case.K].contiguous()

    labelled = torch.randperm(len(images), generator=seeded_generator(0))[:INITIAL].tolist()
    for number in range(max(ROUNDS) + 1):
        module = fitted(network, images[labelled], labels[labelled], seed=number)
        pool = torch.tensor([i for i in range(len(images)) if i not in set(labelled)])
        log_probs_N_K_C = predicted(module, images[pool], most_samples, seed=number)
        if number in ROUNDS:
            yield Pool(f"{name}, round {number}", first(log_probs_N_K_C))
        labelled += pool[batchbald(log_probs_N_K_C, QUERY).positions].tolist()


def real_pools(mnist: str | None) -> Iterator[Pool]:
    """Yield pools of networks that were fitted to images."""
    with seeded(0):
        networks = {"digits": digits_cnn(), "MNIST": paper_cnn()}
    data = {"digits": Digits()} | ({} if mnist is None else {"MNIST": MNIST(mnist, download=False, train_size=2_000)})
    for name, module in data.items():
        module.setup()
        yield from network_pools(name, *module.train.tensors, networks[name])


def compare(pool: Pool, case: Case, settings: Settings, report: Report, *, check: bool) -> float | None:
    """Let both methods choose, print a line, and return the ratio of their times."""
    log_probs_N_K_C = pool.log_probs(case)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "log_probs.npy"
        np.save(table, log_probs_N_K_C.numpy())
        # Ours takes so little time that a slow moment of the machine could fill it; redux takes a minute.
        before, redux, after = (
            choose(method, case, settings, **{"log-probs": table}) for method in (OURS, REDUX, OURS)
        )
    problem = before.problem or redux.problem or after.problem
    if problem:
        report.text(f"{pool.name}, {case}: {problem}")
        return None
    ours = replace(
        after,
        seconds=before.seconds + after.seconds,
        processor_seconds=before.processor_seconds + after.processor_seconds,
    )
    ratio = processor_seconds(redux) / processor_seconds(ours)
    milliseconds = [1000 * seconds for seconds in ours.processor_seconds]
    line = (
        f"{pool.name}, {case}: redux {processor_seconds(redux):.3g} s, ours {statistics.median(milliseconds):.3g} ms "
        f"({min(milliseconds):.3g} to {max(milliseconds):.3g}), processor time; {ratio:.3g}x; wall time "
        f"{statistics.median(redux.seconds) / statistics.median(ours.seconds):.3g}x"
    )
    if check:
        expected = references.batchbald_evaluating_everything(
            log_probs_N_K_C, case.b, num_configurations=settings.configurations
        )
        line += f"; picks {'' if ours.picks == expected else 'NOT '}those of evaluating everything"
    report.text(line)
    return ratio


def processor_seconds(outcome: Outcome) -> float:
    return statistics.median(outcome.processor_seconds)


def main() -> None:
    """Measure, and print a line for each pool and size, and the least ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has batchbald_redux")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in SIZES])
    parser.add_argument("--pools", nargs="+", metavar="WORD", help="only pools whose name has one of these words")
    parser.add_argument("--mnist", metavar="FOLDER", help="folder of MNIST")
    parser.add_argument("--check", action="store_true", help="compare with evaluating every candidate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7, help="most runs of each method within 10 seconds")
    parser.add_argument("--quick", action="store_true", help="a tenth of the points and configurations, to try it out")
    parser.add_argument("--out", type=Path, help="write to this file as well")
    arguments = parser.parse_args()

    settings = Settings(
        peers_python=arguments.peers_python,
        threads=arguments.threads,
        limit_seconds=600,
        memory_gb=12,
        spread=SPREADS[1],
        methods=[OURS, REDUX],
        max_repeats=arguments.repeats,
    )
    cases: Sequence[Case] = [case for case in SIZES if not arguments.cases or case.name in arguments.cases]
    if arguments.quick:
        settings, cases = settings.quick(), [replace(case, N=case.N // 10) for case in cases]
    torch.set_num_threads(arguments.threads)
    report = Report(arguments.out, markdown=False)
    report.text(machine(settings))
    ratios = {}
    for pools in (synthetic_pools(), real_pools(arguments.mnist)):
        for pool in pools:
            if arguments.pools and not any(word in pool.name for word in arguments.pools):
                continue
            for case in cases:
                ratio = compare(pool, case, settings, report, check=arguments.check)
                if ratio is not None:
                    ratios[f"{pool.name}, {case.name}"] = ratio
    if ratios:
        least = min(ratios, key=ratios.__getitem__)
        report.text(f"Least ratio: {ratios[least]:.3g}x, {least}.")


if __name__ == "__main__":
    main()
