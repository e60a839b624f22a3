"""Checks for the tests of your own acquisition functions, posteriors and oracles.

Each check raises an `AssertionError` that names the fault, as `sklearn.utils.estimator_checks.check_estimator` does.
"""

from lightning_al.testing.acquisitions import check_acquisition
from lightning_al.testing.oracles import check_oracle
from lightning_al.testing.posteriors import check_posterior

__all__ = ["check_acquisition", "check_oracle", "check_posterior"]
