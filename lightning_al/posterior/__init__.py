"""Posteriors: samples of the functions that a fit makes likely. Each is registered by a name."""

from lightning_al.posterior.base import Fit, Posterior, PosteriorSamples
from lightning_al.posterior.deterministic import Deterministic
from lightning_al.posterior.last_layer import LastLayer
from lightning_al.posterior.mc_dropout import MCDropout
from lightning_al.posterior.registry import available_posteriors, posteriors, register_posterior

__all__ = [
    "Deterministic",
    "Fit",
    "LastLayer",
    "MCDropout",
    "Posterior",
    "PosteriorSamples",
    "available_posteriors",
    "posteriors",
    "register_posterior",
]
