"""A network whose noise is drawn once for each posterior sample, and the same for every point.

Axes: n points of a batch, K posterior samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from lightning_al.posterior.base import Forward, PosteriorError
from lightning_al.posterior.batches import copied, first_points, leaves_of, map_tensors, num_points
from lightning_al.posterior.mc_dropout import sparse, vectorized
from lightning_al.posterior.mc_dropout.fixed_noise import FixedNoise
from lightning_al.posterior.mc_dropout.layout import BatchAxis, Layout, Shape, drawn_by_position
from lightning_al.posterior.mc_dropout.masked_dropout import MaskedDropout
from lightning_al.posterior.mc_dropout.noise import Law, Noise
from lightning_al.posterior.mc_dropout.noisy_parts import Trial, noisy_parts, parts_that_read_training, training
from lightning_al.posterior.mc_dropout.prefix import Function, Prefix, call_function
from lightning_al.posterior.mc_dropout.rounding import difference, tolerance
from lightning_al.task.outputs import find_logits, find_output

NUM_TRIED = 3
"""The number of points of the first batch with which a network is tried, to find the shapes of its draws."""


def device_type(module: nn.Module) -> str:
    """Return the type of the device that a module's first parameter is on."""
    return next((weight.device.type for weight in module.parameters()), "cpu")


class Sampled(NamedTuple):
    """What one sample made of a batch.

    Attributes:
        outputs: Raw outputs ``[n, ...]``.
        mask_shapes: The shape of the mask of each call of a dropout function, for all points.
        num_points: The number of points n, if a batch tells it.
    """

    outputs: Tensor
    mask_shapes: list[Shape]
    num_points: int | None


class SampledNetwork:
    """A network whose noise is drawn once for each posterior sample, and the same for every point.

    Args:
        module: The network, in evaluation mode.
        forward: Maps it and a batch to raw outputs.
        batch: The first batch. The network is tried with a few of its points, without noise.
        num_samples: Number of posterior samples K.
        seed: Seed of the noise.

    Attributes:
        few: Two smaller batches of the first points, by their size; empty if a batch cannot be cut.
        parts: Names of the parts that add noise in training mode only.
        noise: The random numbers of each sample.
        counts: How often each sample drew, in dropout functions and in others.
        tells_length: Whether the length of a batch's first tensor is its number of points.
        skips_dropped: Whether to skip the arithmetic of dropped channels.
        is_vectorized: Whether to compute several samples in one pass.
        copied: Which tensors the first such pass copied, once there was one.
        is_checked: Whether samples were compared between batches of two sizes.
    """

    def __init__(self, module: nn.Module, forward: Forward, batch: Any, num_samples: int, seed: int) -> None:
        self.module = module
        self.forward = forward
        self.num_samples = num_samples
        self.counts: dict[int, tuple[int, int]] = {}
        self.is_on_cpu = all(weight.device.type == "cpu" for weight in module.parameters())
        self.goes_in_steps = not self.is_on_cpu
        self.skips_dropped = device_type(module) not in vectorized.DEVICES
        self.few = self._cut(batch)
        tried = self.few or {0: batch}
        parts = noisy_parts(parts_that_read_training(module), lambda: self._attempt(next(iter(tried.values()))))
        # By name, since a later `setup` of the module may build its parts again.
        self.parts = [name for name, part in module.named_modules() if any(part is noisy for noisy in parts)]
        with self._training():
            trials = [self._try(points) for points in tried.values()]
        sizes = [trial.outputs[0] for trial in trials]
        self.tells_length = sizes == [num_points(points) for points in tried.values()]
        layouts = [
            Layout.of(dict(zip(sizes, shapes, strict=True)))
            for shapes in zip(*([*trial.dropouts, *trial.draws] for trial in trials), strict=True)
        ]
        in_channels, num_dropouts = trials[0].in_channels, len(trials[0].dropouts)
        layouts = drawn_by_position(
            layouts,
            in_channels + [False] * len(trials[0].draws),
            reads_images=any(isinstance(leaf, Tensor) and leaf.dim() > 3 for leaf in leaves_of(batch)),
        )
        self.noise = FixedNoise(layouts[:num_dropouts], layouts[num_dropouts:], num_samples, seed)
        has_draws = len(self.noise.draws) > 0
        self.goes_in_steps = not self.is_on_cpu and has_draws
        self.is_vectorized = not self.skips_dropped and self.tells_length and not has_draws and num_samples > 1
        self.copied: list[bool] | None = None
        self.is_checked = False

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the raw outputs ``[n, ...]`` of each sample. Those of the first batch are checked before the last one.

        Raises:
            ValueError: If samples are not the same function in batches of different sizes.
        """
        prefix = Prefix(batch)
        uses = vectorized.Uses() if self.is_vectorized else None
        first = self.sample(0, batch, prefix, uses)
        last = first.outputs
        if not self.noise.dropouts and not self.noise.draws:
            yield last  # the caller's complaint about the outputs comes first
            raise PosteriorError(
                f"`MCDropout` found no dropout in `{type(self.module).__name__}`, so all {self.num_samples} posterior "
                "samples would be equal. Add `nn.Dropout` with p > 0, or score by one sample: "
                "`posterior=Deterministic()` with an acquisition function such as `entropy`."
            )
        few = None if self.is_checked else {0: last[:NUM_TRIED].clone()}
        k = 0
        for samples in self._vectorized_passes(batch, prefix, uses, first):
            for output in samples:
                yield last
                last, k = output, k + 1
        while k + 1 < self.num_samples:
            yield last
            last, k = self.sample(k + 1, batch, prefix).outputs, k + 1
        if few is not None:
            few[k] = last[:NUM_TRIED].clone()
            self._check(few, len(last))
            self.is_checked = True
        yield last

    def sample(self, k: int, batch: Any, prefix: Prefix, uses: vectorized.Uses | None = None) -> Sampled:
        """Compute sample k, reusing the prefix, which sample 0 records."""
        batch = prefix.batch if k == 0 or prefix.is_reusable() else copied(batch)
        n = num_points(batch) if self.tells_length else None

        def masks(call: int, shape: Shape, p: float, device: torch.device) -> tuple[Tensor, BatchAxis | None]:
            return self.noise.masks(call, k, shape, p, device, n)

        def draw(number: int, shape: Shape, law: Law, device: torch.device) -> Tensor:
            return self.noise.numbers(number, k, shape, law, device, n)

        noise = Noise(draw) if self.noise.draws else None

        def num_draws() -> int:
            return 0 if noise is None else len(noise.shapes)

        dropouts = MaskedDropout(masks, k, prefix, num_draws, uses, skips_dropped=self.skips_dropped)
        with self._training():
            outputs = self._predict(batch, noise, dropouts)
        counts = len(dropouts.shapes), num_draws()
        before = self.counts.setdefault(k, counts)
        if before != counts:
            raise PosteriorError(
                f"`MCDropout` keeps the noise of a network the same for the whole pool, but in posterior sample {k} "
                f"`{type(self.module).__name__}` called dropout {before[0]} times and made {before[1]} other draws "
                f"in one batch, and {counts[0]} and {counts[1]} in another. Let the network draw the same in "
                "every batch."
            )
        return Sampled(outputs, dropouts.shapes, n)

    def _vectorized_passes(
        self, batch: Any, prefix: Prefix, uses: vectorized.Uses | None, first: Sampled
    ) -> Iterator[list[Tensor]]:
        """Yield the outputs of samples 1, 2 and so on from passes over copies of the batch, as far as that works.

        The first pass ever is compared with samples computed one by one.
        """
        n = first.num_points
        m = 0 if uses is None else min(self.num_samples, vectorized.PASS_BYTES // max(1, uses.num_bytes))
        if uses is None or n is None or m < 2:
            return
        for start in range(0 if self.copied is None else 1, self.num_samples, m):
            numbers = range(start, min(start + m, self.num_samples))
            try:
                samples, copied = self._pass(numbers, batch, prefix, uses, first.mask_shapes, n)
            except Exception:  # whatever a network may raise on copies that it was not written for
                self.is_vectorized = self.copied is not None
                return
            if self.copied is None:
                alone = self.sample(numbers[-1], batch, prefix)
                self.is_vectorized = self._agree(samples[0], first.outputs) and self._agree(samples[-1], alone.outputs)
                self.copied = copied
                samples = samples[1:]
            if not self.is_vectorized or copied != self.copied:
                return
            yield samples

    def _pass(
        self, samples: range, batch: Any, prefix: Prefix, uses: vectorized.Uses, shapes: list[Shape], n: int
    ) -> tuple[list[Tensor], list[bool]]:
        """Return the outputs of some samples for n points, and which tensors were copied."""
        copies = vectorized.Copies(len(samples), n)
        compute: Function = call_function
        if prefix.is_reusable():
            compute = copies.replayer(prefix, uses)
            batch = map_tensors(lambda leaf: copies.of(leaf) if leaf in uses else leaf, prefix.batch)
        else:
            batch = map_tensors(copies.of, batch)

        def masks(call: int, shape: Shape, p: float, device: torch.device) -> tuple[Tensor, BatchAxis | None]:
            masks_K, axis = self.noise.masks(call, 0, shape, p, device, n)
            return masks_K[samples.start : samples.stop], axis

        dropouts = vectorized.VectorizedDropout(shapes, masks, compute)
        outputs = self._predict(batch, None, dropouts)
        if dropouts.num_calls != len(shapes):
            raise vectorized.CannotVectorizeError
        return list(outputs.unflatten(0, (len(samples), n))), copies.made

    def _check(self, expected: dict[int, Tensor], n: int) -> None:
        """Compare the outputs of samples for the first few points with those in a smaller batch.

        Args:
            expected: The outputs of some samples for the first points, in a batch of n.
            n: The size of that batch.

        Raises:
            ValueError: If they differ.
        """
        for points in list(self.few.values())[:1]:
            for k, rows in expected.items():
                output = self.sample(k, points, Prefix(points)).outputs
                m = len(output)
                found = difference(output, rows[:m])
                if not found <= self._tolerance():
                    raise PosteriorError(
                        f"`MCDropout` expected the same predictions for a point in any batch, but those of posterior "
                        f"sample {k} for the first {m} points differ by up to {float(found):.2g} between batches "
                        f"of {m} and {n}. `{type(self.module).__name__}` draws noise without torch, or mixes the "
                        "points of a batch. Draw noise with torch, and leave batch statistics to `nn.BatchNorm`."
                    )

    def _agree(self, one: Tensor, other: Tensor) -> bool:
        """Return whether outputs for the same points differ by rounding only."""
        return one.shape == other.shape and bool(difference(one, other) <= self._tolerance())

    def _tolerance(self) -> float:
        # A GPU multiplies with 10 bits after the point (TF32), and in another order for batches of another size.
        is_coarse = not self.skips_dropped or torch.is_autocast_enabled(device_type(self.module))
        return tolerance(self.module, is_coarse=is_coarse)

    def _training(self) -> AbstractContextManager[None]:
        """Put the parts that add noise in training mode only in that mode."""
        return training([self.module.get_submodule(name) for name in self.parts])

    def _cut(self, batch: Any) -> dict[int, Any]:
        most = min(num_points(batch) or 0, NUM_TRIED)
        cut = {m: first_points(batch, m) for m in (most, most - 1) if m > 0}
        few = {m: points for m, points in cut.items() if points is not None}
        trials = {m: self._attempt(points) for m, points in few.items()}
        fits = len(few) == 2 and all(trial is not None and trial.outputs[0] == m for m, trial in trials.items())
        return few if fits else {}

    def _attempt(self, points: Any) -> Trial | None:
        """Return what the network draws for a few points, or None if it fails."""
        try:
            return self._try(points)
        except Exception:  # whatever a network may raise on points that it was not written for
            return None

    def _try(self, points: Any) -> Trial:
        """Return what the network draws for a few points."""
        noise, dropouts = Noise(None), MaskedDropout()
        outputs = self._predict(copied(points), noise, dropouts)
        return Trial(tuple(outputs.shape), dropouts.shapes, noise.shapes, dropouts.in_channels)

    def _predict(self, batch: Any, noise: Noise | None, dropouts: TorchFunctionMode) -> Tensor:
        with self._steps(), noise or nullcontext(), dropouts:
            outputs: Any = find_logits(self.forward(self.module, batch))
        return find_output(outputs.dense() if isinstance(outputs, sparse.ChannelSparse) else outputs)

    def _steps(self) -> AbstractContextManager[Any]:
        """Let a GPU compute attention and recurrent layers step by step, so that `Noise` sees every draw."""
        if not self.goes_in_steps:
            return nullcontext()
        steps = ExitStack()
        steps.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(part, nn.RNNBase) for part in self.module.modules()):
            steps.enter_context(_without_cudnn())
        return steps


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Compute recurrent layers without cuDNN, whose dropout between layers `Noise` does not see."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before
