"""A query on the digits by the file of each acquisition function."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf, open_dict

from lightning_al import available
from lightning_al.cli.configuration import resolve_allowed
from lightning_al.cli.run import make_objects
from tests.cli.test_cli import TINY
from tests.cli.test_conf import CONF
from tests.support.stored import composed

pytestmark = pytest.mark.usefixtures("as_before")


FEWER = {
    # tests/acquisition/test_bait.py has the matrices of all classes.
    "bait": {"num_classes": 3},
    "batch_epig": {"num_target_inputs": 5, "num_configurations": 10},
}
"""What makes a costly method fast."""


LIKE_ANOTHER = {"least_confidence", "margin", "variation_ratio", "power_margin", "softmax_bald", "softrank_bald"}
"""Those that read what `entropy` or `power_bald` reads, by the same lines; tests/cli/test_conf.py makes each."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LIKE_ANOTHER else name
        for name in (*available(), "class_balanced", "subsample")
    ],
)
def test_a_query_on_the_digits(name: str, tmp_path: Path) -> None:
    """The objects of a command and its two rounds, without its report; tests/cli/test_conf.py composes each file."""
    config = composed(
        tmp_path, *TINY, "active.budget=15", "active.test=null", "metric=null", "trainer.max_steps=1", "seed=3"
    )
    with open_dict(config):
        config.acquisition = OmegaConf.merge(OmegaConf.load(CONF / "acquisition" / f"{name}.yaml"), FEWER.get(name, {}))
    made = make_objects(resolve_allowed(config, (), tmp_path), tmp_path, force=False)
    made.trainer.fit(made.model, datamodule=made.data)
    assert [len(set(round.indices)) for round in made.active.history] == [5, 0]
