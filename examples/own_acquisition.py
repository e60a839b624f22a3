"""Write your own acquisition function, and use it by name.

The points with the highest BALD scores may be alike. This one takes five times as many as are queried, and selects
those that lie far from each other in the network's embeddings. Run it with ``python examples/own_acquisition.py``.
"""

from dataclasses import dataclass
from typing import ClassVar

import pytorch_lightning as pl
import torch
from quickstart import Digits, LitDigits

from lightning_al import Acquisition, ActiveDataModule, ActiveLearning, Candidates, MCDropout, Selection, bald, register
from lightning_al.testing import check_acquisition


@register("spread_bald")
@dataclass(frozen=True)
class SpreadBALD(Acquisition):
    """Of the points with the highest BALD scores, select those that lie far from each other."""

    factor: int = 5
    min_samples: ClassVar[int] = 2

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        b = min(b, len(candidates))
        scores_N = bald(candidates.log_probs_N_K_C)
        order_N = torch.randperm(len(candidates), generator=generator)  # of equal scores, any may come first
        highest_n = order_N[scores_N[order_N].topk(min(self.factor * b, len(candidates))).indices]
        embeddings_n_D = candidates.embeddings_N_D[highest_n]
        distances_n = torch.full((len(highest_n),), torch.inf)
        picks: list[int] = []
        while len(picks) < b:  # begin with the highest score, then take what is farthest from all picks
            picks.append(int(distances_n.argmax()))
            distances_n = distances_n.minimum((embeddings_n_D - embeddings_n_D[picks[-1]]).norm(dim=1))
            distances_n[picks] = -1
        positions = highest_n[picks]
        return Selection(positions, scores_N[positions])


def main() -> ActiveLearning:
    check_acquisition(SpreadBALD())
    pl.seed_everything(0)
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    posterior = MCDropout(num_samples=50)
    active = ActiveLearning("spread_bald", query_size=10, budget=40, posterior=posterior)  # or SpreadBALD(factor=10)
    trainer = pl.Trainer(max_epochs=5, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(LitDigits(), datamodule=data)
    print(active.history)
    return active


if __name__ == "__main__":
    main()
