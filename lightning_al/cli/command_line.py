"""Check the words of a command line before Hydra reads them, in milliseconds and in the words of this command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from lightning_al.cli.config_groups import NAMED, config_groups
from lightning_al.run.run_command import setting
from lightning_al.values.nearest import did_you_mean

FLAGS: tuple[str, ...] = ("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m")
FLAGS += ("--shell-completion", "-sc", "--info", "-i")
WITH_VALUE: tuple[str, ...] = ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn")
WITH_VALUE += ("--config-dir", "-cd", "--experimental-rerun")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""What may follow `--info`."""


class CommandLineError(Exception):
    """A command line is not one that this command can read; the message is for the user."""


def check_command_line(arguments: Sequence[str]) -> None:
    """Check flags, settings and names of groups. What depends on the composed configuration is not checked here.

    Args:
        arguments: The words after the command's name.

    Raises:
        CommandLineError: If one is wrong; the message says what to write.

    >>> check_command_line(["acquisition=bald", "-m", "seed=0,1"])
    >>> check_command_line(["acquisition=bal"])
    Traceback (most recent call last):
        ...
    lightning_al.cli.command_line.CommandLineError: The group `acquisition` has no option 'bal' (did you mean ...
    """
    groups = config_groups(config_folders(arguments)) if "hydra.searchpath" not in " ".join(arguments) else {}
    words = settings_in(arguments)
    for place, word in enumerate(words):
        if word.startswith("-"):
            raise _flag(word, words[place + 1 :])
        if not word.startswith("~") and ("=" not in word.strip("=") or word.endswith("=")):
            raise _no_setting(words, place, groups)
    for word in words:
        _check_override(_parsed(word), groups, is_sweep=is_sweep(arguments))


def settings_in(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line that are neither Hydra's flags nor their values.

    >>> settings_in(["--cfg", "job", "seed=3", "--multirun", "--epochs=5"])
    ['seed=3', '--epochs=5']
    """
    words, skip = [], False
    for place, word in enumerate(arguments):
        is_value, skip = skip, False
        is_of_info = word in INFO and place > 0 and arguments[place - 1] in ("--info", "-i")
        if is_value or is_of_info or word == "--":
            continue
        flag = word.partition("=")[0]
        if flag.startswith("-") and _is_flag(flag, (*FLAGS, *WITH_VALUE)):
            skip = "=" not in word and _is_flag(flag, WITH_VALUE)
        else:
            words.append(word)
    return words


def is_sweep(arguments: Sequence[str]) -> bool:
    """Return whether a command line is that of a sweep."""
    flags = any(word == "-m" or (len(word) > 3 and "--multirun".startswith(word)) for word in arguments)
    return flags or "hydra.mode=MULTIRUN" in arguments


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders that a command line names by ``--config-dir``."""
    found = []
    for place, word in enumerate(arguments):
        flag, has_value, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            found.append(Path(value if has_value else "".join(arguments[place + 1 : place + 2])))
    return found


def overrides_in(arguments: Sequence[str]) -> list[Override]:
    """Return the settings of a command line that passed `check_command_line`."""
    return [_parsed(word) for word in settings_in(arguments)]


def choices_of(override: Override) -> Iterator[Any]:
    """Yield the value of a setting, or each one of a sweep; those of a range or a pattern are left out."""
    value: Any = override.value()
    if not override.is_sweep_override():
        yield value
    else:
        for one in getattr(value, "list", ()):  # that of a choice
            yield getattr(one, "text", one)


def _is_flag(word: str, flags: Sequence[str]) -> bool:
    """Return whether a word is one of these flags, or the beginning of a long one."""
    return word in flags or (len(word) > 2 and any(flag.startswith(word) for flag in flags if flag[:2] == "--"))


def _flag(word: str, later: Sequence[str]) -> CommandLineError:
    name, _, value = word.lstrip("-").partition("=")
    value = value or next((one for one in later[:1] if "=" not in one and not one.startswith("-")), "")
    if name and value:
        setting = f"{name.replace('-', '_')}={value}"
        return CommandLineError(f"There is no flag {word!r}. Write settings without dashes, as in {setting}.")
    return CommandLineError(f"There is no flag {word!r}. Choose one of `lightning-al --help`.")


def _no_setting(words: Sequence[str], place: int, groups: dict[str, list[str]]) -> CommandLineError:
    """Return the error for a word without a key, without a value, or without either."""
    word, later = words[place], "".join(words[place + 1 : place + 2])
    key, is_given, _ = word.partition("=")
    if later.startswith("=") or (is_given and later and "=" not in later):
        value = later.lstrip("=") or "".join(words[place + 2 : place + 3]) or "VALUE"
        return _spaces(key, f"{key}={value}")
    if is_given and key:
        return CommandLineError(
            f"The setting {word!r} has no value; a variable of the shell may be empty. Give one, or leave it out."
        )
    in_groups = [f"{group}={word}" for group, options in groups.items() if word in options]
    if not in_groups and word in groups and later and "=" not in later:
        in_groups = [f"{word}={later}"]
    if in_groups:
        return CommandLineError(f"{word!r} is not a setting. Write {' or '.join(in_groups)}.")
    return CommandLineError(
        f"{word!r} is not a setting{did_you_mean(word, groups)}. Write each one as key=value, such as acquisition=bald."
    )


def _spaces(word: str, tidy: str) -> CommandLineError:
    return CommandLineError(
        f"There are spaces around the = of {word!r}. Write {tidy}, with quotes around a value that has spaces."
    )


def _parsed(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        key = word.partition("=")[0]
        if key != key.strip() or word.partition("=")[2][:1] == " ":
            tidy = "=".join(part.strip() for part in word.split("=", 1))
            raise _spaces(word, tidy) from error
        raise CommandLineError(
            f"{word!r} cannot be read as key=value. Put a value with brackets, commas, colons, quotes, = or letters "
            f"other than a to z into quotes of its own, such as {_with_quotes(word)}."
        ) from error


def _with_quotes(word: str) -> str:
    """Return a setting with its value in quotes, to paste into a shell, or an example if it may be several values."""
    key, _, value = word.partition("=")
    is_text = re.fullmatch(r"[\w.+/@]+", key, re.ASCII) and not re.search(r"^[\[{(\"']|[,\"]", value)
    return setting(key, value) if is_text else setting("name", "a=b")


def _check_override(override: Override, groups: dict[str, list[str]], *, is_sweep: bool) -> None:
    key, group = override.key_or_group, override.get_key_element().lstrip("+~").partition("@")[0]
    if override.is_sweep_override() and not is_sweep:
        raise CommandLineError(
            f"{override.input_line!r} gives `{key}` several values, which only a sweep takes. Add -m to run each of "
            "them, or choose one."
        )
    if group not in groups or override.type is OverrideType.DEL:
        return
    for value in choices_of(override):
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) or one is None for one in several):
            raise CommandLineError(
                f"{override.input_line!r} is not the name of an option of `{group}`. Choose one of: "
                f"{', '.join(groups[group])}."
            )
        if isinstance(value, list) and group not in NAMED:
            raise CommandLineError(
                f"`{group}` takes one name, but got a list, {override.input_line!r}. Choose one, or run a sweep over "
                f"them: lightning-al -m {group}={','.join(map(str, several))}."
            )
        for one in several:
            # A folder of one's own may have options in folders below.
            if one is not None and "/" not in one and one.removesuffix(".yaml") not in groups[group]:
                raise CommandLineError(
                    f"The group `{group}` has no option {one!r}{did_you_mean(one, groups[group])}. Choose one of: "
                    f"{', '.join(groups[group])}."
                )
