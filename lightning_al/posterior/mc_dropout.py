"""Dropout as a sample of the weights, with masks that stay the same for the whole pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lightning_al.posterior.base import LogitsFunction, Posterior, evaluating, to_log_probs
from lightning_al.seeds import generator

_Function = Callable[..., Any]


@final
@dataclass(frozen=True)
class MCDropout(Posterior):
    """Sample weights by dropout: sample k drops the same units for every point of the pool.

    The network needs no change. While it predicts, each call of a dropout function, from `nn.Dropout` and its
    relatives or directly, multiplies by a mask that was drawn once for this call and this sample. Everything else,
    batch norm included, is in evaluation mode. What comes before the first dropout is computed once for all samples.

    Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016; masks kept for a whole pool as in Kirsch,
    van Amersfoort and Gal, "BatchBALD", NeurIPS 2019.

    Args:
        num_samples: Number of posterior samples K.

    Raises:
        ValueError: If `num_samples` is below 1.

    >>> net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
    >>> posterior = MCDropout(num_samples=5)
    >>> pool = torch.ones(6, 8)
    >>> whole, = posterior.predict(net, [pool], logits=lambda net, x: net(x), seed=0)
    >>> in_two = torch.cat(list(posterior.predict(net, pool.split(4), logits=lambda net, x: net(x), seed=0)))
    >>> whole.shape, torch.allclose(whole, in_two)
    (torch.Size([6, 5, 3]), True)
    """

    num_samples: int = 20

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"`MCDropout` needs `num_samples` of at least 1, but got {self.num_samples}.")

    def predict(
        self, module: nn.Module, batches: Iterable[Any], *, logits: LogitsFunction, seed: int
    ) -> Iterator[Tensor]:
        """Yield log-probabilities ``[n, K, C]`` for each batch.

        Raises:
            ValueError: If the network applies no dropout, or applies it where the masks cannot be kept the same.
        """
        _refuse_recurrent_dropout(module)
        masks = _Masks(self.num_samples, seed)
        for batch in batches:
            prefix = _Prefix(batch)
            with evaluating(module):
                samples = [
                    self._predict_sample(module, batch, logits, masks, k, prefix) for k in range(self.num_samples)
                ]
            if not masks:
                raise ValueError(
                    f"`MCDropout` found no dropout in `{type(module).__name__}`, so all {self.num_samples} posterior "
                    "samples would be equal. Add `nn.Dropout` with p > 0, or score by one sample: "
                    "`posterior=Deterministic()` with an acquisition function such as `entropy`."
                )
            yield torch.stack(samples, dim=1)

    def _predict_sample(
        self, module: nn.Module, batch: Any, logits: LogitsFunction, masks: _Masks, k: int, prefix: _Prefix
    ) -> Tensor:
        batch = prefix.batch if k == 0 or prefix.is_whole() else _copy(batch)
        with _Dropped(masks, k, prefix) as dropped:
            log_probs_n_C = to_log_probs(logits(module, batch))
        dropped.check_batch_axis(len(log_probs_n_C))
        return log_probs_n_C


class _Masks(dict[int, Tensor]):
    """Which units each dropout call keeps in each sample, by the number of the call: bool ``[K, 1, *features]``."""

    def __init__(self, num_samples: int, seed: int) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.seed = seed

    def of_call(self, call: int, features: torch.Size, p: float, device: torch.device) -> Tensor:
        if call not in self:
            # Drawn on the CPU, so that a GPU drops the same units.
            uniform = torch.rand(self.num_samples, 1, *features, generator=generator(self.seed, "dropout", call))
            self[call] = (uniform >= p).to(device)
        mask = self[call]
        if mask.shape[2:] != features:
            raise ValueError(
                f"`MCDropout` keeps one mask for the whole pool, but dropout call {call} met features of shape "
                f"{list(mask.shape[2:])} in one batch and {list(features)} in another. Make all inputs the same size, "
                "for example by padding them to one length."
            )
        return mask


class _Prefix:
    """What a network computes from a batch before its first dropout, which all samples have in common.

    The results of the torch functions that the network calls are kept in order, and given again to the other samples
    in place of being computed. A network that later changes one of them, or its input, in place has to compute
    everything anew.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = _copy(batch)
        self._results: list[tuple[_Function, Any]] = []
        self._versions: list[int] | None = None

    def record(self) -> _Function:
        """Return a function that calls a function and keeps its result."""

        def compute(func: _Function, *args: Any, **kwargs: Any) -> Any:
            result = func(*args, **kwargs)
            if func is Tensor.__iter__:  # an iterator could be gone through only once
                result = tuple(result)
            self._results.append((func, result))
            return iter(result) if func is Tensor.__iter__ else result

        return compute

    def end(self) -> None:
        """Say that the first dropout comes now."""
        self._versions = self._current_versions()

    def is_whole(self) -> bool:
        """Return whether the prefix ended, and nothing in it was changed since."""
        return self._versions is not None and self._versions == self._current_versions()

    def replay(self) -> _Function:
        """Return a function that gives the kept results in order, for as long as the same functions are called."""
        results = iter(self._results)
        same = True

        def compute(func: _Function, *args: Any, **kwargs: Any) -> Any:
            nonlocal same
            nothing: tuple[Any, Any] = (None, None)
            kept, result = next(results, nothing) if same else nothing
            # Equal, not identical: torch makes the getter of an attribute anew each time.
            same = kept == func
            if not same:
                return func(*args, **kwargs)
            return iter(result) if func is Tensor.__iter__ else result

        return compute

    def _current_versions(self) -> list[int] | None:
        held = [self.batch, [result for _, result in self._results]]
        tensors = [part for part in tree_leaves(held) if isinstance(part, Tensor)]
        if any(tensor.is_inference() for tensor in tensors):
            return None  # these do not say whether they were changed
        return [tensor._version for tensor in tensors]


def _copy(batch: Any) -> Any:
    """Copy a batch, so that what a network does to its input in place is unseen by the next sample."""
    return tree_map_only(Tensor, Tensor.clone, batch)


def _call(func: _Function, *args: Any, **kwargs: Any) -> Any:
    return func(*args, **kwargs)


class _Dropped(TorchFunctionMode):
    """Answer every call of a dropout function with the mask of sample k, and what comes before from the prefix."""

    def __init__(self, masks: _Masks, k: int, prefix: _Prefix) -> None:
        super().__init__()
        self.masks = masks
        self.k = k
        self.compute = prefix.replay() if prefix.is_whole() else prefix.record() if k == 0 else _call
        self.prefix = prefix
        self.batch_sizes: list[int] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        apply = _DROPOUTS.get(func)
        if apply is None:
            return self.compute(func, *args, **(kwargs or {}))
        if func.__name__.endswith("_"):
            kwargs = {**(kwargs or {}), "inplace": True}
        return self._drop(apply, *args, **(kwargs or {}))

    def _drop(
        self,
        apply: _Apply,
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        train: bool = True,
    ) -> Tensor:
        # The flags say False here, since the module is in evaluation mode.
        del training, train
        if p == 0:
            return input
        if self.k == 0 and not self.batch_sizes:
            self.prefix.end()
        self.compute = _call
        call = len(self.batch_sizes)
        self.batch_sizes.append(len(input))
        features = apply.features(input)
        keep = self.masks.of_call(call, features, p, input.device)[self.k]
        dropped = apply.drop(input, keep.to(input.dtype), p)
        return input.copy_(dropped) if inplace else dropped

    def check_batch_axis(self, n: int) -> None:
        for call, size in enumerate(self.batch_sizes):
            if size != n:
                raise ValueError(
                    f"`MCDropout` expected the batch as the first axis of every tensor that dropout is applied to, "
                    f"but dropout call {call} got a first axis of {size} for a batch of {n}, so its masks would "
                    "differ from point to point. Apply dropout where the batch comes first."
                )


def _drop_to_zero(input: Tensor, keep: Tensor, p: float) -> Tensor:
    return input * (keep / (1 - p) if p < 1 else keep)


def _drop_to_saturation(input: Tensor, keep: Tensor, p: float) -> Tensor:
    """Keep mean and variance of a SELU network (Klambauer et al., "Self-Normalizing Networks", NeurIPS 2017)."""
    saturation = -1.7580993408473766
    scale = ((1 - p) * (1 + p * saturation**2)) ** -0.5 if p < 1 else 0.0
    return scale * (input * keep + saturation * (1 - keep)) - scale * saturation * p


@dataclass(frozen=True)
class _Apply:
    """One kind of dropout: what it drops, units or whole channels, and to what."""

    channels: bool
    drop: Callable[[Tensor, Tensor, float], Tensor]

    def features(self, input: Tensor) -> torch.Size:
        if not self.channels:
            return input.shape[1:]
        return torch.Size([input.shape[1], *[1] * (input.dim() - 2)])


_UNITS = _Apply(channels=False, drop=_drop_to_zero)
_CHANNELS = _Apply(channels=True, drop=_drop_to_zero)
_ALPHA_UNITS = _Apply(channels=False, drop=_drop_to_saturation)
_ALPHA_CHANNELS = _Apply(channels=True, drop=_drop_to_saturation)

_DROPOUTS: dict[Callable[..., Any], _Apply] = {
    F.dropout: _UNITS,
    torch.dropout: _UNITS,
    torch.dropout_: _UNITS,
    F.dropout1d: _CHANNELS,
    F.dropout2d: _CHANNELS,
    F.dropout3d: _CHANNELS,
    torch.feature_dropout: _CHANNELS,
    torch.feature_dropout_: _CHANNELS,
    F.alpha_dropout: _ALPHA_UNITS,
    torch.alpha_dropout: _ALPHA_UNITS,
    torch.alpha_dropout_: _ALPHA_UNITS,
    F.feature_alpha_dropout: _ALPHA_CHANNELS,
    torch.feature_alpha_dropout: _ALPHA_CHANNELS,
    torch.feature_alpha_dropout_: _ALPHA_CHANNELS,
}


def _refuse_recurrent_dropout(module: nn.Module) -> None:
    for name, part in module.named_modules():
        # It is applied between layers only.
        if isinstance(part, nn.RNNBase) and part.dropout > 0 and part.num_layers > 1:
            raise ValueError(
                f"`MCDropout` cannot keep the masks inside `{type(part).__name__}` ({name or 'the module itself'}, "
                f"dropout={part.dropout}) the same for the whole pool. Stack single layers with `nn.Dropout` between."
            )
