"""How weights are sampled."""

from lightning_al.posterior.base import Fit, Posterior, PosteriorSamples
from lightning_al.posterior.deterministic import Deterministic
from lightning_al.posterior.last_layer import LastLayer
from lightning_al.posterior.mc_dropout import MCDropout
from lightning_al.registry import Registry

posteriors: Registry[Posterior] = Registry("posterior")
posteriors.register("deterministic")(Deterministic)
posteriors.register("mc_dropout")(MCDropout)

__all__ = ["Deterministic", "Fit", "LastLayer", "MCDropout", "Posterior", "PosteriorSamples", "posteriors"]
