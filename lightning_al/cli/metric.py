"""Check that the metric of the learning curve is logged."""

from __future__ import annotations

from hydra.errors import CompactHydraException
from typing_extensions import override

from lightning_al.callback import ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.run.history import History


class MetricIsLogged(pl.Callback):
    """End a run after its first round if nothing logged the metric of its learning curve.

    Args:
        metric: Name of the metric.
        active: The callback of the run.
    """

    def __init__(self, metric: str, active: ActiveLearning) -> None:
        self.metric = metric
        self.active = active

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the rounds so far."""
        if stage == "fit":
            check_metric(self.metric, self.active.history)


def check_metric(metric: str, history: History) -> None:
    """Check that a metric was logged, once there are rounds.

    Raises:
        CompactHydraException: If it was not; the message lists the metrics that were.
    """
    known = sorted({name for round in history for name in round.metrics})
    if len(history) > 0 and metric not in known:
        raise CompactHydraException(
            f"The learning curve shows `metric={metric}`, but round 0 logged no such metric. Choose one of: "
            f"{', '.join(known) or 'none (nothing was logged)'}. To resume the run, give the same command "
            "with its `folder=` and another `metric=`."
        )
