"""Text classifiers of transformers in a LightningModule, with its own collate function that pads each batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, MCDropout
from lightning_al.acquisition import Acquisition, Selection
from lightning_al.host.namespace import pl
from tests.support.tasks import trainer

pytestmark = pytest.mark.slow

WORDS = [f"w{number}" for number in range(30)]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 34}
KINDS: dict[str, dict[str, Any]] = {
    "Bert": SMALL,
    "Roberta": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 34, "pad_token_id": 0},
    "Electra": {**SMALL, "embedding_size": 16},
}


def make_tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


class Texts(Dataset[Any]):
    """Texts of 1 to 9 words, as a tokenizer gives them."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        words = [WORDS[(7 * index + 3 * place) % 30] for place in range(1 + index * 5 % 9)]
        found = self.tokenizer(" ".join(words))
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": index % 3}


class LitText(pl.LightningModule):
    def __init__(self, kind: str, attention: str) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**KINDS[kind], num_labels=3, attn_implementation=attention)
        self.model = getattr(transformers, f"{kind}ForSequenceClassification")(config)

    def forward(self, **inputs: Tensor) -> Any:
        return self.model(**inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(**batch).loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Keeping(Acquisition):
    """Keeps the table that it chooses from."""

    def __init__(self, tables: list[Tensor]) -> None:
        self.tables = tables

    def __deepcopy__(self, memo: Any) -> Keeping:
        return Keeping([])

    def select(self, candidates: Any, b: int, generator: torch.Generator) -> Selection:
        self.tables.append(candidates.log_probs_N_K_C)
        found = candidates.log_probs_N_K_C.exp().mean(1).amax(1).neg().topk(b)
        return Selection(found.indices, found.values)


@pytest.mark.parametrize("posterior", [MCDropout(6), Deterministic()], ids=["dropout", "deterministic"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_do_not_depend_on_what_a_text_is_padded_to(
    tmp_path: Path, kind: str, attention: str, posterior: Any
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = make_tokenizer()
    collate = transformers.DataCollatorWithPadding(tokenizer)

    def run(pool_batch_size: int) -> Tensor:
        tables: list[Tensor] = []
        data = ActiveDataModule(
            Texts(tokenizer),
            initial_size=12,
            batch_size=6,
            collate_fn=collate,
            pool_batch_size=pool_batch_size,
            target="labels",
        )
        active = ActiveLearning(Keeping(tables), query_size=5, max_rounds=2, posterior=posterior)
        settings: Any = {"max_epochs": 1, "num_sanity_val_steps": 2}
        trainer(tmp_path, callbacks=[active], **settings).fit(LitText(kind, attention), datamodule=data)
        return tables[0]

    whole = run(28)
    if posterior.num_samples > 1:
        assert whole.std(1).max() > 1e-3
    for size in (1, 5):
        torch.testing.assert_close(run(size), whole, rtol=0, atol=1e-4)
