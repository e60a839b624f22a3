"""The project of a run in Label Studio: made once, and given a task for each point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning_al.oracle.correction import Correction
from lightning_al.oracle.files.points import key_text
from lightning_al.oracle.files.shown_item import ShownItem, held_address, shown_item, with_file
from lightning_al.oracle.label_studio.answers import Verdict
from lightning_al.oracle.label_studio.client import Client
from lightning_al.oracle.label_studio.finding import Finder, Found
from lightning_al.oracle.label_studio.labelling_config import (
    Labelling,
    Parts,
    labelling_config,
    labelling_in,
    parts_in,
)
from lightning_al.oracle.label_studio.remembered import FILE, Remembered, Task
from lightning_al.oracle.label_studio.task_data import (
    OURS,
    SIDE_IN_DATA,
    SIDE_OF_FILE,
    are_files,
    data_of,
    parts_of,
    picture_file,
    pictures_of,
    prediction_of,
)
from lightning_al.oracle.query import Query

MOST_PICTURES = 50
"""Tasks that are imported by one request, where they may have pictures."""

MOST_AT_ONCE = 500
"""Tasks that are imported by one request, where they have none."""

LONGEST_TITLE = 50
SHORTEST_TITLE = 3
"""The most and the least characters of a project's title."""


class Project:
    """A run's project.

    It is looked up, or made and remembered in the run's folder, when the object is made.

    Args:
        client: The server.
        folder: The run's folder.
        classes: The names of the classes by their numbers.
        number: Number of the project, or None to make one.
        annotators: How many people answer each task.
        suggestions: Whether people see what the model believes.

    Raises:
        ValueError: If the project is gone, is of another run, or has no field for the classes.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        classes: Mapping[int, str],
        *,
        number: int | None,
        annotators: int,
        suggestions: bool,
    ) -> None:
        self._client = client
        self._folder = folder
        self._classes = classes
        self._annotators = annotators
        self._suggestions = suggestions
        self.remembered = self._remembered(number)
        if self.remembered.project is None:
            self.remembered.write(folder)  # by whose name a project is found that a killed process made
            self.remembered.project = self._made()
            self.remembered.write(folder)
        settings = client.get(self._path())
        if settings is None:
            raise ValueError(
                f"Project {self.remembered.project} is not in Label Studio at {client.url}. Pass the number of one "
                f"that is there; if it was deleted, remove {folder / FILE}, so that the next start makes another."
            )
        if self.remembered.is_ours and self.remembered.run not in str(settings.get("description")):
            raise ValueError(
                f"Project {self.remembered.project} in Label Studio at {client.url} was not made for the run in "
                f"{folder}. Pass the `url` of the server that has the run's project, or remove {folder / FILE}."
            )
        if not self.remembered.is_ours:
            self.remembered.write(folder)
        self._count = settings.get("task_number") or 0
        self._config = str(settings.get("label_config"))

    @property
    def address(self) -> str:
        """The address of the project's page."""
        return f"{self._client.url}/projects/{self.remembered.project}"

    def add(self, query: Query) -> int:
        """Import a task for each point of a query that has none, and return how many were imported.

        The tasks are listed before, and so are they where some were deleted: a task that an earlier call imported, and
        an unanswered one of an earlier query, are not imported again.
        """
        labelling = self._fit_config(Parts())
        lacking = self._lacking(query)
        if lacking or self._count != self.remembered.count:
            self._list(query)
            lacking = self._lacking(query)
        side = SIDE_OF_FILE if are_files(labelling) or not self.remembered.tasks else SIDE_IN_DATA
        left = list(lacking)
        while left:
            has_pictures = not self.remembered.tasks or any(tag == "Image" for tag, _ in labelling.objects)
            at_a_time = MOST_PICTURES if has_pictures else MOST_AT_ONCE
            places, left = left[:at_a_time], left[at_a_time:]
            items = [self._item(query, place, side) for place in places]
            labelling = self._fit_config(parts_of(items))
            if side == SIDE_OF_FILE and not are_files(labelling):
                side = SIDE_IN_DATA
                items = [self._item(query, place, side) for place in places]
            self._import(query, places, items, labelling)
        return len(lacking)

    def find(self, query: Query, *, enough: int, always_all: bool) -> Found:
        """Return what the annotations say. Arguments are those of `Finder.find`."""
        labelling = labelling_in(self._config, self._classes)
        finder = Finder(self._client, self.remembered, labelling, self._classes, self._annotators)
        return finder.find(query, enough=enough, always_all=always_all)

    def take(self, query: Query, found: Found) -> None:
        """Remember the answers to a query as taken."""
        newest = self.remembered.newest()
        for index, answer in found.answers.items():
            task = self.remembered.tasks[newest[index]]
            task.is_taken, task.answer = True, Verdict(answer.label, None, "").plain
        if found.answers:
            self.remembered.write(self._folder)

    def take_correction(self, number: int, correction: Correction, changed: str) -> None:
        """Remember a correction as taken."""
        task = self.remembered.tasks[number]
        task.is_taken, task.answer, task.changed = True, Verdict(correction.label, None, "").plain, changed
        self.remembered.write(self._folder)

    def _remembered(self, number: int | None) -> Remembered:
        remembered = Remembered.read(self._folder)
        if remembered is None:
            remembered = Remembered(project=number, is_ours=number is None)
        elif number is not None and remembered.project != number:
            raise ValueError(
                f"The run in {self._folder} has its tasks in project {remembered.project} of Label Studio, but "
                f"`LabelStudio(project={number})` was passed. Leave `project` out, or pass that number."
            )
        return remembered

    def _made(self) -> int:
        """Return the number of the run's project, which is made unless a call before that was cut off has made it."""
        for project in self._client.projects():
            if self.remembered.run in str(project.get("description")):
                return int(project["id"])
        name = self._folder.resolve().name[:LONGEST_TITLE]
        project = self._client.post(
            "/api/projects/",
            {
                "title": name if len(name) >= SHORTEST_TITLE else f"run {name}",
                "description": f"{OURS} {self.remembered.run}",
                "label_config": labelling_config(Parts(), self._classes),
                "maximum_annotations": self._annotators,
                "show_collab_predictions": self._suggestions,
                "show_skip_button": True,
                "enable_empty_annotation": False,
                "skip_queue": "IGNORE_SKIPPED",
            },
        )
        return int(project["id"])

    def _fit_config(self, parts: Parts) -> Labelling:
        """Let a project of ours show all parts and have all classes, and return what its configuration says."""
        if self.remembered.is_ours:
            # Tasks may be there that the run does not remember: it was killed after it had imported them.
            before = parts_in(self._config) if self.remembered.tasks or self._count else Parts()
            wanted = Parts(max(before.pictures, parts.pictures), before.text or parts.text, before.table or parts.table)
            config = labelling_config(wanted, self._classes)
            if config != self._config:
                self._client.patch(self._path(), {"label_config": config})
                self._config = config
        return labelling_in(self._config, self._classes)

    def _lacking(self, query: Query) -> list[int]:
        """Return the places of the points of a query that have no task."""
        known = {task.index for task in self.remembered.tasks.values() if task.round == query.round}
        return [place for place, index in enumerate(query) if index not in known]

    def _list(self, query: Query) -> None:
        """Look through the tasks on the server: forget deleted ones, recognise ours, and use unanswered ones again."""
        known, listed, number = self.remembered.tasks, {}, 0
        assert self.remembered.project is not None
        has_annotations = set()
        for task in self._client.tasks(self.remembered.project):
            number += 1
            ours = known.get(task["id"]) or self.remembered.task_of_key(task["data"].get(OURS))
            if ours is not None:
                listed[task["id"]] = ours
                if task["id"] not in known and (task.get("total_annotations") or task.get("cancelled_annotations")):
                    has_annotations.add(task["id"])
        self.remembered.tasks, self.remembered.count = listed, number
        newest = self.remembered.newest()
        for place in self._lacking(query):
            if (found := newest.get(query[place])) is not None:
                earlier = listed[found]
                if not earlier.is_taken and found not in has_annotations:
                    earlier.round = query.round
        self.remembered.write(self._folder)

    def _item(self, query: Query, place: int, side: int) -> ShownItem:
        if place >= len(query.items):
            return ShownItem(texts=[key_text(query.keys[place])])
        keep = partial(held_address, longer_side=side)
        item = shown_item(partial(query.items.__getitem__, place), keep)
        path = query.paths[place] if place < len(query.paths) else None
        return item if path is None else with_file(item, path, side)

    def _import(self, query: Query, places: Sequence[int], items: Sequence[ShownItem], labelling: Labelling) -> None:
        pictures = [pictures_of(item, labelling) for item in items]
        if are_files(labelling):
            pictures = self._uploaded([query[place] for place in places], pictures)
        tasks: list[dict[str, Any]] = []
        for place, item, urls in zip(places, items, pictures, strict=True):
            known_by = self.remembered.key(query.round, query[place])
            key = key_text(query.keys[place])
            task: dict[str, Any] = {"data": data_of(item, urls, labelling, key=key, known_by=known_by)}
            probs = query.probs[place] if self._suggestions and query.probs is not None else None
            prediction = prediction_of(probs, query.classes, labelling, round=query.round)
            tasks.append(task if prediction is None else {**task, "predictions": [prediction]})
        answer = self._client.post(f"{self._path()}import", tasks, return_task_ids="true")
        for place, number in zip(places, answer["task_ids"], strict=True):
            self.remembered.tasks[number] = Task(query.round, query[place])
        self.remembered.count += len(places)
        self.remembered.write(self._folder)

    def _uploaded(self, indices: Sequence[int], pictures: Sequence[Sequence[str]]) -> list[list[str]]:
        """Upload one picture of each point as a file, and return their addresses."""
        files = {}
        for index, (url, *_) in zip(indices, pictures, strict=True):
            ending, content = picture_file(url)
            files[f"{index}.{ending}"] = content
        answer = self._client.upload(f"{self._path()}import", files, commit_to_project="false")
        numbers = json.dumps(answer["file_upload_ids"])
        uploads = self._client.get(f"{self._path()}file-uploads", ids=numbers) or []
        # The server puts a random word and a hyphen before the name.
        address = {upload["file"].rpartition("-")[2]: f"/data/{upload['file']}" for upload in uploads}
        return [[address[name]] for name in files]

    def _path(self) -> str:
        return f"/api/projects/{self.remembered.project}/"
