"""A text classifier whose collate function pads to the longest text of each batch."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.acquisition import Acquisition, Selection
from lightning_al.host.namespace import pl
from tests.support.tasks import trainer


class Texts(Dataset[Any]):
    """Texts of 1 to 9 tokens, whose class is that of their commonest token."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        tokens = torch.randint(1, 12, (1 + index * 5 % 9,), generator=generator)
        return {"input_ids": tokens.tolist(), "labels": int(tokens.mode().values) % 3}


def pad(items: list[Any]) -> Any:
    """Pad each batch to its longest text, as `DataCollatorWithPadding` does."""
    longest = max(len(item["input_ids"]) for item in items)
    rows = [item["input_ids"] + [0] * (longest - len(item["input_ids"])) for item in items]
    input_ids = torch.tensor(rows)
    labels = torch.tensor([item["labels"] for item in items])
    return UserDict(input_ids=input_ids, attention_mask=(input_ids != 0).long(), labels=labels)


class Encoder(nn.Module):
    """Takes and returns what models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(12, 16, padding_idx=0), nn.Dropout(0.2)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Any:
        hidden = self.encoder(self.drop(self.embed(input_ids)), src_key_padding_mask=attention_mask == 0)
        weights = attention_mask.unsqueeze(-1)
        logits = self.head((hidden * weights).sum(1) / weights.sum(1))
        return {"loss": None if labels is None else F.cross_entropy(logits, labels), "logits": logits}


class LitText(pl.LightningModule):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.model = Encoder()

    def forward(self, **inputs: Tensor) -> Any:
        return self.model(**inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(**batch)["loss"]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Keeping(Acquisition):
    """Keeps the table that it chooses from."""

    tables: dict[int, list[Tensor]]

    def __init__(self, tables: list[Tensor]) -> None:
        self.tables = tables  # type: ignore[assignment]

    def __deepcopy__(self, memo: Any) -> Keeping:
        return Keeping([])

    def select(self, candidates: Any, b: int, generator: torch.Generator) -> Selection:
        log_probs_N_K_C = candidates.log_probs_N_K_C
        self.tables.append(log_probs_N_K_C)  # type: ignore[attr-defined]
        scores = log_probs_N_K_C.exp().var(1).sum(1)
        found = scores.topk(b)
        return Selection(found.indices, found.values)


@pytest.mark.long
@pytest.mark.parametrize("sizes", [(1,), pytest.param((2, 5, 17), marks=pytest.mark.slow)])  # of other batches
def test_predictions_do_not_depend_on_what_a_text_is_padded_to(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    def run(pool_batch_size: int) -> tuple[list[int], Tensor]:
        tables: list[Tensor] = []
        data = ActiveDataModule(
            Texts(), initial_size=12, batch_size=6, collate_fn=pad, pool_batch_size=pool_batch_size, seed=3
        )
        active = ActiveLearning(Keeping(tables), query_size=5, max_rounds=2, posterior=MCDropout(2), seed=1)
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(LitText(), datamodule=data)
        return active.history[0].indices, tables[0]

    indices, whole = run(18)  # in one batch
    assert whole.std(1).max() > 1e-2
    for size in sizes:
        other_indices, other = run(size)
        torch.testing.assert_close(other, whole, rtol=0, atol=1e-5)
        assert other_indices == indices


@pytest.mark.parametrize("acquisition", [pytest.param("bald", marks=pytest.mark.slow), "batchbald"])  # of one table
def test_a_run_over_padded_texts_repeats(tmp_path: Path, acquisition: str) -> None:
    def run() -> Any:
        data = ActiveDataModule(Texts(), initial_size=12, batch_size=6, collate_fn=pad, seed=3)
        active = ActiveLearning(acquisition, query_size=5, max_rounds=2, posterior=MCDropout(3), seed=1)
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(LitText(), datamodule=data)
        return [(round.indices, round.scores) for round in active.history]

    assert run() == run()


def pack(items: list[Any]) -> Any:
    texts = [F.one_hot(torch.tensor(item["input_ids"]), 12).float() for item in items]
    return nn.utils.rnn.pack_sequence(texts, enforce_sorted=False), torch.tensor([item["labels"] for item in items])


class LitPacked(pl.LightningModule):
    """Reads packed sequences, as torch's recurrent layers take them."""

    def __init__(self, layers: int) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.rnn = nn.GRU(12, 8, num_layers=layers, dropout=0.3 if layers > 1 else 0.0)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(8, 3)

    def forward(self, packed: Any) -> Tensor:
        return self.head(self.drop(self.rnn(packed)[1][-1]))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


@pytest.mark.parametrize("layers", [1, 2])
def test_packed_sequences_work_where_their_layers_draw_nothing(tmp_path: Path, layers: int) -> None:
    def run(size: int) -> list[int]:
        data = ActiveDataModule(Texts(), initial_size=12, batch_size=6, collate_fn=pack, pool_batch_size=size, seed=3)
        active = ActiveLearning("bald", query_size=5, max_rounds=2, posterior=MCDropout(2), seed=1)
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(LitPacked(layers), datamodule=data)
        return active.history[0].indices

    if layers == 1:
        assert run(36) == run(7) == run(1)
    else:
        with pytest.raises(
            ValueError, match=r"differently for packed sequences: give it padded ones, or use `nn.Dropo"
        ):
            run(36)


def test_a_network_that_drops_along_an_axis_of_padding_alone_is_refused_at_once(tmp_path: Path) -> None:
    class Drops(LitText):
        def forward(self, **inputs: Tensor) -> Any:
            weights = F.dropout(inputs["attention_mask"].float(), 0.2)
            return self.model(**{**inputs, "attention_mask": inputs["attention_mask"] * (weights > 0)})

    data = ActiveDataModule(Texts(), initial_size=12, batch_size=6, collate_fn=pad, seed=3)
    active = ActiveLearning("bald", query_size=5, max_rounds=2, posterior=MCDropout(2), seed=1)
    with pytest.raises(ValueError, match=r"(?s)keeps one mask for the whole pool.*padding them to one.*before round 0"):
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(Drops(), datamodule=data)
