"""Modules that leave frozen parts out of their checkpoints, as Lightning's documentation teaches, or rename weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from lightning_al.host.namespace import pl
from lightning_al.run.seeds import seeded
from tests.programs.test_layers_in_setup import LitBase, mlp
from tests.support.plain import plain_round, run, same_weights, weights_of


class LitDistilled(LitBase):
    """A network beside a frozen teacher, which is the same in all checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()
        self.teacher = mlp().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + 0.1 * self.teacher.eval()(x)  # type: ignore[no-any-return]


class LeavesTheTeacherOut(LitDistilled):
    def __init__(self) -> None:
        super().__init__()
        self.strict_loading = False

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if "teacher" not in name}


class StripsItsCheckpoints(LitDistilled):
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = {name: value for name, value in checkpoint["state_dict"].items() if "teacher" not in name}
        checkpoint["state_dict"] = kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}


class RenamesItsWeights(LitDistilled):
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {f"model.{name}": value for name, value in checkpoint["state_dict"].items()}
        checkpoint["path"] = Path("anywhere")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        named = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {name.removeprefix("model."): value for name, value in named}


PROGRAMS = [LeavesTheTeacherOut, StripsItsCheckpoints, RenamesItsWeights]


def made(program: type[LitDistilled]) -> LitDistilled:
    with seeded(5):
        return program()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_last_weights_are_those_of_the_plain_program(tmp_path: Path, program: type[LitDistilled]) -> None:
    folder = tmp_path / "folder"
    run(lambda: made(program), tmp_path, folder=folder, max_rounds=1)
    module, active, data = run(lambda: made(program), tmp_path, folder=folder, max_rounds=2)
    plain = plain_round(lambda: made(program), active, data, 1, tmp_path)
    assert plain.metrics.items() <= active.history[1].metrics.items()
    assert same_weights(weights_of(module), plain.weights)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_best_weights_are_loaded_as_the_module_loads_them(tmp_path: Path, program: type[LitDistilled]) -> None:
    def callbacks() -> list[pl.Callback]:
        return [pl.callbacks.ModelCheckpoint(monitor="val_loss")]

    module, active, data = run(
        lambda: made(program), tmp_path, callbacks, max_rounds=2, max_epochs=4, enable_checkpointing=True
    )
    (found,) = module.trainer.validate(module, datamodule=data, verbose=False)
    assert found["val_loss"] == pytest.approx(active.history[1].metrics["val_loss"])
    teacher = made(program).teacher.state_dict()
    assert same_weights(teacher, module.teacher.state_dict())
