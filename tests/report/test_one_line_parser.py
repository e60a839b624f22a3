"""What the commands beside `lightning-al` say of a mistyped option or action."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from lightning_al.cli import journal, score
from lightning_al.report import command


@pytest.mark.parametrize(
    ("main", "given", "said"),
    [
        (command.main, ["runs", "--targt", "0.9"], "unrecognized arguments: --targt 0.9 (did you mean --target?). See"),
        (command.main, ["runs", "--zzz"], "unrecognized arguments: --zzz. See"),
        (command.main, ["runs", "--mode", "mx"], "(did you mean max?). See `lightning-al-report --help`"),
        (score.main, ["run", "--ouput", "a.csv"], "(did you mean --out?). See `lightning-al-score --help`"),
        (journal.main, ["shwo", "run"], "(did you mean show?). See `lightning-al-journal --help`"),
        (journal.main, ["export", "run", "--hlep"], "unrecognized arguments: --hlep (did you mean --help?). See"),
    ],
)
def test_the_nearest_known_name_is_said(
    capsys: pytest.CaptureFixture[str], main: Callable[[Sequence[str]], int], given: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
