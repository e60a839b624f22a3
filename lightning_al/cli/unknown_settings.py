"""Find the setting of a command that no configuration has, and suggest the most similar one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lightning_al.cli.command_line import choices_of, config_folders, overrides_in
from lightning_al.cli.config_groups import config_groups
from lightning_al.cli.references import dotted, values
from lightning_al.values.nearest import did_you_mean


def unknown_setting(arguments: Sequence[str]) -> str | None:
    """Return what to say of the first setting that the configuration does not have, or None if it has all.

    Of a sweep over a group, the first option is composed.

    Args:
        arguments: The words after the command's name. They passed `check_command_line`.
    """
    groups = config_groups(config_folders(arguments))
    overrides = overrides_in(arguments)
    of_groups = [one for one in overrides if _group_of(one) in groups or "/" in one.key_or_group]
    try:
        config = _composed([_with_one_choice(one) for one in of_groups], arguments)
    except Exception:  # Hydra itself says why the groups cannot be composed
        return None
    for one in overrides:
        if one.key_or_group.startswith("hydra."):  # its nodes may take more than they list, and Hydra says what not
            continue
        if one not in of_groups and one.type is OverrideType.CHANGE and not _has(config, one.key_or_group):
            return said_of_unknown(one.key_or_group, config, groups)
    return None


def said_of_unknown(key: str, config: DictConfig, groups: Iterable[str] = ()) -> str:
    """Return what to say of a setting that a configuration does not have.

    >>> said_of_unknown("active.budgt", OmegaConf.create({"active": {"budget": 100}}))
    'There is no setting active.budgt (did you mean active.budget?). Choose one of active: budget.'
    >>> said_of_unknown("budget", OmegaConf.create({"active": {"budget": 100}}))
    'There is no setting budget (did you mean active.budget?). Choose one: active.'
    """
    owners: list[str] = []
    last, node = key, config
    while "." in last and isinstance(found := _at(node, last.partition(".")[0]), DictConfig):
        name, _, last = last.partition(".")
        owners, node = [*owners, name], found
    owner, last = ".".join(owners), last.partition(".")[0]
    here = f"{owner}.{last}" if owner else last
    names = [str(name) for name in node if not str(name).startswith("_") and name != "hydra"]
    names += [] if owner else list(groups)
    if last in names:
        return f"There is no setting {key}: `{here}` is one value. Set `{here}` itself."
    if not names:
        return f"There is no setting {here}: `{owner}` has none as it is chosen. Leave it out."
    beside = [f"{owner}.{name}" if owner else name for name in names]
    suggestion = did_you_mean(last, beside, by_last_name=True)
    if not suggestion and not owner:
        suggestion = did_you_mean(key.rpartition(".")[2], _leaves(config), by_last_name=True)
    of_owner = f" of {owner}" if owner else ""
    more = f" Write +{key} for an argument that no file lists." if not suggestion and _takes_more(node) else ""
    known = ", ".join(dict.fromkeys(names))
    return f"There is no setting {here}{suggestion}. Choose one{of_owner}: {known}.{more}"


def _group_of(override: Override) -> str:
    return override.key_or_group.partition("@")[0]


def _with_one_choice(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    first = next(choices_of(override), None)
    return f"{override.get_key_element()}={first}"


def _composed(overrides: Sequence[str], arguments: Sequence[str]) -> DictConfig:
    folders = [f"file://{folder.absolute()}" for folder in config_folders(arguments)]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("lightning_al.conf", version_base="1.3"):
            searched = [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []
            config: DictConfig = compose("config", [*overrides, *searched], return_hydra_config=True)
    finally:
        GlobalHydra.instance().clear()
    return config


def _has(config: DictConfig, key: str) -> bool:
    try:
        OmegaConf.update(deepcopy(config), key, None)
    except OmegaConfBaseException:
        return False
    return True


def _at(node: DictConfig, name: str) -> object:
    try:
        return OmegaConf.select(node, name)
    except OmegaConfBaseException:  # a reference that cannot be resolved yet
        return None


def _leaves(config: DictConfig) -> list[str]:
    with open_dict(config):
        plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return [dotted(key_path) for key_path, _ in values(plain) if not str(key_path[-1]).startswith("_")]


def _takes_more(node: DictConfig) -> bool:
    """Return whether a node is of a class of another package, of whose arguments our files list a few."""
    return not str(node.get("_target_", "lightning_al.")).startswith("lightning_al.")
