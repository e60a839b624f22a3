"""The configuration of a run, and how it agrees with that of the run which a folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lightning_al.cli.expansion import check_size
from lightning_al.cli.kinds import check_kinds
from lightning_al.cli.lightning_names import in_this_process, rename_earlier
from lightning_al.cli.references import Way, at, dotted, is_reference, mapped, put, shown, values, written_at
from lightning_al.report.printable import printable
from lightning_al.report.settings import ONLY_SHOWN, PLACED, is_part, leaves
from lightning_al.report.settings_file import check_numbers, read_settings
from lightning_al.run.folder import CONFIG
from lightning_al.run.identity import GROWS, forced_settings, free_settings

PARTS = ("acquisition", "posterior", "oracle", "model", "data", "trainer", "callbacks", "logger", "pool", "active")
VALUES = ("folder", "seed", "name", "metric", "mode", "threads", "allow")
MAY_GROW = tuple(f"active.{name}" for name in GROWS)
THIS_TIME = ("allow", "active.force")
# The command line's own, by which others refer to parts of the loop and the data.
WITH_FORCE = ("acquisition", "posterior", "data", "pool.data", *forced_settings())
FREE = ("oracle", *(name for name in free_settings() if name not in (*MAY_GROW, *THIS_TIME)))


@dataclass(frozen=True)
class ThisTime:
    """What holds for one command alone, so that a folder's stored configuration can neither have it nor widen it."""

    allow: tuple[str, ...]
    force: bool


def check_names(config: DictConfig) -> None:
    """Raise a ConfigCompositionException if the configuration has a setting at its top that no run has."""
    unknown = _unknown(config)
    if unknown:
        raise ConfigCompositionException(
            f"lightning-al knows no setting named {', '.join(unknown)}. Choose one of: {', '.join((*VALUES, *PARTS))}."
        )


def _rename(active: DictConfig) -> None:
    """Give the settings that earlier versions called otherwise the names and forms that they have now."""
    if "logits" in active:
        active.forward = active.pop("logits")
    test_with = active.pop("test_with", "module")
    if "test_each_round" in active:
        active.test = test_with if active.pop("test_each_round") else None
    factory = active.pop("model_factory", None)
    if factory is not None:
        active.reset = factory


def _unknown(config: DictConfig) -> list[str]:
    return sorted(set(map(str, config)) - {*PARTS, *VALUES})


def take_this_time(config: DictConfig, overrides: list[str]) -> ThisTime:
    """Take out of the configuration what the command line alone may say.

    Raises:
        ConfigCompositionException: If a file of the configuration says it.
    """
    typed = [parsed for parsed in OverridesParser.create().parse_overrides(overrides) if parsed.key_or_group == "allow"]
    given = typed[-1].value() if typed else []
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given) or config.allow != given:
        raise ConfigCompositionException(
            f"lightning-al takes `allow` from the command line alone, as a list of names, but got {config.allow}. Give "
            "it as 'allow=[my_package]'."
        )
    force = config.active.force
    if not isinstance(force, bool):
        raise ConfigCompositionException(
            f"lightning-al takes `active.force` as true or false, but got {force!r}. Set it to one of them."
        )
    config.allow, config.active.force = [], False
    return ThisTime(allow=tuple(map(str, given)), force=force)


def resolve_allowed(
    config: DictConfig, allow: Sequence[str], folder: Path, composed: DictConfig | None = None
) -> DictConfig:
    """Return the configuration with all references resolved, once nothing in it names what is not allowed.

    Args:
        config: The configuration.
        allow: What the user allows besides.
        folder: The run's folder.
        composed: Where the configuration is that in the folder, the one that is composed now.
    """
    from lightning_al.cli.allow_list import AllowList
    from lightning_al.cli.stored import resolve_stored
    from lightning_al.cli.texts import put_texts

    try:
        if composed is None:
            plain: Any = in_this_process(OmegaConf.to_container(config, resolve=True))
            AllowList(allow).check(plain)
        else:
            plain = resolve_stored(config, composed, folder, allow)
        put_texts(plain, AllowList(allow))
        check_kinds(plain)
    except ValueError as error:
        raise ConfigCompositionException(f"lightning-al: {error}") from error
    checked = OmegaConf.create(plain)
    assert isinstance(checked, DictConfig)
    return checked


def read_config(folder: Path) -> DictConfig | None:
    """Return the configuration of the run in a folder, or None if there is none.

    Raises:
        ConfigCompositionException: If it is damaged.
    """
    path = folder / CONFIG
    try:
        stored = OmegaConf.create(read_settings(path))
        raw = OmegaConf.to_container(stored, resolve=False)
        check_numbers(raw, path)
        check_size(raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise _damaged(folder, str(error)) from None  # Hydra would print the cause again
    except AssertionError:  # OmegaConf's word on a text that is one number
        raise _damaged(folder, "it holds one value") from None
    if not isinstance(stored, DictConfig):
        raise _damaged(folder, "it holds a list")
    missing = sorted({*PARTS, *VALUES} - {"allow", "mode"} - set(map(str, stored)))
    if missing:
        raise _damaged(folder, f"it lacks {', '.join(missing)}")
    if _unknown(stored):
        raise _damaged(folder, f"no run has the settings {', '.join(_unknown(stored))}")
    stored.mode = stored.get("mode")  # which earlier versions had not
    rename_earlier(stored)
    if isinstance(stored.get("active"), DictConfig):
        _rename(stored.active)
    missing = sorted(dotted(way) for way, value in values(raw) if value == MISSING and way != ("folder",))
    if missing:
        raise _damaged(folder, f"it has no value for {', '.join(missing)}")
    try:
        check_kinds(shown(_with_place(stored)))
    except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        raise _damaged(folder, str(error)) from None  # Hydra would print the cause again
    return stored


def _with_place(config: DictConfig) -> DictConfig:
    """Return a configuration with a place for the run's folder, which Hydra says only later."""

    def put_place(way: Way, value: Any) -> Any:
        return value.replace("${hydra:runtime.output_dir}", ".") if isinstance(value, str) else value

    placed = OmegaConf.create(mapped(OmegaConf.to_container(config, resolve=False), put_place))
    assert isinstance(placed, DictConfig)
    return placed


def write_config(config: DictConfig, folder: Path) -> None:
    """Write the configuration of a run into its folder."""
    from lightning_al.run.files import replacing

    with replacing(folder / CONFIG) as path:
        OmegaConf.save(config, path)


def _damaged(folder: Path, reason: str) -> ConfigCompositionException:
    said = printable(" ".join(reason.split()), most=1_000).rstrip(".")
    return ConfigCompositionException(
        f"{folder / CONFIG} is not the configuration of a run: {said}. Put back a copy of it from before, or choose "
        "another folder."
    )


def agree(
    stored: DictConfig, config: DictConfig, overrides: list[str], folder: Path, *, force: bool, is_cell: bool
) -> DictConfig:
    """Return the configuration to go on with: the stored one, with what the overrides may change of it.

    The configuration of a cell is given whole, so that all of it has to agree, but for what only shows or places.

    Raises:
        ConfigCompositionException: If an override contradicts the stored configuration in more than `force` allows.
    """
    asked = {key: value for key, value in _flat(config).items() if key != "folder"}
    known = _flat(stored)
    keys = [parsed.key_or_group for parsed in OverridesParser.create().parse_overrides(overrides)]
    for key in keys:
        # A group such as experiment reaches everywhere, so that all of it has to agree.
        if key != "folder" and OmegaConf.select(config, key, default=None) is None:
            keys = [*keys, *asked, *known]
    named = {name for name in {*asked, *known} for key in keys if is_cell or is_part(name, key)}
    differing = sorted(name for name in named - {"folder", *THIS_TIME} if asked.get(name) != known.get(name))
    forced = [name for name in differing if _may_be_forced(name)]
    refused = [
        name
        for name in differing
        if not any(is_part(name, free) for free in (*ONLY_SHOWN, *(PLACED if is_cell else ())))
        and not _is_free(name)
        and not _grows(name, known.get(name), asked.get(name))
        and not (force and name in forced)
    ]
    if refused:
        with_force = " Of these, `active.force=true` lets through: " + ", ".join(forced) + "." if forced else ""
        raise ConfigCompositionException(
            f"The run in {folder} was started with other settings: {_changes(refused, known, asked)}. Go on with it by "
            f"`lightning-al folder={folder}` and nothing else, or with a larger {' or '.join(MAY_GROW)}, or choose "
            f"another folder.{with_force}"
        )
    if forced:
        from lightning_al.host.namespace import rank_zero_warn

        rank_zero_warn(
            f"`active.force=true`: the run in {folder} goes on with other settings than it was started with: "
            f"{_changes(forced, known, asked)}."
        )
    if is_cell:
        return as_stored(config)
    agreed = stored.copy()
    agreed.allow = []
    for name in differing:
        if name in asked:
            OmegaConf.update(agreed, name, asked[name])
    if "metric" in differing and "mode" not in keys:
        agreed.mode = asked["mode"]  # the stored one is that of the metric before
    # Another class has other arguments, even where those left out were null.
    for name in sorted(named & set(known) - set(asked)):
        if (forced and _may_be_forced(name)) or _is_free(name):
            owner, key = name.rsplit(".", 1)
            OmegaConf.select(agreed, owner).pop(key)
    return _kept_elsewhere(agreed, stored, config)


def _kept_elsewhere(agreed: DictConfig, stored: DictConfig, config: DictConfig) -> DictConfig:
    """Leave all as it was that changed only because a reference in the folder leads to what the command says now.

    What the command says reaches those places alone that have it in the command's own configuration.
    """
    before, now = shown(stored), shown(config)
    raw: Any = OmegaConf.to_container(agreed, resolve=False)
    for way, value in list(values(shown(agreed))):
        place = written_at(raw, way)
        if is_reference(at(raw, place)) and at(before, way) != value and at(now, way) != value:
            put(raw, place, at(before, place))
    kept = OmegaConf.create(raw)
    assert isinstance(kept, DictConfig)
    return kept


def as_stored(config: DictConfig) -> DictConfig:
    """Return a configuration as it is written into the folder of its run, which may be moved."""
    config.name = shown(config)["name"]  # as this command line resolves it; another one may not
    config.folder = MISSING
    return config


def settings_of(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Return the settings that tell methods apart: not seeds, names and places, and not what only shows or logs."""
    return {
        key: value
        for key, value in _flat(config).items()
        if not any(is_part(key, name) for name in (*ONLY_SHOWN, *PLACED))
        and key.split(".")[-1] != "seed"
        and not str(value).startswith(str(folder))
    }


def hyperparameters(config: DictConfig) -> dict[str, Any]:
    """Return the settings as the loggers are to have them, each once, though `pool` and `active` refer to others."""
    plain = shown(config)
    left_out = ("folder", "metric", "mode", "allow", "logger", "callbacks")
    settings = {str(key): value for key, value in plain.items() if key not in left_out}
    for part in ("pool", "active"):
        settings[part] = {key: value for key, value in settings[part].items() if key not in plain}
    return settings


def _changes(names: list[str], known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} (stored {known.get(name)!r}, asked {asked.get(name)!r})" for name in names)


def _is_free(name: str) -> bool:
    return any(is_part(name, part) for part in FREE)


def _may_be_forced(name: str) -> bool:
    # A comparison pairs runs by the seed that they began with.
    return name.split(".")[-1] != "seed" and any(is_part(name, part) for part in WITH_FORCE)


def _grows(name: str, known: Any, asked: Any) -> bool:
    is_larger = isinstance(known, int) and isinstance(asked, int) and asked > known
    return name in MAY_GROW and known is not None and (asked is None or is_larger)


def _flat(config: DictConfig) -> dict[str, Any]:
    """Return all settings by their dotted name, with references resolved, but for those to the outside."""
    return dict(leaves(shown(config)))
