"""Scoring the pool: the same whatever carries it, and refused where inputs are unclear."""

from __future__ import annotations

import csv
import io
import re
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rich.console
import torch
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, LastLayer
from lightning_al.acquisition import Acquisition, BatchBALD, Selection
from lightning_al.data.target import Target
from lightning_al.host.namespace import pl
from lightning_al.points import Candidates
from lightning_al.posterior import Deterministic, MCDropout, Posterior
from lightning_al.prediction.forward import default_forward
from lightning_al.run.history import Round
from tests.support.samples import predict_pool
from tests.support.tasks import LitMLP, points, trainer


def scored(tmp_path: Path, **kwargs: Any) -> tuple[list[int], list[float]]:
    torch.manual_seed(0)
    data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=8, **kwargs)
    active = ActiveLearning("batchbald", query_size=6, max_rounds=2, posterior=MCDropout(3))
    trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
    return active.history[0].indices, active.history[0].scores


@pytest.mark.parametrize("batch_size", [1, 51, *(pytest.param(size, marks=pytest.mark.slow) for size in (7, 52, 1000))])
def test_picks_do_not_depend_on_the_batch_size_of_scoring(tmp_path: Path, batch_size: int) -> None:
    indices, scores = scored(tmp_path)
    other_indices, other_scores = scored(tmp_path, pool_batch_size=batch_size)
    assert other_indices == indices
    assert other_scores == pytest.approx(scores, abs=1e-5)


class TwoInputs(nn.Module):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * mask


class OneInput(nn.Module):
    def forward(self, inputs: Any) -> Any:
        return inputs["image"] * inputs["mask"] if isinstance(inputs, dict) else inputs * 3


IMAGE, MASK, LABEL = torch.tensor([2.0]), torch.tensor([5.0]), torch.tensor([1])


@pytest.mark.parametrize(
    ("module", "batch", "expected"),
    [
        (OneInput(), (IMAGE, LABEL), 6.0),
        (OneInput(), [IMAGE, LABEL], 6.0),
        (OneInput(), IMAGE, 6.0),
        (OneInput(), {"image": IMAGE, "label": LABEL}, 6.0),
        (TwoInputs(), (IMAGE, MASK, LABEL), 10.0),
        (TwoInputs(), {"image": IMAGE, "mask": MASK, "y": LABEL}, 10.0),
        (OneInput(), {"image": IMAGE, "mask": MASK, "target": LABEL}, 10.0),
    ],
)
def test_the_module_is_called_on_the_inputs(module: nn.Module, batch: Any, expected: float) -> None:
    assert default_forward(Target())(module, batch).item() == expected


def test_a_label_that_is_not_the_last_is_left_out() -> None:
    assert default_forward(Target(0))(TwoInputs(), (LABEL, IMAGE, MASK)).item() == 10.0


def test_inputs_that_the_module_does_not_know_are_refused() -> None:
    batch = {"pixels": IMAGE, "mask": MASK, "label": LABEL}
    with pytest.raises(
        ValueError, match=r"A batch has the inputs pixels, mask, but `TwoInputs.forward` takes image, mask. Pass"
    ):
        default_forward(Target())(TwoInputs(), batch)


class Scoring(pl.Callback):
    """Pass over the pool when training has ended, and look at what holds between two chunks."""

    def __init__(self, look: Callable[[pl.Trainer, Iterator[Tensor]], list[Any]], posterior: Posterior) -> None:
        self.look, self.posterior, self.seen = look, posterior, []  # type: ignore[var-annotated]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for _ in range(2):
            chunks = predict_pool(trainer, pl_module, data, posterior=self.posterior, seed=3)
            self.seen.append(self.look(trainer, chunks))


def test_each_pass_over_the_pool_gives_the_same_chunks_and_keeps_none(tmp_path: Path) -> None:
    alive: list[weakref.ref[Tensor]] = []

    def look(running: pl.Trainer, chunks: Iterator[Tensor]) -> list[Any]:
        seen = []
        for chunk in chunks:
            alive.append(weakref.ref(chunk))
            seen.append((list(chunk.shape), chunk.sum().item()))
            # The one before is let go of only when the next one stands in its place.
            assert sum(reference() is not None for reference in alive) <= 2
        return seen

    scoring = Scoring(look, MCDropout(10))
    data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=5)
    trainer(tmp_path, callbacks=[scoring]).fit(LitMLP(), datamodule=data)
    assert [shape for shape, _ in scoring.seen[0]] == [[20, 10, 4], [20, 10, 4], [12, 10, 4]]
    assert scoring.seen[0] == scoring.seen[1]


class Farthest(Acquisition):
    """Asks for the embeddings of largest norm, and keeps what it saw."""

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        self.embeddings_N_D, self.residuals_N_C = candidates.embeddings_N_D, candidates.residuals_N_C
        self.log_probs_N_K_C = candidates.log_probs_N_K_C
        scores, positions = self.embeddings_N_D.norm(dim=1).topk(b)
        return Selection(positions, scores)


def test_embeddings_and_log_probabilities_are_those_of_the_same_points(tmp_path: Path) -> None:
    def asked(**kwargs: Any) -> tuple[Farthest, Round]:
        torch.manual_seed(0)
        data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=7)
        farthest = Farthest()
        active = ActiveLearning(farthest, query_size=4, max_rounds=2, posterior=MCDropout(3), weights="last", **kwargs)
        module = LitMLP(lr=0.0)
        trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
        unlabelled = [index for index in range(60) if index not in data.pool.initial]
        x = torch.stack([points(60)[index][0] for index in unlabelled])
        log_probs_N_C = module.eval()(x).log_softmax(1)
        expected = log_probs_N_C.exp() - nn.functional.one_hot(log_probs_N_C.argmax(1), log_probs_N_C.shape[1])
        torch.testing.assert_close(farthest.residuals_N_C.float(), expected, atol=1e-3, rtol=1e-3)
        assert farthest.log_probs_N_K_C.shape == (52, 3, 4)
        chosen = farthest.embeddings_N_D.norm(dim=1).topk(4).indices
        assert active.history[0].indices == [unlabelled[position] for position in chosen]
        return farthest, active.history[0]

    whole, round = asked()
    half, half_round = asked(last_layer=LastLayer(dtype="float16"))
    assert half.embeddings_N_D.dtype == torch.float16
    torch.testing.assert_close(half.embeddings_N_D.float(), whole.embeddings_N_D, atol=1e-3, rtol=1e-3)
    assert set(round.seconds) == set(half_round.seconds) == {"fit", "score", "select", "label"}


def test_progress_shows_rate_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(rich, "_console", rich.console.Console(file=shown, force_terminal=True, width=120))

    def look(running: pl.Trainer, chunks: Iterator[Tensor]) -> list[Any]:
        return [time.sleep(0.15) for _ in chunks]

    data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=8)
    scoring = Scoring(look, Deterministic())
    bar = pl.callbacks.TQDMProgressBar()  # Lightning's other bar makes a console of its own
    trainer(tmp_path, callbacks=[bar, scoring], enable_progress_bar=True).fit(LitMLP(), datamodule=data)
    without_colours = re.sub(r"\x1b\[[\d;?]*\w", "", shown.getvalue())
    assert re.search(r"Scoring the pool \S+ +\d+/52 [\d.]+ points/s 0:\d\d:\d\d 0:\d\d:\d\d", without_colours)
    shown.truncate(0)
    trainer(tmp_path, callbacks=[Scoring(look, Deterministic())]).fit(LitMLP(), datamodule=data)
    assert "Scoring" not in shown.getvalue()


def test_between_two_chunks_neither_stage_nor_precision_is_that_of_predicting(tmp_path: Path) -> None:
    def look(running: pl.Trainer, chunks: Iterator[Tensor]) -> list[Any]:
        return [(running.predicting, torch.is_autocast_enabled("cpu")) for _ in chunks]

    scoring = Scoring(look, MCDropout(10))
    data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=5)
    trainer(tmp_path, callbacks=[scoring], precision="bf16-mixed").fit(LitMLP(), datamodule=data)
    assert scoring.seen == [[(False, False)] * 3] * 2


@pytest.mark.parametrize("exact", [False, True])
def test_a_byte_budget_chooses_from_a_stream(tmp_path: Path, exact: bool) -> None:
    def asked(acquisition: BatchBALD) -> Round:
        torch.manual_seed(0)
        data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=8)
        active = ActiveLearning(acquisition, query_size=4, max_rounds=2, posterior=MCDropout(10))
        trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
        return active.history[0]

    whole, within = asked(BatchBALD()), asked(BatchBALD(max_memory=16 * 40 * 4, exact=exact))
    assert whole.details["shortfall"] == 0.0
    if exact:
        assert within.indices == whole.indices
        assert within.details == whole.details
    else:
        assert within.indices[0] == whole.indices[0]
        assert within.details["shortfall"] > 0.0


def test_a_batch_too_large_for_the_samples_is_warned_of_once(tmp_path: Path) -> None:
    torch.manual_seed(1)  # whose second batch uses up .97 of what two samples can tell
    data = ActiveDataModule(points(80), initial_size=8, val=points(20, seed=1), batch_size=8)
    active = ActiveLearning(
        BatchBALD(num_configurations=20), query_size=24, max_rounds=4, posterior=MCDropout(2), seed=1
    )
    with pytest.warns(UserWarning, match="2 posterior samples are few for a batch of 24 points") as caught:
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(p=0.5), datamodule=data)
    assert sum("samples are few" in str(warning.message) for warning in caught) == 1
    assert len(active.history) == 4
    assert all(round.details["picks_below_noise"] > 0 for round in active.history[:3])


def test_loggers_get_the_figures_of_the_batch(tmp_path: Path) -> None:
    logger = pl.loggers.CSVLogger(tmp_path)
    data = ActiveDataModule(points(60), initial_size=8, val=points(20, seed=1), batch_size=8)
    active = ActiveLearning("batchbald", query_size=3, max_rounds=2, posterior=MCDropout(10))
    trainer(tmp_path, callbacks=[active], logger=logger).fit(LitMLP(), datamodule=data)
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["al/asked"] == "3"]
    details = active.history[0].details
    assert float(rows[0]["al/share_used"]) == details["share_used"]
    assert float(rows[0]["al/information"]) == details["information"][-1]  # type: ignore[index]
    assert len(details["information"]) == 3  # type: ignore[arg-type]
    assert active.history[1].details == {}
