"""Keep values that a configuration reads from outside out of the files of a run: these have the reference instead."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.references import at, dotted, is_outer, mapped, shown, values

if TYPE_CHECKING:
    from lightning_al.host.namespace import pl

SHORTEST = 4
"""The fewest characters of a text that is searched for inside others."""

LEFT = frozenset(("ActiveDataModule", "ActiveLearning", "loops", "lr_schedulers", "optimizer_states", "state_dict"))
"""Parts of a checkpoint that are not searched: Lightning's and our own, which hold nothing from outside."""

_CHOICE = re.compile(r"\$\{hydra:runtime\.choices\.[^${}]+\}")
"""A reference to the name of an option of a group, which is typed or in our own files."""

_VARIABLE = re.compile(r"oc\.env\s*:\s*['\"]?(\w+)")

_known: dict[str, str] = {}


@dataclass(frozen=True)
class Secrets:
    """The values that a configuration reads from outside, each with the reference that is stored instead.

    Args:
        texts: The reference for each text.
        others: The reference for each other value, by the name of the setting and the value.
    """

    texts: Mapping[str, str]
    others: Mapping[tuple[str, Any], str]

    @staticmethod
    def of(config: DictConfig, settings: DictConfig) -> Secrets:
        """Find the values by comparing a configuration as stored with the same one with all references resolved."""
        plain, texts, others = OmegaConf.to_container(settings), _of_environment(config), {}
        for key_path, reference in values(shown(config)):
            if not isinstance(reference, str) or "${" not in reference:
                continue
            for name, value in _parts(at(plain, key_path), key_path[-1]):
                if isinstance(value, str) and value != reference:
                    texts[value] = reference
                elif value is not None and not isinstance(value, bool | str):
                    others[str(name), value] = reference
        _remember(texts)
        return Secrets(texts, others)

    def hide(self, plain: Any) -> Any:
        """Return plain data with references instead of the values.

        >>> Secrets({"hunter2": "${oc.env:PASSWORD}"}, {}).hide({"url": "https://me:hunter2@host", "lr": 0.1})
        {'url': 'https://me:${oc.env:PASSWORD}@host', 'lr': 0.1}
        """
        return self._hide_names(mapped(plain, self._hide_value))

    def keep_from(self, trainer: pl.Trainer, *makers: Any) -> None:
        """Keep the values out of checkpoints and logged hyperparameters.

        `module.hparams` itself does not change.

        Args:
            trainer: The Trainer, whose checkpoints are written with references.
            makers: The module, and the datamodule that has the hyperparameters.
        """
        if not (self.texts or self.others):
            return
        from lightning_al.host.hyperparameters import change_logged

        for maker in makers:
            change_logged(maker, self.hide)
        written = trainer.strategy.checkpoint_io
        save = written.save_checkpoint

        def save_hidden(checkpoint: dict[str, Any], *arguments: Any, **options: Any) -> None:
            save(self._hide_in_checkpoint(checkpoint), *arguments, **options)

        written.save_checkpoint = save_hidden  # type: ignore[method-assign]

    def _hide_in_checkpoint(self, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        hidden = {name: part if name in LEFT else _hidden(part, self.texts) for name, part in checkpoint.items()}
        callbacks = checkpoint.get("callbacks", {})
        if "callbacks" in hidden:
            hidden["callbacks"] = {
                name: state if name in LEFT else _hidden(state, self.texts) for name, state in callbacks.items()
            }
        hyperparameters = ("hyper_parameters", "datamodule_hyper_parameters")
        return hidden | {name: self.hide(dict(checkpoint[name])) for name in hyperparameters if name in checkpoint}

    def _hide_names(self, plain: Any) -> Any:
        if isinstance(plain, dict):
            return {_hidden(name, self.texts): self._hide_names(part) for name, part in plain.items()}
        return [self._hide_names(part) for part in plain] if isinstance(plain, list) else plain

    def _hide_value(self, key_path: Any, value: Any) -> Any:
        if isinstance(value, str):
            return self.texts.get(value) or _without(value, self.texts)
        try:
            return self.others.get((str(key_path[-1]), value), value) if key_path else value
        except TypeError:  # an unhashable value is not a setting
            return value


def remember(config: DictConfig) -> None:
    """Remember what a configuration reads from outside, to keep it out of errors, even errors of reading it."""
    _remember(_of_environment(config))
    for key_path, value in values(OmegaConf.to_container(config, resolve=False)):
        with suppress(Exception):  # reported elsewhere
            if isinstance(value, str) and is_outer(_CHOICE.sub("", value)):
                read = OmegaConf.to_container(OmegaConf.create({"x": OmegaConf.select(config, dotted(key_path))}))
                _remember({part: value for _, part in _parts(read, "") if isinstance(part, str)})


def without_secrets(text: str) -> str:
    """Return a text, such as a traceback, with references instead of the values of any configuration so far."""
    return _without(text, _known)


def _of_environment(config: DictConfig) -> dict[str, str]:
    """Return the references for the values of all environment variables that a configuration names."""
    texts = (str(value) for _, value in values(OmegaConf.to_container(config, resolve=False)))
    names = {name for text in texts for name in _VARIABLE.findall(text) if name in os.environ}
    return {os.environ[name]: f"${{oc.env:{name}}}" for name in names if len(os.environ[name]) >= SHORTEST}


def _remember(texts: Mapping[str, str]) -> None:
    for text, reference in texts.items():
        # Plain, and as Python and JSON write it.
        _known.update(dict.fromkeys((text, repr(text)[1:-1], json.dumps(text)[1:-1]), reference))


def _parts(value: Any, name: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value in plain data with the last name on its path, and each name.

    >>> list(_parts({"a": [1]}, "x"))
    [('', 'a'), (0, 1)]
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield "", key
            yield from _parts(part, key)
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _parts(part, place)
    else:
        yield name, value


def _hidden(value: Any, texts: Mapping[str, str]) -> Any:
    """Return a part of a checkpoint with references instead of the texts, also in names; containers keep their type."""
    if isinstance(value, str):
        return texts.get(value) or _without(value, texts)
    if type(value) is dict:
        return {_hidden(name, texts): _hidden(part, texts) for name, part in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_hidden(part, texts) for part in value)
    return value


def _without(text: str, references: Mapping[str, str]) -> str:
    for secret in sorted(references, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, references[secret])
    return text
