"""A deep ensemble that a third party writes, with public names alone: several fits a round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, Fit, Posterior, PosteriorSamples
from lightning_al.run.seeds import derive
from lightning_al.testing import check_posterior
from tests.support.tasks import LitMLP, points, trainer

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 3
KEEPING = {"enable_checkpointing": True}


class Ensemble(Posterior):
    """Every fit of a round is a posterior sample (Lakshminarayanan et al., NeurIPS 2017)."""

    def __init__(self, num_fits: int = 3) -> None:
        self.num_fits = self.num_samples = num_fits
        self.drawn: list[list[Fit]] = []

    def __repr__(self) -> str:
        return f"Ensemble({self.num_fits})"

    def draw(
        self, fits: Sequence[Fit], module: nn.Module, labelled: Iterable[Any], *, forward: Any, seed: int
    ) -> PosteriorSamples:
        self.drawn.append(list(fits))
        return Networks(module, list(fits), forward)


class Networks(PosteriorSamples):
    def __init__(self, module: nn.Module, fits: list[Fit], forward: Any) -> None:
        self.module, self.fits, self.forward, self.num_samples = module, fits, forward, len(fits)

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        for fit in self.fits:
            with weights_of(self.module, fit):
                output = self.forward(self.module, batch)
            yield output


@contextmanager
def weights_of(module: nn.Module, fit: Fit) -> Iterator[None]:
    """Let a module compute with the weights of a fit."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    before = {name: tensor.data for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        tensor.data = fit.weights[name].to(tensor.device)
    try:
        yield
    finally:
        for name, tensor in tensors.items():
            tensor.data = before[name]


class Noting(pl.Callback):
    """Note what each fit starts from and ends with."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Tensor]] = []
        self.ends: list[dict[str, Tensor]] = []
        self.steps: list[int] = []
        self.epochs: list[int] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.starts.append(copied(pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ends.append(copied(pl_module))
        self.steps.append(trainer.global_step)
        self.epochs.append(trainer.current_epoch)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: Any, other: Any) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def active_data(**options: Any) -> ActiveDataModule:
    given = {"initial_size": 8, "val": points(16, seed=1), "test": points(24, seed=2), "batch_size": 8, **options}
    return ActiveDataModule(points(40), **given)


def run(
    tmp_path: Path,
    *callbacks: pl.Callback,
    acquisition: str = "bald",
    posterior: Any = None,
    module: Any = None,
    fit: dict[str, Any] | None = None,
    seed_of_weights: int = 7,
    **arguments: Any,
) -> tuple[ActiveLearning, pl.LightningModule]:
    """Run three rounds of an epoch."""
    given = {"query_size": 4, "max_rounds": ROUNDS, "seed": 5, **arguments}
    active = ActiveLearning(acquisition, posterior=Ensemble() if posterior is None else posterior, **given)
    torch.manual_seed(seed_of_weights)
    module = LitMLP() if module is None else module
    trainer(tmp_path, callbacks=[active, *callbacks], **{"max_epochs": 1, **(fit or {})}).fit(
        module, datamodule=active_data()
    )
    return active, module


def plain(active: ActiveLearning) -> list[dict[str, Any]]:
    return [{**round.to_dict(), "seconds": None, "peak_bytes": None} for round in active.history]


def test_three_rounds_of_three_fits_are_nine_fits(tmp_path: Path) -> None:
    posterior, noting = Ensemble(), Noting()
    active, module = run(tmp_path, noting, posterior=posterior)
    assert len(noting.starts) == 9
    assert [len(round.indices) for round in active.history] == [4, 4, 0]
    assert [len(fits) for fits in posterior.drawn] == [3, 3]  # the last round asks nothing
    for number, fits in enumerate(posterior.drawn):
        ends = noting.ends[3 * number : 3 * number + 3]
        assert all(same(fit.weights, end) for fit, end in zip(fits, ends, strict=True))
        assert not same(ends[0], ends[1])
        first, *others = (fit.seed for fit in fits)
        assert first == derive(5, number, "fit")
        assert others == [derive(5, number, "fit", member) for member in (1, 2)]
    assert same(copied(module), noting.ends[-1])


def test_a_round_has_the_mean_of_its_fits_metrics(tmp_path: Path) -> None:
    active, _ = run(tmp_path)
    for round in active.history:
        assert len(round.members) == 3
        assert {"val_loss", "val_acc", "test_acc"} <= set(round.metrics)
        for name, mean in round.metrics.items():
            assert mean == pytest.approx(math.fsum(member[name] for member in round.members) / 3)
        assert round.steps == 3 * math.ceil(round.labelled / 8)
        assert {"fit", "test"} <= set(round.seconds)
    alone, _ = run(tmp_path, posterior=Ensemble(1), acquisition="entropy", max_rounds=1)
    assert alone.history[0].members == []
    assert alone.history[0].metrics == active.history[0].members[0]


def test_a_metric_that_one_fit_lacks_is_the_mean_of_the_others(tmp_path: Path) -> None:
    class Sometimes(LitMLP):
        fits = 0

        def on_fit_start(self) -> None:
            Sometimes.fits += 1

        def on_train_epoch_end(self) -> None:
            if Sometimes.fits != 2:
                self.log("fit", float(Sometimes.fits))

    active, _ = run(tmp_path, module=Sometimes(), max_rounds=1)
    (only,) = active.history
    assert [member.get("fit") for member in only.members] == [1.0, None, 3.0]
    assert only.metrics["fit"] == 2.0


@pytest.mark.parametrize("reset", ["initial", "fresh", "warm", LitMLP], ids=str)
def test_each_fit_starts_from_weights_of_its_own(tmp_path: Path, reset: Any) -> None:
    noting, alone = Noting(), Noting()
    run(tmp_path, noting, reset=reset, acquisition="random", max_rounds=2)
    starts, ends = noting.starts, noting.ends
    run(tmp_path, alone, reset=reset, acquisition="random", max_rounds=1)
    assert same(alone.starts[1], starts[1])
    for first, second in [(0, 1), (1, 2), (0, 2), (4, 5)]:
        assert not same(starts[first], starts[second])
    if reset == "initial":
        assert same(starts[0], starts[3])
    if reset == "warm":
        assert all(same(starts[fit + 3], ends[fit]) for fit in range(3))
    elif reset == "fresh" or callable(reset):
        assert len({float(start["net.0.weight"][0, 0]) for start in starts}) == 6


def test_the_first_fit_of_each_round_is_that_of_a_round_with_one(tmp_path: Path) -> None:
    class First(Ensemble):
        """Takes several fits, but uses the first alone."""

        def draw(self, fits: Sequence[Fit], *arguments: Any, **named: Any) -> PosteriorSamples:
            return super().draw([*fits[:1], *fits[:1]], *arguments, **named)

    several, alone = First(2), First(1)
    several.num_samples = alone.num_samples = 2
    notes = Noting(), Noting()
    runs = [run(tmp_path, note, posterior=one)[0] for note, one in zip(notes, (several, alone), strict=True)]
    assert [round.indices for round in runs[0].history] == [round.indices for round in runs[1].history]
    assert all(same(*pair) for pair in zip(notes[0].ends[::2], notes[1].ends, strict=True))


@pytest.mark.long
def test_callbacks_go_back_for_each_fit_and_the_best_weights_of_each_are_chosen(tmp_path: Path) -> None:
    stops: list[tuple[int, float]] = []

    class Stopping(pl.callbacks.EarlyStopping):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            super().on_train_start(trainer, pl_module)
            stops.append((self.wait_count, float(self.best_score)))

    class Chosen(pl.Callback):
        """Comes last, after the weights were chosen."""

        def __init__(self) -> None:
            self.best: list[dict[str, Tensor]] = []

        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            (checkpoint,) = (one for one in trainer.callbacks if isinstance(one, pl.callbacks.ModelCheckpoint))
            self.best.append(torch.load(checkpoint.best_model_path, weights_only=False)["state_dict"])

    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_top_k=1)
    posterior, chosen, noting = Ensemble(), Chosen(), Noting()
    module = LitMLP(lr=0.3)
    run(
        tmp_path,
        Stopping("val_loss", patience=1),
        chosen,
        noting,
        checkpoint,
        posterior=posterior,
        module=module,
        fit={"max_epochs": 6, **KEEPING},
        max_rounds=2,
    )
    assert stops == [(0, math.inf)] * 6
    assert len(set(noting.epochs)) > 1
    drawn = [fit.weights for fits in posterior.drawn for fit in fits]
    assert all(same(*pair) for pair in zip(drawn, chosen.best, strict=False))
    assert any(not same(*pair) for pair in zip(drawn, noting.ends, strict=False))
    assert same(copied(module), chosen.best[-1])


def test_steps_count_per_fit_and_a_limit_of_rounds_counts_rounds(tmp_path: Path) -> None:
    noting = Noting()
    active, module = run(tmp_path, noting, fit={"max_steps": 5, "max_epochs": -1}, rounds_per_fit=1)
    assert noting.steps == [5, 5, 5]
    assert [round.steps for round in active.history] == [15]
    assert same(copied(module), noting.ends[-1])


def test_each_fit_has_a_folder_for_its_checkpoints(tmp_path: Path) -> None:
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / "kept", save_last=True)
    found: list[set[str]] = []

    class Looking(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            found.append({str(path.parent.relative_to(tmp_path / "kept")) for path in tmp_path.rglob("*.ckpt")})

    run(tmp_path, checkpoint, Looking(), fit=KEEPING)
    members = [[f"round-{number}/member-{member}" for member in range(3)] for number in range(3)]
    assert found[1] == set(members[0][:1])
    assert found[3] == set(members[0])
    assert found[4] == {*members[0], *members[1][:1]}
    assert found[6] == set(members[1])
    assert {str(path.parent.relative_to(tmp_path / "kept")) for path in tmp_path.rglob("*.ckpt")} == set(members[2])


def test_checkpoints_of_a_round_with_one_fit_lie_where_they_did(tmp_path: Path) -> None:
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / "kept")
    run(tmp_path, checkpoint, posterior=Ensemble(1), acquisition="entropy", fit=KEEPING)
    assert {path.parent.name for path in tmp_path.rglob("*.ckpt")} == {"round-2"}


def test_the_posterior_of_all_fits_is_tested_once_a_round(tmp_path: Path) -> None:
    posterior = Ensemble()
    active, _ = run(tmp_path, posterior=posterior, test="posterior")
    assert len(posterior.drawn) == 3
    for round in active.history:
        assert ["posterior_nll" in member for member in round.members] == [False, False, True]
        assert ["test_acc" in member for member in round.members] == [True, True, True]
        assert round.metrics["posterior_nll"] == round.members[-1]["posterior_nll"]


def test_the_dry_pass_draws_from_as_many_fits(tmp_path: Path) -> None:
    posterior, noting = Ensemble(), Noting()
    run(tmp_path, noting, posterior=posterior, fit={"num_sanity_val_steps": 1}, max_rounds=2)
    tried, drawn = posterior.drawn  # the last round asks nothing
    assert [fit.seed for fit in tried] == [fit.seed for fit in drawn]
    assert all(same(fit.weights, noting.starts[0]) for fit in tried)


def test_what_cannot_work_fails_before_the_first_step(tmp_path: Path) -> None:
    class Broken(Ensemble):
        def draw(self, fits: Sequence[Fit], *_: Any, **__: Any) -> PosteriorSamples:
            raise RuntimeError(f"broken for {len(fits)}")

    noting = Noting()
    with pytest.raises(RuntimeError, match="broken for 3"):
        run(tmp_path, noting, posterior=Broken(), fit={"num_sanity_val_steps": 1})
    assert noting.ends == []


def test_weights_that_cannot_be_drawn_anew_are_named_before_the_first_step(tmp_path: Path) -> None:
    class Scaled(LitMLP):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.scale

    noting = Noting()
    words = r"`Ensemble` takes 3 fits a round, .* 'scale' of `Scaled` cannot draw new weights, since .*Pass a function"
    with pytest.raises(ValueError, match=words):
        run(tmp_path, noting, module=Scaled())
    assert noting.starts == []
    active, _ = run(tmp_path, noting, module=Scaled(), reset=Scaled)
    assert len(active.history) == 3


@pytest.mark.parametrize("num_fits", [0, 1.5])
def test_a_number_of_fits_that_is_none_is_refused(num_fits: Any) -> None:
    posterior = Ensemble()
    posterior.num_fits = num_fits
    with pytest.raises(ValueError, match=r"`Ensemble`.*num_fits"):
        ActiveLearning("bald", query_size=2, posterior=posterior)


class WrongEnsemble(Ensemble):
    """Wrong in one way by each of its flaws."""

    def __init__(self, flaw: str) -> None:
        super().__init__()
        self.flaw = flaw

    def draw(self, fits: Sequence[Fit], module: nn.Module, *arguments: Any, **named: Any) -> PosteriorSamples:
        first, second, last = fits
        if self.flaw == "ignores the first":
            fits = [last, second, last]
        if self.flaw == "uses the module alone":
            fits = [last, last, last]
        if self.flaw == "forgets one":
            fits = [first, second]
        if self.flaw == "averages in place":
            for name, value in last.weights.items():
                value.add_(first.weights[name]).add_(second.weights[name]).div_(3)
        samples = super().draw(fits, module, *arguments, **named)
        if self.flaw == "forgets one":
            samples.num_samples = 3
        return samples


def test_an_ensemble_of_a_third_party_passes_the_check() -> None:
    check_posterior(Ensemble())
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
    check_posterior(Ensemble(2), module=net)


@pytest.mark.parametrize(
    ("flaw", "fault"),
    [
        ("ignores the first", "ignores fit 0 of 3: other weights in it give the same samples"),
        ("uses the module alone", "ignores fit 0 of 3"),
        ("forgets one", "promises 3 samples, but its `outputs` yields 2"),
        ("averages in place", "changes the weights of a fit in place"),
    ],
)
def test_a_wrong_ensemble_is_named(flaw: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_posterior(WrongEnsemble(flaw))


def test_time_that_is_up_ends_the_run_in_its_fit(tmp_path: Path) -> None:
    class UpIn(pl.Callback):
        """Use the time up in a fit."""

        def __init__(self, fit: int) -> None:
            self.left = fit

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.left -= 1
            if self.left < 0:
                (timer,) = (one for one in trainer.callbacks if isinstance(one, pl.callbacks.Timer))
                timer._duration = 0.0

    whole, _ = run(tmp_path, max_rounds=2)
    active = ActiveLearning("bald", posterior=Ensemble(), query_size=4, max_rounds=2, seed=5)
    torch.manual_seed(7)
    module, data, noting = LitMLP(), active_data(), Noting()
    trainer(tmp_path, callbacks=[active, UpIn(4)], max_epochs=1, max_time={"hours": 1}).fit(module, datamodule=data)
    assert len(active.history) == 1
    trainer(tmp_path, callbacks=[active, noting], max_epochs=1).fit(module, datamodule=data)
    assert len(noting.starts) == 2  # the second and the third fit of the second round
    assert plain(active) == plain(whole)
