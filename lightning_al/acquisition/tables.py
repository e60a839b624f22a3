"""Checks of the tables of numbers that acquisition functions read.

Axes: N points, D columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def checked_table(values_N_D: Tensor, what: str, *, who: str) -> Tensor:
    """Check a table with a row for each point, and return it without gradients in float32 or float64.

    Args:
        values_N_D: Numbers ``[N, D]``. Half precision becomes float32.
        what: What the numbers are, for error messages.
        who: The method's name, for error messages.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If it has other axes, or if a number is NaN or infinite.

    >>> checked_table(torch.tensor([[1.0, 2.0]]).half(), "embeddings", who="badge")
    tensor([[1., 2.]])
    """
    if not isinstance(values_N_D, Tensor):
        raise TypeError(
            f"`{who}` expected a tensor that holds {what}, but got {type(values_N_D).__name__}. "
            "Pass `torch.as_tensor(...)` of them."
        )
    if values_N_D.dim() != 2:
        raise ValueError(
            f"`{who}` expected a table of {what} with two axes, but got shape {list(values_N_D.shape)}. "
            "Pass a row for each point."
        )
    values_N_D = values_N_D.detach()
    values_N_D = values_N_D if values_N_D.dtype in (torch.float32, torch.float64) else values_N_D.float()
    # A sum of squares is finite only if each number is, so no table of booleans is needed to find out.
    is_bad_N = ~torch.linalg.vector_norm(values_N_D, dim=1).square().isfinite()
    if bool(is_bad_N.any()):
        raise ValueError(
            f"`{who}` expected finite {what}, but got NaN, Inf or numbers whose squares are not finite in "
            f"{int(is_bad_N.sum())} rows, the first at position {int(is_bad_N.nonzero()[0])}. "
            "Check the model's outputs there."
        )
    return values_N_D


def in_float64(values_N_D: Tensor, *, copy: bool = False) -> Tensor:
    """Return a table in float64, on the CPU if its device has no float64. With `copy`, it is never the given one.

    >>> in_float64(torch.ones(1, 2))
    tensor([[1., 1.]], dtype=torch.float64)
    """
    device = torch.device("cpu") if values_N_D.device.type == "mps" else values_N_D.device
    return values_N_D.to(device, torch.float64, copy=copy)


def checked_labelled(labelled_n_D: Tensor, features_N_D: Tensor, *, who: str) -> Tensor:
    """Check the features of labelled points as `checked_table` does, and return them in the form of the candidates'.

    Raises:
        ValueError: If they have another number of dimensions.
    """
    labelled_n_D = checked_table(labelled_n_D, "features of labelled points", who=who)
    if labelled_n_D.shape[1] != features_N_D.shape[1]:
        raise ValueError(
            f"`{who}` expected labelled points with {features_N_D.shape[1]} features, as many as the candidates have, "
            f"but got {labelled_n_D.shape[1]}. Pass features of one encoder for both."
        )
    return labelled_n_D.to(features_N_D)
