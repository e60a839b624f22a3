"""Names for classes that are chosen by name: a dict, a decorator, and entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from lightning_al.values.nearest import letters, nearest

T = TypeVar("T")
Class = TypeVar("Class", bound=type)


class Registry(Generic[T]):
    """Find a class by its name.

    Args:
        kind: What the names stand for, for error messages.
        group: The entry-point group by which other packages add names. It is loaded when first needed.

    >>> shapes = Registry[object]("shape")
    >>> @shapes.register("circle")
    ... class Circle: ...
    >>> shapes.available()
    ['circle']
    >>> shapes.create("square")
    Traceback (most recent call last):
        ...
    ValueError: There is no shape named 'square'. Choose one of: circle.
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self.classes: dict[str, Callable[..., T]] = {}
        self._arguments: dict[str, Mapping[str, Any]] = {}
        self._group_loaded = group is None

    def register(self, name: str, **arguments: Any) -> Callable[[Class], Class]:
        """Give the decorated class a name. It may have several, each for other arguments.

        Args:
            name: The name.
            **arguments: Arguments of the object that the name stands for, where they differ from the class's defaults.

        Raises:
            ValueError: If the name is taken by another class, or for other arguments.
            TypeError: If the decorated object is not a class.
        """

        def decorate(cls: Class) -> Class:
            self._add(name, cls, arguments)
            return cls

        return decorate

    def is_own(self, name: str) -> bool:
        """Return whether a name is registered, without loading entry points of other packages."""
        return name in self.classes

    def available(self) -> list[str]:
        """Return all names in alphabetical order, including those of other packages."""
        self._load_group()
        return sorted(self.classes)

    def get(self, name: str) -> Any:
        """Return the class that a known name stands for."""
        self._load_group()
        return self.classes[name]

    def create(self, spec: str | T, **arguments: Any) -> T:
        """Make the object that a name stands for; an object is returned unchanged.

        Raises:
            ValueError: If the name is unknown; the message lists the known ones.
            TypeError: If it is a class.
        """
        if isinstance(spec, type):
            raise TypeError(
                f"Expected the name of the {self.kind} or an object, but got the class `{spec.__name__}`. Pass an "
                f"object, `{spec.__name__}()`."
            )
        if not isinstance(spec, str):
            return spec
        if spec not in self.classes:
            self._load_group()
        if spec not in self.classes:
            known = ", ".join(self.available())
            raise ValueError(f"There is no {self.kind} named {spec!r}. Choose one of: {known}.{self._hint(spec)}")
        return self.classes[spec](**{**self._arguments[spec], **arguments})

    def _hint(self, spec: str) -> str:
        """Suggest a similar name, or how to pass a class without a name."""
        for name in self.available():
            if letters(name) == letters(spec.rpartition(".")[2]):
                is_default = not self._arguments[name]
                return f" Did you mean {name!r}{f', or the object `{self.classes[name].__name__}()`' * is_default}?"
        if near := nearest(spec, self.available()):
            return f" Did you mean {near!r}?"
        if not spec or (spec.isidentifier() and spec.islower()):
            return ""
        return (
            " For a class without a name, pass an object; in a configuration file of LightningCLI, give its "
            "`class_path`, with the module that it is imported from."
        )

    def _add(self, name: str, cls: Callable[..., T], arguments: Mapping[str, Any] = MappingProxyType({})) -> None:
        if not isinstance(cls, type):
            raise TypeError(
                f"The {self.kind} name {name!r} stands for a class, but got {type(cls).__name__}. Register a class, "
                "or pass the thing itself to `ActiveLearning`."
            )
        taken = self.classes.get(name)
        if taken is not None and (taken is not cls or self._arguments[name] != arguments):
            raise ValueError(
                f"The {self.kind} name {name!r} already belongs to {_path(taken)}, so {_path(cls)} cannot have it. "
                "Register it under another name."
            )
        self.classes[name] = cls
        self._arguments[name] = arguments

    def _load_group(self) -> None:
        if not self._group_loaded and self.group is not None:
            self._group_loaded = True
            for entry in entry_points(group=self.group):
                self._add(entry.name, entry.load())


def _path(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
