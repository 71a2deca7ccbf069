"""Temperatures that were fitted before a selection: the same answers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import dissensus as ds
from dissensus import errors
from dissensus.ensemble import calibration


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """3 models x 120 examples x 3 classes, over- and underconfident, and one of hard labels."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 120)
    store = ds.create(tmp_path_factory.mktemp("f") / "f.zoo", labels, classes=list("abc"))
    for i, scale in enumerate((3.0, 0.4, 1.0)):
        store.add(f"m{i}", logits=(2 * np.eye(3)[labels] + rng.normal(size=(120, 3))) * scale)
    store.add("hard", predictions=labels)
    return store


def plain(best):
    """All of a result but the note that temperatures were given."""
    record = best.to_dict()
    return record | {"search": {k: v for k, v in record["search"].items() if k != "temperatures"}}


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_given_temperatures_are_those_that_would_be_fitted(zoo, monkeypatch, combine):
    fitted = ds.calibrate(zoo)
    expected = plain(ds.greedy(zoo, 4, combine=combine))
    by_hand = calibration.temperatures(zoo, ["m0", "m1", "m2"], zoo.rows("fit"))
    monkeypatch.setattr(calibration, "temperatures", None)  # nothing is fitted anew
    for given in (fitted, by_hand, {**by_hand, "somebody": -1}):
        best = ds.greedy(zoo, 4, combine=combine, temperatures=given)
        assert plain(best) == expected
        assert best.search == {"temperatures": "given"}
    other = ds.greedy(zoo, 4, combine=combine, temperatures={"m0": 1, "m1": 0.5, "m2": np.float32(2)})
    assert other.temperatures == {"m0": 1.0, "m1": 0.5, "m2": 2.0}
    assert plain(ds.greedy(zoo, 2, temperatures=dict.fromkeys(by_hand, 1.0))) == plain(
        ds.greedy(zoo, 2, calibrate=False)
    )


def test_temperatures_that_are_refused(zoo):
    good = {"m0": 1.0, "m1": 1.0, "m2": 1.0}
    vector, everywhere = ds.calibrate(zoo, method="vector"), ds.calibrate(zoo, folds=2)
    for given, options, message in (
        ({"m0": 1.0}, {}, r"temperatures have none for m1, m2 \(2 of 3 models\)"),
        ({**good, "m1": 0}, {}, "numbers from 0.001 to 1000; that of m1 is 0"),
        ({**good, "m1": float("nan")}, {}, "that of m1 is nan"),
        ({**good, "m2": "2"}, {}, "that of m2 is '2'"),
        ({**good, "m2": True}, {}, "that of m2 is True"),
        ({**good, "m2": 1001.0}, {}, "that of m2 is 1001.0"),
        ([1.0, 1.0, 1.0], {}, "temperatures must map models to numbers"),
        (good, {"calibrate": True}, "calibrate=True contradicts temperatures="),
        (good, {"folds": 2}, "leave out temperatures="),
        (good, {"combine": "votes"}, "temperatures= change no vote"),
        (vector, {}, "temperatures of method 'vector' would be used without its factors"),
        (everywhere, {}, "fitted on split 'all', 60 of whose examples are reported on"),
    ):
        with pytest.raises(errors.ArgumentError, match=message):
            ds.greedy(zoo, 2, temperatures=given, **options)
    assert ds.greedy(zoo, 2, temperatures=everywhere, allow_same_split=True).temperatures["m0"] > 1
    assert ds.greedy(zoo, 2, temperatures=good | {"m1": 0.001}, candidates=["m0", "m2"]).members
