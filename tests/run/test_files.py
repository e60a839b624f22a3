"""Files are written whole, by a new name that follows nothing, and read only where they are files of a sane size."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_al.run import files
from lightning_al.run.files import open_plain, parse_json, parts_in, read_json, read_text, replacing
from lightning_al.run.folder import OF_JOURNAL


@pytest.fixture(autouse=True)
def never_waiting() -> Iterator[None]:
    """End a test that waits for the other end of a pipe."""

    def end(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def lowest_free_descriptor() -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_replacing_puts_a_whole_file_in_place(tmp_path: Path) -> None:
    target, free = tmp_path / "new" / "folder" / "file", lowest_free_descriptor()
    with replacing(target) as path:
        path.write_text("half")
        assert not target.exists()
        path.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
    assert lowest_free_descriptor() == free, "it left a file open"


def test_replacing_leaves_the_old_file_when_the_body_raises(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(KeyError), replacing(target) as path:  # noqa: PT012
        path.write_text("new, but not whole")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def a_socket(path: Path) -> None:
    there = os.getcwd()
    os.chdir(path.parent)  # since the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(there)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero, which has no end
    except PermissionError:
        pytest.skip("only root makes devices")


MAKE: dict[str, Callable[[Path], None]] = {
    "a link": lambda path: path.symlink_to(path.with_name("elsewhere")),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a device": a_device,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_no_file_is_not_read_and_does_not_hang(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    MAKE[kind](tmp_path / "file")
    for read in (read_text, read_json, lambda path: open_plain(path, 10)):
        with pytest.raises(
            ValueError, match=rf"file is {kind.replace('dangling ', '')}, where a file is expected\. Rem"
        ):
            read(tmp_path / "file")


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind != "a folder"])
def test_what_is_no_file_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    MAKE[kind](tmp_path / "file")
    with replacing(tmp_path / "file") as path:
        path.write_text("ours")
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert read_text(tmp_path / "file") == "ours"


def test_the_other_name_of_a_hard_link_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    os.link(tmp_path / "elsewhere", tmp_path / "file")
    with replacing(tmp_path / "file") as path:
        path.write_text("ours")
    assert [(tmp_path / name).read_text() for name in ("elsewhere", "file")] == ["mine", "ours"]


def test_a_link_that_waits_at_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the name known, as it was, the link would still not be followed."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0123456789abcdef")
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / ".file.0123456789abcdef.part").symlink_to("elsewhere")
    with pytest.raises(FileExistsError), replacing(tmp_path / "file") as path:
        path.write_text("ours")
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_a_link_that_is_put_at_the_temporary_name_later_is_not_put_in_place(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    with pytest.raises(OSError, match=r"was replaced while it .*\. Let"), replacing(tmp_path / "file") as path:  # noqa: PT012
        path.unlink()
        path.symlink_to("elsewhere")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_new_file_has_the_rights_that_any_has(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with replacing(tmp_path / "file") as path:
        path.write_text("ours")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_a_killed_process_left_is_found_by_whose_it_is(tmp_path: Path) -> None:
    ours = [".initial.pt.part", ".warm-12.pt.0123456789abcdef.part", ".journal.sqlite.0123456789abcdef.part-journal"]
    others = [".notes.pt.part", ".initial.pt", "initial.pt.part", ".initial.pt\n.part", ".initial.pt.part.txt"]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    assert [path.name for path in parts_in(tmp_path, OF_JOURNAL)] == sorted(ours)


def test_a_file_that_is_too_large_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 2**40)
    with pytest.raises(ValueError, match=r"file has 1099511627776 bytes, but such a file has at most 104857600\. Put"):
        read_text(tmp_path / "file")


@pytest.mark.parametrize("digits", [19, 20, 21, 400, 5_000, 10**6])
@pytest.mark.parametrize("sign", ["", "-"])
def test_whole_numbers_are_read_up_to_64_bits(digits: int, sign: str) -> None:
    text = f'{{"a": [{sign}{"9" * digits}]}}'
    if digits == 19:
        assert parse_json(text) == json.loads(text)
    else:
        with pytest.raises(ValueError, match=rf"a whole number of {digits + len(sign)} digits is larger than 184467"):
            parse_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, r"`\[{20}\.\.\.` is nested too deeply to be read\. Put"),
        ("{,}", r"`{,}\.\.\.` is no JSON: .*\. Put back a copy"),
    ],
)
def test_a_text_that_is_no_data_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)
