"""Write your own oracle, which answers little by little, and use it by name.

Its questions are in one file, and somebody writes answers into another when there is time. The oracle leaves out what
is not answered yet: `trainer.fit` then returns, and its next call queries the rest, without another fit.
Run it with ``python examples/own_oracle.py``.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from quickstart import Digits, LitDigits
from sklearn.datasets import load_digits

from lightning_al import ActiveDataModule, ActiveLearning, Oracle, Query, register_oracle
from lightning_al.testing import check_oracle


@register_oracle("mailbox")
@dataclass(frozen=True)
class Mailbox(Oracle):
    """Write questions into a file, and read what is answered from another.

    Args:
        folder: Where both files lie.
    """

    folder: Path = Path("mailbox")

    def label(self, query: Query) -> Mapping[int, int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "answers.json"
        written = json.loads(file.read_text()) if file.exists() else {}
        answers = {index: written[str(index)] for index in query if str(index) in written}
        (self.folder / "questions.json").write_text(json.dumps([index for index in query if index not in answers]))
        return answers


def answer_some(folder: Path, most: int = 6) -> None:
    """Do what a person does in the meantime: look at the first questions, and write down what they show."""
    digits = load_digits().target
    questions = json.loads((folder / "questions.json").read_text())
    (folder / "answers.json").write_text(json.dumps({index: int(digits[index]) for index in questions[:most]}))


def main() -> ActiveLearning:
    with tempfile.TemporaryDirectory() as folder:
        check_oracle(Mailbox(Path(folder)), classes=range(10), feed=lambda _: answer_some(Path(folder)))
    pl.seed_everything(0)
    data = ActiveDataModule(Digits(), initial_size=20, seed=0, samples_per_epoch=640)
    active = ActiveLearning("margin", query_size=10, budget=40, posterior="deterministic", oracle="mailbox")
    trainer = pl.Trainer(max_epochs=5, callbacks=[active], accelerator="cpu", logger=False, enable_checkpointing=False)
    model = LitDigits()
    trainer.fit(model, datamodule=data)
    while active.pending is not None:
        print(f"round {active.pending.round} awaits {len(active.pending)} answers")
        answer_some(Path("mailbox"))
        trainer.fit(model, datamodule=data)
    print(active.history)
    return active


if __name__ == "__main__":
    main()
