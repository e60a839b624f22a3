"""Write the loop yourself: one round a fit, and anything you like in between, here a new Trainer.

Run it with ``python examples/own_loop.py``.
"""

import pytorch_lightning as pl
from quickstart import Digits, LitDigits

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout


def main() -> ActiveLearning:
    pl.seed_everything(0)
    model = LitDigits()
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    posterior = MCDropout(num_samples=50)
    active = ActiveLearning("batchbald", query_size=20, budget=60, posterior=posterior, rounds_per_fit=1)
    while not active.done:
        trainer = pl.Trainer(
            max_epochs=10, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False
        )
        trainer.fit(model, datamodule=data)
        last = active.history[-1]
        print(f"round {last.number}: accuracy {last.metrics['test_acc']:.3f} with {last.labelled} labels")
        print(f"  asked for {last.indices}, has now {len(data.pool.labelled)} labels")
    return active


if __name__ == "__main__":
    main()
