"""Strategies are told apart by their names alone, as a Trainer would make them."""

from __future__ import annotations

import pytest

from lightning_al.host.namespace import pl
from lightning_al.host.strategies import check_strategy_name

NAMES = sorted(pl.strategies.StrategyRegistry)
CAN_REFIT = {"ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true", "single_device"}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_lightnings_is_taken_or_refused(name: str) -> None:
    if name in CAN_REFIT:
        assert check_strategy_name(name) is None
        return
    with pytest.raises(ValueError, match=r"`ActiveLearning` (cannot fit|works on).*strategy=\"ddp\""):
        check_strategy_name(name)


def test_there_are_names_of_each_kind() -> None:
    assert set(NAMES) > CAN_REFIT
    assert {"ddp_spawn", "ddp_notebook", "ddp_fork", "fsdp", "deepspeed"} <= set(NAMES)


@pytest.mark.parametrize("other", ["auto", "a name of nothing", None, {"_target_": "any.Class"}])
def test_what_is_no_name_of_lightnings_is_left_to_it(other: object) -> None:
    assert check_strategy_name(other) is None
