"""Do two independent draws of posterior samples ask for the same points? How many samples a batch needs.

Run on demand, ``python -m tests.benchmarks.agreement``: 5 minutes on a quiet core. A small network with dropout is
fitted round after round as a run would fit it, on scikit-learn's digits, or on MNIST with the network of the BatchBALD
paper (``--data mnist --root FOLDER``). In some rounds, BatchBALD chooses the same batch twice for each K: by K samples,
and by K others. The tables show which share of the picks the two have in common, how much of log K they use up, how
often the rule of `lightning_al.acquisition.batchbald.saturation` warns, and that the K that its warnings name brings
none.

Axes: N points, K posterior samples, C classes, b batch.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from lightning_al.acquisition.batchbald import batchbald
from lightning_al.acquisition.batchbald.saturation import ENOUGH_SAMPLES, too_few_samples
from lightning_al.demos.digits import Digits
from lightning_al.demos.mnist import MNIST
from lightning_al.demos.networks import digits_cnn, paper_cnn
from lightning_al.posterior import MCDropout
from lightning_al.run.seeds import seeded
from tests.benchmarks.printing import Report
from tests.support.samples import log_probs_of

INITIAL, QUERY = 10, 10
STEPS, BATCH = 300, 32


@dataclass(frozen=True)
class Case:
    """What two draws of K samples chose from the same pool, and how much they hold of it to tell."""

    seed: int
    labels: int
    K: int
    picks: tuple[list[int], list[int]]
    information: tuple[list[float], list[float]]

    def share_used(self, b: int) -> float:
        """Which share of log K the first b picks tell, on average over the two."""
        return mean(told[b - 1] for told in self.information) / math.log(self.K)

    def warns(self, b: int) -> bool:
        """Whether either of the two batches would bring a warning."""
        return any(too_few_samples(self.K, told[:b]) is not None for told in self.information)

    def in_common(self, b: int, first: int = 0) -> float:
        """Share of the picks from the first to b of one draw that are among the b picks of the other."""
        one, other = self.picks
        common = len(set(one[first:b]) & set(other[:b])) + len(set(other[first:b]) & set(one[:b]))
        return common / 2 / (b - first)


def cases(
    images: Tensor,
    labels: Tensor,
    network: nn.Module,
    *,
    seed: int,
    rounds: Sequence[int],
    samples: Sequence[int],
    b: int,
) -> Iterator[Case]:
    """Run rounds of 10 labels by 50 samples, and choose twice for each K in the rounds named."""
    device = images.device
    labelled = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:INITIAL].tolist()
    for number in range(max(rounds) + 1):
        module = fitted(network, images[labelled], labels[labelled], seed=1000 * seed + number)
        pool = torch.tensor([i for i in range(len(images)) if i not in set(labelled)], device=device)
        if number in rounds:
            draws = [predicted(module, images[pool], max(samples), seed=2 * number + draw) for draw in (1, 2)]
            for K in samples:
                chosen = [batchbald(log_probs_N_K_C[:, :K].contiguous(), b) for log_probs_N_K_C in draws]
                one, other = (selection.positions.tolist() for selection in chosen)
                told = [selection.report.information for selection in chosen if selection.report is not None]
                yield Case(seed, len(labelled), K, (one, other), (told[0], told[1]))
        asked = batchbald(predicted(module, images[pool], 50, seed=0), QUERY).positions
        labelled += pool[asked].tolist()


def fitted(network: nn.Module, images: Tensor, labels: Tensor, *, seed: int) -> nn.Module:
    """Fit a copy of the network from its initial weights, by Adam on batches drawn at random."""
    module = copy.deepcopy(network).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    with seeded(seed):
        for _ in range(STEPS):
            batch = torch.randint(len(images), (BATCH,)).to(images.device)
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[batch]), labels[batch]).backward()
            optimizer.step()
    return module


def predicted(module: nn.Module, images: Tensor, K: int, *, seed: int) -> Tensor:
    """Return log-probabilities ``[N, K, C]`` by K samples of the network's dropout."""
    posterior = MCDropout(num_samples=K)
    return torch.cat(list(log_probs_of(posterior, module, images.split(512), seed=seed)))


def show(found: Sequence[Case], batches: Sequence[int], report: Report) -> None:
    """Print what was found, for each K and b on average."""
    by_K = {K: [case for case in found if case.K == K] for K in sorted({case.K for case in found})}
    windows = [(0, b) for b in batches] + list(pairwise(batches))

    def in_common(same: Sequence[Case], first: int, b: int) -> str:
        return f"{mean(case.in_common(b, first) for case in same):.2f}"

    def used_and_warned(same: Sequence[Case], b: int) -> str:
        return f"{mean(case.share_used(b) for case in same):.3f}, {sum(case.warns(b) for case in same)}/{len(same)}"

    report.table(
        "Share of the picks that are among the first b of another draw",
        ["K", *(f"{first + 1}-{b}" for first, b in windows)],
        [[str(K), *(in_common(same, *window) for window in windows)] for K, same in by_K.items()],
    )
    report.table(
        "Share of log K that b picks use up, and how many of the cases bring a warning",
        ["K", *(f"b = {b}" for b in batches)],
        [[str(K), *(used_and_warned(same, b) for b in batches)] for K, same in by_K.items()],
    )
    named = by_K.get(ENOUGH_SAMPLES, [])
    warned = sum(case.warns(b) for case in named for b in batches)
    report.text(f"With the K that a warning names, {ENOUGH_SAMPLES}: {warned} of {len(named) * len(batches)} warn.")


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--root", default="data", help="folder of MNIST")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, nargs="+", default=[0, 2, 5])
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 20, 50, 100, 200])
    parser.add_argument("--batches", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--out", type=Path, help="where to write the picks, as JSON")
    parser.add_argument("--read", type=Path, help="show what was written there, and measure nothing")
    args = parser.parse_args()
    report = Report(None, args.markdown)
    found = [Case(**case) for case in json.loads(args.read.read_text())] if args.read else measured(args, report)
    show(found, args.batches, report)


def measured(args: argparse.Namespace, report: Report) -> list[Case]:
    """Measure, and write down what was found so far after each case."""
    data = Digits() if args.data == "digits" else MNIST(args.root, download=False, train_size=10_000)
    data.setup()
    images, labels = (values.to(args.device) for values in data.train.tensors)
    found = []
    for seed in args.seeds:
        with seeded(seed):
            network = (digits_cnn() if args.data == "digits" else paper_cnn()).to(args.device)
        b = max(args.batches)
        for case in cases(images, labels, network, seed=seed, rounds=args.rounds, samples=args.samples, b=b):
            found.append(case)
            shown = ", ".join(f"{case.in_common(b):.2f} of {b}" for b in args.batches)
            report.text(f"seed {case.seed}, {case.labels} labels, K = {case.K}: {shown} in common")
            if args.out:
                args.out.write_text(json.dumps([asdict(case) for case in found]))
    return found


if __name__ == "__main__":
    main()
