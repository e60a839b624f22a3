"""What a run remembers of its project in Label Studio: which task is for which point, and which answers were taken."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_al.run.files import MEBIBYTE, kind_of, parse_json, read_text, replacing
from lightning_al.values.errors import said_shortly

FILE = "label_studio.json"
"""The file in the run's folder."""

LARGEST = 256 * MEBIBYTE


@dataclass
class Task:
    """A task of the project.

    Attributes:
        round: Number of the round whose query it is for; -1 for the initial points.
        index: The point.
        is_taken: Whether its answer was taken.
        answer: The answer that was taken, as the journal has it.
        changed: When the annotations had been changed last by then.
    """

    round: int
    index: int
    is_taken: bool = False
    answer: Any = None
    changed: str = ""


@dataclass
class Remembered:
    """The project of a run.

    Attributes:
        run: A random name by which the project and its tasks are known to be of this run.
        project: Number of the project, or None before it is made.
        is_ours: Whether the run made the project.
        count: How many tasks the project had when they were last listed.
        tasks: The tasks, by their numbers.
    """

    run: str = field(default_factory=lambda: secrets.token_hex(8))
    project: int | None = None
    is_ours: bool = False
    count: int = 0
    tasks: dict[int, Task] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Remembered | None:
        """Return what a run's folder remembers, or None if it has no project.

        Raises:
            ValueError: If the file cannot be read.
        """
        path = folder / FILE
        try:
            known = parse_json(read_text(path, LARGEST))
            tasks = {int(number): Task(**task) for number, task in known.pop("tasks").items()}
            return cls(**known, tasks=tasks)
        except FileNotFoundError:
            return None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"What the run remembers of Label Studio in {path} is damaged ({said_shortly(error)}). Remove the "
                "file, so that the next start makes another project."
            ) from error

    def write(self, folder: Path) -> None:
        """Write it to a run's folder, on disk when this returns.

        Raises:
            ValueError: If something else is in the place of the file.
            OSError: If the file cannot be written.
        """
        path = folder / FILE
        if (kind := kind_of(path)) is not None:
            raise ValueError(f"{path} is {kind}, where the run remembers its project in Label Studio. Remove it.")
        with replacing(path) as draft:
            draft.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def key(self, round: int, index: int) -> str:
        """Return what a task is known by, in its data.

        >>> Remembered("ab12").key(0, 7)
        'ab12:0:7'
        """
        return f"{self.run}:{round}:{index}"

    def task_of_key(self, key: Any) -> Task | None:
        """Return the task that a key stands for, or None if it is of another run or no key.

        >>> Remembered("ab12").task_of_key("ab12:-1:7")
        Task(round=-1, index=7, is_taken=False, answer=None, changed='')
        """
        found = re.fullmatch(r"(\w+):(-?\d{1,9}):(\d{1,19})", key, re.ASCII) if isinstance(key, str) else None
        return Task(int(found[2]), int(found[3])) if found and found[1] == self.run else None

    def newest(self) -> dict[int, int]:
        """Return the number of the newest task of each point.

        >>> Remembered("ab12", tasks={4: Task(0, 7), 9: Task(3, 7), 5: Task(0, 2)}).newest()
        {7: 9, 2: 5}
        """
        found: dict[int, int] = {}
        for number, task in self.tasks.items():
            other = found.get(task.index)
            if other is None or (self.tasks[other].round, other) < (task.round, number):
                found[task.index] = number
        return found
