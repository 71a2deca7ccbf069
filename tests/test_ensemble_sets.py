"""Ensembles under sets of right classes: kernels and selection against the loop oracle, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus.ensemble import calibration
from dissensus.kernels import candidates, temperatures
from dissensus.kernels import probabilities as kernel
from dissensus.store.truth import Truth

ON_ALL = {"select": "all", "report": "all", "allow_same_split": True}
# Coarse logits give ties everywhere, and right classes whose powers all underflow.
TIES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0 + 2**-10, -3.0, 40.0, -80000.0])


@st.composite
def problems(draw):
    """(n, C) shapes with sets of right classes, none empty; among them two classes and one example."""
    n, c = draw(st.integers(1, 7)), draw(st.integers(2, 5))
    sets = draw(st.lists(st.sets(st.integers(0, c - 1), min_size=1), min_size=n, max_size=n))
    return n, c, [sorted(s) for s in sets]


def zoo_of(folder, logits, labels, dtype="float16", **options):
    n_classes = logits[0].shape[1]
    store = ds.create(
        folder / "z.zoo", labels, classes=[str(c) for c in range(n_classes)], dtype=dtype, **options
    )
    for i, z in enumerate(logits):
        store.add(f"m{i}", logits=z)
    return store


def assert_equals_oracle(store, best, rows, sets, metric, size):
    z = [store.logits(m).take(rows).astype(float).tolist() for m in store.model_ids]
    steps = naive.greedy(z, sets, [best.temperatures[m] for m in store.model_ids], size, metric)
    assert best.curve["member"].to_pylist() == [store.model_ids[s.model] for s in steps]
    assert best.curve["fit_accuracy"].to_pylist() == [s.hits / len(sets) for s in steps]
    assert best.curve["fit_nll"].to_pylist() == [s.nll / 2**32 / len(sets) for s in steps]


@settings(max_examples=150, deadline=None)
@given(problem=problems(), data=st.data())
def test_hits_equal_the_loops(problem, data):
    """Right classes tie with one another and with wrong ones below and above them."""
    n, c, sets = problem
    entries = st.lists(st.integers(0, 2), min_size=n * c, max_size=n * c)
    total = np.array(data.draw(entries), np.int64).reshape(n, c)
    q = np.array([data.draw(entries) for _ in range(2)], np.uint32).reshape(2, n, c)
    truth, out = Truth.of("t", sets, c), np.array([10, 20])
    everybody, once = np.arange(2), np.ones(n, np.int64)
    candidates.hits_if_added(total, q, everybody, truth.offsets, truth.classes, once, out)
    expected = [naive.hits_with(total.tolist(), rows, sets) for rows in q.tolist()]
    assert (out - [10, 20]).tolist() == expected
    assert truth.correct((total + q).argmax(axis=2)).sum(axis=1).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(
    problem=problems(),
    data=st.data(),
    dtype=st.sampled_from(["f2", "f4"]),
    temperature=st.sampled_from([1.0, 0.3, 7.0]),
)
def test_probabilities_and_slopes_equal_the_loops(problem, data, dtype, temperature):
    n, c, sets = problem
    z = np.array(data.draw(st.lists(TIES, min_size=n * c, max_size=n * c)), "f4").reshape(n, c)
    centred = np.maximum(z - z.max(axis=1, keepdims=True), -65504).astype(dtype)
    truth, codes, rows = Truth.of("t", sets, c), kernel.codes_of(centred), centred.astype(float).tolist()
    q, p = np.empty((n, c), np.uint32), np.empty(n)
    kernel.fixed_point(
        codes, kernel.exponentials(codes.dtype, temperature), truth.offsets, truth.classes, q, p
    )
    pairs = list(zip(rows, sets, strict=True))
    assert p.tolist() == [naive.truth_probability(row, right, temperature) for row, right in pairs]
    assert p.max() <= 1
    slopes = np.stack(temperatures.nll_slopes(codes, temperature, truth.offsets, truth.classes), axis=1)
    assert slopes.tolist() == [list(naive.nll_slopes(row, right, temperature)) for row, right in pairs]
    everything = np.array([len(right) == c for right in sets])
    assert (slopes[everything] == 0).all()
    assert (p[everything] == 1).all()


@settings(max_examples=50, deadline=None)
@given(
    problem=problems(),
    data=st.data(),
    metric=st.sampled_from(["accuracy", "nll"]),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_greedy_equals_brute_force(tmp_path_factory, problem, data, metric, dtype):
    """On a store with further examples that are not counted, between those that are."""
    n, c, sets = problem
    z = [np.array(data.draw(st.lists(TIES, min_size=n * c, max_size=n * c))).reshape(n, c) for _ in range(3)]
    spread = [np.repeat(one, 2, axis=0) for one in [*z, z[0]]]
    labels = [right for s in sets for right in (s, [])]
    store = zoo_of(tmp_path_factory.mktemp("g"), spread, labels, dtype)
    best = ds.greedy(store, 5, metric, calibrate=False, **ON_ALL)
    assert best.splits["select"]["n_examples"] == n
    assert_equals_oracle(store, best, np.arange(0, 2 * n, 2), sets, metric, 5)


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_calibrated_under_another_label_set(small_zoo, rng, metric):
    """By name or by a view; the halves stay the store's own, less what is not counted."""
    sets = [sorted({int(c), *rng.choice(4, rng.integers(0, 3)).tolist()}) for c in small_zoo.labels]
    sets[:5] = [[], [0, 1, 2, 3], [], [3], [1, 2]]
    small_zoo.add_labels("real", sets)
    best = ds.greedy(small_zoo, 6, metric, labels="real")
    assert best.labels == "real"
    assert best.to_dict() == ds.greedy(small_zoo.under("real"), 6, metric).to_dict()
    rows = np.array([row for row in small_zoo.rows("fit") if sets[row]])
    assert_equals_oracle(small_zoo, best, rows, [sets[row] for row in rows], metric, 6)
    own = ds.greedy(small_zoo.under("real"), 6, metric, labels="original")
    assert own.to_dict() == ds.greedy(small_zoo, 6, metric).to_dict()
    assert (own.labels, own.combine) == ("original", "probabilities")


def test_report_equals_plain_numpy(small_zoo, rng):
    sets = [sorted({int(c), int(rng.integers(4))}) if rng.random() < 0.9 else [] for c in small_zoo.labels]
    small_zoo.add_labels("real", sets)
    best = ds.greedy(small_zoo, 5, labels="real")
    rows = [row for row in small_zoo.rows("report") if sets[row]]
    mean = np.zeros((len(rows), 4))
    for m, w in zip(best.members, best.weights, strict=True):
        z = small_zoo.logits(m).take(np.array(rows)).astype("f8") / best.temperatures[m]
        p = np.exp(z - z.max(1, keepdims=True))
        mean += w * p / p.sum(1, keepdims=True)
    right = np.array([[c in sets[row] for c in range(4)] for row in rows])
    assert best.splits["report"]["n_examples"] == best.interval.n_examples == len(rows)
    assert best.report["accuracy"] == right[np.arange(len(rows)), mean.argmax(1)].mean()
    assert best.report["nll"] == pytest.approx(-np.log((mean * right).sum(1)).mean(), rel=1e-12)


def test_sets_of_one_class_equal_plain_labels(small_zoo):
    """Twice the store's own labels, once beside an example that is not counted."""
    small_zoo.add_labels("same", [[int(c)] for c in small_zoo.labels])
    small_zoo.add_labels("less", [[int(c)] if row else [] for row, c in enumerate(small_zoo.labels)])
    for metric in ("accuracy", "nll"):
        own, same = (ds.greedy(small_zoo, 5, metric, labels=name).to_dict() for name in (None, "same"))
        assert own | {"labels": "same"} == same
    options = {"select": "report", "report": "fit"}  # row 0 is of "fit": nothing selected on changes
    own, less = (ds.greedy(small_zoo, 5, labels=name, **options) for name in (None, "less"))
    assert less.fit == own.fit
    assert less.temperatures == own.temperatures
    assert less.splits["report"]["n_examples"] == own.splits["report"]["n_examples"] - 1


def test_temperature_is_a_local_minimum(small_zoo, rng):
    """Under sets the NLL is no lower a little colder or hotter."""
    sets = [sorted({int(c), int(rng.integers(4))}) for c in small_zoo.labels]
    small_zoo.add_labels("real", sets)
    rows = small_zoo.rows("fit")
    fitted = calibration.temperatures(small_zoo.under("real"), small_zoo.model_ids, rows)
    assert fitted != calibration.temperatures(small_zoo, small_zoo.model_ids, rows)
    for model_id, t in fitted.items():
        z, right = small_zoo.logits(model_id).take(rows).astype(float).tolist(), [sets[row] for row in rows]
        best = naive.nll(z, right, t)
        assert best <= naive.nll(z, right, t * 1.01)
        assert best <= naive.nll(z, right, t * 0.99)


def test_a_temperature_where_the_curve_has_two_minima(tmp_path):
    """At 1/T of 0.11 and 1.79; the search starts at 1 between them, where the curve bends the other way."""
    z = np.array([[-0.5, -3.5, -7.5, 0.0], [-4.0, 0.0, -0.5, -0.5], [-1.0, 0.0, -0.5, 0.0]])
    sets, rows = [[1, 3], [0, 2], [1, 3]], np.arange(3)
    store = zoo_of(tmp_path, [z], sets)
    curvature = [naive.nll_slopes(row, right)[1] for row, right in zip(z.tolist(), sets, strict=True)]
    assert sum(curvature) < 0
    t = calibration.temperatures(store, ["m0"], rows)["m0"]
    best = naive.nll(z.tolist(), sets, t)
    assert all(best <= naive.nll(z.tolist(), sets, t * step) for step in (0.98, 0.999, 1.001, 1.02))


def test_sets_of_all_classes_have_no_best_temperature(tmp_path, rng):
    store = zoo_of(tmp_path, [rng.normal(size=(6, 3))], [[0, 1, 2]] * 6)
    with pytest.warns(calibration.CalibrationWarning, match="no best temperature"):
        best = ds.greedy(store, 1, **ON_ALL)
    assert best.fit == {"accuracy": 1.0, "nll": 0.0}


def test_a_split_with_nothing_counted_is_named(small_zoo):
    small_zoo.add_labels("half", [[0] if row % 2 else [] for row in range(203)])
    with pytest.raises(ds.DissensusError, match="select='fit' has 0 examples .*under labels 'half'"):
        ds.greedy(small_zoo, 2, labels="half")
