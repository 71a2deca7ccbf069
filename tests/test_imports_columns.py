"""Which column of a table is what: ids as they are written, right answers not taken for predictions."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dissensus as ds

N, C = 20, 4
NAMES = ["dog", "ant", "cow", "bee"]
LABELS = np.arange(N) % C
PREDICTED = np.where(np.arange(N) < 15, LABELS, 0)


@pytest.fixture
def store(tmp_path):
    return ds.create(tmp_path / "s.zoo", LABELS, classes=NAMES, example_ids=[f"x{i}" for i in range(N)])


def lines(header, *columns):
    return header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def imported(store, path, **options):
    (row,) = ds.import_predictions(store, path, progress=False, **options).rows
    return row


IDS = {
    "float.parquet": (lambda i: str(i), lambda given: pa.array([float(v) for v in given])),
    "binary.parquet": (lambda i: f"x{i}", lambda given: pa.array([v.encode() for v in given], pa.binary())),
    "dictionary.parquet": (lambda i: f"x{i}", lambda given: pa.array(given).dictionary_encode()),
    "padded.csv": (lambda i: f"{i:05d}", None),
    "fraction.csv": (lambda i: f"{i}.5", None),
    "exponent.csv": (lambda i: f"{i}e3", None),
    "twenty-digits.csv": (lambda i: str(10**20 + i), None),
    "time.csv": (lambda i: f"2024-01-01T00:{i:02d}:00", None),
    "boolean.csv": (lambda i: ["true", "false"][i] if i < 2 else f"x{i}", None),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_of_any_type_of_a_shuffled_file(tmp_path, name):
    text, column = IDS[name]
    ids = [text(i) for i in range(N)]
    store = ds.create(tmp_path / "s.zoo", LABELS, classes=NAMES, example_ids=ids)
    order = np.random.default_rng(0).permutation(N)
    shuffled = [ids[i] for i in order]
    if column is None:
        (tmp_path / name).write_text(lines("id,pred", shuffled, PREDICTED[order]))
    else:
        pq.write_table(pa.table({"id": column(shuffled), "pred": PREDICTED[order]}), tmp_path / name)
    row = imported(store, tmp_path / name)
    assert (row.error, row.notes) == (None, [])
    assert store.top1([row.model])[0].tolist() == PREDICTED.tolist()


def test_a_column_called_id_that_holds_none_is_refused(store, tmp_path):
    pq.write_table(pa.table({"id": np.arange(N) + 0.5, "pred": PREDICTED}), tmp_path / "half.parquet")
    assert "column 'id' of " in imported(store, tmp_path / "half.parquet").error
    (tmp_path / "gap.csv").write_text(lines("id,pred", ["", *store.example_ids[1:]], PREDICTED))
    assert "has no id in 1 rows, first row 0" in imported(store, tmp_path / "gap.csv").error
    assert store.model_ids == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,label,resnet50", "among 'label', 'resnet50'; name it with columns= (--column)"),
        ("id,class,output", "among 'class', 'output'"),
        ("id,target,out", "among 'target', 'out'"),
    ],
)
def test_right_answers_are_not_taken_for_the_model(store, tmp_path, header, message):
    (tmp_path / "m.csv").write_text(lines(header, store.example_ids, LABELS, PREDICTED))
    assert message in imported(store, tmp_path / "m.csv").error
    row = imported(store, tmp_path / "m.csv", columns=header.split(",")[2])
    assert row.accuracy == (PREDICTED == LABELS).mean()


def test_a_lone_column_of_labels_is_a_model_with_a_warning_if_all_is_right(store, tmp_path):
    for name, values in (("right", LABELS), ("model", PREDICTED)):
        text = lines("id,label,confidence", store.example_ids, values, np.full(N, 0.5))
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "named.csv").write_text(lines("id,pred", store.example_ids, LABELS))
    for name in ("right", "named"):
        assert "equals the labels in every row" in imported(store, tmp_path / f"{name}.csv").suspicions[0]
    assert imported(store, tmp_path / "model.csv").suspicions == []


def test_ids_known_by_their_values_are_said(store, tmp_path):
    (tmp_path / "m.csv").write_text(lines("who,pred", store.example_ids, PREDICTED))
    assert imported(store, tmp_path / "m.csv").notes == ["ids are column 'who'"]
    plain = ds.create(tmp_path / "plain.zoo", LABELS, classes=NAMES)  # its ids are row numbers
    (tmp_path / "rank.csv").write_text(lines("pred,rank", PREDICTED, np.arange(N)[::-1]))
    assert (
        "column 'rank' of " in imported(plain, tmp_path / "rank.csv").error
    )  # ids or ranks: nobody can tell
    row = imported(plain, tmp_path / "rank.csv", rows="store")
    assert row.accuracy == (PREDICTED == LABELS).mean()
    by_id = imported(plain, tmp_path / "rank.csv", id_column="rank", model_id="by-id")
    assert by_id.accuracy == (PREDICTED[::-1] == LABELS).mean()


def test_numbers_in_another_order_are_asked_about_in_every_model(tmp_path):
    plain = ds.create(tmp_path / "plain.zoo", LABELS, classes=NAMES)
    models, ranks = ["a"] * N + ["b"] * N, [*range(N), *reversed(range(N))]
    (tmp_path / "long.csv").write_text(lines("model,pred,rank", models, [*PREDICTED, *PREDICTED], ranks))
    assert "which are numbers, once and in another order" in imported(plain, tmp_path / "long.csv").error
    (tmp_path / "long.csv").write_text(lines("model,pred,rank", models, [*PREDICTED] * 2, [*range(N)] * 2))
    report = ds.import_predictions(plain, tmp_path / "long.csv", progress=False)
    assert [row.status for row in report.rows] == ["done", "done"]


def test_columns_named_by_class_are_in_order_already(store, tmp_path):
    z = np.random.default_rng(0).normal(size=(N, C))
    order = np.argsort(NAMES)
    header = ",".join(["id", *(NAMES[i] for i in order)])
    (tmp_path / "m.csv").write_text(lines(header, store.example_ids, *z[:, order].T))
    given = [NAMES[i] for i in order]
    assert (
        "(--classes) must not be given where columns"
        in imported(store, tmp_path / "m.csv", classes=given).error
    )
    assert imported(store, tmp_path / "m.csv").status == "done"
    assert store.top1(["m"])[0].tolist() == z.argmax(axis=1).tolist()


def test_numbers_that_may_be_names_are_refused(tmp_path):
    names = ["3", "2", "1", "0"]
    store = ds.create(tmp_path / "s.zoo", LABELS, classes=names)
    np.save(tmp_path / "m.npy", PREDICTED)
    assert "named by other numbers, first ['3', '2', '1']" in imported(store, tmp_path / "m.npy").error
    assert imported(store, tmp_path / "m.npy", classes=names).accuracy == (PREDICTED == LABELS).mean()
    (tmp_path / "t.json").write_text(json.dumps([names[i] for i in PREDICTED]))
    assert imported(store, tmp_path / "t.json").accuracy == (PREDICTED == LABELS).mean()


@pytest.mark.parametrize(("separator", "said"), [(";", "';'"), ("\t", "'\\t'")])
def test_other_separators_are_recognised(store, tmp_path, separator, said):
    text = lines("id,pred", store.example_ids, PREDICTED).replace(",", separator)
    (tmp_path / "m.csv").write_text(text)
    row = imported(store, tmp_path / "m.csv")
    assert (row.status, row.notes) == ("done", [f"columns are separated by {said}"])


def test_records_have_the_columns_of_all(store, tmp_path):
    records = [{"id": f"x{i}", **({"cow": 1.5} if i else {"pred": 1})} for i in range(N)]
    (tmp_path / "m.json").write_text(json.dumps(records))
    assert "column 'pred' of " in imported(store, tmp_path / "m.json").error


def test_lists_name_the_row_that_is_wrong(store, tmp_path):
    rows = [[0.5, 1.0, 2.0, None if i == 5 else 3.0] for i in range(N)]
    pq.write_table(pa.table({"id": store.example_ids, "logits": rows}), tmp_path / "gap.parquet")
    assert "has no value in row 5" in imported(store, tmp_path / "gap.parquet").error
    rows = [[0.5] * (4 if i < 10 else 3) for i in range(N)]
    table = pa.table({"id": store.example_ids, "logits": rows})
    pq.write_table(table, tmp_path / "odd.parquet", row_group_size=10)
    assert "row 0 has 4 values, row 10 has 3" in imported(store, tmp_path / "odd.parquet").error


def test_metadata_of_a_model_that_is_there(store, tmp_path):
    np.save(tmp_path / "m.npy", PREDICTED)
    first = imported(store, tmp_path / "m.npy", rows="store", metadata={"source": "x", "tag": 1})
    assert (first.status, store.model("m").metadata["source"]) == ("done", "import")
    assert "metadata not kept, as the import writes them: source" in first.notes
    again = imported(store, tmp_path / "m.npy", rows="store", metadata={"tag": 2})
    assert (again.status, again.notes) == (
        "stored",
        ["metadata not changed: replace the model with replace=True (--replace)"],
    )
    assert imported(store, tmp_path / "m.npy", rows="store", metadata={"tag": 1}).notes == []
    assert (
        imported(store, tmp_path / "m.npy", rows="store", metadata={"tag": 2}, replace=True).status == "done"
    )
    assert store.model("m").metadata["tag"] == 2


def test_models_called_by_their_folders(store, tmp_path):
    for name in ("resnet", "vit"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "preds.npy", PREDICTED if name == "vit" else LABELS)
    files = sorted(tmp_path.glob("*/preds.npy"))
    with pytest.raises(ds.DissensusError, match=r"comes from .*--name-from folder"):
        ds.import_predictions(store, files, progress=False)
    report = ds.import_predictions(store, files, name_from="folder", rows="store", progress=False)
    assert [row.model for row in report.done] == ["resnet", "vit"]
    with pytest.raises(ds.DissensusError, match="name_from must be 'stem' or 'folder'; got 'x'"):
        ds.import_predictions(store, files, name_from="x")


def test_values_that_no_class_number_has(store, tmp_path):
    for name, value, dtype in (("u64", 2**64 - 1, "u8"), ("e300", 1e300, "f8"), ("i64", 2**62, "i8")):
        values = PREDICTED.astype(dtype)
        values[7] = value
        np.save(tmp_path / f"{name}.npy", values)
        assert (
            f"{name}.npy: one number a row that is no class (0 to "
            in imported(store, tmp_path / f"{name}.npy").error
        )
    values = PREDICTED.astype("f8")
    values[7] = np.nan
    np.save(tmp_path / "nan.npy", values)
    assert "nan.npy gave nan for example 'x7'; predictions" in imported(store, tmp_path / "nan.npy").error
