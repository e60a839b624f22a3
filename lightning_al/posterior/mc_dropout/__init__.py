"""MC dropout: dropout as samples of the weights, with masks that are the same for the whole pool."""

from lightning_al.posterior.mc_dropout.posterior import MCDropout

__all__ = ["MCDropout"]
