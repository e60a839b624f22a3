"""Acquisition functions: which points to query next. One a file, each registered by a name.

The formulas `bald`, `batchbald` and so on are in the modules of these names, which they would hide here.
"""

from lightning_al.acquisition.at_most_per_group import AtMostPerGroup
from lightning_al.acquisition.badge import BADGE
from lightning_al.acquisition.bait import BAIT
from lightning_al.acquisition.bald import BALD
from lightning_al.acquisition.base import Acquisition, ScoreAcquisition, Selection
from lightning_al.acquisition.batch_epig import BatchEPIG
from lightning_al.acquisition.batchbald import BatchBALD
from lightning_al.acquisition.class_balanced import ClassBalanced
from lightning_al.acquisition.cluster_margin import ClusterMargin
from lightning_al.acquisition.core_set import CoreSet
from lightning_al.acquisition.dropquery import DropQuery
from lightning_al.acquisition.entropy import Entropy
from lightning_al.acquisition.epig import EPIG
from lightning_al.acquisition.least_confidence import LeastConfidence
from lightning_al.acquisition.margin import Margin
from lightning_al.acquisition.max_herding import MaxHerding
from lightning_al.acquisition.prob_cover import ProbCover
from lightning_al.acquisition.random import Random
from lightning_al.acquisition.registry import available, create, register
from lightning_al.acquisition.stochastic import Stochastic
from lightning_al.acquisition.subsample import Subsample
from lightning_al.acquisition.typiclust import TypiClust
from lightning_al.acquisition.uherding import UHerding
from lightning_al.acquisition.variation_ratio import VariationRatio

__all__ = [
    "BADGE",
    "BAIT",
    "BALD",
    "EPIG",
    "Acquisition",
    "AtMostPerGroup",
    "BatchBALD",
    "BatchEPIG",
    "ClassBalanced",
    "ClusterMargin",
    "CoreSet",
    "DropQuery",
    "Entropy",
    "LeastConfidence",
    "Margin",
    "MaxHerding",
    "ProbCover",
    "Random",
    "ScoreAcquisition",
    "Selection",
    "Stochastic",
    "Subsample",
    "TypiClust",
    "UHerding",
    "VariationRatio",
    "available",
    "create",
    "register",
]
