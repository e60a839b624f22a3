"""The first sentence of a report, and the labels that it says are saved."""

from __future__ import annotations

import pytest

from lightning_al.report.comparison import compare
from lightning_al.report.lead import lead
from lightning_al.report.ranking import ranked
from lightning_al.report.saving import labels_saved
from lightning_al.report.sentences import caveats
from lightning_al.report.study import Study
from lightning_al.run.history import History
from tests.support.runs import rounds, run


def rows_of(heights, **changes):
    """Random choice and other methods, with the values of each run at 10, 20 and 30 labels, as a list or by seed."""
    return compare(
        {
            name: [
                run(name, "Random" if name == "random" else "BALD", seed=seed, values=values, **changes)
                for seed, values in (runs.items() if isinstance(runs, dict) else enumerate(runs))
            ]
            for name, runs in heights.items()
        }
    )


def study_of(heights, *, mode="max", **changes):
    rows = rows_of(heights, **changes)
    methods = {row.name: row.all_runs for row in rows if row.stand_in is None}
    return Study("Digits", "test_acc", False, methods, (10, 30), rows, [], mode)


def test_labels_are_saved_at_the_best_level_that_every_run_of_random_choice_reaches():
    random, bald = rows_of(
        {
            "random": [[0.5, 0.6, 0.8], [0.5, 0.7, 0.6], [0.5, 0.8, 0.9]],  # each reaches 0.7, at 30, 20 and 20 labels
            "bald": [[0.5, 0.7, 0.7], [0.7, 0.7, 0.7], [0.5, 0.6, 0.7]],  # at 20, 10 and 30
        }
    )
    found = labels_saved(bald, random, "max", up_to=30)
    assert (found.level, found.num_reached, found.num_seeds, found.step) == (0.7, 3, 3, 10)
    assert (found.labels.mean, found.labels.num_above, found.labels.num_below) == (pytest.approx(10 / 3), 2, 1)
    # Up to 20 labels, only 0.6 is reached by all.
    found = labels_saved(bald, random, "max", up_to=20)
    assert (found.level, found.labels.mean) == (0.6, pytest.approx(10 / 3))


def test_of_a_loss_the_level_is_the_least():
    random, bald = rows_of({"random": [[3.0, 2.0, 1.0], [3.0, 2.0, 1.5]], "bald": [[3.0, 1.5, 1.0], [1.0, 1.0, 1.0]]})
    found = labels_saved(bald, random, "min", up_to=30)
    assert (found.level, found.labels.mean) == (1.5, 15)


def test_a_method_that_misses_the_level_on_a_seed_saves_no_number_of_labels():
    random, bald = rows_of({"random": [[0.5, 0.6, 0.7]] * 2, "bald": [[0.5, 0.7, 0.9], [0.5, 0.6, 0.6]]})
    found = labels_saved(bald, random, "max", up_to=30)
    assert (found.labels, found.num_reached, found.num_seeds) == (None, 1, 2)


def test_the_first_sentence_names_the_best_method_the_labels_and_whether_it_is_significant():
    seeds = range(8)
    said, rests = lead(
        study_of(
            {
                "random": [[0.5, 0.6, 0.7]] * 8,
                "bald": [[0.5, 0.65, 0.7 + 0.001 * seed] for seed in seeds],
                "margin": [[0.5, 0.7 + 0.001 * seed, 0.8] for seed in seeds],
            }
        )
    )
    assert said == "margin is best: it reaches test accuracy 0.700 with 10 labels fewer than random."
    assert rests.startswith(
        "95 % interval of the labels saved 10 to 10 (paired t), 8 paired seeds, counted in steps of 10."
    )
    assert "is significant after Holm correction: exact sign-flip p = .008, corrected p = .016." in rests


def test_a_best_method_may_not_be_significantly_better():
    values = [[0.5, 0.6 + (0.1 if seed < 5 else -0.05), 0.7] for seed in range(8)]
    said, rests = lead(study_of({"random": [[0.5, 0.6, 0.7]] * 8, "bald": values}))
    assert said.startswith("bald is best, but not significantly better than random: it reaches")
    assert "is not significant after Holm correction" in rests


def test_few_seeds_are_said_first():
    said, rests = lead(study_of({"random": [[0.5, 0.6, 0.7]] * 2, "bald": [[0.5, 0.7, 0.8]] * 2}))
    assert said.startswith("With 2 seeds, bald is best: it")
    assert rests.endswith("Not tested: 2 seeds cannot show a significant difference.")


def test_random_choice_may_be_best():
    said, rests = lead(
        study_of({"random": [[0.5, 0.6, 0.7]] * 8, "bald": [[0.5, 0.58, 0.7]] * 8, "m": [[0.4] * 3] * 8})
    )
    assert said == "No method is better than random."
    assert rests.startswith("bald is closest: its mean test accuracy differs by \u22120.010")


@pytest.mark.parametrize("changes", [{"mode": None}, {"names": ("a", "b")}, {"names": ("random",)}])
def test_there_is_no_best_method_without_a_direction_and_a_comparison(changes):
    heights = dict.fromkeys(changes.get("names", ("random", "bald")), [[0.5, 0.6, 0.7]] * 2)
    assert lead(study_of(heights, mode=changes.get("mode", "max"))) is None


def flat(height):
    """A curve of this height at all labels."""
    return [height] * 3


EASY_SEED = {
    # Seed 0 is easy for every method, and entropy has no other.
    "random": {0: flat(0.7), 1: flat(0.4), 2: flat(0.4)},
    "margin": {0: flat(0.9), 1: flat(0.5), 2: flat(0.5)},
    "entropy": {0: flat(0.8)},
}


def test_methods_with_different_seeds_are_ranked_over_those_that_all_have():
    rows = rows_of(EASY_SEED)
    assert rows[2].mean_area > rows[1].mean_area
    assert [row.name for row in ranked(rows, "max")] == ["margin", "entropy", "random"]
    assert [row.name for row in ranked(rows, "min")] == ["random", "entropy", "margin"]
    # One with no seed of the others comes last, whatever its height.
    rows = rows_of({**EASY_SEED, "bald": {7: flat(1.0)}, "coreset": {8: flat(0.9)}})
    assert [row.name for row in ranked(rows, "max")] == ["margin", "entropy", "random", "bald", "coreset"]


def test_the_best_of_methods_with_different_seeds_is_that_of_their_common_seeds():
    said, rests = lead(study_of(EASY_SEED))
    # On seed 0, both reach 0.7 at 10 labels; on its other seeds, random choice never does.
    assert said == (
        "Over the one seed common to the compared methods, margin is best: it reaches test accuracy 0.700 with as many "
        "labels as random."
    )
    assert "0.700 is the best level that random choice reaches with every paired seed. " in rests
    assert rests.endswith("Not tested: one seed cannot show a significant difference.")


def test_over_common_seeds_the_test_is_of_these_seeds():
    heights = {"random": [flat(0.5)] * 9, "bald": [flat(0.6 + 0.001 * seed) for seed in range(9)]}
    said, rests = lead(study_of({**heights, "margin": [flat(0.55)] * 8}))
    assert said.startswith("Over the 8 seeds common to the compared methods, bald is best: it reaches")
    assert "8 paired seeds" in rests
    # Of 2^8 signs two give so large a mean; of two methods, the smallest p is doubled.
    assert "exact sign-flip p = .008, corrected p = .016." in rests


def test_random_choice_may_be_best_over_the_common_seeds():
    said, rests = lead(study_of({"random": [flat(0.7)] * 3, "bald": [flat(0.6)] * 3, "margin": [flat(0.5)]}))
    assert said == "Over the one seed common to the compared methods, no method is better than random."
    assert rests.startswith("bald is closest: its mean test accuracy differs by \u22120.100, one seed.")


def test_methods_without_a_common_seed_have_no_best():
    said, rests = lead(study_of({"random": [flat(0.5)] * 2, "bald": {0: flat(0.6)}, "margin": {1: flat(0.7)}}))
    assert said == "No method is called best, since no seed is common to the compared methods."
    assert rests == "Each is compared with random over the seeds that both have."


def test_a_level_is_of_the_paired_seeds_where_random_choice_has_more():
    said, rests = lead(study_of({"random": [flat(0.5), flat(0.4)], "bald": [flat(0.6)]}))
    assert said.startswith("Over the one seed common to the compared methods, bald is best")
    assert "0.500 is the best level that random choice reaches with every paired seed. " in rests


def caveats_of(heights):
    return caveats(study_of(heights, history=History(rounds([0.5, 0.6, 0.7]))))


def test_different_seeds_are_a_caveat():
    said = "The methods' seeds differ, so that their means are not of the same seeds; differences are paired."
    assert said in caveats_of(EASY_SEED)
    assert said not in caveats_of({"random": [flat(0.5)] * 2, "bald": [flat(0.6)] * 2})


def test_a_method_without_a_seed_of_random_choice_is_named():
    found = caveats_of({"random": [flat(0.5)] * 2, "bald": [flat(0.6)] * 2, "margin": {7: flat(0.7)}})
    assert "Not compared with random choice, since they have no seed in common with it: margin." in found
