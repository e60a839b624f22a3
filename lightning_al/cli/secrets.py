"""What a configuration reads from outside itself is kept out of the files of a run: they have the reference instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightning_al.cli.references import at, mapped, shown, values

if TYPE_CHECKING:
    from lightning_al._lightning import pl

SHORTEST = 4
"""How long a text has to be, at least, to be looked for inside others."""

_known: dict[str, str] = {}


@dataclass(frozen=True)
class Secrets:
    """The values that a configuration has from outside, each with the reference that it is stored as.

    Args:
        texts: References by the text that they stand for.
        others: References by the name of the setting and a value that is no text.
    """

    texts: Mapping[str, str]
    others: Mapping[tuple[str, Any], str]

    @staticmethod
    def of(config: DictConfig, settings: DictConfig) -> Secrets:
        """Hold a configuration as it is stored against the same one with all references resolved."""
        kept, texts, others = shown(config), {}, {}
        for way, value in values(OmegaConf.to_container(settings)):
            reference = at(kept, way)
            if isinstance(reference, str) and "${" in reference and reference != value:
                if isinstance(value, str):
                    texts[value] = reference
                elif value is not None and not isinstance(value, bool):
                    others[str(way[-1]), value] = reference
        _known.update({text: reference for text, reference in texts.items() if len(text) >= SHORTEST})
        return Secrets(texts, others)

    def hide(self, plain: Any) -> Any:
        """Return plain data with references in place of the values.

        >>> Secrets({"hunter2": "${oc.env:PASSWORD}"}, {}).hide({"url": "https://me:hunter2@host", "lr": 0.1})
        {'url': 'https://me:${oc.env:PASSWORD}@host', 'lr': 0.1}
        """
        return mapped(plain, self._hide_value)

    def keep_from(self, trainer: pl.Trainer, *makers: Any) -> None:
        """Keep the values out of checkpoints, and out of the hyperparameters that Lightning logs.

        The hyperparameters themselves, which a module may read, stay as they are.

        Args:
            trainer: The Trainer, whose checkpoints are written with references.
            makers: The module and the datamodule.
        """
        if not (self.texts or self.others):
            return
        for maker in makers:
            if hasattr(maker, "_hparams_initial"):
                hidden = self.hide(dict(maker.hparams_initial))
                maker._hparams_initial = type(maker.hparams_initial)(hidden)
        written = trainer.strategy.checkpoint_io
        save = written.save_checkpoint

        def save_hidden(checkpoint: dict[str, Any], *arguments: Any, **options: Any) -> None:
            names = ("hyper_parameters", "datamodule_hyper_parameters")
            hidden = {name: self.hide(dict(checkpoint[name])) for name in names if name in checkpoint}
            save({**checkpoint, **hidden}, *arguments, **options)

        written.save_checkpoint = save_hidden  # type: ignore[method-assign]

    def _hide_value(self, way: Any, value: Any) -> Any:
        if isinstance(value, str):
            return self.texts.get(value) or _without(value, self.texts)
        try:
            return self.others.get((str(way[-1]), value), value) if way else value
        except TypeError:  # what cannot be hashed is no setting
            return value


def without_secrets(text: str) -> str:
    """Return a text, such as a traceback, with references in place of what any configuration had from outside."""
    return _without(text, _known)


def _without(text: str, references: Mapping[str, str]) -> str:
    for secret in sorted(references, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, references[secret])
    return text
