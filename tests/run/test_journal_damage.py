"""A damaged journal is read as it was written or refused, and what is salvaged from it is true.

Every bit of the file is flipped, it is cut at every length, and it is changed at random. The normal suite takes a part
of these cases, evenly spaced; `pytest -n 0 -m slow` takes all.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch

from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.run.schemas import SCHEMA
from lightning_al.run.weights_file import load_weights
from tests.support.rounds import HEADER, LABELS, ROUNDS, write

REFUSAL = re.compile(
    r"^The journal in .* is damaged at row \d+; (the last good round is (?P<last>\d+)|no round is good)\. "
    r"(To resume from there, run `lightning-al-journal repair .*` and start again\. )?"
    r"Put back a copy of journal\.sqlite and the files beside it from before, or begin again in another folder\.$"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, since each case opens the journal several times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


class Damaged:
    """A run of some rounds whose journal is damaged again and again, each time from the whole one."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.source, self.folder, self.rounds = folder / "source", folder / "damaged", rounds
        write(self.source, rounds)
        self.whole = (self.source / "journal.sqlite").read_bytes()
        self.accepted = self.refused = self.salvaged = self.rounds_salvaged = 0

    def check(self, content: bytes) -> None:
        """Check the whole law on a journal of this content."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.source, self.folder)
        (self.folder / "journal.sqlite").write_bytes(content)
        read = self.outcome(lambda: list(Journal.read_history(self.folder)))
        opened = self.outcome(self.opened)
        if read is None and opened is None:
            self.accepted += 1
            self.goes_on(self.rounds)
            return
        self.refused += 1
        known = {found for found in (read, opened) if found is not None}
        assert len(known) == 1, "the two name different rounds"
        try:
            num_good = Journal.salvage(self.folder)
        except RuntimeError as error:
            refusal = str(error)
        else:
            refusal = ""
        if refusal:
            assert re.search(r"No row of the journal in .* can be read\. Put back a copy of", refusal)
            assert known == {0}
            return
        self.salvaged += 1
        self.rounds_salvaged += num_good
        assert known == {num_good}
        self.goes_on(num_good)
        assert (self.folder / "damaged-0.sqlite").read_bytes() == content

    def report(self) -> None:
        print(
            f"{self.accepted} read as they were written, {self.refused} refused, {self.salvaged} of these salvaged, "
            f"with {self.rounds_salvaged / max(self.salvaged, 1):.2f} of {self.rounds} rounds on average"
        )

    def opened(self) -> list[Round]:
        journal = Journal(self.folder)
        try:
            assert journal.header == {"schema": SCHEMA, **HEADER}
            assert journal.labels == LABELS[: self.rounds]
            return list(journal.history)
        finally:
            journal.close()

    def outcome(self, read: Callable[[], list[Round]]) -> int | None:
        """Return how many rounds a refusal says are good, or None where all were read, just as they were written."""
        try:
            assert read() == ROUNDS[: self.rounds]
        except RuntimeError as error:
            refusal = str(error)
        else:
            return None
        said = REFUSAL.match(refusal)
        assert said is not None, refusal
        return 0 if said["last"] is None else int(said["last"]) + 1

    def goes_on(self, num_good: int) -> None:
        """Check that the journal holds this many rounds, takes the next one, and holds that too."""
        journal = Journal(self.folder)
        assert journal.header == {"schema": SCHEMA, **HEADER}
        assert (list(journal.history), journal.labels) == (ROUNDS[:num_good], LABELS[:num_good])
        if num_good < len(ROUNDS):
            journal.append(ROUNDS[num_good], LABELS[num_good])
        journal.close()
        again = Journal(self.folder)
        assert (list(again.history), again.labels) == (ROUNDS[: num_good + 1], LABELS[: num_good + 1])
        again.close()


def flipped(content: bytes, bits: Iterable[int]) -> Iterator[bytes]:
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def mutated(content: bytes, source: random.Random) -> bytes:
    """Change several bytes, swap two pages, empty one, or append what does not belong there."""
    page = int.from_bytes(content[16:18], "big")
    pages = [content[first : first + page] for first in range(0, len(content), page)]
    match source.randrange(4):
        case 0:
            changed = bytearray(content)
            for _ in range(source.randint(2, 40)):
                changed[source.randrange(len(changed))] = source.randrange(256)
            return bytes(changed)
        case 1:
            one, other = source.sample(range(len(pages)), 2)
            pages[one], pages[other] = pages[other], pages[one]
        case 2:
            pages[source.randrange(len(pages))] = bytes(page)
        case _:
            pages.append(source.randbytes(source.randint(1, 2 * page)))
    return b"".join(pages)


@pytest.mark.parametrize("step", [1999, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_refused_or_harmless(folder: Path, step: int) -> None:
    damaged = Damaged(folder, rounds=4)
    for content in flipped(damaged.whole, range(0, 8 * len(damaged.whole), step)):
        damaged.check(content)
    damaged.report()


@pytest.mark.parametrize("step", [307, pytest.param(1, marks=pytest.mark.slow)])
def test_a_cut_file_is_refused(folder: Path, step: int) -> None:
    damaged = Damaged(folder, rounds=4)
    for length in range(0, len(damaged.whole), step):
        damaged.check(damaged.whole[:length])
    assert damaged.accepted == 0
    damaged.report()


def test_a_file_whose_last_page_is_cut_off_is_salvaged_up_to_there(folder: Path) -> None:
    write(folder, rounds=5)
    path = folder / "journal.sqlite"
    whole = path.read_bytes()
    page = int.from_bytes(whole[16:18], "big")
    path.write_bytes(whole[:-page])
    num_good = Journal.salvage(folder)
    assert 0 < num_good < 5
    assert list(Journal.read_history(folder)) == ROUNDS[:num_good]


@pytest.mark.parametrize("times", [40, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rounds", [3, 5])
def test_a_file_changed_at_random_is_refused_or_harmless(folder: Path, rounds: int, times: int) -> None:
    damaged = Damaged(folder, rounds)
    source = random.Random(rounds)
    for _ in range(times):
        damaged.check(mutated(damaged.whole, source))
    damaged.report()


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_weights_are_refused(folder: Path, step: int) -> None:
    journal = Journal(folder)
    journal.save_weights("initial", {"weight": torch.tensor([[1.5, -0.25]]), "bias": torch.tensor([3.0])})
    journal.close()
    path = folder / "initial.pt"
    whole = path.read_bytes()
    cut = (whole[:length] for length in range(0, len(whole), step))
    for content in itertools.chain(flipped(whole, range(0, 8 * len(whole), step)), cut):
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match=r"initial.pt is damaged.*the hash.*Put back a copy of"):
            load_weights(folder, "initial")
    path.write_bytes(whole)
    assert load_weights(folder, "initial")["bias"] == 3
