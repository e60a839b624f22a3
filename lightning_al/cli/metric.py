"""Whether the metric that a run is to be shown by is among those that are logged."""

from __future__ import annotations

from hydra.errors import CompactHydraException
from typing_extensions import override

from lightning_al.callback import ActiveLearning
from lightning_al.host.namespace import pl
from lightning_al.run.history import History


class MetricIsLogged(pl.Callback):
    """End a run after its first round where nothing logged the metric that its curve is to show.

    Args:
        metric: Name of the metric.
        active: The run.
    """

    def __init__(self, metric: str, active: ActiveLearning) -> None:
        self.metric = metric
        self.active = active

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Look at the rounds before the one that begins."""
        if stage == "fit":
            check_metric(self.metric, self.active.history)


def check_metric(metric: str, history: History) -> None:
    """Check that rounds have a metric, where there are any.

    Raises:
        CompactHydraException: If none has; the message lists those there are.
    """
    known = sorted({name for round in history for name in round.metrics})
    if len(history) > 0 and metric not in known:
        raise CompactHydraException(
            f"The run is to be shown by `metric={metric}`, but round 0 logged no such metric. Choose one of: "
            f"{', '.join(known) or 'none (nothing was logged)'}. To resume the run, give the same command "
            "with its `folder=` and another `metric=`."
        )
