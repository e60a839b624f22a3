"""What a history remembers, and how it becomes plain data and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.run.history import NESTED, History, Round

metrics = st.dictionaries(st.sampled_from(["acc", "val_loss", "ß/x"]), st.floats(allow_nan=False))


@st.composite
def histories(draw: st.DrawFn) -> History:
    rounds = []
    for number in range(draw(st.integers(0, 4))):
        indices = draw(st.lists(st.integers(0, 99), max_size=4))
        rounds.append(
            Round(
                number=number,
                labelled=draw(st.integers(1, 99)),
                indices=indices,
                scores=[draw(st.floats(0, 1)) for _ in indices],
                class_counts=draw(st.none() | st.dictionaries(st.integers(0, 9), st.integers(1, 9), max_size=3)),
                metrics=draw(metrics),
                seconds=draw(metrics),
                steps=draw(st.integers(0, 99)),
                validation_labels=draw(st.integers(0, 99)),
                tested_with=draw(st.sampled_from(["module", "posterior"])),
                peak_bytes=draw(st.dictionaries(st.sampled_from(["fit", "fit_cuda"]), st.integers(0, 2**50))),
                details=draw(st.dictionaries(st.sampled_from(["a", "b"]), st.floats(0, 1) | st.lists(st.floats(0, 1)))),
            )
        )
    return History(rounds)


@given(histories())
def test_state_round_trip(history: History) -> None:
    other = History([Round(0, 1, [], [])])
    other.load_state_dict(history.state_dict())
    assert list(other) == list(history)


@given(histories())
def test_json_round_trip(history: History) -> None:
    plain = json.loads(json.dumps(history.state_dict()))
    other = History()
    other.load_state_dict(plain)
    assert list(other) == list(history)


def test_state_is_plain_enough_for_a_safe_load(tmp_path: Any) -> None:
    history = History([Round(0, 4, [7, 3], [0.5, 0.25], {0: 2, 1: 2}, {"acc": 0.5}, {"fit": 1.0})])
    torch.save(history.state_dict(), tmp_path / "history.pt")
    other = History()
    other.load_state_dict(torch.load(tmp_path / "history.pt", weights_only=True))
    assert list(other) == list(history)


def test_it_is_a_sequence() -> None:
    rounds = [Round(number, 10 * number, [number], [0.0]) for number in range(4)]
    history = History()
    for round in rounds:
        history.append(round)
    assert len(history) == 4
    assert list(history) == rounds
    assert history[-1] is rounds[-1]
    assert history[1:3] == rounds[1:3]
    assert rounds[2] in history
    assert list(reversed(history)) == rounds[::-1]
    with pytest.raises(IndexError):
        history[4]


def test_only_the_next_round_can_be_added() -> None:
    history = History([Round(0, 4, [1], [0.0])])
    for number in (0, 2):
        with pytest.raises(
            ValueError, match=f"`History.append` expected round 1, but got round {number}. Append in order"
        ):
            history.append(Round(number, 5, [], []))
    assert len(history) == 1


def test_the_last_round_can_be_taken_back() -> None:
    history = History([Round(0, 4, [1], [0.0]), Round(1, 5, [], [])])
    assert history.take_back().number == 1
    history.append(Round(1, 5, [2], [0.0]))
    assert [round.indices for round in history] == [[1], [2]]


def test_a_round_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="labelled"):
        Round(0, 4, [], []).labelled = 5  # type: ignore[misc]


def test_fields_of_later_versions_are_left_out() -> None:
    assert Round.from_dict({"number": 0, "labelled": 4, "indices": [], "scores": [], "unheard_of": 1}) == Round(
        0, 4, [], []
    )


def test_curve_takes_the_rounds_that_have_the_metric() -> None:
    history = History(
        [
            Round(0, 4, [1], [0.0], metrics={"acc": 0.5}),
            Round(1, 5, [2], [0.0], metrics={"loss": 1.0}),
            Round(2, 6, [], [], metrics={"acc": 0.75, "loss": 0.5}),
        ]
    )
    assert history.curve("acc") == ([4, 6], [0.5, 0.75])
    with pytest.raises(KeyError, match=r"No round has the metric 'auc'. Choose one of: acc, loss"):
        history.curve("auc")
    with pytest.raises(KeyError, match="Choose one of: none"):
        History().curve("acc")


def test_what_it_prints() -> None:
    history = History([Round(0, 4, [1, 9], [0.0, 0.0], metrics={"acc": 0.5}), Round(1, 6, [], [])])
    assert repr(history).splitlines() == [
        "History of 2 rounds",
        "  round 0: 4 labels, acc 0.5, asked [1, 9]",
        "  round 1: 6 labels, asked nothing",
    ]


def test_it_is_done_once_a_round_queried_nothing() -> None:
    rounds = [Round(0, 4, [1], [0.0]), Round(1, 5, [], [])]
    assert [History(rounds[:count]).done for count in range(3)] == [False, False, True]


@given(histories())
def test_a_frame_has_a_row_for_each_round_and_all_that_it_recorded(history: History) -> None:
    frame = history.to_frame()
    assert len(frame) == len(history)
    for round, (_, row) in zip(history, frame.iterrows(), strict=True):
        assert (row["round"], row["labels"], row["queried"]) == (round.number, round.spent, len(round.indices))
        assert (row["indices"], row["scores"]) == (round.indices, round.scores)
        for name in NESTED:
            parts = getattr(round, name) or {}
            assert {key: row[f"{name}.{key}"] for key in parts} == parts
            columns = [column for column in frame if str(column).startswith(f"{name}.")]
            others = [column for column in columns if column not in {f"{name}.{key}" for key in parts}]
            assert row[others].isna().all()
