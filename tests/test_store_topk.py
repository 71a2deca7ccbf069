"""The top-K view: ranks by the float32 logits before rounding, wherever they come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dissensus as ds
import naive
from dissensus import errors
from dissensus.store import format as fmt
from dissensus.store.encoding import Encoded, encode
from dissensus.store.ranking import top_classes

C, N = 40, 60


def rows_with_ties(rng, n=N, n_classes=C):
    """Logits among which many are equal, and many more once they are rounded to float16."""
    coarse = rng.integers(-3, 4, (n, n_classes)).astype("f4")
    return coarse + np.float32(1e-6) * rng.integers(0, 3, (n, n_classes)).astype("f4")


def oracle(logits, k):
    return np.array([naive.top_classes(row, k) for row in logits.tolist()])


@pytest.fixture(params=["float16", "float32"])
def zoo(tmp_path, rng, request):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, C, N), classes=names(C), dtype=request.param)
    store.given = rows_with_ties(rng)
    store.add("m", logits=store.given)
    return store


def names(n):
    return [f"class {c}" for c in range(n)]


def without_view(store, monkeypatch, model_id, logits):
    """Store a model as programs that knew no view did."""
    with monkeypatch.context() as patch:
        patch.setattr(fmt, "TOP_FROM", 10**6)
        store.add(model_id, logits=logits)
    assert fmt.TOPK not in store.model(model_id).files


values = st.sampled_from([-65504.0, -3.0, -1e-7, -0.0, 0.0, 1e-7, 0.25, 0.2500001, 3.4e38, -3.4e38])


@given(hnp.arrays("f4", st.tuples(st.integers(1, 4), st.integers(9, 80)), elements=values), st.data())
def test_ranks_are_those_of_the_loop(logits, data):
    k = data.draw(st.integers(1, logits.shape[1]))
    assert top_classes(logits, k).tolist() == oracle(logits, k).tolist()


@settings(deadline=None)  # torch is imported once
@given(hnp.arrays("f4", st.tuples(st.integers(1, 4), st.integers(32, 80)), elements=values))
def test_devices_make_the_same_view(logits):
    torch = pytest.importorskip("torch")
    from dissensus.ingest.streaming.encode import encode_there, to_rows

    ids, classes = ([str(i) for i in range(n)] for n in logits.shape)
    facts = {"model_id": "m", "example_ids": ids, "class_names": classes}
    for dtype in fmt.DTYPES:
        rows = encode_there(torch.tensor(logits), dtype)
        results = [result.numpy() for result in rows.results]
        here, there = encode(logits, dtype, **facts), to_rows(results, rows.logits, "m", ids, classes)
        assert np.array_equal(here.top_classes, oracle(logits, 8))
        assert here.top_classes.tobytes() == there.top_classes.tobytes()
        assert here.top_values.tobytes() == there.top_values.tobytes()
        stored = np.take_along_axis(here.centred, here.top_classes, axis=1)
        assert np.array_equal(here.top_values[:, :8].astype(dtype), stored)


def crowded(rng, n, n_classes):
    """Rows of which some have many equal values, zeros of both signs or a floor, and some have none."""
    z = rng.normal(size=(n, n_classes)).astype("f4")
    z[::5] = rng.integers(-2, 3, (len(z[::5]), n_classes))
    z[1::5] = np.where(rng.random((len(z[1::5]), n_classes)) < 0.5, np.float32(-0.0), np.float32(0))
    z[2::5, 3:] = -87.3
    z[3::5] = 2.5
    return z


@pytest.mark.parametrize("n_classes", [33, 72, 145, 1500])  # few, and numbers that halve evenly and oddly
def test_ranks_beside_many_equal_values(rng, n_classes):
    logits = crowded(rng, 200, n_classes)
    by_value = np.argsort(-logits, axis=1, kind="stable")
    for k in (1, 9, n_classes):
        assert np.array_equal(top_classes(logits, k), by_value[:, :k])
        assert np.array_equal(top_classes(np.asfortranarray(logits)[::-1], k), by_value[::-1, :k])
    halves = logits.astype("f2")
    assert np.array_equal(top_classes(halves, 9), np.argsort(-halves, axis=1, kind="stable")[:, :9])


@pytest.mark.parametrize("n_classes", [20, 1500])
def test_rows_are_the_same_alone_together_and_in_any_layout(rng, n_classes):
    logits = crowded(rng, 200, n_classes)
    names = {"example_ids": [str(i) for i in range(200)], "class_names": [str(i) for i in range(n_classes)]}
    wide = np.zeros((200, 2 * n_classes), "f4")
    wide[:, ::2] = logits
    pairs = [(z, logits) for z in (np.asfortranarray(logits), logits.astype("f8"), wide[:, ::2])]
    half = logits.astype("f2")
    for dtype in fmt.DTYPES:
        for given_rows, same in [*pairs, (half, half.astype("f4"))]:
            together = encode(given_rows, dtype, model_id="m", **names)
            alone = [encode(same[i : i + 1], dtype, model_id="m", **names) for i in range(200)]
            for name, part in vars(together).items():
                parts = [getattr(row, name) for row in alone]
                one = None if parts[0] is None else np.concatenate(parts).tobytes()
                assert (None if part is None else part.tobytes()) == one, (dtype, name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_in_a_later_batch_too(rng, value):
    logits = rng.normal(size=(200, 1500)).astype("f4")
    logits[[190, 195], 7] = value
    names = {"example_ids": [f"x{i}" for i in range(200)], "class_names": [f"c{i}" for i in range(1500)]}
    with pytest.raises(errors.NonFiniteLogits, match=r"example 'x190', class 'c7' \(2 of 200 rows"):
        encode(logits, "float16", model_id="m", **names)


def test_few_classes_have_no_view(small_zoo):
    assert small_zoo.model("model-1").view() is None
    stored = small_zoo.logits("model-1").centred(0, 203).astype("f4")
    for k in (1, 2, 4):
        assert np.array_equal(small_zoo.topk("model-1", k), oracle(stored, k))


@pytest.mark.parametrize("k", [1, 5, 8])
def test_a_store_answers_by_what_was_not_rounded(zoo, k):
    assert np.array_equal(zoo.topk("m", k), oracle(zoo.given, k))
    assert np.array_equal(zoo.topk("m", k)[:, 0], zoo.top1()[0])


def test_the_view_is_plain_arrow_and_holds_the_gap(zoo):
    classes, values = zoo.model("m").view()
    assert (classes.shape, values.shape) == ((N, 8), (N, 9))
    assert (values[:, 0] == 0).all()
    given = np.sort(zoo.given, axis=1)[:, ::-1]
    np.testing.assert_allclose(values, given[:, :9] - given[:, :1], atol=1e-7)


@pytest.mark.parametrize("k", [9, 20, C])
def test_ranks_beyond_the_view_go_on_behind_it(zoo, k):
    found, stored = zoo.topk("m", k), zoo.logits("m").centred(0, N).astype("f4")
    assert np.array_equal(found[:, :8], zoo.topk("m", 8))
    assert all(len(set(row)) == k for row in found.tolist())
    behind = np.take_along_axis(stored, found, axis=1)
    assert (np.diff(behind, axis=1) <= 0).all()


def test_models_without_the_view_answer_from_their_logits(zoo, monkeypatch):
    without_view(zoo, monkeypatch, "old", zoo.given)
    stored = zoo.logits("old").centred(0, N).astype("f4")
    assert np.array_equal(zoo.topk("old", 8), oracle(stored, 8))
    assert np.array_equal(zoo.topk("old", 1), zoo.topk("m", 1))
    # what differs is the order of logits that are one number when rounded: the numbers are the same
    ranked = [np.take_along_axis(stored, zoo.topk(model, 8), axis=1) for model in ("old", "m")]
    assert np.array_equal(*ranked)


def test_equal_where_no_two_logits_round_to_one_number(tmp_path, rng, monkeypatch):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, C, N), classes=names(C))
    logits = rng.permuted(np.tile(np.arange(C, dtype="f4") / 4, (N, 1)), axis=1)
    store.add("new", logits=logits)
    without_view(store, monkeypatch, "old", logits)
    for k in (1, 5, 8, 12):
        assert np.array_equal(store.topk("old", k), store.topk("new", k))


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_pieces_and_resumed_models_equal_whole_ones(tmp_path, rng, kind):
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, C, 9001), classes=names(C))
    given = rng.dirichlet(np.ones(C), 9001).astype("f4")
    store.add("whole", **{kind: given})
    options = {"fingerprint": {"weights": "1"}, "kind": kind}
    writer = store.writer("pieces", **options)
    writer.append(given[:5000])
    writer.close()
    with store.writer("pieces", **options) as writer:
        assert writer.position == 4096
        for start in range(writer.position, 9001, 700):
            writer.append(given[start : start + 700])
    views = [(store.model(m).folder / fmt.TOPK).read_bytes() for m in ("whole", "pieces")]
    assert views[0] == views[1]
    assert np.array_equal(store.topk("whole", 8), top_classes(np.log(np.maximum(given, 2.0**-126)), 8))


@pytest.mark.parametrize("codec", fmt.CODECS)
@pytest.mark.parametrize("dtype", ["float16", None])
def test_copies_keep_what_was_ranked(zoo, tmp_path, monkeypatch, codec, dtype):
    without_view(zoo, monkeypatch, "old", zoo.given)
    copy = zoo.copy(tmp_path / "copy.zoo", codec=codec, dtype=dtype)
    assert copy.verify().ok
    for model_id in ("m", "old"):
        assert fmt.TOPK in copy.model(model_id).files
        assert np.array_equal(copy.topk(model_id, 8), zoo.topk(model_id, 8))


def test_top_k_accuracy_counts_as_the_loop_does(zoo, rng):
    zoo.add("hard", predictions=rng.integers(0, C, N))
    sets = [rng.choice(C, size, replace=False).tolist() for size in rng.integers(0, 4, N)]
    zoo.add_labels("real", sets)
    for store, truths in ((zoo, [[label] for label in zoo.labels]), (zoo.under("real"), sets)):
        for k in (1, 5, 12):
            table = store.models(top_k=k)
            assert table.column_names[:4] == ["model", "kind", "accuracy", f"top{k}_accuracy"]
            hard, m = table[f"top{k}_accuracy"].to_pylist()
            assert hard is None
            ranked = zoo.topk("m", k).tolist()
            scores = [[-row.index(c) if c in row else -C for c in range(C)] for row in ranked]
            assert m == pytest.approx(naive.topk_accuracy(scores, truths, k), abs=1e-15)
        assert store.models(top_k=1)["top1_accuracy"][1] == store.models()["accuracy"][1]
        half = store.models(split="fit", top_k=3)["top3_accuracy"][1].as_py()
        rows = store.rows("fit")
        chosen = [truths[row] for row in rows]
        assert half == pytest.approx(naive.topk_accuracy(zoo.given[rows].tolist(), chosen, 3), abs=1e-15)


def test_nothing_counted_is_no_number(zoo):
    zoo.add_labels("none", [[]] * N)
    assert np.isnan(zoo.under("none").models(top_k=5)["top5_accuracy"][0].as_py())


@pytest.mark.parametrize("k", [0, -1, C + 1, 2.0, True, None])
def test_ranks_there_are_not(zoo, k):
    with pytest.raises(errors.ArgumentError, match=r"k must be a whole number in 1\.\.40"):
        zoo.topk("m", k)
    if k is not None:
        with pytest.raises(errors.ArgumentError, match=r"top_k must be a whole number in 1\.\.40"):
            zoo.models(top_k=k)


def test_hard_labels_say_that_they_rank_nothing(zoo):
    zoo.add("hard", predictions=np.zeros(N, int))
    assert fmt.TOPK not in zoo.model("hard").files
    with pytest.raises(errors.LabelsOnly, match="'hard' was stored with hard labels only"):
        zoo.topk("hard", 3)


def test_a_view_of_other_rows_is_refused(zoo):
    facts = {"model_id": "x", "example_ids": zoo.example_ids, "class_names": zoo.classes}
    fine = encode(zoo.given, zoo.dtype, **facts)
    plain = fine.centred, fine.top1, fine.rowmax, fine.lse
    wrong = [
        Encoded(*plain, fine.top_classes[:, ::-1], fine.top_values),
        Encoded(*plain, fine.top_classes, fine.top_values[:, :8]),
        Encoded(*plain, fine.top_classes, None),
    ]
    for rows in wrong:
        writer = zoo.writer("x", fingerprint={"weights": "1"}, resumable=False)
        with (
            pytest.raises(errors.ArgumentError, match="must have 8 top classes, top1 first, and 9 values"),
            writer,
        ):
            writer.append(rows)
    with zoo.writer("x", fingerprint={"weights": "1"}) as writer:
        writer.append(Encoded(*plain))
    assert np.array_equal(zoo.topk("x", 1), zoo.topk("m", 1))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_view_is_left_out_of_a_sound_model(zoo, damage):
    before, path = zoo.logits("m")[:], zoo.model("m").folder / fmt.TOPK
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        data = bytearray(path.read_bytes())
        data[700] ^= 1
        path.write_bytes(data)
    assert [(f.model, f.file) for f in zoo.verify().findings] == [("m", fmt.TOPK)]
    with pytest.raises(errors.CorruptionError, match="model 'm'"):
        ds.open(zoo.path).topk("m", 5)
    report = ds.open(zoo.path).repair()
    assert report.ok
    assert [(a.model, a.action) for a in report.actions] == [("m", "mended")]
    assert "top-k comes from its logits" in report.actions[0].detail
    store = ds.open(zoo.path)
    assert np.array_equal(store.logits("m")[:], before)
    assert np.array_equal(store.topk("m", 8), oracle(store.logits("m").centred(0, N).astype("f4"), 8))
    assert fmt.TOPK not in json.loads((store.model("m").folder / fmt.COMMIT_JSON).read_text())["files"]


def test_a_view_damaged_among_other_things_goes_with_its_model(zoo):
    folder = zoo.model("m").folder
    for name in (fmt.TOPK, fmt.MODEL_JSON):
        (folder / name).unlink()
    assert [a.action for a in ds.open(zoo.path).repair().actions] == ["quarantined"]


def test_the_command_shows_the_share(zoo):
    def said(*options):
        command = [sys.executable, "-m", "dissensus_cli", "models", str(zoo.path), "--top-k", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (row,) = json.loads(said("5", "--format", "json").stdout)
    assert row["top5_accuracy"] == zoo.models(top_k=5)["top5_accuracy"][0].as_py()
    assert "top5 accuracy" in said("5").stdout
    refused = said("41")
    assert refused.returncode == 1
    assert "top_k must be a whole number in 1..40" in refused.stderr


def test_models_that_are_run_keep_what_they_gave(tmp_path, rng):
    torch = pytest.importorskip("torch")
    from dissensus.ingest import ArrayExamples, TorchModel

    rows = ArrayExamples(rng.normal(size=(300, 6)).astype("f4"), np.arange(300) % C, classes=names(C))
    store = ds.create_from(tmp_path / "s.zoo", rows)
    module = torch.nn.Linear(6, C)
    ds.infer(store, TorchModel("m", module), rows, batch_size=64, progress=False)
    with torch.inference_mode():
        given = torch.cat(
            [module(torch.tensor(rows.read(at, min(at + 64, 300)))) for at in range(0, 300, 64)]
        )
    assert np.array_equal(store.topk("m", 8), oracle(given.numpy(), 8))
    assert store.verify().ok
