"""Labels, classes and columns from files, and the stores made and annotated with them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus.errors import ArgumentError, ExamplesMismatch, UnknownName
from dissensus.ingest import (
    annotate_from_files,
    create_from_files,
    read_classes,
    read_labels,
    read_table,
)

IDS = ["b", "c", "a"]


def save_arrays(path, arrays):
    import torch
    from safetensors.numpy import save_file

    if path.suffix == ".pt":
        torch.save(torch.from_numpy(arrays["labels"]), path)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)


def written(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        save_arrays(path, content)
    elif isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        np.save(path, content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("y.csv", "file_name,label\nb,2\nc,0\na,1\n"),
        ("y.tsv", "id\ttarget\nb\t2\nc\t0\na\t1\n"),
        ("y.parquet", pa.table({"key": IDS, "y": [2, 0, 1]})),
        ("y.json", json.dumps([{"id": "b", "label": 2}, {"id": "c", "label": 0}, {"id": "a", "label": 1}])),
        ("y2.json", json.dumps({"b": 2, "c": 0, "a": 1})),
        ("y.jsonl", '{"id": "b", "label": 2}\n{"id": "c", "label": 0}\n{"id": "a", "label": 1}\n'),
        ("floats.csv", "id,label\nb,2.0\nc,0.0\na,1.0\n"),
    ],
)
def test_class_numbers_with_ids(tmp_path, name, content):
    found = read_labels(written(tmp_path / name, content))
    assert (found.ids, found.labels, found.classes) == (IDS, [2, 0, 1], None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("y.npy", np.array([2, 0, 1], "u2")),
        ("y.json", "[2, 0, 1]"),
        ("y.jsonl", "2\n0\n1\n"),
        ("y.csv", "label\n2\n0\n1\n"),
        ("bare.csv", "2\n0\n1\n"),
        ("column.npy", np.array([[2], [0], [1]])),
        ("y.npz", {"labels": np.array([2, 0, 1])}),
        ("y.safetensors", {"labels": np.array([2, 0, 1])}),
        ("y.pt", {"labels": np.array([2, 0, 1])}),
    ],
)
def test_class_numbers_alone(tmp_path, name, content):
    found = read_labels(written(tmp_path / name, content))
    assert (found.ids, found.labels, found.notes) == (None, [2, 0, 1], [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("y.json", "[[2, 0], [], [1]]"),
        ("y.jsonl", "[2, 0]\n[]\n[1]\n"),
        ("y.parquet", pa.table({"label": [[2, 0], [], [1]]})),
        ("y.csv", "label,x\n2 0,1\n,1\n1,1\n"),
        ("semicolon.csv", "label,x\n2;0,1\n,1\n1,1\n"),
        ("bar.csv", "label,x\n2|0,1\n,1\n1,1\n"),
        ("list.csv", 'label,x\n"[2, 0]",1\n[],1\n[1],1\n'),
    ],
)
def test_sets_of_classes(tmp_path, name, content):
    assert read_labels(written(tmp_path / name, content)).labels == [[2, 0], [], [1]]


def test_class_names(tmp_path):
    plain = written(tmp_path / "y.csv", 'id,label\nb,"tench, big"\nc,golden fish\na,golden fish\n')
    assert read_labels(plain).labels == [1, 0, 0]
    assert read_labels(plain).classes == ["golden fish", "tench, big"]
    assert read_labels(plain, classes=["tench, big", "x", "golden fish"]).labels == [0, 2, 2]
    sets = written(tmp_path / "s.csv", "id,label\nb,x; y\nc,\na,x|z\n")
    assert read_labels(sets).labels == [[0, 1], [], [0, 2]]
    lists = written(tmp_path / "l.parquet", pa.table({"label": [["x", "y"], [], None]}))
    assert read_labels(lists).labels == [[0, 1], [], []]
    with pytest.raises(UnknownName, match="unknown class in column 'label' of .*'golden fish'"):
        read_labels(plain, classes=["tench, big", "carp"])
    digits = written(tmp_path / "d.csv", "id,label\nb,10\nc,9\na,9\n")
    with pytest.raises(ArgumentError, match="do these name classes or count them from 0"):
        read_labels(digits, classes=["9", "10"])
    assert read_labels(digits, classes=[str(i) for i in range(11)]).labels == [10, 9, 9]
    as_text = written(tmp_path / "d.parquet", pa.table({"id": IDS, "label": ["10", "9", "9"]}))
    assert read_labels(as_text, classes=["9", "10"]).labels == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("y.csv", "id,what,why\nb,1,2\n", {}, "no column .* hold labels among what, why; name it"),
        ("y.csv", "id,label\nb,1.5\n", {}, "must hold class numbers; got 1.5"),
        ("y.csv", "id,label\nb,\n", {}, "is empty in every row"),
        ("y.csv", "id,label\n", {}, "has no rows"),
        ("y.csv", "id,label\nb,1\n", {"label_column": "lable"}, "unknown column of y.csv 'lable'"),
        ("y.csv", "id,label\nb,1\n", {"id_column": "ix"}, "unknown column of y.csv 'ix'"),
        ("y.npy", np.zeros((2, 2)), {}, "must hold one value a row; it has the shape"),
        ("y.json", "3", {}, "must hold a list or an object; it holds 3"),
        ("y.json", "[1, [2]]", {}, "cannot be read as json"),
        ("y.json", "[true, false]", {}, "or lists of them; it holds bool"),
        ("y.npz", "x", {}, "cannot be read as npz"),
        ("y.npy", np.array([0, np.inf]), {}, "must hold class numbers; got inf in row 1"),
        ("y.csv", "id,label\na,\"0,1\"\nb,1\n", {}, "'0,1', which is neither a class nor a set .*0;1 or"),
        ("y.csv", "id,label\na,1;2\nb,-1\n", {}, "'-1', which is neither a class nor a set"),
        ("y.csv", "id,label\na,['x']\nb,\n", {}, "which is neither a class nor a set"),
        ("y.csv", "file,label\na,1\nb,1\na,1\n", {}, "column 'file' of .* has the id 'a' 2 times; ids must"),
        ("y.csv", "id,label\na,1\n,1\n", {}, "has no id in 1 rows, first row 1; each row needs one"),
        ("y.csv", "id,label\n1.5,1\n2.5,1\n", {"label_column": "x"}, "unknown column"),
        ("y.parquet", pa.table({"id": [0.5, 1], "label": [0, 1]}), {}, "must hold ids, texts or whole"),
    ],
)  # fmt: skip
def test_label_files_that_are_refused(tmp_path, name, content, options, message):
    with pytest.raises((ArgumentError, UnknownName), match=message):
        read_labels(written(tmp_path / name, content), **options)


def test_tables(tmp_path):
    assert read_table(written(tmp_path / "a.npy", np.arange(3))).to_pydict() == {"value": [0, 1, 2]}
    assert read_table(written(tmp_path / "a.json", '{"a": [1], "b": ["x"]}')).to_pydict() == {
        "a": [1],
        "b": ["x"],
    }


def test_classes_from_text_and_tables(tmp_path):
    assert read_classes(written(tmp_path / "names.txt", "cat\n\n dog \n")).names == ["cat", "dog"]
    assert read_classes(written(tmp_path / "bare.csv", "cat\ndog\n")).names == ["cat", "dog"]
    table = written(tmp_path / "t.csv", "class_id,wnid,name,group\n1,n2,dog,x\n0,n1,cat,y\n")
    found = read_classes(table)
    assert (found.names, found.notes) == (["cat", "dog"], [])
    assert found.columns == {"wnid": ["n1", "n2"], "group": ["y", "x"]}
    repeats = read_classes(written(tmp_path / "r.csv", "wnid,name\nn1,crane\nn2,crane\n"))
    assert (repeats.names, repeats.columns) == (["n1", "n2"], {"name_in_file": ["crane", "crane"]})
    assert repeats.notes == [
        "column 'name' of r.csv repeats names ('crane' 2 times): classes are called by column 'wnid'"
    ]
    groups = read_classes(written(tmp_path / "g.csv", "name,group\nfish,0\nfish,0\n"))
    assert groups.names == ["0", "1"]
    assert groups.columns == {"name_in_file": ["fish", "fish"], "group": [0, 0]}
    with pytest.raises(ArgumentError, match="has no column of class names among a, b"):
        read_classes(written(tmp_path / "n.csv", "a,b\n1,2\n"))
    with pytest.raises(ArgumentError, match="classes must be a text file, one entry a line; .* has none"):
        read_classes(written(tmp_path / "e.txt", "\n"))
    with pytest.raises(ArgumentError, match="No such file"):
        read_classes(tmp_path / "gone.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("number.json", json.dumps({f"c{i}": i for i in range(12)[::-1]})),
        ("id2label.json", json.dumps({str(i): f"c{i}" for i in range(12)}, sort_keys=True)),
        ("config.json", json.dumps({"id2label": {str(i): f"c{i}" for i in range(12)}}, sort_keys=True)),
        ("index.json", json.dumps({str(i): [f"n{i}", f"c{i}"] for i in range(12)}, sort_keys=True)),
        ("one.csv", "class_id,name\n" + "".join(f"{i + 1},c{i}\n" for i in range(12)[::-1])),
        ("quoted.csv", "".join(f'"c{i}"\n' for i in range(12))),
        ("quoted.txt", "".join(f'"c{i}"\n' for i in range(12))),
    ],
)
def test_classes_in_the_order_of_their_numbers(tmp_path, name, content):
    assert read_classes(written(tmp_path / name, content)).names == [f"c{i}" for i in range(12)]


def test_classes_that_are_numbered_in_no_way(tmp_path):
    gap = written(tmp_path / "gap.json", json.dumps({"0": "a", "2": "b"}))
    with pytest.raises(ArgumentError, match="must number its 2 classes from 0 to 1; they run from 0 to 2"):
        read_classes(gap)
    odd = written(tmp_path / "odd.json", json.dumps({"0": ["a", "b", "c"]}))
    with pytest.raises(ArgumentError, match="must give each class number a name, or a wnid and a name"):
        read_classes(odd)
    bare = written(tmp_path / "bare.csv", "0,cat\n1,dog\n")
    with pytest.raises(ArgumentError, match="has no line of column names, its first is '0, cat'; add one"):
        read_classes(bare)
    doubtful = read_classes(written(tmp_path / "d.csv", "n1,cat\nn2,dog\n"))
    assert doubtful.notes == ["first line of d.csv taken as names of columns: n1, cat"]
    semicolons = read_classes(written(tmp_path / "s.csv", "tench; fish\neel; fish\n"))
    assert semicolons.names == ["tench; fish", "eel; fish"]
    commas = read_classes(written(tmp_path / "c.txt", "tench, Tinca tinca\ngoldfish, Carassius\n"))
    assert commas.names == ["tench, Tinca tinca", "goldfish, Carassius"]


def test_a_list_of_labels_does_not_lose_its_first_line(tmp_path):
    with pytest.raises(ArgumentError, match="its first is 'cat', as others are; begin it with 'label'"):
        read_labels(written(tmp_path / "y.csv", "cat\ndog\ncat\n"))


@pytest.fixture
def labels_csv(tmp_path):
    text = "file_name,label,split,weather\nb,2,fit,sun\nc,0,report,rain\na,1,,sun\n"
    return written(tmp_path / "labels.csv", text)


def test_a_store_from_files(tmp_path, labels_csv):
    more = written(tmp_path / "more.csv", "id,camera\na,1\nb,2\nc,3\n")
    classes = written(tmp_path / "classes.csv", "name,group\nx,A\ny,A\nz,B\n")
    store, notes = create_from_files(
        tmp_path / "s.zoo", labels_csv, metadata=[more], classes=classes, label_set="first", dtype="float32"
    )
    assert notes == ["labels are column 'label', ids are column 'file_name'"]
    assert store.examples().to_pydict() == {
        "example_id": IDS,
        "label": [2, 0, 1],
        "split": ["fit", "report", None],
        "weather": ["sun", "rain", "sun"],
        "camera": [2, 3, 1],
    }
    assert store.class_table().to_pydict() == {
        "class_id": [0, 1, 2],
        "name": ["x", "y", "z"],
        "group": ["A", "A", "B"],
    }
    assert (store.label_sets, store.dtype) == (["first"], "float32")


def test_a_store_of_names_without_ids(tmp_path):
    path = written(tmp_path / "y.json", '["dog", "cat", "dog"]')
    columns = written(tmp_path / "m.json", '{"weather": ["sun", "sun", "rain"]}')
    store, _ = create_from_files(tmp_path / "s.zoo", path, metadata=[columns])
    assert (store.example_ids, store.classes, store.labels.tolist()) == (
        ["0", "1", "2"],
        ["cat", "dog"],
        [1, 0, 1],
    )
    assert store.examples()["weather"].to_pylist() == ["sun", "sun", "rain"]


@pytest.mark.parametrize(
    ("more", "options", "message"),
    [
        ("id,camera\na,1\nb,2\n", {}, "1 id of the store has no row"),
        ("camera\n1\n2\n3\n", {}, "has no column of example ids among camera; rows are matched by id"),
        ("id,weather\na,1\nb,2\nc,3\n", {}, "column 'weather' of .* is there already"),
        ("id,x\na,1\nb,2\nc,3\n", {"split_column": "fold"}, "unknown split column 'fold'"),
        ("id,x\na,1\nb,2\nc,3\n", {"label_column": "weather"}, "'label' is one of the store's own"),
    ],
)
def test_stores_that_are_refused_are_not_made(tmp_path, labels_csv, more, options, message):
    path = written(tmp_path / "more.csv", more)
    with pytest.raises((ArgumentError, ExamplesMismatch, UnknownName), match=message):
        create_from_files(tmp_path / "s.zoo", labels_csv, metadata=[path], **options)
    assert not (tmp_path / "s.zoo").exists()


def test_annotations(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [2, 0, 1], example_ids=IDS, classes=list("xyz"))
    store.add("m", predictions=[2, 1, 1])
    by_id = written(tmp_path / "real.csv", "id,label\nc,y|z\na,\nb,z\n")
    in_order = written(tmp_path / "sorted.json", "[[0], [1], [2, 1]]")  # of a, b, c
    groups = written(tmp_path / "groups.csv", "split,key,camera\nfit,a,1\nreport,b,2\nfit,c,3\n")
    done = annotate_from_files(store, [("real", by_id)], [groups])
    done += annotate_from_files(store, [("sorted", in_order)], rows="sorted")
    assert done == [
        "added labels real: 2 of 3 examples are counted",
        "added columns split, camera",
        "added labels sorted: 3 of 3 examples are counted",
    ]
    assert store.examples().select(["label_real", "label_sorted", "split", "camera"]).to_pydict() == {
        "label_real": [[2], [1, 2], []],
        "label_sorted": [[1], [1, 2], [0]],
        "split": ["report", "fit", "fit"],
        "camera": [2, 3, 1],
    }
    assert ds.open(store.path, labels="real").models()["accuracy"].to_pylist() == [1.0]
    again = written(tmp_path / "again.csv", "id,label\nc,z\na,z\nb,z\n")
    assert annotate_from_files(store, [("real", again)], remove=["real", "camera"]) == [
        "removed real",
        "removed camera",
        "added labels real: 3 of 3 examples are counted",
    ]
    assert store.under("real").truth.labels.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("y.json", "[0, 1, 2]", {}, "y.json has no ids; say how its rows lie with rows="),
        ("y.json", "[0, 1]", {"rows": "sorted"}, "y.json has 2 rows, the store 3 examples"),
        ("y.csv", "id,label\na,1\nb,1\nc,1\n", {"rows": "store"}, "rows must not be given for y.csv"),
        ("y.csv", "id,label\na,1\nb,1\n", {}, "1 id of the store has no row, first .'c'."),
        ("y.csv", "id,label\na,1\nb,1\nc,3\n", {}, r"must lie in 0\.\.2 .classes., row 2 holds 3"),
        ("y.csv", "id,label\na,1\nb,1\nc,1\n", {"remove": ["nothing"]}, "unknown added column 'nothing'"),
    ],
)  # fmt: skip
def test_annotations_that_are_refused_change_nothing(tmp_path, name, content, options, message):
    store = ds.create(tmp_path / "s.zoo", [2, 0, 1], example_ids=IDS)
    store.add_columns({"kept": [1, 2, 3]})
    before = store.examples()
    with pytest.raises((ArgumentError, ExamplesMismatch, UnknownName), match=message):
        annotate_from_files(store, [("real", written(tmp_path / name, content))], **options)
    with pytest.raises(ArgumentError, match="has no columns beside the ids"):
        annotate_from_files(store, [], [written(tmp_path / "ids.csv", "id\na\nb\nc\n")], remove=["kept"])
    assert store.examples() == before


def test_ids_are_read_as_they_are_written(tmp_path):
    """Zero-padded ids are no numbers; whole floats are whole numbers; bytes are text."""
    padded = written(tmp_path / "p.csv", "id,label\n000,1\n001,0\n002,1\n")
    more = written(tmp_path / "m.csv", "id,camera\n002,3\n000,1\n001,2\n")
    store, _ = create_from_files(tmp_path / "p.zoo", padded, metadata=[more])
    assert store.example_ids == ["000", "001", "002"]
    assert store.examples()["camera"].to_pylist() == [1, 2, 3]
    floats = written(tmp_path / "f.parquet", pa.table({"id": [7.0, 8.0], "label": [1, 0]}))
    assert read_labels(floats).ids == ["7", "8"]
    raw = written(tmp_path / "b.parquet", pa.table({"id": pa.array([b"x", b"y"]), "label": [1, 0]}))
    assert read_labels(raw).ids == ["x", "y"]


def test_records_have_the_columns_of_all(tmp_path):
    records = (
        '[{"id": "b", "label": 2}, {"id": "c", "label": 0, "split": "fit"}, {"id": "a", "label": 1, "g": 4}]'
    )
    found = read_labels(written(tmp_path / "y.json", records))
    assert found.columns.to_pydict() == {"split": [None, "fit", None], "g": [None, None, 4]}


@pytest.mark.parametrize(
    ("labels", "columns", "remove", "message"),
    [
        (["real"], ["id,taken\na,1\nb,2\nc,3\n"], [], "column 'taken' is there already"),
        (["real2"], ["id,label_real2\na,1\nb,2\nc,3\n"], [], "column 'label_real2' is there already"),
        (["real", "real"], [], [], "column 'label_real' is there already"),
        (["original"], [], [], "column 'label_original' is there already"),
        (["real"], ["id,real\na,1\nb,2\nc,3\n"], [], "column 'real' is there already"),
        ([], ["id,h\na,1\nb,2\nc,3\n", "id,h\na,1\nb,2\nc,3\n"], [], "column 'h' is there already"),
        (["real"], ["id,split\na,all\nb,x\nc,x\n"], [], "splits must be text or None"),
        ([], [], ["taken", "taken"], "unknown added column 'taken'"),
        (["real"], [], ["taken", "nothing"], "unknown added column 'nothing'"),
    ],
)  # fmt: skip
def test_annotations_are_all_or_nothing(tmp_path, labels, columns, remove, message):
    store = ds.create(tmp_path / "s.zoo", [2, 0, 1], example_ids=IDS)
    store.add_columns({"taken": [1, 2, 3]})
    before = store.examples()
    truth = written(tmp_path / "y.csv", "id,label\na,1\nb,1\nc,1\n")
    files = [written(tmp_path / f"c{i}.csv", text) for i, text in enumerate(columns)]
    with pytest.raises((ArgumentError, UnknownName), match=message):
        annotate_from_files(store, [(name, truth) for name in labels], files, remove=remove)
    assert store.examples() == before


def test_columns_named_for_files_that_have_them(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [2, 0, 1], example_ids=IDS)
    odd = written(tmp_path / "odd.csv", "pic,label,what,why\na,9,1,1\nb,9,1,2\nc,9,1,0\n")
    plain = written(tmp_path / "plain.csv", "id,h\na,1\nb,2\nc,3\n")
    options = {"id_column": "pic", "label_column": "why"}
    annotate_from_files(store, [("real", odd)], [plain], **options)
    assert store.under("real").labels.tolist() == [2, 0, 1]
    with pytest.raises(UnknownName, match=r"unknown column of plain.csv 'pic'"):
        annotate_from_files(store, [], [plain], id_column="pic")
