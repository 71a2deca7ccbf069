"""Optimal weights: against a fine grid and EM, their certificate, and what refuses them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus.ensemble import mixture
from dissensus.ensemble.members import MemberScores
from dissensus.ensemble.simplex import brier_optimum, least_brier, least_nll, least_quadratic, nll_optimum


def probabilities(data, k, n, c):
    """Rows of several members, with duplicates and certainties among them."""
    flat = data.draw(st.lists(st.sampled_from([0, 1, 3, 8, 1000]), min_size=k * n * c, max_size=k * n * c))
    p = (np.array(flat, float) + 1e-3).reshape(k, n, c)
    if k > 2 and data.draw(st.booleans()):
        p[1] = p[0]
    return p / p.sum(axis=2, keepdims=True)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_weights_are_better_than_proven(data):
    """The gap is tiny, and the loss at any other weights is above loss - gap: loops over a grid."""
    k, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 6), (2, 3)))
    p, labels = (
        probabilities(data, k, n, c),
        data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n)),
    )
    p_truth = p[:, np.arange(n), labels]
    gram, linear = np.einsum("inc,jnc->ij", p, p) / n, p_truth.mean(axis=1)
    for found, optimum, oracle in (
        (least_nll(p_truth), lambda w: nll_optimum(p_truth, w), naive.mixture_nll),
        (least_brier(gram, linear), lambda w: brier_optimum(gram, linear, w), naive.mixture_brier),
    ):
        best = optimum(found)
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(1, abs=1e-12)
        assert best.gap < 1e-9
        assert best.loss == pytest.approx(oracle(p.tolist(), labels, found.tolist()), abs=1e-9)
        for other in naive.simplex_grid(k, 4):
            assert oracle(p.tolist(), labels, other) >= best.loss - best.gap - 1e-9


def test_a_certificate_holds_at_any_weights(rng):
    """Not only at the best: what it promises there is true too."""
    p = rng.dirichlet(np.ones(3), size=(4, 50))
    p_truth = p[:, :, 0]
    gram, linear = np.einsum("inc,jnc->ij", p, p) / 50, p_truth.mean(axis=1)
    least = (
        nll_optimum(p_truth, least_nll(p_truth)).loss,
        brier_optimum(gram, linear, least_brier(gram, linear)).loss,
    )
    for w in rng.dirichlet(np.ones(4), size=20):
        nll, brier = nll_optimum(p_truth, w), brier_optimum(gram, linear, w)
        assert nll.loss - nll.gap <= least[0] + 1e-12 <= nll.loss + 2e-12
        assert brier.loss - brier.gap <= least[1] + 1e-12 <= brier.loss + 2e-12


def test_members_that_do_not_help_weigh_nothing():
    gram, linear = np.diag([1.0, 1.0, 1.0]), np.array([1.0, 0.2, -5.0])
    assert least_quadratic(gram, linear).tolist() == pytest.approx([0.9, 0.1, 0.0], abs=1e-12)
    assert least_nll(np.array([[0.9, 0.8], [0.3, 0.2]])).tolist() == [1.0, 0.0]


def test_expectation_maximisation_comes_to_the_same(rng):
    p = rng.random((5, 200))
    w = naive.em_weights(p.tolist(), 3000)
    best = nll_optimum(p, least_nll(p))
    assert best.loss <= nll_optimum(p, np.array(w)).loss + 1e-12
    assert nll_optimum(p, np.array(w)).loss == pytest.approx(best.loss, abs=1e-5)


def test_optimal_weights_by_brier(small_zoo):
    plain = ds.greedy(small_zoo, 4, "brier")
    best = ds.greedy(small_zoo, 4, "brier", weights="optimal")
    assert best.fit["brier"] <= plain.fit["brier"] + 1e-8
    assert best.certificate.loss == pytest.approx(best.fit["brier"], abs=1e-7)
    assert best.certificate.gap < 1e-6


def test_optimal_weights_of_an_ensemble(small_zoo):
    """Better on the selection split than counts, reported as NumPy computes it, proven."""
    plain = ds.greedy(small_zoo, 6, "nll")
    best = ds.greedy(small_zoo, 6, "nll", weights="optimal")
    assert {*best.members} <= {*plain.members}
    assert best.fit["nll"] <= plain.fit["nll"]
    assert best.certificate.metric == "nll"
    assert best.certificate.gap < 1e-6
    assert best.certificate.loss == pytest.approx(best.fit["nll"], abs=1e-12)
    rows, labels = small_zoo.rows("report"), small_zoo.labels[small_zoo.rows("report")]
    mean = np.zeros((len(rows), 4))
    for m, w in zip(best.members, best.weights, strict=True):
        z = small_zoo.logits(m).take(rows).astype("f8") / best.temperatures[m]
        p = np.exp(z)
        mean += w * p / p.sum(axis=1, keepdims=True)
    assert best.report["accuracy"] == (mean.argmax(axis=1) == labels).mean()
    assert best.report["nll"] == pytest.approx(-np.log(mean[np.arange(len(rows)), labels]).mean(), rel=1e-9)


def test_all_candidates_can_be_weighed(small_zoo):
    """With as many steps as candidates, each once, no other ensemble of theirs has a lower NLL."""
    best = ds.greedy(small_zoo, 5, "nll", replacement=False, weights="optimal")
    for other in (ds.greedy(small_zoo, 9, "nll"), ds.greedy(small_zoo, 4, "nll", bags=3)):
        assert best.certificate.loss - best.certificate.gap <= other.fit["nll"] + 1e-9


def test_products_are_the_loops(small_zoo, monkeypatch):
    from dissensus.ensemble import members

    monkeypatch.setattr(members, "BLOCK_BYTES", 5 * 4 * 4 * 7)
    ids, rows = small_zoo.model_ids[:2], small_zoo.rows("fit")
    gram, linear = mixture.products(
        MemberScores(small_zoo, ids, rows, dict.fromkeys(ids, 1.0)), np.full(len(rows), 1 / len(rows))
    )
    p = [[naive.softmax(row) for row in small_zoo.logits(m).take(rows).astype(float).tolist()] for m in ids]
    n = len(rows)
    for i in range(2):
        assert linear[i] == pytest.approx(sum(p[i][k][y] for k, y in enumerate(small_zoo.labels[rows])) / n)
        for j in range(2):
            dots = sum(naive.dot(a, b) for a, b in zip(p[i], p[j], strict=True))
            assert gram[i, j] == pytest.approx(dots / n, abs=1e-8)


def test_weights_that_are_not_proven_are_told(monkeypatch, small_zoo):
    monkeypatch.setattr(mixture, "least_nll", lambda p, shares: np.full(len(p), 1 / len(p)))
    with pytest.warns(mixture.WeightsWarning, match="least nll are proven only to within"):
        ds.greedy(small_zoo, 5, "nll", replacement=False, weights="optimal")
