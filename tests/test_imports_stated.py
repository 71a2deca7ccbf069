"""Classes that files state in their metadata, and scores in nested JSON: by name, or refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

import dissensus as ds
from dissensus.errors import ArgumentError
from dissensus.ingest import annotate_from_files, create_from_files

N, C = 40, 4
CLASSES = list("abcd")
RNG = np.random.default_rng(6)
LABELS = RNG.integers(0, C, N)
SCORES = RNG.normal(size=(N, C)).astype(np.float32)
SCORES[np.arange(N), LABELS] += 3
PREDICTED = SCORES.argmax(1)
IDS = [f"img-{i:03d}" for i in range(N)]
GIVEN = list("cadb")  # the file's order of classes
TURNED = [CLASSES.index(name) for name in GIVEN]
PUT = "classes put from the order of the file, 'c' first, into the store's"


@pytest.fixture
def store(tmp_path):
    return ds.create(tmp_path / "s.zoo", LABELS, classes=CLASSES, example_ids=IDS)


def imported(store, path, **options):
    (row,) = ds.import_predictions(store, path, progress=False, **options).rows
    return row


def huggingface(**names):
    """Metadata as `datasets` writes it."""
    features = {name: {"names": classes, "_type": "ClassLabel"} for name, classes in names.items()}
    features["id"] = {"dtype": "string", "_type": "Value"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def lists(rows):
    return pa.array(rows.tolist(), pa.list_(pa.float32()))


def labels_of(names):
    return np.argsort([CLASSES.index(name) for name in names])[LABELS]


METADATA = {
    "labels of datasets": huggingface(label=GIVEN),
    "the list itself": huggingface(logits=GIVEN),
    "a key of the schema": {"class_names": json.dumps(GIVEN)},
    "attributes of pandas": {"PANDAS_ATTRS": json.dumps({"classes": GIVEN})},
    "numbered names": {"id2label": json.dumps(dict(enumerate(GIVEN)))},
    "numbers of names": {"label2id": json.dumps({name: i for i, name in enumerate(GIVEN)})},
    "an object of classes": {"classes": json.dumps(dict(enumerate(GIVEN)))},
    "labels of two kinds": huggingface(label=GIVEN, class_id=["x", "y"]),
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
@pytest.mark.parametrize("end", ["parquet", "arrow"])
def test_classes_in_the_metadata_of_a_table_say_the_order_of_its_scores(store, tmp_path, metadata, end):
    columns = {"id": IDS, "logits": lists(SCORES[:, TURNED]), "label": labels_of(GIVEN)}
    columns["class_id"] = [0] * N
    table, file = pa.table(columns).replace_schema_metadata(metadata), tmp_path / f"m.{end}"
    if end == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    row = imported(store, file)
    assert (row.status, row.notes[-1], row.suspicions) == ("done", PUT, [])
    assert store.top1()[0].tolist() == PREDICTED.tolist()


def test_predicted_classes_of_datasets_and_of_a_field(store, tmp_path):
    numbers = np.argsort(TURNED)[PREDICTED]
    table = pa.table({"id": IDS, "prediction": numbers})
    pq.write_table(table.replace_schema_metadata(huggingface(prediction=GIVEN)), tmp_path / "hf.parquet")
    field = pa.field("prediction", pa.int64(), metadata={"classes": json.dumps(GIVEN)})
    fielded = pa.table([pa.array(IDS), pa.array(numbers)], schema=pa.schema([("id", pa.string()), field]))
    pq.write_table(fielded, tmp_path / "field.parquet")
    for name in ("hf", "field"):
        assert imported(store, tmp_path / f"{name}.parquet").status == "done"
        assert store.top1([name])[0].tolist() == PREDICTED.tolist()


def test_stated_classes_that_do_not_concern_the_scores(store, tmp_path):
    columns = {"id": IDS, "logits": lists(SCORES), "label": LABELS}
    for name, metadata in {
        "other names": huggingface(label=list("wxyz")),
        "other number": huggingface(label=list("abc")),
        "no json": {"classes": "a, b", "huggingface": "{", "id2label": "[1]"},
        "repeated": {"classes": json.dumps(list("aabb"))},
        "one number twice": {"label2id": json.dumps(dict(zip("wxyz", [0, 1, 2, 2], strict=True)))},
        "columns of the table": {"columns": json.dumps(["id", "logits", "label"])},
    }.items():
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / f"{name}.parquet")
        row = imported(store, tmp_path / f"{name}.parquet")
        assert (row.status, row.notes) == ("done", ["columns not used: 'label'"])
        assert store.top1([name])[0].tolist() == PREDICTED.tolist()
        store.remove(name)
    named = pa.table({"id": IDS, **{c: SCORES[:, i] for i, c in enumerate(CLASSES)}})
    pq.write_table(named.replace_schema_metadata(METADATA["a key of the schema"]), tmp_path / "n.parquet")
    assert imported(store, tmp_path / "n.parquet").notes == []  # its columns say it themselves
    assert store.top1()[0].tolist() == PREDICTED.tolist()


def test_other_stated_classes_are_refused_and_may_be_overruled(store, tmp_path):
    table = pa.table({"id": IDS, "logits": lists(SCORES[:, TURNED])})
    stated = {"classes": json.dumps(list("abcx"))}
    pq.write_table(table.replace_schema_metadata(stated), tmp_path / "m.parquet")
    save_file(
        {"logits": np.ascontiguousarray(SCORES[:, TURNED])}, tmp_path / "t.safetensors", metadata=stated
    )
    for name in ("m.parquet", "t.safetensors"):
        row = imported(store, tmp_path / name)
        assert re.search(f"unknown class in the list of classes in {name}: 'x'.*--classes FILE", row.error)
        row = imported(store, tmp_path / name, classes=GIVEN)
        assert row.status == "done"
        assert store.top1([row.model])[0].tolist() == PREDICTED.tolist()


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": json.dumps(GIVEN)},
        {"id2label": json.dumps(dict(enumerate(GIVEN)))},
        {"LABEL_NAMES": json.dumps(GIVEN), "format": "pt"},
    ],
)
def test_classes_in_the_metadata_of_safetensors(store, tmp_path, metadata):
    file = tmp_path / "m.safetensors"
    save_file({"logits": np.ascontiguousarray(SCORES[:, TURNED])}, file, metadata=metadata)
    row = imported(store, file, rows="store")
    assert (row.status, row.notes) == ("done", [PUT])
    assert store.top1()[0].tolist() == PREDICTED.tolist()


def test_labels_that_datasets_has_numbered_are_taken_by_name(store, tmp_path):
    file, numbers = tmp_path / "truth.parquet", labels_of(GIVEN).tolist()
    numbers[3] = -1  # no label
    table = pa.table({"id": IDS, "label": numbers})
    pq.write_table(table.replace_schema_metadata(huggingface(label=GIVEN)), file)
    made, _ = create_from_files(tmp_path / "new.zoo", file)
    assert made.classes == GIVEN
    assert [sorted(s) for s in _sets(made)] == [[n] if n >= 0 else [] for n in numbers]
    annotate_from_files(store, [("real", file)])
    assert _sets(store.under("real")) == [[] if i == 3 else [n] for i, n in enumerate(LABELS.tolist())]


def _sets(store):
    return [
        [c for c in range(C) if store.truth.take(np.array([i])).correct(np.array([c]))[0]] for i in range(N)
    ]


def test_numbers_of_labels_that_datasets_does_not_have(store, tmp_path):
    table = pa.table({"id": IDS, "label": [4, *LABELS[1:]]})
    pq.write_table(table.replace_schema_metadata(huggingface(label=GIVEN)), tmp_path / "t.parquet")
    with pytest.raises(ArgumentError, match="numbers of its 4 classes, first 'c'; got 4 in row 0"):
        annotate_from_files(store, [("real", tmp_path / "t.parquet")])


def by_class(row):
    return {name: float(SCORES[row, CLASSES.index(name)]) for name in GIVEN}


SHUFFLED = RNG.permutation(N).tolist()
ROWS = {IDS[i]: by_class(i) for i in SHUFFLED}
NESTED = {
    "by id": ROWS,
    "by class": {name: {key: row[name] for key, row in ROWS.items()} for name in GIVEN},
    "pipelines": {key: [{"label": n, "score": v} for n, v in row.items()] for key, row in ROWS.items()},
    "records of pipelines": [
        {"id": key, "output": [{"label": n, "score": v} for n, v in row.items()]} for key, row in ROWS.items()
    ],
    "a split frame": {
        "columns": GIVEN,
        "index": list(ROWS),
        "data": [list(row.values()) for row in ROWS.values()],
    },
    "numbers of classes": {key: {CLASSES.index(n): v for n, v in row.items()} for key, row in ROWS.items()},
    "records": [{"id": key, "scores": row} for key, row in ROWS.items()],
    "records by id": {key: {"scores": row, "seconds": 1.5} for key, row in ROWS.items()},
    "lines": "\n".join(
        json.dumps({"id": key, "logits": row, "camera": {"iso": 3}}) for key, row in ROWS.items()
    ),
}


@pytest.mark.parametrize("content", NESTED.values(), ids=NESTED)
def test_scores_that_json_names_by_class(store, tmp_path, content):
    file = tmp_path / "m.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    row = imported(store, file)
    assert (row.status, row.kind, row.suspicions) == ("done", "logits", [])
    np.testing.assert_allclose(store.logits("m")[:], SCORES, atol=2e-3)


def test_structures_of_scores_in_parquet_are_taken_by_name(store, tmp_path):
    columns = {"scores": list(ROWS.values()), "image": [{"path": key} for key in ROWS], "id": list(ROWS)}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    row = imported(store, tmp_path / "m.parquet")
    assert (row.status, row.notes) == ("done", ["columns not used: 'image.path'"])
    np.testing.assert_allclose(store.logits("m")[:], SCORES, atol=2e-3)


def test_classes_whose_names_end_in_their_numbers(tmp_path):
    names = [f"digit {c}" for c in range(C)]
    store = ds.create(tmp_path / "d.zoo", LABELS, classes=names, example_ids=IDS)
    rows = {key: {f"digit {CLASSES.index(n)}": v for n, v in row.items()} for key, row in ROWS.items()}
    (tmp_path / "m.json").write_text(json.dumps(rows))
    assert imported(store, tmp_path / "m.json").status == "done"
    assert store.top1()[0].tolist() == PREDICTED.tolist()


SQUARE = [str(i) for i in range(C)]  # ids and classes of as many examples


def test_ids_called_like_classes_are_told_apart_by_what_is_held(tmp_path):
    rows = {str(i): SCORES[i].tolist() for i in range(C)}
    wide = ds.create(tmp_path / "w.zoo", LABELS, classes=SQUARE)
    (tmp_path / "m.json").write_text(json.dumps({c: SCORES[:, int(c)].tolist() for c in SQUARE}))
    assert imported(wide, tmp_path / "m.json").status == "done"
    assert wide.top1()[0].tolist() == PREDICTED.tolist()
    (tmp_path / "m.json").write_text(json.dumps(rows))
    assert "36 ids of the store have no row" in imported(wide, tmp_path / "m.json").error
    store = ds.create(tmp_path / "s.zoo", LABELS[:C], classes=SQUARE)
    assert "by class or by example" in imported(store, tmp_path / "m.json").error
    (tmp_path / "m.json").write_text(json.dumps({str(i): int(PREDICTED[i]) for i in range(C)}))
    assert imported(store, tmp_path / "m.json").status == "done"
    assert store.top1()[0].tolist() == PREDICTED[:C].tolist()


def test_a_list_of_classes_that_may_be_numbers_is_asked_about(tmp_path):
    names = ["2", "0", "3", "1"]
    store = ds.create(tmp_path / "s.zoo", LABELS, classes=names, example_ids=IDS)
    np.savez(tmp_path / "m.npz", logits=SCORES, ids=IDS, classes=SQUARE)
    assert "may be names of the store's classes" in imported(store, tmp_path / "m.npz").error
    assert imported(store, tmp_path / "m.npz", classes=names).status == "done"
    assert store.top1()[0].tolist() == PREDICTED.tolist()


def test_keys_of_an_object_stay_the_ids_of_its_records(tmp_path):
    n = 150
    store = ds.create(tmp_path / "s.zoo", np.resize(LABELS, n), classes=CLASSES)
    wrong = {140: {"id": "141"}, 141: {"id": "140"}}
    records = {str(i): {**by_class(i % N), **wrong.get(i, {})} for i in range(n)}
    (tmp_path / "m.json").write_text(json.dumps(records))
    assert imported(store, tmp_path / "m.json").status == "done"
    assert store.top1()[0].tolist() == np.resize(PREDICTED, n).tolist()


def test_several_models_by_name_and_id(store, tmp_path):
    hard = {key: int(PREDICTED[IDS.index(key)]) for key in ROWS}
    (tmp_path / "m.json").write_text(json.dumps({"soft": ROWS, "hard": hard}))
    rows = ds.import_predictions(store, tmp_path / "m.json", progress=False).rows
    assert [(row.model, row.status, row.kind) for row in rows] == [
        ("soft", "done", "logits"),
        ("hard", "done", "labels"),
    ]
    assert store.top1(["soft", "hard"]).tolist() == [PREDICTED.tolist()] * 2


def test_one_of_several_objects_of_scores_is_named(store, tmp_path):
    rows = [{"id": key, "early": {n: -v for n, v in row.items()}, "late": row} for key, row in ROWS.items()]
    (tmp_path / "m.json").write_text(json.dumps(rows))
    assert re.search(
        "several columns or sets.*'early.', 'late.'.*--column", imported(store, tmp_path / "m.json").error
    )
    assert imported(store, tmp_path / "m.json", columns="late").status == "done"
    assert store.top1()[0].tolist() == PREDICTED.tolist()


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


REFUSED = {
    "unknown": (
        {k: {n.upper() * 2: v for n, v in r.items()} for k, r in ROWS.items()},
        "as the store's classes are",
    ),
    "capitals": (
        {k: {n.upper(): v for n, v in r.items()} for k, r in ROWS.items()},
        "exactly their name: 'a', 'b'",
    ),
    "one class never": (
        {k: without(r, "b") for k, r in ROWS.items()},
        "1 of the store's 4 classes have no column",
    ),
    "one class once": ({**ROWS, IDS[7]: without(by_class(7), "b")}, "column 'b' of .* has no value in row"),
    "an id is missing": (dict(list(ROWS.items())[:-1]), "1 id of the store has no row"),
    "other things": ({**ROWS, IDS[0]: 3}, "must hold an object for each of its keys"),
    "labels that are lists": (
        {k: [{"label": [n], "score": v} for n, v in r.items()] for k, r in ROWS.items()},
        "must hold numbers or class names",
    ),
    "records of other names": (
        [{"id": k, "scores": {"x": 1, "y": 2}} for k in ROWS],
        "'scores.x', 'scores.y'",
    ),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_nested_json_that_is_refused_says_why(store, tmp_path, content, message):
    (tmp_path / "m.json").write_text(json.dumps(content))
    row = imported(store, tmp_path / "m.json")
    assert (row.status, store.model_ids) == ("failed", [])
    assert re.search(message, row.error), row.error
