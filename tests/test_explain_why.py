"""Why an ensemble gains: the ledger against loops and exact fractions, laws, sentences, bad input."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
import real_data
from dissensus import errors
from dissensus.ensemble.result import gain_interval
from dissensus.explain import ledger as ledgers
from dissensus.explain.choice import whole_weights
from dissensus.explain.ledger import accuracy_gain, ledger_of, mean_gain
from dissensus.explain.slices import Slices, compared
from dissensus.explain.words import conclusions
from dissensus.kernels.tails import mcnemar


def make_zoo(folder):
    """5 scored models and one with hard labels x 203 examples x 4 classes: groups, sets of labels, costs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 203)
    columns = {"group": ["ab"[i % 2] if i % 7 else None for i in range(203)], "id": list(range(203))}
    splits = np.where(np.arange(203) % 3 == 0, "fit", "report").tolist()
    store = ds.create(folder / "z.zoo", labels, classes=list("wxyz"), splits=splits, metadata=columns)
    store.add_labels("real", [[int(c), 0] if i % 5 else [] for i, c in enumerate(labels)])
    for i in range(5):
        z = 2.0 * np.eye(4)[labels] + rng.normal(size=(203, 4)) * (1 + i)
        store.add(f"model-{i}", logits=z, metadata={"gmacs": 1.0 + i, "size": "big"})
    store.add("hard", predictions=np.where(rng.random(203) < 0.3, labels, 0), metadata={"gmacs": 0.1})
    return store


SCORED = [f"model-{i}" for i in range(5)]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("why"))


@pytest.fixture
def own_zoo(tmp_path):
    """One that a test may change."""
    return make_zoo(tmp_path)


TIES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0 + 2**-10, -3.0, 40.0, -80000.0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=5))
def test_mcnemar_equals_fractions(pairs):
    gained, lost = np.array(pairs, np.int64).T
    expected = [naive.mcnemar(*pair) for pair in pairs]
    np.testing.assert_allclose(mcnemar(gained, lost), expected, rtol=1e-12)
    np.testing.assert_array_equal(mcnemar(gained, lost), mcnemar(lost, gained))


def test_mcnemar_of_many(rng):
    """Thousands of changes, where powers of a half underflow: against fractions again."""
    pairs = [(1200, 1000), (2000, 2001), (0, 3000), (900, 1300)]
    found = mcnemar(*np.array(pairs, np.int64).T)
    np.testing.assert_allclose(found, [naive.mcnemar(*pair) for pair in pairs], rtol=1e-9)


def make_store(folder, logits, labels, dtype="float16"):
    store = ds.create(
        folder / "z.zoo", labels, classes=[str(c) for c in range(logits[0].shape[1])], dtype=dtype
    )
    for i, z in enumerate(logits):
        store.add(f"m{i}", logits=z)
    return store


@settings(max_examples=15, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["float16", "float32"]), as_sets=st.booleans())
def test_ledger_equals_loops(tmp_path_factory, data, dtype, as_sets):
    """Right answers to the last bit, with and without each member; risks; the identity in exact fractions."""
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 5), (2, 4)))
    z = data.draw(st.lists(st.lists(TIES, min_size=n * c, max_size=n * c), min_size=m, max_size=m))
    one = st.sets(st.integers(0, c - 1), min_size=1).map(sorted) if as_sets else st.integers(0, c - 1)
    labels = data.draw(st.lists(one, min_size=n, max_size=n))
    weights = data.draw(st.lists(st.integers(0, 3), min_size=m, max_size=m).filter(any))
    t = data.draw(st.sampled_from([1.0, 0.3, 4.0]))
    store = make_store(tmp_path_factory.mktemp("w"), [np.array(r).reshape(n, c) for r in z], labels, dtype)
    ids = store.model_ids
    rows, temperatures = np.arange(n), dict.fromkeys(ids, t)
    found = ledger_of(store, ids, np.array(weights), rows, "probabilities", temperatures)
    stored = [store.logits(i).take(rows).astype(float).tolist() for i in ids]
    for k, label in enumerate(labels):
        q = [naive.fixed_point(naive.softmax(row[k], t)) for row in stored]
        p = [naive.truth_probability(row[k], label, t) for row in stored]
        alone = [[int(i == j) for j in range(m)] for i in range(m)]
        assert found.right[:, k].tolist() == [naive.judged(q, w, label) for w in [*alone, weights]]
        others = [naive.without(weights, i) for i in range(m)]
        assert found.without[:, k].tolist() == [naive.judged(q, w, label) for w in others]
        nll = [naive.mean_nll(p, w) for w in [*alone, weights, *others]]
        got = [*found.risks["nll"][:, k], *found.risks_without["nll"][:, k]]
        np.testing.assert_allclose(got, nll, rtol=1e-12, atol=1e-12)
        if store.truth.is_single:
            y = store.labels[k]
            brier = [naive.brier(q, w, y) for w in [*alone, weights, *others]]
            got = [*found.risks["brier"][:, k], *found.risks_without["brier"][:, k]]
            np.testing.assert_allclose(got, [float(b) for b in brier], rtol=1e-12, atol=1e-12)
            spread, whole = naive.brier_spread(q, weights), sum(weights)
            assert sum(w * b for w, b in zip(weights, brier[:m], strict=True)) / whole - spread == brier[m]
            assert found.spread[k] == pytest.approx(float(spread), rel=1e-12, abs=1e-15)
    assert ("brier" in found.risks) == store.truth.is_single
    for row in found.decomposition().to_pylist():
        assert row["member_risk"] - row["diversity"] == pytest.approx(row["ensemble_risk"], abs=1e-12)
        assert row["metric"] == "error" or row["diversity"] >= -1e-12


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_votes_equal_loops(tmp_path_factory, data):
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((1, 4), (1, 6), (2, 4)))
    row = st.lists(st.integers(0, c - 1), min_size=n, max_size=n)
    top1, labels = data.draw(st.lists(row, min_size=m, max_size=m)), data.draw(row)
    weights = data.draw(st.lists(st.integers(1, 3), min_size=m, max_size=m))
    store = ds.create(tmp_path_factory.mktemp("v") / "v.zoo", labels, classes=[str(k) for k in range(c)])
    for i, votes in enumerate(top1):
        store.add(f"m{i}", predictions=votes)
    found = ledger_of(store, store.model_ids, np.array(weights), np.arange(n), "votes", {})
    for k, label in enumerate(labels):
        q = [[2**31 * (votes[k] == cls) for cls in range(c)] for votes in top1]
        others = [naive.without(weights, i) for i in range(m)]
        assert found.without[:, k].tolist() == [naive.judged(q, w, label) for w in others]
        assert found.right[:, k].tolist() == [*(v[k] == label for v in top1), naive.judged(q, weights, label)]
    assert found.metrics == ["accuracy"]
    assert found.decomposition()["metric"].to_pylist() == ["error"]


def test_blocks_change_nothing(zoo, monkeypatch):
    ids, rows = SCORED, zoo.rows("report")
    for combine in ("probabilities", "votes"):
        arguments = (zoo, ids, np.array([1, 2, 0, 1, 1]), rows, combine, dict.fromkeys(ids, 1.3))
        whole = ledger_of(*arguments)
        monkeypatch.setattr(ledgers, "BLOCK_BYTES", 7 * 5 * 4 * 4)
        parts = ledger_of(*arguments)
        monkeypatch.undo()
        assert (whole.right == parts.right).all()
        assert (whole.without == parts.without).all()
        assert whole.decomposition().equals(parts.decomposition())
        assert whole.table(0.95).equals(parts.table(0.95))


def test_members_table_follows_from_the_examples(zoo):
    """Corrected minus spoiled is the value; only_right by loops; bounds enclose values."""
    ids, rows = SCORED, zoo.rows("report")
    found = ledger_of(zoo, ids, np.ones(5, np.int64), rows, "probabilities", dict.fromkeys(ids, 1.0))
    right = found.right[:-1].tolist()
    for m, row in enumerate(found.table(0.9).to_pylist()):
        alone = sum(right[m][k] and sum(r[k] for r in right) == 1 for k in range(len(rows)))
        assert row["only_right"] == alone
        assert (row["corrected"] - row["spoiled"]) / len(rows) == row["value_accuracy"]
        for metric in ("accuracy", "nll", "brier"):
            low, high = row[f"value_{metric}_low"], row[f"value_{metric}_high"]
            assert low < row[f"value_{metric}"] < high
        assert row["value_nll"] == pytest.approx(
            (found.risks_without["nll"][m] - found.risks["nll"][-1]).mean()
        )


def test_intervals_cover(rng):
    """Of repeated samples with a known gain, about the level is covered."""
    hits = {"accuracy": 0, "mean": 0}
    for _ in range(400):
        kinds = rng.choice(3, 200, p=[0.08, 0.05, 0.87])
        _, low, high = accuracy_gain(kinds == 0, kinds == 1, 0.9)
        hits["accuracy"] += low <= 0.03 <= high
        _, low, high = mean_gain(rng.exponential(1.0, 200), 0.9)
        hits["mean"] += low <= 1.0 <= high
    assert all(0.85 < hit / 400 < 0.95 for hit in hits.values())
    assert accuracy_gain(np.array([True]), np.array([True]), 0.9)[0] == 0
    assert np.isnan(mean_gain(np.array([1.0]), 0.9)[1:]).all()


@pytest.mark.parametrize(
    ("given_weights", "expected"),
    [([1, 1], [1, 1]), ([2, 2, 4], [1, 1, 2]), ([0.3, 0.7], [3, 7]), ([1 / 3, 2 / 3], [1, 2])],
)
def test_weights_become_the_counts_they_came_from(given_weights, expected):
    members = [str(i) for i in expected]
    assert whole_weights(given_weights, members).tolist() == expected
    fine = whole_weights([0.1234567891, 1 - 0.1234567891], ["a", "b"])
    assert fine / fine.sum() == pytest.approx([0.1234567891, 0.8765432109], abs=1e-9)
    with pytest.raises(errors.ArgumentError, match="one positive number for each of the 2 members"):
        whole_weights([1, 0], ["a", "b"])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc")), min_size=1, max_size=30),
)
def test_slices_equal_loops(examples):
    before, after, values = ([row[i] for row in examples] for i in range(3))
    codes = np.array(["abc".index(v) for v in values])
    slices = Slices("g", ["a", "b", "c"], np.arange(len(values)), codes)
    table = compared([slices], np.array(before), np.array(after)).to_pylist()
    expected = naive.changes(before, after, values)
    assert {row["value"] for row in table} == set(expected)
    p = [naive.mcnemar(*expected[row["value"]][3:]) for row in table]
    assert [row["p_value"] is None for row in table] == [x != x for x in p]
    q = naive.benjamini_hochberg(p)
    for row, q_value in zip(table, q, strict=True):
        n, old, new, gained, lost = expected[row["value"]]
        assert (row["n"], row["gained"], row["lost"]) == (n, gained, lost)
        assert row["accuracy_before"] == old / n
        assert row["accuracy_after"] == new / n
        assert row["difference"] == pytest.approx((new - old) / n)
        assert row["q_value"] == (None if q_value != q_value else pytest.approx(q_value))
    known = [row["p_value"] for row in table if row["p_value"] is not None]
    assert known == sorted(known)


@pytest.mark.parametrize("combine", ["probabilities", "votes"])
def test_why_agrees_with_the_ensemble(zoo, combine):
    """Report, single and interval are those of the result; record, JSON and members give the same."""
    best = ds.greedy(zoo, 4, combine=combine)
    why = best.why(zoo)
    row = why.against.to_pylist()[0]
    assert (row["metric"], row["model"], row["versus"]) == ("accuracy", best.single, "best single")
    assert row["ensemble"] == best.report["accuracy"]
    assert row["single"] == best.single_report["accuracy"]
    assert (row["gain"], row["low"], row["high"]) == (
        best.interval.gain,
        best.interval.low,
        best.interval.high,
    )
    ledger = {r["metric"]: r for r in why.ledger.to_pylist()}
    assert ledger["error"]["ensemble_risk"] == pytest.approx(1 - best.report["accuracy"])
    if combine == "probabilities":
        assert ledger["nll"]["ensemble_risk"] == pytest.approx(best.report["nll"], rel=1e-12)
        assert why.against.to_pylist()[1]["single"] == pytest.approx(best.single_report["nll"], rel=1e-12)
    assert dict(zip(*(why.members[n].to_pylist() for n in ("member", "weight")), strict=True)) == (
        pytest.approx(dict(zip(best.members, best.weights, strict=True)))
    )
    record = json.loads(json.dumps(best.to_dict()))
    assert ds.why(zoo, record).to_dict() == why.to_dict()
    listed = ds.why(zoo, best.members, weights=best.weights, combine=combine)
    assert listed.members.equals(why.members)
    assert json.loads(json.dumps(why.to_dict()))["conclusions"] == why.conclusions


def test_order_of_members_changes_only_the_order(zoo):
    one = ds.why(zoo, ["model-0", "model-2", "model-1"], weights=[2, 1, 3], by=["group"])
    other = ds.why(zoo, ["model-1", "model-0", "model-2"], weights=[3, 2, 1], by=["group"])
    assert other.slices.equals(one.slices)
    first, second = (sorted(w.members.to_pylist(), key=lambda r: r["member"]) for w in (one, other))
    for a, b in zip(first, second, strict=True):
        assert a == pytest.approx(b)


def test_a_copy_is_worth_nothing_and_adds_no_diversity(own_zoo):
    zoo = own_zoo
    zoo.add("copy", logits=zoo.logits("model-0")[:])
    why = ds.why(zoo, ["model-0", "copy"])
    assert why.ledger["diversity"].to_pylist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert why.members["corrected"].to_pylist() == [0, 0]
    assert why.members["value_nll"].to_pylist() == pytest.approx([0, 0], abs=1e-12)
    split = ds.why(zoo, ["model-0", "copy", "model-1"], by=["class"])
    whole = ds.why(zoo, ["model-0", "model-1"], weights=[2, 1], by=["class"])
    assert split.slices.equals(whole.slices)


def test_one_member_has_nothing_to_take_away(zoo):
    why = ds.why(zoo, ["model-0"])
    (row,) = why.members.to_pylist()
    assert row["corrected"] is row["value_accuracy"] is row["value_nll_low"] is None
    assert "It has one member, so there is nothing to take away." in why.conclusions
    assert "Use model-0 alone" in why.conclusions[0]


def test_slices_are_classes_and_groups(zoo):
    """By default what makes groups; each row by loops over the report split."""
    why = ds.why(zoo, ["model-0", "model-1", "model-2"])
    assert list(dict.fromkeys(why.slices["by"].to_pylist())) == ["class", "group"]
    rows = zoo.rows("report")
    group = zoo.facts()["group"].to_pylist()
    counts = naive.changes([0] * len(rows), [0] * len(rows), [group[k] for k in rows])
    found = {r["value"]: r["n"] for r in why.slices.to_pylist() if r["by"] == "group"}
    assert found == {value: n for value, (n, *_) in counts.items()}
    with pytest.raises(errors.UnknownName, match="did you mean group"):
        ds.why(zoo, ["model-0"], by=["groop"])
    sets = ds.why(zoo, ["model-0", "model-1"], labels="real", by=["class"])
    assert (
        sum(sets.slices["n"].to_pylist())
        == zoo.under("real").truth.sizes[zoo.under("real").rows("report")].sum()
    )
    assert sets.ledger["metric"].to_pylist() == ["error", "nll"]
    assert "'real' have several right classes" in sets.notes[0]


def test_the_single_model_of_equal_cost(own_zoo):
    """The strongest on the selection split of those that cost no more than all members together."""
    zoo = own_zoo
    why = ds.why(zoo, ["model-3", "model-4"])
    assert why.cost == {"name": "gmacs", "members": 9.0, "single": 1.0, "equal": "model-0"}
    assert set(why.against["versus"].to_pylist()) == {"best single"}
    assert why.members["gmacs"].to_pylist() == [4.0, 5.0]
    better = zoo.logits("model-0")[:] + np.eye(4)[zoo.labels]
    zoo.add("dear", logits=better, metadata={"gmacs": 50.0})
    why = ds.why(zoo, ["model-3", "model-4"])
    assert (why.single, why.cost["equal"], why.cost["single"]) == ("dear", "model-0", 50.0)
    assert set(why.against["versus"].to_pylist()) == {"best single", "equal cost"}
    assert any(
        "At no more than that cost the strongest single model is model-0" in s for s in why.conclusions
    )
    record = ds.greedy(zoo, 2).to_dict()
    assert ds.why(zoo, record | {"costs": {"name": "gmacs"}}).cost["name"] == "gmacs"
    with pytest.raises(errors.ArgumentError, match="cost='watts' is not recorded"):
        ds.why(zoo, record | {"costs": {"name": "watts"}})
    with pytest.raises(errors.ArgumentError, match="cost='size' is not recorded, as a positive number, for"):
        ds.why(zoo, ["model-3"], cost="size")


def test_same_split_is_marked(zoo):
    with pytest.raises(errors.ArgumentError, match="share 203 examples"):
        ds.why(zoo, ["model-0"], select="all", report="all")
    why = ds.why(zoo, ["model-0", "model-1"], select="all", report="all", allow_same_split=True)
    assert why.conclusions[-1].startswith("Caution: the ensemble was chosen on examples")
    assert why.splits["same_examples"]


def test_part_of_the_report(zoo):
    """An expression chooses of the report split: what members and singles do there, by hand."""
    why = ds.why(zoo, ["model-0", "model-1"], combine="votes", where="group == 'a'")
    rows = [k for k in zoo.rows("report") if zoo.facts()["group"][int(k)].as_py() == "a"]
    assert why.splits["report"] == {"name": "report", "n_examples": len(rows), "where": "group == 'a'"}
    right = zoo.correct(["model-0"])[0, rows]
    assert why.members["accuracy"][0].as_py() == right.mean()
    assert f"on {len(rows)} examples of split 'report' where group == 'a'" in str(why)
    best = ds.greedy(zoo, 2, combine="votes")
    assert best.why(zoo, where="group == 'a'").splits["report"]["n_examples"] == len(rows)
    with pytest.raises(errors.ArgumentError, match="chooses no example within split 'report'"):
        ds.why(zoo, ["model-0"], combine="votes", where="split == 'fit'")


@pytest.mark.parametrize("as_record", [False, True])
def test_an_ensemble_of_a_slice_is_explained_on_it(zoo, as_record):
    """The numbers are those it was reported with, and a part is a part of the slice."""
    best = ds.greedy(zoo, 3, where="group == 'a'")
    ensemble = json.loads(json.dumps(best.to_dict())) if as_record else best
    why = ds.why(zoo, ensemble)
    n = best.splits["report"]["n_examples"]
    assert why.splits["report"] == {"name": "report", "n_examples": n, "where": "group == 'a'"}
    assert why.splits["select"]["n_examples"] == best.splits["select"]["n_examples"]
    rows = {row["metric"]: row for row in why.against.to_pylist()}
    assert rows["accuracy"]["ensemble"] == best.report["accuracy"]
    assert rows["nll"]["single"] == pytest.approx(best.single_report["nll"], rel=1e-12)
    part = ds.why(zoo, ensemble, where="id < 100 or id > 180")
    assert part.splits["report"]["where"] == "(group == 'a') and (id < 100 or id > 180)"
    assert 0 < part.splits["report"]["n_examples"] < n


def sentences(
    gain=(0.01, 0.002, 0.018), values=((0.01, 0.004, 0.02), (0.0, -0.01, 0.01)), slices=(), equal=None
):
    """Conclusions from tables with these numbers."""
    against = {"versus": "best single", "model": "s", "metric": "accuracy", "ensemble": 0.8, "single": 0.79}
    members = [
        {"member": f"m{i}", "value_accuracy": v, "value_accuracy_low": low, "value_accuracy_high": high}
        for i, (v, low, high) in enumerate(values)
    ]
    ledger = {"metric": "error", "member_risk": 0.25, "diversity": 0.05, "ensemble_risk": 0.2}
    rows = [against | dict(zip(("gain", "low", "high"), gain, strict=True))]
    if equal:
        row = {"versus": "equal cost", "model": "e"} | dict(zip(("gain", "low", "high"), equal, strict=True))
        rows.append(against | row)
    empty = pa.table({name: pa.array([], pa.string()) for name in ("by", "value", "q_value")})
    return conclusions(
        ledger=pa.Table.from_pylist([ledger]),
        against=pa.Table.from_pylist(rows),
        members=pa.Table.from_pylist(members),
        slices=pa.Table.from_pylist(list(slices)) if slices else empty,
        combine="votes",
        splits={"report": {"name": "report", "n_examples": 1000}, "same_examples": False},
        single="s",
        cost={"name": "gmacs", "members": 6.0, "single": 2.0, "equal": "e"} if equal else {},
        level=0.95,
    )


def test_sentences_say_no_more_than_the_intervals():
    """Gain, loss, neither, nothing at all; members that matter, do not, or harm."""
    assert sentences()[0] == (
        "Use the ensemble: on 1,000 examples of split 'report' it gains +1.00 points of accuracy "
        "[+0.20, +1.80] at 95%, over the best single model s."
    )
    assert sentences((-0.01, -0.02, -0.001))[0].startswith("Use s alone: on 1,000 examples")
    assert "which includes 0. Use the single model" in sentences((0.01, -0.001, 0.02))[0]
    assert sentences((0.0, 0.0, 0.0))[0].endswith("the ensemble is right exactly where it is.")
    said = " ".join(sentences())
    assert "their differences take off 0.0500 (20%), which leaves 0.2000." in said
    assert "It would lose accuracy without m0 (1.00) (points lost in brackets; at 95% for all members" in said
    assert "Of 2 members, 1 could be left out without a clear change." in said
    idle = " ".join(sentences(values=((0.0, -0.1, 0.1), (-0.02, -0.03, -0.01))))
    assert "No member alone can be shown to matter" in idle
    assert "It would be better without m1 (2.00)" in idle
    dear = sentences(equal=(-0.02, -0.03, -0.01))
    assert dear[0] == (
        "Use e alone: on 1,000 examples of split 'report' it is more accurate than the ensemble, by "
        "2.00 points [+1.00, +3.00] at 95%, and costs no more."
    )
    assert "It costs 6 gmacs, 3.0 times s." in dear
    assert "the ensemble is not clearly more or less accurate" in sentences(equal=(0.0, -0.01, 0.01))[-1]
    one = {"by": "class", "n": 50, "q_value": 0.01}
    rows = [
        one | {"value": "a", "gained": 9, "lost": 1},
        one | {"value": None, "gained": 0, "lost": 7},
        one | {"value": "c", "gained": 9, "lost": 8, "q_value": 0.8},
    ]
    said = sentences(slices=rows)
    assert "Of 3 slices by class, 1 gains beyond chance: a (+8 of 50)." in said
    assert "Of 3 slices by class, 1 loses beyond chance: (no value) (-7 of 50)." in said
    assert sentences(slices=rows[2:] * 2)[-1] == (
        "Of 2 slices by class, none gains or loses beyond chance (q <= 0.05)."
    )
    assert "slices by" not in " ".join(sentences(slices=rows[2:]))  # it is all examples


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ([], {}, errors.ArgumentError, "members is empty"),
        (["model-9"], {}, errors.UnknownName, "unknown model 'model-9'; did you mean"),
        (["model-0", "model-0"], {}, errors.ArgumentError, "more than once"),
        (["model-0"], {"weights": [1, 2]}, errors.ArgumentError, "one positive number for each of the 1"),
        (["model-0"], {"weights": [float("nan")]}, errors.ArgumentError, "one positive number"),
        (["model-0"], {"combine": "stacking"}, errors.ArgumentError, "combine must be one of probabilities"),
        (["model-0"], {"combine": "votes", "calibrate": True}, errors.ArgumentError, "changes no vote"),
        (["hard"], {}, errors.LabelsOnly, "members hard .1. have hard labels only"),
        (["model-0"], {"report": "test"}, errors.UnknownName, "unknown split 'test'"),
        (["model-0"], {"by": "class"}, errors.ArgumentError, "by must be a list"),
        (["model-0"], {"labels": "reel"}, errors.UnknownName, "did you mean real"),
        ({"members": ["model-0"]}, {}, errors.ArgumentError, "lacks weights, combine, labels"),
        ("record", {"weights": [1]}, errors.ArgumentError, "weights cannot be given with an ensemble"),
        ("folds", {}, errors.ArgumentError, "cross-fitted has no split that it is reported on"),
        ("damaged", {}, errors.ArgumentError, "must have splits with the names of select and report"),
        ("endless", {}, errors.ArgumentError, "positive temperatures"),
        ("costs", {}, errors.ArgumentError, "costs by name"),
        ("search", {}, errors.ArgumentError, "unchanged"),
        ("weighted", {}, errors.ArgumentError, "chosen with example_weights is judged by them"),
        ("weights", {}, errors.ArgumentError, "one positive number for each of the"),
        ("no temperature", {}, errors.ArgumentError, "has no temperature for"),
    ],
)
def test_bad_input(zoo, arguments, options, error, message):
    if isinstance(arguments, str):
        record = ds.greedy(zoo, 2, candidates=["model-0", "model-1"]).to_dict()
        changed = {
            "no temperature": {"temperatures": {}},
            "folds": {"splits": record["splits"] | {"folds": 5}},
            "damaged": {"splits": {"select": "fit"}},
            "endless": {"temperatures": dict.fromkeys(record["members"], float("inf"))},
            "costs": {"costs": "gmacs"},
            "search": {"search": {"where": 3}},
            "weighted": {"search": {"example_weights": "given"}},
            "weights": {"weights": ["half"] * len(record["members"])},
        }
        arguments = record | changed.get(arguments, {})
    with pytest.raises(error, match=message):
        ds.why(zoo, arguments, **options)


def test_calibration_of_models_that_are_only_compared(zoo):
    """The best single model is judged at its own temperature, as greedy judges it."""
    best = ds.greedy(zoo, 2, candidates=["model-2", "model-3"])
    listed = ds.why(zoo, best.members, weights=best.weights)
    row = next(r for r in listed.against.to_pylist() if r["metric"] == "nll")
    alone = ds.greedy(zoo, 1, candidates=["model-0"])
    assert (row["model"], row["single"]) == ("model-0", pytest.approx(alone.report["nll"], rel=1e-12))
    plain = ds.why(zoo, best.members, weights=best.weights, calibrate=False)
    raw = ds.greedy(zoo, 1, candidates=["model-0"], calibrate=False)
    assert plain.against.to_pylist()[1]["single"] == pytest.approx(raw.report["nll"], rel=1e-12)


def test_four_frameworks_by_vote(tmp_path):
    """Real predictions: the gain over ViT, recomputed by NumPy alone."""
    ids, predictions, labels = real_data.imagenet()
    y = np.array([labels[i] for i in ids])
    store = ds.create(tmp_path / "i.zoo", y, example_ids=ids)
    top1 = {m: np.array([p[i] for i in ids]) for m, p in predictions.items()}
    for model_id, row in top1.items():
        store.add(model_id, predictions=row)
    members = ["ResNet50", "DINO", "ViT"]
    why = ds.why(store, members, combine="votes")
    rows = store.rows("report")
    a, b, c = (top1[m][rows] for m in members)
    low = np.minimum(np.minimum(a, b), c)
    vote = np.where(a == b, a, np.where((a == c) | (b == c), c, low))
    right, single = vote == y[rows], top1["ViT"][rows] == y[rows]
    (row,) = why.against.to_pylist()
    assert row["ensemble"] == right.mean()
    assert row["single"] == single.mean()
    expected = gain_interval("accuracy", "ViT", right.astype(float), single.astype(float))
    assert (row["low"], row["high"]) == (expected.low, expected.high)
    assert why.conclusions[0].startswith("Use the ensemble: on 25,000 examples")
    assert sum(r["gained"] for r in why.slices.to_pylist()) == (right & ~single).sum()


def test_columns_that_divide_the_examples_alike_are_shown_once(own_zoo):
    """One that repeats the class, and two of one partition, of which the readable one stays; all if asked."""
    kinds = [i % 3 for i in range(203)]
    own_zoo.add_columns(
        {
            "wnid": [f"n{k:08d}" for k in kinds],
            "kind_name": [("cat", "dog", "fox")[k] for k in kinds],
            "number": [f"class {c}" for c in own_zoo.labels],
        }
    )
    shown = ds.why(own_zoo, SCORED[:2]).slices["by"].to_pylist()
    assert list(dict.fromkeys(shown)) == ["class", "group", "kind_name"]
    asked = ds.why(own_zoo, SCORED[:2], by=["wnid", "kind_name", "number"]).slices["by"].to_pylist()
    assert list(dict.fromkeys(asked)) == ["wnid", "kind_name", "number"]


def test_members_are_named_by_intervals_for_all_of_them_together():
    """Alone each would stand out; of 20 that bring nothing one does so by chance."""
    values = (0.01, 0.001, 0.019)
    assert "It would lose accuracy without m0 (1.00)" in str(sentences(values=((0.01, 0.004, 0.016),) * 2))
    assert "No member alone can be shown to matter" in str(sentences(values=(values,) * 20))
