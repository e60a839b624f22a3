"""Write a deep ensemble: three fits a round, each from its own initial weights, are three posterior samples.

After Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", NeurIPS 2017. Run it with ``python examples/own_ensemble.py``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from quickstart import Digits, LitDigits
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, Fit, Posterior, PosteriorSamples
from lightning_al.testing import check_posterior


@dataclass(frozen=True)
class Ensemble(Posterior):
    """Take each fit of a round for one posterior sample.

    Args:
        num_fits: Number of fits a round.
    """

    num_fits: int = 3

    @property
    def num_samples(self) -> int:  # type: ignore[override]
        return self.num_fits

    def draw(
        self, fits: Sequence[Fit], module: nn.Module, labelled: Iterable[Any], *, forward: Any, seed: int
    ) -> PosteriorSamples:
        return Networks(fits, module, forward)


class Networks(PosteriorSamples):
    """The network with the weights of each fit in turn."""

    def __init__(self, fits: Sequence[Fit], module: nn.Module, forward: Any) -> None:
        self.fits, self.module, self.forward = fits, module, forward
        self.num_samples = len(fits)

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        for fit in self.fits:
            with computing_with(self.module, fit.weights):
                output = self.forward(self.module, batch)
            yield output


@contextmanager
def computing_with(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a module compute with other weights and buffers, which are on the CPU."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    before = {name: tensor.data for name, tensor in tensors.items()}
    try:
        for name, tensor in tensors.items():
            tensor.data = weights[name].to(tensor.device)
        yield
    finally:
        for name, tensor in tensors.items():
            tensor.data = before[name]


def main() -> ActiveLearning:
    check_posterior(Ensemble())
    pl.seed_everything(0)
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    active = ActiveLearning("bald", query_size=10, budget=40, posterior=Ensemble())
    trainer = pl.Trainer(max_epochs=5, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(LitDigits(), datamodule=data)
    print(active.history)
    for round in active.history:
        print(f"fits of round {round.number}:", [f"{member['test_acc']:.3f}" for member in round.members])
    return active


if __name__ == "__main__":
    main()
