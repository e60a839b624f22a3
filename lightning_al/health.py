"""Whether sampling the weights helps or harms the prediction: the posterior mean beside the network itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import final

TRIFLE = 0.01
"""Nats a point that nobody needs to be warned of, however many points prove them; rounding is far below."""


@final
@dataclass(frozen=True)
class Scores:
    """Tell how good a prediction is: accuracy, negative log-likelihood in nats and expected calibration error."""

    accuracy: float
    nll: float
    ece: float


@final
@dataclass(frozen=True)
class PosteriorHealth:
    """Tell how well the posterior mean predicts the points that the network predicts without sampling too.

    Attributes:
        deterministic: Scores of the network's own prediction, without sampled noise.
        posterior: Scores of the mean of the posterior samples' probabilities.
        standard_error: Standard error in nats of the difference of the two negative log-likelihoods, from the
            differences point by point.

    >>> health = PosteriorHealth(Scores(0.9, 0.3, 0.02), Scores(0.8, 0.7, 0.2), standard_error=0.1)
    >>> round(health.excess, 3), health.is_worse
    (0.4, True)
    >>> health.to_dict()["deterministic_nll"], health.to_dict()["posterior_nll"]
    (0.3, 0.7)
    """

    deterministic: Scores
    posterior: Scores
    standard_error: float

    @property
    def excess(self) -> float:
        """By how many nats a point the negative log-likelihood is higher with sampling than without."""
        return self.posterior.nll - self.deterministic.nll

    @property
    def is_worse(self) -> bool:
        """Whether sampling harms beyond chance and trifles: no more accuracy, and an excess past noise and a floor."""
        is_clear = self.excess > 2 * self.standard_error and self.excess > TRIFLE
        return is_clear and self.posterior.accuracy <= self.deterministic.accuracy

    @property
    def warning(self) -> str | None:
        """What to do where sampling harms the prediction, or None."""
        if not self.is_worse:
            return None
        return (
            "the mean of the posterior samples predicts worse than the network without sampling: its negative "
            f"log-likelihood is {self.posterior.nll:.3g} nats, {self.excess:.2g} (standard error "
            f"{self.standard_error:.1g}) above the network's {self.deterministic.nll:.3g}, and its accuracy "
            f"{self.posterior.accuracy:.3f} against {self.deterministic.accuracy:.3f}. Lower the dropout p, train "
            "longer with dropout, check that batch norm and dropout suit each other, or use "
            "`posterior=Deterministic()` with a method for which one sample is enough, such as `entropy`."
        )

    def to_dict(self) -> dict[str, float]:
        """Return both rows of scores as plain data: `deterministic_accuracy` and so on, then `posterior_accuracy`."""
        rows = {"deterministic": self.deterministic, "posterior": self.posterior}
        return {f"{row}_{name}": value for row, scores in rows.items() for name, value in asdict(scores).items()}
