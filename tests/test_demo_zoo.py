"""Training, weights on disk and the whole demo on a tiny zoo of digits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dissensus as ds
from dissensus.demo import run_demo, training, weights, zoo
from dissensus.demo.classical import Smoothed
from dissensus.demo.data import load
from dissensus.demo.recipes import BASE, CATEGORIES, Recipe, Training
from dissensus.demo.report import BAND, findings
from dissensus.demo.zoo import train_missing
from dissensus.errors import ArgumentError, MissingDependency, ModelLoadError
from dissensus.ingest import timm_models

QUICK = Training(epochs=12, lr=0.01, batch_size=50)
SHORT = Training(epochs=8, lr=0.01, batch_size=50)
ALL_WAYS = Training(8, 0.05, 50, optimiser="sgd", label_smoothing=0.1, flip=True, cutout=3, mixup=0.4)

RECIPES = [
    Recipe("base", BASE, "supervised", "small-resnet", "base", {"width": 8}, QUICK),
    Recipe("reinit", "reinitialisation", "supervised", "small-resnet", "seed 1", {"width": 8}, QUICK, seed=1),
    Recipe(
        "tricks", "hyper-parameters", "supervised", "small-resnet", "all", {"head_dropout": 0.5}, ALL_WAYS
    ),
    Recipe("mlp", "architecture", "supervised", "mlp", "mlp", {"hidden": 64}, replace(QUICK, epochs=25)),
    Recipe("mixer", "architecture", "supervised", "mixer", "mixer", {"patch": 2, "width": 16}, SHORT),
    Recipe("plain", "architecture", "supervised", "plain-convnet", "plain", {}, SHORT),
    Recipe(
        "resnetv2",
        "architecture",
        "supervised",
        "timm/resnetv2_18",
        "timm",
        {"channels": (8, 8, 16, 16)},
        SHORT,
    ),
    Recipe(
        "vit",
        "architecture",
        "supervised",
        "timm/vit_tiny_patch16_224",
        "timm",
        {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2},
        replace(SHORT, epochs=20),
    ),
    Recipe("knn", "framework", "estimator", "neighbours", "3 neighbours", {"n_neighbors": 3, "votes": 3}),
    Recipe("svm", "framework", "estimator", "kernel-svm", "kernel SVM", {"components": 20, "gamma": 0.1}),
    Recipe(
        "simclr",
        "framework",
        "contrastive",
        "small-resnet",
        "SimCLR",
        {"width": 8},
        pretraining=SHORT,
        frozen=True,
    ),
    Recipe(
        "shapes",
        "data set",
        "transfer",
        "small-resnet",
        "shapes",
        {"width": 4},
        pretraining=replace(SHORT, epochs=1),
        pretraining_images="shapes",
        training=SHORT,
    ),
]
"""One of everything, as short as it gets."""

NETWORKS = [recipe for recipe in RECIPES if recipe.method != "estimator"]


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def trained():
    """Models as training returned them, by id; the fixture `demo` fills it."""
    return {}


@pytest.fixture(scope="module")
def demo(tmp_path_factory, trained):
    """A complete tiny demo; tests read it only."""
    real = weights.save

    def save(model, recipe, *rest):
        trained[recipe.model_id] = model
        return real(model, recipe, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "save", save)
        return run_demo(
            "digits", out=tmp_path_factory.mktemp("demo"), recipes=RECIPES, workers=0, progress=False
        )


def outputs(model, recipe, images):
    """What a model that was just trained says, without any of the ingest layer."""
    if recipe.method == "estimator":
        rows = images.reshape(len(images), -1) / np.float32(255)
        if hasattr(model, "predict_proba"):
            return np.log(model.predict_proba(rows))
        return model.decision_function(rows)
    with torch.no_grad():
        return model(torch.tensor(images / np.float32(255), dtype=torch.float32)[:, None]).numpy()


def centred(logits):
    return logits - logits.max(axis=1, keepdims=True)


def test_demo_stores_every_model_with_its_category(demo):
    assert demo.failed == {}
    assert sorted(demo.trained) == demo.store.model_ids == sorted(recipe.model_id for recipe in RECIPES)
    for recipe in RECIPES:
        metadata = demo.store.model(recipe.model_id).metadata
        assert metadata["category"] == recipe.category
        assert metadata["train_cpu_s"] >= 0
    assert demo.store.model("knn").kind == "probabilities"
    assert demo.store.model("svm").kind == "logits"
    assert demo.store.verify().ok


def test_demo_store_holds_no_training_image(demo, digits):
    assert demo.store.example_ids == list(digits.ids)
    assert set(demo.store.splits) == {"fit", "report"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.model_id)
def test_stored_logits_are_those_of_the_trained_model(demo, trained, digits, recipe):
    expected = centred(outputs(trained[recipe.model_id], recipe, digits.examples().read(0, 300)))
    stored = centred(demo.store.logits(recipe.model_id)[0:300])
    np.testing.assert_allclose(stored, np.maximum(expected, -126 * np.log(2)), rtol=2e-3, atol=2e-3)


def test_trained_models_learned_something(demo):
    accuracy = dict(
        zip(*demo.findings.models.select(["model", "report_accuracy"]).to_pydict().values(), strict=True)
    )
    assert min(accuracy["base"], accuracy["reinit"], accuracy["mlp"], accuracy["knn"]) > 0.8


def test_findings_agree_with_plain_numpy(demo):
    store, found = demo.store, demo.findings
    report = store.splits == "report"
    right = {
        m: (store.logits(m)[0 : store.n_examples].argmax(1) == store.labels)[report] for m in store.model_ids
    }
    accuracy = {m: right[m].mean() for m in right}
    inside = [m for m in right if abs(accuracy[m] - accuracy["base"]) <= BAND]
    assert found.band.inside == len(inside) - 1
    assert found.band.inside + found.band.outside == len(RECIPES) - 1
    for row in found.models.to_pylist():
        assert row["report_accuracy"] == pytest.approx(accuracy[row["model"]])
        assert row["in_band"] == (row["model"] in inside)
    for row in found.categories.to_pylist():
        members = [r.model_id for r in RECIPES if r.category == row["category"]]
        near = [m for m in members if m in inside]
        assert (row["n_models"], row["n_in_band"]) == (len(members), len(near))
        if near:
            expected = np.mean([(right[m] != right["base"]).mean() for m in near])
            assert row["error_inconsistency"] == pytest.approx(expected)
        else:
            assert row["error_inconsistency"] is None
    for row in found.pairs.to_pylist():
        a, b = row["model_a"], row["model_b"]
        assert {a, b} <= set(inside)
        assert row["oracle_accuracy"] == pytest.approx((right[a] | right[b]).mean())


def test_models_are_listed_by_category_best_first(demo):
    rows = demo.findings.models.to_pylist()
    keys = [(CATEGORIES.index(row["category"]), -row["report_accuracy"]) for row in rows]
    assert keys == sorted(keys)


def test_pairs_are_ordered_by_kappa_on_fit(demo):
    pairs = demo.findings.pairs.to_pylist()
    ids = sorted({name for row in pairs for name in (row["model_a"], row["model_b"])})
    fit = ds.pairwise(demo.store, ["error_consistency"], models=ids, split="fit")["error_consistency"]
    kappa = [fit[ids.index(row["model_a"]), ids.index(row["model_b"])] for row in pairs]
    assert kappa == sorted(kappa)


def test_ensemble_is_selected_on_fit_and_reported_on_report(demo):
    assert demo.ensemble.splits["select"]["name"] == "fit"
    assert demo.ensemble.splits["report"]["name"] == "report"
    assert demo.ensemble.fit["accuracy"] >= demo.ensemble.single_fit["accuracy"]


def test_complete_demo_neither_trains_nor_runs_models_again(demo, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(zoo, "train_one", refuse)
    monkeypatch.setattr(weights, "load", refuse)
    again = run_demo("digits", out=demo.weights.parent, recipes=RECIPES, workers=0, progress=False)
    assert again.trained == []
    assert again.findings.models == demo.findings.models
    assert again.ensemble.members == demo.ensemble.members


def test_timm_weights_are_in_timms_local_layout(demo):
    with pytest.warns(UserWarning, match="no checkpoints, skipped in .*: base, "):
        found = timm_models(checkpoints=demo.weights)
    assert [source.model_id for source in found] == ["resnetv2", "vit"]
    predictor = found[1].load(torch.device("cpu"))
    images = load("digits").examples().read(0, 50)
    given = predictor(predictor.prepare(images)).numpy()
    np.testing.assert_allclose(centred(given), centred(demo.store.logits("vit")[0:50]), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("recipe", NETWORKS, ids=lambda recipe: recipe.model_id)
def test_training_is_seeded_and_leaves_the_global_generator_alone(digits, recipe):
    torch.manual_seed(7)
    first = training.train(recipe, digits).state_dict()
    after = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(3))
    second = training.train(recipe, digits).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_changed_recipe_is_trained_again_and_nothing_else(digits, tmp_path):
    pair = [RECIPES[0], RECIPES[8]]
    assert train_missing(pair, digits, tmp_path, workers=0, progress=False) == (["base", "knn"], {})
    changed = [pair[0], replace(pair[1], options={"n_neighbors": 5, "votes": 5})]
    assert train_missing(changed, digits, tmp_path, workers=0, progress=False)[0] == ["knn"]
    assert json.loads((tmp_path / "knn" / "recipe.json").read_text())["recipe"]["options"]["n_neighbors"] == 5


def test_changed_recipe_replaces_the_stored_model(tmp_path):
    pair = [RECIPES[0], RECIPES[8]]
    run_demo("digits", out=tmp_path, recipes=pair, workers=0, progress=False)
    changed = [pair[0], replace(pair[1], options={"n_neighbors": 50, "votes": 50})]
    result = run_demo("digits", out=tmp_path, recipes=changed, workers=0, progress=False)
    assert result.failed == {}
    digest = changed[1].digest(load("digits").fingerprint)
    assert result.store.model("knn").metadata["recipe"] == digest


def test_lost_weights_are_trained_and_stored_again(tmp_path):
    pair = [RECIPES[0], RECIPES[8]]
    first = run_demo("digits", out=tmp_path, recipes=pair, workers=0, progress=False)
    committed = first.store.model("knn").committed_at, first.store.model("base").committed_at
    shutil.rmtree(tmp_path / "weights" / "knn")
    time.sleep(1.1)  # commits are dated in whole seconds
    again = run_demo("digits", out=tmp_path, recipes=pair, workers=0, progress=False)
    assert again.trained == ["knn"]
    assert again.store.model("knn").committed_at > committed[0]
    assert again.store.model("base").committed_at == committed[1]


def test_interrupted_training_goes_on(digits, tmp_path, monkeypatch):
    real = weights._write

    def interrupted(model, recipe, *rest):
        if recipe.model_id == "knn":
            raise KeyboardInterrupt
        real(model, recipe, *rest)

    monkeypatch.setattr(weights, "_write", interrupted)
    trio = [RECIPES[3], RECIPES[8], RECIPES[9]]
    with pytest.raises(KeyboardInterrupt):
        train_missing(trio, digits, tmp_path, workers=0, progress=False)
    assert [weights.is_ready(tmp_path, recipe, digits) for recipe in trio] == [True, False, False]
    monkeypatch.undo()
    assert train_missing(trio, digits, tmp_path, workers=0, progress=False) == (["knn", "svm"], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["knn", "mlp", "svm"]


def test_one_failure_does_not_stop_the_others(tmp_path):
    broken = replace(RECIPES[6], model_id="broken", options={"no_such_argument": 1})
    result = run_demo(
        "digits", out=tmp_path, recipes=[RECIPES[0], broken, RECIPES[8]], workers=0, progress=False
    )
    assert list(result.failed) == ["broken"]
    assert "no_such_argument" in result.failed["broken"]
    assert result.store.model_ids == ["base", "knn"]


def test_without_the_base_model_there_is_no_answer(tmp_path):
    broken = replace(RECIPES[0], options={"no_such_argument": 1})
    with pytest.raises(ModelLoadError, match="base model 'base'.*no_such_argument"):
        run_demo("digits", out=tmp_path, recipes=[broken, RECIPES[8]], workers=0, progress=False)


@pytest.mark.parametrize(
    "recipes", [RECIPES[:1], RECIPES[1:3], [RECIPES[0], RECIPES[0]]], ids=["one", "no base", "twice"]
)
def test_recipes_that_make_no_zoo_are_refused(tmp_path, recipes):
    with pytest.raises(ArgumentError, match="exactly one of category 'base'"):
        run_demo("digits", out=tmp_path / "demo", recipes=recipes, progress=False)
    assert not (tmp_path / "demo").exists()


def test_without_scikit_learn_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependency, match=r"pip install 'dissensus\[demo\]'"):
        run_demo("fashion-mnist", out=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_importing_the_demo_loads_neither_torch_nor_scikit_learn():
    script = "import sys, dissensus.demo; print({'torch', 'sklearn', 'numba'} & set(sys.modules))"
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert ran.stdout.strip() == "set()"


def test_workers_make_the_same_model(digits, tmp_path):
    pair = [RECIPES[3], RECIPES[8]]
    assert train_missing(pair, digits, tmp_path / "many", workers=2, progress=False)[1] == {}
    train_missing(pair, digits, tmp_path / "one", workers=0, progress=False)
    images = training.to_tensor(digits.report.images)
    with torch.no_grad():
        many, one = (
            weights._load_network(pair[0], digits, tmp_path / n / "mlp")(images).argmax(1)
            for n in ("many", "one")
        )
    assert (many == one).float().mean() > 0.97  # the same but for rounding, which training amplifies


def test_worker_reports_what_fails(digits, tmp_path):
    broken = replace(RECIPES[3], model_id="broken", options={"no_such_argument": 1})
    trained, failed = train_missing([broken, RECIPES[8]], digits, tmp_path, workers=2, progress=False)
    assert trained == ["knn"]
    assert "no_such_argument" in failed["broken"]


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from test_demo_zoo import RECIPES
from dissensus.demo import run_demo
run_demo("digits", out=sys.argv[1], recipes=RECIPES, workers=2, progress=False)
"""


def start(out):
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", SCRIPT, str(out), str(Path(__file__).parent)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})


@pytest.mark.slow
def test_killed_demo_goes_on_where_it_was(tmp_path):
    process = start(tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("weights/*/recipe.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(3)  # a worker finishes its model, then finds its input closed
    there = {path: path.stat().st_mtime_ns for path in tmp_path.glob("weights/*/recipe.json")}
    assert len(there) > 0
    result = run_demo("digits", out=tmp_path, recipes=RECIPES, workers=0, progress=False)
    assert len(result.trained) == len(RECIPES) - len(there)
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in there.items())
    assert result.failed == {}


def test_smoothed_votes_are_never_zero():
    class Votes:
        classes_ = np.arange(4)

        def predict_proba(self, rows):
            return np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])

    given = Smoothed(Votes(), votes=3, prior=1).predict_proba(np.zeros((2, 1)))
    np.testing.assert_allclose(given[0], [13 / 16, 1 / 16, 1 / 16, 1 / 16])
    np.testing.assert_allclose(given.sum(1), 1)


def test_findings_leave_out_what_is_not_stored(demo):
    more = [*RECIPES, replace(RECIPES[1], model_id="never trained")]
    assert findings(demo.store, more).models.num_rows == len(RECIPES)


def test_a_wrong_device_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ArgumentError, match="cuda:9"):
        run_demo("digits", out=tmp_path / "d", device="cuda:9", progress=False)
    assert not (tmp_path / "d").exists()
