"""A configuration makes nothing but what the list allows: by any spelling, at any depth, stored or typed."""

from __future__ import annotations

import pkgutil
import re
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from lightning_al.cli.allow_list import AllowList, leaves
from lightning_al.cli.allowed_names import ALLOWED as LISTED
from lightning_al.cli.configuration import as_stored
from tests.cli.test_cli import TINY
from tests.cli.test_conf import CONF
from tests.support.commands import refusal, run
from tests.support.stored import composed

ALLOWED = [
    "lightning_al.ActiveLearning",
    "lightning_al.BALD",
    "pytorch_lightning.callbacks.EarlyStopping",
    "pytorch_lightning.loggers.MLFlowLogger",
    "pytorch_lightning.loggers.TensorBoardLogger",
    "pytorch_lightning.loggers.WandbLogger",
    "lightning_al.demos.Classifier",
    "lightning_al.demos.image_network",
    "lightning_al.demos.table_network",
    "lightning_al.image_folder",
    "lightning_al.table",
    "lightning_al.demos.digits_cnn",
    "lightning_al.demos.networks.paper_cnn",
    "lightning_al.posterior.last_layer.LastLayer",
    "lightning_al.report.progress.RoundProgress",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.StochasticWeightAveraging",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.progress.rich_progress.RichProgressBarTheme",
    "pytorch_lightning.loggers.CSVLogger",
    "pytorch_lightning.strategies.DDPStrategy",
    "torch.nn.Linear",
    "torch.nn.Sequential",
    "torch.nn.modules.linear.Linear",
    "torch.optim.Adam",
    "torch.optim.lr_scheduler.CosineAnnealingLR",
    "torch.utils.data.ConcatDataset",
    "torch.utils.data.TensorDataset",
    "torchmetrics.Accuracy",
    "torchmetrics.MetricCollection",
    "torchmetrics.classification.MulticlassAccuracy",
    "torchvision.datasets.CIFAR10",
    "torchvision.datasets.FakeData",
    "torchvision.datasets.mnist.MNIST",
    "torchvision.models.ResNet",
    "torchvision.transforms.Compose",
    "torchvision.transforms.v2.Normalize",
]

FORBIDDEN = [
    # Of the standard library.
    "builtins.eval",
    "builtins.exec",
    "builtins.compile",
    "builtins.__import__",
    "builtins.getattr",
    "builtins.map",
    "builtins.open",
    "builtins.print",
    "builtins.type",
    "codecs.open",
    "code.interact",
    "ctypes.CDLL",
    "functools.partial",
    "functools.reduce",
    "importlib.import_module",
    "io.open",
    "json.load",
    "logging.config.dictConfig",
    "marshal.loads",
    "multiprocessing.Process",
    "operator.attrgetter",
    "os.execv",
    "os.popen",
    "os.remove",
    "os.system",
    "pathlib.Path",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "posix.system",
    "pty.spawn",
    "runpy.run_path",
    "runpy.run_module",
    "shelve.open",
    "shutil.copyfile",
    "shutil.rmtree",
    "socket.socket",
    "subprocess.Popen",
    "subprocess.run",
    "sys.exit",
    "sys.setrecursionlimit",
    "tempfile.mktemp",
    "threading.Thread",
    "timeit.timeit",
    "types.FunctionType",
    "urllib.request.urlretrieve",
    "webbrowser.open",
    "zipimport.zipimporter",
    # Of other packages.
    "hydra._internal.instantiate._instantiate2.instantiate",
    "hydra._internal.utils._locate",
    "hydra.utils.call",
    "hydra.utils.get_class",
    "hydra.utils.get_method",
    "hydra.utils.get_object",
    "hydra.utils.instantiate",
    "joblib.load",
    "matplotlib.pyplot.savefig",
    "numpy.load",
    "numpy.fromfile",
    "omegaconf.OmegaConf.load",
    "omegaconf.OmegaConf.register_new_resolver",
    "pip.main",
    "setuptools.setup",
    "scipy.io.loadmat",
    "yaml.load",
    "yaml.unsafe_load",
    # Functions and methods of the allowed packages.
    "lightning_al.acquisition.register",
    "lightning_al.available",
    "lightning_al.available_posteriors",
    "lightning_al.register_oracle",
    "lightning_al.register_posterior",
    "lightning_al.cli.main",
    "lightning_al.cli.sweep.CompareRuns",
    "lightning_al.cli.allow_list.AllowList",
    "lightning_al.demos.repeats.with_repeats",
    "lightning_al.run.journal.Journal.salvage",
    "lightning_al.run.weights_file.load_weights",
    "lightning_al.run.files.replacing",
    "lightning_al.report.runs.Run.read",
    "pytorch_lightning.LightningModule.load_from_checkpoint",
    "pytorch_lightning.LightningDataModule.load_from_checkpoint",
    "pytorch_lightning.Trainer.fit",
    "pytorch_lightning.seed_everything",
    "sklearn.base.clone",
    "sklearn.datasets.fetch_openml",
    "sklearn.datasets.load_files",
    "sklearn.datasets.load_svmlight_file",
    "sklearn.utils.all_estimators",
    "torch.compile",
    "torch.from_file",
    "torch.load",
    "torch.nn.Module.load_state_dict",
    "torch.nn.utils.skip_init",
    "torch.save",
    "torch.set_default_dtype",
    "torch.zeros",
    "torchvision.datasets.utils.download_and_extract_archive",
    "torchvision.datasets.utils.download_url",
    "torchvision.models.get_model",
    "torchvision.models.resnet18",
    "torchvision.ops.nms",
    # Classes that take code, or files of pickles, or start processes, and functions beside them.
    "lightning.pytorch.cli.LightningCLI",
    "lightning.pytorch.cli.instantiate_class",
    "lightning.pytorch.strategies.launchers._SubprocessScriptLauncher",
    "pytorch_lightning.callbacks.progress.rich_progress._RefreshThread",
    "pytorch_lightning.cli.LightningCLI",
    "pytorch_lightning.cli.instantiate_class",
    "pytorch_lightning.serve.ServableModuleValidator",
    "pytorch_lightning.strategies.launchers._MultiProcessingLauncher",
    "pytorch_lightning.strategies.launchers._SubprocessScriptLauncher",
    "pytorch_lightning.tuner.Tuner",
    "pytorch_lightning.utilities.cloud_io._load",
    "torch._C._jit_script_compile",
    "torch._C.PyTorchFileReader",
    "torch._dynamo.optimize",
    "torch._inductor.codecache.PyCodeCache.load",
    "torch._utils_internal.get_file_path",
    "torch.classes.load_library",
    "torch.distributed.elastic.multiprocessing.start_processes",
    "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
    "torch.distributed.launch.main",
    "torch.distributed.run.main",
    "torch.export.load",
    "torch.fx.GraphModule",
    "torch.fx.Interpreter",
    "torch.hub.download_url_to_file",
    "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
    "torch.jit.CompilationUnit",
    "torch.jit.ScriptModule",
    "torch.jit.load",
    "torch.jit.script",
    "torch.multiprocessing.Process",
    "torch.multiprocessing.spawn",
    "torch.onnx.export",
    "torch.ops.load_library",
    "torch.package.PackageImporter",
    "torch.serialization.load",
    "torch.serialization.add_safe_globals",
    "torch.utils.benchmark.Timer",
    "torch.utils.cpp_extension.load",
    "torch.utils.cpp_extension.load_inline",
    "torch.utils.data._utils.worker.WorkerInfo",
    "torch.utils.data.datapipes.iter.FileOpener",
    "torch.utils.data.datapipes.utils.decoder.Decoder",
    "torch.utils.data.graph.traverse_dps",
    "torch.utils.model_zoo.load_url",
    "torchvision.datasets.LSUN",
    "torchvision.datasets.lsun.LSUNClass",
    "torchvision.models._api.Weights",
    "torchvision.models.feature_extraction.DualGraphModule",
    "torchmetrics.text.BERTScore",
    "torchmetrics.multimodal.CLIPScore",
    # What finds code by name, writes where it is not told to, or is no part of a run.
    "lightning.fabric.plugins.precision.utils._ClassReplacementContextManager",
    "lightning_fabric.plugins.precision.utils._ClassReplacementContextManager",
    "lightning.pytorch.plugins.precision.BitsandbytesPrecision",
    "pytorch_lightning.accelerators.CUDAAccelerator",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.callbacks.LearningRateFinder",
    "pytorch_lightning.callbacks.SpikeDetection",
    "pytorch_lightning.callbacks.pruning._LayerRef",
    "pytorch_lightning.core.module._TrainerFabricShim",
    "pytorch_lightning.core.optimizer._MockOptimizer",
    "pytorch_lightning.loggers.CometLogger",
    "pytorch_lightning.loggers.LitLogger",
    "pytorch_lightning.loggers.NeptuneLogger",
    "pytorch_lightning.loggers.csv_logs.ExperimentWriter",
    "pytorch_lightning.plugins.environments.SLURMEnvironment",
    "pytorch_lightning.plugins.io.AsyncCheckpointIO",
    "pytorch_lightning.plugins.precision.MixedPrecision",
    "pytorch_lightning.profilers.PyTorchProfiler",
    "pytorch_lightning.profilers.SimpleProfiler",
    "pytorch_lightning.strategies.DeepSpeedStrategy",
    "pytorch_lightning.trainer.connectors.signal_connector._SignalConnector",
    "lightning_al.run.inert.Inert",
    "lightning_al.run.inert._Unpickler",
    "lightning_al.run.journal.Journal",
    "lightning_al.oracle.function.FunctionOracle",
    "lightning_al.posterior.mc_dropout.network.SampledNetwork",
    "lightning_al.registry.Registry",
    "lightning_al.report.runs.Run",
    "sklearn.compose.make_column_selector",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing.FunctionTransformer",
    "torch.distributions.Normal",
    "torch.nn.DataParallel",
    "torch.nn.Module",
    "torch.optim.lr_scheduler.LambdaLR",
    "torchvision.datasets.Caltech101",
    "torchvision.datasets.DatasetFolder",
    "torchvision.datasets.ImageNet",
    "torchvision.datasets.Kinetics",
    "torchvision.datasets.SBU",
    "torchvision.datasets.video_utils.VideoClips",
    "torchvision.models.ResNet18_Weights",
    "torchvision.models._utils.IntermediateLayerGetter",
    "torchvision.transforms.Lambda",
    "torchvision.transforms.v2.Lambda",
    # Things of other packages under a name in an allowed one.
    "lightning_al.cli.hydra.utils.get_method",
    "lightning_al.cli.hydra.utils.instantiate",
    "lightning_al.cli.workers.subprocess.run",
    "lightning_al.run.files.os.system",
    "lightning_al.points.torch.load",
    "lightning_al.run.journal_database.sqlite3.connect",
    "lightning_al.host.round_checkpoints.shutil.rmtree",
    "lightning_al.registry.entry_points",
    "lightning_al.lazy_loader.importlib.import_module",
    "lightning_al.host.namespace.import_module",
    "lightning_al._lightning.pl.Trainer",
    "sklearn.externals.array_api_compat",
    "sklearn.utils._joblib.joblib.load",
    "torch.nn.functional.importlib.import_module",
    "torch.nn.modules.module.OrderedDict",
    "torch.nn.modules.module.functools.partial",
    "torch.nn.modules.module.partial",
    "torch.os.system",
    "torch.serialization.pickle.loads",
    "torch.sys.modules.clear",
    "torch.utils.data.dataloader.functools.partial",
    "torch.utils.data.dataloader.multiprocessing.Process",
    "torchvision.datasets.cifar.pickle.load",
    "torchvision.datasets.mnist.shutil.rmtree",
    "torchvision.os.system",
    # Through classes and functions.
    "torch.nn.Module.__class__",
    "torch.nn.Module.__init__.__globals__",
    "torch.nn.Module.__init_subclass__",
    "torch.nn.Module.__reduce__",
    "torch.nn.Module.__subclasses__",
    "torch.nn.Module.mro",
    "torch.nn.modules.__builtins__.eval",
    "torch.nn.modules.__loader__.load_module",
    "torch.nn.modules.__spec__.loader.exec_module",
    "torch.optim.Adam.step.__wrapped__",
    # No paths.
    "",
    ".",
    "torch",
    "Linear",
    "torch.nn",
    "torch.nn.",
    ".torch.nn.Linear",
    "torch..nn.Linear",
    "torch.nn.Linear ",
    " torch.nn.Linear",
    "torch.nn.Linear\n",
    "torch.nn.Linear()",
    "torch.nn:Linear",
    "torch/nn/Linear",
    "../torch.nn.Linear",
    "torch.nn.\uff2cinear",
    "torch.nn.Linear;os.system",
    "torch.nn.${x}",
    "torchx.nn.Linear",
    "lightning_al_.BALD",
    "lightning_al.bold",
    "torch.nn.Lineer",
    "lightning_al.conf.config",
]


# A mistyped name, a file that is no module, and a module of an earlier version.
MISSING = ["lightning_al.bold", "lightning_al.conf.config", "lightning_al._lightning.pl.Trainer"]


@pytest.mark.parametrize("name", [name for name in FORBIDDEN if name.startswith("lightning_al.")])
def test_what_is_forbidden_of_ours_is_there(name):
    if name not in MISSING:
        pkgutil.resolve_name(name)


DANGEROUS = {
    "builtins": "eval",
    "codecs": "open",
    "copyreg": "pickle",
    "ctypes": "CDLL",
    "functools": "partial",
    "importlib": "import_module",
    "inspect": "getattr_static",
    "io": "open",
    "json": "load",
    "logging": "FileHandler",
    "multiprocessing": "Process",
    "operator": "attrgetter",
    "os": "system",
    "pickle": "loads",
    "shutil": "rmtree",
    "subprocess": "Popen",
    "sys": "exit",
    "tempfile": "mktemp",
    "threading": "Thread",
    "types": "FunctionType",
    "urllib": "request",
    "weakref": "finalize",
    "numpy": "load",
    "torch.hub": "load",
    "torch.jit": "load",
    "torch.fx": "GraphModule",
    "torch.multiprocessing": "spawn",
    "torch.package": "PackageImporter",
}


def aliases() -> list[tuple[str, Any]]:
    """All ways through the modules of the allowed packages, as they are imported now, to what is dangerous."""
    for package in ("pytorch_lightning", "torchvision.transforms.v2", "torchmetrics", "sklearn.linear_model"):
        import_module(package)
    roots = {*(name.split(".")[0] for name in LISTED), "lightning_fabric", "sklearn"}
    return [
        (f"{name}.{alias}.{DANGEROUS[value.__name__]}", getattr(value, DANGEROUS[value.__name__]))
        for name, module in sorted(sys.modules.items())
        if name.split(".")[0] in roots and isinstance(module, ModuleType)
        for alias, value in sorted(vars(module).items())
        if issubclass(type(value), ModuleType) and value.__name__ in DANGEROUS and not alias.startswith("__")
    ]


@pytest.mark.parametrize("path", ALLOWED)
def test_what_a_run_is_made_of_is_found_and_is_what_hydra_finds(path):
    assert AllowList().find(path) is get_object(path)


@pytest.mark.parametrize("path", FORBIDDEN, ids=repr)
def test_a_spelling_is_refused(path):
    with pytest.raises(ValueError, match=r"^(?s:.*)(Choose something else|Check the spelling|Write it as)"):
        AllowList().find(path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("torch", "'torch' is not a dotted path of names. Write it as package.module.Class."),
        (
            "io.open",
            "`io` is not on the list, and was not imported. Choose something else, or, if you trust it",
        ),
        ("torch.nn.Linear.of", "`torch.nn.Linear.of` does not exist (did you mean torch.nn.Linear?). Check the"),
        (
            "lightning_al.none.A",
            "`lightning_al.none` is not on the list, and was not imported (did you mean",
        ),
        (
            "torch.os.system",
            "`torch.os` is the module `os`, which a configuration may not reach. Choose something",
        ),
        ("torch.nn.modules.module.OrderedDict", "The class `collections.OrderedDict` is not on the list. Choose"),
        (
            "torch.nn.init.ones_",
            "`torch.nn.init.ones_` is not a class, and each function must be allowed by name",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(path, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        AllowList().find(path)
    key = "model.network._target_"
    with pytest.raises(ValueError, match=f"^`{key}: {path}` is refused. {re.escape(said)}"):
        AllowList().check({"model": {"network": {"_target_": path}}})


def test_a_package_of_the_users_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"`no_such_package` cannot be imported: No module named.*Check the"):
        AllowList(["no_such_package"]).find("no_such_package.Network")


def test_the_table_is_long():
    assert len(set(FORBIDDEN)) == len(FORBIDDEN) >= 200


def one_of_each_package(found: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """One way to each thing through each package, since all ways through its modules are refused by the same lines."""
    return list({(path.split(".")[0], path.rpartition(".")[2]): (path, thing) for path, thing in found}.values())


@pytest.mark.parametrize("of", [one_of_each_package, pytest.param(list, marks=pytest.mark.slow)])
def test_every_alias_of_something_dangerous_is_refused(of):
    """By what Hydra itself finds there, each of these would reach it."""
    found = aliases()
    assert len(found) > 500
    found = of(found)
    assert len(found) > 80
    reached = []
    for path, thing in found:
        try:
            AllowList().find(path)
        except ValueError:
            continue
        reached.append((path, thing))
    assert not reached
    asked, live = found[:: 1 + len(found) // 60], 0
    for path, thing in asked:
        with suppress(ImportError):  # a function may have taken the place of a module of its name
            live += get_object(path) is thing
    assert live > 0.8 * len(asked)


FUNCTIONS = {
    "lightning_al.data.image_folder.image_folder",
    "lightning_al.data.table.table",
    "lightning_al.demos.image_network.image_network",
    "lightning_al.demos.mlp.mlp",
    "lightning_al.demos.mlp_head.mlp_head",
    "lightning_al.demos.networks.digits_cnn",
    "lightning_al.demos.networks.paper_cnn",
    "lightning_al.demos.table_network.table_network",
    "lightning_al.demos.text_network.text_network",
}


@pytest.mark.filterwarnings("ignore")  # of names that are deprecated
def test_the_list_is_of_public_classes_of_the_packages_that_it_names():
    found = {}
    for module, names in LISTED.items():
        import_module(module)
        for name in sorted(names):
            with suppress(ValueError):  # a release may lack it
                found[f"{module}.{name}"] = AllowList().find(f"{module}.{name}")
    assert len(found) > 0.98 * sum(map(len, LISTED.values()))
    for path, thing in found.items():
        home = f"{thing.__module__}.{thing.__qualname__}"
        assert home in FUNCTIONS or isinstance(thing, type), path
        assert thing.__qualname__ == path.rpartition(".")[2], "it is found by its own name"
        assert thing.__qualname__[0] != "_", path
        assert thing.__module__.split(".")[0] == path.split(".")[0], path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of names that are deprecated
def test_nothing_is_reached_but_what_the_list_names():
    """Ask for every name in every imported module of the allowed packages, and of those that were on the list once."""
    aliases()
    listed = {
        id(vars(import_module(module)).get(name, getattr(import_module(module), name, None)))
        for module, names in LISTED.items()
        for name in names
    } - {id(None)}
    roots = {*(name.split(".")[0] for name in LISTED), "lightning_fabric", "sklearn", "torch"}
    asked, found = 0, []
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] in roots and isinstance(module, ModuleType):
            for part in sorted(vars(module)):
                asked += 1
                with suppress(ValueError):
                    found.append((f"{name}.{part}", AllowList().find(f"{name}.{part}")))
    assert asked > 20_000
    assert len(found) > 500
    assert [path for path, thing in found if id(thing) not in listed] == []


def test_an_object_that_says_that_it_is_another_one_is_refused(monkeypatch):
    """Names and homes are what an object says of itself; what counts is which one it is."""

    class Linear:
        __module__, __qualname__ = "torch.nn.modules.linear", "Linear"

    monkeypatch.setattr("torch.nn.modules.linear.Other", Linear, raising=False)
    with pytest.raises(ValueError, match=r"The class `torch.nn.modules.linear.Linear` is not on the list"):
        AllowList().find("torch.nn.modules.linear.Other")


def test_every_method_of_the_package_may_be_named():
    package = import_module("lightning_al")
    kinds = (package.Acquisition, package.Posterior, package.Oracle)
    public = [getattr(package, name) for name in package.__all__]
    made = [thing for thing in public if isinstance(thing, type) and issubclass(thing, kinds)]
    concrete = [thing for thing in made if not getattr(thing, "__abstractmethods__", None)]
    assert len(concrete) > 8
    for thing in concrete:
        AllowList().find(f"lightning_al.{thing.__name__}")


TRAP = {"_target_": "shutil.copyfile", "src": __file__, "dst": ""}


def as_text(trap: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: '{value}'" for key, value in trap.items()) + "}"


def nested(trap: dict[str, Any]) -> dict[str, Any]:
    """Configurations with something hidden in them that Hydra would call, by how it is hidden."""
    return {
        "at the top": trap,
        "in an argument": {"_target_": "torch.nn.Sequential", "x": trap},
        "in a list": {"_target_": "torch.nn.Sequential", "x": [1, trap]},
        "in lists of lists": {"_target_": "torch.nn.Sequential", "x": [[1, [trap]]]},
        "in a dict of a list": [{"a": {"b": [{"c": trap}]}}],
        "in _args_": {"_target_": "torch.nn.Sequential", "_args_": [trap]},
        "partial": {**trap, "_partial_": True},
        "not recursive": {"_target_": "torch.nn.Sequential", "_recursive_": False, "x": trap},
        "by reference": {"x": "${y}", "y": trap},
        "by its name elsewhere": {"x": {**trap, "_target_": "${y}"}, "y": trap["_target_"]},
        "in two halves": {"x": {**trap, "_target_": "${a}.${b}"}, "a": "shutil", "b": "copyfile"},
        "from the environment": {"x": {**trap, "_target_": "${oc.env:TRAP}"}},
        "from a string": {"x": f'${{oc.create:"{as_text(trap)}"}}'},
        "from the environment as a whole": {"x": "${oc.create:${oc.env:TRAPS}}"},
        "under a number": {1: trap},
        "under a name with a dot": {"a.b": trap},
        "beside an allowed one": {"a": {"_target_": "torch.nn.ReLU"}, "b": trap},
    }


@pytest.mark.parametrize("way", nested(TRAP))
def test_what_is_hidden_is_found(monkeypatch, tmp_path, way):
    trap = {**TRAP, "dst": str(tmp_path / "made")}
    monkeypatch.setenv("TRAP", trap["_target_"])
    monkeypatch.setenv("TRAPS", as_text(trap))
    config = OmegaConf.create(nested(trap)[way])
    with pytest.raises(ValueError, match=r"_target_: shutil.copyfile` is refused. `shutil` is not on the list"):
        AllowList().check(OmegaConf.to_container(config, resolve=True))
    assert not (tmp_path / "made").exists()
    if way not in ("partial", "not recursive", "under a name with a dot"):
        with suppress(InstantiationException):  # the one around it may have no use for what it returns
            instantiate(config)
        assert (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [None, 3, True, ["torch.nn.ReLU"], {"_target_": "torch.nn.ReLU"}, b"torch.nn.ReLU"])
def test_a_target_that_is_no_string_is_refused(value):
    with pytest.raises(ValueError, match=r"`x\[0\]._target_` names a class by a string, but got"):
        AllowList().check({"x": [{"_target_": value}]})


def test_a_reference_that_is_left_is_refused(monkeypatch):
    monkeypatch.setenv("OUTER", "${oc.create:'{_target_: os.system}'}")
    plain = OmegaConf.to_container(OmegaConf.create({"x": ["${oc.env:OUTER}"]}), resolve=True)
    with pytest.raises(ValueError, match=r"`x\[0\]` is .*oc.create.* could become a class"):
        AllowList().check(plain)


# What a user adds.


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package of the user's that notes what of it is imported and called."""
    home = tmp_path / "packages" / "noting_package"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(
        "import os\nfrom subprocess import Popen\ndef function(): ...\nclass Class: ...\n"
    )
    (home / "part.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n"
        "class Noting(nn.Module):\n"
        "    def __init__(self, file):\n        super().__init__()\n        Path(file).write_text('made')\n"
    )
    monkeypatch.syspath_prepend(home.parent)
    yield "noting_package"
    for name in [name for name in sys.modules if name.split(".")[0] == "noting_package"]:
        del sys.modules[name]


def test_a_module_that_is_not_on_the_list_is_not_imported(package):
    with pytest.raises(ValueError, match="`noting_package` is not on the list, and was not imported"):
        AllowList().find("noting_package.part.Noting")
    assert package not in sys.modules
    with pytest.raises(ValueError, match=r"`noting_package\.part` is not on the list, and was not imported"):
        AllowList(["noting_package.Class"]).find("noting_package.part.Noting")
    assert f"{package}.part" not in sys.modules


def test_what_a_user_names_is_allowed(package):
    allowed = AllowList([package])
    assert {allowed.find(f"{package}.{name}").__name__ for name in ("function", "Class", "part.Noting")} == {
        "function",
        "Class",
        "Noting",
    }
    assert AllowList(["torchvision.models.resnet18"]).find("torchvision.models.resnet18").__name__ == "resnet18"
    assert AllowList(["torch.hub.load"]).find("torch.hub.load").__name__ == "load"


@pytest.mark.parametrize("path", ["os.system", "Popen", "part.Path", "part.nn.functional.relu", "Class.__class__"])
def test_what_the_users_package_has_of_others_is_not(package, path):
    with pytest.raises(ValueError, match=r"Choose something else|Write it as"):
        AllowList([package]).find(f"{package}.{path}")


@pytest.mark.parametrize("added", ["", ".", "torc", "torch.hub.loa", "hub.load", "load", "*", "torch.*"])
def test_half_a_name_allows_nothing(added):
    with pytest.raises(ValueError, match="Choose something else"):
        AllowList([added]).find("torch.hub.load")


# The command line.


def test_the_command_line_refuses_before_it_makes_anything(package, command, refused, tmp_path):
    note, trap = tmp_path / "note", tmp_path / "trap"
    noting = ["model.network._target_=noting_package.part.Noting", "~model.network.num_classes"]
    overrides = [*TINY, f"folder={tmp_path / 'run'}", *noting, f"+model.network.file={note}", "allow=[noting_package]"]
    trapped = ["+logger.x._target_=io.open", f"+logger.x.file={trap}", "+logger.x.mode=w"]
    message = refused(*overrides, *trapped)
    assert "lightning-al: `logger.x._target_: io.open` is refused" in message
    assert "'allow=[io.open]'" in message
    assert "Traceback" not in message
    assert not note.exists(), "the model was made before all was checked"
    assert not trap.exists()
    assert not (tmp_path / "run" / "config.yaml").exists()
    refused(*overrides)  # a network of nothing, but it was made
    assert note.exists()


def test_a_stored_configuration_cannot_widen_the_list(package, tmp_path):
    note = tmp_path / "note"
    folder = tmp_path / "run"
    folder.mkdir()
    config = as_stored(composed(folder, *TINY))
    config.allow = ["noting_package"]
    config.model.network = {"_target_": "noting_package.part.Noting", "file": str(note)}
    OmegaConf.save(config, folder / "config.yaml")
    assert "`model.network._target_: noting_package.part.Noting` is refused" in refusal(folder)
    assert not note.exists()
    assert package not in sys.modules
    with suppress(Exception):  # a network of nothing, but it was made
        run(folder, "allow=[noting_package]")  # it is the user's word that counts
    assert note.exists()


@pytest.mark.parametrize(
    "override",
    ["allow=3", "allow={a: b}", "+allow.x=torch", "~allow", "allow=[[torch]]", "allow=null"],
)
def test_the_list_is_added_to_by_names_alone(tmp_path, override):
    assert "allow" in refusal(tmp_path, override)


def test_the_command_line_adds_to_the_list_by_names_alone(refused, tmp_path):
    assert "allow" in refused(*TINY, f"folder={tmp_path}", "allow=torch")


def test_a_file_of_the_configuration_cannot_widen_the_list(refused, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "wide.yaml").write_text("# @package _global_\nallow: [io]\n")
    overrides = [*TINY, f"folder={tmp_path}", "experiment=wide"]
    message = refused("--config-dir", str(tmp_path / "conf"), *overrides)
    assert "takes `allow` from the command line only" in message


def test_every_file_of_conf_names_only_what_is_allowed():
    named = {
        value
        for path in [CONF / "config.yaml", *CONF.glob("*/*.yaml")]
        for key, value in leaves({**OmegaConf.to_container(OmegaConf.load(path), resolve=False), "hydra": None})
        if key.endswith("_target_")
    }
    assert len(named) > 15
    for path in named:
        AllowList().find(path)
