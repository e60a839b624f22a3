"""Active learning for PyTorch Lightning.

    pool -> candidates -> acquisition -> indices -> oracle -> pool -> next fit
         (posterior samples)   (scores)          (labels)

`ActiveDataModule` splits a dataset into labelled points and a pool. `ActiveLearning`, a Lightning callback, runs the
rounds: after each fit a `Posterior` predicts the pool with several samples of the weights, an `Acquisition` selects
the `Candidates` worth most, an `Oracle` labels them, and the next fit begins from the initial weights. `History` says
what each round did.

Names are imported when first used, so that ``import lightning_al`` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "lightning_al.acquisition": [
        "BALD",
        "Acquisition",
        "BatchBALD",
        "Entropy",
        "LeastConfidence",
        "Margin",
        "Random",
        "ScoreAcquisition",
        "Selection",
        "VariationRatio",
        "available",
        "register",
    ],
    "lightning_al.acquisition.bald": ["bald"],
    "lightning_al.acquisition.batchbald.selection": ["batchbald"],
    "lightning_al.callback": ["ActiveLearning"],
    "lightning_al.points": ["Candidates", "Points"],
    "lightning_al.data.datamodule": ["ActiveDataModule"],
    "lightning_al.run.history": ["History", "Round"],
    "lightning_al.oracle": ["Oracle", "Query", "Revealed", "available_oracles", "register_oracle"],
    "lightning_al.data.pool": ["Pool"],
    "lightning_al.posterior": [
        "Deterministic",
        "Fit",
        "LastLayer",
        "MCDropout",
        "Posterior",
        "PosteriorSamples",
        "available_posteriors",
        "register_posterior",
    ],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BALD",
    "Acquisition",
    "ActiveDataModule",
    "ActiveLearning",
    "BatchBALD",
    "Candidates",
    "Deterministic",
    "Entropy",
    "Fit",
    "History",
    "LastLayer",
    "LeastConfidence",
    "MCDropout",
    "Margin",
    "Oracle",
    "Points",
    "Pool",
    "Posterior",
    "PosteriorSamples",
    "Query",
    "Random",
    "Revealed",
    "Round",
    "ScoreAcquisition",
    "Selection",
    "VariationRatio",
    "__version__",
    "available",
    "available_oracles",
    "available_posteriors",
    "bald",
    "batchbald",
    "register",
    "register_oracle",
    "register_posterior",
]

if TYPE_CHECKING:
    from lightning_al.acquisition import (
        BALD,
        Acquisition,
        BatchBALD,
        Entropy,
        LeastConfidence,
        Margin,
        Random,
        ScoreAcquisition,
        Selection,
        VariationRatio,
        available,
        register,
    )
    from lightning_al.acquisition.bald import bald
    from lightning_al.acquisition.batchbald import batchbald
    from lightning_al.callback import ActiveLearning
    from lightning_al.data.datamodule import ActiveDataModule
    from lightning_al.data.pool import Pool
    from lightning_al.oracle import Oracle, Query, Revealed, available_oracles, register_oracle
    from lightning_al.points import Candidates, Points
    from lightning_al.posterior import (
        Deterministic,
        Fit,
        LastLayer,
        MCDropout,
        Posterior,
        PosteriorSamples,
        available_posteriors,
        register_posterior,
    )
    from lightning_al.run.history import History, Round


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
