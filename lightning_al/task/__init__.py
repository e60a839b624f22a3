"""Tasks: what the outputs of a network mean."""

from lightning_al.task.base import Task
from lightning_al.task.binary import Binary
from lightning_al.task.guessed import Guessed
from lightning_al.task.multiclass import Multiclass

TASKS: dict[str, Task] = {task.name: task for task in (Multiclass(), Binary())}
"""All tasks by name."""

__all__ = ["TASKS", "Binary", "Guessed", "Multiclass", "Task"]
