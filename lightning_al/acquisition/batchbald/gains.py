"""What a further label would add to the labels of the chosen points: the formula of BatchBALD.

Axes: N points, n of them, K posterior samples, C classes, M configurations of the labels chosen so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_al.acquisition.batchbald.configurations import NEGLIGIBLE, Configurations

BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""The size of intermediate tables: about a core's cache, or enough to keep a GPU busy."""

BLOCK_CONFIGURATIONS = {"cpu": 1_000}
"""How many configurations a block has, so that it has many points too: such products are fastest."""


def gains(
    probs_N_C_K: Tensor, entropies_N_K: Tensor, positions_n: Tensor | None, configurations: Configurations
) -> Tensor:
    """Return how much each point's label adds to the labels of the configurations.

    The gain is sum_m w_m [H(sum_k W_mk p_k) - sum_k W_mk H(p_k)] with weights w and posteriors W. Averaging the second
    term over the same configurations as the first cancels Monte Carlo error if they were drawn.

    Args:
        probs_N_C_K: Positive probabilities ``[N, C, K]``.
        entropies_N_K: The entropy ``[N, K]`` of each point's label under each posterior sample, in nats.
        positions_n: The points to measure, or None for all of them.
        configurations: The configurations, M of them, of the same type as the probabilities.

    Returns:
        Gains ``[n]`` in nats.
    """
    N, C, K = probs_N_C_K.shape
    n = N if positions_n is None else len(positions_n)
    tiles = list(_tiles(configurations, max(1, n) * C, probs_N_C_K))
    entropies_n = torch.empty(n, dtype=torch.float64, device=probs_N_C_K.device)
    num_points = max(1, min(n, num_per_block(C * len(tiles[0][0]), probs_N_C_K)))
    # Fresh memory for each block would cost as much as the arithmetic.
    tables = probs_N_C_K.new_empty(2, num_points * C * len(tiles[0][0]))
    views: dict[tuple[int, int], Sequence[Tensor]] = {}
    for start in range(0, n, num_points):
        block = slice(start, start + num_points)
        probs_n_C_K = probs_N_C_K[block] if positions_n is None else probs_N_C_K.index_select(0, positions_n[block])
        probs_rows_K = probs_n_C_K.view(-1, K)
        bits_rows = probs_rows_K.new_zeros(len(probs_rows_K))
        for weights_m, posteriors_m_K in tiles:
            shape = probs_rows_K.shape[0], weights_m.shape[0]
            if shape not in views:
                views[shape] = tables[:, : math.prod(shape)].view(2, *shape).unbind()
            joint_rows_m, log_joint_rows_m = views[shape]
            torch.mm(probs_rows_K, posteriors_m_K.T, out=joint_rows_m)
            torch.log2(joint_rows_m, out=log_joint_rows_m)
            bits_rows.addmv_(log_joint_rows_m.mul_(joint_rows_m), weights_m, alpha=-1)
        entropies_n[block] = math.log(2) * bits_rows.view(-1, C).sum(1, dtype=torch.float64)
    entropies_n_K = entropies_N_K if positions_n is None else entropies_N_K[positions_n]
    return entropies_n.to(entropies_n_K.dtype) - entropies_n_K @ configurations.mean_K.to(entropies_n_K.dtype)


def _tiles(configurations: Configurations, num_rows: int, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weights and posteriors of some configurations at a time."""
    least = BLOCK_CONFIGURATIONS.get(like.device.type, len(configurations))
    size = max(least, num_per_block(num_rows, like))
    yield from zip(configurations.weights_M.split(size), configurations.posteriors_M_K.split(size), strict=True)


def exact(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device (Apple's MPS) has none."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def probs_and_entropies(log_probs_n_K_C: Tensor) -> tuple[Tensor, Tensor]:
    """Return positive probabilities ``[n, C, K]``, and the entropies ``[n, K]`` of the labels in nats."""
    log_probs_n_C_K = log_probs_n_K_C.transpose(1, 2).contiguous().clamp_min(math.log(NEGLIGIBLE))
    probs_n_C_K = log_probs_n_C_K.exp()
    return probs_n_C_K, -(probs_n_C_K * log_probs_n_C_K).sum(1)


def entropy_rounding(dtype: torch.dtype, *, K: int, C: int, M: int = 1) -> float:
    """Return how far rounding may put the entropies of a gain, or of a BALD score, from the truth, in nats."""
    # The error of n additions grows with the square root of n; a gain averages over M, and each term over K.
    return torch.finfo(dtype).eps * (4 + math.sqrt(K) + math.sqrt(M)) * (1 + math.log(C))


def num_per_block(num_values: int, table: Tensor) -> int:
    """Return how many rows of `num_values` values make an intermediate table of the right size, at least one."""
    block_bytes = BLOCK_BYTES.get(table.device.type, BLOCK_BYTES["cuda"])
    return max(1, block_bytes // (num_values * table.element_size()))
