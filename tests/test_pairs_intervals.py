"""Intervals of all pairs: equal to the loops, honest at the edges, and covering as often as they say."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import product

import numpy as np
import pytest

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, UnknownName
from dissensus.pairs import measures
from dissensus.pairs.bootstrap import percentiles, resampled_tables
from dissensus.pairs.counts import Answers, PairCounts
from dissensus.pairs.delta import delta_interval, gradient
from dissensus.pairs.intervals import Interval, counted_measures
from dissensus.pairs.measures import MEASURES
from dissensus.pairs.result import Pairs
from dissensus.pairs.shared import shared_draws

EI, KAPPA = "error_inconsistency", "error_consistency"
KINKED = ("error_consistency_max", "error_consistency_min")
COUNTED = counted_measures()
SMOOTH = [name for name in COUNTED if name not in KINKED]
TABLES = [t for t in product(range(5), repeat=4) if sum(t)]
UNEQUAL = [t for t in TABLES if t[1] != t[2] and 2 * t[0] + t[1] + t[2] != sum(t)]  # away from any kink


def test_every_measure_of_counts_has_an_interval():
    assert {EI, KAPPA, *KINKED, "phi", "q_statistic", "relative_nfr"} < set(COUNTED)
    assert len(COUNTED) >= 13


def counts_of(*tables):
    """Counts of two models a table; the pair (2k, 2k + 1) of table k has it as its counts."""
    found = []
    for n11, n10, n01, n00 in tables:
        both = np.array([[n11 + n10, n11], [n11, n11 + n01]])
        found.append(PairCounts(both, both.diagonal().copy(), n11 + n10 + n01 + n00))
    return found


def zoo(n_models=6, n_examples=400, seed=0):
    """Correctness of models of several skills on examples of several difficulties."""
    rng = np.random.default_rng(seed)
    skill, difficulty = np.linspace(-0.5, 2.5, n_models)[:, None], rng.normal(0, 1.5, n_examples)
    return rng.random((n_models, n_examples)) < 1 / (1 + np.exp(difficulty - skill))


def bounds(interval, correct, names=(KAPPA,)):
    return interval.bounds(list(names), PairCounts.from_correct(correct))


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


@pytest.mark.parametrize("name", COUNTED)
def test_gradient_equals_central_differences(name):
    tables = [tuple(count + 1 for count in table) for table in UNEQUAL]
    found = gradient(MEASURES[name].formula, np.array(tables, float).T)
    expected = [[naive.derivative(getattr(naive, name), t, cell) for t in tables] for cell in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_gradient_loses_nothing_at_large_counts():
    """Differences would cancel: the slope of a share by one of 6e7 examples is 1e-8."""
    table = (30_000_000, 10_000_000, 8_000_000, 12_000_000)
    n, different = sum(table), (table[1] + table[2]) / sum(table) ** 2
    found = gradient(MEASURES[EI].formula, np.array(table, float)[:, None])[:, 0]
    np.testing.assert_allclose(
        found, [-different, 1 / n - different, 1 / n - different, -different], rtol=1e-15
    )


@pytest.mark.parametrize("name", COUNTED)
def test_delta_equals_the_loops(name):
    measure = MEASURES[name]
    for counts, table in zip(counts_of(*UNEQUAL), UNEQUAL, strict=True):
        low, high = Interval("delta", level=0.9).bounds([name], counts)[name]
        expected = naive.delta_interval(getattr(naive, name), table, 0.9, measure.low, measure.high)
        np.testing.assert_allclose([low[0, 1], high[0, 1]], expected, rtol=1e-7, atol=1e-9)


def test_variance_of_a_share_is_the_binomial_one():
    low, high = delta_interval(MEASURES["double_fault"].formula, np.array([[59.0], [14], [14], [9]]), 0.95)
    share = 10 / 100
    reach = 1.959963984540054 * math.sqrt(share * (1 - share) / 100)
    np.testing.assert_allclose([low[0], high[0]], [share - reach, share + reach], rtol=1e-12)


@pytest.mark.parametrize("method", ["delta", "bootstrap"])
@pytest.mark.parametrize("name", COUNTED)
def test_bounds_enclose_the_value_within_the_range(method, name):
    measure = MEASURES[name]
    for counts in counts_of(*TABLES):
        low, high = Interval(method, draws=20).bounds([name], counts)[name]
        value = measure.finish(counts)
        assert np.isnan(low.diagonal()).all()
        assert np.isnan(high.diagonal()).all()
        for i, j in ((0, 1), (1, 0)):
            undefined = np.isnan(value[i, j])
            assert np.isnan(low[i, j]) == np.isnan(high[i, j]) == undefined
            assert undefined or measure.low <= low[i, j] <= value[i, j] <= high[i, j] <= measure.high


@pytest.mark.parametrize("method", ["delta", "bootstrap"])
def test_symmetric_measures_have_symmetric_bounds_and_others_turn_round(method):
    found = bounds(Interval(method, draws=50), zoo(), [KAPPA, "negative_flip_rate", "positive_flip_rate"])
    for low, high in (found[KAPPA],):
        np.testing.assert_array_equal(low, low.T)
        np.testing.assert_array_equal(high, high.T)
    for negative, positive in zip(found["negative_flip_rate"], found["positive_flip_rate"], strict=True):
        np.testing.assert_array_equal(negative, positive.T)
    assert (found["negative_flip_rate"][0] != found["negative_flip_rate"][0].T).any()


def test_permuting_models_permutes_delta_bounds_to_the_last_bit():
    correct, order = zoo(7, 333), [3, 0, 6, 2, 1, 5, 4]
    one, other = (bounds(Interval("delta"), rows, COUNTED) for rows in (correct, correct[order]))
    for name in COUNTED:
        for before, after in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(before[np.ix_(order, order)], after, err_msg=name)


def test_two_models_that_never_differ_are_not_certain_to():
    """Delta leaves kappa = 1 room below, about 1 / n; the bootstrap cannot see what it never saw."""
    for n in (20, 200, 2000):
        (counts,) = counts_of((n // 2, 0, 0, n // 2))
        low, high = (b[0, 1] for b in Interval("delta").bounds([KAPPA], counts)[KAPPA])
        assert high == 1
        assert 1 - 30 / n < low < 1 - 2 / n
        drawn = Interval("bootstrap").bounds([KAPPA], counts)[KAPPA]
        assert drawn[0][0, 1] == drawn[1][0, 1] == 1


def test_delta_narrows_with_the_level_and_the_examples():
    widths = []
    for level, times in ((0.99, 1), (0.95, 1), (0.5, 1), (0.5, 100)):
        (counts,) = counts_of([c * times for c in (50, 20, 10, 20)])
        low, high = Interval("delta", level=level).bounds([KAPPA], counts)[KAPPA]
        widths.append(high[0, 1] - low[0, 1])
    assert widths == sorted(widths, reverse=True)
    assert widths[2] / widths[3] == pytest.approx(10, rel=0.05)


# Resampled counts


def resampled(counts, draws, seed, *at_once):
    """Tables of all rows: row, columns, and what was drawn."""
    for row in range(len(counts.right) - 1):
        for columns, drawn in resampled_tables(counts, row, draws, seed, *at_once):
            yield row, columns, drawn


@pytest.mark.parametrize("name", [EI, KAPPA, "phi", "relative_nfr", "q_statistic"])
def test_bootstrap_equals_the_loops_on_the_same_draws(name):
    correct = zoo(4, 40)
    counts, measure = PairCounts.from_correct(correct), MEASURES[name]
    low, high = Interval("bootstrap", level=0.8, draws=60, seed=3).bounds([name], counts)[name]
    drawn = {}
    for row, columns, tables in resampled(counts, 60, 3):
        for place, column in enumerate(range(columns.start, columns.stop)):
            drawn[row, column] = tables[:, place].T.astype(int).tolist()
    assert sorted(drawn) == [(i, j) for i in range(4) for j in range(i + 1, 4)]
    for (i, j), tables in drawn.items():
        ends = naive.percentile_interval(getattr(naive, name), tables, 0.8)
        value = measure.finish(counts)[i, j]
        expected = min(ends[0], value), max(ends[1], value)
        np.testing.assert_allclose([low[i, j], high[i, j]], expected, rtol=1e-12, atol=1e-12)


def test_resampled_tables_are_multinomial():
    (counts,) = counts_of((120, 40, 30, 10))
    ((_, _, drawn),) = resampled(counts, 40_000, 0)
    drawn, shares = drawn[:, 0], np.array([0.6, 0.2, 0.15, 0.05])
    assert (drawn.sum(axis=0) == 200).all()
    np.testing.assert_allclose(drawn.mean(axis=1), 200 * shares, atol=0.15)
    expected = 200 * (np.diag(shares) - np.outer(shares, shares))
    np.testing.assert_allclose(np.cov(drawn), expected, atol=0.7)


def test_an_empty_cell_stays_empty():
    for counts, table in zip(counts_of(*TABLES), TABLES, strict=True):
        ((_, _, drawn),) = resampled(counts, 50, 0)
        assert (drawn[np.array(table) == 0] == 0).all(), table


def test_neither_chunks_nor_later_models_change_a_draw():
    counts = PairCounts.from_correct(zoo(7))
    few = PairCounts.from_correct(zoo(7)[:4])

    def drawn(counts, at_once):
        table = {}
        for row, columns, tables in resampled(counts, 30, 5, at_once):
            for place, column in enumerate(range(columns.start, columns.stop)):
                table[row, column] = tables[:, place].tolist()
        return table

    whole = drawn(counts, 2**16)
    assert len(whole) == 21
    for at_once in (1, 30, 61, 95):
        assert drawn(counts, at_once) == whole
    assert drawn(few, 2**16).items() <= whole.items()
    assert max(t.shape[1] for _, _, t in resampled(counts, 30, 5, 61)) == 2


def test_seeds_repeat_and_differ():
    one, again, other = (bounds(Interval("bootstrap", draws=40, seed=s), zoo())[KAPPA][0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (off_diagonal(one) != off_diagonal(other)).all()


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_percentiles_equal_numpy_and_the_loops(level, rng):
    values = rng.normal(size=(40, 31))
    low, high = percentiles(values, level)
    np.testing.assert_allclose(
        [low, high], np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=1), rtol=1e-12
    )
    values[rng.random(values.shape) < 0.3] = np.nan
    values[0], values[1, 1:] = np.nan, np.nan
    low, high = percentiles(values, level)
    for row, a, b in zip(values.tolist(), low, high, strict=True):
        expected = naive.quantile(row, (1 - level) / 2), naive.quantile(row, (1 + level) / 2)
        np.testing.assert_allclose([a, b], expected, rtol=1e-12)


def test_the_three_methods_agree_on_many_examples():
    correct = zoo(4, 20_000)
    counts, answers = PairCounts.from_correct(correct), Answers.of(correct)
    i, j = np.triu_indices(4, 1)
    shared = np.array(list(shared_draws(answers, (i, j), lambda *cells: np.array(cells), 2000, 0)))
    for name in SMOOTH:
        delta, resampled = (
            [m[i, j] for m in Interval(method, draws=2000).bounds([name], counts)[name]]
            for method in ("delta", "bootstrap")
        )
        drawn = MEASURES[name].formula(*np.moveaxis(shared, 1, 0)).T
        width = delta[1] - delta[0]
        for other in (resampled, percentiles(drawn, 0.95)):
            for mine, theirs in zip(delta, other, strict=True):
                assert (np.abs(mine - theirs) < 0.09 * width).all(), name


# Coverage


def pair_shares(a_i, a_j, phi):
    """Shares n11, n10, n01, n00 of two models with these accuracies and correlation of errors."""
    both = a_i * a_j + phi * math.sqrt(a_i * (1 - a_i) * a_j * (1 - a_j))
    return np.array([both, a_i - both, a_j - both, 1 - a_i - a_j + both])


PAIRS = [(0.75, 0.7, 0.3), (0.95, 0.9, 0.3), (0.6, 0.5, 0.0), (0.97, 0.96, 0.6)]
# Q is far from straight near its ends: with few examples in a cell it is covered less.
LEAST = {(200, "q_statistic"): 0.90}


def truth_of(name, shares):
    name = KAPPA if name == "error_consistency_unbiased" else name
    return float(MEASURES[name].formula(*(1e9 * shares[:, None]))[0])


@pytest.mark.parametrize("n", [200, 2000])
@pytest.mark.parametrize("pair", PAIRS)
def test_delta_covers_as_often_as_it_says(n, pair):
    """4,000 samples a case: a rate of 0.95 is known to 0.0035, so the band is 0.93 to 0.98.

    Up to 0.995 on 200 examples: where two are expected in a cell, the one added to it covers more than asked.
    """
    shares = pair_shares(*pair)
    tables = np.random.default_rng(0).multinomial(n, shares, size=4000).T.astype(float)
    for name in COUNTED:
        low, high = delta_interval(MEASURES[name].formula, tables, 0.95)
        truth = truth_of(name, shares)
        covered = np.mean((low - 1e-9 <= truth) & (truth <= high + 1e-9))
        assert LEAST.get((n, name), 0.93) <= covered <= (0.995 if n == 200 else 0.98), (name, covered)


@pytest.mark.parametrize(("n", "least"), [(200, 0.88), (2000, 0.91)])
@pytest.mark.parametrize("pair", PAIRS[:3])
def test_bootstrap_covers_nearly_as_often_as_it_says(n, least, pair):
    """Percentiles of few errors fall short of their level, as they are known to."""
    shares, rng = pair_shares(*pair), np.random.default_rng(1)
    tables = rng.multinomial(n, shares, size=700)
    drawn = np.moveaxis(rng.multinomial(n, (tables / n)[:, None], size=(700, 300)), -1, 0).astype(float)
    for name in SMOOTH:
        low, high = percentiles(MEASURES[name].formula(*drawn), 0.95)
        truth = truth_of(name, shares)
        covered = np.mean((low <= truth) & (truth <= high))
        assert least <= covered <= 0.99, (name, covered)


# What a user sees


def test_a_query_with_intervals(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, KAPPA], ci="delta", level=0.9)
    expected = Interval("delta", 0.9).bounds([EI, KAPPA], pairs.counts)
    for name in (EI, KAPPA):
        np.testing.assert_array_equal(pairs.low[name], expected[name][0])
        np.testing.assert_array_equal(pairs.high[name], expected[name][1])
    ends = [f"{name}{end}" for name in (EI, KAPPA) for end in ("", "_low", "_high")]
    table = pairs.to_arrow()
    assert table.column_names == ["model_a", "model_b", "accuracy_a", "accuracy_b", *ends]
    np.testing.assert_array_equal(table[f"{KAPPA}_low"], pairs.low[KAPPA][np.triu_indices(5, 1)])
    assert pairs.notes == {"ci": "delta", "level": 0.9}
    drawn = ds.pairwise(small_zoo, KAPPA, ci="bootstrap", draws=70, seed=4)
    assert drawn.notes == {"ci": "bootstrap", "level": 0.95, "draws": 70, "seed": 4}
    again = ds.pairwise(small_zoo, KAPPA, ci="bootstrap", draws=70, seed=4)
    np.testing.assert_array_equal(drawn.high[KAPPA], again.high[KAPPA])
    plain = ds.pairwise(small_zoo, KAPPA)
    assert plain.columns == plain.notes == {}


def test_sorted_by_a_bound(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, KAPPA, "negative_flip_rate"], ci="delta")
    for name, ascending in ((f"{KAPPA}_high", True), (f"{EI}_low", False), ("negative_flip_rate_low", False)):
        found = pairs.top(100, by=name)[name].to_numpy()
        assert len(found) == 20
        assert (np.diff(found) >= 0).all() if ascending else (np.diff(found) <= 0).all()
    assert (
        pairs.top(3, by=f"{EI}_low", ascending=True, model="model-1")[f"{EI}_low"].to_pylist()
        == sorted(pairs.low[EI][1, [0, 2, 3, 4]])[:3]
    )


def test_undefined_pairs_have_no_interval(tmp_path):
    store = ds.create(tmp_path / "s.zoo", np.zeros(4, int), classes=["yes", "no"])
    for name, right in {"perfect": [1, 1, 1, 1], "too": [1, 1, 1, 1], "some": [1, 0, 1, 0]}.items():
        store.add(name, predictions=1 - np.array(right))
    for ci in ("delta", "bootstrap"):
        pairs = ds.pairwise(store, KAPPA, ci=ci, undefined="identical")
        row = next(
            r for r in pairs.to_arrow().to_pylist() if {r["model_a"], r["model_b"]} == {"perfect", "too"}
        )
        assert row[KAPPA] == 1.0
        assert row[f"{KAPPA}_low"] is row[f"{KAPPA}_high"] is None
        json.dumps(pairs.to_arrow().to_pylist(), allow_nan=False)


def test_xarray_has_the_bounds(small_zoo):
    pytest.importorskip("xarray")
    pairs = ds.pairwise(small_zoo, KAPPA, ci="delta")
    dataset = pairs.to_xarray()
    assert list(dataset) == [KAPPA, f"{KAPPA}_low", f"{KAPPA}_high"]
    assert dataset.attrs == {"n_examples": 203, "ci": "delta", "level": 0.95}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ci": "detla"}, "unknown ci 'detla'; did you mean delta"),
        ({"ci": "bayes"}, "unknown ci 'bayes'; there are: delta, bootstrap"),
    ],
)
def test_unknown_methods_get_the_nearest(small_zoo, arguments, message):
    with pytest.raises(UnknownName, match=message):
        ds.pairwise(small_zoo, KAPPA, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ci": "delta", "level": 0.0}, r"level must lie between 0 and 1, as 0.95 for 95 %; got 0\.0"),
        ({"ci": "delta", "level": 95}, "level must lie between 0 and 1.*; got 95"),
        ({"ci": "delta", "level": math.nan}, "level must lie between 0 and 1.*; got nan"),
        ({"ci": "bootstrap", "draws": 0}, "draws must be an integer of at least 1; got 0"),
        ({"ci": "bootstrap", "draws": 1e3}, r"draws must be an integer of at least 1; got 1000\.0"),
        ({"ci": "bootstrap", "seed": -1}, "seed must be an integer of at least 0; got -1"),
        ({"level": 0.9}, 'level=0.9 needs ci="delta" or ci="bootstrap"; got ci=None'),
        ({"draws": 10}, 'draws=10 needs ci="bootstrap"; got ci=None'),
        ({"ci": "delta", "seed": 1}, "seed=1 needs ci=\"bootstrap\"; got ci='delta'"),
    ],
)
def test_bad_arguments_are_named(small_zoo, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ds.pairwise(small_zoo, KAPPA, **arguments)


def test_bounds_that_were_not_asked_for(small_zoo):
    with pytest.raises(ArgumentError, match='low needs intervals; ask for them with pairwise.*ci="delta"'):
        ds.pairwise(small_zoo, KAPPA).low  # noqa: B018
    with pytest.raises(UnknownName, match="unknown measure 'phi'; .*only measures asked"):
        ds.pairwise(small_zoo, KAPPA, ci="delta").high["phi"]
    with pytest.raises(UnknownName, match="unknown measure 'error_consistency_low'"):
        ds.pairwise(small_zoo, KAPPA).top(by=f"{KAPPA}_low")


def test_a_measure_without_a_formula_of_counts_says_so(small_zoo, monkeypatch):
    def label_kappa(same_label, n):
        raise AssertionError("must be refused before anything is computed")

    other = dataclasses.replace(MEASURES[KAPPA], name="label_kappa", formula=label_kappa)
    monkeypatch.setitem(measures.MEASURES, "label_kappa", other)
    with pytest.raises(
        ArgumentError, match="measure 'label_kappa' has no interval yet; leave out ci, or ask"
    ):
        ds.pairwise(small_zoo, "label_kappa", ci="delta")
    made = ds.pairwise(small_zoo, KAPPA)
    mixed = Pairs(made.model_ids, made.counts, {"label_kappa": made[KAPPA]}, answers=made._answers)
    for question in (mixed.null, mixed.in_top, lambda: mixed.compare(("model-0", "model-1"))):
        with pytest.raises(ArgumentError, match="'label_kappa' has no interval yet; choose by= among those"):
            question()
    assert mixed.test().columns["test_z"].shape == (5, 5)
