"""Check a posterior.

Axes: n points of a batch, C classes, D input dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.posterior import Fit, Posterior, PosteriorSamples
from lightning_al.posterior.base import evaluating, in_evaluation_mode
from lightning_al.run.weights import copy_weights
from lightning_al.testing.require import TOLERANCE, global_generator_unused, require

C, D = 4, 5


def check_posterior(
    posterior: Posterior,
    *,
    module: nn.Module | None = None,
    inputs: Tensor | None = None,
    forward: Callable[[Any, Any], Tensor] | None = None,
) -> None:
    """Check that a posterior keeps the promises of `Posterior.draw` and `PosteriorSamples.outputs` on a small network.

    The posterior gets `num_fits` fits. The last one has the weights of the network, the others have weights near them.

    Args:
        posterior: The posterior to check.
        module: The network; by default two linear layers with dropout between them.
        inputs: Inputs of the network ``[n, ...]``, 8 or more points.
        forward: Maps the network and a batch, a pair of inputs and labels, to raw outputs. By default the network is
            called on the inputs.

    Raises:
        AssertionError: If it breaks a promise. The message names the fault: a wrong number of outputs, samples that
            depend on the batch, differ between calls or ignore the seed or a fit, draws from the global generator, or
            changes to the network, its modes, a fit or a batch.

    >>> from lightning_al import MCDropout
    >>> check_posterior(MCDropout(num_samples=5))
    """
    who = type(posterior).__name__
    trial = _Trial(
        posterior,
        _network() if module is None else module,
        torch.randn(12, D, generator=torch.Generator().manual_seed(2)) if inputs is None else inputs,
        (lambda net, batch: net(batch[0])) if forward is None else forward,
    )
    n = len(trial.inputs)
    samples = trial.draw(seed=0)
    require(
        isinstance(samples, PosteriorSamples),
        f"`{who}.draw` returns {type(samples).__name__}. Return `PosteriorSamples`.",
    )
    whole = trial.outputs(samples)
    torch.manual_seed(3)
    require(
        _close(whole, trial.outputs(samples)),
        f"`{who}` gives other outputs when it is asked again for the same batch. Draw all noise in `draw`.",
    )
    for size in (1, 5):
        parts = [range(start, min(start + size, n)) for start in range(0, n, size)]
        require(
            _close(whole, torch.cat([trial.outputs(samples, part) for part in parts], 1)),
            f"`{who}` depends on the batch: the outputs for a point differ between batches of {n} and of {size}, but "
            "sample k must be one function of the input. Draw all noise in `draw`, once for each sample.",
        )
    backwards = list(reversed(range(n)))
    require(
        _close(whole[:, backwards], trial.outputs(samples, backwards)),
        f"`{who}` depends on the batch: the outputs for a point change with the order of the points. Draw all noise in "
        "`draw`, once for each sample.",
    )
    require(
        _close(whole, trial.outputs(trial.draw(seed=0))),
        f"`{who}` does not repeat: two draws with the same seed give different samples. Draw by `seed` alone.",
    )
    require(
        samples.num_samples <= posterior.num_fits or not _close(whole, trial.outputs(trial.draw(seed=1))),
        f"`{who}` ignores the seed: draws with seeds 0 and 1 give the same samples. Draw by `seed`.",
    )
    for number in range(posterior.num_fits - 1):
        require(
            not _close(whole, trial.outputs(trial.draw(seed=0, changed=number))),
            f"`{who}` ignores fit {number} of {posterior.num_fits}: other weights in it give the same samples. Draw "
            "from all `fits`, or lower `num_fits`.",
        )


@dataclass(frozen=True)
class _Trial:
    """Call a posterior, and require that each call leaves the network, the fits and the batches unchanged."""

    posterior: Posterior
    module: nn.Module
    inputs: Tensor
    forward: Callable[[Any, Any], Tensor]

    @property
    def who(self) -> str:
        return type(self.posterior).__name__

    @property
    def labels(self) -> Tensor:
        return torch.arange(len(self.inputs)) % C

    def draw(self, *, seed: int, changed: int | None = None) -> PosteriorSamples:
        """Draw from fits of which one may have changed weights, by its number."""
        fits = _fits(self.module, self.posterior.num_fits, changed)
        labelled = [self._batch(range(4)), self._batch(range(4, 8))]
        before = _state(self.module)
        with global_generator_unused(self.who), in_evaluation_mode(self.module):
            samples = self.posterior.draw(fits, self.module, labelled, forward=self.forward, seed=seed)
        self._require_same_network(before)
        for fit, unchanged in zip(fits, _fits(self.module, self.posterior.num_fits, changed), strict=True):
            require(
                _same_weights(fit.weights, unchanged.weights),
                f"`{self.who}` changes the weights of a fit in place. Copy what is to be changed.",
            )
        for start, batch in zip((0, 4), labelled, strict=True):
            require(
                self._is_unchanged(batch, range(start, start + 4)),
                f"`{self.who}` changes a batch of the labelled points in place. Copy what is to be changed.",
            )
        return samples

    def outputs(self, samples: PosteriorSamples, places: Sequence[int] | None = None) -> Tensor:
        """Return the outputs ``[K, n, ...]`` of all samples for some of the points, by default all."""
        places = range(len(self.inputs)) if places is None else places
        batch, before = self._batch(places), _state(self.module)
        with global_generator_unused(self.who), evaluating(self.module):
            found = list(samples.outputs(batch))
        self._require_same_network(before)
        require(
            self._is_unchanged(batch, places), f"`{self.who}` changes a batch in place. Copy what is to be changed."
        )
        require(
            len(found) == samples.num_samples,
            f"`{self.who}` promises {samples.num_samples} samples, but its `outputs` yields {len(found)} tensors. "
            "Yield one for each sample.",
        )
        require(
            all(isinstance(output, Tensor) and len(output) == len(places) for output in found),
            f"`{self.who}` yields outputs without a row for each of {len(places)} points. Yield tensors [n, ...].",
        )
        require(
            not any(output.requires_grad for output in found),
            f"`{self.who}` yields outputs with gradients, which keep all that they were computed from. Detach them.",
        )
        return torch.stack(found)

    def _batch(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.inputs[list(places)].clone(), self.labels[list(places)].clone()

    def _is_unchanged(self, batch: tuple[Tensor, Tensor], places: Sequence[int]) -> bool:
        return all(map(torch.equal, batch, self._batch(places)))

    def _require_same_network(self, before: tuple[Mapping[str, Tensor], list[bool]]) -> None:
        weights, modes = _state(self.module)
        require(
            _same_weights(weights, before[0]) and modes == before[1],
            f"`{self.who}` changes the network: its weights, buffers or modes are not what they were. Put back what "
            "you change.",
        )


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, C))


def _state(module: nn.Module) -> tuple[Mapping[str, Tensor], list[bool]]:
    """Return copies of the weights and buffers, and the mode of each part."""
    return copy_weights(module), [part.training for part in module.modules()]


def _fits(module: nn.Module, num_fits: int, changed: int | None = None) -> list[Fit]:
    """Return the same fits each time, but for the changed one; the last has the module's weights."""
    fits = []
    for number in range(num_fits):
        weights = copy_weights(module)
        generator = torch.Generator().manual_seed(number + num_fits * (number == changed))
        for name, value in weights.items():
            if number < num_fits - 1 and isinstance(value, Tensor) and value.is_floating_point():
                weights[name] = value * (1 + 0.5 * torch.rand(value.shape, generator=generator).to(value))
        fits.append(Fit(weights, number))
    return fits


def _same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
