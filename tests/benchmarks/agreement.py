"""Do two independent draws of posterior samples ask for the same points? How many samples a batch needs.

Run on demand, ``python -m tests.benchmarks.agreement``: 4 minutes on two cores. A small network with dropout is fitted
round after round as a run would fit it, on scikit-learn's digits, or on MNIST with the network of the BatchBALD paper
(``--data mnist --root FOLDER``). In some rounds, BatchBALD chooses the same batch twice for each K: by K samples, and by
K others. The tables show which share of the picks the two have in common, whether the rule of
`lightning_al.acquisition.agreement` warns, and that the K that a warning names brings none.

Axes: N points, K posterior samples, C classes, b batch.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from lightning_al.acquisition.batchbald import batchbald
from lightning_al.demos.digits import Digits
from lightning_al.demos.mnist import MNIST
from lightning_al.demos.networks import digits_cnn, paper_cnn
from lightning_al.posterior import MCDropout
from lightning_al.seeds import seeded

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

    def in_common(self, b: int, first: int = 0) -> float:
        """Share of the picks from the first to b of one draw that are among the b picks of the other."""
        one, other = self.picks
        common = len(set(one[first:b]) & set(other[:b])) + len(set(other[first:b]) & set(one[:b]))
        return common / 2 / (b - first)


def cases(
    images: Tensor, labels: Tensor, network: nn.Module, *, seed: int, rounds: Sequence[int], samples: Sequence[int], b: int
) -> Iterator[Case]:
    """Run rounds of 10 labels by 50 samples, and choose twice for each K in some of them."""
    device = images.device
    labelled = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:INITIAL].tolist()
    for number in range(max(rounds) + 1):
        module = fitted(network, images[labelled], labels[labelled], seed=1000 * seed + number)
        pool = torch.tensor([i for i in range(len(images)) if i not in set(labelled)], device=device)
        if number in rounds:
            draws = [predicted(module, images[pool], max(samples), seed=2 * number + draw) for draw in (1, 2)]
            for K in samples:
                chosen = [batchbald(log_probs_N_K_C[:, :K].contiguous(), b) for log_probs_N_K_C in draws]
                one, other = chosen
                assert one.report is not None and other.report is not None
                picks = one.positions.tolist(), other.positions.tolist()
                yield Case(seed, len(labelled), K, picks, (one.report.information, other.report.information))
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
    chunks = MCDropout(num_samples=K).predict(module, images.split(512), logits=lambda net, batch: net(batch), seed=seed)
    return torch.cat(list(chunks))


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--root", default="data", help="folder of MNIST")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, nargs="+", default=[0, 2, 4, 8])
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 20, 50, 100, 200])
    parser.add_argument("--batches", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--out", type=Path, help="where to write the picks, as JSON")
    args = parser.parse_args()
    data = Digits() if args.data == "digits" else MNIST(args.root, download=False, train_size=10_000)
    data.setup()
    images, labels = (values.to(args.device) for values in data.train.tensors)
    found = []
    for seed in range(args.seeds):
        with seeded(seed):
            network = (digits_cnn() if args.data == "digits" else paper_cnn()).to(args.device)
        for case in cases(
            images, labels, network, seed=seed, rounds=args.rounds, samples=args.samples, b=max(args.batches)
        ):
            found.append(case)
            shown = " ".join(f"{case.in_common(b):.2f}@{case.share_used(b):.3f}" for b in args.batches)
            print(f"seed {case.seed}, {case.labels} labels, K={case.K}: {shown}", flush=True)
    if args.out:
        args.out.write_text(json.dumps([asdict(case) for case in found]))


if __name__ == "__main__":
    main()
