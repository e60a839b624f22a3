"""Each private name of Lightning and torch stands in one of two tables, and one that is gone is an error by name."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.utils.data
from lightning_utilities.core import rank_zero
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from lightning_al.data.batches import needs_two_points
from lightning_al.data.own_loader import OwnLoader
from lightning_al.data.validation_points import ValidationPoints
from lightning_al.host import lightning_names as names
from lightning_al.host import loggers, namespace
from lightning_al.host.found_checkpoints import (
    CheckpointChoice,
    choose_checkpoints,
    from_no_checkpoint,
    to_be_found,
)
from lightning_al.host.hyperparameters import change_logged, logs_hyperparameters
from lightning_al.host.loaders import mode_of, split_among_ranks, splits_among_ranks, to_device
from lightning_al.host.module_state import ModulePart
from lightning_al.host.namespace import pl
from lightning_al.host.nested_fits import end_fit_early
from lightning_al.host.outside_fit import use_outside_fit
from lightning_al.host.quiet import quiet
from lightning_al.host.ranks import from_first_rank
from lightning_al.host.round_start import RoundStart
from lightning_al.host.signals import (
    leave_by,
    only_note_sigterm,
    requeue_without_waiting,
    requeued_between_fits,
    tell_ranks,
)
from lightning_al.host.strategies import check_strategy
from lightning_al.host.timers import carry_on_timers
from lightning_al.host.trainer import (
    callbacks_of,
    logger_step,
    profiler_of,
    rewind,
    without_sanity_check,
    without_training,
)
from lightning_al.posterior.compiled import unwrapped
from lightning_al.posterior.mc_dropout import sparse
from lightning_al.posterior.mc_dropout.noise import Noise
from lightning_al.posterior.mc_dropout.noisy_parts import parts_that_read_training
from lightning_al.posterior.mc_dropout.prefix import Prefix
from lightning_al.posterior.mc_dropout.sparse import ChannelSparse
from lightning_al.run.stopping import StoppedError
from lightning_al.run.weights import non_persistent_buffers
from lightning_al.values import torch_names
from lightning_al.values.private_name import PrivateName
from tests.support.sources import nodes_of
from tests.support.tasks import LitMLP, LitPoints, points, trainer
from tests.test_imports import FILES, name_of

TABLES = {"Lightning": names, "torch": torch_names}
NAMES = {
    f"{package}: {name}": entry
    for package, table in TABLES.items()
    for name, entry in vars(table).items()
    if isinstance(entry, PrivateName)
}

Exercise = Callable[[], object]


class Gone:
    """Hide an attribute of a class or of its bases: not every class in C takes back what is removed from it."""

    def __get__(self, *_: object) -> None:
        raise AttributeError


def take_away(monkeypatch: pytest.MonkeyPatch, owner: Any, path: str) -> None:
    """Remove an attribute from an object and from its classes, as a release does that renames it."""
    *way, name = path.split(".")
    for part in way:
        owner = getattr(owner, part)
    cls = owner if isinstance(owner, type) else type(owner)
    if name in vars(owner) and owner is not cls:
        monkeypatch.delitem(vars(owner), name)
    if any(name in vars(base) for base in cls.__mro__):
        monkeypatch.setattr(cls, name, Gone())


def under(context: Any) -> None:
    """Enter and leave a context manager."""
    with context:
        pass


def loaded_anew(module: ModuleType) -> None:
    """Run the code of a module once more, in a module of its own."""
    spec = importlib.util.spec_from_file_location("anew", str(module.__file__))
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


# What has the name, and what of ours uses it. Each takes a folder.


def of_trainer(*uses: Callable[[pl.Trainer], object], **settings: Any) -> Callable[[Path], tuple[Any, Exercise]]:
    def made(folder: Path) -> tuple[Any, Exercise]:
        fitting = trainer(folder, **settings)
        return fitting, lambda: [use(fitting) for use in uses]

    return made


def resume_csv(folder: Path) -> tuple[Any, Exercise]:
    (folder / loggers.NAME).write_text(json.dumps({"csv": 0}))
    logger = pl.loggers.CSVLogger(folder, version=0)
    return logger.experiment, lambda: under(loggers.one_log({"csv": logger}, folder, {}))


def last_checkpoint(callback: pl.callbacks.ModelCheckpoint, folder: Path) -> Exercise:
    (folder / "round-0").mkdir()
    fitting = trainer(folder, callbacks=[callback], enable_checkpointing=True)
    choice = CheckpointChoice(fitting, lambda _: True, has_fitted=False)
    return lambda: choice(pl.trainer.states.TrainerFn.FITTING, "last", True, True)


def of_model_checkpoint(folder: Path) -> tuple[Any, Exercise]:
    callback = pl.callbacks.ModelCheckpoint(folder)
    return callback, last_checkpoint(callback, folder)


def of_exception_checkpoint(folder: Path) -> tuple[Any, Exercise]:
    callback = pl.callbacks.OnExceptionCheckpoint(folder)
    fitting = trainer(folder, callbacks=[callback], enable_checkpointing=True)
    return callback, lambda: to_be_found(fitting)


def of_timer(folder: Path) -> tuple[Any, Exercise]:
    timer = pl.callbacks.Timer("00:01:00:00")
    return timer, lambda: carry_on_timers(trainer(folder, callbacks=[timer]), 0.0)


def of_profiler(folder: Path) -> tuple[Any, Exercise]:
    profiler = pl.profilers.PyTorchProfiler(dirpath=folder)
    return profiler, lambda: RoundStart().before_setup(trainer(folder, profiler=profiler), LitMLP())


def of_module(use: Callable[[pl.Trainer, LitMLP], object]) -> Callable[[Path], tuple[Any, Exercise]]:
    def made(folder: Path) -> tuple[Any, Exercise]:
        module, fitting = LitMLP(), trainer(folder)
        fitting.strategy.connect(module)
        return module, lambda: use(fitting, module)

    return made


class Renamed(LitMLP):
    """A module of a Lightning that keeps its first hyperparameters elsewhere."""

    @property
    def hparams_initial(self) -> Any:
        return self.hparams


def of_loader(folder: Path) -> tuple[Any, Exercise]:
    loader = DataLoader(points(4))
    order = SequentialSampler(points(4))
    return loader, lambda: OwnLoader(loader, "Data").over(points(4), order, BatchSampler, batch_size=2)


def of_compiled(folder: Path) -> tuple[Any, Exercise]:
    compiled: Any = torch.compile(nn.Linear(2, 2), backend="eager")
    return compiled, lambda: unwrapped(compiled)


def of_store(folder: Path) -> tuple[Any, Exercise]:
    waiting = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, default_root_dir=folder)

    def meet() -> None:
        place = f"file://{folder / 'store'}"
        torch.distributed.init_process_group("gloo", init_method=place, rank=0, world_size=1)
        try:
            from_first_rank(waiting, lambda: 0)
        finally:
            torch.distributed.destroy_process_group()

    return torch.distributed, meet


def on_two_ranks(use: Callable[[pl.Trainer], object], path: str) -> Callable[[Path], tuple[Any, Exercise]]:
    def made(folder: Path) -> tuple[Any, Exercise]:
        waiting = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, default_root_dir=folder)
        return getattr(waiting.strategy, path) if path else waiting.strategy, lambda: use(waiting)

    return made


def of_log(folder: Path) -> tuple[Any, Exercise]:
    fitting = trainer(folder)
    return rank_zero, lambda: under(quiet(fitting))


def start_round(fitting: pl.Trainer) -> None:
    RoundStart().before_setup(fitting, LitMLP())


def leave(fitting: pl.Trainer) -> None:
    leave_by(fitting, StoppedError(15))


def get_sigterm(fitting: pl.Trainer) -> None:
    only_note_sigterm(fitting)
    names.ON_SIGTERM.of(fitting)(15, None)


def use_outside(fitting: pl.Trainer) -> None:
    use_outside_fit(fitting, LitMLP(), LitPoints(), lambda module: None)


def choose(fitting: pl.Trainer) -> None:
    choose_checkpoints(fitting, lambda _: True, has_fitted=True)


def choose_for_test(fitting: pl.Trainer) -> None:
    CheckpointChoice(fitting, lambda _: False, has_fitted=True)(pl.trainer.states.TrainerFn.TESTING, None, True, True)


def end_early(fitting: pl.Trainer, module: LitMLP) -> None:
    end_fit_early(fitting, module)


USES: dict[str, Callable[[Path], tuple[Any, Exercise]]] = {
    "Lightning: IS_OVERRIDDEN": lambda _: (pl, lambda: loaded_anew(namespace)),
    "Lightning: INTERRUPT": lambda folder: (pl, lambda: only_note_sigterm(trainer(folder))),
    "Lightning: RANK_ZERO_LOG": of_log,
    "Lightning: CALLBACKS": of_trainer(callbacks_of),
    "Lightning: PROFILER": of_trainer(profiler_of),
    "Lightning: SANITY_CHECK_STEPS": of_trainer(lambda fitting: under(without_sanity_check(fitting))),
    "Lightning: LOGS_BY_ITSELF": of_trainer(lambda fitting: under(loggers.held_open(fitting))),
    "Lightning: TRAIN_BATCH_LIMIT": of_trainer(lambda fitting: under(without_training(fitting))),
    "Lightning: PREDICT_BATCH_LIMIT": of_trainer(use_outside),
    "Lightning: STAGE": of_trainer(leave),
    "Lightning: TEARDOWN": of_trainer(leave),
    "Lightning: CLUSTER": of_trainer(lambda fitting: under(requeued_between_fits(fitting))),
    "Lightning: USES_DISTRIBUTED_SAMPLER": of_trainer(splits_among_ranks),
    "Lightning: IS_DISTRIBUTED": of_trainer(splits_among_ranks),
    "Lightning: RESOLVE_SAMPLER": of_trainer(lambda fitting: split_among_ranks(fitting, DataLoader(points(4)))),
    "Lightning: ON_SIGTERM": of_trainer(only_note_sigterm),
    "Lightning: RECEIVED_SIGTERM": of_trainer(get_sigterm),
    "Lightning: ON_REQUEUE": of_trainer(requeue_without_waiting),
    "Lightning: RESTORE_SIGNALS": of_trainer(leave),
    "Lightning: KILL": on_two_ranks(lambda waiting: tell_ranks(waiting, 15), "launcher"),
    "Lightning: SELECT_CHECKPOINT": of_trainer(lambda fitting: under(from_no_checkpoint(fitting))),
    "Lightning: IS_USERS_CHECKPOINT": of_trainer(choose_for_test),
    "Lightning: SLURM_CHECKPOINT": of_trainer(choose_for_test),
    "Lightning: NEWEST_SLURM_CHECKPOINT": of_trainer(choose),
    "Lightning: NEXT_SLURM_CHECKPOINT": of_trainer(choose),
    "Lightning: CHECKPOINT_FOLDER": of_model_checkpoint,
    "Lightning: LAST_CHECKPOINTS": of_model_checkpoint,
    "Lightning: EXCEPTION_CHECKPOINT": of_exception_checkpoint,
    **{
        f"Lightning: {loop}": of_trainer(start_round)
        for loop in ("FIT_LOOP", "EPOCH_LOOP", "VALIDATION_LOOP", "AUTOMATIC_OPTIMIZATION", "MANUAL_OPTIMIZATION")
    },
    **{
        f"Lightning: {part}_PROGRESS": of_trainer(rewind)
        for part in ("EPOCH", "BATCH", "SCHEDULER", "AUTOMATIC", "MANUAL", "VALIDATION")
    },
    "Lightning: LOGGER_STEP": of_trainer(logger_step),
    "Lightning: VALIDATION_LOADERS": of_trainer(lambda fitting: ValidationPoints().begin(fitting)),
    "Lightning: COMBINED_MODE": lambda _: in_mode(pl.utilities.combined_loader.CombinedLoader([])),
    "Lightning: TIMER_STARTS": of_timer,
    "Lightning: TIMER_ENDS": of_timer,
    "Lightning: PROFILER_SCHEDULE": of_profiler,
    "Lightning: CSV_ROWS": resume_csv,
    "Lightning: BEFORE_TRANSFER": of_module(lambda fitting, module: to_device(fitting, module, torch.zeros(2, 8))),
    "Lightning: LOGGED_METRICS": of_module(end_early),
    "Lightning: RUNNING_HOOK": of_module(end_early),
    "Lightning: LOGS_HYPERPARAMETERS": lambda _: used(LitPoints(), logs_hyperparameters),
    "Lightning: INITIAL_HYPERPARAMETERS": lambda _: used(Renamed(), lambda module: change_logged(module, dict)),
    "Lightning: START_METHOD": on_two_ranks(check_strategy, ""),
    "torch: PARAMETERS": lambda _: used(LitMLP(), ModulePart),
    "torch: BUFFERS": lambda _: used(LitMLP(), ModulePart),
    "torch: MODULES": lambda _: used(LitMLP(), ModulePart),
    "torch: NON_PERSISTENT_BUFFERS": lambda _: used(nn.Linear(2, 2), lambda net: dict(non_persistent_buffers(net))),
    "torch: BATCH_NORM": lambda folder: (nn, of_module(lambda fitting, _: needs_two_points(fitting))(folder)[1]),
    "torch: NORMS": lambda _: used(nn, lambda _: parts_that_read_training(LitMLP())),
    "torch: COMPILED_CLASS": lambda folder: (torch, of_compiled(folder)[1]),
    "torch: COMPILED_FROM": of_compiled,
    "torch: LOADER_ITERATOR": of_loader,
    "torch: ITERATOR_CLASS": lambda folder: (torch.utils.data, of_loader(folder)[1]),
    "torch: DEFAULT_STORE": of_store,
    "torch: TENSOR_VERSION": lambda _: (Tensor, Prefix(torch.zeros(2, 2)).end),
    "torch: OPERATION_SCHEMA": lambda _: (torch.ops.aten.rand.default, draw),
    "torch: WRAPPER_TENSOR": lambda _: (
        Tensor,
        lambda: ChannelSparse.deferred((2, 2), torch.zeros(2), lambda _: torch.zeros(2)),
    ),
    "torch: NO_TORCH_FUNCTION": lambda _: (torch, lambda: loaded_anew(sparse)),
}


def used(owner: Any, use: Callable[[Any], object]) -> tuple[Any, Exercise]:
    return owner, lambda: use(owner)


def in_mode(loaders: Any) -> tuple[Any, Exercise]:
    return loaders, lambda: mode_of(loaders)


def draw() -> None:
    with Noise(None):
        torch.rand(2)


def test_each_name_has_a_use() -> None:
    assert USES.keys() == NAMES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_gone_is_an_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = NAMES[name]
    if name == "Lightning: LOGS_BY_ITSELF" and not hasattr(trainer(tmp_path), entry.path):
        pytest.skip("Lightning has it since 2.5.2")
    owner, use = USES[name](tmp_path)
    if name == "torch: COMPILED_FROM":
        monkeypatch.delattr(type(owner), "__getattr__")  # which finds it in another way
        monkeypatch.delitem(owner._modules, entry.path)
    take_away(monkeypatch, owner, entry.path)
    with pytest.raises(RuntimeError, match="has it, but the installed release does not") as raised:
        use()
    assert f"`{entry.owner}.{entry.path}`" in str(raised.value)


# That there are no others.

ALLOWED = {
    "_target_": "Hydra's documented keys",
    "_args_": "Hydra's documented keys",
    "_partial_": "Hydra's documented keys",
    "_exit": "documented by `os`",
    "_fields": "documented by `collections.namedtuple`",
    "_make": "documented by `collections.namedtuple`",
    "_thread": "documented by Python",
    "_class_path": "a key that LightningCLI writes into hyperparameters, seldom there",
}

PRIVATE_PARTS = {part for entry in NAMES.values() for part in entry.path.split(".") if part.startswith("_")}
BY_NAME = ("getattr", "hasattr", "setattr", "delattr")
IN_A_DICT = ("get", "pop", "setdefault")


def is_private(name: str) -> bool:
    return name.isidentifier() and name.startswith("_") and not name.startswith("__") and name != "_"


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def defined(path: Path) -> Iterator[str]:
    """The names that a file defines itself."""
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            yield node.attr


def named(path: Path) -> Iterator[str]:
    """The names in a file that may be another package's: attributes, imports, and strings that stand for attributes."""
    for node in nodes_of(path):
        strings: list[ast.expr] = []
        if isinstance(node, ast.Attribute) and not is_own(node.value):
            yield node.attr
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("lightning_al"):
            yield from [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Subscript):
            strings = [node.slice]
        elif isinstance(node, ast.Call) and called(node) in (*BY_NAME, *IN_A_DICT):
            strings = node.args
        elif isinstance(node, ast.Constant) and node.value in PRIVATE_PARTS:
            strings = [node]
        yield from (part.value for part in strings if isinstance(part, ast.Constant) and isinstance(part.value, str))


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_no_other_file_names_one() -> None:
    tables = {table.__file__ for table in TABLES.values()}
    files = [path for path in FILES if str(path) not in tables]
    ours = {name for path in files for name in defined(path)} - PRIVATE_PARTS
    found = {(name_of(path), name) for path in files for name in named(path) if is_private(name)}
    others = {(file, name) for file, name in found if name not in ours and name not in ALLOWED}
    assert others == set(), "put them into `host/lightning_names.py` or `values/torch_names.py`"
    assert set(ALLOWED) <= {name for _, name in found}
