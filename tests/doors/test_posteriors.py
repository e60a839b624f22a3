"""Posteriors that a third party writes, with public names alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, Fit, MCDropout, Posterior, PosteriorSamples
from lightning_al.run.seeds import derive
from tests.support.tasks import LitMLP, points, trainer

K = 6


class LastLayerLaplace(Posterior):
    """Gaussian samples of the last layer's weights around those fitted, by the labelled points' features."""

    num_samples = K

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, bool]] = []

    def draw(
        self, fits: Sequence[Fit], module: Any, labelled: Iterable[Any], *, forward: Any, seed: int
    ) -> PosteriorSamples:
        head = module.net[-1]
        features = []
        with features_of(head) as noted:
            for batch in labelled:
                with torch.no_grad():
                    forward(module, batch)
                features.append(noted[-1])
        features_N_D = torch.cat(features)
        self.seen.append((len(fits), len(features_N_D), module.training))
        precision = features_N_D.T @ features_N_D + torch.eye(features_N_D.shape[1])
        root = torch.linalg.cholesky(torch.linalg.inv(precision.double())).float()
        noise = torch.randn(K, *head.weight.shape, generator=torch.Generator().manual_seed(seed))
        return LastLayerSamples(module, forward, head.weight.detach() + noise @ root.T)


class LastLayerSamples(PosteriorSamples):
    num_samples = K

    def __init__(self, module: Any, forward: Any, weights_K_C_D: Tensor) -> None:
        self.module, self.forward, self.weights_K_C_D = module, forward, weights_K_C_D

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        head = self.module.net[-1]
        with features_of(head) as noted:
            self.forward(self.module, batch)
        for weights_C_D in self.weights_K_C_D:
            yield nn.functional.linear(noted[-1], weights_C_D, head.bias)


class features_of:  # noqa: N801
    """Note what a layer is given."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __enter__(self) -> list[Tensor]:
        noted: list[Tensor] = []
        self.hook = self.layer.register_forward_pre_hook(lambda _, inputs: noted.append(inputs[0].detach()))
        return noted

    def __exit__(self, *_: Any) -> None:
        self.hook.remove()


def run(tmp_path: Path, posterior: Any, acquisition: str = "bald", **arguments: Any) -> tuple[ActiveLearning, Any]:
    torch.manual_seed(0)
    data = ActiveDataModule(
        points(60), initial_size=8, test=points(40, seed=2), batch_size=8, pool_batch_size=arguments.pop("pool", 16)
    )
    active = ActiveLearning(acquisition, query_size=4, max_rounds=3, posterior=posterior, **arguments)
    fit = trainer(tmp_path, callbacks=[active], max_epochs=1, num_sanity_val_steps=0)
    fit.fit(LitMLP(), datamodule=data)
    return active, data


@pytest.mark.filterwarnings("ignore:.*the mean of the posterior samples predicts worse")
@pytest.mark.parametrize("test_with", ["module", "posterior"])
def test_a_laplace_posterior_is_fitted_once_a_round(tmp_path: Path, test_with: Any) -> None:
    posterior = LastLayerLaplace()
    active, _ = run(tmp_path, posterior, test=test_with)
    scored = 3 if test_with == "posterior" else 2  # the last round asks nothing
    assert posterior.seen == [(1, 8 + 4 * number, False) for number in range(scored)]
    assert all(len(round.indices) == 4 for round in active.history[:2])
    if test_with == "posterior":
        assert all(0 <= round.metrics["posterior_accuracy"] <= 1 for round in active.history)


def test_its_picks_do_not_depend_on_batches_and_repeat(tmp_path: Path) -> None:
    picks = [
        [round.indices for round in run(tmp_path / str(pool), LastLayerLaplace(), pool=pool)[0].history]
        for pool in (16, 7, 60)
    ]
    assert picks[0] == picks[1] == picks[2]


class OneShort(Deterministic.__mro__[1]):  # type: ignore[misc]
    """Promises two samples, and gives one."""

    num_samples = 2

    def draw(self, *arguments: Any, **named: Any) -> Any:
        samples: Any = Deterministic().draw(*arguments, **named)
        samples.num_samples = 2
        return samples


def test_a_sample_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 2 posterior samples, but gave outputs of 1\. Yield one tensor"):
        run(tmp_path, OneShort())


def test_what_is_no_samples_is_said(tmp_path: Path) -> None:
    class Nothing(Posterior):
        num_samples = 3

        def draw(self, *_: Any, **__: Any) -> Any:
            return [1, 2, 3]

    with pytest.raises(TypeError, match=r"`Nothing.draw` was to return `PosteriorSamples`, but got list"):
        run(tmp_path, Nothing())


class Counting(LitMLP):
    """Counts its passes."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        Counting.passes += 1
        return super().forward(x)


def test_dropout_tries_the_network_once_a_round_and_not_for_each_test_batch(tmp_path: Path) -> None:
    module = Counting().eval()
    pool = points(40)
    x = torch.stack([item[0] for item in pool])
    samples = MCDropout(5).draw([], module, [], forward=lambda module, batch: module(batch), seed=0)
    Counting.passes = 0
    list(samples.outputs(x[:8]))
    first = Counting.passes
    for batch in x[8:].split(8):
        Counting.passes = 0
        list(samples.outputs(batch))
        assert Counting.passes == 5
    assert first > 5


@pytest.mark.parametrize("shape", [(3,), (2, 4, 4), ()])
def test_dropout_serves_outputs_of_any_shape(shape: tuple[int, ...]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(5, 20), nn.Dropout(0.5), nn.Linear(20, max(1, torch.Size(shape).numel()))
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).reshape(len(x), *shape)

    torch.manual_seed(0)
    net, x = Net(), torch.randn(9, 5)
    samples = MCDropout(4).draw([], net, [], forward=lambda net, x: net(x), seed=3)
    whole = torch.stack(list(samples.outputs(x)))
    parts = torch.cat([torch.stack(list(samples.outputs(part))) for part in x.split(2)], 1)
    assert whole.shape == (4, 9, *shape)
    torch.testing.assert_close(parts, whole)
    assert not torch.allclose(whole[0], whole[1])


def test_the_fit_that_is_handed_over_is_the_one_that_ended(tmp_path: Path) -> None:
    seen: list[tuple[Fit, Tensor]] = []

    class Keeping(LastLayerLaplace):
        def draw(self, fits: Sequence[Fit], module: Any, labelled: Iterable[Any], **named: Any) -> PosteriorSamples:
            seen.append((fits[0], module.net[-1].weight.detach().clone()))
            return super().draw(fits, module, labelled, **named)

    run(tmp_path, Keeping(), seed=5)
    assert [fit.seed for fit, _ in seen] == [derive(5, number, "fit") for number in range(2)]
    for fit, weight in seen:
        assert torch.equal(fit.weights["net.3.weight"], weight)
        assert fit.weights["net.3.weight"].device.type == "cpu"
