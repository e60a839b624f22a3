"""Every file of conf/ composes, makes its object, and keeps the defaults of the class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf

import lightning_al
from lightning_al.cli import configuration

CONF = Path(str(files("lightning_al.conf")))
FILES = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.glob("*/*.yaml"))
OBJECTS = [
    file for file in FILES if file.parts[0] in ("acquisition", "posterior", "oracle", "data", "model", "trainer")
]
GROUPS = {group: [file for file in OBJECTS if file.parts[0] == group] for group in {file.parts[0] for file in OBJECTS}}
PARTS = [file for file in FILES if file.parts[0] in ("callbacks", "logger")]
OPTIONAL = ("tensorboard", "mlflow", "wandb")

# What a file is there to change of the class's defaults.
PURPOSE = {
    "posterior/mc_dropout_50": {"num_samples"},
    "data/digits_repeated": {"repeats", "noise"},
}


@cache
def composed_once(*overrides: str) -> DictConfig:
    with initialize_config_module("lightning_al.conf", version_base="1.3"):
        return compose("config", overrides=[*overrides], return_hydra_config=True)


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[object]:
    """A function that composes the configuration of a command line, as Hydra gives it to a run."""

    def composed(*overrides: str) -> DictConfig:
        config = composed_once(*overrides).copy()
        OmegaConf.update(config, "hydra.runtime.output_dir", str(tmp_path), force_add=True)
        HydraConfig.instance().set_config(config)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return config

    yield composed
    HydraConfig.instance().cfg = None


def with_file(file: Path) -> list[str]:
    """The overrides that choose a file, with one file of each other group, so that few configurations are composed."""
    place = GROUPS[file.parts[0]].index(file)
    return [f"{group}={files[min(place, len(files) - 1)].name}" for group, files in sorted(GROUPS.items())]


def test_a_file_stands_for_each_acquisition_function_posterior_and_oracle():
    assert {file.name for file in FILES if file.parts[0] == "acquisition"} == set(lightning_al.available())
    assert {file.name for file in FILES if file.parts[0] == "oracle"} == set(lightning_al.available_oracles())
    variants = {path.rpartition("/")[2] for path in PURPOSE if path.startswith("posterior/")}
    posteriors = {file.name for file in FILES if file.parts[0] == "posterior"}
    assert posteriors - variants == set(lightning_al.available_posteriors())


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "acquisition"], ids=str)
def test_an_acquisition_file_makes_what_its_name_stands_for(composed, file):
    from lightning_al.acquisition import create

    assert instantiate(composed(*with_file(file)).acquisition) == create(file.name)


@pytest.mark.parametrize("file", OBJECTS, ids=str)
def test_every_object_is_made(composed, file):
    group = file.parts[0]
    config = composed(*with_file(file))
    config.trainer.accelerator = "cpu"
    made = instantiate(config[group])
    assert type(made) is get_class(config[group]._target_)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what MLflow uses itself
@pytest.mark.parametrize("file", PARTS, ids=str)
def test_every_callback_and_logger_is_made(composed, file):
    from lightning_al.host.namespace import pl

    group, name = file.parts
    if name in OPTIONAL:
        pytest.importorskip(name)
    kind = {"callbacks": pl.Callback, "logger": pl.loggers.Logger}[group]
    for part in (composed(f"{group}={name}")[group] or {}).values():
        assert isinstance(instantiate(part), kind)


@pytest.mark.parametrize("file", [file for file in OBJECTS if file.parts[0] != "trainer"], ids=str)
def test_every_knob_is_there_and_keeps_the_default_of_the_class(composed, file):
    group = file.parts[0]
    config = composed(*with_file(file))[group]
    assert_defaults(config, PURPOSE.get(str(file), set()))


def assert_defaults(config: DictConfig, purpose: set[str]) -> None:
    knobs = {key: value for key, value in config.items() if key != "_target_"}
    target = config._target_
    signature = inspect.signature(get_method(target) if target.rsplit(".", 1)[1].islower() else get_class(target))
    parameters = signature.parameters
    assert set(knobs) == set(parameters), "an absent key cannot be overridden"
    for key, value in knobs.items():
        if OmegaConf.is_config(value):
            assert_defaults(value, set())
        elif key not in purpose:
            default = parameters[key].default
            assert value == default, f"{key} is {value!r}, but the signature says {default!r}"
        else:
            assert value != parameters[key].default, f"{key} changes nothing"


@pytest.mark.parametrize(
    ("part", "left_out"),
    [
        # The run folder is the command line's own, and it runs all rounds.
        ("active", {"folder", "rounds_per_fit"}),
        # What wraps a plain dataset is for programs.
        ("pool", {"val", "test", "predict", "batch_size", "num_workers", "collate_fn", "pin_memory"}),
    ],
)
def test_the_knobs_of_the_loop_are_all_there(composed, part, left_out):
    config = composed()[part]
    parameters = set(inspect.signature(get_class(config._target_)).parameters)
    assert set(config) - {"_target_"} == parameters - left_out


def test_one_node_is_the_default_of_lightning_too(composed):
    for name in ("default", "gpu"):
        config = composed(f"trainer={name}").trainer
        # A Trainer's signature names what it takes, though Lightning wraps it.
        assert config.num_nodes == inspect.signature(get_class(config._target_)).parameters["num_nodes"].default


def test_the_known_settings_are_those_of_the_file(composed):
    assert {*configuration.PARTS, *configuration.VALUES} == set(composed())


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[0] == "experiment"], ids=str)
def test_every_experiment_makes_its_objects(composed, file):
    config = composed(f"experiment={file.name}")
    for part in ("model", "pool", "active", "trainer"):
        instantiate(config[part])
    assert set(config) == set(composed())


def test_mnist_brings_the_papers_network(composed):
    assert composed("data=mnist").model == composed("model=paper_cnn").model
    assert composed("data=mnist", "model=digits_cnn").model == composed().model


def test_the_papers_setting_is_the_papers(composed):
    config = composed("experiment=mnist_paper", "acquisition=bald")
    assert (config.data.val_size, config.data.batch_size, config.pool.samples_per_epoch) == (1024, 64, 5056)
    assert (config.trainer.max_epochs, config.callbacks.early_stopping.patience, config.posterior.num_samples) == (
        30,
        3,
        100,
    )
    assert (config.pool.initial_size, config.pool.balanced, config.active.reset) == (20, True, "fresh")


def test_the_seed_reaches_all_that_draws(composed):
    config = composed("seed=7")
    assert (config.active.seed, config.pool.seed, config.data.seed) == (7, 7, 7)
    assert composed("data=mnist", "seed=7").data.seed == 7
