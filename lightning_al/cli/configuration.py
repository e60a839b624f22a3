"""The configuration of a run, and whether it agrees with the one stored in the run's folder."""

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

from lightning_al.cli.arguments import check_arguments
from lightning_al.cli.namespace import in_this_process, rename_earlier
from lightning_al.cli.references import KeyPath, at, dotted, is_reference, mapped, put, shown, values, written_at
from lightning_al.cli.resolved_size import check_size
from lightning_al.cli.setting_types import check_types
from lightning_al.report.settings import ONLY_SHOWN, PLACED, check_numbers, is_part, leaves, read_settings
from lightning_al.run.folder import CONFIG
from lightning_al.run.identity import GROWS, forced_settings, free_settings
from lightning_al.run.printable import printable
from lightning_al.run.run_command import run_command, setting
from lightning_al.values.nearest import did_you_mean

PARTS = (
    "acquisition",
    "posterior",
    "oracle",
    "features",
    "model",
    "data",
    "trainer",
    "callbacks",
    "logger",
    "pool",
    "active",
)
VALUES = ("folder", "seed", "name", "metric", "mode", "threads", "allow")
MAY_GROW = tuple(f"active.{name}" for name in GROWS)
COMMAND_ONLY = ("allow", "active.force")
# Groups of the command line that `active` and `pool` refer to.
HARDWARE = tuple(f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy"))
WITH_FORCE = ("acquisition", "posterior", "features", "data", "pool.data", *HARDWARE, *forced_settings())
FREE = ("oracle", *(name for name in free_settings() if name not in (*MAY_GROW, *COMMAND_ONLY)))


@dataclass(frozen=True)
class CommandOptions:
    """Options that hold for one command only. A stored configuration can neither set nor extend them."""

    allow: tuple[str, ...]
    force: bool


def check_names(config: DictConfig) -> None:
    """Raise a ConfigCompositionException if the configuration has an unknown setting at its top level."""
    unknown = _unknown(config)
    if unknown:
        raise ConfigCompositionException(
            f"lightning-al has no setting named {', '.join(unknown)}{did_you_mean(unknown[0], (*VALUES, *PARTS))}. "
            f"Choose one of: {', '.join((*VALUES, *PARTS))}."
        )


def _rename(active: DictConfig) -> None:
    """Rename settings of earlier versions."""
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


def take_command_options(config: DictConfig, overrides: list[str]) -> CommandOptions:
    """Remove the options from the configuration that only the command line may set, and return them.

    Raises:
        ConfigCompositionException: If a configuration file sets one.
    """
    typed = [parsed for parsed in OverridesParser.create().parse_overrides(overrides) if parsed.key_or_group == "allow"]
    given = typed[-1].value() if typed else []
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given) or config.allow != given:
        raise ConfigCompositionException(
            f"lightning-al takes `allow` from the command line only, as a list of names, but got {config.allow}. Give "
            "it as 'allow=[my_package]'."
        )
    force = config.active.force
    if not isinstance(force, bool):
        raise ConfigCompositionException(
            f"lightning-al takes `active.force` as true or false, but got {force!r}. Set it to one of them."
        )
    config.allow, config.active.force = [], False
    return CommandOptions(allow=tuple(map(str, given)), force=force)


def resolve_allowed(
    config: DictConfig, allow: Sequence[str], folder: Path, composed: DictConfig | None = None
) -> DictConfig:
    """Check that the configuration names only what is allowed, and return it with all references resolved.

    Args:
        config: The configuration.
        allow: What the user allows in addition.
        folder: The run's folder.
        composed: The configuration of this command, if `config` is the one stored in the folder.
    """
    from lightning_al.cli.allow_list import AllowList
    from lightning_al.cli.stored import resolve_stored
    from lightning_al.cli.string_settings import put_strings

    try:
        if composed is None:
            plain: Any = in_this_process(OmegaConf.to_container(config, resolve=True))
            AllowList(allow).check(plain)
        else:
            plain = resolve_stored(config, composed, folder, allow)
        put_strings(plain, AllowList(allow))
        check_types(plain)
        if composed is None:  # a stored configuration was checked when its run began
            check_arguments(plain, AllowList(allow))
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
    except AssertionError:  # OmegaConf raises it for a text that is one number
        raise _damaged(folder, "it holds one value") from None
    if not isinstance(stored, DictConfig):
        raise _damaged(folder, "it holds a list")
    missing = sorted({*PARTS, *VALUES} - {"allow", "mode", "features"} - set(map(str, stored)))
    if missing:
        raise _damaged(folder, f"it lacks {', '.join(missing)}")
    if _unknown(stored):
        raise _damaged(folder, f"no run has the settings {', '.join(_unknown(stored))}")
    for name in ("mode", "features"):  # earlier versions did not store them
        stored[name] = stored.get(name)
    rename_earlier(stored)
    if isinstance(stored.get("active"), DictConfig):
        _rename(stored.active)
    missing = sorted(
        dotted(key_path) for key_path, value in values(raw) if value == MISSING and key_path != ("folder",)
    )
    if missing:
        raise _damaged(folder, f"it has no value for {', '.join(missing)}")
    try:
        check_types(shown(_with_place(stored)))
    except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        raise _damaged(folder, str(error)) from None  # Hydra would print the cause again
    return stored


def _with_place(config: DictConfig) -> DictConfig:
    """Return a configuration with a placeholder for the run's folder, which Hydra sets only later."""

    def put_place(key_path: KeyPath, value: Any) -> Any:
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
    """Return the configuration to resume with: the stored one, changed by the overrides where they may.

    A cell is composed anew each time, so all of its configuration must agree, except what is only for display or says
    where files lie.

    Raises:
        ConfigCompositionException: If an override contradicts the stored configuration, and `force` does not allow it.
    """
    asked = {key: value for key, value in _flat(config).items() if key != "folder"}
    known = _flat(stored)
    keys = [parsed.key_or_group for parsed in OverridesParser.create().parse_overrides(overrides)]
    for key in keys:
        # A group such as `experiment` can change any setting, so all settings must agree.
        if key != "folder" and OmegaConf.select(config, key, default=None) is None:
            keys = [*keys, *asked, *known]
    named = {name for name in {*asked, *known} for key in keys if is_cell or is_part(name, key)}
    differing = sorted(name for name in named - {"folder", *COMMAND_ONLY} if asked.get(name) != known.get(name))
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
        labels = setting("pool.labels", str(folder))
        with_labels = "" if is_cell else f"; `{labels}` starts that one from the labels given here"
        with_force = " With `active.force=true`, these may differ: " + ", ".join(forced) + "." if forced else ""
        raise ConfigCompositionException(
            f"The run in {folder} was started with other settings: {_changes(refused, known, asked)}. Resume it with "
            f"`{run_command(folder)}` alone, or with a larger {' or '.join(MAY_GROW)}, or choose "
            f"another folder{with_labels}.{with_force}"
        )
    if forced:
        from lightning_al.host.namespace import rank_zero_warn

        rank_zero_warn(
            f"`active.force=true`: the run in {folder} resumes with other settings than it was started with: "
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
        agreed.mode = asked["mode"]  # the stored one belongs to the metric before
    # Another class has other arguments, even where those left out were null.
    for name in sorted(named & set(known) - set(asked)):
        if (forced and _may_be_forced(name)) or _is_free(name):
            owner, key = name.rsplit(".", 1)
            OmegaConf.select(agreed, owner).pop(key)
    return _kept_elsewhere(agreed, stored, config)


def _kept_elsewhere(agreed: DictConfig, stored: DictConfig, config: DictConfig) -> DictConfig:
    """Restore the settings that changed only because a stored reference leads to an overridden setting.

    An override changes the settings that it changes in the command's own configuration, and no others.
    """
    before, now = shown(stored), shown(config)
    raw: Any = OmegaConf.to_container(agreed, resolve=False)
    for key_path, value in list(values(shown(agreed))):
        place = written_at(raw, key_path)
        if is_reference(at(raw, place)) and at(before, key_path) != value and at(now, key_path) != value:
            put(raw, place, at(before, place))
    kept = OmegaConf.create(raw)
    assert isinstance(kept, DictConfig)
    return kept


def as_stored(config: DictConfig) -> DictConfig:
    """Return a configuration as it is stored in the run's folder. It does not name the folder, which may be moved."""
    config.name = shown(config)["name"]  # resolved now; another command may resolve it differently
    config.folder = MISSING
    return config


def settings_of(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Return the settings that distinguish methods: no seeds, names or places, and nothing that only shows or logs."""
    return {
        key: value
        for key, value in _flat(config).items()
        if not any(is_part(key, name) for name in (*ONLY_SHOWN, *PLACED))
        and key.split(".")[-1] != "seed"
        and not str(value).startswith(str(folder))
    }


def hyperparameters(config: DictConfig) -> dict[str, Any]:
    """Return the settings for the loggers, each once, although `pool` and `active` refer to others."""
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
    # A comparison pairs runs by their initial seed.
    return name.split(".")[-1] != "seed" and any(is_part(name, part) for part in WITH_FORCE)


def _grows(name: str, known: Any, asked: Any) -> bool:
    is_larger = isinstance(known, int | float) and isinstance(asked, int | float) and asked > known
    return name in MAY_GROW and known is not None and (asked is None or is_larger)


def _flat(config: DictConfig) -> dict[str, Any]:
    """Return all settings by dotted name, with all references resolved except outer ones."""
    return dict(leaves(shown(config)))
