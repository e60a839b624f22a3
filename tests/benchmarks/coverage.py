"""How good is a linear model on the points that coverage methods select? Their docstrings have figures from here.

Run on demand, ``python -m tests.benchmarks.coverage``: scikit-learn's digits, pixels scaled to length 1, a logistic
regression with C = 100, 1,200 points in the pool and the others to test on, another split for each seed. In the first
table, 50 points are selected at once, without a label. The others go from 10 labels to 100 in rounds of 10, from a
random start and from one by `max_herding`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lightning_al import core_set, max_herding, prob_cover, uherding
from tests.benchmarks.printing import Report

POOL, BATCH, MOST = 1_200, 10, 100
Chosen = Callable[[Tensor, list[int], Tensor, torch.Generator], Tensor]
"""Selects among the unlabelled points: features of all, labelled positions, log-probabilities ``[n, 1, C]``."""


class Split:
    """The digits, divided by a seed."""

    def __init__(self, seed: int) -> None:
        digits = load_digits()
        inputs = torch.nn.functional.normalize(torch.tensor(digits.data))
        order = np.random.default_rng(seed).permutation(len(inputs))
        self.pool, self.test = inputs[order[:POOL]], inputs[order[POOL:]]
        self.labels, self.test_labels = digits.target[order[:POOL]], digits.target[order[POOL:]]

    def fitted(self, positions: Sequence[int]) -> LogisticRegression:
        model = LogisticRegression(C=100, max_iter=2000)
        return model.fit(self.pool[positions].numpy(), self.labels[positions])

    def accuracy(self, model: LogisticRegression) -> float:
        return float(model.score(self.test.numpy(), self.test_labels))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at_once(seed: int) -> dict[str, list[float]]:
    """Return the accuracy with the first 10 and with all 50 of the points that a method selects without labels."""
    split, draws = Split(seed), seeded(seed)
    selected = {
        "random": torch.randperm(POOL, generator=draws)[:50],
        "max_herding": max_herding(split.pool, 50, generator=draws).positions,
        "core_set": core_set(split.pool, 50, generator=draws).positions,
        "prob_cover": prob_cover(split.pool, 50, generator=draws).positions,
    }
    return {
        name: [split.accuracy(split.fitted(positions[:size].tolist())) for size in (10, 50)]
        for name, positions in selected.items()
    }


def by_random(pool: Tensor, labelled: list[int], log_probs_n_K_C: Tensor, draws: torch.Generator) -> Tensor:
    return torch.randperm(len(log_probs_n_K_C), generator=draws)[:BATCH]


def by_margin(pool: Tensor, labelled: list[int], log_probs_n_K_C: Tensor, draws: torch.Generator) -> Tensor:
    first_n, second_n = log_probs_n_K_C[:, 0].exp().topk(2).values.unbind(1)
    return (second_n - first_n).topk(BATCH).indices


def by_max_herding(pool: Tensor, labelled: list[int], log_probs_n_K_C: Tensor, draws: torch.Generator) -> Tensor:
    rest = unlabelled(labelled)
    return max_herding(pool[rest], BATCH, labelled_n_D=pool[labelled], generator=draws).positions


def by_uherding(
    pool: Tensor, labelled: list[int], log_probs_n_K_C: Tensor, draws: torch.Generator, **options: object
) -> Tensor:
    features = pool[unlabelled(labelled)]
    chosen = uherding(features, log_probs_n_K_C, BATCH, labelled_n_D=pool[labelled], generator=draws, **options)  # type: ignore[arg-type]
    return chosen.positions


METHODS: dict[str, Chosen] = {
    "random": by_random,
    "margin": by_margin,
    "max_herding": by_max_herding,
    "uherding": by_uherding,
    "uherding, T = 2": partial(by_uherding, temperature=2.0),
    "uherding, T = 4": partial(by_uherding, temperature=4.0),
    "uherding, adaptive h": partial(by_uherding, bandwidth="adaptive"),
}


def unlabelled(labelled: Sequence[int]) -> list[int]:
    return sorted(set(range(POOL)) - set(labelled))


def in_rounds(method: Chosen, start: str, seed: int) -> tuple[float, float]:
    """Return the normalised area under the learning curve, and the accuracy at its end."""
    split, draws = Split(seed), seeded(seed)
    first = torch.randperm(POOL, generator=draws)[:BATCH]
    labelled = (first if start == "random" else max_herding(split.pool, BATCH, generator=draws).positions).tolist()
    heights = []
    while True:
        model = split.fitted(labelled)
        heights.append(split.accuracy(model))
        if len(labelled) >= MOST:
            return float(np.trapezoid(heights)) / (len(heights) - 1), heights[-1]
        rest = unlabelled(labelled)
        log_probs_n_K_C = torch.tensor(model.predict_log_proba(split.pool[rest].numpy())).unsqueeze(1)
        labelled += [rest[place] for place in method(split.pool, labelled, log_probs_n_K_C, draws).tolist()]


def said(values: Sequence[float]) -> str:
    """Say the mean, and its standard error where there are several values."""
    error = f" +- {stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--out", type=Path, help="write to this file as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report, seeds = Report(arguments.out, arguments.markdown), range(arguments.seeds)
    found = [at_once(seed) for seed in seeds]
    rows = [[name, *(said([one[name][place] for one in found]) for place in (0, 1))] for name in found[0]]
    report.table(f"At once, without labels; {len(seeds)} seeds", ["method", "accuracy at 10", "at 50"], rows)
    for start in ("random", "max_herding"):
        rows = []
        for name, method in METHODS.items():
            curves = [in_rounds(method, start, seed) for seed in seeds]
            rows.append([name, *(said([curve[place] for curve in curves]) for place in (0, 1))])
            report.text(f"  {start} start: {', '.join(rows[-1])}")
        title = f"From 10 labels to {MOST}, {start} start; {len(seeds)} seeds"
        report.table(title, ["method", "normalised area", f"accuracy at {MOST}"], rows)


if __name__ == "__main__":
    main()
