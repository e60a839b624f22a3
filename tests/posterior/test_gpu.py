"""On a GPU: the numbers, picks and rounds that a CPU gives. Skipped where torch finds none: `pytest -n 0 -m gpu`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_al import ActiveDataModule, ActiveLearning, LastLayer, MCDropout
from lightning_al.acquisition import Acquisition, BatchBALD, Selection, available, create
from lightning_al.demos.networks import paper_cnn
from lightning_al.points import Candidates
from tests.references import random_log_probs
from tests.support.pools import pool
from tests.support.samples import log_probs_of
from tests.support.tasks import CLASSES, LitMLP, LitPoints, points, trainer
from tests.test_callback import plain, same_weights, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    # torch's advice on its own DDP, and on its compiler.
    pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
    # Three epochs make no good posterior.
    pytest.mark.filterwarnings("ignore:.*the mean of the posterior samples predicts worse"),
]

NETWORKS = {
    "CNN": (paper_cnn, (1, 28, 28)),
    "MLP": (lambda: nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5)), (9,)),
    "GRU": (lambda: Recurrent(), (6, 4)),
}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.GRU(4, 16, num_layers=2, dropout=0.4, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[0][:, -1])


def select(name: str, log_probs_N_K_C: torch.Tensor, b: int, **kwargs: Any) -> Any:
    return create(name, **kwargs).select(pool(log_probs_N_K_C), b, torch.Generator())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", available())
def test_picks_are_those_of_the_cpu(name: str, dtype: torch.dtype) -> None:
    log_probs_N_K_C = random_log_probs(200, 20, 4, seed=0, dtype=dtype)
    here, there = select(name, log_probs_N_K_C, 12), select(name, log_probs_N_K_C.cuda(), 12)
    assert there.positions.tolist() == here.positions.tolist()
    torch.testing.assert_close(there.scores.cpu(), here.scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_configurations", [100, 5_000])
def test_batches_past_the_exact_tree_are_those_of_the_cpu(num_configurations: int) -> None:
    log_probs_N_K_C = random_log_probs(300, 30, 5, seed=1)
    kwargs = {"num_configurations": num_configurations}
    here, there = (select("batchbald", table, 15, **kwargs) for table in (log_probs_N_K_C, log_probs_N_K_C.cuda()))
    assert there.positions.tolist() == here.positions.tolist()


def test_a_stream_gives_the_batch_of_the_whole_pool() -> None:
    log_probs_N_K_C = random_log_probs(300, 20, 5, seed=2).cuda()
    stream = Candidates.stream(300, lambda: log_probs_N_K_C.split(37))
    method = BatchBALD(num_configurations=1_000)
    streamed = method.select(stream, 10, torch.Generator())
    whole = method.select(Candidates(300, log_probs_N_K_C), 10, torch.Generator())
    assert streamed.positions.tolist() == whole.positions.tolist()


@pytest.mark.parametrize("name", available())
def test_equal_points_are_told_apart_as_on_the_cpu(name: str) -> None:
    log_probs_N_K_C = random_log_probs(12, 10, 3, seed=3).repeat(15, 1, 1)
    here, there = select(name, log_probs_N_K_C, 40), select(name, log_probs_N_K_C.cuda(), 40)
    assert there.positions.tolist() == here.positions.tolist()
    chunks = pool(log_probs_N_K_C.cuda(), chunk_size=50)
    streamed = create(name).select(chunks, 40, torch.Generator())
    assert streamed.positions.tolist() == here.positions.tolist()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_samples_are_those_of_the_cpu(name: str, autocast: bool) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    module = make()
    inputs = torch.randn(50, *shape)
    posterior = MCDropout(20, autocast=autocast)

    def predict(module: nn.Module, *batches: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(log_probs_of(posterior, module, batches, seed=3))).cpu()

    here = predict(copy.deepcopy(module), inputs)
    there = predict(module.cuda(), inputs.cuda())
    batched = predict(module, *inputs.cuda().split(7))
    exact = {"atol": 2e-3, "rtol": 2e-3} if not autocast else {"atol": 0.1, "rtol": 0.1}
    torch.testing.assert_close(there, here, **exact)
    torch.testing.assert_close(batched, there, **exact)
    assert (there[:, 0] - there[:, 1]).abs().max() > 0.01  # the samples differ


def run(path: Path, *, folder: Path | None = None, budget: int = 24, **kwargs: Any) -> tuple[Any, ...]:
    arguments = {"acquisition": "batchbald", "posterior": MCDropout(20), "seed": 1, **kwargs.pop("active", {})}
    active = ActiveLearning(arguments.pop("acquisition"), query_size=4, budget=budget, folder=folder, **arguments)
    torch.manual_seed(7)
    module, data = LitMLP(), ActiveDataModule(LitPoints(80), initial_size=8, balanced=True, seed=0)
    loop = trainer(path, accelerator="gpu", callbacks=[active], **{"max_epochs": 3, "deterministic": True, **kwargs})
    loop.fit(module, datamodule=data)
    return active, weights(module), loop


@pytest.mark.parametrize("name", available())
def test_a_run_gives_the_same_twice_and_gathers_on_the_cpu(tmp_path: Path, name: str) -> None:
    active = {"acquisition": name, "test": "posterior"}
    first, second = run(tmp_path, active=active), run(tmp_path, active=active)
    assert plain(first[0].history) == plain(second[0].history)
    assert same_weights(first[1], second[1])
    assert [len(round.indices) for round in first[0].history] == [4, 4, 4, 4, 0]
    assert first[0].history[-1].peak_bytes["fit_cuda"] > 0


@pytest.mark.parametrize("reset", ["initial", "warm", "fresh"])
def test_a_run_in_two_parts_ends_as_one(tmp_path: Path, reset: Any) -> None:
    whole = run(tmp_path, active={"reset": reset})
    run(tmp_path, folder=tmp_path / "run", budget=16, active={"reset": reset})
    parts = run(tmp_path, folder=tmp_path / "run", active={"reset": reset})
    assert plain(parts[0].history) == plain(whole[0].history)
    assert same_weights(parts[1], whole[1])


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true", "64-true"])
def test_precisions(tmp_path: Path, precision: Any) -> None:
    active, _, _ = run(tmp_path, precision=precision)
    assert active.done
    assert all(torch.isfinite(torch.tensor(round.scores)).all() for round in active.history)


def test_one_process_of_ddp(tmp_path: Path) -> None:
    first, second = run(tmp_path, strategy="ddp"), run(tmp_path, strategy="ddp")
    assert first[0].done
    assert plain(first[0].history) == plain(second[0].history)


class LitMeasuring(LitMLP):
    """Keeps metrics and numbers of its own, which follow the module to its device and back."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(CLASSES)
        self.seen = torch.zeros(1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen = self.seen.to(self.device) + len(batch[0])
        self.accuracy(self(batch[0]), batch[1])
        self.log("train_acc", self.accuracy)
        return super().training_step(batch, batch_idx)


def test_what_a_module_keeps_follows_it_to_the_device(tmp_path: Path) -> None:
    active = ActiveLearning("bald", query_size=4, budget=20, seed=1)
    data = ActiveDataModule(points(60), initial_size=8, seed=0)
    trainer(tmp_path, accelerator="gpu", callbacks=[active]).fit(LitMeasuring(), datamodule=data)
    assert active.done


def test_no_line_of_lightning_s_comes_again_in_each_round(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run(tmp_path)
    said = [record.getMessage() for record in caplog.records if record.name.startswith(("lightning", "pytorch"))]
    assert len([line for line in said if line.startswith("LOCAL_RANK")]) == 1


def test_the_best_weights_and_workers(tmp_path: Path) -> None:
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

    active = ActiveLearning("bald", query_size=4, budget=24, seed=1)
    data = ActiveDataModule(LitPoints(80, num_workers=2, pin_memory=True), initial_size=8, seed=0)
    callbacks = [active, EarlyStopping("val_loss"), ModelCheckpoint(tmp_path / "best", "{epoch}", "val_loss")]
    loop = trainer(tmp_path, accelerator="gpu", callbacks=callbacks, enable_checkpointing=True)
    loop.fit(LitMLP(), datamodule=data)
    assert active.done
    assert all(round.validation_labels == 16 for round in active.history)


def test_a_compiled_network(tmp_path: Path) -> None:
    active = ActiveLearning("batchbald", query_size=4, budget=16, seed=1)
    module = LitMLP()
    module.net = torch.compile(module.net)
    data = ActiveDataModule(points(40), initial_size=8, seed=0)
    trainer(tmp_path, accelerator="gpu", callbacks=[active]).fit(module, datamodule=data)
    assert active.done


def test_scoring_leaves_the_generators_of_the_gpu_alone() -> None:
    module = NETWORKS["MLP"][0]().cuda()
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state()
    list(log_probs_of(MCDropout(5), module, [torch.randn(4, 9).cuda()], seed=0))
    assert torch.cuda.get_rng_state().equal(before)


def test_embeddings_of_the_last_layer(tmp_path: Path) -> None:
    class LargestEmbedding(Acquisition):
        def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
            norms_N = candidates.embeddings_N_D.norm(dim=1)
            shapes.append(candidates.embeddings_N_D.shape)
            return Selection(norms_N.topk(b).indices, norms_N.topk(b).values)

    shapes: list[torch.Size] = []
    run(tmp_path, budget=12, active={"acquisition": LargestEmbedding(), "last_layer": LastLayer()})
    assert torch.Size([72, 16]) in shapes
