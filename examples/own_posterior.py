"""Write your own posterior: a Laplace approximation of the last layer, fitted once a round.

The last layer's weights are Gaussian around the fitted ones. The features of the labelled points give their precision
(MacKay, "A Practical Bayesian Framework for Backpropagation Networks", Neural Computation 1992).
Run it with ``python examples/own_posterior.py``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from quickstart import Digits, LitDigits
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, Fit, Posterior, PosteriorSamples
from lightning_al.testing import check_posterior


@dataclass(frozen=True)
class LastLayerLaplace(Posterior):
    """Sample the weights of the last linear layer.

    Args:
        num_samples: Number of posterior samples K.
        precision: Prior precision of the weights.
    """

    num_samples: int = 50
    precision: float = 1.0

    def draw(
        self, fits: Sequence[Fit], module: nn.Module, labelled: Iterable[Any], *, forward: Any, seed: int
    ) -> PosteriorSamples:
        head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
        with torch.no_grad():
            features_N_D = torch.cat([features(head, module, batch, forward) for batch in labelled]).double()
        precision_D_D = features_N_D.T @ features_N_D
        precision_D_D.diagonal().add_(self.precision)
        root_D_D = torch.linalg.inv(torch.linalg.cholesky(precision_D_D))  # its square is the covariance
        noise = torch.randn(self.num_samples, *head.weight.shape, generator=torch.Generator().manual_seed(seed))
        weights_K_C_D = head.weight.detach() + (noise.to(root_D_D) @ root_D_D).to(head.weight)
        return LastLayerSamples(module, forward, head, weights_K_C_D)


class LastLayerSamples(PosteriorSamples):
    """The network with its last layer's weights replaced by those of each sample."""

    def __init__(self, module: nn.Module, forward: Any, head: nn.Linear, weights_K_C_D: Tensor) -> None:
        self.module, self.forward, self.head, self.weights_K_C_D = module, forward, head, weights_K_C_D
        self.num_samples = len(weights_K_C_D)

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        features_n_D = features(self.head, self.module, batch, self.forward)
        for weights_C_D in self.weights_K_C_D:
            yield nn.functional.linear(features_n_D, weights_C_D, self.head.bias)


def features(head: nn.Linear, module: nn.Module, batch: Any, forward: Any) -> Tensor:
    """Return what the last layer is given ``[n, D]``."""
    noted: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: noted.append(inputs[0].detach()))
    forward(module, batch)
    hook.remove()
    return noted[-1]


def main() -> ActiveLearning:
    check_posterior(LastLayerLaplace(num_samples=5))
    pl.seed_everything(0)
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    active = ActiveLearning("bald", query_size=10, budget=40, posterior=LastLayerLaplace())
    trainer = pl.Trainer(max_epochs=5, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(LitDigits(), datamodule=data)
    print(active.history)
    return active


if __name__ == "__main__":
    main()
