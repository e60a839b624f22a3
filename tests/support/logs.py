"""Read what each kind of logger wrote into a run's folder, by its own reader where it has one, into one form."""

from __future__ import annotations

import csv
import struct
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

Curves = dict[str, list[tuple[int, float]]]
"""For each tag its steps and values, in the order of writing."""


def read_csv(folder: Path) -> Curves:
    curves = defaultdict(list)
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for tag, value in row.items():
                if tag != "step" and value:
                    curves[tag].append((int(row["step"]), float(value)))
    return dict(curves)


def read_tensorboard(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if tag != "hp_metric"
    }


def read_mlflow(folder: Path) -> Curves:
    client, run = mlflow_run(folder)
    return {
        tag: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, tag)]
        for tag in run.data.metrics
    }


def mlflow_run(folder: Path) -> tuple[Any, Any]:
    """Return the client and the one run that it finds."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    return client, run


def read_wandb(folder: Path) -> Curves:
    curves = defaultdict(list)
    for record in wandb_records(folder):
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): float(item.value_json) for item in record.history.item}
            step = int(row.pop("trainer/global_step"))
            for tag, value in row.items():
                if not tag.startswith("_"):
                    curves[tag].append((step, value))
    return dict(curves)


def wandb_records(folder: Path) -> list[Any]:
    """Return the records of all offline files in order; W&B's own reader is no public Python.

    The format is LevelDB's log: blocks of 32 KiB, the first with 7 bytes of W&B's own, of parts with a checksum, a
    length and whether they are whole (1), or the first (2), a middle (3) or the last (4) part of a record.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    records = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        file, place, whole = path.read_bytes(), 7, b""
        while place + 7 <= len(file):
            left = -place % 2**15
            if 0 < left < 7:
                place += left
                continue
            length, part = struct.unpack_from("<HB", file, place + 4)
            whole += file[place + 7 : place + 7 + length]
            place += 7 + length
            if part in (1, 4):
                records.append(Record.FromString(whole))
                whole = b""
    return records


READERS: dict[str, Callable[[Path], Curves]] = {
    "csv": read_csv,
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb": read_wandb,
}
