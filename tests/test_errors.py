"""Every error of the package says what it is about and what to do, and a test quotes it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lightning_al.cli.allow_list import REMEDY
from lightning_al.run.folder import COPY, PUT_BACK
from lightning_al.task.labels import CLASS_ELSEWHERE, TEST_LABELS
from tests.support.sources import nodes_of
from tests.test_imports import FILES, HOME, name_of

VERBS = (
    "Add",
    "Append",
    "Apply",
    "Ask",
    "Begin",
    "Call",
    "Check",
    "Choose",
    "Compare",
    "Correct",
    "Define",
    "Draw",
    "Find",
    "Give",
    "Go",
    "Import",
    "Install",
    "Join",
    "Label",
    "Leave",
    "Let",
    "Load",
    "Lower",
    "Make",
    "Name",
    "Pass",
    "Put",
    "Raise",
    "Register",
    "Remove",
    "Resume",
    "Return",
    "Run",
    "Say",
    "Set",
    "Start",
    "Use",
    "Wait",
    "Write",
    "Yield",
)

# Errors that say no more than there is to do about them, by how they begin.
NO_REMEDY = {
    "There is no run in": "a folder that a caller named, and the caller's to find another",
    "`Journal.begin`: the run in": "a fault of the loop, not of a user",
    "`Journal.append` expected round": "a fault of the loop, not of a user",
}


# What an error says of one answer, which says what to do about all of them.
REASON = "AnswerError"


def literal(node: ast.expr) -> str:
    """The text of a message, with {} for what is known only when it is raised, but for the remedies that are shared."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(literal, node.values))
    if isinstance(node, ast.FormattedValue):
        shared = {"CLASS_ELSEWHERE": CLASS_ELSEWHERE, "TEST_LABELS": TEST_LABELS}
        passed_on = {"PUT_BACK": PUT_BACK, "COPY": COPY, "error": "{error}", **shared}
        return passed_on.get(ast.unparse(node.value), literal(node.value))
    if isinstance(node, ast.Name) and node.id == "PUT_BACK":
        return PUT_BACK
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "REMEDY.format":
        return REMEDY
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal(node.left) + literal(node.right)
    return "{}"


def messages(path: Path, *, reasons: bool = False) -> Iterator[str]:
    """The messages of all errors that a file raises, but those that are passed on whole."""
    for node in nodes_of(path):
        call = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        # What returns an error is there to be raised.
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("Error", "Exception")) and call.args:
            said = literal(call.args[0])
            if said != "{}" and reasons == (ast.unparse(call.func) == REASON):
                yield said


def strings(path: Path) -> Iterator[str]:
    """The strings of a file, but for its docstrings."""
    docstrings = {node.value for node in nodes_of(path) if isinstance(node, ast.Expr)}
    for node in nodes_of(path):
        is_string = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        if is_string and node not in docstrings:
            yield literal(node)


def phrases(text: str) -> set[tuple[str, ...]]:
    """Three words in a row of a message or of a pattern for one, of which one at most is left open."""
    left_open = re.sub(r"\{\w*\}|\.[*+]|\\d\+?", " * ", re.sub(r"\\(?=\W)", "", text))
    words = re.findall(r"\w+|\*", left_open)
    triples = zip(words, words[1:], words[2:], strict=False)
    return {triple for triple in triples if triple.count("*") <= 1}


@cache
def errors() -> list[tuple[str, str]]:
    """The messages of the library, each with the name of its file."""
    return [(name_of(path), said) for path in [HOME / "__init__.py", *FILES] for said in messages(path)]


@cache
def quoted() -> set[tuple[str, ...]]:
    """What the other tests quote."""
    tests = [path for path in Path(__file__).parent.rglob("test_*.py") if path.name != "test_errors.py"]
    return {phrase for path in tests for text in strings(path) for phrase in phrases(text)}


def has_remedy(said: str) -> bool:
    """Whether a later sentence begins with a verb of the list, or with "If ...," "Where ...," or "To ...," and one."""
    for sentence in re.split(r"(?<=[.:?]) |; ", said)[1:]:
        condition, _, rest = sentence.partition(", ")
        opening = rest.capitalize() if condition.startswith(("If ", "Where ", "To ")) else sentence
        if re.split("[ ,.]", opening)[0].strip("{}'") in VERBS:
            return True
    return False


def test_there_are_errors() -> None:
    assert len(errors()) > 100


def faults_of(said: str) -> Iterator[str]:
    """What an error lacks of saying who, what and what to do."""
    if said.endswith("{error}"):
        return  # what is passed on has all of its own
    if "`" not in said and "{}" not in said:
        yield "name what it is about"
    if not said.rstrip("}").endswith((".", "{")):
        yield "write sentences"
    if not any(said.startswith(beginning) for beginning in NO_REMEDY) and not has_remedy(said):
        yield f"say what to do, in a sentence that begins with one of {', '.join(VERBS)}"


def test_every_error_says_who_and_what_to_do() -> None:
    assert not [f"{name}: {said!r}: {fault}" for name, said in errors() for fault in faults_of(said)]


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        ("`X` got 3. Pass y.", 0),
        ("x got 3. Pass y.", 1),
        ("`X` got 3. Pass y", 1),
        ("`X` got 3.", 1),
        ("x got 3", 3),
        ("x {error}", 0),
    ],
)
def test_what_an_error_lacks_is_found(said: str, faults: int) -> None:
    assert len(list(faults_of(said))) == faults


def test_a_test_quotes_what_only_one_error_says() -> None:
    """So that each is raised by some test: what a test expects to be said has to be said."""
    reasons = [(name_of(path), said) for path in FILES for said in messages(path, reasons=True)]
    all_said = [*errors(), *reasons]
    times_said = Counter(phrase for said in {said for _, said in all_said} for phrase in phrases(said))
    unquoted = {}
    for name, said in all_said:
        own = {phrase for phrase in phrases(said) if times_said[phrase] == 1}
        if not own & quoted() and not said.endswith("{error}"):
            unquoted[f"{name}: {said}"] = sorted(own)
    assert not unquoted, "raise each in a test, with one of its phrases in `match=`"


@pytest.mark.parametrize(
    ("pattern", "quotes"),
    [
        (r"`Round\.score` got 3, but the run has 4\. Pass", True),
        ("the run has .* Pass", True),
        (r"but the \d+ runs", False),
        ("pass more", False),
        ("but .* run .* has", False),
    ],
)
def test_a_phrase_is_three_words(pattern: str, quotes: bool) -> None:
    assert bool(phrases(pattern) & phrases("`{}` got {}, but the run has {}. Pass more.")) == quotes


def test_every_exception_is_one() -> None:
    for beginning in NO_REMEDY:
        found = [said for _, said in errors() if said.startswith(beginning)]
        assert found
        assert not any(map(has_remedy, found))


@pytest.mark.parametrize(
    ("said", "has"),
    [
        ("`X` got {}. Pass y.", True),
        ("`X` got {}. Y is what it takes.", False),
        ("Pass y to `X`.", False),
        ("`X` got {}, but Pass is none.", False),
        ("`X` got {}. Where it is y, pass z.", True),
        ("`X` got {}. Where it is y, z is meant.", False),
    ],
)
def test_a_remedy_is_a_sentence_of_its_own(said: str, has: bool) -> None:
    assert has_remedy(said) == has
