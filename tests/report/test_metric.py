"""Whether less or more of a metric is better: said, or guessed where the name is clear, or asked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torchmetrics import classification, regression, retrieval, text

from lightning_al.report import chance_level, labels_to_reach
from lightning_al.report.metric import LESS, MORE, axis_name, checked_mode, guess_mode, usual_metric

KNOWN = {
    "min": [
        *("test_loss", "valLoss", "ValLOSS", "TEST_LOSS", "testloss", "loss", "val/loss", "train_loss_epoch", "loss_0"),
        *("cross_entropy", "crossEntropy", "CrossEntropyLoss", "test_crossentropy", "test-cross-entropy", "val.xent"),
        *("logloss", "log_loss", "logLoss", "ce", "val_ce", "valCE", "bce", "BCEWithLogitsLoss", "test_bce", "NLLLoss"),
        *("rmsle", "RMSLE", "valRmsle", "rmse", "hamming", "hamming_distance", "HammingDistance", "test_hamming_loss"),
        *("posterior_nll", "posterior_ece", "top1_error", "errorRate", "brier_score", "perplexity", "hinge"),
        *("neg_log_likelihood", "negative_log_likelihood", "test_loss/dataloader_idx_0", "top-5-error", "val/0/loss"),
        *("generator_loss", "total_loss", "relative_error", "max_error", "fold_1/loss", "MeanSquaredLogError", "WER"),
    ],
    "max": [
        *("test_acc", "valAcc", "accuracy", "TestAccuracy", "posterior_accuracy", "acc1", "balanced_accuracy"),
        *("f1", "F1Score", "val_f1_score", "mIoU", "mAP", "auroc", "AUROC", "R2Score", "log_likelihood", "recall_3"),
        *(
            "top-1-acc",
            "top1-acc",
            "acc@5",
            "val/acc_epoch",
            "acc%",
            "cifar10_acc",
            "PrecisionAtFixedRecall",
            "macro F1",
        ),
    ],
    None: [
        *("score", "test_score", "metric", "entropy", "value", "latest", "test", "distance", "classes", "force", ""),
        *("loss_std", "acc_gap", "loss_ratio", "loss_weight", "hamming_score", "accuracy_error", "neg_loss"),
        *("neg_mean_squared_error", "precision_negative", "日本語", "$x^2$"),
        *(
            "loss_reduction",
            "error_reduction_rate",
            "ErrorReduction",
            "reduced_loss",
            "nll_gain",
            "information_gain_nll",
        ),
        *(
            "error_free_rate",
            "errorFree",
            "inverse_loss",
            "InverseLoss",
            "inv_loss",
            "reciprocal_rmse",
            "-loss",
            " -loss",
        ),
        *(
            "\u2212loss",
            "val/-loss",
            "(-loss)",
            "neg_loss",
            "negated_mse",
            "1-acc",
            "1 - acc",
            "1\u2212acc",
            "100-acc",
            "1.0-acc",
        ),
        *(
            "val/1-acc",
            "val_1-acc",
            "one_minus_acc",
            "minus_accuracy",
            "1/loss",
            "loss^-1",
            "loss**-1",
            "loss-1",
            "!acc",
        ),
        *("loss_improvement", "improved_loss", "ImprovementInLoss", "non_error", "nonError", "no_error", "not_acc"),
        *("neg_log_likelihood_ratio", "neg_nll", "complement_accuracy", "error_detection", "error_correction_rate"),
        *("loss_drop", "accuracy_drop", "saved_loss", "loss_change", "acc/loss", "acc-loss", "loss_slope", "loss<0.1"),
        *("grad_norm_loss", "loss_time", "loss_baseline", "robust_to_error", "skill_brier", "error_tolerance"),
        *("PrecisionRecallCurve", "ExplainedVariance", "NegativePredictiveValue", "acc_lr", "loss_temperature"),
    ],
}


@pytest.mark.parametrize("mode", KNOWN)
def test_a_direction_is_guessed_where_the_name_is_clear(mode):
    assert {metric: guess_mode(metric) for metric in KNOWN[mode]} == dict.fromkeys(KNOWN[mode], mode)


@given(st.sampled_from(sorted(LESS | MORE)), st.sampled_from(["train", "val", "test", "deterministic"]))
def test_all_ways_to_write_a_name_say_the_same(word, stage):
    forms = [
        *(word, f"{stage}_{word}", f"{stage}/{word}", f"{stage}-{word}", f"{stage} {word}", f"{word}_{stage}"),
        *(f"{stage}{word.capitalize()}", f"{stage.capitalize()}{word.upper()}", f"{stage}_{word}".upper()),
    ]
    assert {guess_mode(form) for form in forms} == {"min" if word in LESS else "max"}


@given(
    st.sampled_from(sorted(LESS | MORE)),
    st.sampled_from(
        ["improvement", "reduction", "inverse", "gain", "non", "free", "minus", "neg", "drop", "change", "without"]
    ),
    st.sampled_from(["{turn}_{word}", "{word}_{turn}", "val/{word}/{turn}", "{turn} {word}", "{Turn}{Word}"]),
)
def test_a_word_that_turns_a_metric_leaves_no_safe_guess(word, turn, form):
    name = form.format(word=word, turn=turn, Word=word.capitalize(), Turn=turn.capitalize())
    is_negative_likelihood = word == "likelihood" and turn in ("neg", "minus")
    assert guess_mode(name) == ("min" if is_negative_likelihood else None)


@given(
    st.sampled_from(sorted(LESS | MORE)), st.sampled_from(["-{}", "1-{}", "1 - {}", "val/-{}", "1/{}", "~{}", "{}**-1"])
)
def test_a_formula_leaves_no_safe_guess(word, form):
    assert guess_mode(form.format(word)) is None


def test_no_guess_contradicts_torchmetrics():
    """Of all its metrics that say themselves whether more is better."""
    names = {**vars(torchmetrics), **vars(classification), **vars(regression), **vars(text), **vars(retrieval)}
    said = {name: getattr(metric, "higher_is_better", None) for name, metric in names.items()}
    known = {name: "max" if is_higher else "min" for name, is_higher in said.items() if isinstance(is_higher, bool)}
    guessed = {name: guess_mode(name) for name in known}
    assert {name: mode for name, mode in guessed.items() if mode not in (None, known[name])} == {}
    assert sum(mode is not None for mode in guessed.values()) > 30


@given(st.text())
def test_any_name_has_a_direction_or_none(metric):
    assert guess_mode(metric) in ("min", "max", None)


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


@pytest.mark.parametrize("C", [2, 3, 10])
def test_chance_level_is_what_equal_probabilities_get(C):
    labels, logits = torch.arange(C).repeat(5), torch.zeros(5 * C, C, dtype=torch.float64)
    first_class = torch.zeros_like(labels)  # which they predict, or logits that are NaN
    measured = {
        "test_acc": (first_class == labels).double().mean().item(),
        "val/errorRate": (first_class != labels).double().mean().item(),
        "test_loss": F.cross_entropy(logits, labels).item(),
        "posterior_nll": F.nll_loss(logits.log_softmax(1), labels).item(),
        "valCrossEntropy": F.cross_entropy(logits, labels).item(),
        "perplexity": F.cross_entropy(logits, labels).exp().item(),
        "test_bce": F.binary_cross_entropy_with_logits(logits[:, 0], (labels > 0).double()).item(),
        "val_auroc": roc_auc_score(labels > 0, logits[:, 0]),
    }
    assert {name: chance_level(name, C) for name in measured} == pytest.approx(measured)


@pytest.mark.parametrize("metric", ["f1", "test_mse", "test_ece", "score", "top5_acc", "loss_std", "aux_loss", "brier"])
def test_chance_level_is_not_guessed(metric):
    assert chance_level(metric, 10) is None


@pytest.mark.parametrize("num_classes", [None, 0, 1])
def test_chance_level_needs_classes(num_classes):
    assert chance_level("test_acc", num_classes) is None


@pytest.mark.parametrize(
    ("metric", "name"), [("posterior_nll", "posterior negative log-likelihood (nats)"), ("f1", "f1")]
)
def test_axis_names(metric, name):
    assert axis_name(metric) == name


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({"val_acc", "test_acc"}, "test_acc"),
        ({"val_acc", "loss"}, "val_acc"),
        ({"b", "a"}, "a"),
        (set(), ""),
        # A test metric whose direction is known; more is better of what is shown.
        ({"test/f1", "test/loss", "test/conf", "a_f1"}, "test/f1"),
        ({"test/brier", "test/recall"}, "test/recall"),
        ({"test/brier", "val_recall"}, "test/brier"),
        # Rather a direction than a test.
        ({"test/conf", "val_loss"}, "val_loss"),
        ({"test/conf", "conf"}, "test/conf"),
    ],
)
def test_a_run_that_names_no_metric_has_a_usual_one(known, found):
    assert usual_metric(known) == found
