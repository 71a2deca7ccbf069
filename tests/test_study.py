"""The study: tables against pair queries and loops, claims on a planted zoo, a folder whole or absent."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import dissensus as ds
import naive
import real_data
from dissensus.errors import ArgumentError, MissingDependency, UnknownName
from dissensus.explain.claims import HOLDS, NOT, UNSURE, Claim, View, by_pick, paired_gain, share_above
from dissensus.explain.trends import Estimate
from dissensus_cli.main import cli

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg

from dissensus.plots import rendered

ORDER = ("reinitialisation", "hyper-parameters", "architecture", "framework", "data set")
N, C = 1000, 3
EMBEDDED = {"figure6-features", "figure7-concatenated"}


def planted(path, far, models=3, seed=0):
    """Store of a base and `models` models a category; the errors of a category share `far` less with it.

    All have about one accuracy: the noise of a model is a mixture of the base's and its own of one size.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, N)
    splits = np.where(np.arange(N) % 2 == 0, "fit", "report").tolist()
    store = ds.create(path, labels, splits=splits, dtype="float32")
    truth, noise = 2.2 * np.eye(C)[labels], rng.normal(size=(N, C))
    store.add("base", logits=truth + noise, metadata={"category": "base"})
    for category, own in zip(ORDER, far, strict=True):
        for k in range(models):
            share = own + 0.04 * k
            mixed = math.sqrt(1 - share) * noise + math.sqrt(share) * rng.normal(size=(N, C))
            store.add(f"{category}-{k}", logits=truth + mixed, metadata={"category": category})
    return store


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("zoo") / "z.zoo", (0.1, 0.25, 0.4, 0.6, 0.8))


@pytest.fixture(scope="module")
def found(zoo):
    return ds.study(zoo, "base", accuracy_band=(0.5, 0.95))


def verdicts(study):
    return {claim.name: claim.verdict for claim in study.claims}


def test_tables_equal_the_pair_queries(zoo, found):
    pairs = ds.pairwise(zoo, ["error_inconsistency", "error_consistency"], split="report")
    base = pairs.model_ids.index("base")
    rows = found.tables["figure1-inconsistency"].to_pylist()
    assert {row["model"] for row in rows} == {*zoo.model_ids} - {"base"}
    for row in rows:
        i = pairs.model_ids.index(row["model"])
        assert row["accuracy"] == pairs.accuracy[i]
        for measure in pairs.measures:
            assert row[measure] == pytest.approx(pairs[measure][base, i])
        assert row["both_right"] + row["only_base_right"] + row["only_model_right"] + row[
            "both_wrong"
        ] == pytest.approx(1)
        assert row["only_base_right"] + row["only_model_right"] == pytest.approx(row["error_inconsistency"])


def test_ensembles_with_the_base_equal_loops(zoo, found):
    """Accuracy and conversion by the loop's definition; improvement = EI (conversion - 1/2) + P00 r00."""
    gains = ["pair_accuracy", "improvement", "conversion_rate"]
    pairs = ds.pairwise(zoo, gains, split="report", calibrate="fit")
    base = pairs.model_ids.index("base")
    for row in found.tables["figure2-gains"].to_pylist():
        assert [row[name] for name in gains] == [
            pairs[name][base, pairs.model_ids.index(row["model"])] for name in gains
        ]
    rows = zoo.rows("report")
    labels = [[c] for c in zoo.labels[rows].tolist()]
    t = found.record["temperatures"]

    def centred(model):
        z = zoo.logits(model).take(rows).astype(float).tolist()
        return [[v - max(row) for v in row] for row in z]

    of = {row["model"]: row for row in found.tables["figure2-gains"].to_pylist()}
    base_right = zoo.correct(["base"])[0, rows]
    for model in ("architecture-1", "data set-2"):
        right = zoo.correct([model])[0, rows]
        told = np.array(naive.pair_of_models(centred("base"), centred(model), labels, (t["base"], t[model])))
        row, one = of[model], base_right != right
        assert row["pair_accuracy"] == told.mean()
        assert row["conversion_rate"] == told[one].mean()
        neither = ~base_right & ~right
        expected = one.mean() * (row["conversion_rate"] - 0.5) + (told & neither).mean()
        assert row["improvement"] == pytest.approx(expected)
        assert told[base_right & right].all()


def test_planted_claims_hold(found):
    said = verdicts(found)
    assert said["categories"] == said["improvement"] == said["specialisation"] == HOLDS
    categories, low, high = found.claims[0].views[0].estimate.value, *found.record["band"]
    assert categories > 0.9
    assert (low, high) == (0.5, 0.95)
    means = [
        row["error_inconsistency"] for row in found.tables["figure1-inconsistency-categories"].to_pylist()
    ]
    assert means == sorted(means)
    assert found.record["categories"] == list(ORDER)


def test_the_contrary_does_not_hold(zoo):
    """Under the opposite order the first claim is refuted, not left open; the others do not change."""
    study = ds.study(zoo, "base", accuracy_band=(0.5, 0.95), order=ORDER[::-1])
    assert verdicts(study)["categories"] == NOT
    assert study.record["categories"] == list(ORDER[::-1])


def test_verdicts():
    def view(low, high, main=True):
        return View("s", main, Estimate((low + high) / 2, low, high, 9), "u")

    above, below, across = view(0.1, 1), view(-1, -0.1), view(-1, 1)
    nothing = View("s", True, Estimate(math.nan, math.nan, math.nan, 1), "u")
    assert [v.verdict for v in (above, below, across, nothing)] == [HOLDS, NOT, UNSURE, UNSURE]

    def verdict(*views):
        return Claim("c", "s", "x", "n", views).verdict

    assert verdict(above, above) == HOLDS
    assert verdict(below, below) == NOT
    assert verdict(above, across) == verdict(above, below) == verdict(above, nothing) == UNSURE
    assert verdict(above, view(-1, -0.1, main=False)) == HOLDS


def test_gain_of_paired_accuracies():
    none = paired_gain(0, 0, 100)
    assert none.low < 0 == none.value < none.high
    assert paired_gain(30, 5, 1000).low > 0
    assert paired_gain(5, 30, 1000).high < 0
    for _ in range(3):
        a, b = paired_gain(12, 7, 500), paired_gain(7, 12, 500)
        assert (a.value, a.low) == pytest.approx((-b.value, -b.high))


def test_first_picks_are_counted_once():
    """Five picks of another category are no evidence where four in five candidates are, nor is one pick."""
    common = share_above(1.0, 0.8, 5)
    assert common.low < 0 < common.value
    assert share_above(1.0, 0.5, 24).low > 0
    assert share_above(0.2, 0.8, 24).high < 0
    assert math.isnan(share_above(1.0, 0.5, 1).low)
    assert share_above(1.0, 0.5, 1).value == 0.5
    gains = np.full(24, 0.1) + 0.01 * np.arange(24)
    assert math.isnan(by_pick(gains, [3] * 24).low)
    clustered, apart = by_pick(gains, np.arange(24) // 4), by_pick(gains, range(24))
    assert clustered.value == pytest.approx(apart.value)
    assert clustered.n == 6
    assert clustered.high - clustered.low > apart.high - apart.low
    assert math.isnan(by_pick(np.full(3, np.nan), [1, 2, 3]).value)


@pytest.mark.parametrize("wrong", [0, 9])
def test_models_that_are_never_right_alone(tmp_path, wrong):
    """Copies of the base have no theta to show; of models that only err more its AUROC is undefined."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, 200)
    splits = np.where(np.arange(200) % 2 == 0, "fit", "report").tolist()
    store = ds.create(tmp_path / "s.zoo", labels, splits=splits, dtype="float32")
    logits = 2.0 * np.eye(C)[labels] + rng.normal(size=(200, C))
    right = np.flatnonzero(logits.argmax(axis=1) == labels)
    store.add("base", logits=logits)
    for m in range(3):
        worse = logits.copy()
        worse[right[: m * wrong]] = np.roll(worse[right[: m * wrong]], 1, axis=1)
        store.add(f"m{m}", logits=worse)
    study = ds.study(store, "base", accuracy_band=(0.5, 1.0), out=tmp_path / "out")
    if wrong:
        assert "only one of the two is ever right alone" in study.titles["figure3-theta"][0]
    else:
        assert "right on the same examples" in study.left_out["figure3-theta"]
    assert not any("nan" in title for title, _ in study.titles.values())


def test_theta_tables_add_up(zoo, found):
    examples, bins = found.tables["figure3-theta-examples"], found.tables["figure3-theta"]
    assert sum(bins["count"].to_pylist()) == examples.num_rows
    models = list(dict.fromkeys(examples["model"].to_pylist()))
    assert len(models) == 3
    assert len({m.rsplit("-", 1)[0] for m in models}) == 3  # of different categories, the nearest first
    assert models[0].startswith("reinitialisation")
    assert models[-1].startswith("data set")
    aurocs = {row["model"]: row["theta_auroc"] for row in found.tables["figure1-inconsistency"].to_pylist()}
    for model in models:
        rows = [r for r in examples.to_pylist() if r["model"] == model]
        sides = [
            [r["theta"] for r in rows if r["outcome"] == o]
            for o in ("only base right", "only the other right")
        ]
        assert aurocs[model] == pytest.approx(naive.auroc(*sides))
        profile = [r for r in found.tables["figure4-classes"].to_pylist() if r["model"] == model]
        assert sum(r["n"] for r in profile) == len(sides[0]) + len(sides[1])


def test_greedy_curves(zoo, found):
    curves = found.tables["figure5-greedy"].to_pylist()
    starts = list(dict.fromkeys(row["start"] for row in curves))
    assert starts[0] == "base"
    assert 3 <= len(starts) <= 5
    for start in starts:
        best = ds.greedy(zoo, 5, start=[start], replacement=False)
        ours = [row for row in curves if row["start"] == start]
        for name in ("step", "member", "fit_accuracy", "report_accuracy"):
            assert [row[name] for row in ours] == best.curve[name].to_pylist()
    assert all(row["member_category"] == row["member"].rsplit("-", 1)[0] for row in curves)


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    return found.save(tmp_path_factory.mktemp("out") / "study")


def test_the_folder(found, folder):
    assert {p.name for p in folder.iterdir()} == {
        *(f"{name}.{end}" for name in found.titles for end in ("png", "svg")),
        *(f"{name}.parquet" for name in found.tables),
        "claims.md",
        "study.json",
    }
    assert len(found.titles) == 5
    for name in found.titles:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 500
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
        assert (folder / f"{name}.svg").read_text().startswith("<?xml")
    for name, table in found.tables.items():
        assert pq.read_table(folder / f"{name}.parquet").equals(table)
    record = json.loads((folder / "study.json").read_text())
    assert [claim["claim"] for claim in record["claims"]] == [claim.name for claim in found.claims]
    text = (folder / "claims.md").read_text()
    assert all(claim.statement in text and claim.confound in text for claim in found.claims)


def test_texts_stay_inside_and_legends_cover_nothing(found):
    for name, figure in found.figures():
        renderer = FigureCanvasAgg(figure).get_renderer()
        frame = figure.bbox
        for text in [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]:
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0, (name, text.get_text())
            assert box.x1 <= frame.x1 + 1, (name, text.get_text())
            assert box.y0 >= 0, (name, text.get_text())
            assert box.y1 <= frame.y1 + 1, (name, text.get_text())
        (legend,) = figure.legends
        box = legend.get_window_extent(renderer)
        assert not any(box.overlaps(axes.get_window_extent(renderer)) for axes in figure.axes), name
        assert not any(box.overlaps(text.get_window_extent(renderer)) for text in figure.texts), name


def test_a_folder_is_whole_or_absent(found, folder, tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match="exists already: choose another folder, or replace it with"):
        found.save(folder)
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="is no folder of a study"):
        found.save(other, force=True)
    with pytest.raises(ArgumentError, match="there is no folder"):
        found.save(tmp_path / "a" / "b")
    before = sorted(p.name for p in folder.iterdir())
    with monkeypatch.context() as patch:

        def fails(*_):
            raise RuntimeError("full")

        patch.setattr("dissensus.plots.study.draw", fails)
        for place, force in ((tmp_path / "new", False), (folder, True)):
            with pytest.raises(RuntimeError, match="full"):
                found.save(place, force=force)
        patch.setitem(__import__("sys").modules, "matplotlib", None)
        with pytest.raises(MissingDependency, match="pip install 'dissensus"):
            found.save(tmp_path / "new")
    assert sorted(p.name for p in folder.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
    assert [p.name for p in folder.parent.iterdir()] == ["study"]


def test_force_replaces_an_earlier_study(found, tmp_path, monkeypatch):
    monkeypatch.setattr("dissensus.plots.study.draw", lambda *_: _blank())
    found.save(tmp_path / "s")
    (tmp_path / "s" / "old.txt").write_text("from before")
    found.save(tmp_path / "s", force=True)
    assert not (tmp_path / "s" / "old.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def _blank():
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))


def test_bad_input_is_one_clear_line(zoo, tmp_path):
    for options, error, message in (
        ({"base": "bas"}, UnknownName, r"unknown model 'bas'; did you mean base"),
        ({"category": "categry"}, UnknownName, "unknown category column 'categry'; did you mean category"),
        ({"order": ["architecture", "nowhere"]}, UnknownName, "unknown category 'nowhere'"),
        ({"order": ["architecture"] * 2}, ArgumentError, "order names a category twice"),
        ({"group": "realm"}, UnknownName, "unknown group column 'realm'"),
        (
            {"accuracy_band": (0.9, 0.8)},
            ArgumentError,
            "accuracy_band must be LO < HI within 0..1; got 0.9 0.8",
        ),
        ({"accuracy_band": (0.99, 1.0)}, ArgumentError, "holds no model but the base .* nearest is"),
        ({"report": "fit"}, ArgumentError, "share 500 examples"),
        ({"out": tmp_path}, ArgumentError, "exists already"),
    ):
        with pytest.raises(error, match=message):
            ds.study(zoo, **({"base": "base", "accuracy_band": (0.5, 0.95)} | options))


def test_what_is_not_recorded_is_said(tmp_path):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 120)
    for name, metadata, said in (
        ("family", lambda i: {"family": "ab"[i % 2]}, "the family recorded at ingest stands in"),
        ("none", lambda i: None, "each is a category of its own"),
        ("some", lambda i: {"category": "x"} if i < 3 else None, "2 models have no recorded category"),
    ):
        store = ds.create(tmp_path / f"{name}.zoo", labels)
        for i in range(5):
            store.add(f"m{i}", predictions=np.where(rng.random(120) < 0.7, labels, 0), metadata=metadata(i))
        study = ds.study(store, "m0", accuracy_band=(0.4, 1.0))
        assert any(said in note for note in study.notes), study.notes
        assert verdicts(study)["categories"] == UNSURE


def test_hard_labels_leave_figures_out_by_name(zoo, tmp_path):
    store = zoo.copy(tmp_path / "mixed.zoo", models=["base", "architecture-0", "framework-1", "data set-2"])
    store = ds.open(tmp_path / "mixed.zoo")
    store.add("hard", predictions=zoo.top1(["data set-0"])[0], metadata={"category": "hard"})
    mixed = ds.study(store, "base", accuracy_band=(0.5, 1.0))
    rows = {row["model"]: row for row in mixed.tables["figure2-gains"].to_pylist()}
    assert rows["hard"]["pair_accuracy"] is None
    assert rows["hard"]["error_inconsistency"] > 0
    assert mixed.record["labels_only"] == ["hard"]
    assert any("hard" in note for note in mixed.notes)
    of_hard = ds.study(store, "hard", accuracy_band=(0.5, 1.0))
    assert {*mixed.left_out} == EMBEDDED
    assert {*of_hard.left_out} == {"figure2-gains", "figure3-theta", "figure4-classes"} | EMBEDDED
    for name, why in of_hard.left_out.items():
        assert ("no embeddings are stored" if name in EMBEDDED else "the base has hard labels only") in why
    assert {*of_hard.titles} == {"figure1-inconsistency", "figure5-greedy"}
    for _, figure in (*mixed.figures(), *of_hard.figures()):
        assert rendered(figure, "png").startswith(b"\x89PNG")


def test_many_categories_and_long_names_are_drawn(tmp_path):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 40, 400)
    store = ds.create(
        tmp_path / "many.zoo",
        labels,
        classes=[f"a class with a long name {i}" for i in range(40)],
        dtype="float32",
    )
    for i in range(24):
        z = 3 * np.eye(40)[labels] + rng.normal(size=(400, 40))
        store.add(
            f"a-model-with-a-very-long-name-of-a-zoo-{i}", logits=z, metadata={"family": f"family-{i // 2}"}
        )
    study = ds.study(store, store.model_ids[0], accuracy_band=(0.1, 1.0))
    for name, figure in study.figures():
        with Image.open(io.BytesIO(rendered(figure, "png"))) as image:
            assert max(image.size) < 2600, name
        assert figure.legends[0].get_window_extent().width < figure.bbox.width, name


def test_command(zoo, tmp_path):
    run, out = CliRunner().invoke, tmp_path / "s"
    asked = ["study", str(zoo.path), "--base", "base", "--accuracy-band", "0.5", "0.95", "--out", str(out)]
    done = run(cli, asked)
    assert done.exit_code == 0, done.output
    assert "improvement: " in done.stdout
    assert "HOLDS" in done.stdout
    assert (out / "claims.md").is_file()
    assert json.loads((out / "study.json").read_text())["base"] == "base"
    again = run(cli, asked)
    assert again.exit_code == 1
    assert "exists already" in str(again.exception)


def test_the_four_frameworks(tmp_path):
    """Hard labels alone: error inconsistency between frameworks .139 to .205, the rest left out by name."""
    ids, predictions, labels = real_data.imagenet()
    store = ds.create(tmp_path / "f.zoo", [labels[i] for i in ids], example_ids=ids)
    for model in real_data.FRAMEWORKS:
        store.add(model, predictions=[predictions[model][i] for i in ids])
    values = []
    for base in ("SimCLR", "DINO"):
        study = ds.study(store, base, accuracy_band=(0.65, 0.8))
        values += study.tables["figure1-inconsistency"]["error_inconsistency"].to_pylist()
        confident = {"figure2-gains", "figure3-theta", "figure4-classes", "figure5-greedy"}
        assert {*study.left_out} == confident | EMBEDDED
        assert not any(claim.is_tested for claim in study.claims)
        assert study.markdown().count("Not tested: it needs") == 6
        assert "| claim |" not in study.markdown()
        assert study.record["n_examples"] == 50_000
        assert set(verdicts(study).values()) == {UNSURE}
    assert (round(min(values), 3), round(max(values), 3)) == (0.139, 0.205)
