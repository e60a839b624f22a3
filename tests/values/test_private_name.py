"""A name that is gone is an error, whether it is read or written."""

from __future__ import annotations

import pytest

from lightning_al.values.private_name import PrivateName


class Loop:
    def __init__(self) -> None:
        self._step = 3

    def _advance(self) -> int:
        return self._step


class Trainer:
    def __init__(self) -> None:
        self.loop = Loop()


STEP = PrivateName("Lightning 2.4", "Trainer", "loop._step", "count")
ADVANCE = PrivateName("Lightning 2.4", "Trainer", "loop._advance", "count")


def test_a_path_is_read_and_written() -> None:
    trainer = Trainer()
    STEP.set(trainer, 5)
    assert STEP.of(trainer) == trainer.loop._step == 5


def test_a_value_is_replaced_for_a_while() -> None:
    trainer = Trainer()
    with STEP.replaced(trainer, 7), ADVANCE.replaced(trainer, lambda: 8):
        assert (STEP.of(trainer), ADVANCE.of(trainer)(), ADVANCE.original(trainer)()) == (7, 8, 7)
    assert (STEP.of(trainer), ADVANCE.of(trainer)()) == (3, 3)
    assert "_advance" not in vars(trainer.loop)


@pytest.mark.parametrize("missing", ["_step", "loop"])
def test_a_name_that_is_gone_is_an_error(missing: str) -> None:
    trainer = Trainer()
    delattr(trainer if missing == "loop" else trainer.loop, missing)
    message = r"needs `Trainer\.loop\._step` to count\. Lightning 2\.4 has it, but the installed release does not"
    with pytest.raises(RuntimeError, match=message):
        STEP.of(trainer)
    with pytest.raises(RuntimeError, match=message):
        STEP.set(trainer, 5)
    with pytest.raises(RuntimeError, match=message), STEP.replaced(trainer, 5):
        pass
    with pytest.raises(RuntimeError, match="Install one of those releases"):
        STEP.original(trainer)
