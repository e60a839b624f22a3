"""Programs that start by LightningCLI: what a configuration file says is what a program with the same objects does."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al import BALD, ActiveDataModule, ActiveLearning, BatchBALD, Entropy, MCDropout, Oracle
from lightning_al.host.namespace import NAMESPACE, pl
from tests.support.tasks import trainer as silent_trainer

pytest.importorskip("jsonargparse")
LightningCLI: Any = importlib.import_module(f"{NAMESPACE}.cli").LightningCLI

# Lightning uses what newer releases of jsonargparse name otherwise.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HERE = __name__


def points(n: int = 60, seed: int = 0) -> TensorDataset:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :3].argmax(1))


class LitPoints(pl.LightningDataModule):
    def __init__(self, n: int = 60, batch_size: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.num_classes = 3

    def setup(self, stage: str) -> None:
        self.train, self.test = points(self.hparams["n"]), points(20, seed=1)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=self.hparams["batch_size"], shuffle=True)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=20)


class Lit(pl.LightningModule):
    def __init__(self, hidden: int = 16, num_classes: int = 3, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


class Points(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, n: int = 40) -> None:
        self.points = points(n)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.points[index]


class Human(Oracle):
    def __init__(self, name: str = "Ada") -> None:
        self.name = name

    def label(self, indices: Sequence[int]) -> Mapping[int, Any]:
        return dict.fromkeys(indices)


def twice(module: Lit, batch: tuple[Tensor, Tensor]) -> Tensor:
    return 2 * module(batch[0])


def scored(data: LitPoints) -> TensorDataset:
    return data.train


def new_module() -> Lit:
    return Lit(hidden=16)


Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_other_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py"])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run LightningCLI on a configuration file, with arguments of ActiveLearning and of ActiveDataModule changed."""

    def run(
        *arguments: str,
        subcommand: str | None = "fit",
        active: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        trainer: Mapping[str, Any] | None = None,
        cli: Any = LightningCLI,
        **options: Any,
    ) -> Any:
        config = {
            "seed_everything": 3,
            "trainer": {
                "accelerator": "cpu",
                "devices": 1,
                "max_epochs": 1,
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "default_root_dir": str(tmp_path),
                "callbacks": [
                    {
                        "class_path": "lightning_al.ActiveLearning",
                        "init_args": {
                            "acquisition": "entropy",
                            "query_size": 4,
                            "max_rounds": 3,
                            "weights": "last",
                            **(active or {}),
                        },
                    }
                ],
                **(trainer or {}),
            },
            "data": {"data": {"class_path": f"{HERE}.LitPoints"}, "initial_size": 8, **(data or {})},
        }
        (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
        given = ["--config", str(tmp_path / "given.yaml"), *arguments]
        options = {"save_config_callback": None, **options}
        return cli(Lit, ActiveDataModule, args=[*([subcommand] if subcommand else []), *given], **options)

    return run


def active_of(cli: Any) -> ActiveLearning:
    (active,) = [callback for callback in cli.trainer.callbacks if isinstance(callback, ActiveLearning)]
    return active


def picks(active: ActiveLearning) -> list[list[int]]:
    return [round.indices for round in active.history]


def test_a_file_runs_what_the_program_does(run: Run, tmp_path: Path) -> None:
    cli = run()
    pl.seed_everything(3, workers=True, verbose=False)
    module, active = Lit(), ActiveLearning("entropy", query_size=4, max_rounds=3, weights="last")
    data = ActiveDataModule(LitPoints(), initial_size=8)
    silent_trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(module, datamodule=data)
    assert [len(asked) for asked in picks(active)] == [4, 4, 0]
    assert picks(active_of(cli)) == picks(active)
    assert [round.metrics for round in active_of(cli).history] == [round.metrics for round in active.history]
    assert all(torch.equal(one, other) for one, other in zip(cli.model.parameters(), module.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("batchbald", BatchBALD()),
        ("BatchBALD", BatchBALD()),
        ("lightning_al.BatchBALD", BatchBALD()),
        ("lightning_al.acquisition.BatchBALD", BatchBALD()),
        ({"class_path": "BatchBALD", "init_args": {"num_configurations": 64}}, BatchBALD(num_configurations=64)),
        ({"class_path": "lightning_al.BatchBALD", "init_args": {"exact": True}}, BatchBALD(exact=True)),
        ("BALD", BALD()),
        ("Entropy", Entropy()),
    ],
    ids=str,
)
def test_every_form_of_an_acquisition_function(run: Run, given: Any, meant: Any) -> None:
    assert active_of(run(subcommand=None, active={"acquisition": given}, run=False)).acquisition == meant


def test_a_shorthand_on_the_command_line_takes_options(run: Run) -> None:
    shorthand = ["--trainer.callbacks.acquisition=BatchBALD", "--trainer.callbacks.acquisition.num_configurations=64"]
    assert active_of(run(*shorthand, subcommand=None, run=False)).acquisition == BatchBALD(num_configurations=64)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("batchbold", "There is no acquisition function named 'batchbold'. Choose one of: bald, batchbald,"),
        ("BATCHBALD", "Did you mean 'batchbald', or the object `BatchBALD()`?"),
        ("MyMethod", "in a configuration file of LightningCLI, give its `class_path`"),
    ],
)
def test_what_is_no_acquisition_function_is_said(run: Run, given: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"There is no acquisition function") as refused:
        run(active={"acquisition": given})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mc_dropout", MCDropout()),
        ("MCDropout", MCDropout()),
        ({"class_path": "lightning_al.MCDropout", "init_args": {"num_samples": 5}}, MCDropout(num_samples=5)),
    ],
    ids=str,
)
def test_every_form_of_a_posterior(run: Run, given: Any, meant: Any) -> None:
    assert active_of(run(subcommand=None, active={"posterior": given}, run=False)).posterior == meant


def test_parts_of_ones_own(run: Run) -> None:
    human = {"class_path": f"{HERE}.Human", "init_args": {"name": "Grace"}}
    last_layer = {"class_path": "lightning_al.LastLayer"}
    own = {"oracle": human, "forward": f"{HERE}.twice", "last_layer": last_layer}
    fresh = {"reset": f"{HERE}.new_module"}
    active = active_of(run(active={**own, **fresh}))
    assert isinstance(active.oracle, Human)
    assert active.oracle.name == "Grace"
    assert active.forward is twice
    assert active.reset is new_module
    assert [len(asked) for asked in picks(active)] == [4, 4, 0]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        ({"initial_size": None, "initial": [0, 5, 9]}, 60),
        ({"data": {"class_path": f"{HERE}.LitPoints", "init_args": {"n": 50}}}, 50),
        ({"data": {"class_path": f"{HERE}.Points"}}, 40),
        ({"data": {"class_path": f"{HERE}.Points"}, "test": {"class_path": f"{HERE}.Points"}, "batch_size": 5}, 40),
        ({"pool_dataset": {"class_path": f"{HERE}.Points", "init_args": {"n": 60}}}, 60),
        ({"pool_dataset": f"{HERE}.scored"}, 60),
        ({"target": 1}, 60),
        ({"target": -1}, 60),
    ],
    ids=["initial", "options", "dataset", "datasets", "pool_dataset", "pool function", "target", "last"],
)
def test_data_of_every_form(run: Run, data: dict[str, Any], size: int) -> None:
    cli = run(data=data)
    assert len(cli.datamodule.dataset) == size
    assert [len(asked) for asked in picks(active_of(cli))] == [4, 4, 0]


@pytest.mark.parametrize(
    ("argument", "initial"),
    [("--data.initial_size=12", 12), ("--data.data.init_args.n=20", 8), ("--data.data.n=20", 8)],
)
def test_arguments_change_what_the_file_says(run: Run, argument: str, initial: int) -> None:
    cli = run(argument, "--trainer.callbacks.query_size=5")
    assert len(cli.datamodule.pool.initial) == initial
    assert len(cli.datamodule.dataset) == (20 if ".n=" in argument else 60)
    assert [len(asked) for asked in picks(active_of(cli))] == [5, 5, 0]


def test_a_saved_configuration_gives_the_same_run(run: Run, tmp_path: Path) -> None:
    logger = {"class_path": f"{NAMESPACE}.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path / "logs")}}
    shorthand = "--trainer.callbacks.acquisition=BatchBALD"
    from_file = importlib.import_module(f"{NAMESPACE}.cli").SaveConfigCallback
    first = run(shorthand, trainer={"logger": logger}, save_config_callback=from_file)
    saved = tmp_path / "logs" / "lightning_logs" / "version_0" / "config.yaml"
    (init_args,) = [callback["init_args"] for callback in yaml.safe_load(saved.read_text())["trainer"]["callbacks"]]
    assert init_args["acquisition"]["class_path"] == "lightning_al.BatchBALD"
    again = LightningCLI(Lit, ActiveDataModule, args=["fit", "--config", str(saved)])
    assert [len(asked) for asked in picks(active_of(first))] == [4, 4, 0]
    assert picks(active_of(again)) == picks(active_of(first))
    assert all(map(torch.equal, again.model.parameters(), first.model.parameters()))
    versions = sorted(path.parent.name for path in tmp_path.glob("logs/*/*/config.yaml"))
    assert versions == ["version_0", "version_1"], "each run saves its configuration once, not each round"


def test_a_printed_configuration_gives_the_same_run(run: Run, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run("--print_config", active={"acquisition": "BALD"})
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    printed = LightningCLI(Lit, ActiveDataModule, args=["fit", "--config", str(tmp_path / "printed.yaml")])
    assert picks(active_of(printed)) == picks(active_of(run(active={"acquisition": "BALD"})))


def test_help_lists_what_there_is(run: Run, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        LightningCLI(Lit, ActiveDataModule, args=["fit", "--trainer.callbacks.help=lightning_al.ActiveLearning"])
    said = capsys.readouterr().out
    assert "acquisition function that selects points" in said
    assert "--trainer.callbacks.query_size" in said.replace("init_args.", "")


def test_a_program_that_only_takes_the_objects(run: Run) -> None:
    cli = run(subcommand=None, run=False)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    assert picks(active_of(cli)) == picks(active_of(run()))


def test_classes_that_the_file_names(run: Run, tmp_path: Path) -> None:
    run(subcommand=None, run=False)
    config = yaml.safe_load((tmp_path / "given.yaml").read_text())
    config["model"] = {"class_path": f"{HERE}.Lit"}
    config["data"] = {"class_path": "lightning_al.ActiveDataModule", "init_args": config["data"]}
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(config))
    arguments = ["fit", "--config", str(tmp_path / "classes.yaml"), "--data.initial_size=12"]
    cli = LightningCLI(args=arguments, save_config_callback=None)
    assert dict(cli.datamodule.hparams) == {"n": 60, "batch_size": 8}
    assert dict(cli.datamodule.hparams_initial) == {"n": 60, "batch_size": 8}
    assert len(cli.datamodule.pool.initial) == 12
    assert [len(asked) for asked in picks(active_of(cli))] == [4, 4, 0]


def test_a_checkpoint_of_a_run_is_tested(run: Run, tmp_path: Path) -> None:
    kept = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(tmp_path / "kept"), "save_last": True}}
    callbacks = [
        {
            "class_path": "lightning_al.ActiveLearning",
            "init_args": {"acquisition": "BALD", "query_size": 4, "budget": 12},
        },
        kept,
    ]
    run(trainer={"callbacks": callbacks, "enable_checkpointing": True})
    (last,) = tmp_path.glob("kept/*/last.ckpt")
    tested = run(
        f"--ckpt_path={last}", subcommand="test", trainer={"callbacks": callbacks, "enable_checkpointing": True}
    )
    assert "test_acc" in tested.trainer.callback_metrics


class WithActive(LightningCLI):
    """The callback as a group of arguments of its own, as Lightning's docs give a program one that it always has."""

    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.add_lightning_class_args(ActiveLearning, "active")
        parser.set_defaults({"active.acquisition": "bald", "active.query_size": 4, "active.max_rounds": 2})


def test_a_callback_with_arguments_of_its_own(run: Run) -> None:
    cli = run("--active.acquisition=Entropy", "--active.query_size=6", trainer={"callbacks": None}, cli=WithActive)
    assert active_of(cli).acquisition == Entropy()
    assert [len(asked) for asked in picks(active_of(cli))] == [6, 0]


class Linked(LightningCLI):
    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")


def test_an_argument_of_the_model_that_the_data_know(run: Run) -> None:
    cli = run(cli=Linked)
    assert cli.model.hparams["num_classes"] == 3
    assert [len(asked) for asked in picks(active_of(cli))] == [4, 4, 0]
