"""`why`, `profiles` and `churn` on the command line: what the library says, in every form; clear errors."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from test_answers_cli import records, run


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """5 scored models and one with hard labels x 300 examples x 4 classes: splits, groups, costs, truths."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 300)
    splits = np.where(np.arange(300) < 150, "fit", "report").tolist()
    group = [None if i % 10 == 0 else ("bird", "fish")[i % 2] for i in range(300)]
    path = tmp_path_factory.mktemp("explain") / "e.zoo"
    store = ds.create(
        path, labels, classes=["ant", "bee", "cat", "dog"], splits=splits, metadata={"group": group}
    )
    for i in range(5):
        z = 2 * np.eye(4)[labels] + rng.normal(size=(300, 4)) * (1 + i / 4)
        store.add(f"m{i}", logits=z, metadata={"gmacs": 1.0 + i, "category": "even" if i % 2 == 0 else "odd"})
    store.add("hard", predictions=np.where(rng.random(300) < 0.8, labels, rng.integers(0, 4, 300)))
    store.add_labels("real", [[] if i % 3 == 0 else [int(c), 0] for i, c in enumerate(labels)])
    return store


def test_why_is_the_librarys(zoo):
    assert records("why", zoo.path, "--size", 3) == json.loads(
        json.dumps(ds.greedy(zoo, 3).why(zoo).to_dict())
    )
    asked = (
        "why",
        zoo.path,
        "--member",
        "m0",
        "--member",
        "m3",
        "--weight",
        2,
        "--weight",
        1,
        "--by",
        "class",
    )
    expected = ds.why(zoo, ["m0", "m3"], weights=[2, 1], by=["class"])
    assert records(*asked) == json.loads(json.dumps(expected.to_dict()))
    some = "group == 'fish'"
    expected = ds.why(zoo, ["m0", "m3"], weights=[2, 1], by=["class"], where=some, combine="votes")
    found = records(*asked, "--where", some, "--combine", "votes")
    assert found == json.loads(json.dumps(expected.to_dict()))
    votes = ("why", zoo.path, "--member", "m0", "--member", "hard", "--combine", "votes", "--labels", "real")
    expected = ds.why(zoo, ["m0", "hard"], combine="votes", labels="real")
    assert records(*votes) == json.loads(json.dumps(expected.to_dict()))


def test_why_of_a_written_ensemble(zoo, tmp_path):
    """What `ensemble` wrote is explained as it is, under its label set and splits."""
    file = tmp_path / "best.json"
    run("ensemble", zoo.path, "--size", 3, "--labels", "real", "--out", file)
    expected = ds.greedy(zoo, 3, labels="real").why(zoo)
    assert records("why", zoo.path, "--ensemble", file) == json.loads(json.dumps(expected.to_dict()))
    assert expected.labels == "real"


def test_why_for_people(zoo):
    """Conclusions first, then four tables; values with their bounds."""
    shown = run("why", zoo.path, "--member", "m0", "--member", "m1").stdout
    why = ds.why(zoo, ["m0", "m1"])
    assert shown.startswith(f"Why: ensemble of 2 (probabilities) against {why.single} on split 'report', 150")
    for sentence in why.conclusions:
        assert f"- {sentence}\n" in shown
    for title in ("Ledger: risk of", "Against single models:", "Members: value", "Where it gained and lost"):
        assert f"\n{title}" in shown
    row = why.members.to_pylist()[0]
    assert f"{row['value_accuracy']:.4f} [{row['value_accuracy_low']:.4f}, " in shown
    assert "value accuracy low" not in shown


def test_parts_of_why(zoo, tmp_path):
    """Each table alone, in every form; in CSV the members unless another is asked for."""
    asked = ("why", zoo.path, "--member", "m0", "--member", "hard", "--combine", "votes")
    why = ds.why(zoo, ["m0", "hard"], combine="votes")
    for part in ("members", "ledger", "against", "slices"):
        table, out = getattr(why, part), tmp_path / f"{part}.parquet"
        assert records(*asked, "--part", part) == table.to_pylist()
        run(*asked, "--part", part, "--out", out)
        assert pq.read_table(out).equals(table)
        assert run(*asked, "--part", part).stdout.startswith(f"{part}\n")
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout)))
    assert list(rows[0]) == why.members.column_names


def test_profiles_are_the_librarys(zoo, tmp_path):
    table = ds.profiles(zoo)
    run("profiles", zoo.path, "--all", "--by", "example", "--out", tmp_path / "p.parquet")
    assert pq.read_table(tmp_path / "p.parquet").equals(table)
    listed = records("profiles", zoo.path, "--top", 7)
    known = sorted(r["discrimination"] for r in table.to_pylist() if r["discrimination"] is not None)
    assert [row["discrimination"] for row in listed] == known[:7]
    hardest = records("profiles", zoo.path, "--by", "difficulty", "--top", 3, "--split", "fit")
    assert hardest[0]["difficulty"] == max(ds.profiles(zoo, split="fit")["difficulty"].to_pylist())
    some = records("profiles", zoo.path, "--all", "--model", "m0", "--model", "m1", "--labels", "real")
    assert len(some) == 200
    last = records("profiles", zoo.path, "--all")[-1]
    assert last["discrimination"] is None


@pytest.mark.parametrize(
    ("only", "holds"),
    [
        ("stronger-wrong", lambda r: r["discrimination"] is not None and r["discrimination"] < 0),
        ("nobody", lambda r: r["n_right"] == 0),
        ("everybody", lambda r: r["n_right"] == 6),
        ("weak", lambda r: r["only_weak"]),
        ("category", lambda r: r["only_category"] is not None),
    ],
)
def test_profiles_of_one_kind(zoo, only, holds):
    expected = [r["example_id"] for r in ds.profiles(zoo).to_pylist() if holds(r)]
    found = records("profiles", zoo.path, "--only", only, "--all", "--by", "example")
    assert [r["example_id"] for r in found] == expected
    shown = run("profiles", zoo.path, "--only", only).stdout.splitlines()
    assert f"{len(expected):,} examples that " in shown[0]
    names = {
        "weak": "only weak models",
        "category": "only one category",
        "stronger-wrong": "stronger models wrong",
    }
    assert f"{names.get(only, only)} {len(expected):,}" in shown[1]


def test_churn_is_the_librarys(zoo):
    found = ds.churn(zoo, "m0", "hard", split="report", by=["group"], level=0.8)
    asked = ("churn", zoo.path, "m0", "hard", "--split", "report", "--by", "group", "--level", 0.8)
    assert records(*asked) == json.loads(json.dumps(found.to_dict()))
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout)))
    assert [row["value"] for row in rows] == [v or "" for v in found.slices["value"].to_pylist()]
    shown = run(*asked).stdout
    assert shown.startswith("m0 -> hard on 150 examples of split 'report':\n")
    assert f"{found.positive_flips:,} examples become right, {found.negative_flips:,} become wrong" in shown
    assert "Rates with their 80 % intervals" in shown


def test_a_clear_loss_is_said(tmp_path):
    """In words, with the classes that lose; and nothing flips between a model and its copy."""
    labels = np.repeat([0, 1], 50)
    store = ds.create(tmp_path / "l.zoo", labels, classes=["cat", "dog"])
    store.add("old", predictions=labels)
    store.add("copy", predictions=labels)
    store.add("new", predictions=np.where(np.arange(100) < 70, labels, 0))
    shown = run("churn", store.path, "old", "new").stdout
    assert "accuracy 1.0000 -> 0.7000: -30.00 points, a loss (McNemar p 1.86e-09)" in shown
    assert "worse beyond chance (q <= 0.05): class dog\n" in shown
    shown = run("churn", store.path, "old", "copy").stdout
    assert "+0.00 points, no clear change (McNemar p nan)" not in shown
    assert "+0.00 points, no clear change (nothing flips)" in shown
    assert records("churn", store.path, "old", "copy")["p_value"] is None


def test_the_best_replacement(zoo):
    asked = ("churn", zoo.path, "m2", "--best", "--max-negative-flips", 0.08)
    assert records(*asked) == ds.replacements(zoo, "m2", max_negative_flips=0.08).to_pylist()
    one = records(*asked, "--top", 1, "--candidate", "m0", "--candidate", "hard")
    assert one == ds.replacements(zoo, "m2", max_negative_flips=0.08, models=["m0", "hard"]).to_pylist()[:1]
    title = run(*asked).stdout.splitlines()[0]
    assert title.startswith("Replacements of m2 on 300 examples, ")
    assert title.endswith("with negative flips <= 0.08")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("why", "ZOO", "--ensemble", "x.json", "--size", 3), 2, "says all of an ensemble: leave --size out"),
        (("why", "ZOO", "--member", "m0", "--size", 3), 2, "names the ensemble: leave --size out"),
        (("why", "ZOO", "--weight", 3), 2, "--weight goes with --member"),
        (("why", "ZOO", "--ensemble", "x.json"), 1, "--ensemble x.json cannot be read: No such file"),
        (("why", "ZOO", "--ensemble", "ZOO/store.json"), 1, "the record of an ensemble lacks members"),
        (("why", "ZOO", "--ensemble", "ZOO/examples.arrow"), 1, "is no JSON"),
        (("why", "ZOO", "--member", "hard"), 1, "pass combine='votes' (--combine votes)"),
        (("why", "ZOO", "--member", "m0", "--cost", "watts"), 1, "cost='watts' is not recorded"),
        (("why", "ZOO", "--member", "m0", "--by", "grup"), 1, "did you mean group"),
        (("why", "ZOO", "--member", "m0", "--report", "fit"), 1, "share 150 examples"),
        (("profiles", "ZOO", "--all", "--top", 3), 2, "pass one"),
        (("profiles", "ZOO", "--model", "m0", "--min-accuracy", 0.2), 2, "pass one"),
        (("profiles", "ZOO", "--model", "m0"), 1, "at least 2 models"),
        (("profiles", "ZOO", "--category", "kind_of"), 1, "unknown metadata of the models 'kind_of'"),
        (("profiles", "ZOO", "--min-accuracy", 1), 1, "no model reaches it"),
        (("churn", "ZOO", "m0"), 2, "or pass --best"),
        (("churn", "ZOO", "m0", "m1", "--best"), 2, "or pass --best"),
        (("churn", "ZOO", "m0", "m1", "--max-negative-flips", 0.1), 2, "goes with --best"),
        (("churn", "ZOO", "m0", "--best", "--by", "class"), 2, "--by goes with NEW"),
        (("churn", "ZOO", "m0", "m7"), 1, "unknown model 'm7'"),
        (("churn", "ZOO", "m0", "m0"), 1, "name two models"),
        (("churn", "ZOO", "m0", "m1", "--level", 3), 1, "level must lie between 0 and 1"),
    ],
)
def test_bad_input(zoo, arguments, status, message):
    done = run(*(str(a).replace("ZOO", str(zoo.path)) for a in arguments), status=status)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
