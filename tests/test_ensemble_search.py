"""Caruana's switches and beam search against the loops, and laws of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus import errors
from dissensus.ensemble.bags import subsets
from dissensus.ensemble.limits import Limits
from dissensus.ensemble.members import MemberScores
from dissensus.ensemble.path import Steps, best_length, forward
from dissensus.ensemble.prune import pruned
from dissensus.ensemble.selection import Selection

ON_ALL = {"select": "all", "report": "all", "allow_same_split": True, "calibrate": False}
KEYS = {"accuracy": lambda s: (-s[0], s[1]), "nll": lambda s: (s[1], 0)}
VALUES = st.sampled_from([0.0, 0.0, 0.5, 1.0, -3.0, 40.0])


class Loops:
    """The loops' scores of a drawn zoo, and the zoo as a store."""

    def __init__(self, data, folder, most_models=5):
        m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, most_models), (1, 6), (2, 3)))
        flat = data.draw(st.lists(VALUES, min_size=m * n * c, max_size=m * n * c))
        self.labels = data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
        logits = np.array(flat).reshape(m, n, c)
        self.store = ds.create(folder / "z.zoo", self.labels, classes=[str(k) for k in range(c)])
        self.costs = data.draw(st.lists(st.integers(1, 4), min_size=m, max_size=m))
        for i, z in enumerate(logits):
            self.store.add(f"m{i}", logits=z, metadata={"gmacs": self.costs[i] / 4})
        self.models = list(range(m))
        z = [self.store.logits(f"m{i}").take(np.arange(n)).astype(float).tolist() for i in self.models]
        p = [[naive.softmax(row) for row in rows] for rows in z]
        self.q = [[naive.fixed_point(row) for row in rows] for rows in p]
        self.p = [[row[y] for row, y in zip(rows, self.labels, strict=True)] for rows in p]

    def score(self, members):
        return naive.ensemble_scores(self.q, self.p, self.labels, members)

    def losses(self, members, metric):
        return [KEYS[metric](self.score(members[: k + 1]))[0] for k in range(len(members))]

    def ids(self, members):
        return [f"m{i}" for i in members]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory


@settings(max_examples=15, deadline=None)
@given(data=st.data(), metric=st.sampled_from(["accuracy", "nll"]), replacement=st.booleans())
def test_a_search_equals_the_loops(folder, data, metric, replacement):
    """Beams, given members, sorted starts and limits on members and cost, in any combination."""
    zoo = Loops(data, folder.mktemp("s"))
    m = len(zoo.models)
    size = data.draw(st.integers(1, 5 if replacement else m))
    first = data.draw(st.lists(st.sampled_from(zoo.models), max_size=min(size, 2), unique=True))
    n_sorted = 0 if first else data.draw(st.integers(0, min(size, m)))
    beam = data.draw(st.integers(1, 3))
    most = data.draw(st.none() | st.integers(max(1, len(first)), 3))
    dearest = data.draw(st.none() | st.integers(max([1, sum(zoo.costs[i] for i in first)]), 12))

    def allowed(members):
        few = most is None or len(members) <= most
        return few and (dearest is None or sum(zoo.costs[i] for i in members) <= dearest)

    switches = {"beam": beam, "sorted_start": n_sorted, "max_members": most, "cost": "gmacs"}
    if dearest is not None:
        switches["max_cost"] = dearest / 4
    options = {"start": zoo.ids(first), "replacement": replacement, **ON_ALL, **switches}
    expected = naive.search(
        zoo.score, zoo.models, size, KEYS[metric], first=first, sorted_start=n_sorted, beam=beam,
        replacement=replacement, allowed=allowed,
    )  # fmt: skip
    if not expected:
        with pytest.raises(errors.ArgumentError, match="max_cost=.* the cheapest, m"):
            ds.greedy(zoo.store, size, metric, **options)
        return
    best = ds.greedy(zoo.store, size, metric, **options)
    assert best.curve["member"].to_pylist() == zoo.ids(expected)
    assert best.stopped == ("size" if len(expected) == size else "candidates")
    costs = [sum(zoo.costs[i] for i in {*expected[: k + 1]}) / 4 for k in range(len(expected))]
    assert best.curve["cost"].to_pylist() == costs
    front = naive.pareto(list(zip(costs, zoo.losses(expected, metric), strict=True)))
    assert best.pareto["step"].to_pylist() == [k + 1 for k in front]


@settings(max_examples=12, deadline=None)
@given(data=st.data(), metric=st.sampled_from(["accuracy", "nll"]))
def test_what_is_taken_back_equals_the_loops(folder, data, metric):
    """Best prefix, patience, must-haves and pruning, one after another."""
    zoo = Loops(data, folder.mktemp("t"))
    size = data.draw(st.integers(1, 6))
    include = data.draw(st.lists(st.sampled_from(zoo.models), max_size=min(size, 2), unique=True))
    patience, prune = data.draw(st.none() | st.integers(1, 3)), data.draw(st.booleans())
    best = ds.greedy(
        zoo.store, size, metric, include=zoo.ids(include), patience=patience, prune=prune, best_prefix=True,
        **ON_ALL,
    )  # fmt: skip
    path = naive.search(zoo.score, zoo.models, size, KEYS[metric], first=include)
    losses = zoo.losses(path, metric)
    done = size if patience is None else naive.stop_of(losses, len(include), patience)
    kept = path[: naive.best_prefix(losses[:done], max(1, len(include)))]
    left, dropped = kept, []
    if prune:
        left, dropped = naive.prune(lambda some: KEYS[metric](zoo.score(some))[0], kept, include)
    assert best.curve["member"].to_pylist() == zoo.ids(path[:done])
    assert (best.length, best.dropped) == (len(kept), zoo.ids(dropped))
    assert best.stopped == ("patience" if patience and done - max(
        naive.best_prefix(losses[:done]), len(include)) >= patience else "size")  # fmt: skip
    assert best.members == zoo.ids(dict.fromkeys(left))
    assert best.weights == [left.count(m) / len(left) for m in dict.fromkeys(left)]
    hits, nll = zoo.score(left)
    assert best.fit["accuracy"] == best.report["accuracy"] == hits / len(zoo.labels)
    assert best.fit["nll"] == pytest.approx(nll / 2**32 / len(zoo.labels), abs=1e-9)


@settings(max_examples=6, deadline=None)
@given(data=st.data(), metric=st.sampled_from(["accuracy", "nll"]), best_prefix=st.booleans())
def test_bags_equal_searches_in_the_subsets_drawn(folder, data, metric, best_prefix):
    zoo = Loops(data, folder.mktemp("b"))
    size, bags, fraction = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4)), 0.6
    best = ds.greedy(
        zoo.store, size, metric, bags=bags, bag_fraction=fraction, seed=3, best_prefix=best_prefix, **ON_ALL
    )
    members, bag_of, seen = [], [], []
    for k, subset in enumerate(subsets(np.array(zoo.models), bags, fraction, 3)):
        path = naive.search(zoo.score, subset.tolist(), size, KEYS[metric])
        kept = path[: naive.best_prefix(zoo.losses(path, metric))] if best_prefix else path
        members += kept
        bag_of += [k + 1] * len(kept)
        seen.append((set(subset.tolist()), set(kept)))
    assert best.curve["member"].to_pylist() == zoo.ids(members)
    assert best.curve["bag"].to_pylist() == bag_of
    assert dict(zip(best.members, best.weights, strict=True)) == {
        f"m{m}": members.count(m) / len(members) for m in dict.fromkeys(members)
    }
    assert best.fit["accuracy"] == zoo.score(members)[0] / len(zoo.labels)
    for row in [] if best.stability is None else best.stability.to_pylist():
        m = int(row["model"][1:])
        assert row["chosen"] == sum(m in kept for _, kept in seen)
        assert row["available"] == sum(m in subset for subset, _ in seen)


def test_subsets_are_seeded_ascending_and_of_their_size():
    drawn = subsets(np.arange(10), 4, 0.34, 7)
    assert [len(s) for s in drawn] == [3] * 4
    assert all((np.diff(s) > 0).all() for s in drawn)
    assert np.array_equal(drawn, subsets(np.arange(10), 4, 0.34, 7))
    assert not np.array_equal(drawn, subsets(np.arange(10), 4, 0.34, 8))
    assert len(subsets(np.arange(3), 1, 0.01, 0)[0]) == 1


def test_a_beam_finds_what_greedy_misses(tmp_path):
    """Greedy takes the best single, a little sure of all; the other two together are better."""
    sure = np.array([[0.6, 0.6], [0.99, 0.2], [0.2, 0.99]])
    store = ds.create(tmp_path / "b.zoo", [0, 0], classes=["a", "b"])
    for i, p in enumerate(sure):
        store.add(f"m{i}", probabilities=np.stack([p, 1 - p], axis=1))
    greedy = ds.greedy(store, 2, "nll", replacement=False, **ON_ALL)
    beam = ds.greedy(store, 2, "nll", replacement=False, beam=3, **ON_ALL)
    assert greedy.members == ["m0", "m1"]
    assert beam.members == ["m1", "m2"]
    assert beam.fit["nll"] == pytest.approx(-np.log(0.595), abs=1e-3)


def test_a_beam_of_one_is_greedy_and_wider_ones_are_no_worse_at_two(small_zoo):
    plain = ds.greedy(small_zoo, 5, "nll")
    assert ds.greedy(small_zoo, 5, "nll", beam=1).curve.equals(plain.curve)
    wide = ds.greedy(small_zoo, 2, "nll", beam=25, calibrate=False)
    ids, options = small_zoo.model_ids, {"calibrate": False}
    pairs = [ds.greedy(small_zoo, 2, "nll", start=[a, b], **options) for a in ids for b in ids if a <= b]
    assert wide.fit["nll"] == min(pair.fit["nll"] for pair in pairs)


def test_votes_take_back_members_that_lower_accuracy(small_zoo):
    """And say why they are fewer than asked for."""
    best = ds.greedy(small_zoo, 10, combine="votes")
    on_fit = best.curve["fit_accuracy"].to_pylist()
    assert best.stopped == "candidates"
    assert best.curve.num_rows == 5
    assert best.length == on_fit.index(max(on_fit)) + 1 == len(best.members)
    assert best.fit["accuracy"] == max(on_fit)
    assert ds.greedy(small_zoo, 10, combine="votes", best_prefix=False).length == 5


def test_excluded_models_are_neither_candidates_nor_reported_as_left_out(small_zoo):
    small_zoo.add("hard", predictions=small_zoo.labels)
    out = ["model-1", "hard"]
    best = ds.greedy(small_zoo, 4, exclude=out)
    others = [m for m in small_zoo.model_ids if m not in out]
    assert best.curve.equals(ds.greedy(small_zoo, 4, candidates=others).curve)
    assert best.left_out == []


def test_must_haves_stay_whatever_they_do(small_zoo):
    noise = np.random.default_rng(5).normal(size=(203, 4))
    small_zoo.add("noise", logits=noise * 9)
    options = {"size": 6, "prune": True, "best_prefix": True, "calibrate": False}
    assert ds.greedy(small_zoo, include=["noise"], **options).members[0] == "noise"
    assert "noise" not in ds.greedy(small_zoo, start=["noise"], **options).members


def test_options_that_differ_from_the_defaults_are_recorded(small_zoo):
    best = ds.greedy(small_zoo, 2, beam=2, bags=None, patience=3)
    assert best.search == {"beam": 2, "patience": 3}
    assert best.to_dict()["search"] == {"beam": 2, "patience": 3}


@pytest.mark.parametrize(
    ("switches", "steps"),
    [({}, [1, 2, 3, 4]), ({"include": ["model-1", "model-2"]}, [3, 4]), ({"sorted_start": 2}, [1, 2, 3, 4])],
)
def test_work_is_told_of_the_step_that_it_was_done_for(small_zoo, switches, steps):
    work = ds.greedy(small_zoo, 4, **switches).work
    assert work["step"].to_pylist() == steps
    assert work["pairs"][-1].as_py() == max(work["pairs"].to_pylist())  # all candidates


BAD = [
    ({"replacement": "no"}, "replacement must be True, False or None, got 'no'"),
    ({"calibrate": "no"}, "calibrate must be True, False or None, got 'no'"),
    ({"beam": 0}, "beam must be a whole number, at least 1; got 0"),
    ({"beam": True}, "beam must be a whole number, at least 1; got True"),
    ({"patience": 0}, "patience must be a whole number, at least 1"),
    ({"bags": 1.5}, "bags must be a whole number, at least 1; got 1.5"),
    ({"bags": 2, "bag_fraction": 0}, "bag_fraction must be a number above 0, at most 1; got 0"),
    ({"bag_fraction": float("nan")}, "bag_fraction must be .* got nan"),
    ({"folds": 1}, "folds must be a whole number, at least 2"),
    ({"folds": 999}, "folds=999 need as many examples; select='all' has 203"),
    ({"folds": 2, "report": "report"}, "folds=2 report on every fold in turn: leave out report='report'"),
    ({"max_cost": 3}, "max_cost needs cost"),
    ({"cost": "gmacs"}, "cost='gmacs' is not recorded of model-0, .* recorded of all: nothing"),
    ({"cost": 3}, "cost must be the name of a recorded number"),
    ({"max_cost": -1, "cost": "gmacs"}, "max_cost must be a number above 0; got -1"),
    ({"max_cost": "3", "cost": "gmacs"}, "max_cost must be a number above 0; got '3'"),
    ({"prune": 1}, "prune must be True or False, got 1"),
    ({"best_prefix": "no"}, "best_prefix must be True or False"),
    ({"best_prefix": False, "patience": 2}, "patience ends with the best .* contradicts"),
    ({"bags": 3, "max_members": 2}, "bags contradict max_members"),
    ({"weights": "best"}, "weights must be 'counts' or 'optimal', got 'best'"),
    ({"weights": "optimal"}, "weights='optimal' needs a loss that is convex.* got metric='accuracy'"),
    ({"weights": "optimal", "combine": "votes"}, "weights='optimal' needs combine='probabilities'"),
    ({"weights": "optimal", "metric": "nll", "include": ["model-1"]}, "may give a must-have no weight"),
    ({"include": "model-1"}, r"include must be a list of model ids, got 'model-1'; pass \['model-1'\]"),
    ({"include": ["model-1", "model-1"]}, "include names model-1 more than once"),
    ({"include": ["model-1"], "exclude": ["model-1"]}, "include and exclude both name model-1"),
    ({"start": ["model-1"], "exclude": ["model-1"]}, "start names model-1, which exclude forbids"),
    ({"exclude": [f"model-{i}" for i in range(5)]}, "exclude leaves no candidates"),
    ({"start": ["model-1"], "sorted_start": 2}, "start and sorted_start are two beginnings"),
    ({"sorted_start": 6}, "sorted_start=6 members do not go into size=10 with 0 given ones, of 5"),
    ({"size": 2, "sorted_start": 3}, "sorted_start=3 members do not go into size=2"),
    ({"include": ["model-1", "model-2"], "max_members": 1}, "2 distinct.* break the limits"),
    ({"include": ["model-1", "model-2"], "size": 1}, "include names 2 members, more than size=1"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_input(small_zoo, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        ds.greedy(small_zoo, **options)


def test_unknown_options_and_models(small_zoo):
    with pytest.raises(TypeError, match="unexpected keyword argument 'bag'; did you mean 'bags'"):
        ds.greedy(small_zoo, bag=2)
    for argument in ("include", "exclude"):
        with pytest.raises(errors.UnknownName, match="unknown model 'model-9'; did you mean"):
            ds.greedy(small_zoo, **{argument: ["model-9"]})


def test_costs_are_any_recorded_number(tmp_path, rng):
    labels = rng.integers(0, 3, 60)
    store = ds.create(tmp_path / "c.zoo", labels, classes=list("abc"))
    facts = [{"gmacs": 4.0, "examples_per_s": 10.0}, {"gmacs": 0, "examples_per_s": 20.0}, {"gmacs": 1.5}]
    for i, fact in enumerate(facts):
        store.add(f"m{i}", logits=np.eye(3)[labels] + rng.normal(size=(60, 3)), metadata=fact)
    best = ds.greedy(store, 3, cost="gmacs", replacement=False)
    assert best.costs.total == 5.5
    assert best.costs.members == {f"m{i}": float(fact["gmacs"]) for i, fact in enumerate(facts)}
    assert ds.greedy(store, 3, cost="seconds", exclude=["m2"]).costs.members["m1"] == 1 / 20
    with pytest.raises(
        errors.ArgumentError, match=r"'seconds' is not recorded of m2 \(1 of 3\).*all: gmacs;"
    ):
        ds.greedy(store, 3, cost="seconds")
    with pytest.raises(errors.ArgumentError, match="max_cost=1 is less .* the cheapest, m2, has 1.5"):
        ds.greedy(store, 3, cost="gmacs", max_cost=1, exclude=["m1"])


def test_limits_within_rounding():
    limits = Limits(np.arange(2), True, None, np.array([0.1, 0.2]), 0.3)
    assert limits.after([0]).tolist() == [0, 1]
    assert limits.allows([0, 1])


def test_a_beam_too_large_for_memory_is_refused(small_zoo, monkeypatch):
    from dissensus.ensemble import path

    monkeypatch.setattr(path, "available_bytes", lambda: 8 * 2 * 102 * 4 - 1)
    with pytest.raises(errors.ArgumentError, match="beam=2 needs .* GiB .* available: lower beam"):
        ds.greedy(small_zoo, 2, beam=2)
    assert ds.greedy(small_zoo, 2, beam=1).members


def test_progress_counts_every_step(small_zoo):
    """Nothing is left to a search that may drop nothing."""
    ids, done = small_zoo.model_ids, []
    empty = Selection(MemberScores(small_zoo, ids, np.arange(203), dict.fromkeys(ids, 1.0)))
    state, why = forward(empty, Steps(4, "nll"), Limits(np.arange(5), False), lambda: done.append(1))
    assert (len(done), why, empty.chosen) == (4, "size", [])
    assert best_length(state.history["nll"]) <= 4
    left, dropped = pruned(state, "nll", kept=set(state.chosen))
    assert (left.chosen, dropped) == (state.chosen, [])
