"""Dropout as a sample of the weights, with masks that stay the same for the whole pool.

Axes: n points of a batch, K posterior samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from lightning_al.posterior.base import Fit, Forward, Posterior, PosteriorError, PosteriorSamples, evaluating
from lightning_al.posterior.batches import copied, first_points, leaves_of, map_tensors, num_points
from lightning_al.posterior.mc_dropout import sparse, vectorized
from lightning_al.posterior.mc_dropout.counter_based import normal_at, uniform_at
from lightning_al.posterior.mc_dropout.dropout_functions import Call, drop_to_zero
from lightning_al.posterior.mc_dropout.modes import Trial, noisy_parts, parts_that_read_training, training
from lightning_al.posterior.mc_dropout.prefix import Function, Prefix
from lightning_al.posterior.mc_dropout.randomness import Axis, Law, Noise, Place, Shape, drawn_by_position, spread
from lightning_al.posterior.registry import register_posterior
from lightning_al.run.seeds import derive, generator
from lightning_al.task.outputs import find_logits, find_output
from lightning_al.values.whole_numbers import MOST_SAMPLES, whole_number

NUM_TRIED = 3
"""How many points of the first batch a network is tried with, to learn what it draws for each of them."""

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
COARSE_TOLERANCE = 0.05
"""How far outputs may differ by rounding where points come in other batches; more in half precision and on a GPU.

Against 1, or against the outputs where they are larger.
"""


@register_posterior("mc_dropout")
@final
@dataclass(frozen=True)
class MCDropout(Posterior):
    """Sample weights by dropout: sample k drops the same units for every point of the pool.

    The network needs no change. While it predicts, each call of a dropout function, from `nn.Dropout` and its
    relatives or directly, multiplies by a mask that was drawn once for this call and this sample. Whatever else torch
    draws at random (in attention, between recurrent layers, to skip whole layers, as Gaussian noise) is drawn once
    for each sample too. Parts that add such noise in training mode alone are put in that mode; everything else, batch
    norm included, is in evaluation mode. What comes before the first noise is computed once for all samples, and what
    dropout leaves of linear and convolutional layers is all that is computed of them.

    Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016; masks kept for a whole pool as in Kirsch,
    van Amersfoort and Gal, "BatchBALD", NeurIPS 2019.

    Args:
        num_samples: Number of posterior samples K.
        autocast: Whether to predict in bfloat16 wherever torch's autocast does, on a CPU as on a GPU. Probabilities
            come out about 1e-3 off, and 0.05 at most is taken for rounding where samples are compared in two batches.

    Raises:
        TypeError: If `num_samples` is no number.
        ValueError: If `num_samples` is not whole, or below 1.

    >>> net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
    >>> samples = MCDropout(num_samples=5).draw([], net, [], forward=lambda net, x: net(x), seed=0)
    >>> pool = torch.ones(6, 8)
    >>> whole = torch.stack(list(samples.outputs(pool)))
    >>> in_two = torch.cat([torch.stack(list(samples.outputs(batch))) for batch in pool.split(4)], 1)
    >>> whole.shape, torch.allclose(whole, in_two)
    (torch.Size([5, 6, 3]), True)
    """

    num_samples: int = 20
    autocast: bool = False

    def __post_init__(self) -> None:
        num_samples = whole_number("MCDropout", "num_samples", self.num_samples, most=MOST_SAMPLES)
        object.__setattr__(self, "num_samples", num_samples)

    def draw(
        self,
        fits: Sequence[Fit],
        module: nn.Module,
        labelled: Iterable[Any],
        *,
        forward: Forward,
        seed: int,
    ) -> PosteriorSamples:
        """Return K samples of dropout in `module`, whose noise the seed alone decides.

        The network is tried with the first batch that it is to predict; that raises a ValueError if it has no noise, or
        noise that cannot be kept the same for all points.
        """
        return _Samples(module, forward, self.num_samples, seed, self.autocast)


class _Samples(PosteriorSamples):
    """K samples by dropout of one network, which is tried with the first batch."""

    def __init__(self, module: nn.Module, forward: Forward, num_samples: int, seed: int, autocast: bool) -> None:
        self.module = module
        self.forward = forward
        self.num_samples = num_samples
        self.seed = seed
        self.autocast = autocast
        self._network: _Network | None = None

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the raw outputs of each sample."""
        if self._network is None:
            with self._computing():
                self._network = _Network(self.module, self.forward, batch, self.num_samples, self.seed)
        outputs = self._network.outputs(batch)
        while True:
            # Modes and gradients are as they were while the outputs are used.
            with self._computing():
                output = next(outputs, None)
            if output is None:
                return
            yield output

    @contextmanager
    def _computing(self) -> Iterator[None]:
        lower: AbstractContextManager[Any] = nullcontext()
        if self.autocast:
            lower = torch.autocast(_device_type(self.module), torch.bfloat16)
        with evaluating(self.module), lower:
            yield


def _device_type(module: nn.Module) -> str:
    return next((weight.device.type for weight in module.parameters()), "cpu")


class _Network:
    """A network whose noise is drawn once for each posterior sample, and the same for every point.

    Args:
        module: The network, in evaluation mode.
        forward: Maps it and a batch to raw outputs.
        batch: The first batch. The network is tried with a few of its points, without noise.
        num_samples: Number of posterior samples K.
        seed: Seed of the noise.

    Attributes:
        few: Two smaller batches of the first points, by their size; none where a batch cannot be cut.
        parts: The names of what is put in training mode, since it has noise there alone.
        dropouts: How the mask of each call of a dropout function is drawn where no layer is skipped.
        draws: The same for each draw inside of other functions.
        met: What each sample drew in the batches so far, for one point.
        tells_length: Whether the number of points is known of a batch, by the length of its first tensor.
        length: How many points the batch under way has, where that is known.
        counts: How often each sample drew, in dropout functions and others.
        thins: Whether what dropout drops is left out of the arithmetic.
        widens: Whether several samples are computed in one pass.
        copied: Which tensors were copied for that in the first batch, once it was tried.
        shapes: The shape of each mask for all points in the sample computed last.
        is_checked: Whether samples were compared between batches of two sizes.
    """

    def __init__(self, module: nn.Module, forward: Forward, batch: Any, num_samples: int, seed: int) -> None:
        self.module = module
        self.forward = forward
        self.num_samples = num_samples
        self.seed = seed
        self.drawn: dict[tuple[int, Shape, float], Tensor] = {}
        self.tables: dict[tuple[int, float], Tensor] = {}
        self.met: dict[tuple[str, int, int], Shape] = {}
        self.counts: dict[int, tuple[int, int]] = {}
        self.is_on_cpu = all(weight.device.type == "cpu" for weight in module.parameters())
        self.goes_in_steps = not self.is_on_cpu
        self.thins = _device_type(module) not in vectorized.DEVICES
        self.few = self._cut(batch)
        tried = self.few or {0: batch}
        parts = noisy_parts(parts_that_read_training(module), lambda: self._attempt(next(iter(tried.values()))))
        # By name, since a later `setup` of the module may build its parts anew.
        self.parts = [name for name, part in module.named_modules() if any(part is noisy for noisy in parts)]
        with self._training():
            trials = [self._try(points) for points in tried.values()]
        sizes = [trial.outputs[0] for trial in trials]
        self.tells_length = sizes == [num_points(points) for points in tried.values()]
        self.length: int | None = None
        places = [
            Place.of(dict(zip(sizes, shapes, strict=True)))
            for shapes in zip(*([*trial.dropouts, *trial.draws] for trial in trials), strict=True)
        ]
        in_channels, num_dropouts = trials[0].in_channels, len(trials[0].dropouts)
        places = drawn_by_position(
            places,
            in_channels + [False] * len(trials[0].draws),
            reads_images=any(isinstance(leaf, Tensor) and leaf.dim() > 3 for leaf in leaves_of(batch)),
        )
        self.dropouts, self.draws = places[:num_dropouts], places[num_dropouts:]
        self.goes_in_steps = not self.is_on_cpu and len(self.draws) > 0
        self.widens = not self.thins and self.tells_length and not self.draws and num_samples > 1
        self.copied: list[bool] | None = None
        self.shapes: list[Shape] = []
        self.is_checked = False

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        """Yield the raw outputs ``[n, ...]`` of each sample; of the first batch, they are checked before the last.

        Raises:
            ValueError: If samples are not the same function in batches of other sizes.
        """
        prefix = Prefix(batch)
        uses = vectorized.Uses() if self.widens else None
        first = last = self.sample(0, batch, prefix, uses)
        if not self.dropouts and not self.draws:
            yield first  # what is wrong with any output is said first
            raise PosteriorError(
                f"`MCDropout` found no dropout in `{type(self.module).__name__}`, so all {self.num_samples} posterior "
                "samples would be equal. Add `nn.Dropout` with p > 0, or score by one sample: "
                "`posterior=Deterministic()` with an acquisition function such as `entropy`."
            )
        few = None if self.is_checked else {0: self._first_rows(first)}
        k = 0
        for samples in self._wide_passes(batch, prefix, uses, first):
            for output in samples:
                yield last
                last, k = output, k + 1
        while k + 1 < self.num_samples:
            yield last
            last, k = self.sample(k + 1, batch, prefix), k + 1
        if few is not None:
            few[k] = self._first_rows(last)
            self._check(few, len(last))
            self.is_checked = True
        yield last

    def _first_rows(self, output: Tensor) -> Tensor:
        return output[:NUM_TRIED].clone()

    def _wide_passes(
        self, batch: Any, prefix: Prefix, uses: vectorized.Uses | None, first: Tensor
    ) -> Iterator[list[Tensor]]:
        """Yield the outputs of samples 1, 2 and so on by passes over copies of the batch, as far as that works.

        What comes out of the first pass is compared once with samples one by one.
        """
        shapes, n = self.shapes, self.length
        m = 0 if uses is None else min(self.num_samples, vectorized.PASS_BYTES // max(1, uses.num_bytes))
        if uses is None or n is None or m < 2:
            return
        for start in range(0 if self.copied is None else 1, self.num_samples, m):
            numbers = range(start, min(start + m, self.num_samples))
            try:
                samples, copied = self._pass(numbers, batch, prefix, uses, shapes, n)
            except Exception:  # whatever a network may raise where it is used otherwise than it was written
                self.widens = self.copied is not None
                return
            if self.copied is None:
                alone = self.sample(numbers[-1], batch, prefix)
                self.widens = self._agree(samples[0], first) and self._agree(samples[-1], alone)
                self.copied = copied
                samples = samples[1:]
            if not self.widens or copied != self.copied:
                return
            yield samples

    def _pass(
        self, samples: range, batch: Any, prefix: Prefix, uses: vectorized.Uses, shapes: list[Shape], n: int
    ) -> tuple[list[Tensor], list[bool]]:
        """Return the outputs of some samples for n points, and which tensors were copied for it."""
        self.length = n
        copies = vectorized.Copies(len(samples), n)
        compute: Function = _call
        if prefix.is_whole():
            compute = copies.replayer(prefix, uses)
            batch = map_tensors(lambda leaf: copies.of(leaf) if leaf in uses else leaf, prefix.batch)
        else:
            batch = map_tensors(copies.of, batch)

        def masks(call: int, shape: Shape, p: float, device: torch.device) -> tuple[Tensor, Axis | None]:
            masks_K, axis = self.masks(call, 0, shape, p, device)
            return masks_K[samples.start : samples.stop], axis

        dropouts = vectorized.WideDropouts(shapes, masks, compute)
        outputs = self._predict(batch, None, dropouts)
        if dropouts.num_calls != len(shapes):
            raise vectorized.CannotWidenError
        return list(outputs.unflatten(0, (len(samples), n))), copies.made

    def _agree(self, one: Tensor, other: Tensor) -> bool:
        """Return whether outputs for the same points are the same but for rounding."""
        return one.shape == other.shape and bool(_difference(one, other) <= self._tolerance())

    def sample(self, k: int, batch: Any, prefix: Prefix, uses: vectorized.Uses | None = None) -> Tensor:
        """Return the outputs ``[n, ...]`` of sample k, using and filling what samples have in common."""
        batch = prefix.batch if k == 0 or prefix.is_whole() else copied(batch)

        self.length = num_points(batch) if self.tells_length else None

        def draw(number: int, shape: Shape, law: Law, device: torch.device) -> Tensor:
            return self._numbers(number, k, shape, law, device)

        noise = Noise(draw) if self.draws else None
        dropouts = _Dropouts(self, k, prefix, noise, uses)
        with self._training():
            outputs = self._predict(batch, noise, dropouts)
        self.shapes = dropouts.shapes
        counts = len(dropouts.shapes), len(noise.shapes) if noise is not None else 0
        before = self.counts.setdefault(k, counts)
        if before != counts:
            raise PosteriorError(
                f"`MCDropout` keeps the noise of a network the same for the whole pool, but in posterior sample {k} "
                f"`{type(self.module).__name__}` called dropout {before[0]} times and drew {before[1]} times otherwise "
                f"in one batch, and {counts[0]} and {counts[1]} times in another. Let the network draw the same in "
                "every batch."
            )
        return outputs

    def _check(self, expected: dict[int, Tensor], n: int) -> None:
        """Compare what samples make of the first few points in batches of other sizes.

        Args:
            expected: What some samples made of the first points in a batch of n.
            n: Its size.

        Raises:
            ValueError: If it is not the same.
        """
        for points in list(self.few.values())[:1]:
            for k, rows in expected.items():
                output = self.sample(k, points, Prefix(points))
                m = len(output)
                difference = _difference(output, rows[:m])
                if not difference <= self._tolerance():
                    raise PosteriorError(
                        f"`MCDropout` expected the same predictions for a point in any batch, but those of posterior "
                        f"sample {k} for the first {m} points differ by up to {float(difference):.2g} between batches "
                        f"of {m} and {n}. `{type(self.module).__name__}` draws noise that is not torch's, or mixes the "
                        "points of a batch. Draw noise with torch, and leave batch statistics to `nn.BatchNorm`."
                    )

    def _training(self) -> AbstractContextManager[None]:
        """Put the parts that have noise in training mode alone in that mode."""
        return training([self.module.get_submodule(name) for name in self.parts])

    def masks(self, call: int, k: int, shape: Shape, p: float, device: torch.device) -> tuple[Tensor, Axis | None]:
        """Return which units a call of a dropout function keeps of a point in each sample ``[K, ...]``.

        With it comes the axis along which the points stand.

        Args:
            call: Number of the call.
            k: The sample that calls.
            shape: Shape of the mask for all points.
            p: The probability to drop.
            device: Where the mask is needed.
        """
        place = self._place("dropout", self.dropouts, call, k, shape)
        if place.by_position:
            return self._table(call, p, place.one_point, device), place.axis
        key = (call, place.one_point, p)
        if key not in self.drawn:
            # Drawn on the CPU, so that a GPU drops the same units.
            uniform = torch.rand(self.num_samples, *place.one_point, generator=generator(self.seed, "dropout", call))
            self.drawn[key] = (uniform >= p).to(device)
        return self.drawn[key], place.axis

    def _table(self, call: int, p: float, shape: Shape, device: torch.device) -> Tensor:
        """Return what each sample keeps ``[K, *shape]``, as a part of one table that grows to the longest inputs."""
        table = self.tables.get((call, p))
        size = shape if table is None else tuple(map(max, shape, table.shape[1:]))
        if table is None or tuple(table.shape[1:]) != size:
            seeds = [derive(self.seed, "dropout", call, k, "by position") for k in range(self.num_samples)]
            table = torch.stack([uniform_at(seed, size, device) >= p for seed in seeds])
            self.tables[call, p] = table
        return table[(slice(None), *map(slice, shape))]

    def _numbers(self, number: int, k: int, shape: Shape, law: Law, device: torch.device) -> Tensor:
        place = self._place("draw", self.draws, number, k, shape)
        if place.by_position:
            draw = uniform_at if law == "uniform" else normal_at
            seed = derive(self.seed, "noise", number, k, "by position")
            return spread(draw(seed, place.one_point, device), place.axis, shape)
        make = torch.rand if law == "uniform" else torch.randn
        return spread(make(place.one_point, generator=generator(self.seed, "noise", number, k)), place.axis, shape)

    def _place(self, what: str, places: list[Place], number: int, k: int, shape: Shape) -> Place:
        """Return how a draw is drawn. A sample that skips a layer draws what follows under an earlier number."""
        likely = [*places[number : number + 1], *places]
        before = self.met.get((what, number, k))
        found = [(place.at(shape, self.length), place) for place in likely]
        # Where a layer is skipped, a place of just this shape is likelier than one for inputs of another length.
        for place, _ in sorted(found, key=lambda pair: pair[0] != pair[1]):
            if place is not None and before in (None, place.fixed):
                self.met[what, number, k] = place.fixed
                return place
        if number >= len(places):
            raise PosteriorError(
                f"`MCDropout` keeps the noise of a network the same for the whole pool, but met {what} call {number} "
                f"in a batch, and only {len(places)} when it tried the first. Let the network draw the same in every "
                "batch."
            )
        raise PosteriorError(
            f"`MCDropout` keeps one mask for the whole pool, but {what} call {number} met features of shape "
            f"{list(likely[0].one_point)} in one batch and {list(likely[0].of_one_point(shape))} in another. "
            "Make all inputs the same size, for example by padding them to one length."
        )

    def _cut(self, batch: Any) -> dict[int, Any]:
        most = min(num_points(batch) or 0, NUM_TRIED)
        cut = {m: first_points(batch, m) for m in (most, most - 1) if m > 0}
        few = {m: points for m, points in cut.items() if points is not None}
        trials = {m: self._attempt(points) for m, points in few.items()}
        fits = len(few) == 2 and all(trial is not None and trial.outputs[0] == m for m, trial in trials.items())
        return few if fits else {}

    def _attempt(self, points: Any) -> Trial | None:
        """Return what the network draws, or None where it fails."""
        try:
            return self._try(points)
        except Exception:  # whatever a network may raise when it is tried otherwise than it is used
            return None

    def _try(self, points: Any) -> Trial:
        """Return what the network draws for a few points."""
        noise, dropouts = Noise(None), _Dropouts(None, 0, None, None)
        outputs = self._predict(copied(points), noise, dropouts)
        return Trial(tuple(outputs.shape), dropouts.shapes, noise.shapes, dropouts.in_channels)

    def _predict(self, batch: Any, noise: Noise | None, dropouts: TorchFunctionMode) -> Tensor:
        with self._steps(), noise or nullcontext(), dropouts:
            outputs: Any = find_logits(self.forward(self.module, batch))
        return find_output(outputs.whole() if isinstance(outputs, sparse.Thin) else outputs)

    def _steps(self) -> AbstractContextManager[Any]:
        """Let a GPU compute attention and recurrent layers in steps, so that what they draw can be answered for."""
        if not self.goes_in_steps:
            return nullcontext()
        steps = ExitStack()
        steps.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(part, nn.RNNBase) for part in self.module.modules()):
            steps.enter_context(_without_cudnn())
        return steps

    def _tolerance(self) -> float:
        """Return how far outputs for a point may differ by rounding between batches of other sizes."""
        weights = [weight for weight in self.module.parameters() if weight.is_floating_point()]
        # A GPU multiplies with 10 bits after the point (TF32), and otherwise for batches of other sizes.
        if not self.thins or torch.is_autocast_enabled(_device_type(self.module)):
            return COARSE_TOLERANCE
        return max((TOLERANCE.get(weight.dtype, COARSE_TOLERANCE) for weight in weights), default=1e-3)


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Let recurrent layers do without cuDNN, which drops between them what nothing outside of it sees."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Return how far outputs differ at most, against 1 or the largest of their point."""
    dtype = torch.float32 if one.device.type == "mps" else torch.float64
    one, other = (values.to(dtype).reshape(len(values), -1) for values in (one, other))
    # What is no number in both, as after a fit that diverged, or infinite in both, is no difference between them.
    same = (one == other) | (one.isnan() & other.isnan())
    scale = torch.maximum(one.abs(), other.abs()).nan_to_num(0.0, 0.0).amax(1, keepdim=True).clamp(min=1.0)
    return ((one - other).abs() / scale).masked_fill(same, 0.0).nan_to_num(nan=math.inf).max()


class _Dropouts(TorchFunctionMode):
    """Answer every call of a dropout function with the mask of sample k, and what comes before from the prefix.

    Without a network, each call drops nothing.

    Attributes:
        shapes: The shape of the mask of each call so far, for all points.
        in_channels: Whether each of these calls drops whole channels.
    """

    def __init__(
        self,
        network: _Network | None,
        k: int,
        prefix: Prefix | None,
        noise: Noise | None,
        uses: vectorized.Uses | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.k = k
        self.prefix = prefix
        self.uses = uses
        self.shapes: list[Shape] = []
        self.in_channels: list[bool] = []
        self.thins: list[sparse.Thin] = []
        self.shared = sparse.Shared(prefix.after if prefix is not None else [])
        self.compute: Function = _call
        if prefix is not None and prefix.is_whole():
            self.compute = prefix.replayer()
        elif prefix is not None and k == 0:
            self.compute = prefix.recorder(lambda: len(noise.shapes) if noise is not None else 0)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call.of(func, args, kwargs or {})
        if self.thins and call is None:
            if sparse.changes_in_place(func, args, kwargs or {}):
                # What is changed may be what a thin tensor was dropped from.
                self._make_whole()
            if sparse.has_thin((*args, *(kwargs or {}).values())):
                return sparse.call(func, args, kwargs or {}, self.shared)
        if call is None:
            return self.compute(func, *args, **(kwargs or {}))
        return call.input if call.p == 0 else self._drop(call)

    def _drop(self, call: Call) -> Tensor:
        input, p = call.input, call.p
        shape = call.apply.shape(sparse.shape_of(input))
        self.shapes.append(shape)
        self.in_channels.append(call.apply.channels)
        if self.network is None:
            return input
        if self.prefix is not None and self.k == 0:
            self.prefix.end()
        self.compute = _call if self.uses is None else self.uses.call
        masks_K, axis = self.network.masks(len(self.shapes) - 1, self.k, shape, p, input.device)
        keep = spread(masks_K[self.k], axis, shape)
        is_by_channel = math.prod(shape[2:]) == 1 and axis == Axis(0, 1)
        is_thinned = self.network.thins and call.apply.drop is drop_to_zero and p < 1 and is_by_channel
        if is_thinned and not call.inplace:
            thin = sparse.dropped(input, keep.flatten(), p, self.shared)
            if thin is not None:
                self.thins.append(thin)
                return thin
        if call.inplace:
            self._make_whole()
        input = input.whole() if isinstance(input, sparse.Thin) else input
        dropped = call.apply.drop(input, keep.to(input.dtype), p)
        if self.uses is not None:
            self.uses.made(dropped)
        return input.copy_(dropped) if call.inplace else dropped

    def _make_whole(self) -> None:
        for thin in self.thins:
            thin.whole()
        self.thins = []


def _call(func: Function, *args: Any, **kwargs: Any) -> Any:
    return func(*args, **kwargs)
