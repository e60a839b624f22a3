"""Whether less or more of a metric is better: said, or guessed where the name is clear, or asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.report import labels_to_reach
from lightning_al.report.direction import LESS, MORE, checked_mode, guess_mode, needed_mode

KNOWN = {
    "min": [
        *("test_loss", "valLoss", "ValLOSS", "TEST_LOSS", "testloss", "loss", "val/loss", "train_loss_epoch", "loss_0"),
        *("cross_entropy", "crossEntropy", "CrossEntropyLoss", "test_crossentropy", "test-cross-entropy", "val.xent"),
        *("logloss", "log_loss", "logLoss", "ce", "val_ce", "valCE", "bce", "BCEWithLogitsLoss", "test_bce", "NLLLoss"),
        *("rmsle", "RMSLE", "valRmsle", "rmse", "hamming", "hamming_distance", "HammingDistance", "test_hamming_loss"),
        *("posterior_nll", "posterior_ece", "top1_error", "errorRate", "brier_score", "perplexity", "hinge"),
        *("neg_log_likelihood", "negative_log_likelihood", "test_loss/dataloader_idx_0"),
    ],
    "max": [
        *("test_acc", "valAcc", "accuracy", "TestAccuracy", "posterior_accuracy", "acc1", "balanced_accuracy"),
        *("f1", "F1Score", "val_f1_score", "mIoU", "mAP", "auroc", "AUROC", "R2Score", "log_likelihood", "recall_3"),
    ],
    None: [
        *("score", "test_score", "metric", "entropy", "value", "latest", "test", "distance", "classes", "force", ""),
        *("loss_std", "acc_gap", "loss_ratio", "loss_weight", "hamming_score", "accuracy_error", "neg_loss"),
        *("neg_mean_squared_error", "precision_negative", "日本語", "$x^2$"),
    ],
}


@pytest.mark.parametrize(("mode", "metric"), [(mode, metric) for mode, metrics in KNOWN.items() for metric in metrics])
def test_a_direction_is_guessed_where_the_name_is_clear(mode, metric):
    assert guess_mode(metric) == mode


@given(st.sampled_from(sorted(LESS | MORE)), st.sampled_from(["train", "val", "test", "deterministic"]))
def test_all_ways_to_write_a_name_say_the_same(word, stage):
    forms = [
        *(word, f"{stage}_{word}", f"{stage}/{word}", f"{stage}-{word}", f"{stage} {word}", f"{word}_{stage}"),
        *(f"{stage}{word.capitalize()}", f"{stage.capitalize()}{word.upper()}", f"{stage}_{word}".upper()),
    ]
    assert {guess_mode(form) for form in forms} == {"min" if word in LESS else "max"}


@given(st.text())
def test_any_name_has_a_direction_or_none(metric):
    assert guess_mode(metric) in ("min", "max", None)


def test_what_is_given_wins_and_what_is_not_known_is_asked_for():
    assert needed_mode("test_acc", "min", who="x") == "min"
    assert needed_mode("test_acc", who="x") == "max"
    with pytest.raises(
        ValueError, match=r"x has to know whether less or more of the metric `quality` is better.*Give `mode`: min or"
    ):
        needed_mode("quality", who="x")


@pytest.mark.parametrize("mode", ["minimize", "MIN", "", True, 1, ["min"]])
def test_a_mode_is_min_or_max(mode):
    with pytest.raises(ValueError, match=r"x expects `mode` to be min .* or max .*, but got .* Give one of them"):
        checked_mode(mode, who="x")


def test_a_target_is_reached_from_above_where_less_is_better():
    assert labels_to_reach([10, 20, 30], [2.0, 0.9, 1.1], 1.0, mode="min") == 20
    assert labels_to_reach([10, 20, 30], [2.0, 0.9, 1.1], 0.5, mode="min") is None


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_round_that_diverged_reaches_no_target(mode):
    values = [float("nan"), float("inf"), -float("inf"), 0.5]
    assert labels_to_reach([10, 20, 30, 40], values, 0.5, mode=mode) == 40


def test_a_target_is_a_number():
    with pytest.raises(ValueError, match=r"`labels_to_reach` expects a number as `target`, but got nan\. Give one"):
        labels_to_reach([10], [0.5], float("nan"))
