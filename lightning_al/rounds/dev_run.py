"""A run that `Trainer(fast_dev_run=...)` only tries out: in memory, without its folder and without asking people."""

from __future__ import annotations

from lightning_al.host.namespace import pl, rank_zero_info
from lightning_al.oracle import name_of
from lightning_al.rounds.run import Run


def begin_dev_or_real_run(run: Run, trainer: pl.Trainer) -> None:
    """Note whether a call of `trainer.fit` only tries the run out, so that it has no folder.

    Args:
        run: The run.
        trainer: The Trainer.

    Raises:
        ValueError: If the try-out would ask people, or a run that was begun in one way would continue in the other.
    """
    active, fast_dev_run = run.active, trainer.fast_dev_run  # type: ignore[attr-defined]
    is_dev_run = bool(fast_dev_run)
    if is_dev_run and getattr(active.oracle, "leaves_open", False):
        raise ValueError(
            f"`Trainer(fast_dev_run=...)` only tries a run out, but `{name_of(active.oracle)}` asks people. Pass an "
            "oracle that answers by itself, such as `oracle=lambda query: dict.fromkeys(query, 0)`."
        )
    if run.header is not None and active.is_dev_run != is_dev_run:
        raise ValueError(
            "`ActiveLearning` cannot continue a try-out as a real run, nor a real run as a try-out, but "
            f"`Trainer(fast_dev_run={fast_dev_run})` asks for that. Use a new `ActiveLearning` and a new "
            "`ActiveDataModule`."
        )
    if is_dev_run and active.folder is not None:
        rank_zero_info(
            f"`Trainer(fast_dev_run=...)` tries the run out in memory: {active.folder} is neither read nor written."
        )
    active.is_dev_run = is_dev_run
