"""What a configuration may name to be made: decided by what a name leads to, before any of it is called.

Nothing but the standard library is imported here until a configuration names something of another allowed package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from lightning_al.cli.allowed_names import ALLOWED

REMEDY = "Choose something else, or, where you trust it, allow it by name on the command line: 'allow=[{}]'."


class AllowList:
    """Hold what a configuration names against a list, and refuse it with nothing of it made.

    A name is followed part by part, as Hydra does, through modules of the listed packages only, and no module is
    imported but those of the list, since to import a module runs it. What it leads to has to be the very thing that a
    listed name stands for, so that an alias is no way round.

    Args:
        added: Names of packages, modules, classes or functions that the user trusts besides. Below such a name, what is
            defined in the same package is allowed, functions too; the name itself is allowed whatever it stands for.

    >>> AllowList().find("lightning_al.BALD").__name__
    'BALD'
    >>> AllowList().find("torch.os.system")
    Traceback (most recent call last):
        ...
    ValueError: `torch.os` is the module `os`, which a configuration may not reach. Choose something else, or, where ...
    """

    def __init__(self, added: Sequence[str] = ()) -> None:
        self.added = tuple(added)

    def check(self, configuration: Any) -> None:
        """Find all that a resolved configuration names, however deep.

        Raises:
            ValueError: If a `_target_` is not allowed, is none, or could still change when it is read again.
        """
        for key, value in leaves(configuration):
            if isinstance(value, str) and "${" in value:
                raise ValueError(
                    f"`{key}` is {value!r} after all references were resolved, and could become a class when it is "
                    "resolved again. Write the value itself."
                )
            if key.rsplit(".", 1)[-1] == "_target_":
                if not isinstance(value, str):
                    raise ValueError(
                        f"`{key}` names a class by a string, but got {value!r}. Write it as package.module.Class."
                    )
                try:
                    self.find(value)
                except ValueError as error:
                    raise ValueError(f"`{key}: {value}` is refused. {error}") from error

    def find(self, path: str) -> Any:
        """Return the class or function that a dotted path leads to.

        Raises:
            ValueError: If it is not allowed, or if there is none.
        """
        parts = path.split(".")
        if len(parts) < 2 or any(not part.isidentifier() or not part.isascii() or part[:2] == "__" for part in parts):
            raise ValueError(f"{path!r} is no dotted path of names. Write it as package.module.Class.")
        found = self._module(parts[0], path)
        for place, part in enumerate(parts[1:], start=2):
            found = self._step(found, part, ".".join(parts[:place]), path)
        self._judge(found, path)
        return found

    def _step(self, owner: Any, part: str, path: str, whole: str) -> Any:
        if not isinstance(owner, ModuleType):
            found = getattr(owner, part, None)
        elif part in vars(owner):
            found = vars(owner)[part]
        elif self._is_passable(f"{owner.__name__}.{part}"):
            # A package may import what it is asked for by itself, so that it is asked for nothing else.
            found = getattr(owner, part, None)
            found = self._module(path, whole) if found is None else found
        else:
            raise ValueError(f"`{path}` is not on the list, and was not imported. {REMEDY.format(whole)}")
        if found is None:
            raise ValueError(f"There is no `{path}` to be found. Check the spelling.")
        if isinstance(found, ModuleType) and not self._is_passable(found.__name__):
            raise ValueError(
                f"`{path}` is the module `{found.__name__}`, which a configuration may not reach. "
                + REMEDY.format(whole)
            )
        return found

    def _module(self, name: str, whole: str) -> ModuleType:
        if not self._is_importable(name):
            raise ValueError(f"`{name}` is not on the list, and was not imported. {REMEDY.format(whole)}")
        try:
            return import_module(name)
        except ImportError as error:
            raise ValueError(f"There is no `{name}` to be imported: {error}. Check the spelling.") from error

    def _judge(self, found: Any, path: str) -> None:
        home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
        package = home.split(".")[0]
        if path in self.added or any(_is_below(path, name) and name.split(".")[0] == package for name in self.added):
            return
        if _is_listed(found):
            return
        # Not isinstance, which takes an object's word for what it is.
        if issubclass(type(found), type):
            raise ValueError(f"The class `{home}` is not on the list. {REMEDY.format(path)}")
        raise ValueError(
            f"It is no class but `{home}`, and of functions each is allowed by itself. {REMEDY.format(path)}"
        )

    def _is_passable(self, module: str) -> bool:
        """Return whether a module is on the list, below what is, or on the way there."""
        return any(_is_below(module, name) or _is_below(name, module) for name in (*ALLOWED, *self.added))

    def _is_importable(self, module: str) -> bool:
        """Return whether a module is on the list or on the way there, or below what the user added."""
        on_the_way = any(_is_below(name, module) for name in (*ALLOWED, *self.added))
        return on_the_way or any(_is_below(module, name) for name in self.added)


def _is_listed(found: Any) -> bool:
    """Return whether a thing is what some name of the list stands for."""
    name = getattr(found, "__qualname__", None)
    package = str(getattr(found, "__module__", None)).split(".")[0]
    modules = [module for module, names in ALLOWED.items() if name in names and module.split(".")[0] == package]
    return any(getattr(import_module(module), str(name), None) is found for module in modules)


def _is_below(name: str, other: str) -> bool:
    return f"{name}.".startswith(f"{other}.")


def leaves(plain: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values by their dotted name, a `_target_` as it is, whatever it is."""
    if key.rsplit(".", 1)[-1] == "_target_":
        yield key, plain
    elif isinstance(plain, Mapping):
        for name, value in plain.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(plain, list | tuple):
        for place, value in enumerate(plain):
            yield from leaves(value, f"{key}[{place}]")
    else:
        yield key, plain
