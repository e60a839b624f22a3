"""Whether points of the pool are read under random augmentation, which would make their scores random too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from lightning_al.host.namespace import rank_zero_warn
from lightning_al.run.seeds import derive, seeded
from lightning_al.values.content_hash import content_hash


def warn_of_augmentation(items: Any, indices: Sequence[int], collate: Callable[[list[Any]], Any], seed: int) -> None:
    """Warn where an item or a batch of the pool differs from one reading to the next.

    Args:
        items: Some points of the pool as a dataset.
        indices: Their indices in the training data.
        collate: The collate function of the train loader.
        seed: Seed of what an item draws at random.
    """
    with seeded(derive(seed, "twice")):
        for place, index in enumerate(indices[:2]):
            if _differ(partial(items.__getitem__, place)):
                rank_zero_warn(
                    f"`ActiveDataModule` read item {index} of the pool twice and got two different ones, so the "
                    "pool would be scored under random augmentation. Pass `pool_dataset=`, the same points without "
                    "it."
                )
                return
        # Where it fails, scoring will say more.
        with suppress(Exception):
            if indices and _differ(lambda: collate([items[place] for place in range(len(indices))])):
                rank_zero_warn(
                    f"`ActiveDataModule` made a batch of the same {len(indices)} points twice and got two "
                    "different ones, because the collate function of the train loader draws at random. The pool "
                    "would be scored on such mixed or changed points. Do this in `training_step`, or in "
                    "`on_after_batch_transfer` where `self.trainer.training` is true."
                )


def _differ(draw: Callable[[], Any], times: int = 4) -> bool:
    """Return whether what is drawn several times is not always the same."""
    return len({content_hash(draw()) for _ in range(times)}) > 1
