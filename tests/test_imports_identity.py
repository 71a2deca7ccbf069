"""Rows are matched by who they are: ids under any name are found or refused by name, never passed over."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus.errors import ArgumentError
from dissensus.ingest import annotate_from_files, create_from_files, read_class_order

N, C = 60, 4
RNG = np.random.default_rng(4)
LABELS = RNG.integers(0, C, N)
PREDICTED = np.where(np.arange(N) % 5 == 0, (LABELS + 1) % C, LABELS)
IDS = [f"img-{i:03d}" for i in range(N)]
ORDER = RNG.permutation(N)


@pytest.fixture
def store(tmp_path):
    return ds.create(tmp_path / "s.zoo", LABELS, classes=list("abcd"), example_ids=IDS)


def imported(store, path, **options):
    (row,) = ds.import_predictions(store, path, progress=False, **options).rows
    return row


def csv(path, **columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text(",".join(columns) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def shuffled(ids=IDS):
    return [ids[i] for i in ORDER]


def with_foreign(ids):
    return ["nobody", *ids[1:]]


def with_double(ids):
    return [ids[1], *ids[1:]]


@pytest.mark.parametrize("n_more", [0, 60])
def test_a_column_of_ids_of_any_name_in_a_table_of_any_width(store, tmp_path, n_more):
    more = {f"extra{i}x": RNG.random(N) for i in range(n_more)}
    file = csv(tmp_path / "m.csv", who=shuffled(), pred=PREDICTED[ORDER], **more)
    row = imported(store, file)
    assert (row.status, row.notes[0]) == ("done", "ids are column 'who'")
    assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()


@pytest.mark.parametrize(
    ("spoil", "words"), [(with_foreign, "not in the store"), (with_double, "more than once")]
)
@pytest.mark.parametrize("form", ["csv", "parquet", "npz", "json"])
def test_one_wrong_id_is_refused_and_never_taken_for_no_ids(store, tmp_path, spoil, words, form):
    who, file = spoil(shuffled()), tmp_path / f"m.{form}"
    if form == "csv":
        csv(file, who=who, pred=PREDICTED[ORDER])
    elif form == "parquet":
        pq.write_table(pa.table({"who": who, "pred": PREDICTED[ORDER]}), file)
    elif form == "npz":
        np.savez(file, who=np.array(who), pred=PREDICTED[ORDER])
    else:
        file.write_text(json.dumps({"who": who, "pred": PREDICTED[ORDER].tolist()}))
    error = imported(store, file).error
    assert words in error
    assert "column 'who', taken for the ids by its values" in error
    assert "--id-column" in error
    assert "--rows store" in error
    row = imported(store, file, rows="store")  # the remedy
    assert row.accuracy == (PREDICTED[ORDER] == LABELS).mean()
    assert any("'who' is not taken for the ids" in note for note in row.notes)


def test_an_array_of_ids_of_any_name(store, tmp_path):
    np.savez(tmp_path / "m.npz", pred=PREDICTED[ORDER], who=np.array(shuffled()))
    row = imported(store, tmp_path / "m.npz")
    assert (row.error, row.notes) == (None, ["ids are array 'who'"])
    assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()
    (tmp_path / "m.npz").rename(tmp_path / "by position.npz")  # the remedy where they are no ids
    row = imported(store, tmp_path / "by position.npz", rows="store")
    assert row.error is None
    assert store.top1(["by position"])[0].tolist() == PREDICTED[ORDER].tolist()
    assert any("'who' is not taken for the ids" in note for note in row.notes)


def test_predictions_that_are_named_are_no_ids_whatever_they_hold(tmp_path):
    """As many classes as examples: predictions look like the ids of a store, which are numbers."""
    ids = [str(i) for i in range(1, 301)]
    labels = np.random.default_rng(0).permutation(300)
    store = ds.create(tmp_path / "n.zoo", labels, classes=[f"c{i}" for i in range(300)], example_ids=ids)
    lines = [str(label) for label in np.where(np.arange(300) % 10 == 0, (labels + 1) % 300, labels)]
    (tmp_path / "one.csv").write_text("\n".join(["resnet", *lines]) + "\n")
    (tmp_path / "two.csv").write_text("\n".join(["resnet,vgg", *(f"{x},{x}" for x in lines)]) + "\n")
    for file in ("one", "two"):
        report = ds.import_predictions(
            store, tmp_path / f"{file}.csv", columns="resnet", rows="store", progress=False
        )
        assert [row.error for row in report.rows] == [None]
        assert report.rows[0].accuracy == 0.9


def test_ranks_are_asked_about_also_where_ids_begin_with_1(tmp_path):
    ids = [str(i) for i in range(1, N + 1)]
    store = ds.create(tmp_path / "n.zoo", LABELS, classes=list("abcd"), example_ids=ids)
    ranks = np.random.default_rng(3).permutation(N) + 1
    rows = "\n".join(f"{p},{r}" for p, r in zip(PREDICTED, ranks, strict=True))
    (tmp_path / "m.csv").write_text(f"resnet,confidence_rank\n{rows}\n")
    told = ds.import_predictions(store, tmp_path / "m.csv", columns="resnet", progress=False).rows[0].error
    assert "'confidence_rank'" in told
    assert "in another order" in told
    row = ds.import_predictions(
        store, tmp_path / "m.csv", columns="resnet", rows="store", progress=False
    ).rows[0]
    assert (row.error, row.accuracy) == (None, (PREDICTED == LABELS).mean())


@pytest.mark.parametrize("end", ["\r\n", "\r\r\n"])
def test_lines_that_end_twice_are_one_line(store, tmp_path, end):
    (tmp_path / "m.csv").write_bytes(end.join(["pred", *map(str, PREDICTED), ""]).encode())
    assert imported(store, tmp_path / "m.csv", rows="store").accuracy == (PREDICTED == LABELS).mean()


def test_a_side_column_with_an_empty_cell_is_no_ids(tmp_path):
    n = 1500
    labels = np.arange(n) % 4
    store = ds.create(tmp_path / "n.zoo", labels, classes=list("abcd"))
    cells = [f"{c},{'' if i == 1400 else i % 7}" for i, c in enumerate(labels)]
    (tmp_path / "m.csv").write_text("\n".join(["pred,votes", *cells]) + "\n")
    scores = [f"{c},{'n/a!' if i == 5 else i / n}" for i, c in enumerate(labels)]
    (tmp_path / "c.csv").write_text("\n".join(["pred,conf", *scores]) + "\n")
    report = ds.import_predictions(store, [tmp_path / "m.csv", tmp_path / "c.csv"], progress=False)
    assert [(row.error, row.accuracy) for row in report.rows] == [(None, 1.0)] * 2


def test_arrays_of_models_are_no_ids(tmp_path):
    store = ds.create(
        tmp_path / "n.zoo", LABELS, classes=list("abcd"), example_ids=[str(i) for i in range(1, N + 1)]
    )
    np.savez(tmp_path / "two.npz", one=PREDICTED, two=LABELS)
    report = ds.import_predictions(store, tmp_path / "two.npz", progress=False)
    assert [(row.model, row.status) for row in report.rows] == [("one", "done"), ("two", "done")]


def test_row_numbers_in_another_order_are_asked_about(tmp_path):
    store = ds.create(tmp_path / "n.zoo", LABELS, classes=list("abcd"))
    np.savez(tmp_path / "m.npz", who=ORDER, pred=PREDICTED[ORDER])
    assert "array 'who' of" in imported(store, tmp_path / "m.npz").error
    assert imported(store, tmp_path / "m.npz", id_column="who").accuracy == (PREDICTED == LABELS).mean()
    csv(tmp_path / "straight.csv", who=range(N), pred=PREDICTED)
    assert imported(store, tmp_path / "straight.csv").status == "done"


@pytest.mark.parametrize("by_model", [True, False])
def test_a_long_table_with_ids_of_any_name(store, tmp_path, by_model):
    models = {"one": PREDICTED, "two": LABELS}
    rows = [(IDS[i], name, values[i]) for name, values in models.items() for i in ORDER]
    rows = rows if by_model else sorted(rows)
    who, model, pred = zip(*rows, strict=True)
    report = ds.import_predictions(
        store, csv(tmp_path / "l.csv", who=who, model=model, pred=pred), progress=False
    )
    assert [row.status for row in report.rows] == ["done", "done"]
    for name, values in models.items():
        assert store.top1([name])[0].tolist() == values.tolist()


def test_ids_with_blanks_and_capitals_are_said_so(store, tmp_path):
    file = csv(tmp_path / "m.csv", who=[f"{name.upper()} " for name in shuffled()], pred=PREDICTED[ORDER])
    assert f"blanks and capitals {N} agree, first 'IMG-" in imported(store, file).error


def test_a_folder_given_as_dot_has_a_name(store):
    row = imported(store, ".")
    assert row.model == "."
    assert "is a folder" in row.error


def test_what_is_missing_or_badly_coded_is_said(store, tmp_path):
    assert "has no column beside the ids" in imported(store, csv(tmp_path / "m.csv", id=IDS)).error
    (tmp_path / "l.csv").write_bytes(b"id,pred\n\xe9,1\n")
    assert "save it as UTF-8" in imported(store, tmp_path / "l.csv").error
    (tmp_path / "n.json").write_text('{"preds": {"a": 1}}')
    assert (
        "holds no arrays of predictions; what it has are no lists: preds"
        in imported(store, tmp_path / "n.json").error
    )
    np.save(tmp_path / "t.npy", np.zeros((C, N)))
    assert "transposed" in imported(store, tmp_path / "t.npy").error


@pytest.mark.parametrize("column", ["id", "who", "name"])
def test_ids_that_differ_by_folder_or_ending_only_are_said_so(store, tmp_path, column):
    file = csv(
        tmp_path / "m.csv", **{column: [f"val/{name}.JPEG" for name in shuffled()]}, pred=PREDICTED[ORDER]
    )
    error = imported(store, file).error
    assert (
        f"But for folder, ending, blanks and capitals {N} agree, first 'val/{IDS[ORDER[0]]}.JPEG' with"
        in error
    )
    assert "write them in the file as they are in the store" in error


def test_two_columns_of_ids_that_contradict_each_other(store, tmp_path):
    file = csv(tmp_path / "m.csv", id=IDS, file_name=shuffled(), pred=PREDICTED[ORDER])
    error = imported(store, file).error
    assert "columns 'id' and 'file_name' of" in error
    assert "--id-column" in error
    row = imported(store, file, id_column="file_name")
    assert row.accuracy == (PREDICTED == LABELS).mean()
    agree = csv(tmp_path / "agree.csv", id=shuffled(), file_name=shuffled(), pred=PREDICTED[ORDER])
    assert imported(store, agree).notes[:2] == ["ids are column 'id'", "columns not used: 'file_name'"]
    other = csv(tmp_path / "other.csv", id=range(N), file_name=shuffled(), pred=PREDICTED[ORDER])
    assert imported(store, other).notes[0] == "ids are column 'file_name'"


@pytest.mark.parametrize("end", ["\n", "\n\n\n", ""])
def test_an_empty_line_of_one_column_is_an_empty_cell(tmp_path, end):
    lines = ["label", *map(str, LABELS[:8]), "", *map(str, LABELS[8:])]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + end)
    made, _ = create_from_files(tmp_path / "e.zoo", tmp_path / "labels.csv")
    assert made.n_examples == N + 1
    assert made.truth.counted.tolist() == [i != 8 for i in range(N + 1)]
    assert made.truth.first[9:].tolist() == LABELS[8:].tolist()
    (tmp_path / "m.csv").write_text("\n".join(["pred", *lines[1:]]) + end)
    assert "has no value in row 8" in imported(made, tmp_path / "m.csv").error


def test_sorted_whole_numbers_are_in_the_order_of_numbers(tmp_path):
    ids = [str(i) for i in ORDER]
    store = ds.create(tmp_path / "n.zoo", LABELS[ORDER], classes=list("abcd"), example_ids=ids)
    np.save(tmp_path / "m.npy", PREDICTED)
    row = imported(store, tmp_path / "m.npy", rows="sorted")
    assert row.accuracy == (PREDICTED == LABELS).mean()
    assert row.notes == ["rows are taken in the order of the ids as numbers, 2 before 10"]


TURNED = [2, 0, 3, 1]  # the store's class of each column of the files below
SCORES = np.eye(C)[PREDICTED] * 3 + RNG.random((N, C))


def with_classes(path, classes, key="classes", rows=SCORES[:, TURNED]):
    """Write an archive or object of scores or classes, ids, and a list of classes."""
    content = {"logits" if rows.ndim == 2 else "pred": rows, "ids": IDS, key: classes}
    if path.suffix == ".json":
        path.write_text(
            json.dumps({n: v.tolist() if hasattr(v, "tolist") else v for n, v in content.items()})
        )
    else:
        np.savez(path, **content)
    return path


@pytest.mark.parametrize("key", ["classes", "Class_Names", "classes_"])
@pytest.mark.parametrize("end", ["npz", "json"])
def test_classes_that_a_file_lists_are_put_into_the_stores_order(store, tmp_path, end, key):
    row = imported(store, with_classes(tmp_path / f"m.{end}", list("cadb"), key))
    assert (row.status, row.suspicions) == ("done", [])
    assert row.notes == ["classes put from the order of the file, 'c' first, into the store's"]
    np.testing.assert_allclose(store.logits("m")[:], SCORES, atol=2e-3)
    numbers = np.argsort(TURNED)[PREDICTED]
    imported(store, with_classes(tmp_path / f"hard.{end}", list("cadb"), key, numbers))
    assert store.top1(["hard"])[0].tolist() == PREDICTED.tolist()


@pytest.mark.parametrize("classes", [list("abcd"), [0, 1, 2, 3]])
def test_classes_in_order_or_by_number_say_nothing_new(store, tmp_path, classes):
    row = imported(store, with_classes(tmp_path / "m.npz", classes, rows=SCORES))
    assert (row.status, row.notes) == ("done", [])
    assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()


def test_classes_called_by_numbers_in_another_order(tmp_path):
    store = ds.create(tmp_path / "n.zoo", LABELS, classes=["10", "20", "30", "40"], example_ids=IDS)
    imported(store, with_classes(tmp_path / "m.npz", [30, 10, 40, 20]))
    assert store.top1()[0].tolist() == PREDICTED.tolist()


def test_classes_called_by_numbers_are_not_taken_for_ids(tmp_path):
    store = ds.create(tmp_path / "n.zoo", LABELS, classes=list("1032"))
    np.savez(tmp_path / "m.npz", logits=SCORES[:, TURNED], classes=list("3120"))
    row = imported(store, tmp_path / "m.npz", rows="store")
    assert row.notes == ["classes put from the order of the file, '3' first, into the store's"]
    assert store.top1()[0].tolist() == PREDICTED.tolist()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (list("abcx"), "unknown class in the list of classes in m.npz: 'x'.*--classes FILE"),
        (list("abc"), "the list of classes in m.npz must name each of the store's 4 classes once"),
        ([3, 1, 0, 2], "unknown class in the list of classes in m.npz: '3'"),
    ],
)
def test_lists_of_other_classes_are_refused_and_may_be_overruled(store, tmp_path, classes, message):
    file = with_classes(tmp_path / "m.npz", classes)
    row = imported(store, file)
    assert (row.status, store.model_ids) == ("failed", [])
    assert re.search(message, row.error)
    row = imported(store, file, classes=list("cadb"))
    assert row.notes == ["the file's own list of classes is not used: classes= (--classes) says their order"]
    assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()


def test_classes_of_examples_are_no_list_of_classes(store, tmp_path):
    file = with_classes(tmp_path / "m.npz", [list("abcd")[c] for c in PREDICTED], rows=SCORES)
    assert imported(store, file).notes == ["not used: classes"]
    names = with_classes(tmp_path / "names.npz", list("cadb"), rows=np.array(list("abcd"))[PREDICTED])
    assert imported(store, names).status == "done"
    assert store.top1(["m", "names"]).tolist() == [PREDICTED.tolist()] * 2


@pytest.mark.parametrize("heads", ["abdx", "ABCD", "abd"])
def test_columns_of_some_classes_only_are_refused_by_name(store, tmp_path, heads):
    columns = {name: SCORES[:, column] for column, name in enumerate(heads)}
    row = imported(store, csv(tmp_path / "m.csv", id=IDS, **columns))
    lacking = ", ".join(repr(name) for name in "abcd" if name not in heads)
    assert f"classes have no column of exactly their name: {lacking}; rename or add" in row.error


@pytest.mark.parametrize("name", ["names.txt", "names.csv", "names.json"])
def test_class_names_that_repeat_are_no_order(tmp_path, name):
    store = ds.create(tmp_path / "s.zoo", LABELS, classes=[str(i) for i in range(C)])
    names = ["ant", "bee", "ant", "cow"]
    file = tmp_path / name
    file.write_text(
        json.dumps(names) if name.endswith("json") else "name\n" * (name[-3:] == "csv") + "\n".join(names)
    )
    np.save(tmp_path / "m.npy", PREDICTED)
    with pytest.raises(ArgumentError, match="'ant'.* 2 times"):
        imported(store, tmp_path / "m.npy", classes=read_class_order(file))
    assert store.model_ids == []


@pytest.mark.parametrize(
    "text",
    [
        '{"img-000": 1, "img-001": 2, "img-000": 3}',
        '[{"id": "a", "pred": 1, "id": "b"}]',
        '{"id": "a", "id": "b"}\n{"id": "c"}',
    ],
)
def test_keys_that_come_twice_are_refused(store, tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    assert "an object has the key 'i" in imported(store, tmp_path / "m.json").error


def test_create_again_finds_the_store_equal_or_refuses(tmp_path):
    labels = csv(tmp_path / "l.csv", id=IDS, label=LABELS, group=["g"] * N)
    first, _ = create_from_files(tmp_path / "s.zoo", labels)
    first.add("m", predictions=PREDICTED)
    again, _ = create_from_files(tmp_path / "s.zoo", labels)
    assert again.model_ids == ["m"]
    other = csv(tmp_path / "o.csv", id=IDS, label=(LABELS + 1) % C, group=["g"] * N)
    for file, options in ((other, {}), (labels, {"dtype": "float32"}), (labels, {"label_set": "x"})):
        with pytest.raises(ds.DissensusError, match="exists already"):
            create_from_files(tmp_path / "s.zoo", file, **options)


def test_annotate_again_finds_equal_labels_and_columns(store, tmp_path):
    real = csv(tmp_path / "real.csv", id=shuffled(), label=PREDICTED[ORDER])
    groups = csv(tmp_path / "g.csv", id=shuffled(), group=[f"g{i % 3}" for i in ORDER])
    done = annotate_from_files(store, [("real", real)], [groups])
    assert done[1] == "added columns group"
    done = annotate_from_files(store, [("real", real)], [groups])
    assert done == ["labels real are there already and equal", "columns group are there already and equal"]
    more = csv(tmp_path / "m.csv", id=IDS, group=[f"g{i % 3}" for i in range(N)], hue=range(N))
    said = "added columns hue; columns group are there already and equal"
    assert annotate_from_files(store, [], [more]) == [said]
    other = csv(tmp_path / "other.csv", id=IDS, group=["g"] * N)
    with pytest.raises(ArgumentError, match="column 'group' is there already"):
        annotate_from_files(store, [], [other])
    with pytest.raises(ArgumentError, match="column 'label_real' is there already"):
        annotate_from_files(store, [("real", csv(tmp_path / "r.csv", id=IDS, label=LABELS))])


def test_named_classes_that_no_example_has_are_counted(tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
    file = csv(tmp_path / "l.csv", id=IDS, label=LABELS)
    _, notes = create_from_files(tmp_path / "s.zoo", file, classes=tmp_path / "names.txt")
    assert notes[-1] == "4 of 1,000 classes occur in the labels"


def test_nan_is_there_already_and_equal(tmp_path, store):
    table = tmp_path / "t.parquet"
    blur = [float("nan"), *([0.5] * (N - 1))]
    pq.write_table(pa.table({"id": IDS, "label": PREDICTED, "blur": blur}), table)
    for _ in range(2):
        made, _notes = create_from_files(tmp_path / "new.zoo", table, classes=None)
    assert made.n_examples == N
    pq.write_table(pa.table({"id": IDS, "blur": blur}), table)
    annotate_from_files(store, [], [table])
    assert annotate_from_files(store, [], [table]) == ["columns blur are there already and equal"]
