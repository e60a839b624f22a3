"""The test of the posterior mean and of the network itself, against definitions written out point by point."""

from __future__ import annotations

import csv
import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, MCDropout
from lightning_al.data.target import Target
from lightning_al.evaluation import PosteriorHealth, PosteriorTest, Scores
from lightning_al.host.namespace import pl
from lightning_al.posterior import LastLayer, Posterior
from lightning_al.prediction.fitted import Fitted
from lightning_al.task import Multiclass
from tests.support.combinations import one_in
from tests.support.samples import log_probs_of
from tests.support.tasks import CLASSES as TASK_CLASSES
from tests.support.tasks import Items, LitMLP, points, trainer

N, FEATURES, CLASSES = 50, 6, 4


def logits(module: nn.Module, batch: Any) -> Tensor:
    return module(batch[0])


def network(scale: float = 2.0) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(FEATURES, 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, CLASSES)).double()
    with torch.no_grad():
        net[3].weight.mul_(scale)
    return net


def batches(size: int) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, FEATURES, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (N,), generator=generator)
    return list(zip(x.split(size), y.split(size), strict=True))


def posterior_test(
    posterior: Posterior, net: nn.Module, forward: Any = logits, target: Target | None = None, seed: int = 5
) -> PosteriorTest:
    data: Any = ActiveDataModule([(0, 0), (0, 1)], initial_size=1)
    data.setup("fit")
    fitted = Fitted(
        pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu"),
        net,  # type: ignore[arg-type]
        data,
        posterior=posterior,
        last_layer=LastLayer(),
        forward=forward,
        task=Multiclass(),
        seed=seed,
        fits=[],
    )
    return PosteriorTest(fitted, target or Target())


def measure(posterior: Posterior, net: nn.Module, some: list[Any]) -> PosteriorHealth:
    test = posterior_test(posterior, net)
    for batch in some:
        test.update(batch)
    health = test.compute()
    assert health is not None
    return health


def slow_losses(log_probs_N_K_C: Tensor, labels: list[int]) -> list[float]:
    """Average the label's probability over samples, by hand."""
    return [
        -math.log(sum(math.exp(sample[label]) for sample in samples) / len(samples))
        for samples, label in zip(log_probs_N_K_C.tolist(), labels, strict=True)
    ]


def slow_measure(log_probs_N_K_C: Tensor, labels: list[int], bins: int = 15) -> tuple[float, float, float]:
    """Average probabilities over samples, then accuracy, NLL and the gaps of `bins` bins of confidence, by hand."""
    right, losses = 0, slow_losses(log_probs_N_K_C, labels)
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for samples, label in zip(log_probs_N_K_C.tolist(), labels, strict=True):
        probs = [sum(math.exp(sample[c]) for sample in samples) / len(samples) for c in range(len(samples[0]))]
        confidence = max(probs)
        is_right = probs.index(confidence) == label
        right += is_right
        members[min(int(confidence * bins), bins - 1)].append((confidence, is_right))
    gaps = [abs(sum(right for _, right in some) - sum(confidence for confidence, _ in some)) for some in members]
    return right / len(labels), sum(losses) / len(labels), sum(gaps) / len(labels)


@pytest.mark.parametrize("posterior", [MCDropout(10), Deterministic()])
@pytest.mark.parametrize("size", [50, 16, 1])
def test_the_figures_equal_their_definitions_for_any_batches(posterior: Posterior, size: int) -> None:
    net, [(x, y)] = network(), batches(N)
    [with_noise] = log_probs_of(posterior, net, [(x, y)], forward=logits, seed=5)
    with torch.no_grad():
        without = net.eval()(x).softmax(1).log().unsqueeze(1)
    measured = measure(posterior, net.train(), batches(size))
    assert astuple(measured.posterior) == pytest.approx(slow_measure(with_noise, y.tolist()), abs=1e-5)
    assert astuple(measured.deterministic) == pytest.approx(slow_measure(without, y.tolist()), abs=1e-5)

    pairs = zip(slow_losses(with_noise, y.tolist()), slow_losses(without, y.tolist()), strict=True)
    differences = [noisy - plain for noisy, plain in pairs]
    mean = sum(differences) / N
    squares = sum((difference - mean) ** 2 for difference in differences)
    assert measured.excess == pytest.approx(mean, abs=1e-5)
    assert measured.standard_error == pytest.approx(math.sqrt(squares / (N - 1) / N), abs=1e-5)


def test_it_averages_probabilities_and_not_logits() -> None:
    net, [batch] = network(scale=8.0), batches(N)
    [log_probs] = log_probs_of(MCDropout(10), net, [batch], forward=logits, seed=5)
    of_logits = slow_measure(log_probs.mean(1, keepdim=True).log_softmax(-1), batch[1].tolist())
    assert abs(measure(MCDropout(10), net, [batch]).posterior.nll - of_logits[1]) > 0.01


@pytest.mark.parametrize(("num_samples", "dtype"), one_in(2, [1, 3, 7, 20, 50, 100], [torch.float32, torch.float64]))
def test_certain_predictions_are_certain(num_samples: int, dtype: torch.dtype) -> None:
    """A probability that rounding takes past 1 must not be taken for a logit."""

    class Certain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(torch.ones_like(x), 0.5) * 0 + x

    x = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0], [0.3, 0.2, 200.0], [3.0, 2.0, 2.5]], dtype=dtype)
    y = torch.tensor([0, 1, 2, 0])
    posterior = MCDropout(num_samples)
    [log_probs] = log_probs_of(posterior, Certain(), [(x, y)], forward=logits, seed=5)
    measured = measure(posterior, Certain(), [(x, y)])
    assert astuple(measured.posterior) == pytest.approx(slow_measure(log_probs, y.tolist()), abs=1e-5)
    assert astuple(measured.deterministic) == pytest.approx(astuple(measured.posterior), abs=1e-5)
    assert not measured.is_worse


def test_labels_are_found_in_any_batch() -> None:
    net, [(x, y)] = network(), batches(N)
    expected = measure(MCDropout(4), net, [(x, y)])
    as_items = default_collate([{"x": one, "klass": int(label)} for one, label in zip(x, y, strict=True)])
    test = posterior_test(MCDropout(4), net, lambda module, batch: module(batch["x"]), Target("klass"))
    test.update(as_items)
    assert test.compute() == expected
    reordered = posterior_test(MCDropout(4), net, lambda module, batch: module(batch[1]), Target(0))
    reordered.update((y, x))
    assert reordered.compute() == expected


def test_nothing_tested_gives_no_figures() -> None:
    assert posterior_test(MCDropout(4), network()).compute() is None


def test_one_point_proves_nothing() -> None:
    health = measure(MCDropout(4), network(), batches(1)[:1])
    assert math.isnan(health.standard_error)
    assert health.warning is None


def test_the_module_s_mode_is_left_alone() -> None:
    net = network()
    measure(MCDropout(4), net, batches(16))
    assert net.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("posterior", "standard_error", "is_worse"),
    [
        (Scores(0.8, 0.7, 0.1), 0.1, True),
        (Scores(0.9, 0.7, 0.1), 0.1, True),
        (Scores(0.91, 0.7, 0.1), 0.1, False),
        (Scores(0.8, 0.7, 0.1), 0.3, False),
        (Scores(0.8, 0.309, 0.1), 1e-6, False),
        (Scores(0.8, 0.2, 0.1), 0.01, False),
        (Scores(0.8, 0.7, 0.1), float("nan"), False),
    ],
    ids=["worse", "as accurate", "more accurate", "within the noise", "a trifle", "better", "one point"],
)
def test_when_sampling_counts_as_worse(posterior: Scores, standard_error: float, is_worse: bool) -> None:
    health = PosteriorHealth(Scores(0.9, 0.3, 0.02), posterior, standard_error)
    assert health.is_worse == is_worse
    assert (health.warning is not None) == is_worse


def test_the_warning_says_by_how_much_and_what_to_do() -> None:
    warning = PosteriorHealth(Scores(0.9, 0.3, 0.02), Scores(0.8, 0.7, 0.2), 0.0512).warning
    assert warning is not None
    assert "is 0.7 nats, 0.4 (standard error 0.05) above the network's 0.3" in warning
    assert "accuracy 0.800 against 0.900" in warning
    assert "Lower the dropout p" in warning
    assert "`posterior=Deterministic()`" in warning


class InPlace(nn.Module):
    """Changes its input in place, and notes in which mode it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()
        self.modes: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.modes.add(torch.is_inference_mode_enabled())
        return self.net(x.mul_(2))


def test_inference_mode_is_left_for_the_samples_since_it_slows_them_down() -> None:
    net = InPlace().eval()
    outside = measure(MCDropout(5), net, batches(20))
    with torch.inference_mode():
        inside = measure(MCDropout(5), net, batches(20))
    assert net.modes == {False}
    assert inside == outside


class DropoutAfterwards(LitMLP):
    """A network fitted without dropout, to which dropout is added when it is done: p = 0.9 unless told otherwise."""

    late_p = 0.9

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.net[2].p = 0.0
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.net[2].p = self.late_p


class Healthy(DropoutAfterwards):
    late_p = 0.05


class WithoutTest(DropoutAfterwards):
    test_step = pl.LightningModule.test_step


def run(folder: Path, cls: type[LitMLP], *, rounds: int = 2, epochs: int = 10, **kwargs: Any) -> ActiveLearning:
    arguments: dict[str, Any] = {"val": points(30, seed=1), "test": points(200, seed=5), "batch_size": 16}
    data = ActiveDataModule(points(60), initial_size=40, **{**arguments, **kwargs})
    active = ActiveLearning("bald", query_size=4, max_rounds=rounds, posterior=MCDropout(10), test="posterior")
    torch.manual_seed(0)
    logger = pl.loggers.CSVLogger(folder)
    trainer(folder, callbacks=[active], max_epochs=epochs, logger=logger).fit(cls(), datamodule=data)
    return active


def worse_warnings(caught: Any) -> list[str]:
    return [str(one.message) for one in caught if "worse than the network without" in str(one.message)]


def test_sampling_that_harms_is_warned_of_once_a_run(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="worse than the network without") as caught:
        active = run(tmp_path, DropoutAfterwards)
    (warning,) = worse_warnings(caught)
    assert warning.startswith("`ActiveLearning`, round 0: ")
    for round in active.history:
        assert round.metrics["posterior_nll"] > round.metrics["deterministic_nll"] + 0.1
        assert round.metrics["deterministic_accuracy"] == pytest.approx(round.metrics["test_acc"], abs=1e-6)
    with open(next(tmp_path.rglob("metrics.csv"))) as file:
        rows = [row for row in csv.DictReader(file) if row["al/round"]]
    for name in ("accuracy", "nll", "ece"):
        for row in ("deterministic", "posterior"):
            logged = [float(one[f"al/{row}_{name}"]) for one in rows]
            assert logged == pytest.approx([round.metrics[f"{row}_{name}"] for round in active.history])


def test_sampling_that_does_no_harm_is_not_warned_of(tmp_path: Path) -> None:
    """Warnings are errors in the tests."""
    active = run(tmp_path, Healthy)
    assert {"deterministic_nll", "posterior_nll"} <= set(active.history[-1].metrics)


@pytest.mark.parametrize(("cls", "test"), [(DropoutAfterwards, None), (WithoutTest, points(100, seed=2))])
def test_the_validation_set_stands_in_where_there_is_no_test(tmp_path: Path, cls: type[LitMLP], test: Any) -> None:
    with pytest.warns(UserWarning, match="worse than the network without") as caught:
        active = run(tmp_path, cls, test=test, val=points(90, seed=1))
    assert len(worse_warnings(caught)) == 1
    for round in active.history:
        assert "posterior_nll" not in round.metrics
        assert round.metrics["val_deterministic_accuracy"] == pytest.approx(round.metrics["val_acc"], abs=1e-6)
        assert round.metrics["val_posterior_nll"] > round.metrics["val_deterministic_nll"] + 0.1
        assert round.validation_labels == 90


def test_the_stand_in_changes_nothing_else(tmp_path: Path) -> None:
    """Fits and picks are those of a run that does not measure it, with a limit on the validation batches too."""

    class Limited(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(points(60), batch_size=8)

        def val_dataloader(self) -> Any:
            order = torch.randperm(40, generator=torch.Generator().manual_seed(3)).tolist()
            return DataLoader(points(40, seed=1), batch_size=8, sampler=order)

    def rounds(test_with: Any) -> list[Any]:
        torch.manual_seed(0)
        data = ActiveDataModule(Limited(), initial_size=8)
        active = ActiveLearning("bald", query_size=4, max_rounds=2, posterior=MCDropout(10), test=test_with)
        trainer(tmp_path, callbacks=[active], max_epochs=10, limit_val_batches=2).fit(LitMLP(p=0.05), datamodule=data)
        return list(active.history)

    for plain, measured in zip(rounds("module"), rounds("posterior"), strict=True):
        assert (plain.indices, plain.scores) == (measured.indices, measured.scores)
        extra = set(measured.metrics) - set(plain.metrics)
        assert len(extra) == 6
        assert {name: measured.metrics[name] for name in plain.metrics} == plain.metrics
        # Two batches of eight points, as the Trainer was told.
        assert (measured.metrics["val_posterior_accuracy"] * 16) % 1 == pytest.approx(0.0, abs=1e-5)


def test_without_test_and_validation_there_are_no_figures(tmp_path: Path) -> None:
    active = run(tmp_path, DropoutAfterwards, epochs=1, test=None, val=None)
    assert not any("nll" in name for round in active.history for name in round.metrics)


def test_the_labels_of_the_test_change_no_fit_and_no_pick(tmp_path: Path) -> None:
    def asked(shift: int) -> list[Any]:
        x, y = points(100, seed=2).tensors
        test = torch.utils.data.TensorDataset(x, (y + shift) % TASK_CLASSES)
        active = run(tmp_path / str(shift), Healthy, epochs=3, test=test)
        return [(round.indices, round.scores, round.metrics["val_loss"]) for round in active.history]

    assert asked(0) == asked(1)


# Labels of a test, in all forms that they come in.


def labelled_by(form: Any) -> Any:
    """Return a dataset of a test whose labels are of a form."""
    return Items(40, form, seed=2)


class AnyLabels(Healthy):
    """Tests on labels of any form."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_norm", self(batch[0]).norm(), batch_size=len(batch[0]))


@pytest.fixture(scope="module")
def by_numbers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """What a test on class numbers gives."""
    active = run(tmp_path_factory.mktemp("plain"), AnyLabels, rounds=1, epochs=1, test=labelled_by(lambda x, y: (x, y)))
    return [round.metrics for round in active.history]


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, torch.tensor([y])),
        pytest.param(lambda x, y: (x, float(y)), marks=pytest.mark.slow),  # as floats of shape [B, 1]
        lambda x, y: (x, torch.tensor([float(y)])),
        pytest.param(  # as one-hot floats
            lambda x, y: (x, torch.nn.functional.one_hot(torch.tensor(y), TASK_CLASSES)), marks=pytest.mark.slow
        ),
        lambda x, y: (x, torch.nn.functional.one_hot(torch.tensor(y), TASK_CLASSES).float()),
    ],
    ids=["[B, 1]", "floats", "floats [B, 1]", "one-hot", "one-hot floats"],
)
def test_class_numbers_are_read_from_labels_of_any_form(tmp_path: Path, by_numbers: Any, form: Any) -> None:
    active = run(tmp_path, AnyLabels, rounds=1, epochs=1, test=labelled_by(form))
    assert [round.metrics for round in active.history] == by_numbers


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            lambda x, y: (x, y + 1),
            "class numbers from 0 to 3, but the labels go from 1 to 4. Use class numbers",
        ),
        (lambda x, y: (x, -100), "class numbers from 0 to 3, but the labels go from -100 to -100"),
        (lambda x, y: (x, y + 0.5), r"class numbers, but the labels are numbers such as \d.5, as in a regression"),
        (
            lambda x, y: (x, x[:2]),
            r"one for each of the \d+ points predicted, but the labels have the shape \[\d+, 2\]",
        ),
        (lambda x, y: (x, "cat"), "but the labels of a batch are (list|tuple)"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(tmp_path: Path, form: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"`test='posterior'` compares predictions with .*{message}"):
        run(tmp_path, AnyLabels, epochs=1, test=labelled_by(form))


def test_more_rows_than_labels_are_refused() -> None:
    test = posterior_test(Deterministic(), network(), lambda net, batch: net(batch[0]).repeat(2, 1))
    with pytest.raises(
        ValueError, match=r"one for each of the 100 points predicted, but the labels have the shape \[50\]"
    ):
        test.update(batches(N)[0])
