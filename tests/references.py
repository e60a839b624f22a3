"""Slow definitions, written to be believed, that the fast code is tested against.

Axes: N points, K posterior samples, C classes, S chosen points, M configurations.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lightning_al.acquisition.batchbald.configurations import Configurations


def random_log_probs(N: int, K: int, C: int, *, seed: int, spread: float = 2.0, dtype: torch.dtype = torch.float64):
    """Return predictions ``[N, K, C]`` of K samples that agree in part."""
    generator = torch.Generator().manual_seed(seed)
    shared_N_1_C = torch.randn(N, 1, C, generator=generator, dtype=torch.float64)
    own_N_K_C = torch.randn(N, K, C, generator=generator, dtype=torch.float64)
    return (spread * (shared_N_1_C + own_N_K_C)).log_softmax(-1).to(dtype)


def entropy(probs: Iterable[float]) -> float:
    return -sum(p * math.log(p) for p in probs if p > 0)


def bald(log_probs_N_K_C: Tensor) -> list[float]:
    """Entropy of the mean less mean of the entropies, point by point and sample by sample."""
    scores = []
    for log_probs_K_C in log_probs_N_K_C.double():
        probs = [[math.exp(value) for value in sample] for sample in log_probs_K_C.tolist()]
        mean = [sum(sample[c] for sample in probs) / len(probs) for c in range(len(probs[0]))]
        scores.append(entropy(mean) - sum(entropy(sample) for sample in probs) / len(probs))
    return scores


def posterior_mean(log_probs_N_K_C: Tensor) -> list[list[float]]:
    """Average the samples' probabilities, class by class."""
    probs = log_probs_N_K_C.double().exp().tolist()
    return [[sum(classes) / len(point) for classes in zip(*point, strict=True)] for point in probs]


def predictive_entropy(log_probs_N_K_C: Tensor) -> list[float]:
    return [entropy(mean) for mean in posterior_mean(log_probs_N_K_C)]


def least_confidence(log_probs_N_K_C: Tensor) -> list[float]:
    return [1 - max(mean) for mean in posterior_mean(log_probs_N_K_C)]


def margin(log_probs_N_K_C: Tensor) -> list[float]:
    second_and_first = [sorted(mean)[-2:] for mean in posterior_mean(log_probs_N_K_C)]
    return [second - first for second, first in second_and_first]


def variation_ratio(log_probs_N_K_C: Tensor) -> list[float]:
    """Share of votes that are not for the most voted class; of equally likely classes the first has the vote."""
    scores = []
    for point in log_probs_N_K_C.double().tolist():
        votes = [sample.index(max(sample)) for sample in point]
        scores.append(1 - max(map(votes.count, votes)) / len(votes))
    return scores


def information_about_targets(log_probs_S_K_C: Tensor, log_probs_T_K_C: Tensor) -> float:
    """Mutual information of S labels together with the label of a target, over all outcomes, averaged over targets."""
    probs, targets = log_probs_S_K_C.double().exp().tolist(), log_probs_T_K_C.double().exp().tolist()
    S, K, C = log_probs_S_K_C.shape
    outcomes = [
        [math.prod(probs[s][k][c] for s, c in enumerate(labels)) for k in range(K)]
        for labels in itertools.product(range(C), repeat=S)
    ]
    of_labels = entropy(sum(outcome) / K for outcome in outcomes)
    information = 0.0
    for target in targets:
        of_target = entropy(sum(classes) / K for classes in zip(*target, strict=True))
        joint = [sum(outcome[k] * target[k][c] for k in range(K)) / K for outcome in outcomes for c in range(C)]
        information += of_labels + of_target - entropy(joint)
    return information / len(targets)


def epig(log_probs_N_K_C: Tensor, log_probs_T_K_C: Tensor | None = None) -> list[float]:
    """Mutual information of each point's label with that of a target; by default, the points are the targets."""
    log_probs_T_K_C = log_probs_N_K_C if log_probs_T_K_C is None else log_probs_T_K_C
    return [information_about_targets(point_K_C[None], log_probs_T_K_C) for point_K_C in log_probs_N_K_C]


def batch_epig(log_probs_N_K_C: Tensor, log_probs_T_K_C: Tensor, b: int) -> tuple[list[int], list[float]]:
    """Greedily choose the point that makes the information about the targets highest."""
    positions: list[int] = []
    scores: list[float] = []
    balds, keys = bald(log_probs_N_K_C), tie_keys(len(log_probs_N_K_C))
    for _ in range(b):
        rest = [i for i in range(len(log_probs_N_K_C)) if i not in positions]
        information = {i: information_about_targets(log_probs_N_K_C[[*positions, i]], log_probs_T_K_C) for i in rest}
        positions.append(first_of(information, balds, keys))
        scores.append(max(information.values()))
    return positions, scores


SCORES = {
    "bald": bald,
    "entropy": predictive_entropy,
    "epig": epig,
    "least_confidence": least_confidence,
    "margin": margin,
    "variation_ratio": variation_ratio,
}
"""By the name of an acquisition function, the definition of what it scores each point by."""


def joint_mutual_information(log_probs_S_K_C: Tensor) -> float:
    """Entropy of the S labels together less mean of their entropies, over all C^S outcomes."""
    probs = log_probs_S_K_C.double().exp().tolist()
    S, K, C = log_probs_S_K_C.shape
    outcomes = []
    for labels in itertools.product(range(C), repeat=S):
        under_each_sample = [math.prod(probs[s][k][c] for s, c in enumerate(labels)) for k in range(K)]
        outcomes.append(sum(under_each_sample) / K)
    noise = sum(entropy(probs[s][k]) for s in range(S) for k in range(K)) / K
    return entropy(outcomes) - noise


def tie_keys(N: int, initial_seed: int = 0) -> list[int]:
    """A random order of the positions, from a seed of its own."""
    digest = hashlib.sha256(f"({initial_seed}, 'ties')".encode()).digest()
    own = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") // 2)
    return torch.randperm(N, generator=own).tolist()


def best_scores(scores: list[float], b: int, initial_seed: int = 0) -> list[int]:
    """The b positions with the highest scores; of the same score, the one with the lowest key."""
    keys = tie_keys(len(scores), initial_seed)
    return sorted(range(len(scores)), key=lambda i: (-scores[i], keys[i]))[:b]


def first_of(gains: Mapping[int, float], balds: list[float], keys: list[int], equal: float = 1e-12) -> int:
    """The point with the highest gain; of equal ones, that with the highest BALD score, and then the lowest key."""
    highest_gain = max(gains.values())
    tied = [i for i in gains if gains[i] >= highest_gain - equal]
    highest_bald = max(balds[i] for i in tied)
    best = [i for i in tied if balds[i] >= highest_bald - equal]
    return min(best, key=lambda i: keys[i])


def batchbald(log_probs_N_K_C: Tensor, b: int) -> tuple[list[int], list[float]]:
    """Greedily choose the point that makes the joint mutual information highest."""
    positions: list[int] = []
    scores: list[float] = []
    balds, keys = bald(log_probs_N_K_C), tie_keys(len(log_probs_N_K_C))
    for _ in range(b):
        rest = [i for i in range(len(log_probs_N_K_C)) if i not in positions]
        information = {i: joint_mutual_information(log_probs_N_K_C[[*positions, i]]) for i in rest}
        # Sums in another order differ in the last digits, which must not decide between equal points.
        positions.append(first_of(information, balds, keys))
        scores.append(max(information.values()))
    return positions, scores


def gains(log_probs_N_K_C: Tensor, configurations: Configurations) -> Tensor:
    """Evaluate every point under every configuration in float64, from the whole table of joint probabilities."""
    probs_N_K_C = log_probs_N_K_C.double().exp()
    posteriors_M_K = configurations.posteriors_M_K.double()
    posteriors_M_K = posteriors_M_K / posteriors_M_K.sum(1, keepdim=True)
    joint_N_M_C = torch.einsum("mk,nkc->nmc", posteriors_M_K, probs_N_K_C)
    noise_N_K = -torch.xlogy(probs_N_K_C, probs_N_K_C).sum(-1)
    noise_N_M = noise_N_K @ posteriors_M_K.T
    return (-torch.xlogy(joint_N_M_C, joint_N_M_C).sum(-1) - noise_N_M) @ configurations.weights_M


def batchbald_evaluating_everything(
    log_probs_N_K_C: Tensor, b: int, *, num_configurations: int, seed: int = 0, equal: float = 1e-12
) -> list[int]:
    """Choose as `batchbald` does from the same draws, but with no bound and no rounding."""
    generator = torch.Generator().manual_seed(seed)
    configurations = Configurations.before_any_label(log_probs_N_K_C.shape[1])
    balds, keys = gains(log_probs_N_K_C, configurations).tolist(), tie_keys(len(log_probs_N_K_C), seed)
    positions: list[int] = []
    for _ in range(b):
        rest = {i: gain for i, gain in enumerate(gains(log_probs_N_K_C, configurations).tolist()) if i not in positions}
        positions.append(first_of(rest, balds, keys, equal))
        probs_K_C = log_probs_N_K_C[positions[-1]].double().exp()
        configurations = configurations.observe(probs_K_C, limit=num_configurations, generator=generator)
    return positions


def gradients(embeddings_N_D: Tensor, residuals_N_C: Tensor) -> Tensor:
    """The gradients ``[N, C D]`` of the last layer's weights, each an outer product, in float64."""
    rows = zip(residuals_N_C.double(), embeddings_N_D.double(), strict=True)
    return torch.stack([torch.outer(residual_C, embedding_D).flatten() for residual_C, embedding_D in rows])


def badge_scores(embeddings_N_D: Tensor, residuals_N_C: Tensor, positions: list[int]) -> list[float]:
    """For each pick the squared distance to the nearest gradient picked before, for the first its squared length."""
    gradients_N_G = gradients(embeddings_N_D, residuals_N_C)
    scores = [float(gradients_N_G[positions[0]].square().sum())]
    for place in range(1, len(positions)):
        steps = gradients_N_G[positions[:place]] - gradients_N_G[positions[place]]
        scores.append(float(steps.square().sum(1).min()))
    return scores


def herding_gains(features_N_D: Tensor, picked_n_D: Tensor, weights_N: Tensor, bandwidth: float) -> Tensor:
    """What each point adds to the mean coverage by a Gaussian kernel, from the whole N x N matrix in float64."""
    features_N_D, weights_N = features_N_D.double(), weights_N.double()
    kernel_N_N = (-torch.cdist(features_N_D, features_N_D, compute_mode=EXACT).square() / bandwidth**2).exp()
    covered_N = torch.zeros(len(features_N_D), dtype=torch.float64)
    for feature_D in picked_n_D.double():
        covered_N = covered_N.maximum((-(features_N_D - feature_D).square().sum(1) / bandwidth**2).exp())
    return (weights_N[:, None] * (kernel_N_N - covered_N[:, None]).clamp_min(0)).mean(0)


EXACT = "donot_use_mm_for_euclid_dist"


def max_herding(
    features_N_D: Tensor,
    b: int,
    *,
    labelled_n_D: Tensor | None = None,
    weights_N: Tensor | None = None,
    bandwidth: float = 1.0,
    equal: float = 1e-13,
) -> list[int]:
    """Evaluate every point at each step; of equal gains, the lowest key wins."""
    N = len(features_N_D)
    picked_n_D = features_N_D[:0] if labelled_n_D is None else labelled_n_D
    weights_N = torch.ones(N) if weights_N is None else weights_N
    keys, positions = tie_keys(N), []
    for _ in range(min(b, N)):
        gains = herding_gains(features_N_D, picked_n_D, weights_N, bandwidth).tolist()
        rest = [i for i in range(N) if i not in positions]
        best = max(gains[i] for i in rest)
        positions.append(min((i for i in rest if gains[i] >= best - equal), key=lambda i: keys[i]))
        picked_n_D = torch.cat([picked_n_D, features_N_D[positions[-1:]]])
    return positions


def typicality(features_n_D: Tensor, place: int, num_neighbours: int = 20) -> float:
    """1 / (1e-5 + the mean distance to the nearest other points), which are at most half of all."""
    distances = sorted(math.dist(features_n_D[place].tolist(), other.tolist()) for other in features_n_D)
    nearest = distances[1:][: min(num_neighbours, max(len(distances) // 2, 1))]
    return 1 / (1e-5 + sum(nearest) / len(nearest)) if nearest else 1e5


def average_linkage(features_n_D: Tensor, num_clusters: int) -> set[frozenset[int]]:
    """Join the two clusters with the smallest mean distance between their points until few enough are left."""
    clusters = [frozenset([place]) for place in range(len(features_n_D))]
    points = features_n_D.tolist()

    def distance(pair: tuple[frozenset[int], frozenset[int]]) -> float:
        distances = [math.dist(points[one], points[other]) for one in pair[0] for other in pair[1]]
        return sum(distances) / len(distances)

    while len(clusters) > num_clusters:
        one, other = min(itertools.combinations(clusters, 2), key=distance)
        clusters = [cluster for cluster in clusters if cluster not in (one, other)] + [one | other]
    return set(clusters)


def fishers(embeddings_N_D: Tensor, probs_N_C: Tensor) -> Tensor:
    """The Fisher information ``[N, C D, C D]`` of the last layer's weights: the expected outer product of gradients."""
    found = []
    for embedding_D, probs_C in zip(embeddings_N_D.double(), probs_N_C.double(), strict=True):
        total = torch.zeros(len(probs_C) * len(embedding_D), len(probs_C) * len(embedding_D), dtype=torch.float64)
        for label, prob in enumerate(probs_C):
            residual_C = probs_C.clone()
            residual_C[label] -= 1
            gradient = torch.outer(residual_C, embedding_D).flatten()
            total += prob * torch.outer(gradient, gradient)
        found.append(total)
    return torch.stack(found)


def bait(fishers_N: Tensor, fishers_n: Tensor, b: int, prior_precision: float) -> tuple[list[int], list[float]]:
    """Add 2b points that make tr(M^-1 F) smallest, and remove b of them, by dense inverses at each step."""
    fisher = torch.cat([fishers_N, fishers_n]).mean(0)
    start = prior_precision * torch.eye(len(fisher), dtype=torch.float64) + fishers_n.sum(0)

    def trace(places: list[int]) -> float:
        return float(torch.trace(torch.linalg.inv(start + fishers_N[places].sum(0)) @ fisher))

    places: list[int] = []
    gains: dict[int, float] = {}
    for _ in range(min(2 * b, len(fishers_N))):
        left = [place for place in range(len(fishers_N)) if place not in places]
        best = min(left, key=lambda place: trace([*places, place]))
        gains[best] = trace(places) - trace([*places, best])
        places.append(best)
    while len(places) > b:
        least = min(places, key=lambda place: trace([other for other in places if other != place]))
        places.remove(least)
    return places, [gains[place] for place in places]


def core_set(
    features_N_D: Tensor, b: int, labelled_n_D: Tensor | None, equal: float = 1e-12
) -> tuple[list[int], list[float]]:
    """The farthest point at each step, and how far it is; of those equally far, the lowest key wins."""
    points = features_N_D.double().tolist()
    centres = [] if labelled_n_D is None else labelled_n_D.double().tolist()
    mean = [sum(column) / len(points) for column in zip(*points, strict=True)]
    keys, positions, scores = tie_keys(len(points)), [], []
    for _ in range(min(b, len(points))):
        rest = [i for i in range(len(points)) if i not in positions]
        if centres:
            far = {i: min(math.dist(points[i], centre) for centre in centres) ** 2 for i in rest}
        else:
            far = {i: -(math.dist(points[i], mean) ** 2) for i in rest}
        pick = min((i for i in rest if far[i] >= max(far.values()) - equal), key=lambda i: keys[i])
        scores.append(far[pick] ** 0.5 if centres else max(math.dist(point, points[pick]) for point in points))
        positions.append(pick)
        centres.append(points[pick])
    return positions, scores


def prob_cover(
    features_N_D: Tensor, b: int, labelled_n_D: Tensor | None, radius: float
) -> tuple[list[int], list[float]]:
    """The ball that covers most points that no ball before it does; of equal ones, the lowest key wins."""
    points = features_N_D.double().tolist()
    balls = [{n for n, point in enumerate(points) if math.dist(point, centre) < radius} for centre in points]
    labelled = [] if labelled_n_D is None else labelled_n_D.double().tolist()
    left = {n for n, point in enumerate(points) if all(math.dist(point, centre) >= radius for centre in labelled)}
    keys, positions, scores = tie_keys(len(points)), [], []
    for _ in range(min(b, len(points))):
        rest = [i for i in range(len(points)) if i not in positions]
        pick = min(rest, key=lambda i: (-len(balls[i] & left), keys[i]))
        positions.append(pick)
        scores.append(len(balls[pick] & left) / len(points))
        left -= balls[pick]
    return positions, scores
