"""Features of texts by a model of transformers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn
from typing_extensions import override

from lightning_al.data.features.named import NamedEncoder, not_found, not_installed, without_retries
from lightning_al.values.parts import described


@final
@dataclass(frozen=True)
class TextEncoder(NamedEncoder):
    """Encode texts by the mean of the last hidden states of a model of transformers, scaled to length 1.

    Nils Reimers, Iryna Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019.

    Args:
        model: Name of the model on its hub, or the folder that it was saved to.
        max_length: The most tokens of a text; the rest is cut off.

    >>> TextEncoder().name
    'transformers:sentence-transformers/all-MiniLM-L6-v2'
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    max_length: int = 256

    @property
    @override
    def name(self) -> str:
        return f"transformers:{self.model}"

    @override
    def make(self) -> nn.Module:
        try:
            import transformers
        except ImportError as error:
            raise not_installed(self.name, "transformers") from error
        # Its tokenizers warn where a process that used threads is forked, as for the workers of a DataLoader.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            with without_retries():
                tokenizer: Any = transformers.AutoTokenizer.from_pretrained(self.model)
                network: Any = transformers.AutoModel.from_pretrained(self.model)
        except Exception as error:  # whatever a download or a file may raise
            raise not_found(self.name, error) from None
        return _OfTexts(network, tokenizer, self.name, self.max_length)


class _OfTexts(nn.Module):
    """Tokenize texts for a model, and average its states."""

    def __init__(self, network: nn.Module, tokenizer: Any, name: str, max_length: int) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.name = name
        self.max_length = max_length

    @override
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return features ``[n, D]``.

        Raises:
            TypeError: If these are no texts.
        """
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise TypeError(
                f"`{self.name}` encodes texts, but got {described(texts)}. Let the dataset give texts, or pass a "
                "function that encodes such inputs."
            )
        device = next(self.network.parameters()).device
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(device)
        states_n_T_D: Tensor = self.network(**tokens).last_hidden_state
        mask_n_T_1 = tokens["attention_mask"].unsqueeze(-1).to(states_n_T_D.dtype)
        means_n_D = (states_n_T_D * mask_n_T_1).sum(1) / mask_n_T_1.sum(1).clamp_min(1)
        return nn.functional.normalize(means_n_D, dim=1)
