"""The public query through a real store: what it returns, and what it says to bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import dissensus as ds
from dissensus.errors import ArgumentError, MissingDependency, UnknownName
from dissensus.pairs.measures import MEASURES

EI, KAPPA = "error_inconsistency", "error_consistency"
SYMMETRIC = [name for name, measure in MEASURES.items() if measure.symmetric]


@pytest.fixture
def correct(small_zoo):
    """Correctness of the zoo's five models, computed from what was given to the store."""
    return np.array([z.argmax(axis=1) == small_zoo.labels for z in small_zoo.given.values()])


@pytest.fixture
def hard_labels(tmp_path):
    """Make a store of hard labels with given right (1) and wrong (0) answers."""

    def make(**models):
        n = len(next(iter(models.values())))
        store = ds.create(tmp_path / "hard.zoo", np.zeros(n, int), classes=["yes", "no"])
        for name, right in models.items():
            store.add(name, predictions=1 - np.array(right))
        return store

    return make


def pair_names(table):
    return list(zip(table["model_a"].to_pylist(), table["model_b"].to_pylist(), strict=True))


def test_matrices_of_a_store(small_zoo, correct):
    pairs = ds.pairwise(small_zoo, [EI, KAPPA])
    assert pairs.model_ids == small_zoo.model_ids
    assert pairs.measures == (EI, KAPPA)
    np.testing.assert_allclose(pairs[EI], (correct[:, None] != correct[None]).mean(axis=2), atol=1e-15)
    np.testing.assert_array_equal(pairs.accuracy, correct.mean(axis=1))
    assert (pairs[KAPPA].diagonal() == 1).all()
    assert pairs.counts.n == 203
    assert repr(pairs) == "Pairs(5 models, 203 examples: error_inconsistency, error_consistency)"


def test_every_measure_can_be_asked_for(small_zoo):
    pairs = ds.pairwise(small_zoo, list(MEASURES))
    for name in MEASURES:
        assert pairs[name].shape == (5, 5)
        assert pairs[name].dtype == np.float64


def test_models_in_the_order_asked_for(small_zoo):
    everything = ds.pairwise(small_zoo, EI)
    some = ds.pairwise(small_zoo, EI, models=["model-3", "model-0", "model-4"])
    assert some.model_ids == ["model-3", "model-0", "model-4"]
    np.testing.assert_array_equal(some[EI], everything[EI][np.ix_([3, 0, 4], [3, 0, 4])])


def test_split_and_mask_choose_examples(small_zoo, correct):
    fit, few = np.arange(203) % 2 == 0, np.arange(203) < 50
    queries = [
        (fit, {"split": "fit"}),
        (few, {"mask": few}),
        (fit & few, {"split": "fit", "mask": few.tolist()}),
    ]
    for chosen, query in queries:
        pairs = ds.pairwise(small_zoo, EI, **query)
        assert pairs.counts.n == chosen.sum()
        np.testing.assert_array_equal(pairs.accuracy, correct[:, chosen].mean(axis=1))
    parts = [ds.pairwise(small_zoo, EI, split=s).counts for s in ("fit", "report")]
    np.testing.assert_array_equal(
        (parts[0] + parts[1]).both_right, ds.pairwise(small_zoo, EI).counts.both_right
    )


def test_another_label_set_decides_what_is_right(small_zoo):
    """Examples it does not count are left out, with split and mask too; by name or by a view."""
    top1, sets = small_zoo.top1(), [[int(c), 0] if i % 5 else [] for i, c in enumerate(small_zoo.labels)]
    small_zoo.add_labels("real", sets)
    right = np.array([[c in s for c, s in zip(row, sets, strict=True)] for row in top1])
    counted, fit, few = (np.array([len(s) > 0 for s in sets]), np.arange(203) % 2 == 0, np.arange(203) < 50)
    for chosen, query in (
        (counted, {}),
        (counted & fit, {"split": "fit"}),
        (counted & few, {"mask": few}),
        (counted & fit & few, {"split": "fit", "mask": few}),
    ):
        for pairs in (
            ds.pairwise(small_zoo, EI, labels="real", **query),
            ds.pairwise(small_zoo.under("real"), EI, **query),
        ):
            assert pairs.counts.n == chosen.sum()
            np.testing.assert_array_equal(pairs.accuracy, right[:, chosen].mean(axis=1))
            np.testing.assert_array_equal(pairs.counts.n11, right[:, chosen].astype(int) @ right[:, chosen].T)
    own = ds.pairwise(small_zoo.under("real"), EI, labels="original")
    np.testing.assert_array_equal(own[EI], ds.pairwise(small_zoo, EI)[EI])


def test_a_label_set_that_leaves_nothing_says_so(small_zoo):
    small_zoo.add_labels("odd", [[0] if row % 2 else None for row in range(203)])
    small_zoo.add_labels("none", [[]] * 203)
    for arguments, message in (
        ({"labels": "none"}, "labels 'none' count no example; choose other labels"),
        ({"labels": "odd", "split": "fit"}, "labels 'odd' count no example within split 'fit'; choose"),
        ({"labels": "odd", "mask": np.arange(203) == 2}, "at least one example that labels 'odd' count; it"),
        (
            {"labels": "odd", "mask": np.arange(203) == 1, "split": "fit"},
            "at least one example within split 'fit' that labels 'odd' count; it chooses none",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            ds.pairwise(small_zoo, EI, **arguments)
    assert np.isnan(small_zoo.under("none").models()["accuracy"].to_numpy()).all()
    with pytest.raises(UnknownName, match="unknown label set 'ood'; did you mean odd"):
        ds.pairwise(small_zoo, EI, labels="ood")


def test_examples_without_a_split_belong_to_none(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1, 0, 1], splits=["fit", None, None, "report"])
    for name in "ab":
        store.add(name, predictions=[0, 1, 0, 0])
    assert ds.pairwise(store, EI, split="fit").counts.n == 1
    assert ds.pairwise(store, EI).counts.n == 4


def test_tables_list_a_symmetric_pair_once(small_zoo):
    pairs = ds.pairwise(small_zoo, SYMMETRIC)
    table = pairs.to_arrow()
    assert table.column_names == ["model_a", "model_b", "accuracy_a", "accuracy_b", *SYMMETRIC]
    assert pair_names(table) == [(f"model-{i}", f"model-{j}") for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_array_equal(table[KAPPA].to_numpy(), pairs[KAPPA][np.triu_indices(5, 1)])
    assert table["accuracy_b"][0].as_py() == pairs.accuracy[1]


def test_tables_list_both_orders_when_a_measure_has_an_order(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, "negative_flip_rate"])
    assert not pairs.symmetric
    names = pair_names(pairs.to_arrow())
    assert names == [(f"model-{i}", f"model-{j}") for i in range(5) for j in range(5) if i != j]
    row = names.index(("model-3", "model-1"))
    assert pairs.to_arrow()["negative_flip_rate"][row].as_py() == pairs["negative_flip_rate"][3, 1]


def test_between_is_one_row(small_zoo):
    pairs = ds.pairwise(small_zoo, [KAPPA, "negative_flip_rate"])
    table = pairs.between("model-2")
    assert pair_names(table) == [("model-2", f"model-{i}") for i in (0, 1, 3, 4)]
    row = pairs["negative_flip_rate"][2]
    np.testing.assert_array_equal(table["negative_flip_rate"].to_numpy(), row[[0, 1, 3, 4]])


@pytest.mark.parametrize("name", SYMMETRIC)
def test_top_starts_with_the_more_different_end(small_zoo, name):
    pairs = ds.pairwise(small_zoo, [EI, name] if name != EI else name)
    found = pairs.top(100, by=name)[name].to_numpy()
    assert len(found) == 10
    up = np.sort(pairs[name][np.triu_indices(5, 1)])
    np.testing.assert_array_equal(found, up[::-1] if MEASURES[name].more_different == "high" else up)
    np.testing.assert_array_equal(pairs.top(3, by=name, ascending=True)[name].to_numpy(), up[:3])
    np.testing.assert_array_equal(pairs.top(3, by=name, ascending=False)[name].to_numpy(), up[::-1][:3])


def test_top_breaks_ties_by_name_and_puts_undefined_last(hard_labels):
    store = hard_labels(d=[1, 1, 0, 0], c=[0, 1, 1, 0], b=[1, 1, 1, 1], a=[1, 1, 1, 1])
    for ids in (None, ["d", "c", "b", "a"], ["c", "a", "d", "b"]):
        pairs = ds.pairwise(store, [EI, "phi"], models=ids)
        assert pairs.undefined == {EI: 0, "phi": 5}
        for ascending in (True, False):
            table = pairs.top(6, by="phi", ascending=ascending)
            assert set(pair_names(table)[0]) == {"c", "d"}
            assert table["phi"].to_pylist() == [0.0, *[None] * 5]
            assert pair_names(table)[1:] == sorted(pair_names(table)[1:])
        assert pair_names(pairs.top(3)) == sorted(pair_names(pairs.top(3)))
    assert pair_names(ds.pairwise(store, EI).top()) == [
        tuple(p) for p in ("ac", "ad", "bc", "bd", "cd", "ab")
    ]


def test_top_of_one_model(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, "negative_flip_rate"])
    table = pairs.top(4, model="model-2")
    assert set(table["model_a"].to_pylist()) == {"model-2"}
    np.testing.assert_array_equal(table[EI].to_numpy(), np.sort(pairs[EI][2, [0, 1, 3, 4]])[::-1])
    with pytest.raises(UnknownName, match="unknown model 'model-9'; did you mean model-"):
        pairs.top(4, model="model-9")


def test_undefined_pairs_are_nan_null_and_counted(hard_labels):
    store = hard_labels(perfect=[1, 1, 1], too=[1, 1, 1], some=[1, 0, 1], never=[0, 0, 0])
    names = [KAPPA, "phi", "relative_nfr"]
    pairs = ds.pairwise(store, names)
    assert pairs.undefined == {KAPPA: 1, "phi": 6, "relative_nfr": 7}
    row = pairs.model_ids.index("perfect"), pairs.model_ids.index("too")
    assert np.isnan(pairs[KAPPA][row])
    records = json.loads(json.dumps(pairs.between("perfect").to_pylist(), allow_nan=False))
    assert next(r for r in records if r["model_b"] == "too")[KAPPA] is None
    identical = ds.pairwise(store, names, undefined="identical")
    assert identical[KAPPA][row] == identical["phi"][row] == 1.0
    assert identical.undefined == {KAPPA: 0, "phi": 5, "relative_nfr": 7}


def test_to_pandas(small_zoo):
    pairs = ds.pairwise(small_zoo, KAPPA)
    frame = pairs.to_pandas()
    assert list(frame.columns) == ["model_a", "model_b", "accuracy_a", "accuracy_b", KAPPA]
    np.testing.assert_array_equal(frame[KAPPA], pairs[KAPPA][np.triu_indices(5, 1)])


def test_to_xarray(small_zoo):
    pytest.importorskip("xarray")
    pairs = ds.pairwise(small_zoo, [EI, KAPPA])
    dataset = pairs.to_xarray()
    assert dataset[KAPPA].dims == ("model_a", "model_b")
    assert dataset[KAPPA].sel(model_a="model-1", model_b="model-4") == pairs[KAPPA][1, 4]
    assert dataset["accuracy_b"].sel(model_b="model-2") == pairs.accuracy[2]
    assert dataset.attrs == {"n_examples": 203}


@pytest.mark.parametrize(("package", "method"), [("xarray", "to_xarray"), ("pandas", "to_pandas")])
def test_a_missing_package_is_named(small_zoo, monkeypatch, package, method):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=f"{method} needs {package}; run: pip install {package}"):
        getattr(ds.pairwise(small_zoo, EI), method)()


def test_hard_labels_are_enough(hard_labels):
    pairs = ds.pairwise(hard_labels(a=[1, 1, 0, 0], b=[1, 0, 1, 0]), [EI, "double_fault"])
    assert pairs[EI].tolist() == [[0, 0.5], [0.5, 0]]
    assert pairs["double_fault"].tolist() == [[0.5, 0.25], [0.25, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"measures": ["error_consistancy"]},
            "unknown measure 'error_consistancy'; did you mean error_consistency",
        ),
        ({"models": ["model-0", "modle-1"]}, "unknown model 'modle-1'; did you mean model-"),
        ({"split": "reprot"}, "unknown split 'reprot'; did you mean report"),
    ],
)
def test_unknown_names_get_the_nearest(small_zoo, arguments, message):
    with pytest.raises(UnknownName, match=message):
        ds.pairwise(small_zoo, **({"measures": [EI]} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measures": []}, "measures must name at least one of error_inconsistency, .*got none"),
        ({"measures": [EI, KAPPA, EI]}, "names 'error_inconsistency' 2 times; name each measure once"),
        ({"models": ["model-0"]}, r"at least 2 models; models names 1: \['model-0'\]"),
        ({"models": []}, "at least 2 models; models names 0"),
        ({"models": "model-0"}, "models must be a list of model ids"),
        ({"models": ["model-0", "model-0"]}, "model-0 more than once"),
        ({"mask": [True] * 202}, r"mask must be bool of shape \(203,\).*got bool \(202,\)"),
        ({"mask": [1] * 203}, r"mask must be bool of shape \(203,\).*got int64 \(203,\)"),
        ({"mask": [False] * 203}, "mask must choose at least one example; it chooses none"),
        ({"mask": np.arange(203) == 1, "split": "fit"}, "at least one example within split 'fit'"),
        ({"undefined": "one"}, "undefined must be 'nan' or 'identical'; got 'one'"),
    ],
)
def test_bad_arguments_are_named(small_zoo, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ds.pairwise(small_zoo, **({"measures": [EI]} | arguments))


def test_bad_questions_to_a_result_are_named(small_zoo):
    pairs = ds.pairwise(small_zoo, EI, models=["model-0", "model-1"])
    with pytest.raises(
        UnknownName, match="unknown measure 'phi'; there are: error_inc.* .only measures asked"
    ):
        pairs["phi"]
    with pytest.raises(UnknownName, match="unknown measure 'error_inconsistence'; did you mean error_inc"):
        pairs.top(by="error_inconsistence")
    with pytest.raises(UnknownName, match="unknown model 'model-2'; did you mean .*only models asked"):
        pairs.between("model-2")
    with pytest.raises(ArgumentError, match="n must be at least 1 pair; got 0"):
        pairs.top(0)


def test_a_store_with_fewer_than_two_models(hard_labels):
    with pytest.raises(ArgumentError, match=r"hard.zoo holds 1: \['only'\]"):
        ds.pairwise(hard_labels(only=[1, 0]), EI)


def test_a_store_without_splits_has_its_two_halves(hard_labels):
    """The same halves that ensembles are selected and reported on."""
    store = hard_labels(a=[1, 0, 1, 0], b=[1, 1, 0, 0])
    fit, report = (ds.pairwise(store, EI, split=split).counts for split in ("fit", "report"))
    whole = ds.pairwise(store, EI).counts
    assert fit.n == report.n == 2
    assert np.array_equal(fit.both_right + report.both_right, whole.both_right)
    with pytest.raises(UnknownName, match="unknown split 'test'; there are: fit, report, all"):
        ds.pairwise(store, EI, split="test")


def test_pairs_of_one_model_in_order(small_zoo):
    table = ds.pairwise(small_zoo, EI).top(3, model="model-2")
    assert table["model_a"].to_pylist() == ["model-2"] * 3
    values = table[EI].to_pylist()
    assert values == sorted(values, reverse=True)


def test_pairs_of_any_of_several_models(small_zoo):
    pairs = ds.pairwise(small_zoo, [EI, KAPPA], ci="delta")
    assert pairs.top(9, model=["model-2"]) == pairs.top(9, model="model-2")
    table = pairs.top(100, model=["model-3", "model-1", "model-3"], by=f"{EI}_low")
    names = pair_names(table)
    assert sorted(map(sorted, names)) == sorted(
        [f"model-{i}", f"model-{j}"] for i in range(5) for j in range(i + 1, 5) if {i, j} & {1, 3}
    )
    assert {a for a, _ in names} == {"model-1", "model-3"}
    lows = table[f"{EI}_low"].to_pylist()
    assert lows == sorted(lows, reverse=True)
    assert pairs.n_pairs(model=["model-3", "model-1"]) == 7
    ordered = ds.pairwise(small_zoo, "negative_flip_rate").top(100, model=["model-3", "model-1"])
    assert sorted(pair_names(ordered)) == sorted(
        (f"model-{i}", f"model-{j}") for i in (1, 3) for j in range(5) if i != j
    )
    with pytest.raises(UnknownName, match="unknown model 'model-9'"):
        pairs.top(model=["model-1", "model-9"])
    with pytest.raises(ArgumentError, match="model must name at least one model; got none"):
        pairs.top(model=[])


def test_pairs_of_like_accuracy(hard_labels):
    """Whole answers are compared: 0.8 and 0.75 are 0.05 apart, though not as floats."""
    right = {"a": 16, "b": 15, "c": 12, "d": 12}
    store = hard_labels(**{name: [1] * k + [0] * (20 - k) for name, k in right.items()})
    pairs = ds.pairwise(store, [EI, KAPPA])
    assert pair_names(pairs.top(max_gap=0.05, by=KAPPA)) == [("a", "b"), ("c", "d")]
    assert pair_names(pairs.top(max_gap=0)) == [("c", "d")]
    assert pair_names(pairs.top(max_gap=0.2, model="a")) == [("a", "c"), ("a", "d"), ("a", "b")]
    names = list(right)
    for gap in (0, 0.05, 0.149, 0.15, 0.2, 1):
        assert pairs.n_pairs(max_gap=gap) == sum(
            abs(right[x] - right[y]) <= round(gap * 20, 6) for i, x in enumerate(names) for y in names[:i]
        )
    assert pairs.n_pairs() == 6
    with pytest.raises(ArgumentError, match="max_gap 0.01: no pair .*; a and b are the closest, 0.05 apart"):
        pairs.top(max_gap=0.01, model="a")
    for gap in (-0.1, 5, float("nan")):
        with pytest.raises(
            ArgumentError, match="max_gap must lie in 0..1, as 0.01 for one point of accuracy"
        ):
            pairs.top(max_gap=gap)


def test_exports_are_complete(small_zoo):
    """Values, bounds, tests, accuracies, models, and what they are of: the same in all three forms."""
    pytest.importorskip("xarray")
    names = [EI, "negative_flip_rate"]
    pairs = ds.pairwise(small_zoo, names, split="fit", where="label < 3", ci="delta").test()
    columns = [f"{n}{end}" for n in names for end in ("", "_low", "_high")] + ["test_z", "test_p", "test_q"]
    table, frame, dataset = pairs.to_arrow(), pairs.to_pandas(), pairs.to_xarray()
    head = ["model_a", "model_b", "accuracy_a", "accuracy_b"]
    assert table.column_names == list(frame.columns) == [*head, *columns]
    assert list(dataset.data_vars) == columns
    assert table.num_rows == len(frame) == 20
    for row, (a, b) in enumerate(pair_names(table)):
        cell = dataset.sel(model_a=a, model_b=b)
        i, j = pairs.model_ids.index(a), pairs.model_ids.index(b)
        for name in columns:
            value = table[name][row].as_py()
            value = np.nan if value is None else value
            expected = pairs[name][i, j] if name in names else pairs.columns[name][i, j]
            np.testing.assert_array_equal([value, frame[name][row], float(cell[name])], expected)
        assert float(cell["accuracy_b"]) == table["accuracy_b"][row].as_py() == pairs.accuracy[j]
    assert dataset[EI].dims == ("model_a", "model_b")
    assert dataset[EI].attrs == {"long_name": MEASURES[EI].summary, "more_different": "high"}
    assert dataset.attrs == {
        "n_examples": pairs.counts.n,
        "split": "fit",
        "where": "label < 3",
        "ci": "delta",
        "level": 0.95,
        "test": "independence",
    }


def test_names_of_measures_load_neither_numba_nor_torch():
    code = "import sys, dissensus.pairs; print({'numba', 'torch', 'pandas'} & set(sys.modules) or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"
