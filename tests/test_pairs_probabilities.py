"""Measures of probabilities and logits: equal to loops in float64 within the bound stated, laws, refusals."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist, squareform
from scipy.special import rel_entr, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier
from sklearn.preprocessing import LabelEncoder

import dissensus as ds
import naive
from dissensus.errors import ArgumentError, LabelsOnly
from dissensus.kernels import gram
from dissensus.pairs import parts, query, summed, sums
from dissensus.pairs.ensembles import ENSEMBLES
from dissensus.pairs.measures import MEASURES

NAMES = [name for name, measure in MEASURES.items() if measure.needs == "probabilities"]
UNIT = 2.0**-24  # half a float32 step at 1
CLOSE = {"rtol": 3e-6, "atol": 3e-6}


def make(path, labels, models, n_classes=None, **options):
    """A store of given logits or probabilities, {name: rows}; float32 unless said."""
    size = n_classes or next(iter(models.values())).shape[1]
    names = [str(c) for c in range(size)]
    store = ds.create(path, labels, classes=names, **({"dtype": "float32"} | options))
    for name, rows in models.items():
        store.add(name, logits=rows)
    return store


def random_logits(rng, n_models, n_examples, n_classes):
    labels = rng.integers(0, n_classes, n_examples)
    signal = 2.0 * np.eye(n_classes)[labels]
    noise = rng.normal(size=(n_models, n_examples, n_classes))
    rows = signal + noise * (1 + np.arange(n_models))[:, None, None]
    return labels, {f"m{m}": z.astype("f4") for m, z in enumerate(rows)}


def stored(store, rows=slice(None)):
    """What the store holds, (M, N, C) float64."""
    return np.array([store.logits(m)[:][rows] for m in store.model_ids], np.float64)


def loops(name, z, labels):
    rows, labels = z.tolist(), [int(c) for c in labels]
    return np.array([[getattr(naive, name)(a, b, labels) for b in rows] for a in rows])


def square_of_distance(name, values):
    """Rounding moves the square of a distance, of which the root near 0 is another number."""
    return values**2 if name == "hellinger" else values


@pytest.fixture(params=["float32", "float16"])
def zoo(request, tmp_path, rng):
    labels, models = random_logits(rng, 5, 60, 6)
    models["copy"] = models["m0"]
    return make(tmp_path / "z.zoo", labels, models, dtype=request.param)


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_loops(zoo, name):
    found, expected = ds.pairwise(zoo, name)[name], loops(name, stored(zoo), zoo.labels)
    assert found.dtype == np.float64
    np.testing.assert_allclose(*(square_of_distance(name, v) for v in (found, expected)), **CLOSE)


@pytest.mark.parametrize("budget_bytes", [1, 5_000, 1 << 30])
def test_blocks_of_any_size_give_the_same_within_rounding(zoo, budget_bytes, monkeypatch):
    whole = ds.pairwise(zoo, NAMES)
    monkeypatch.setattr(query, "score_sums", lambda *given: sums.score_sums(*given, budget_bytes))
    blocks = ds.pairwise(zoo, NAMES)
    for name in NAMES:
        np.testing.assert_allclose(
            *(square_of_distance(name, v[name]) for v in (blocks, whole)), **CLOSE, err_msg=name
        )


def test_the_stated_bound_holds(tmp_path, rng):
    """Each sum against float64, over many products and blocks; in practice far inside the bound."""
    labels, models = random_logits(rng, 4, 3000, 10)
    store = make(tmp_path / "b.zoo", labels, models)
    opened = [store.model(m) for m in store.model_ids]
    wanted = {*summed.PRODUCTS, *summed.TRUTH}
    found = sums.score_sums(store, opened, np.arange(3000), wanted, 1 << 20)
    z = stored(store)
    p = softmax(z, axis=2)
    logs, roots = np.log(p), np.sqrt(p)
    scores = {"probability": p, "root": roots - roots.mean(axis=0), "log": logs - logs.mean(axis=0)}
    scores["logit"] = z - z.mean(axis=2, keepdims=True)
    for name, (left, right) in summed.PRODUCTS.items():
        x, y = scores[left].reshape(4, -1), scores[right].reshape(4, -1)
        size = np.abs(x) @ np.abs(y).T
        # what is shifted is so by a float32 mean: half a step of a score of size 1 to 30 in each term
        own_rounding = 4 * UNIT * np.abs(x).sum(axis=1)[:, None] * (30 if "log" in (left, right) else 1)
        error = np.abs(found[name] - x @ y.T)
        assert (error <= (gram.DEPTH + 8) * UNIT * size + own_rounding).all(), name
        assert (error <= 3e-6 * size + own_rounding).all(), name
    right = p[:, np.arange(3000), labels].sum(axis=1)
    np.testing.assert_allclose(found["truth_i"][:, 0], right, rtol=3 * UNIT)
    np.testing.assert_array_equal(found["truth_j"], found["truth_i"].T)


def test_equal_to_scipy_and_numpy(zoo):
    p = softmax(stored(zoo), axis=2)
    pairs = ds.pairwise(zoo, ["kl", "logit_correlation", "expected_agreement", "hellinger"])
    roots = np.sqrt(p).reshape(len(p), -1)
    apart = squareform(pdist(roots)) ** 2 / (2 * p.shape[1])
    np.testing.assert_allclose(pairs["hellinger"] ** 2, apart, **CLOSE)
    divergence = rel_entr(p[:, None], p[None]).sum(axis=3).mean(axis=2)
    np.testing.assert_allclose(pairs["kl"], divergence, **CLOSE)
    centred = stored(zoo) - stored(zoo).mean(axis=2, keepdims=True)
    correlation = np.corrcoef(centred.reshape(len(p), -1))
    np.testing.assert_allclose(pairs["logit_correlation"], correlation, **CLOSE)
    np.testing.assert_allclose(
        pairs["expected_agreement"], np.einsum("inc,jnc->ij", p, p) / p.shape[1], **CLOSE
    )


class Given(ClassifierMixin, BaseEstimator):
    """A fitted classifier of the probabilities it is given."""

    def __init__(self, p):
        self.p, self.classes_ = p, np.arange(p.shape[1])

    def fit(self, *_):
        return self

    def predict_proba(self, rows):
        return self.p[rows[:, 0]]


def test_the_ensemble_of_a_pair_is_sklearns_soft_vote(zoo):
    p, labels, rows = softmax(stored(zoo), axis=2), zoo.labels, np.arange(60)[:, None]
    names = ["pair_accuracy", "improvement", "conversion_rate", "oracle_accuracy"]
    pairs = ds.pairwise(zoo, names)
    right = zoo.correct()
    for i, j in zip(*np.triu_indices(6, 1), strict=True):
        voting = VotingClassifier([("a", Given(p[i])), ("b", Given(p[j]))], voting="soft")
        voting.estimators_, voting.le_ = [Given(p[i]), Given(p[j])], LabelEncoder().fit(np.arange(6))
        voting.classes_ = voting.le_.classes_
        ensemble = voting.predict(rows) == labels
        assert pairs["pair_accuracy"][i, j] == ensemble.mean()
        gain = ensemble.mean() - (right[i].mean() + right[j].mean()) / 2
        assert pairs["improvement"][i, j] == pytest.approx(gain, abs=1e-12)
        one = right[i] != right[j]
        expected = ensemble[one].mean() if one.any() else np.nan
        assert pairs["conversion_rate"][i, j] == pytest.approx(expected, nan_ok=True)


def test_the_mean_of_brier_pairs_is_the_brier_score_of_the_ensemble(zoo):
    hot = np.eye(6)[zoo.labels]
    p = softmax(stored(zoo), axis=2)
    matrix = ds.pairwise(zoo, "brier_pair")["brier_pair"]
    np.testing.assert_allclose(matrix.mean(), ((p.mean(axis=0) - hot) ** 2).sum(axis=1).mean(), **CLOSE)
    np.testing.assert_allclose(matrix.diagonal(), ((p - hot) ** 2).sum(axis=2).mean(axis=1), **CLOSE)


def test_a_model_itself_and_its_copy(zoo):
    pairs = ds.pairwise(zoo, NAMES)
    copy, one = pairs.model_ids.index("copy"), pairs.model_ids.index("m0")
    for name, value in {"hellinger": 0.0, "kl": 0.0, "logit_correlation": 1.0}.items():
        assert (pairs[name].diagonal() == value).all(), name
        assert abs(square_of_distance(name, pairs[name][copy, one]) - value) < 3e-6
    for name in ("capa", "expected_agreement", "brier_pair"):
        assert abs(pairs[name][copy, one] - pairs[name][one, one]) < 3e-6


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_range_and_permutation(zoo, name):
    pairs, measure = ds.pairwise(zoo, name), MEASURES[name]
    assert measure.symmetric == np.array_equal(pairs[name], pairs[name].T, equal_nan=True)
    assert measure.low <= np.nanmin(pairs[name])
    assert np.nanmax(pairs[name]) <= measure.high
    order = [3, 0, 5, 2]
    some = ds.pairwise(zoo, name, models=[pairs.model_ids[i] for i in order])
    expected = pairs[name][np.ix_(order, order)]
    np.testing.assert_allclose(*(square_of_distance(name, v) for v in (some[name], expected)), **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_direction_is_as_declared(tmp_path, name):
    """Three models of the same outputs on other examples: wrong together, or apart."""
    labels, z = np.zeros(40, int), np.zeros((3, 40, 3))
    z[:, :, 0] = 3.0
    z[:2, ::2, 0], z[:2, ::2, 1] = 0.0, 3.0
    z[2, 1::2, 0], z[2, 1::2, 1] = 0.0, 3.0
    store = make(tmp_path / "d.zoo", labels, dict(zip("abc", z, strict=True)))
    values = ds.pairwise(store, name)[name]
    if name == "conversion_rate":  # of no example at all where both make the same mistakes
        assert np.isnan(values[0, 1])
        values[0, 1] = 0.5
    assert (values[0, 2] > values[0, 1] + 1e-3) == (MEASURES[name].more_different == "high")
    assert abs(values[0, 2] - values[0, 1]) > 1e-3


def test_kl_goes_from_the_first_model_to_the_second(tmp_path):
    """What a sure model loses to an unsure one, and the other way, in nats."""
    models = {"sure": np.log([[0.9, 0.1]]), "unsure": np.log([[0.5, 0.5]])}
    pairs = ds.pairwise(make(tmp_path / "k.zoo", [0], models), "kl")
    sure, unsure = 0.9 * np.log(1.8) + 0.1 * np.log(0.2), 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(5)
    np.testing.assert_allclose(pairs["kl"], [[0, sure], [unsure, 0]], atol=1e-6)
    assert pairs.top(2).to_pylist()[0]["model_a"] == "unsure"
    assert not pairs.symmetric


def hot(top1, n_classes):
    return np.eye(n_classes)[top1]


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(2, 5), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape)),
    st.integers(1, 2_000),
)
def test_one_hot_capa_of_two_classes_is_kappa_of_errors(correct, budget_bytes):
    """And in any blocks to 1e-12, for sums of ones are exact; undefined where kappa is."""
    labels = np.arange(correct.shape[1]) % 2
    top1 = np.where(correct, labels, 1 - labels)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        store = ds.create(Path(folder, "h.zoo"), labels, classes=["a", "b"])
        for m, row in enumerate(top1):
            store.add(f"m{m}", probabilities=hot(row, 2))
        patch.setattr(query, "score_sums", lambda *given: sums.score_sums(*given, budget_bytes))
        pairs = ds.pairwise(store, ["capa", "error_consistency", "expected_agreement", "label_disagreement"])
    np.testing.assert_allclose(pairs["capa"], pairs["error_consistency"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        pairs["expected_agreement"], 1 - pairs["label_disagreement"], rtol=0, atol=1e-12
    )


def test_one_hot_capa_of_many_classes_is_the_published_formula(tmp_path, rng):
    """Goel et al., section 2: agreement of labels, against (C - 1) equally likely wrong ones."""
    labels, top1 = rng.integers(0, 7, 500), rng.integers(0, 7, (4, 500))
    top1[:, :300] = labels[:300]
    store = ds.create(tmp_path / "g.zoo", labels, classes=list("abcdefg"))
    for m, row in enumerate(top1):
        store.add(f"m{m}", probabilities=hot(row, 7))
    a = (top1 == labels).mean(axis=1)
    observed = (top1[:, None] == top1[None]).mean(axis=2)
    expected = np.outer(a, a) + np.outer(1 - a, 1 - a) / 6
    found = ds.pairwise(store, "capa")["capa"]
    np.testing.assert_allclose(found, (observed - expected) / (1 - expected), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.diagonal(), 1, rtol=0, atol=1e-12)


def test_adding_a_constant_to_rows_changes_nothing(tmp_path, rng):
    labels, models = random_logits(rng, 3, 50, 4)
    moved = {name: z + 256 * rng.integers(-3, 3, (50, 1)) for name, z in models.items()}
    one, other = (
        ds.pairwise(make(tmp_path / f"{i}.zoo", labels, zoo), NAMES) for i, zoo in enumerate((models, moved))
    )
    for name in NAMES:
        np.testing.assert_allclose(
            *(square_of_distance(name, v[name]) for v in (one, other)), rtol=1e-4, atol=1e-4, err_msg=name
        )


@pytest.mark.parametrize("query_", ["mask", "split", "uncounted"])
def test_only_the_examples_chosen_count(zoo, query_):
    rows = np.arange(60) % 3 != 1
    given = {"mask": rows}
    if query_ == "split":
        rows = np.isin(np.arange(60), zoo.rows("fit"))
        given = {"split": "fit"}
    elif query_ == "uncounted":
        zoo.add_labels("some", [[int(c)] if kept else [] for c, kept in zip(zoo.labels, rows, strict=True)])
        given = {"labels": "some"}
    pairs = ds.pairwise(zoo, NAMES, **given)
    for name in NAMES:
        expected = loops(name, stored(zoo)[:, rows], zoo.labels[rows])
        np.testing.assert_allclose(
            *(square_of_distance(name, v) for v in (pairs[name], expected)), **CLOSE, err_msg=name
        )


def test_degenerate_models(tmp_path):
    """Perfect to the last bit, constant logits, sure and wrong; one example."""
    labels = np.zeros(1, int)
    sure = np.array([[0.0, -1000.0]])
    models = {"perfect": sure, "too": sure, "flat": np.zeros((1, 2)), "wrong": -sure}
    pairs = ds.pairwise(make(tmp_path / "d.zoo", labels, models), NAMES)
    ids = pairs.model_ids
    flat, perfect, too, wrong = (ids.index(name) for name in ("flat", "perfect", "too", "wrong"))
    assert np.isnan(pairs["capa"][perfect, too])
    assert np.isnan(pairs["capa"][wrong, wrong])  # of two classes the wrong answer is one and the same
    assert pairs["capa"][perfect, wrong] == pairs["capa"][wrong, perfect]
    assert np.isnan(pairs["logit_correlation"][flat]).all()
    assert pairs["logit_correlation"][perfect, wrong] == -1
    assert pairs["hellinger"][perfect, wrong] == 1
    assert pairs["kl"][perfect, wrong] == pytest.approx(1000)
    assert pairs["brier_pair"][wrong, wrong] == 2
    assert pairs["brier_pair"][perfect, wrong] == pairs["expected_agreement"][perfect, wrong] == 0
    assert pairs.undefined["logit_correlation"] == 3
    identical = ds.pairwise(ds.open(tmp_path / "d.zoo"), NAMES, undefined="identical")
    assert identical["capa"][perfect, too] == 1
    assert np.isnan(identical["capa"][wrong, wrong])
    assert np.isnan(identical["logit_correlation"][flat]).all()


def test_probabilities_of_zero_stay_finite(tmp_path):
    store = ds.create(tmp_path / "p.zoo", [0, 1], classes=["a", "b"])
    store.add("a", probabilities=[[1.0, 0.0], [0.0, 1.0]])
    store.add("b", probabilities=[[0.5, 0.5], [1.0, 0.0]])
    pairs = ds.pairwise(store, NAMES)
    for name in NAMES:
        assert np.isfinite(pairs[name][0, 1]), name


def test_one_pass_over_the_logits_and_none_without_need(zoo, monkeypatch):
    passes, read = [], parts.read_blocks
    monkeypatch.setattr(parts, "read_blocks", lambda *given: passes.append(1) or read(*given))
    ds.pairwise(zoo, [name for name in MEASURES if name not in NAMES])
    assert not passes
    ds.pairwise(zoo, list(MEASURES))
    assert len(passes) == 1


def test_all_logits_are_never_held(tmp_path, rng, monkeypatch):
    """Blocks of the files, two ahead, and the scores that the budget allows."""
    n, n_classes = 40_000, 40
    models = {name: rng.normal(size=(n, n_classes)).astype("f4") for name in "abcd"}
    store = make(tmp_path / "m.zoo", np.zeros(n, int), models, dtype="float16")
    monkeypatch.setattr(query, "score_sums", lambda *given: sums.score_sums(*given, 200_000))
    names = [name for name in NAMES if not {*ENSEMBLES} & {*MEASURES[name].statistics}]  # own budget
    ds.pairwise(store, names, mask=np.arange(n) < 10)  # what is imported and compiled once
    tracemalloc.start()
    try:
        ds.pairwise(store, names)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * n * n_classes * 4 / 3


def test_a_model_replaced_meanwhile_is_read_anew_whole(zoo, rng, monkeypatch):
    """Counts and sums come from one version of each model."""
    fresh, done = rng.normal(size=(60, 6)), []

    def replace_first(store, *given):
        if not done:
            done.append(store.add("m1", logits=fresh, replace=True))
        return sums.score_sums(store, *given)

    monkeypatch.setattr(query, "score_sums", replace_first)
    found = ds.pairwise(zoo, ["capa", "label_kappa"])
    monkeypatch.undo()
    again = ds.pairwise(zoo, ["capa", "label_kappa"])
    assert done
    for name in ("capa", "label_kappa"):
        np.testing.assert_array_equal(found[name], again[name])
    np.testing.assert_array_equal(zoo.top1(["m1"])[0], fresh.argmax(axis=1))


def test_models_with_hard_labels_are_named(zoo):
    for m in range(7):
        zoo.add(f"hard-{m}", predictions=zoo.labels)
    with pytest.raises(
        LabelsOnly,
        match=r"^logits or probabilities are needed for capa, kl; models with hard labels only: hard-0, "
        r".*-4, … \(7 in all\). Leave them out .models=., or ask .*: label_dis.*, same_wrong$",
    ):
        ds.pairwise(zoo, ["capa", "error_consistency", "kl"])
    assert ds.pairwise(zoo, "capa", models=["m0", "m1"])["capa"].shape == (2, 2)
    assert ds.pairwise(zoo, "label_kappa")["label_kappa"].shape == (13, 13)


def test_several_right_classes_are_refused_where_one_is_needed(zoo):
    zoo.add_labels("sets", [[int(c), 0] if i < 30 else [int(c)] for i, c in enumerate(zoo.labels)])
    several = int((zoo.labels[:30] != 0).sum())
    with pytest.raises(
        ArgumentError,
        match=rf"^one right class an example is needed for capa, brier_pair; labels 'sets' have several on "
        rf"{several} of the examples: pass mask=truth.sizes == 1 with truth = store.under\('sets'\).truth$",
    ):
        ds.pairwise(zoo, ["capa", "brier_pair", "kl"], labels="sets")
    truth = zoo.under("sets").truth
    pairs = ds.pairwise(zoo, "capa", labels="sets", mask=truth.sizes == 1)
    assert pairs.counts.n == 60 - several
    assert ds.pairwise(zoo, "kl", labels="sets").counts.n == 60


def test_sums_that_do_not_fit_are_refused(zoo, monkeypatch):
    monkeypatch.setattr(sums, "available_bytes", lambda: 1000)
    with pytest.raises(
        ArgumentError, match=r"probabilities of 6 models need .*B for .*, 1.0 kB are available: name fewer"
    ):
        ds.pairwise(zoo, "capa")
    ds.pairwise(zoo, "label_kappa")
