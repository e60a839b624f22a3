"""The Fisher information of a last layer at many points, and what a label at each would change.

Axes: N points, D embedding dimensions, k classes, G = k D weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK_VALUES = 2**22
"""The number of products to hold at a time."""


def factors(probs_N_k: Tensor) -> Tensor:
    """Return factors A_i ``[N, k, k]`` with A_i A_i^T = diag(p_i) - p_i p_i^T, for probabilities that sum to at most 1.

    With u = sqrt(p) and s = sum p, they are diag(u) (I - a u u^T) for a = (1 - sqrt(1 - s)) / s, since
    (I - a u u^T)^2 = I - u u^T.

    >>> A = factors(torch.tensor([[0.5, 0.5]]))
    >>> (A @ A.mT).round(decimals=4)
    tensor([[[ 0.2500, -0.2500],
             [-0.2500,  0.2500]]])
    """
    roots_N_k = probs_N_k.sqrt()
    sums_N = probs_N_k.sum(1).clamp(0, 1)
    shares_N = 1 / (1 + (1 - sums_N).sqrt())  # equal to a, and defined for s = 0
    outer_N_k_k = (roots_N_k * shares_N.unsqueeze(1)).unsqueeze(2) * roots_N_k.unsqueeze(1)
    return roots_N_k.unsqueeze(2) * (torch.eye(probs_N_k.shape[1]).to(probs_N_k) - outer_N_k_k)


def sum_of_fishers(embeddings_N_D: Tensor, probs_N_k: Tensor) -> Tensor:
    """Return the sum ``[G, G]`` of (diag(p_i) - p_i p_i^T) (x) e_i e_i^T, class by class.

    >>> sum_of_fishers(torch.tensor([[2.0]]), torch.tensor([[0.5, 0.5]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    D, k = embeddings_N_D.shape[1], probs_N_k.shape[1]
    total = embeddings_N_D.new_zeros(k, D, k, D)
    for c in range(k):
        for d in range(c + 1):
            weights_N = probs_N_k[:, c] * (float(c == d) - probs_N_k[:, d])
            block_D_D = (embeddings_N_D * weights_N.unsqueeze(1)).T @ embeddings_N_D
            total[c, :, d], total[d, :, c] = block_D_D, block_D_D.T
    return total.view(k * D, k * D)


class Information:
    """M and F, the Fisher information of the batch and of all points, as far as tr(M^-1 F) needs them.

    Args:
        batch: M ``[G, G]``.
        fisher: F ``[G, G]``.

    Attributes:
        inverse: M^-1 ``[G, G]``.
        effect: M^-1 F M^-1 ``[G, G]``.
    """

    def __init__(self, batch: Tensor, fisher: Tensor) -> None:
        self.fisher = fisher
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(batch))
        self.effect = self.inverse @ fisher @ self.inverse

    def update(self, columns_G_k: Tensor, *, sign: int) -> tuple[Tensor, Tensor]:
        """Add V V^T to M (sign 1) or remove it (-1), by the Woodbury identity.

        Returns:
            U and Y ``[G, k]``, such that M^-1 becomes M^-1 - sign U U^T, and M^-1 F M^-1 becomes itself
            - sign (U Y^T + Y U^T).
        """
        solved_G_k = self.inverse @ columns_G_k
        identity = torch.eye(columns_G_k.shape[1]).to(columns_G_k)
        root_k_k = torch.linalg.cholesky(identity + sign * columns_G_k.T @ solved_G_k)
        U_G_k = torch.linalg.solve_triangular(root_k_k, solved_G_k.T, upper=False).T
        fisher_U_G_k = self.fisher @ U_G_k
        Y_G_k = self.inverse @ fisher_U_G_k - 0.5 * sign * U_G_k @ (U_G_k.T @ fisher_U_G_k)
        self.inverse.addmm_(U_G_k, U_G_k.T, alpha=-sign)
        self.effect.addmm_(U_G_k, Y_G_k.T, alpha=-sign).addmm_(Y_G_k, U_G_k.T, alpha=-sign)
        return U_G_k, Y_G_k


class FisherTables:
    """By how much tr(M^-1 F) changes if a point is added to M or removed from it.

    The Fisher information of a point is V V^T, with V = A_i (x) e_i of k columns. By the Woodbury identity, adding it
    lowers tr(M^-1 F) by tr((I + V^T M^-1 V)^-1 V^T M^-1 F M^-1 V). Removing it raises tr(M^-1 F) by the same with
    I - V^T M^-1 V. The two products of V are held for all points.

    V^T M^-1 V grows with the squared length of an embedding, up to the point's pick. Then it falls below 1, and float32
    would hold digits of the former only. So all tables are float64.

    Args:
        embeddings_N_D: Embeddings ``[N, D]``, float64.
        factors_N_k_k: A_i ``[N, k, k]``; see `factors`.
        information: M and F. Adding and removing points changes M in place.
    """

    def __init__(self, embeddings_N_D: Tensor, factors_N_k_k: Tensor, information: Information) -> None:
        self.embeddings_N_D = embeddings_N_D
        self.factors_N_k_k = factors_N_k_k
        self.information = information
        self.precisions_N_k_k = self._products(information.inverse)
        self.effects_N_k_k = self._products(information.effect)

    def at(self, rows: list[int]) -> FisherTables:
        """Return the tables of some of the points, computed anew."""
        return FisherTables(self.embeddings_N_D[rows], self.factors_N_k_k[rows], self.information)

    def changes(self, *, sign: int) -> Tensor:
        """Return by how much adding each point (sign 1) lowers tr(M^-1 F), or removing it (-1) raises it ``[N]``."""
        k = self.factors_N_k_k.shape[1]
        identity = torch.eye(k).to(self.embeddings_N_D)
        changes = []
        for rows in self._blocks(k * k):
            roots_n_k_k = torch.linalg.cholesky(identity + sign * self.precisions_N_k_k[rows])
            solved_n_k_k = torch.cholesky_solve(self.effects_N_k_k[rows], roots_n_k_k)
            changes.append(solved_n_k_k.diagonal(dim1=1, dim2=2).sum(1))
        return torch.cat(changes)

    def update(self, position: int, *, sign: int) -> None:
        """Add a point to M (sign 1) or remove it (-1), and update what all points would change.

        A point that was removed counts as one without information, since M holds none of it.
        """
        factor_k_k, embedding_D = self.factors_N_k_k[position], self.embeddings_N_D[position]
        columns_G_k = torch.kron(factor_k_k, embedding_D.unsqueeze(1))
        U_G_k, Y_G_k = self.information.update(columns_G_k, sign=sign)
        if sign < 0:
            for table_N_k_k in (self.factors_N_k_k, self.precisions_N_k_k, self.effects_N_k_k):
                table_N_k_k[position] = 0.0
        for rows in self._blocks(factor_k_k.numel()):
            u_n_k_k, y_n_k_k = self._columns(U_G_k, rows), self._columns(Y_G_k, rows)
            self.precisions_N_k_k[rows].baddbmm_(u_n_k_k, u_n_k_k.mT, alpha=-sign)
            self.effects_N_k_k[rows].baddbmm_(u_n_k_k, y_n_k_k.mT, alpha=-sign)
            self.effects_N_k_k[rows].baddbmm_(y_n_k_k, u_n_k_k.mT, alpha=-sign)

    def _columns(self, columns_G_k: Tensor, rows: slice) -> Tensor:
        """Return V^T X ``[n, k, k]`` for some points and k columns X."""
        k, D = self.factors_N_k_k.shape[1], self.embeddings_N_D.shape[1]
        by_dimension = columns_G_k.view(k, D, k).transpose(0, 1).reshape(D, k * k)
        products_n_k_k = (self.embeddings_N_D[rows] @ by_dimension).view(-1, k, k)
        return self.factors_N_k_k[rows].mT @ products_n_k_k

    def _products(self, matrix: Tensor) -> Tensor:
        """Return V^T S V ``[N, k, k]`` for a symmetric matrix S ``[G, G]``."""
        k, D = self.factors_N_k_k.shape[1], self.embeddings_N_D.shape[1]
        matrix_k_D_k_D = matrix.view(k, D, k, D)
        products_N_k_k = torch.empty_like(self.factors_N_k_k)
        for rows in self._blocks(D):
            embeddings_n_D = self.embeddings_N_D[rows]
            for c in range(k):
                for d in range(c + 1):
                    values_n = ((embeddings_n_D @ matrix_k_D_k_D[c, :, d]) * embeddings_n_D).sum(1)
                    products_N_k_k[rows, c, d] = products_N_k_k[rows, d, c] = values_n
            factors_n_k_k = self.factors_N_k_k[rows]
            products_N_k_k[rows] = factors_n_k_k.mT @ products_N_k_k[rows] @ factors_n_k_k
        return products_N_k_k

    def _blocks(self, num_values: int) -> Iterator[slice]:
        """Yield all rows in slices with at most `BLOCK_VALUES` values, if a row has so many."""
        size = max(1, BLOCK_VALUES // max(1, num_values))
        for first in range(0, len(self.embeddings_N_D), size):
            yield slice(first, first + size)
