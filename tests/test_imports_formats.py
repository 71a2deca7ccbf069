"""Every format of predictions: the same numbers give the same stored bytes, in any order of rows."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus.ingest.imports import align, source

CLASSES = ["cat", "dog", "eel"]
N = 23


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(5)
    ids = [f"img/{i:03d}.png" for i in rng.permutation(N)]
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 3, N), classes=CLASSES, example_ids=ids)
    z = (2 * np.eye(3)[store.labels] + rng.normal(size=(N, 3))).astype("f4")
    store.add("expected", logits=z)
    store.z = z
    return store


def columns(ids, z, names):
    data = {} if ids is None else {"file_name": ids}
    return pa.table({**data, **{name: z[:, i] for i, name in enumerate(names)}})


def lists(ids, z):
    values = pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), z.shape[1])
    return pa.table({"logits": values, "note": ["x"] * len(z), "id": ids})


def text(ids, z, sep=",", prefix="score_"):
    lines = [sep.join(["file_name", *(f"{prefix}{i}" for i in range(z.shape[1]))])]
    lines += [sep.join([name, *(repr(float(v)) for v in row)]) for name, row in zip(ids, z, strict=True)]
    return "\n".join(lines) + "\n"


def records(ids, z):
    return [
        {"id": name, **dict(zip(CLASSES, row.tolist(), strict=True))}
        for name, row in zip(ids, z, strict=True)
    ]


def save_torch(path, content):
    import torch

    torch.save(content, path)


def save_safetensors(path, **tensors):
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def tensor(z):
    import torch

    return torch.from_numpy(z.copy())


def write_stream(path, table):
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=5)


def write_file(path, table):
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=5)


# Files that name their rows, and files that do not.
WITH_IDS = {
    "named.npz": lambda p, ids, z: np.savez(p, logits=z, ids=ids),
    "compressed.npz": lambda p, ids, z: np.savez_compressed(p, logits=z, filenames=np.array(ids, "S")),
    "fortran.npz": lambda p, ids, z: np.savez(p, scores=np.asfortranarray(z), example_ids=ids),
    "dict.pt": lambda p, ids, z: save_torch(p, {"logits": tensor(z), "ids": list(ids)}),
    "named.parquet": lambda p, ids, z: pq.write_table(columns(ids, z[:, ::-1], CLASSES[::-1]), p),
    "numbered.parquet": lambda p, ids, z: pq.write_table(columns(ids, z, "012"), p, row_group_size=7),
    "lists.parquet": lambda p, ids, z: pq.write_table(lists(ids, z), p),
    "lists.feather": lambda p, ids, z: pyarrow.feather.write_feather(lists(ids, z), p),
    "file.arrow": lambda p, ids, z: write_file(p, lists(ids, z)),
    "stream.arrow": lambda p, ids, z: write_stream(
        p, columns(ids, z, ["logit_cat", "logit_dog", "logit_eel"])
    ),
    "scores.csv": lambda p, ids, z: p.write_text(text(ids, z)),
    "bom.csv": lambda p, ids, z: p.write_text(text(ids, z), encoding="utf-8-sig"),
    "scores.tsv": lambda p, ids, z: p.write_text(text(ids, z, sep="\t", prefix="")),
    "scores.csv.gz": lambda p, ids, z: p.write_bytes(gzip.compress(text(ids, z).encode())),
    "records.json": lambda p, ids, z: p.write_text(json.dumps(records(ids, z))),
    "records.jsonl": lambda p, ids, z: p.write_text("\n".join(map(json.dumps, records(ids, z)))),
    "by-id.json": lambda p, ids, z: p.write_text(json.dumps(dict(zip(ids, z.tolist(), strict=True)))),
    "named.json": lambda p, ids, z: p.write_text(json.dumps({"scores": z.tolist(), "ids": list(ids)})),
}
WITHOUT_IDS = {
    "plain.npy": lambda p, z: np.save(p, z),
    "fortran.npy": lambda p, z: np.save(p, np.asfortranarray(z)),
    "double.npy": lambda p, z: np.save(p, z.astype("f8")),
    "big-endian.npy": lambda p, z: np.save(p, z.astype(">f4")),
    "single.npz": lambda p, z: np.savez(p, z),
    "one.safetensors": lambda p, z: save_safetensors(p, logits=z),
    "tensor.pt": lambda p, z: save_torch(p, tensor(z)),
    "old.pth": lambda p, z: __import__("torch").save(tensor(z), p, _use_new_zipfile_serialization=False),
    "columns.parquet": lambda p, z: pq.write_table(columns(None, z, CLASSES), p),
    "bare.csv": lambda p, z: p.write_text("\n".join(",".join(repr(float(v)) for v in row) for row in z)),
    "rows.json": lambda p, z: p.write_text(json.dumps(z.tolist())),
    "rows.jsonl": lambda p, z: p.write_text("\n".join(json.dumps(row) for row in z.tolist())),
}  # fmt: skip


def stored_bytes(store, model_id):
    folder = store.model(model_id).folder
    return [(folder / name).read_bytes() for name in ("logits/c.0.0", "derived.arrow")]


def imported(store, path, **options):
    (row,) = ds.import_predictions(store, path, progress=False, **options).rows
    assert row.error is None, row.error
    return row


@pytest.mark.parametrize("held", [True, False], ids=["held", "streamed"])
@pytest.mark.parametrize("order", ["store", "shuffled"])
@pytest.mark.parametrize("name", WITH_IDS)
def test_files_with_ids(store, tmp_path, name, order, held, monkeypatch):
    monkeypatch.setattr(source, "BLOCK_ROWS", 4)
    if not held:
        monkeypatch.setattr(align, "HELD_BYTES", 0)
    rows = np.arange(N) if order == "store" else np.random.default_rng(1).permutation(N)
    WITH_IDS[name](tmp_path / name, [store.example_ids[i] for i in rows], store.z[rows])
    row = imported(store, tmp_path / name)
    assert (row.model, row.status, row.kind) == (name.split(".")[0], "done", "logits")
    assert not any("no ids" in note for note in row.notes)
    assert stored_bytes(store, row.model) == stored_bytes(store, "expected")
    assert row.accuracy == float(store.correct(["expected"]).mean())
    assert store.verify().ok


@pytest.mark.parametrize("rows", [None, "store", "sorted", "file"])
@pytest.mark.parametrize("name", WITHOUT_IDS)
def test_files_without_ids(store, tmp_path, name, rows):
    order = np.arange(N)
    if rows == "sorted":
        order = np.argsort(store.example_ids)
    if rows == "file":
        order = np.random.default_rng(2).permutation(N)
        rows = tmp_path / "ids.txt"
        rows.write_text("".join(f"{store.example_ids[i]}\n" for i in order))
    WITHOUT_IDS[name](tmp_path / name, np.ascontiguousarray(store.z[order]))
    row = imported(store, tmp_path / name, rows=rows)
    assert stored_bytes(store, row.model) == stored_bytes(store, "expected")
    assert any("no ids in the file" in note for note in row.notes) == (rows is None)


LABELS = {
    "plain.npy": lambda p, ids, y: np.save(p, y),
    "column.npy": lambda p, ids, y: np.save(p, y[:, None]),
    "floats.npy": lambda p, ids, y: np.save(p, y.astype("f8")),
    "names.npy": lambda p, ids, y: np.save(p, np.array(CLASSES)[y]),
    "one-hot.npy": lambda p, ids, y: np.save(p, np.eye(3, dtype=int)[y]),
    "preds.npz": lambda p, ids, y: np.savez(p, preds=y, ids=ids, labels=0 * y),
    "top1.safetensors": lambda p, ids, y: save_safetensors(p, top1=y),
    "list.json": lambda p, ids, y: p.write_text(json.dumps(y.tolist())),
    "lines.jsonl": lambda p, ids, y: p.write_text("\n".join(map(str, y))),
    "names.json": lambda p, ids, y: p.write_text(json.dumps([CLASSES[i] for i in y])),
    "by-id.json": lambda p, ids, y: p.write_text(json.dumps(dict(zip(ids, y.tolist(), strict=True)))),
    "table.csv": lambda p, ids, y: p.write_text(
        "file_name,predicted_class,p\n" + "".join(f"{n},{c},0.5\n" for n, c in zip(ids, y, strict=True))
    ),
    "names.parquet": lambda p, ids, y: pq.write_table(
        pa.table({"key": ids, "class": pa.array(np.array(CLASSES)[y]).dictionary_encode()}), p
    ),
    "values.csv": lambda p, ids, y: p.write_text("".join(f"{c}\n" for c in y)),
    "odd-names.csv": lambda p, ids, y: p.write_text(
        "who,what\n" + "".join(f"{n},{c}\n" for n, c in zip(ids, y, strict=True))
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_hard_labels(store, tmp_path, name):
    predicted = store.z.argmax(axis=1)
    LABELS[name](tmp_path / name, store.example_ids, predicted)
    row = imported(store, tmp_path / name)
    assert row.kind == "labels"
    assert store.top1([row.model])[0].tolist() == predicted.tolist()


def test_several_models_in_a_file(store, tmp_path):
    z, y = store.z, store.z.argmax(axis=1)
    long = pa.table(
        {
            "model": ["m1"] * N + ["m2"] * N,
            "file_name": store.example_ids + store.example_ids[::-1],
            "pred": np.concatenate([y, y[::-1]]),
        }
    )
    np.savez(tmp_path / "a.npz", resnet=z, vit=z[::-1])
    save_safetensors(tmp_path / "b.safetensors", x=z, y=-z)
    save_torch(tmp_path / "c.pt", {"t1": tensor(z), "t2": tensor(-z), "epoch": 3})
    (tmp_path / "d.json").write_text(json.dumps({"j1": y.tolist(), "j2": z.tolist()}))
    pq.write_table(long, tmp_path / "e.parquet")
    report = ds.import_predictions(store, sorted(tmp_path.glob("?.*[!o]")), rows="store", progress=False)
    by_model = {row.model: row for row in report.rows}
    assert set(by_model) == {"resnet", "vit", "x", "y", "t1", "t2", "j1", "j2", "m1", "m2"}
    # the long table has ids, so that rows= is refused there, and only there
    assert [row.model for row in report.failed] == ["m1", "m2"]
    assert "it has ids of its own" in report.failed[0].error
    again = ds.import_predictions(store, tmp_path / "e.parquet", progress=False)
    assert [row.status for row in again.rows] == ["done", "done"]
    assert store.top1(["m1", "m2", "j1"]).tolist() == [y.tolist()] * 3
    assert stored_bytes(store, "x") == stored_bytes(store, "j2") == stored_bytes(store, "expected")


def test_bfloat16_is_read_from_its_bits(store, tmp_path):
    import torch
    from safetensors.torch import save_file

    z = tensor(store.z).to(torch.bfloat16)
    save_file({"logits": z}, tmp_path / "s.safetensors")
    torch.save(z, tmp_path / "t.pt")
    store.add("rounded", logits=z.float().numpy())
    for name in ("s.safetensors", "t.pt"):
        row = imported(store, tmp_path / name)
        assert stored_bytes(store, row.model) == stored_bytes(store, "rounded")


def test_probabilities_through_text_and_arrays(store, tmp_path):
    p = np.exp(store.z.astype("f8"))
    p /= p.sum(axis=1, keepdims=True)
    store.add("given", probabilities=p)
    np.save(tmp_path / "a.npy", p)
    (tmp_path / "b.csv").write_text(text(store.example_ids, p, prefix="prob_"))
    (tmp_path / "c.json").write_text(json.dumps({"probs": p.tolist()}))
    for name in ("a.npy", "b.csv", "c.json"):
        row = imported(store, tmp_path / name)
        assert row.kind == "probabilities"
        assert stored_bytes(store, row.model) == stored_bytes(store, "given")


def test_ids_that_are_numbers(tmp_path):
    labels = np.arange(12) % 2
    store = ds.create(tmp_path / "n.zoo", labels)  # ids are "0", "1", …
    (tmp_path / "pandas.csv").write_text(",pred\n" + "".join(f"{i},{labels[i]}\n" for i in range(12)[::-1]))
    row = imported(store, tmp_path / "pandas.csv")
    assert (row.accuracy, row.notes) == (1.0, [])
    padded = ds.create(tmp_path / "p.zoo", labels, example_ids=[f"{i:03d}" for i in range(12)])
    (tmp_path / "padded.csv").write_text("id,pred\n" + "".join(f"{i:03d},{labels[i]}\n" for i in range(12)))
    assert imported(padded, tmp_path / "padded.csv").accuracy == 1.0  # 007 is no 7


def test_scores_are_preferred_to_classes_and_columns_can_be_named(store, tmp_path):
    table = columns(store.example_ids, store.z, CLASSES)
    table = table.append_column("pred", pa.array([0] * N)).append_column("other", pa.array([1] * N))
    pq.write_table(table, tmp_path / "both.parquet")
    row = imported(store, tmp_path / "both.parquet")
    assert row.kind == "logits"
    assert "columns not used: 'pred', 'other'" in row.notes
    row = imported(store, tmp_path / "both.parquet", model_id="other", columns="other")
    assert store.top1(["other"]).tolist() == [[1] * N]
    row = imported(store, tmp_path / "both.parquet", model_id="listed", columns=CLASSES)
    assert stored_bytes(store, "listed") == stored_bytes(store, "expected")
    two = pa.table({f"{kind}_{c}": store.z[:, i] for kind in "ab" for i, c in enumerate(CLASSES)})
    pq.write_table(two, tmp_path / "two.parquet")
    (row,) = ds.import_predictions(store, tmp_path / "two.parquet", progress=False).rows
    assert "may be predictions: 'a_', 'b_'" in row.error
    row = imported(store, tmp_path / "two.parquet", columns="b_")
    assert stored_bytes(store, "two") == stored_bytes(store, "expected")


def test_metadata_says_where_a_model_came_from(store, tmp_path):
    np.save(tmp_path / "m.npy", store.z)
    imported(store, tmp_path / "m.npy", metadata={"category": "framework"})
    assert store.model("m").metadata == {
        "source": "import",
        "file": "m.npy",
        "format": "npy",
        "kind_given": "auto",
        "notes": ["no ids in the file: its rows are taken in the store's order"],
        "category": "framework",
    }
