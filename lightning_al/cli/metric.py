"""The metric of the learning curve, and whether it is logged."""

from __future__ import annotations

from hydra.errors import CompactHydraException
from typing_extensions import override

from lightning_al.callback import ActiveLearning
from lightning_al.cli.direction import USUAL
from lightning_al.host.namespace import pl
from lightning_al.run.history import History


class MetricIsLogged(pl.Callback):
    """End a run after its first round if nothing logged the metric of its learning curve.

    Args:
        metric: Name of the metric, or None for any.
        active: The callback of the run.
    """

    def __init__(self, metric: str | None, active: ActiveLearning) -> None:
        self.metric = metric
        self.active = active

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the rounds so far."""
        if stage == "fit":
            check_metric(self.metric, self.active.history)


def curve_metric(metric: str | None, history: History) -> str | None:
    """Return the metric of the learning curve, or None if there is none.

    Args:
        metric: The setting `metric`, where null means `USUAL` if there were test data to measure it on.
        history: The rounds.

    >>> curve_metric(None, History()), curve_metric("test_loss", History())
    (None, 'test_loss')
    """
    if metric is None and any(USUAL in round.metrics for round in history):
        return USUAL
    return metric


def check_metric(metric: str | None, history: History) -> None:
    """Check that a metric was logged, once there are rounds; None is no metric.

    Raises:
        CompactHydraException: If it was not; the message lists the metrics that were.
    """
    known = sorted({name for round in history for name in round.metrics})
    if len(history) > 0 and metric is not None and metric not in known:
        raise CompactHydraException(
            f"The learning curve shows `metric={metric}`, but round 0 logged no such metric. Choose one of: "
            f"{', '.join(known) or 'none (nothing was logged)'}. To resume the run, give the same command "
            "with its `folder=` and another `metric=`."
        )
