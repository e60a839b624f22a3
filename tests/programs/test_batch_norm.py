"""Programs with batch norm, whose labelled set passes every size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, WeightedRandomSampler

from lightning_al import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.run.seeds import derive
from tests.support.numbered import LitData, LitNumbers, epochs_of, flat, labelled_in, numbered, run
from tests.support.tasks import trainer

DS = numbered()


class LitNorm(LitNumbers):
    """Batch norm as most networks have it."""

    def __init__(self) -> None:
        super().__init__(norm=True)


class LitLazy(LitNumbers):
    """Batch norm that learns its width from the first batch, in a part of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.LazyBatchNorm1d()), self.net[3], self.net[4])
        self(torch.zeros(2, 6))


class LitSetup(LitNumbers):
    """Batch norm that comes with `configure_model`."""

    def __init__(self) -> None:
        super().__init__()
        self.norm: nn.Module | None = None

    def configure_model(self) -> None:
        if self.norm is None:
            self.norm = nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.norm is not None
        return super().forward(torch.cat([x[:, :1], self.norm(x)[:, 1:]], dim=1))


@pytest.mark.parametrize("make", [lambda: LitNorm(), LitLazy, LitSetup], ids=["built", "lazy", "configured"])
def test_a_run_passes_every_size_of_the_labelled_set(tmp_path: Path, make: Any) -> None:
    module, data, _ = run(
        tmp_path,
        lambda: DataLoader(DS, 4, shuffle=True),
        module=make(),
        initial_size=2,
        query_size=1,
        rounds=9,
        epochs=1,
    )
    assert list(module.trained) == list(range(9))
    for number, epoch in epochs_of(module):
        assert sorted(flat(epoch)) == sorted(labelled_in(data, number))
        assert min(map(len, epoch)) >= 2
        assert len(epoch) == -(-(number + 2) // 4)


@pytest.mark.parametrize(
    ("shuffle", "samples"),
    [
        (True, None),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((False, None), (False, 25), (True, 25))),
    ],
)
def test_other_modules_and_other_sizes_train_the_batches_of_today(shuffle: bool, samples: int | None) -> None:
    """Several sizes and batch sizes, against a datamodule that no module is fitted with."""

    def batches(norm: bool | None, size: int, batch_size: int, drop_last: bool) -> list[list[list[int]]]:
        wrapped = LitData(lambda: DataLoader(DS, batch_size, shuffle=shuffle, drop_last=drop_last))
        data = ActiveDataModule(wrapped, initial_size=size, samples_per_epoch=samples)
        if norm is not None:
            data.trainer = trainer(".")
            data.trainer.strategy._lightning_module = LitNumbers(norm)
        data.setup("fit")
        loader = data.train_dataloader()
        epochs = [[x[:, 0].long().tolist() for x, _ in loader] for _ in range(2)]
        assert {len(loader)} == {len(epoch) for epoch in epochs}
        return epochs

    for size in [*range(2, 12), 17, 25, 40]:
        for batch_size in (2, 3, 8):
            drop_last = size % 2 == 0
            plain = batches(None, size, batch_size, drop_last)
            length = samples or size
            leaves_one = length % batch_size == 1 and not (drop_last and length >= batch_size)
            if size % 5 == 0:
                assert batches(False, size, batch_size, drop_last) == plain
            made = batches(True, size, batch_size, drop_last)
            assert (made == plain) != leaves_one
            assert [flat(epoch) for epoch in made] == [flat(epoch) for epoch in plain]
            assert min(len(batch) for epoch in made for batch in epoch) >= 2


@pytest.mark.parametrize("sampler", [RandomSampler(DS, num_samples=9), WeightedRandomSampler([1.0] * 60, 9)])
def test_a_sampler_s_epoch_may_leave_one_point_alone(tmp_path: Path, sampler: Any) -> None:
    module, _, _ = run(tmp_path, lambda: DataLoader(DS, 4, sampler=sampler), module=LitNorm(), rounds=2)
    assert [[len(batch) for batch in epoch] for _, epoch in epochs_of(module)] == [[4, 3, 2]] * 4


def test_a_class_of_loader_leaves_none_alone_either(tmp_path: Path) -> None:
    class Own(DataLoader[Any]):
        """A loader of the user's."""

    module, _, _ = run(tmp_path, lambda: Own(DS, 4, num_workers=1), module=LitNorm(), initial_size=9, rounds=1)
    assert [[len(batch) for batch in epoch] for _, epoch in epochs_of(module)] == [[4, 3, 2]] * 2


@pytest.mark.parametrize("make", [lambda: LitNorm(), LitSetup], ids=["built", "configured"])
@pytest.mark.parametrize(
    "arguments", [{"initial_size": 1}, {"initial": [7]}, {"initial_size": 4, "samples_per_epoch": 1}]
)
def test_one_point_alone_is_refused_before_the_first_step(tmp_path: Path, make: Any, arguments: dict[str, Any]) -> None:
    module = make()
    with pytest.raises(
        ValueError, match=r"has batch norm, which cannot be trained on a single point.*initial_size=2\)"
    ):
        run(tmp_path, lambda: DataLoader(DS, 4), module=module, run_folder=tmp_path / "run", **arguments)
    assert not module.trained
    if isinstance(module, LitSetup):
        return
    # Nothing is left in the way of the remedy.
    run(tmp_path, lambda: DataLoader(DS, 4), module=make(), run_folder=tmp_path / "run", initial_size=2, rounds=1)


def test_one_point_without_batch_norm_is_trained(tmp_path: Path) -> None:
    module, _, _ = run(tmp_path, lambda: DataLoader(DS, 4), initial_size=1, query_size=4, rounds=2)
    assert [[len(batch) for batch in epoch] for _, epoch in epochs_of(module)] == [[1]] * 2 + [[4, 1]] * 2


def test_the_whole_run_is_that_of_the_plain_program_where_no_point_is_alone(tmp_path: Path) -> None:
    """Bit for bit, on unshuffled batches of 4."""
    with_norm, data, active = run(
        tmp_path, lambda: DataLoader(DS, 4), module=LitNorm(), initial_size=4, query_size=2, rounds=3
    )
    torch.manual_seed(0)
    plain = LitNorm()
    plain.load_state_dict(active.state_dict()["initial"])
    subset = torch.utils.data.Subset(DS, data.pool.labelled)

    class Seeded(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            torch.manual_seed(derive(0, 2, "fit"))

    class Plain(pl.LightningDataModule):
        pool = data.pool

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(subset, 4, generator=torch.Generator())

    trainer(tmp_path, callbacks=[Seeded()]).fit(plain, datamodule=Plain())
    assert plain.trained[2] == with_norm.trained[2]
    for name, value in plain.state_dict().items():
        assert torch.equal(value, with_norm.state_dict()[name]), name
