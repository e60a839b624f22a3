"""Every file of conf/ composes, makes its object, and keeps the defaults of the class."""

from __future__ import annotations

import inspect
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

import lightning_al
from lightning_al.acquisition import create
from lightning_al.cli import configuration
from lightning_al.cli.sizes import SIZES, with_sizes
from lightning_al.data.from_files import FromFiles

CONF = Path(str(files("lightning_al.conf")))
FILES = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.glob("*/*.yaml"))
OF_OBJECTS = ("acquisition", "posterior", "oracle", "features", "data", "model", "trainer")
OBJECTS = [file for file in FILES if file.parts[0] in OF_OBJECTS and file.name != "none"]
GROUPS = {group: [file for file in OBJECTS if file.parts[0] == group] for group in {file.parts[0] for file in OBJECTS}}
PARTS = [file for file in FILES if file.parts[0] in ("callbacks", "logger")]
OPTIONAL = ("tensorboard", "mlflow", "wandb")

# What a file is there to change of the class's defaults.
PURPOSE = {
    "acquisition/softmax_bald": {"kind"},
    "acquisition/softrank_bald": {"kind"},
    "posterior/mc_dropout_50": {"num_samples"},
    "data/digits_repeated": {"repeats", "noise"},
    "model/mlp_head": {"lr"},
}

# Acquisition functions that have to be told what they wrap, so no name stands for them.
WRAPPERS = {"at_most_per_group", "class_balanced", "subsample"}


# What a file leaves to the user.
NEEDED = {
    "data/image_folder": ("data.root={folder}", "data.classes=[even,odd]"),
    "data/table": ("data.path={folder}/table.csv", "data.text=review", "data.classes=[even,odd]"),
}


@pytest.fixture
def needed(tmp_path: Path) -> Callable[[Path], list[str]]:
    """A function that returns what the user adds to a file, of data that are there."""
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    (tmp_path / "table.csv").write_text("review\ngood\nbad\n")
    return lambda file: [override.format(folder=tmp_path) for override in NEEDED.get(str(file), ())]


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
    named = {file.name for file in FILES if file.parts[0] == "acquisition"} - WRAPPERS
    assert named == set(lightning_al.available())
    assert {file.name for file in FILES if file.parts[0] == "oracle"} == set(lightning_al.available_oracles())
    variants = {path.rpartition("/")[2] for path in PURPOSE if path.startswith("posterior/")}
    posteriors = {file.name for file in FILES if file.parts[0] == "posterior"}
    assert posteriors - variants == set(lightning_al.available_posteriors())


def test_wrappers_nest(composed):
    inner = {"_target_": "lightning_al.Subsample", "acquisition": {"_target_": "lightning_al.EPIG"}, "size": 50}
    config = composed("acquisition=class_balanced", "acquisition.share=0.5")
    config.acquisition.acquisition = inner
    expected = lightning_al.ClassBalanced(lightning_al.Subsample("epig", size=50), share=0.5)
    assert instantiate(config.active).acquisition == expected


@pytest.mark.parametrize("file", OBJECTS, ids=str)
def test_every_object_is_made(composed, needed, file):
    group = file.parts[0]
    config = composed(*with_file(file), *needed(file))
    config.trainer.accelerator = "cpu"
    made = instantiate(with_sizes(config, Namespace(num_classes=2, num_inputs=3))[group])
    assert type(made) is kind_of(config[group]._target_)
    if group == "acquisition" and file.name not in WRAPPERS:
        assert made == create(file.name), "what its name stands for"


def kind_of(target: str) -> type:
    """The class that a file names, or that the function makes that it names."""
    return FromFiles if is_function(target) else get_class(target)


def is_function(target: str) -> bool:
    return target.rsplit(".", 1)[1].islower()


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
    # What only the user knows has no value, and what the data say is null.
    left = {key: config[key] for key in config if key != "_target_" and not OmegaConf.is_missing(config, key)}
    knobs = {str(key): left.get(key) for key in config if key != "_target_"}
    target = config._target_
    signature = inspect.signature(get_method(target) if is_function(target) else get_class(target))
    parameters = signature.parameters
    assert set(knobs) == set(parameters), "an absent key cannot be overridden"
    for key, value in knobs.items():
        if OmegaConf.is_config(value):
            assert_defaults(value, set())
        elif parameters[key].default is inspect.Parameter.empty or (key in SIZES and value is None):
            continue
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
    sized = with_sizes(config, Namespace(num_classes=10, num_inputs=64))
    for part in ("model", "pool", "active", "trainer"):
        instantiate(sized[part])
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


def test_own_data_bring_a_network_and_their_classes(composed):
    images = composed("data=image_folder", "data.root=photos", "data.classes=[cat,dog]")
    assert images.model == composed("model=image").model
    assert (list(images.pool.classes), images.metric) == (["cat", "dog"], None)
    rows = composed("data=table", "data.path=x.csv", "data.columns=[a,b]")
    assert rows.model == composed("model=table").model
    assert rows.pool.classes is None
    assert composed("data=table", "data.path=x.csv", "model=mlp").model == composed("model=mlp").model
    assert set(images) == set(composed())


def test_a_size_is_that_of_the_data_unless_it_is_given(composed):
    rows = composed("data=table", "data.path=x.csv")
    plain = rows.copy()
    OmegaConf.resolve(plain.model)
    model = with_sizes(plain, Namespace(num_classes=3, num_inputs=None)).model
    assert (model.num_classes, model.network.num_classes, model.network.num_inputs) == (3, 3, None)
    plain.model.num_classes = 7
    assert with_sizes(plain, Namespace(num_classes=3, num_inputs=5)).model.num_classes == 7


@pytest.mark.parametrize(
    ("missing", "settings", "value", "said"),
    [
        (
            "num_inputs",
            [],
            "5",
            r"Give the length of an input vector by (\S+)=LENGTH\. If inputs are no vectors, choose",
        ),
        ("num_classes", [], "3", r"Give it by (\S+)=NUMBER\."),
        ("num_classes", ["pool.classes=[a,b,c]"], "3", r"Give it by (\S+)=3\."),
    ],
)
def test_a_size_that_the_data_do_not_say_can_be_given_as_the_error_says(composed, missing, settings, value, said):
    data = Namespace(**({"num_classes": 3} if missing == "num_inputs" else {"num_inputs": 5}))

    def sized(*overrides):
        config = composed("model=mlp", *settings, *overrides)
        OmegaConf.resolve(config.model)
        return with_sizes(config, data).model

    with pytest.raises(ConfigCompositionException, match=f"is null, but `Namespace` has no attribute `{missing}`") as e:
        sized()
    [setting] = re.findall(said, str(e.value))
    model = sized(f"{setting}={value}")
    assert (model.num_classes, model.network.num_classes, model.network.num_inputs) == (3, 3, 5)
