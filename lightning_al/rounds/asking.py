"""Ask for the labels of a query, and record what is answered: after a fit, or before the first one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.host.ranks import from_first_rank, on_each_rank, on_first_rank
from lightning_al.host.signals import requeued_between_fits
from lightning_al.host.trainer import logger_step, set_logger_step
from lightning_al.oracle import Oracle, name_of, reveals
from lightning_al.oracle.earlier_run import EarlierRun
from lightning_al.rounds.audit import answers_given, mixed, to_audit
from lightning_al.rounds.earlier_answers import take_late
from lightning_al.rounds.labelling import weights_name, without_drawing
from lightning_al.rounds.log import log_round
from lightning_al.rounds.progress import answered_ahead, tell_progress
from lightning_al.rounds.run import Run
from lightning_al.run.effort import total_seconds
from lightning_al.run.history import Round
from lightning_al.run.labels import Label
from lightning_al.run.memory import peak_bytes
from lightning_al.run.records import INITIAL, OpenQuery
from lightning_al.run.stopping import held_back
from lightning_al.run.weights import copy_weights, put_weights


def begin_query(run: Run, trainer: pl.Trainer, query: OpenQuery, module: nn.Module | None = None) -> None:
    """Record a query, and what it takes to resume without another fit, before anybody is asked.

    Args:
        run: The run.
        trainer: The Trainer.
        query: The query.
        module: The module with the weights that the fit before the query ended with, if there was one.
    """
    active = run.active
    told = reveals(active.oracle)
    weights = copy_weights(module) if module is not None and not told else None

    def begin() -> None:
        if run.journal is not None and query.number != INITIAL:
            run.starts.save_ends(run.journal, query.number, active.num_fits)
        # What is revealed can be revealed again, after another fit.
        run.labelling.begin(query, weights, None if told and query.number != INITIAL else run.journal)

    with held_back():
        on_each_rank(trainer, begin)


def answer(run: Run, trainer: pl.Trainer, data: ActiveDataModule) -> None:
    """Ask for the missing answers of the open query. Once all are there, record the round."""
    query = run.labelling.query
    if query is None or not query.is_of_a_fit:
        return
    began = time.perf_counter()
    tell_progress(run, trainer, data, "asking")
    with without_drawing(), requeued_between_fits(trainer):
        active = run.active
        own = [] if reveals(active.oracle) else data.with_own_label(query.rest)
        if own:  # of items that joined since the run began, such as photos in the folder of a class
            by_data = EarlierRun(dict.fromkeys(own))
            run.labelling.ask(by_data, trainer, data, run.journal, active.folder, says_pending=False)
        labels = run.labelling.ask(active.oracle, trainer, data, run.journal, active.folder, seed=active.seed)
    if labels is None:
        return
    warn_of_unknown_seconds(run, query)
    if query.round is None:
        data.pool.label_initial(labels, seconds=total_seconds(query.efforts.values()))
        run.labelling.end()
        run.check_pool(data.pool)
        tell_progress(run, trainer, data, "fitting")
        return
    seconds = {**query.round["seconds"], "label": time.perf_counter() - began}
    memory = {**query.round["peak_bytes"], **peak_bytes("label")}
    plain = {**answered_part(query.round, labels), "seconds": seconds, "peak_bytes": memory}
    end_round(run, trainer, data, Round.from_dict(from_first_rank(trainer, lambda: plain)), labels)
    tell_progress(run, trainer, data, "fitting")


def warn_of_unknown_seconds(run: Run, query: OpenQuery | None = None) -> None:
    """Warn once where answers do not say how long they took, so that a budget of seconds does not end the run.

    Args:
        run: The run.
        query: The query that was answered, or None before the first.
    """
    active = run.active
    if active.budget_seconds is None:
        return
    who = name_of(active.oracle)
    said = f"`ActiveLearning(budget_seconds={active.budget_seconds:g})` does not end this run as long as `{who}` does"
    why = None
    if query is None:
        why = "it reveals labels" if reveals(active.oracle) else None
    elif all(effort.seconds is None for effort in query.efforts.values()):
        why = "it may answer by `Answer(label, seconds=...)`"
    if why is not None:
        run.once.warn("seconds", f"{said} not say how long an answer took: {why}.")


def answered_part(round: Mapping[str, Any], answers: Mapping[int, Label]) -> dict[str, Any]:
    """Return a round whose query has only the points that were answered. The others return to the pool.

    >>> round = {"indices": [7, 3], "scores": [0.5, 0.2], "details": {"information": [0.5, 0.6], "used": 1.0}}
    >>> answered_part(round, {3: 1})
    {'indices': [3], 'scores': [0.2], 'details': {'information': [0.6], 'used': 1.0}, 'audited': []}
    """
    places = [place for place, index in enumerate(round["indices"]) if index in answers]
    size = len(round["indices"])

    def of_answered(values: Any) -> Any:
        return [values[place] for place in places] if isinstance(values, list) and len(values) == size else values

    details = {name: of_answered(values) for name, values in round["details"].items()}
    audited = [index for index in round.get("audited", ()) if index in answers]
    answered = {name: of_answered(round[name]) for name in ("indices", "scores")}
    return {**round, **answered, "details": details, "audited": audited}


def end_round(run: Run, trainer: pl.Trainer, data: ActiveDataModule, round: Round, labels: Mapping[int, Label]) -> None:
    """Record a round, log it, and name the folder of the next one's checkpoints."""
    run.add_round(trainer, round, labels, data)
    set_logger_step(trainer, max(logger_step(trainer), run.steps))
    on_first_rank(trainer, lambda: log_round(trainer, round))
    if not run.done:
        run.checkpoints.expect(trainer, run.round)


def note_lacking(run: Run, trainer: pl.Trainer, data: ActiveDataModule) -> None:
    """Find the initial points without a label, unless the oracle only reveals the dataset's own labels.

    Those with a label of an earlier run are among them, so that it is checked and recorded as an answer.
    """
    if run.round == 0:
        given = data.given_labels()
        lacking = [] if reveals(run.active.oracle) else on_each_rank(trainer, data.without_label)
        known = {*data.pool.labels, *data.pool.aside}
        data.pool.lacking = [
            index for index in data.pool.initial if index in lacking or (index in given and index not in known)
        ]


def ask_for_initial(run: Run, trainer: pl.Trainer, data: ActiveDataModule) -> None:
    """Ask for the labels of initial points that have none, and for audit points beside them.

    Audit points whose labels are known already are among these, so that they are checked and recorded as answers.
    """
    if run.labelling.is_pending or run.round > 0:
        return
    points, given = list(data.pool.lacking), data.given_labels()
    known = {} if reveals(run.active.oracle) else answers_given(data)
    to_ask = [index for index in points if index not in given]
    ahead = answered_ahead(run, trainer, data)
    audited = [index for index in to_audit(run.active, data, INITIAL, len(to_ask), ahead) if index not in known]
    audited += known
    if not points and not audited:
        return
    asked = mixed(points, audited, run.active.seed, INITIAL)
    query = OpenQuery(INITIAL, points, [], keys=data.keys_of(asked or points), asked=asked)
    begin_query(run, trainer, query)
    if data.earlier_labels is not None or known:
        take_known(run, trainer, data, {**given, **known})
    answer(run, trainer, data)


def take_known(run: Run, trainer: pl.Trainer, data: ActiveDataModule, given: Mapping[int, Label]) -> None:
    """Answer the query of the initial points by labels that are known, as far as there are some."""
    on_each_rank(trainer, lambda: data.check_given(given))
    earlier = EarlierRun(given, data.given_efforts())
    with without_drawing():
        run.labelling.ask(earlier, trainer, data, run.journal, run.active.folder, says_pending=False)


def take_corrections(run: Run, trainer: pl.Trainer, data: ActiveDataModule) -> None:
    """Record corrections that came while no query was open. A last round that was fitted to an old label runs again.

    Those that come during a query are taken with its answers.
    """
    oracle = run.active.oracle
    if not isinstance(oracle, Oracle) or type(oracle).corrections is Oracle.corrections:
        return
    if run.labelling.query is None:
        with without_drawing():
            take_late(oracle, trainer, data, run.journal, run.active.folder)
        run.take_back_changed_round(data.pool)


def put_last_weights(run: Run, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Leave the module as the fit before the open query did, in a call that trains nothing."""
    labelling = run.labelling
    assert labelling.query is not None
    number = labelling.query.number
    if number == INITIAL:
        return
    if labelling.weights is None:
        labelling.weights = on_each_rank(trainer, lambda: run.load_weights(weights_name(number), module))
    put_weights(module, labelling.weights)
