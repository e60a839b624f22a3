"""A larger budget is stored once the run has accepted it."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from lightning_al.cli.growth import as_far_as
from lightning_al.run.identity import GROWS


@pytest.mark.parametrize("name", GROWS)
def test_whatever_grows_is_kept_until_then_and_other_settings_are_not(name: str) -> None:
    stored = OmegaConf.create({"active": {"budget": 10, "max_rounds": 2, "budget_seconds": 5.0}, "oracle": "files"})
    now = OmegaConf.merge(stored, {"active": {name: None}, "oracle": "ask"})
    assert as_far_as(now, stored) == OmegaConf.merge(stored, {"oracle": "ask"})
    assert now.active[name] is None
