"""Ensembles of all pairs: equal to loops to the last bit and to full rows, identities, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, LabelsOnly, UnknownName
from dissensus.pairs import MEASURES, pair_views
from dissensus.pairs import pair_hits as ours
from dissensus_cli.main import cli
from test_ensemble import TIES, make_store

NAMES = ["pair_accuracy", "improvement", "conversion_rate"]


def counted(store, labels=None, certify=True, temperatures=None, rows=None):
    """Counts of all pairs, and how they were decided."""
    store = store.under(labels)
    models = [store.model(m) for m in store.model_ids]
    correct = store.truth.correct(store.top1_of(models))
    rows = store.rows("all") if rows is None else rows
    fitted = temperatures or dict.fromkeys(store.model_ids, 1.0)
    return ours.pair_hits(store, models, rows, fitted, correct, certify=certify)


def columns(patch, most, tried=32):
    """So many classes that an example shares at most on average, learnt from the pairs of so many models."""
    patch.setattr(pair_views, "COLUMNS", most)
    patch.setattr(pair_views, "TRIED", tried)


def loops(name, store, labels=None, temperatures=None, rows=None):
    """The oracle's matrix from what is stored."""
    truth = store.under(labels).truth
    rows = store.under(labels).rows("all") if rows is None else rows
    right = [truth.classes[truth.offsets[n] : truth.offsets[n + 1]].tolist() for n in rows]
    z = [store.logits(m).take(rows).astype(float).tolist() for m in store.model_ids]
    t = [1.0 if temperatures is None else temperatures[m] for m in store.model_ids]
    measure, m = getattr(naive, name), range(len(z))
    return np.array([[measure(z[i], z[j], right, temperatures=(t[i], t[j])) for j in m] for i in m])


@pytest.fixture
def real_like(tmp_path, rng):
    """Thirty classes, views of eight: unsure models, a copy, a constant one, one always right."""
    labels = rng.integers(0, 30, 150)
    logits = [np.eye(30)[labels] * 2.5 + rng.normal(size=(150, 30)) * s for s in (0.7, 1, 1.3, 1.6, 2)]
    logits += [logits[1], np.zeros((150, 30)), np.eye(30)[labels] * 20]
    store = make_store(tmp_path, logits, labels)
    sets = [
        [] if n % 17 == 3 else sorted({int(y), *rng.integers(0, 30, n % 4).tolist()})
        for n, y in enumerate(labels)
    ]
    store.add_labels("sets", sets)
    store.add_labels("wide", [list(range(12)) if y < 12 else [int(y)] for y in labels])
    return store


@settings(max_examples=50, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["float16", "float32"]))
def test_equal_to_loops_and_to_full_rows(tmp_path_factory, data, dtype):
    """Ties, near-ties, copies, two classes, as many as a view holds and more, sets of right classes."""
    m, n, c = (data.draw(st.integers(*bounds)) for bounds in ((2, 4), (1, 6), (2, 11)))
    z = data.draw(st.lists(st.lists(TIES, min_size=n * c, max_size=n * c), min_size=m, max_size=m))
    logits = [np.array(row).reshape(n, c) for row in z]
    if data.draw(st.booleans()):
        logits.append(logits[0].copy())
    labels = data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    store = make_store(tmp_path_factory.mktemp("p"), logits, labels, dtype)
    right = st.lists(st.integers(0, c - 1), min_size=1, max_size=c)
    store.add_labels("sets", data.draw(st.lists(right, min_size=n, max_size=n)))
    temperatures = data.draw(st.sampled_from([1.0, 1e-3, 1e3, 1.7]))
    known = data.draw(st.sampled_from([(0, 32), (1, 1), (2, 32), (32, 32)]))
    fitted = {m: temperatures * (1 + i / 8) for i, m in enumerate(store.model_ids)}
    for name in (None, "sets"):
        with pytest.MonkeyPatch.context() as patch:
            columns(patch, *known)
            fast, work = counted(store, name, temperatures=fitted)
        slow, _ = counted(store, name, certify=False, temperatures=fitted)
        for statistic in fast:
            assert fast[statistic].tolist() == slow[statistic].tolist()
        assert work.margins + work.views + work.rows == n * len(logits) * (len(logits) + 1) // 2
        hits = loops("pair_accuracy", store, name, fitted) * n
        assert fast["pair_right"].tolist() == hits.round().astype(int).tolist()


@pytest.mark.parametrize("labels", [None, "sets", "wide"])
@pytest.mark.parametrize("name", NAMES)
def test_measures_equal_loops(real_like, name, labels):
    found = ds.pairwise(real_like, name, labels=labels)[name]
    np.testing.assert_array_equal(found, loops(name, real_like, labels))


@pytest.mark.parametrize("labels", [None, "sets", "wide"])
def test_views_decide_most_and_rows_the_rest(real_like, monkeypatch, labels):
    slow, brute = counted(real_like, labels, certify=False)
    assert brute.margins == brute.views == brute.columns == 0
    left = []
    for known in ((0,), (2,), (32, 1), (32,)):  # ever fewer pairs are left for rows
        columns(monkeypatch, *known)
        fast, work = counted(real_like, labels)
        assert work.margins > work.views > work.rows
        assert work.total == brute.rows
        assert (work.columns > 0) == (known[0] > 0)
        assert work.columns <= known[0] * 150
        left.append(work.rows)
        for name in fast:
            np.testing.assert_array_equal(fast[name], slow[name])
    assert left[0] == max(left)
    assert left[3] == min(left) < left[0] < 0.25 * work.total
    for name in fast:
        np.testing.assert_array_equal(fast[name], slow[name])
        np.testing.assert_array_equal(fast[name], fast[name].T)


@pytest.mark.parametrize(("tile", "budget"), [(1, 1), (3, 150_000), (4, 10_000_000)])
def test_tiles_and_memory_change_nothing(real_like, monkeypatch, tile, budget):
    expected, work = counted(real_like)
    monkeypatch.setattr(ours, "TILE", tile)
    monkeypatch.setattr(ours, "BUDGET_BYTES", budget)
    found, again = counted(real_like)
    assert again == work
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_threads_change_nothing(real_like, monkeypatch):
    expected, _ = counted(real_like)
    monkeypatch.setattr(ours, "TILE", 2)
    monkeypatch.setattr(ours, "available_threads", lambda: 7)
    found, _ = counted(real_like)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_identity_of_improvement_and_conversion(real_like):
    """improvement = EI (conversion - 1/2) + P00 r00 with one right class: what both know is never lost."""
    pairs = ds.pairwise(real_like, [*NAMES, "error_inconsistency", "double_fault"])
    z = [real_like.logits(m).take(np.arange(150)).astype(float).tolist() for m in real_like.model_ids]
    labels, rescued = real_like.labels.tolist(), []
    for i, j in ((0, 1), (2, 4), (3, 7), (4, 6)):
        answers = list(naive.pair_answers(z[i], z[j], labels))
        assert all(ensemble for ensemble, one, other in answers if one and other)
        both_wrong = [ensemble for ensemble, one, other in answers if not (one or other)]
        r00 = sum(both_wrong) / max(len(both_wrong), 1)
        rescued.append(r00)
        found = {name: float(pairs[name][i, j]) for name in pairs.measures}
        gained = found["error_inconsistency"] * (found["conversion_rate"] - 0.5)
        assert abs(found["improvement"] - gained - found["double_fault"] * r00) < 1e-15
    assert max(rescued) > 0
    assert (pairs["pair_accuracy"] >= pairs.counts.n11 / pairs.counts.n).all()


@pytest.mark.parametrize("labels", [None, "sets"])
def test_identity_on_real_predictions(tmp_path, labels):
    """Digits, three classifiers; with sets and with ties, what both knew and together lose is taken off."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_digits(return_X_y=True)
    x, train, held = x / 16, slice(0, 300), slice(300, 600)
    models = LogisticRegression(C=0.1), GaussianNB(var_smoothing=1e-3), KNeighborsClassifier(4)
    p = [model.fit(x[train], y[train]).predict_proba(x[held]) for model in models]  # neighbours: many ties
    store = make_store(tmp_path, [np.log(np.maximum(one, 1e-4)) for one in p], y[held])
    store.add_labels(
        "sets", [[int(c), (int(c) + 5) % 10] if n % 3 else [int(c)] for n, c in enumerate(y[held])]
    )
    pairs = ds.pairwise(store, [*NAMES, "error_inconsistency", "double_fault"], labels=labels)
    truth = store.under(labels).truth
    right = [truth.classes[truth.offsets[n] : truth.offsets[n + 1]].tolist() for n in range(300)]
    z = [store.logits(m).take(np.arange(300)).astype(float).tolist() for m in store.model_ids]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        answers = list(naive.pair_answers(z[i], z[j], right))
        saved = sum(ensemble and not (one or other) for ensemble, one, other in answers)
        lost = sum(one and other and not ensemble for ensemble, one, other in answers)
        found = {name: float(pairs[name][i, j]) for name in pairs.measures}
        gained = found["error_inconsistency"] * (found["conversion_rate"] - 0.5)
        assert found["improvement"] == pytest.approx(gained + (saved - lost) / 300, abs=1e-14)
        assert labels is not None or lost == 0


def test_margins_are_rounded_to_the_side_that_proves_less(rng):
    """Whatever 16 bits decide, the exact margins decide alike; ties and all right are left open."""
    from dissensus.kernels import margins as kernel

    n, m, c = 40, 12, 9
    q = rng.integers(0, 2**31, (n, 8, m)).astype(np.uint32)
    q[: n // 2] >>= rng.integers(0, 31, (n // 2, 8, m)).astype(np.uint32)
    q = np.sort(q, axis=1)[:, ::-1].copy()
    q[5] = 2**31
    classes = np.argsort(rng.random((n, c, m)), axis=1)[:, :8].astype(np.uint16)
    labels = rng.integers(0, c, n).astype(np.int32)
    offsets = np.arange(n + 1)
    right = rng.integers(0, 2**31, (n, m)).astype(np.uint32)
    narrow, rival = np.empty((3, n, m), np.int16), np.empty((n, m), np.uint16)
    kernel.margins(classes, q, right, offsets, labels, *narrow, rival)
    for i in range(n):
        for a in range(m):
            place = next(k for k in range(8) if classes[i, k, a] != labels[i])
            lead = int(right[i, a]) - int(q[i, place, a])
            low, high, most = (int(x) << 18 for x in narrow[:, i, a])
            assert low <= lead <= high < lead + 2**18
            assert 0 <= most - int(right[i, a]) < 2**18
            assert rival[i, a] == classes[i, place, a]
    everything = np.arange(n + 1) * c, np.tile(np.arange(c, dtype=np.int32), n)
    kernel.margins(classes, q, np.repeat(right, c, axis=0), *everything, *narrow, rival)
    assert (narrow[0] == -kernel.FAR).all()
    assert (narrow[1] == kernel.FAR).all()


def test_counts_of_many_examples_do_not_overflow():
    from dissensus.kernels import pair_ensembles as kernel

    assert kernel.FLUSH < 2**15
    codes = [np.tile(np.float16([0, -8]), (40_000, 1)).view(np.uint16)] * 3
    tables = pair_views.Tables.at(np.dtype(np.uint16), [1.0, 2.0, 1.0])
    assert tables.values.shape[0] == 2
    offsets, classes = np.arange(40_001), np.zeros(40_000, np.int32)
    hits = ours.PairHits(3, 2)
    view = pair_views.view_of(codes, tables, offsets, classes)
    hits.add(view, (offsets, classes), codes, tables, np.ones((3, 40_000), bool))
    assert (hits.finish()["pair_right"] == 40_000).all()
    assert not hits.converted.any()


def test_both_right_may_be_lost_to_a_third_class_with_sets(tmp_path):
    """Of two right classes each has a member of its own; what both put second wins, and is wrong."""
    z = np.log([[0.5, 0.1, 0.4]]), np.log([[0.1, 0.5, 0.4]])
    store = make_store(tmp_path, z, [0])
    store.add_labels("sets", [[0, 1]])
    pairs = ds.pairwise(store, NAMES, labels="sets")
    assert pairs.accuracy.tolist() == [1, 1]
    assert pairs["pair_accuracy"][0, 1] == 0
    assert pairs["improvement"][0, 1] == -1
    assert np.isnan(pairs["conversion_rate"][0, 1])


def test_a_model_with_itself_and_its_copy(real_like):
    pairs = ds.pairwise(real_like, NAMES)
    np.testing.assert_array_equal(pairs["pair_accuracy"].diagonal(), pairs.accuracy)
    np.testing.assert_array_equal(pairs["pair_accuracy"][1, 5], pairs.accuracy[1])
    assert pairs["improvement"][1, 5] == 0
    assert pairs.undefined == {"pair_accuracy": 0, "improvement": 0, "conversion_rate": 1}


def test_permuting_models_permutes_the_result(real_like):
    order = [5, 0, 7, 2, 3]
    whole = ds.pairwise(real_like, NAMES)
    some = ds.pairwise(real_like, NAMES, models=[real_like.model_ids[i] for i in order])
    for name in NAMES:
        np.testing.assert_array_equal(some[name], whole[name][np.ix_(order, order)])


@pytest.mark.filterwarnings("ignore::dissensus.errors.CalibrationWarning")
def test_calibrated_as_greedy_calibrates(real_like):
    """Temperatures of the split, loops with them, and the accuracy of greedy's own two-member ensemble."""
    from dissensus.ensemble.calibration import temperatures

    rows = real_like.rows("report")
    fitted = temperatures(real_like, real_like.model_ids, real_like.rows("fit"))
    pairs = ds.pairwise(real_like, NAMES, split="report", calibrate=True)
    for name in NAMES:
        expected = loops(name, real_like, temperatures=fitted, rows=rows)
        np.testing.assert_array_equal(pairs[name], expected)
    assert pairs.notes == {"split": "report", "calibrated_on": "fit", "calibrated_on_counted": 0}
    best = ds.greedy(real_like, 2, start=["m00", "m03"], candidates=["m00", "m03"])
    assert best.report["accuracy"] == pairs["pair_accuracy"][0, 3]
    shared = ds.pairwise(real_like, NAMES, calibrate="report")
    assert shared.notes == {"calibrated_on": "report", "calibrated_on_counted": len(rows)}
    assert not np.array_equal(shared["pair_accuracy"], ds.pairwise(real_like, NAMES)["pair_accuracy"])


@pytest.mark.filterwarnings("ignore::dissensus.errors.CalibrationWarning")
def test_groups_are_the_masked_query(real_like):
    by = ds.pairwise_by(real_like, NAMES, "label", where="label in (3, 8)", calibrate="fit")
    assert list(by) == [3, 8]
    for value in by:
        rows = real_like.labels == value
        expected = ds.pairwise(real_like, NAMES, mask=rows, calibrate=True)
        for name in NAMES:
            np.testing.assert_array_equal(by[value][name], expected[name])


def test_tables_of_every_temperature_are_counted_before_they_are_made(real_like, monkeypatch):
    """2**15 exponentials each, twice while they are put together: all models at one temperature need one."""
    ids = real_like.model_ids
    asked = []
    real = ours._step
    monkeypatch.setattr(ours, "_step", lambda *sizes: asked.append(sizes[-1]) or real(*sizes))
    for temperatures in (dict.fromkeys(ids, 1.0), {m: 1.0 + i for i, m in enumerate(ids)}):
        counted(real_like, temperatures=temperatures)
    table = 2 * 8 * 2**15
    assert asked == [table, table * len(ids)]
    monkeypatch.setattr(ours, "available_bytes", lambda: 1 << 30)
    assert real(8, 8, 150, 40, held=0) == real(8, 8, 150, 40, held=1 << 29)
    with pytest.raises(ArgumentError, match="name fewer models"):
        real(8, 8, 150, 40, held=1 << 30)


def test_refusals(real_like, monkeypatch):
    with pytest.raises(ArgumentError, match=r"^calibrate fits the members of ensembles; ask for"):
        ds.pairwise(real_like, "capa", calibrate=True)
    with pytest.raises(ArgumentError, match=r"^calibrate must be True, False or the name of a split; got 1$"):
        ds.pairwise(real_like, "improvement", calibrate=1)
    with pytest.raises(UnknownName, match="unknown split 'fitt'; did you mean fit"):
        ds.pairwise(real_like, "improvement", calibrate="fitt")
    with pytest.raises(ArgumentError, match="improvement need probabilities, which are read and summed"):
        ds.pairwise(real_like, "improvement", device="cpu")
    monkeypatch.setattr(ours, "available_bytes", lambda: 1000)
    with pytest.raises(ArgumentError, match=r"^ensembles of all pairs of 8 models need .* name fewer models"):
        ds.pairwise(real_like, "improvement")
    real_like.add("hard", predictions=real_like.labels)
    with pytest.raises(LabelsOnly, match="needed for improvement; models with hard labels only: hard"):
        ds.pairwise(real_like, "improvement")


def test_progress_is_on_stderr(real_like, capsys, monkeypatch):
    from dissensus.run import progress

    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0)
    ds.pairwise(real_like, "improvement", progress=True)
    told = capsys.readouterr()
    assert "examples of pair ensembles: 150 of 150" in told.err
    assert not told.out


def test_declared(real_like):
    for name in NAMES:
        assert MEASURES[name].needs == "probabilities"
        assert MEASURES[name].symmetric


@pytest.mark.filterwarnings("ignore::dissensus.errors.CalibrationWarning")
def test_command(real_like):
    path = str(real_like.path)
    report = ["--split", "report", "--calibrate", "fit"]
    measures = ["-m", "improvement", "-m", "conversion_rate"]
    done = CliRunner().invoke(cli, ["pairs", path, *measures, *report, "--model", "m00", "--format", "json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    expected = ds.pairwise(real_like, "improvement", split="report", calibrate="fit")["improvement"]
    assert [row["improvement"] for row in rows] == sorted((row["improvement"] for row in rows), reverse=True)
    assert rows[0]["improvement"] == expected[0, 1:].max()
    shown = CliRunner().invoke(cli, ["pairs", path, *measures, "--calibrate", "fit"]).stdout
    n = len(real_like.rows("fit"))
    assert f"temperatures of split 'fit', {n} of them counted here" in " ".join(shown.split())
    title = CliRunner().invoke(cli, ["matrix", path, "-m", "pair_accuracy", *report]).stdout.splitlines()[0]
    assert title.endswith("of split 'report', temperatures of split 'fit'")
    refused = CliRunner().invoke(
        cli, ["matrix", path, "-m", "improvement", "--calibrate", "fit", "--out", "x.zarr"]
    )
    assert refused.exit_code == 2
    assert "--calibrate" in refused.output


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_columns_hold_what_probabilities_are(rng, dtype):
    """Each class is missing to some member, none is named twice for an example, and q is that of the rows."""
    from concurrent.futures import ThreadPoolExecutor

    from dissensus.kernels import probabilities

    n, m, c = 70, 5, 40
    z, labels = rng.normal(size=(m, n, c)).astype(dtype), rng.integers(0, c, n).astype(np.int32)
    z[:, np.arange(n), labels] += 2
    codes = [probabilities.codes_of(one - one.max(axis=1, keepdims=True)) for one in z]
    right = np.arange(n + 1), labels
    tables = pair_views.Tables.at(codes[0].dtype, [1.0, 2.0, 1.0, 0.5, 1.0])
    view = pair_views.view_of(codes, tables, *right)
    block = pair_views.Block(view, right, codes, tables, np.zeros((n, m), np.uint8))
    with ThreadPoolExecutor(2) as pool:
        found = pair_views.columns_of(block, pair_views.margins_of(block), m, pool)
    assert found.starts[0] == 0
    assert found.starts[-1] == len(found.classes) > n
    q, p = np.empty((m, n, c), np.uint32), np.empty(n)
    for one in range(m):
        probabilities.fixed_point(codes[one], tables[one], *right, q[one], p)
    for i in range(n):
        here = slice(found.starts[i], found.starts[i + 1])
        classes = found.classes[here].tolist()
        assert classes == sorted(set(classes) - {int(labels[i])})
        assert (found.q[:, here] == q[:, i, classes]).all()
        for one in classes:
            ranked = (view.classes[i] == one).any(axis=0)
            assert ranked.any()
            assert not ranked.all()


def test_the_classes_most_often_missing_are_kept(monkeypatch):
    monkeypatch.setattr(pair_views, "COLUMNS", 2)
    marks = np.array([[0, 3, 1, 0], [5, 3, 0, 1], [0, 0, 0, 0]], np.int32)
    examples, classes = pair_views._most_missing(marks)
    assert (examples.tolist(), classes.tolist()) == ([0, 0, 1, 1, 1], [1, 2, 0, 1, 3])
    monkeypatch.setattr(pair_views, "COLUMNS", 1)
    examples, classes = pair_views._most_missing(marks)
    assert (examples.tolist(), classes.tolist()) == ([0, 1, 1], [1, 0, 1])
