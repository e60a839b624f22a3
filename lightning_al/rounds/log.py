"""What loggers are told of a round."""

from __future__ import annotations

from lightning_al.host.loggers import log_over_labels
from lightning_al.host.namespace import pl
from lightning_al.host.trainer import logger_step
from lightning_al.run.history import Round


def log_round(trainer: pl.Trainer, round: Round) -> None:
    """Log the figures of a round, each named ``al/...``, and its metrics over the number of labels."""
    figures: dict[str, float] = {
        "al/round": round.number,
        "al/labelled": round.labelled,
        "al/asked": len(round.indices),
        "al/validation_labels": round.validation_labels,
    }
    if round.pseudo_labels:
        figures["al/pseudo_labels"] = round.pseudo_labels
    figures.update({f"al/{name}": value for name, value in round.metrics.items()})
    figures.update({f"al/seconds_{part}": value for part, value in round.seconds.items()})
    figures.update({f"al/class_{label}": count for label, count in (round.class_counts or {}).items()})
    # Of a figure that is there for each pick, the last one stands for the batch.
    figures.update(
        {f"al/{name}": value if isinstance(value, float) else value[-1] for name, value in round.details.items()}
    )
    if round.unscorable:
        figures["al/unscorable"] = len(round.unscorable)
    if round.scores:
        figures.update({"al/score_first": round.scores[0], "al/score_last": round.scores[-1]})
    log_over_labels(trainer.loggers, round)
    for logger in trainer.loggers:
        logger.log_metrics(figures, step=logger_step(trainer))
        logger.save()
