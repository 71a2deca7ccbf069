"""Every declared measure: equal to its formula and to its peers, in its range, undefined where it says."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import cohen_kappa_score, jaccard_score, matthews_corrcoef

import naive
from dissensus.errors import ArgumentError
from dissensus.pairs.counts import PairCounts
from dissensus.pairs.measures import MEASURES, STATISTICS

NAMES = sorted(name for name, measure in MEASURES.items() if measure.needs == "counts")
BOUNDS = ("error_consistency_max", "error_consistency_min")
TABLES = [t for t in product(range(7), repeat=4) if 1 <= sum(t) <= 12]  # each 2x2 table with small counts


def values(name, tables):
    """The declared formula on a list of tables (n11, n10, n01, n00)."""
    return MEASURES[name].formula(*np.array(tables, dtype=np.float64).T)


def counts_of(*rows):
    return PairCounts.from_correct(np.array(rows, dtype=bool))


def test_every_measure_of_the_design_is_declared():
    expected = "error_inconsistency error_consistency error_consistency_unbiased error_consistency_max "
    expected += "error_consistency_min phi q_statistic double_fault error_iou oracle_accuracy "
    expected += "positive_flip_rate negative_flip_rate relative_nfr"
    assert set(expected.split()) <= set(NAMES)
    of_labels = {name for name, measure in MEASURES.items() if measure.needs == "labels"}
    assert of_labels >= {"label_disagreement", "label_kappa", "same_wrong"}
    expected = "capa expected_agreement brier_pair hellinger kl logit_correlation"
    assert {*expected.split()} <= {name for name, one in MEASURES.items() if one.needs == "probabilities"}


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_naive_formula_on_every_small_table(name):
    expected = [getattr(naive, name)(*table) for table in TABLES]
    np.testing.assert_allclose(values(name, TABLES), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_stays_in_its_declared_range(name):
    found = values(name, TABLES)
    found = found[~np.isnan(found)]
    assert MEASURES[name].low <= found.min()
    assert found.max() <= MEASURES[name].high
    if math.isfinite(MEASURES[name].high):
        assert found.max() == (0 if name == "error_consistency_min" else MEASURES[name].high)
    assert found.min() == MEASURES[name].low


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_is_as_declared_to_the_last_bit(name):
    swapped = [(n11, n01, n10, n00) for n11, n10, n01, n00 in TABLES]
    assert MEASURES[name].symmetric == np.array_equal(
        values(name, TABLES), values(name, swapped), equal_nan=True
    )


@pytest.mark.parametrize("name", [n for n in NAMES if n not in BOUNDS])
def test_direction_is_as_declared(name):
    alike, different = values(name, [(45, 5, 5, 45), (5, 45, 45, 5)])  # the same accuracies
    assert (different > alike) == (MEASURES[name].more_different == "high")
    assert different != alike


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_depend_on_the_accuracies_only(name):
    one, other = values(name, [(40, 20, 10, 30), (35, 25, 15, 25)])
    assert one == other


def test_bounds_are_the_extremes_of_kappa_at_these_accuracies():
    """Among all tables of the same number of examples and right answers of each model."""
    found = {}
    for table, kappa in zip(TABLES, values("error_consistency", TABLES), strict=True):
        n11, n10, n01, _ = table
        found.setdefault((sum(table), n11 + n10, n11 + n01), []).append(kappa)
    whole = {}  # margins all of whose tables are among the small ones
    for (n, a, b), kappas in found.items():
        if len(kappas) == min(a, b) - max(0, a + b - n) + 1:
            whole[n, a, b] = kappas
    assert len(whole) > 150
    for table, low, high in zip(TABLES, *(values(b, TABLES) for b in BOUNDS[::-1]), strict=True):
        kappas = whole.get((sum(table), table[0] + table[1], table[0] + table[2]))
        if kappas is not None:
            np.testing.assert_array_equal([low, high], [min(kappas), max(kappas)])


@pytest.mark.parametrize("name", NAMES)
def test_says_when_it_is_undefined(name):
    assert np.isnan(values(name, TABLES)).any() == bool(MEASURES[name].undefined)


@pytest.mark.parametrize("name", MEASURES)
def test_says_what_it_is_and_where_it_comes_from(name):
    assert set(MEASURES[name].statistics) <= set(STATISTICS)
    assert MEASURES[name].low < MEASURES[name].high
    assert MEASURES[name].summary.endswith(".")
    assert MEASURES[name].reference
    assert MEASURES[name].more_different in ("high", "low")


@pytest.mark.parametrize("name", NAMES)
def test_no_example_at_all_is_undefined(name):
    assert np.isnan(values(name, [(0, 0, 0, 0)])).all()


@pytest.mark.parametrize("name", NAMES)
def test_large_counts_lose_nothing(name):
    """Products of four counts overflow int64 from about 1e5 examples on; 6e7 examples must still be exact."""
    tables = [tuple(5_000_000 * count for count in table) for table in TABLES]
    expected = [getattr(naive, name)(*table) for table in tables]
    np.testing.assert_allclose(values(name, tables), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "table", [(49_999_999, 1, 0, 1), (3, 30_000_000, 29_999_999, 2), (1, 1, 1, 59_999_999), (17, 19, 23, 29)]
)
def test_kappa_is_rounded_once(table):
    n11, n10, n01, n00 = (Fraction(c) for c in table)
    n = n11 + n10 + n01 + n00
    chance = (n11 + n10) / n * (n11 + n01) / n + (n01 + n00) / n * (n10 + n00) / n
    expected = ((n11 + n00) / n - chance) / (1 - chance)
    assert values("error_consistency", [table])[0] == float(expected)


@pytest.fixture(scope="module")
def zoo():
    rng = np.random.default_rng(0)
    difficulty = rng.random(300)
    return np.array([rng.random(300) + skill > difficulty for skill in (0.0, 0.1, 0.2, 0.3, -0.2)])


def off_diagonal(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


def peer_matrix(function, rows):
    return np.array([[function(a, b) for b in rows] for a in rows])


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("error_consistency", lambda right: peer_matrix(cohen_kappa_score, right)),
        ("phi", np.corrcoef),
        ("phi", lambda right: peer_matrix(matthews_corrcoef, right)),
        ("error_iou", lambda right: peer_matrix(jaccard_score, ~right)),
        ("error_iou", lambda right: 1 - squareform(pdist(~right, "jaccard"))),
        ("error_inconsistency", lambda right: squareform(pdist(right, "hamming"))),
    ],
)
def test_equals_its_peer(name, peer, zoo):
    found = MEASURES[name].finish(PairCounts.from_correct(zoo))
    np.testing.assert_allclose(off_diagonal(found), off_diagonal(peer(zoo)), rtol=0, atol=1e-12)


def test_a_model_and_itself(zoo):
    counts = PairCounts.from_correct(zoo)
    expected = {
        "error_inconsistency": 0.0,
        "error_consistency": 1.0,
        "error_consistency_unbiased": 1.0,
        "error_consistency_max": 1.0,
        "phi": 1.0,
        "q_statistic": 1.0,
        "error_iou": 1.0,
        "positive_flip_rate": 0.0,
        "negative_flip_rate": 0.0,
        "relative_nfr": 0.0,
    }
    for name, value in expected.items():
        assert (MEASURES[name].finish(counts).diagonal() == value).all(), name
    np.testing.assert_array_equal(MEASURES["oracle_accuracy"].finish(counts).diagonal(), counts.accuracy)
    np.testing.assert_allclose(MEASURES["double_fault"].finish(counts).diagonal(), 1 - counts.accuracy)


def test_finish_has_the_row_model_first():
    counts = counts_of([1, 1, 1, 0], [1, 0, 0, 0])
    assert MEASURES["negative_flip_rate"].finish(counts).tolist() == [[0, 0.5], [0, 0]]
    assert MEASURES["positive_flip_rate"].finish(counts).tolist() == [[0, 0], [0.5, 0]]
    assert MEASURES["relative_nfr"].finish(counts)[0, 1] == 0.5 / (0.75 * 0.75)


@pytest.mark.parametrize("name", NAMES)
def test_identical_gives_agreements_of_perfect_models_one(name):
    counts = counts_of([1, 1, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1])
    plain = MEASURES[name].finish(counts)
    filled = MEASURES[name].finish(counts, "identical")
    if MEASURES[name].agreement:
        assert np.isnan(plain[:2, :2]).all()
        assert (filled[:2, :2] == 1.0).all()
        filled[:2, :2] = np.nan
    np.testing.assert_array_equal(plain, filled)


def test_kappa_of_a_constant_model_and_another_is_zero_but_phi_is_undefined():
    counts = counts_of([1, 1, 1], [1, 0, 1])
    assert MEASURES["error_consistency"].finish(counts)[0, 1] == 0
    assert np.isnan(MEASURES["phi"].finish(counts)[0, 1])


def test_counts_of_a_mask_are_those_of_its_rows(zoo):
    mask = np.random.default_rng(1).random(300) < 0.4
    masked, chosen = PairCounts.from_correct(zoo, mask), PairCounts.from_correct(zoo[:, mask])
    assert masked.n == chosen.n == mask.sum()
    np.testing.assert_array_equal(masked.both_right, chosen.both_right)
    np.testing.assert_array_equal(masked.accuracy, zoo[:, mask].mean(axis=1))


def test_tables_equal_the_naive_ones(zoo):
    counts = PairCounts.from_correct(zoo)
    for i, j in np.ndindex(5, 5):
        table = counts.n11[i, j], counts.n10[i, j], counts.n01[i, j], counts.n00[i, j]
        assert table == naive.pair_counts(zoo[i].tolist(), zoo[j].tolist())


def test_no_example_has_no_accuracy():
    counts = PairCounts.from_correct(np.ones((2, 3), dtype=bool), np.zeros(3, dtype=bool))
    assert counts.n == 0
    assert np.isnan(counts.accuracy).all()
    assert np.isnan(MEASURES["error_consistency"].finish(counts, "identical")).all()


@pytest.mark.parametrize("wrong", [np.ones((2, 3), dtype=int), np.ones(3, dtype=bool)])
def test_only_a_matrix_of_correctness_is_counted(wrong):
    with pytest.raises(
        ArgumentError, match="correct must be an .M, N. bool array.*pass predictions == labels"
    ):
        PairCounts.from_correct(wrong)
