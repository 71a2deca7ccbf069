"""Metrics of selection, weights, and the mean of logits: against the loops, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus import errors
from dissensus.ensemble.gram import Gram
from dissensus.ensemble.limits import Limits
from dissensus.ensemble.members import LogitScores, MemberScores, VoteScores
from dissensus.ensemble.metrics import METRICS, best_candidate
from dissensus.ensemble.path import Steps, forward
from dissensus.ensemble.running import Block
from dissensus.ensemble.selection import Selection
from dissensus.ensemble.weights import Weights
from dissensus.store.truth import Truth

# Coarse logits give ties and near-ties everywhere.
TIES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0 + 2**-10, -3.0, 40.0, -80000.0])
TEMPERATURES = st.sampled_from([1.0, 1.0, 0.7, 1e-3, 1e3])


@st.composite
def zoos(draw, as_sets=False):
    """(logits, labels, temperatures): a few models, one of them perhaps twice."""
    m, n, c = (draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 6), (2, 12)))
    row = st.lists(TIES, min_size=n * c, max_size=n * c)
    logits = [np.array(draw(row)).reshape(n, c) for _ in range(m)]
    if draw(st.booleans()):
        logits.append(logits[0])
    one = st.integers(0, c - 1)
    if as_sets:
        one = st.sets(one, min_size=1, max_size=3).map(sorted)
    labels = draw(st.lists(one, min_size=n, max_size=n))
    return logits, labels, [draw(TEMPERATURES) for _ in logits]


def opened(folder, logits, labels, temperatures, kind, dtype="float16", budget=None):
    """Scores of a store of these models, and its centred logits as lists."""
    classes = [str(c) for c in range(logits[0].shape[1])]
    store = ds.create(folder / "z.zoo", labels, classes=classes, dtype=dtype)
    for i, z in enumerate(logits):
        store.add(f"m{i}", logits=z)
    rows, ids = np.arange(len(labels)), store.model_ids
    scores = kind(store, ids, rows, dict(zip(ids, temperatures, strict=True)), budget)
    return scores, [store.logits(m).take(rows).astype(float).tolist() for m in ids]


def chosen(scores, metric, size, weights=None):
    everybody = Limits(np.arange(len(scores.p_truth)))
    state, _ = forward(Selection(scores, weights, [metric]), Steps(size, metric), everybody)
    return list(zip(state.chosen, state.history[metric], strict=True)), state


@settings(max_examples=30, deadline=None)
@given(
    zoo=zoos(as_sets=True), dtype=st.sampled_from(["float16", "float32"]), budget=st.sampled_from([None, 1])
)
def test_mean_of_logits_equals_the_loops(tmp_path_factory, zoo, dtype, budget):
    """From views and by brute force, at extreme temperatures, with fewer classes than ranks and more."""
    logits, labels, temperatures = zoo
    scores, z = opened(tmp_path_factory.mktemp("l"), *zoo, LogitScores, dtype, budget)
    rows = [[naive.scaled_logits(row, t) for row in one] for one, t in zip(z, temperatures, strict=True)]
    found, state = chosen(scores, "accuracy", 4)
    once = [1] * len(labels)
    assert found == naive.greedy_by(
        lambda members: naive.weighted_hits(rows, members, labels, once), len(logits), 4
    )
    sums = [
        [sum(rows[m][n][c] for m in state.chosen) for c in range(len(rows[0][0]))] for n in range(len(z[0]))
    ]
    assert state.total.tolist() == sums


@settings(max_examples=25, deadline=None)
@given(zoo=zoos(), data=st.data(), metric=st.sampled_from(["accuracy", "balanced_accuracy", "brier"]))
def test_metrics_equal_the_loops(tmp_path_factory, zoo, data, metric):
    """Under weights, zeros among them, whole ones and others."""
    logits, labels, temperatures = zoo
    scores, z = opened(tmp_path_factory.mktemp("m"), *zoo, MemberScores)
    models = list(zip(z, temperatures, strict=True))
    q = [[naive.fixed_point(naive.softmax(row, t)) for row in one] for one, t in models]
    p = [
        [naive.truth_probability(row, y, t) for row, y in zip(one, labels, strict=True)] for one, t in models
    ]
    each, weights = [1] * len(labels), None
    if data.draw(st.booleans()):
        weight = st.sampled_from(data.draw(st.sampled_from([[0.0, 1.0, 0.3, 7.5], [0, 1, 2, 300, 2**40]])))
        values = data.draw(st.lists(weight, min_size=len(labels), max_size=len(labels)).filter(any))
        each, weights = naive.fixed_weights(values), Weights.of(values, len(labels))
    if metric == "balanced_accuracy":
        each = naive.balanced_weights(labels, each)
    state = Selection(scores, weights, [metric])
    for _ in range(4):

        def score(m):
            members = [*state.chosen, m]
            if metric == "brier":
                return naive.brier_if_added(q, members, labels, each)
            return naive.weighted_hits(q, members, labels, each)

        everybody = np.arange(len(logits))
        expected = [score(m) for m in range(len(logits))]
        assert METRICS[metric].if_added(state, everybody).tolist() == expected
        tied = [m for m in range(len(logits)) if expected[m] == max(expected)]
        assert METRICS[metric].leaders(state, everybody).tolist() == tied
        tied = [m for m in tied if m in state.chosen] or tied
        nll = state.nll_if_added(everybody)
        best = min(tied, key=lambda m: nll[m])
        assert best_candidate(state, metric, everybody) == best
        state.add(best)
        assert state.history[metric][-1] == METRICS[metric].now(state) == expected[best]
        if weights is None:
            assert nll[best] == naive.nll_with(_sums(p, state.chosen[:-1]), p[best], len(state.chosen))


def _sums(p, members):
    """Running sums in the order chosen."""
    sums = [0.0] * len(p[0])
    for m in members:
        sums = [a + b for a, b in zip(sums, p[m], strict=True)]
    return sums


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["any", "near", "none", "tiny"]))
def test_estimates_of_nll_lose_no_leader(seed, kind):
    """Candidates equal, near one another, or without any probability of the truth."""
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 9), rng.integers(1, 40)
    p = rng.random((m, n)) ** 4
    if kind == "near":
        p = np.minimum(p[:1] * (1 + rng.integers(0, 3, (m, n)) * 2.0**-50), 1)
    elif kind == "none":
        p[rng.random((m, n)) < 0.1] = 0
    elif kind == "tiny":
        p *= 10.0 ** -rng.integers(0, 300, (m, n))
    scores = Probable(p)
    state = Selection(scores, recorded=["nll"])
    for _ in range(3):
        some = rng.permutation(m)[: rng.integers(1, m + 1)]
        exact = state.nll_if_added(some)
        assert METRICS["nll"].leaders(state, some).tolist() == some[exact == exact.min()].tolist()
        state.add(int(some[0]))
        assert state.history["nll"][-1] == -exact[0]


class Probable:
    """Probabilities of the truth, of two classes."""

    metrics = ("nll",)
    n_classes = 2

    def __init__(self, p):
        self.p_truth = np.ascontiguousarray(p.T).T
        self.truth = Truth.of("t", np.zeros(p.shape[1], int), 2)

    def running(self):
        return VoteScores.running(self)

    @property
    def _top1(self):
        return np.zeros(self.p_truth.shape, np.int32)


def test_estimates_leave_few_in_question(rng, monkeypatch):
    """The exact sum is taken of the best alone where it is ahead."""
    asked, exact = [], Selection.nll_if_added

    def counted(state, candidates):
        asked.append(len(candidates))
        return exact(state, candidates)

    monkeypatch.setattr(Selection, "nll_if_added", counted)
    p = rng.random((50, 400))
    p[7] = 0.99
    assert METRICS["nll"].leaders(Selection(Probable(p), recorded=()), np.arange(50)).tolist() == [7]
    assert asked == [1]


def test_gram_is_exact_over_blocks(rng):
    """Sums of integers: blocks change nothing, and plain Python finds the same."""
    truth = Truth.of("t", rng.integers(0, 3, 30), 3)
    q = rng.integers(0, 2**31 + 1, (4, 30, 3)).astype(np.uint32)
    u = (q.astype(object) + 1024) // 2048
    for each in (np.ones(30), rng.integers(0, 5, 30), rng.integers(0, 2**47, 30), rng.random(30) ** 9):
        weights = Weights.of(each, 30)
        v = weights.each.astype(object)
        whole = Gram.of([Block(0, 30, q)], 4, truth, weights)
        blocks = Block(0, 7, q[:, :7]), Block(7, 30, q[:, 7:])
        parts = Gram.of(blocks, 4, truth, weights)
        apart = [Gram.of([Block(k, k + 1, q[:, k : k + 1])], 4, truth, weights).products for k in range(30)]
        expected = (u * v[:, None]).reshape(4, -1) @ u.reshape(4, -1).T
        for gram in (whole, parts, Gram(sum(apart), whole.at_truth, 0)):
            assert np.array_equal(gram.numbers, expected)
        assert np.array_equal(whole.products, parts.products)
        assert np.array_equal(whole.at_truth, (u[:, np.arange(30), truth.labels] * v).sum(axis=1))


def test_values_of_examples_average_to_the_metric(small_zoo):
    rows, ids = small_zoo.rows("fit"), small_zoo.model_ids
    scores = MemberScores(small_zoo, ids, rows, dict.fromkeys(ids, 1.0))
    state = Selection(scores, recorded=list(METRICS))
    for candidate in (0, 2, 1):
        state.add(candidate)
        for name, metric in METRICS.items():
            value = metric.value(state, state.history[name][-1])
            mean = metric.values(state).mean() * (1 if metric.rises else -1)
            assert mean == pytest.approx(value, rel=1e-5)


def test_members_can_be_dropped_and_selections_copied(small_zoo):
    rows, ids = small_zoo.rows("fit"), small_zoo.model_ids
    scores = MemberScores(small_zoo, ids, rows, dict.fromkeys(ids, 1.0))
    state, plain = Selection(scores), Selection(scores)
    for candidate in (0, 2, 1):
        state.add(candidate)
    other = state.copy()
    other.drop(1)
    for candidate in (0, 1):
        plain.add(candidate)
    assert other.chosen == plain.chosen
    assert np.array_equal(other.total, plain.total)
    assert np.array_equal(other.truth_sum, plain.truth_sum)
    assert [METRICS[name].now(other) for name in METRICS] == [METRICS[name].now(plain) for name in METRICS]
    assert state.chosen == [0, 2, 1]
    assert not np.array_equal(state.total, other.total)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "brier"])
def test_greedy_by_every_metric(small_zoo, metric):
    best = ds.greedy(small_zoo, 4, metric)
    assert best.curve.column_names[-2:] == [f"fit_{metric}", f"report_{metric}"]
    assert set(best.fit) == set(best.report) == {"accuracy", "nll", metric}
    logits = ds.greedy(small_zoo, 4, combine="logits")
    assert set(logits.fit) == {"accuracy"}


def test_what_a_metric_cannot_do_is_refused(small_zoo):
    small_zoo.add_labels("sets", [[0, 1]] * small_zoo.n_examples)
    for metric in ("balanced_accuracy", "brier"):
        with pytest.raises(errors.ArgumentError, match=f"metric '{metric}' needs one right class an example"):
            ds.greedy(small_zoo, 2, metric, labels="sets", calibrate=False)
    with pytest.raises(errors.ArgumentError, match="metric='brier' needs probabilities, and combine='log"):
        ds.greedy(small_zoo, 2, "brier", combine="logits")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "weights must be 3 numbers, one an example; got float64 of shape"),
        (["a", "b", "c"], "weights must be 3 numbers"),
        ([0, 0, 0], "not all 0"),
        ([1, -1, 1], "at least 0"),
        ([1, np.nan, 1], "finite"),
    ],
)
def test_weights_that_are_none(values, message):
    with pytest.raises(errors.ArgumentError, match=message):
        Weights.of(values, 3)


def test_classes_are_summed_when_asked_for(small_zoo, monkeypatch):
    """Not in a search by NLL; then every step is as if it had been recorded at once, copies included."""
    rows, ids = small_zoo.rows("fit"), small_zoo.model_ids
    scores = MemberScores(small_zoo, ids, rows, dict.fromkeys(ids, 1.0))
    eager, lazy = Selection(scores), Selection(scores)
    summed, add = [], type(lazy.running).add
    monkeypatch.setattr(type(lazy.running), "add", lambda self, m: (summed.append(m), add(self, m)))
    everybody = np.arange(len(ids))
    for _ in range(4):
        lazy.add(best_candidate(lazy, "nll", everybody))
    assert not summed
    for candidate in lazy.chosen:
        eager.add(candidate)
        assert eager.right is not None
        assert eager.trajectory("nll")[-1] == -Selection.nll_now(eager.copy())
    other = lazy.copy()
    assert other.history == lazy.history == eager.history
    assert np.array_equal(other.total, eager.total)
    other.drop(1)
    eager.drop(1)
    assert (other.nll_now(), METRICS["accuracy"].now(other)) == (
        eager.nll_now(),
        METRICS["accuracy"].now(eager),
    )
    left = other.chosen
    fresh = Selection(scores)
    for candidate in left:
        fresh.add(candidate)
    assert fresh.nll_now() == other.nll_now()
