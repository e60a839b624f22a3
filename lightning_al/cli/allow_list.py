"""Which classes and functions a configuration may name. The check follows each name, and calls nothing.

Only the standard library is imported until a configuration names something from another allowed package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from lightning_al.cli.allowed_names import ALLOWED
from lightning_al.values.nearest import did_you_mean

REMEDY = "Choose something else, or, if you trust it, allow it on the command line: 'allow=[{}]'."


class AllowList:
    """Check that a configuration names only listed classes and functions, before any of them is made.

    A name is followed part by part, as Hydra does, through modules of the listed packages only. No other module is
    imported, since importing a module runs it. The name must lead to the same object as a listed name, so an alias
    does not get around the list.

    Args:
        added: Names of packages, modules, classes or functions that the user trusts in addition. Everything below such
            a name that is defined in the same package is allowed, functions included. The name itself is always
            allowed.

    >>> AllowList().find("lightning_al.BALD").__name__
    'BALD'
    >>> AllowList().find("torch.os.system")
    Traceback (most recent call last):
        ...
    ValueError: `torch.os` is the module `os`, which a configuration may not reach. Choose something else, or, if ...
    """

    def __init__(self, added: Sequence[str] = ()) -> None:
        self.added = tuple(added)

    def check(self, configuration: Any) -> None:
        """Check every `_target_` in a resolved configuration.

        Raises:
            ValueError: If one is not allowed, is not a name, or could still change when it is resolved again.
        """
        for key, value in leaves(configuration):
            if isinstance(value, str) and "${" in value:
                raise ValueError(
                    f"`{key}` is {value!r} after all references are resolved, and could become a class if it is "
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
        """Return the class or function at a dotted path.

        Raises:
            ValueError: If it is not allowed or does not exist.
        """
        parts = path.split(".")
        if len(parts) < 2 or any(not part.isidentifier() or not part.isascii() or part[:2] == "__" for part in parts):
            raise ValueError(f"{path!r} is not a dotted path of names. Write it as package.module.Class.")
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
            # `getattr` may make a package import a module, so it is only used on allowed paths.
            found = getattr(owner, part, None)
            found = self._module(path, whole) if found is None else found
        else:
            near = self._near(path)
            raise ValueError(f"`{path}` is not on the list, and was not imported{near}. {REMEDY.format(whole)}")
        if found is None:
            raise ValueError(f"`{path}` does not exist{self._near(whole)}. Check the spelling.")
        if isinstance(found, ModuleType) and not self._is_passable(found.__name__):
            raise ValueError(
                f"`{path}` is the module `{found.__name__}`, which a configuration may not reach. "
                + REMEDY.format(whole)
            )
        return found

    def _module(self, name: str, whole: str) -> ModuleType:
        if not self._is_importable(name):
            near = self._near(whole)
            raise ValueError(f"`{name}` is not on the list, and was not imported{near}. {REMEDY.format(whole)}")
        try:
            return import_module(name)
        except ImportError as error:
            raise ValueError(f"`{name}` cannot be imported: {error}. Check the spelling.") from error

    def _near(self, path: str) -> str:
        """Return a sentence with the listed name that is most like a path, or an empty text."""
        return did_you_mean(path, (f"{module}.{name}" for module, names in ALLOWED.items() for name in names))

    def _judge(self, found: Any, path: str) -> None:
        home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
        package = home.split(".")[0]
        if path in self.added or any(_is_below(path, name) and name.split(".")[0] == package for name in self.added):
            return
        if _is_listed(found):
            return
        # Not isinstance: an object can claim to be of any class.
        if issubclass(type(found), type):
            raise ValueError(f"The class `{home}` is not on the list. {REMEDY.format(path)}")
        raise ValueError(f"`{home}` is not a class, and each function must be allowed by name. {REMEDY.format(path)}")

    def _is_passable(self, module: str) -> bool:
        """Return whether a module is on the list, below a listed one, or on the way to one."""
        return any(_is_below(module, name) or _is_below(name, module) for name in (*ALLOWED, *self.added))

    def _is_importable(self, module: str) -> bool:
        """Return whether a module is on the list, on the way to a listed one, or below a name that the user added."""
        on_the_way = any(_is_below(name, module) for name in (*ALLOWED, *self.added))
        return on_the_way or any(_is_below(module, name) for name in self.added)


def _is_listed(found: Any) -> bool:
    """Return whether an object is the one that some listed name stands for."""
    name = getattr(found, "__qualname__", None)
    package = str(getattr(found, "__module__", None)).split(".")[0]
    modules = [module for module, names in ALLOWED.items() if name in names and module.split(".")[0] == package]
    return any(getattr(import_module(module), str(name), None) is found for module in modules)


def _is_below(name: str, other: str) -> bool:
    return f"{name}.".startswith(f"{other}.")


def leaves(plain: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its dotted name; a `_target_` is yielded whole, whatever it is."""
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
