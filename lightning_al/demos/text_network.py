"""A network for texts that needs no tokenizer and no download."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_al.values.parts import described

_WORD = re.compile(r"\w+|[^\w\s]")


def text_network(
    num_classes: int, *, num_buckets: int = 2**15, width: int = 64, pairs: bool = True, dropout: float = 0.5
) -> nn.Sequential:
    """Return a bag of hashed words with dropout, for a list of texts.

    Armand Joulin, Edouard Grave, Piotr Bojanowski, Tomas Mikolov, "Bag of Tricks for Efficient Text Classification",
    EACL 2017.

    Args:
        num_classes: Number of classes.
        num_buckets: Number of embeddings. Words whose hashes are equal share one.
        width: Length of an embedding.
        pairs: Whether pairs of words that follow each other have embeddings too.
        dropout: Rate of the dropout before the last layer.

    >>> text_network(3)(["good", "not so good"]).shape
    torch.Size([2, 3])
    """
    return nn.Sequential(
        HashedWords(num_buckets, width, pairs=pairs), nn.Dropout(dropout), nn.Linear(width, num_classes)
    )


class HashedWords(nn.Module):
    """Return the mean embedding of the words of each text.

    Args:
        num_buckets: Number of embeddings.
        width: Length of an embedding.
        pairs: Whether pairs of words have embeddings too.

    >>> HashedWords(8, 4, pairs=False)(["good", ""]).shape
    torch.Size([2, 4])
    """

    def __init__(self, num_buckets: int, width: int, *, pairs: bool) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.pairs = pairs
        self.embeddings = nn.EmbeddingBag(num_buckets, width, mode="mean")

    @override
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return the means ``[n, width]``; zeros for a text without words.

        Raises:
            TypeError: If these are not texts.
        """
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(
                f"`text_network` takes a list of texts, but got {described(texts)}. Choose a network for such inputs, "
                "as `mlp` is for vectors."
            )
        found = [self._buckets_of(text) for text in texts]
        offsets = torch.tensor([0, *map(len, found)]).cumsum(0)[:-1]
        device = self.embeddings.weight.device
        buckets = torch.tensor([bucket for one in found for bucket in one], dtype=torch.int64)
        means: Tensor = self.embeddings(buckets.to(device), offsets.to(device))
        return means

    def _buckets_of(self, text: str) -> list[int]:
        words = _WORD.findall(text.casefold())
        parts = [*words, *(map(" ".join, pairwise(words)) if self.pairs else ())]
        # Python's own hash differs in each process.
        return [zlib.crc32(part.encode(errors="replace")) % self.num_buckets for part in parts]
