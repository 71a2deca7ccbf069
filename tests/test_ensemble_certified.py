"""Certified running sums against brute force: scores, leaders and ties equal to the last bit."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import NumbaError

import naive
from dissensus.ensemble.certified import CertifiedRunning
from dissensus.ensemble.running import Block, FullRunning
from dissensus.ensemble.views import Views
from dissensus.kernels import bounds, jit
from dissensus.kernels import certified as kernel
from dissensus.kernels import known as known_module
from dissensus.store.truth import Truth


@dataclass(frozen=True)
class Given:
    """Values q (M, n, C) of candidates as a source of blocks, of rows, and of views made by sorting."""

    q: np.ndarray
    truth: Truth
    floor: int = 0

    @property
    def n_classes(self):
        return self.q.shape[2]

    def blocks(self):
        half = len(self.truth) // 2
        yield Block(0, half, self.q[:, :half])
        yield Block(half, len(self.truth), self.q[:, half:])

    def rows(self, candidate, places):
        assert (np.diff(places) > 0).all()
        return self.q[candidate, places]

    @cached_property
    def views(self):
        views = Views.empty(self.truth, self.n_classes, len(self.q))
        ranks = views.q.shape[1]
        order = np.argsort(-self.q.astype(np.int64), axis=2, kind="stable")
        ranked = np.take_along_axis(self.q, order, axis=2)
        views.classes[:] = order[:, :, :ranks].transpose(1, 2, 0)
        views.q[:] = ranked[:, :, :ranks].transpose(1, 2, 0)
        views.tail[:] = ranked[:, :, ranks].T if ranks < self.n_classes else self.floor
        rows = np.repeat(np.arange(len(self.truth)), self.truth.sizes)
        views.right[:] = self.q[:, rows, self.truth.classes].T
        return views


@st.composite
def sources(draw):
    """Few values, so that ties and near-ties are everywhere, within views and beyond; models twice."""
    m, n, c = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(2, 14))
    kind = draw(st.sampled_from(["few", "close", "sure", "flat", "apart", "apart"]))
    c = c + 12 if kind == "apart" else c
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    q = {
        "apart": lambda: (
            np.where(rng.permuted(np.arange(m * n * c).reshape(m, n, c) % c, axis=2) < 8, 9, 0)
            + rng.integers(0, 7, (m, n, c))
        ),  # each model's first classes are others
        "few": lambda: rng.integers(0, 4, (m, n, c)),
        "close": lambda: 2**27 + rng.integers(0, 2, (m, n, c)),
        "sure": lambda: np.where(rng.random((m, n, c)) < 0.2, 2**31, rng.integers(0, 2, (m, n, c))),
        "flat": lambda: np.full((m, n, c), 7),
    }[kind]()
    if draw(st.booleans()):
        q[-1] = q[0]
    most = draw(st.integers(1, 3))
    sets = [sorted({int(k) for k in rng.integers(0, c, rng.integers(1, most + 1))}) for _ in range(n)]
    return Given(q.astype(np.uint32), Truth.of("t", sets, c)), rng


@settings(max_examples=200, deadline=None)
@given(
    source=sources(),
    steps=st.lists(st.sampled_from(["add", "remove", "copy", "total"]), max_size=6),
    listed=st.sampled_from([2, 5, 16]),
)
def test_certified_sums_equal_brute_force(source, steps, listed):
    """Through members added, repeated and taken out, however short the lists of bounds are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_module, "LISTED", listed)
        compared(source, steps)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), listed=st.sampled_from([2, 3, 16]), back=st.booleans())
def test_classes_that_fall_out_of_the_lists_and_come_back(seed, listed, back):
    """Each model's first classes are another window of many: lists change all the time, bounds decide."""
    rng = np.random.default_rng(seed)
    m, n, c = 7, 5, 40
    q = rng.integers(0, 3, (m, n, c))
    for i in range(m):
        q[i][:, (5 * i + np.arange(8)) % c] += rng.integers(1, 5, (n, 8))
    sets = [sorted({int(q[rng.integers(m), k].argmax()), int(rng.integers(c))}) for k in range(n)]
    source, everything = Given(q.astype(np.uint32), Truth.of("t", sets, c)), np.arange(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_module, "LISTED", listed)
        running, total = CertifiedRunning(source), np.zeros((n, c), np.int64)
    for model, sign in [*((k, 1) for k in range(m)), *((k, -1) for k in range(2 * back)), (0, 1), (3, 1)]:
        running._change(model, sign)
        total += sign * q[model]
        bounds.settle(source.views.seen, running._known, running._log, everything, 0, c)
        known = running._known
        for k, row in enumerate(total.tolist()):
            inside = known.classes[k].tolist()
            assert len({*inside}) == len(inside)
            assert all(known.low[k, j] <= row[y] <= known.high[k, j] for j, y in enumerate(inside))
            assert max(v for y, v in enumerate(row) if y not in inside) <= known.rest[k]


def compared(source, steps):
    """Follow the steps in both ways."""
    given_, rng = source
    full, certified, chosen = FullRunning(given_), CertifiedRunning(given_), []
    everybody, n = np.arange(len(given_.q)), len(given_.truth)
    for step in ["none", *steps]:
        if step == "add":
            chosen.append(int(rng.integers(len(given_.q))))
            full.add(chosen[-1])
            certified.add(chosen[-1])
        elif step == "remove" and chosen:
            member = chosen.pop(int(rng.integers(len(chosen))))
            full.remove(member)
            certified.remove(member)
        elif step == "copy":
            forgotten, certified = certified, certified.copy()
            forgotten.add(0)
        elif step == "total":
            assert np.array_equal(certified.total, full.total)
        assert np.array_equal(certified.right, full.right)
        weights = rng.integers(0, 3, n)
        some = rng.permutation(everybody)[: rng.integers(1, len(everybody) + 1)]
        assert np.array_equal(certified.leaders(some, weights), full.leaders(some, weights))
        assert np.array_equal(certified.hits_if_added(some, weights), full.hits_if_added(some, weights))
        for work in certified.work[-2:]:
            assert work["pruned"] + work["certified"] + work["open"] == work["pairs"] == len(some) * n
        assert certified.work[-2]["resolved"] <= certified.work[-1]["resolved"] == certified.work[-1]["open"]


@settings(max_examples=60, deadline=None)
@given(source=sources())
def test_no_verdict_is_a_guess(source):
    """Each pair by itself: what is decided is what the loops say, whatever lies below the views."""
    given_, rng = source
    total = rng.integers(0, 3, given_.q.shape[1:])
    given_ = Given(np.concatenate([given_.q, total[None].astype(np.uint32)]), given_.truth)
    running = CertifiedRunning(given_)
    running.add(len(given_.q) - 1)
    sets = [given_.truth.classes[a:b].tolist() for a, b in zip(*_ends(given_.truth), strict=True)]
    for m in range(len(given_.q)):
        for n in range(len(total)):
            weights = (np.arange(len(total)) == n).astype(np.int64)
            hits = running.hits_if_added(np.array([m]), weights)
            rows = [total[n].tolist()], [given_.q[m, n].tolist()], [sets[n]]
            assert hits.tolist() == [naive.hits_with(*rows)]


def _ends(truth):
    return truth.offsets[:-1], truth.offsets[1:]


def test_open_pairs_are_read_only_of_candidates_that_could_lead(rng):
    """A candidate that is right everywhere leads: nothing of the others is read."""
    truth = Truth.of("t", np.full(20, 3), 40)
    q = rng.integers(0, 10, (5, 20, 40)).astype(np.uint32)
    q[0, :, 20:28], q[0, :, 3] = 50, 55
    q[1:, :, 30:38], q[1:, :, 3] = 10, 0  # their views are of other classes than the sum's first
    q[[1, 3, 4], 0, 30], q[2, :, 3] = 1000, 2**31
    source = Given(q, truth)
    running = CertifiedRunning(source)
    running.add(0)
    assert running.leaders(np.arange(1, 5), np.ones(20, np.int64)).tolist() == [2]
    work = running.work[-1]
    assert work["open"] > 0
    assert work["resolved"] == 0


def test_what_no_candidate_can_change_is_left_behind(rng):
    """Examples on which the members agree by far are neither read nor added to."""
    truth = Truth.of("t", np.zeros(30, int), 12)
    q = rng.integers(0, 9, (4, 30, 12)).astype(np.uint32)
    q[:, :, 0] = 2**30
    running = CertifiedRunning(Given(q, truth))
    for _ in range(3):
        running.add(1)
    assert running.leaders(np.arange(4), np.ones(30, np.int64)).tolist() == [0, 1, 2, 3]
    assert running.work[-1] == {"pairs": 120, "pruned": 120, "certified": 0, "open": 0, "resolved": 0}
    assert not running._total.any()
    assert np.array_equal(running.total, 3 * q[1].astype(np.int64))


@pytest.mark.parametrize("n_classes", [2, 16, 17, 40])
def test_order_is_that_of_a_stable_sort(rng, n_classes):
    total = rng.integers(0, 5, (50, n_classes))
    known = known_module.Known.of_nobody(50, 50, n_classes)
    ranks = known.classes.shape[1]
    known.classes[:] = np.argsort(rng.random((50, n_classes)), axis=1)[:, :ranks]  # any that differ
    kernel.order_rows(total, np.arange(50), known, 7)
    order = np.argsort(-total, axis=1, kind="stable")[:, :ranks]
    assert np.array_equal(known.classes, order)
    assert np.array_equal(known.high, np.take_along_axis(total, order, axis=1))
    assert np.array_equal(known.low, known.high)
    assert np.array_equal(known.gap, known.high[:, 0] - known.high[:, 1])
    assert np.array_equal(known.first, total.argmax(axis=1))
    assert np.array_equal(known.first_low, total.max(axis=1))
    for n, row in enumerate(total.tolist()):
        others = [v for c, v in enumerate(row) if c not in order[n]]
        assert known.rest[n] == (known.high[n, -1] if others else known_module.NOTHING)
        assert max(others, default=known_module.NOTHING) <= known.rest[n]
    assert (known.done == 7).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT or not jit._BORROWING, reason="references are always counted")
def test_kernels_that_borrow_their_arrays_allocate_none():
    """What is not counted must not be made: numba refuses to compile it."""
    with pytest.raises(NumbaError, match="NRT required"):
        jit.borrowing_kernel(_copied)(np.zeros((2, 3)), np.ones(3))


def _copied(rows, row):
    rows[0] = row  # might overlap: numba makes a copy first


def test_references_are_neither_lost_nor_kept(rng):
    source = Given(rng.integers(0, 9, (4, 30, 12)).astype(np.uint32), Truth.of("t", np.zeros(30, int), 12))
    running, everybody, weights = CertifiedRunning(source), np.arange(4), np.ones(30, np.int64)

    def references():
        return [sys.getrefcount(array) for array in (*running._seen, *running._known, weights)]

    before = references()
    for model in range(4):
        running.leaders(everybody, weights)
        running._change(model, 1)
    assert references() == before
