"""What the fits of a round ended with, and how the network's outputs are read: by the samples drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.loaders import to_device
from lightning_al.host.namespace import pl
from lightning_al.posterior import Fit, LastLayer, Posterior, PosteriorSamples
from lightning_al.posterior.base import Forward, PosteriorError, evaluating, in_evaluation_mode
from lightning_al.posterior.batches import num_points
from lightning_al.prediction.predictions import Rows, Source, predicting
from lightning_al.prediction.unscorable import OF_POOL, find_unreadable, said_of_labelled
from lightning_al.task import Task


class Fitted:
    """Predict batches with a module that was fitted.

    Its methods map batches on the module's device to rows, as `pass_over` needs them.

    Args:
        trainer: The Trainer.
        module: The module with the weights of the last fit.
        data: The data.
        posterior: How functions are sampled.
        last_layer: How embeddings are read.
        forward: Maps the module and a batch to raw outputs.
        task: What these mean.
        seed: Seed of the samples.
        fits: What the round's fits ended with.
        labelled: Indices of the points that the posterior may pass over again; by default all labelled ones.
        reads_predictions: Whether residuals are computed with the embeddings, which needs outputs that fit the task.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: ActiveDataModule,
        *,
        posterior: Posterior,
        last_layer: LastLayer,
        forward: Forward,
        task: Task,
        seed: int,
        fits: Sequence[Fit],
        labelled: Sequence[int] | None = None,
        reads_predictions: bool = True,
    ) -> None:
        self.trainer = trainer
        self.module = module
        self.data = data
        self.posterior = posterior
        self.last_layer = last_layer
        self.forward = forward
        self.task = task
        self.seed = seed
        self.fits = fits
        self.labelled = list(data.pool.labelled) if labelled is None else list(labelled)
        self.reads_predictions = reads_predictions

    @cached_property
    def pool(self) -> Source:
        """The training data by their indices, with labels hidden."""
        return self._source(self.data.pool_dataloader, OF_POOL, partial(find_unreadable, self.data))

    @cached_property
    def labelled_points(self) -> Source:
        """The training data by their indices, with the labels that they are trained on."""
        return self._source(self.data.labelled_dataloader, "labelled points")

    @cached_property
    def target_inputs(self) -> Source:
        """The inputs at which predictions will be made, by their places."""
        return self._source(self.data.target_inputs_dataloader, "target inputs")

    def _source(
        self,
        load: Callable[[list[int]], DataLoader[Any]],
        what: str,
        find: Callable[[list[int]], Mapping[int, Exception]] = lambda indices: {},
    ) -> Source:
        batch_size = self.data.pool_dataloader().batch_size or 1
        return Source(load, find, batch_size, what, partial(said_of_labelled, self.data))

    def labels(self, points: Sequence[int]) -> Tensor:
        """Return the labels of labelled points ``[n, ...]`` as batches have them; class numbers as int64."""
        found = [torch.as_tensor(self.data.target.labels(batch)) for batch in self.data.labelled_dataloader(points)]
        labels = torch.cat([part.cpu() for part in found]) if found else torch.empty(0, dtype=torch.int64)
        return labels if labels.is_floating_point() else labels.long()

    @cached_property
    def samples(self) -> PosteriorSamples:
        """The posterior samples, drawn when they are first read, while the module is on its device."""
        with (
            predicting(self.trainer),
            in_evaluation_mode(self.module),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            samples = self.posterior.draw(
                self.fits,
                self.module,
                _Passes(self._batches_of_labelled),
                forward=self.forward,
                seed=self.seed,
            )
        if not isinstance(samples, PosteriorSamples):
            raise TypeError(
                f"`{type(self.posterior).__name__}.draw` was to return `PosteriorSamples`, but got "
                f"{type(samples).__name__}. Return an object with `num_samples` and a method `outputs`."
            )
        return samples

    def log_probs(self, batches: Iterable[Any]) -> Iterator[Rows]:
        """Yield log-probabilities ``[n, K, C]`` for each batch.

        Raises:
            PosteriorError: If there are not as many samples as was said.
        """
        for batch in batches:
            samples = self.samples
            with evaluating(self.module):
                log_probs = [self.task.log_probs(output) for output in samples.outputs(batch)]
                if len(log_probs) != samples.num_samples:
                    raise PosteriorError(
                        f"`{type(samples).__name__}` has {samples.num_samples} posterior samples, but gave outputs of "
                        f"{len(log_probs)}. Yield one tensor from `outputs` for each."
                    )
                rows = torch.stack(log_probs, dim=1)
            yield (rows,)

    def log_probs_without_sampling(self, batch: Any) -> Tensor:
        """Return log-probabilities ``[n, C]`` of the module itself."""
        with evaluating(self.module):
            return self.task.log_probs(self.forward(self.module, batch))

    def log_probs_by(self, batches: Iterable[Any], *, sampled: bool) -> Iterator[Rows]:
        """Yield log-probabilities ``[n, K, C]`` for each batch: of the samples, or with K = 1 of the module itself."""
        if sampled:
            yield from self.log_probs(batches)
        else:
            yield from ((self.log_probs_without_sampling(batch).unsqueeze(1),) for batch in batches)

    def embeddings(self, batches: Iterable[Any]) -> Iterator[Rows]:
        """Yield embeddings ``[n, D]`` for each batch, and residuals ``[n, C]`` if predictions are read."""
        log_probs = self.task.log_probs if self.reads_predictions else None
        return self.last_layer.read(self.module, batches, forward=self.forward, log_probs=log_probs)

    def outputs(self, batches: Iterable[Any]) -> Iterator[Rows]:
        """Yield the module's raw outputs ``[n, F]``, or nothing for a batch where it gives none for each point."""
        for batch in batches:
            output = None
            try:
                with evaluating(self.module):
                    output = self.forward(self.module, batch)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception:  # whatever the module raises: the method that selects does without its outputs
                output = None
            if isinstance(output, Tensor) and output.dim() > 0 and len(output) == num_points(batch):
                rows = output.detach().float().reshape(len(output), -1)
                yield (rows.masked_fill(rows == torch.inf, torch.nan),)
            else:
                yield ()

    def _batches_of_labelled(self) -> Iterator[Any]:
        for batch in self.data.labelled_dataloader(self.labelled):
            yield to_device(self.trainer, self.module, batch)


class _Passes:
    """An iterable that begins a new pass each time."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()
