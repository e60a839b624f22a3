"""What a further label would add to the labels of the chosen points: the formula of BatchBALD.

Axes: N points, n of them, K posterior samples, C classes, M configurations of the labels chosen so far.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_al.acquisition.batchbald.configurations import NEGLIGIBLE, Configurations, average

BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""The size of intermediate tables: about a core's cache, or enough to keep a GPU busy."""


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
    M, n = len(configurations), N if positions_n is None else len(positions_n)
    negative_entropies_n_C = probs_N_C_K.new_empty(n, C)
    num_points = max(1, min(n, num_per_block(C * M, probs_N_C_K)))
    # Fresh memory for each block would cost as much as the arithmetic.
    joint, log_joint = probs_N_C_K.new_empty(2, num_points * C * M)
    for start in range(0, n, num_points):
        block = slice(start, start + num_points)
        probs_rows_K = (probs_N_C_K[block] if positions_n is None else probs_N_C_K[positions_n[block]]).view(-1, K)
        used = slice(0, len(probs_rows_K) * M)
        _add_up(probs_rows_K, configurations, joint[used], log_joint[used], negative_entropies_n_C[block].view(-1))
    entropies_n_K = entropies_N_K if positions_n is None else entropies_N_K[positions_n]
    return -negative_entropies_n_C.sum(1) - entropies_n_K @ configurations.mean_K.to(entropies_n_K.dtype)


def _add_up(
    probs_rows_K: Tensor, configurations: Configurations, joint: Tensor, log_joint: Tensor, out_rows: Tensor
) -> None:
    """Write sum_m w_m q log q with q = sum_k W_mk p_k for each row, using two tables of memory."""
    rows, M = len(probs_rows_K), len(configurations)
    # A tall product takes little more than half the time of a wide one.
    if rows >= M:
        joint = torch.mm(probs_rows_K, configurations.posteriors_M_K.T, out=joint.view(rows, M))
        log_joint = torch.log(joint, out=log_joint.view(rows, M))
        torch.mv(log_joint.mul_(joint), configurations.weights_M, out=out_rows)
    else:
        joint = torch.mm(configurations.posteriors_M_K, probs_rows_K.T, out=joint.view(M, rows))
        log_joint = torch.log(joint, out=log_joint.view(M, rows))
        out_rows.copy_(average(configurations.weights_M, log_joint.mul_(joint)))


def exact(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device (Apple's MPS) has none."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def probs_and_entropies(log_probs_n_K_C: Tensor) -> tuple[Tensor, Tensor]:
    """Return positive probabilities ``[n, C, K]``, and the entropies ``[n, K]`` of the labels in nats."""
    log_probs_n_C_K = log_probs_n_K_C.transpose(1, 2).contiguous().clamp_min(math.log(NEGLIGIBLE))
    probs_n_C_K = log_probs_n_C_K.exp()
    return probs_n_C_K, -(probs_n_C_K * log_probs_n_C_K).sum(1)


def num_per_block(num_values: int, table: Tensor) -> int:
    """Return how many rows of `num_values` values make an intermediate table of the right size, at least one."""
    block_bytes = BLOCK_BYTES.get(table.device.type, BLOCK_BYTES["cuda"])
    return max(1, block_bytes // (num_values * table.element_size()))
