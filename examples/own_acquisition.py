"""Write an acquisition function of one's own, and use it by name.

PowerBALD (Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron and Gal, "Stochastic Batch Acquisition", TMLR 2023)
draws points with probability in proportion to a power of their BALD score, so that a batch is diverse at no cost.
Run it with ``python examples/own_acquisition.py``.
"""

from dataclasses import dataclass
from typing import ClassVar

import pytorch_lightning as pl
import torch
from quickstart import Digits, LitDigits

from lightning_al import Acquisition, ActiveDataModule, ActiveLearning, Candidates, MCDropout, Selection, bald, register
from lightning_al.testing import check_acquisition


@register("power_bald")
@dataclass(frozen=True)
class PowerBALD(Acquisition):
    """Draw points without replacement, with probability in proportion to BALD to the power of beta."""

    beta: float = 1.0
    min_samples: ClassVar[int] = 2

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        scores_N = bald(candidates.log_probs_N_K_C)
        # The b largest of log-scores plus Gumbel noise are such a draw.
        noise_N = -torch.empty_like(scores_N).exponential_(generator=generator).log()
        # Points that tell nothing come last, and in random order too.
        log_scores_N = scores_N.clamp_min(torch.finfo(scores_N.dtype).tiny).log()
        positions = (self.beta * log_scores_N + noise_N).topk(min(b, len(candidates))).indices
        return Selection(positions, scores_N[positions])


def main() -> ActiveLearning:
    check_acquisition(PowerBALD())
    pl.seed_everything(0)
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    posterior = MCDropout(num_samples=50)
    active = ActiveLearning("power_bald", query_size=10, budget=40, posterior=posterior)  # or PowerBALD(beta=8)
    trainer = pl.Trainer(max_epochs=5, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(LitDigits(), datamodule=data)
    print(active.history)
    return active


if __name__ == "__main__":
    main()
