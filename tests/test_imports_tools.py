"""Files as the tools of the field write them: taken as they are, or refused in a line that says why."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dissensus as ds
from dissensus.ingest import create_from_files, read_labels
from dissensus.ingest.imports.id_values import without_folders

torch = pytest.importorskip("torch")

N, C = 40, 4
CLASSES = ["cat", "dog", "eel", "fox"]
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, C, N)
SCORES = RNG.normal(size=(N, C)).astype("f4")
SCORES[np.arange(N), LABELS] += 2
EXACT = np.exp(SCORES.astype("f8"))
SHARES = EXACT / EXACT.sum(axis=1, keepdims=True)
PREDICTED = SCORES.argmax(1)
NAMES = [CLASSES[i] for i in PREDICTED]
IDS = [f"{CLASSES[y]}/img_{i:03d}.png" for i, y in enumerate(LABELS)]
ORDER = RNG.permutation(N)
SHUFFLED = [IDS[i] for i in ORDER]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ds.create(tmp_path_factory.mktemp("tools") / "s.zoo", LABELS, classes=CLASSES, example_ids=IDS)


def imported(store, path, **options):
    if "m" in store.model_ids:
        store.remove("m")
    (row,) = ds.import_predictions(store, path, model_id="m", progress=False, **options).rows
    return row


def batches(values):
    return [torch.as_tensor(values[i : i + 16]) for i in range(0, N, 16)]


def as_objects(values):
    return np.array(values, object)


def top(k, *, labels=False, apart=True):
    """Frame of timm's inference.py: the first classes of each example."""
    order = np.argsort(-SHARES, axis=1, kind="stable")[:, :k]
    shares = np.take_along_axis(SHARES, order, axis=1).round(4)
    columns = {"index": order, **({"label": np.array(CLASSES)[order]} if labels else {}), "prob": shares}
    if k == 1:
        columns = {name: values[:, 0] for name, values in columns.items()}
    elif apart:
        columns = {f"{name}_{i}": values[:, i] for name, values in columns.items() for i in range(k)}
    else:
        columns = {name: list(values) for name, values in columns.items()}
    return pd.DataFrame(columns, index=pd.Index(IDS, name="filename")).iloc[ORDER]


FRAME = pd.DataFrame(SCORES.astype("f8"), columns=CLASSES, index=IDS).iloc[ORDER]
HARD = pd.DataFrame({"filename": IDS, "pred": PREDICTED, "conf": SHARES.max(1)}).iloc[ORDER]


def tensors(content):
    return lambda path: torch.save(content, path)


def arrays(**named):
    return lambda path: np.savez(path, **named)


def text(content, encoding="utf-8"):
    return lambda path: path.write_bytes(content.encode(encoding))


def table(rows, sep):
    return "".join(sep.join(row) + "\r\n" for row in rows)


EXCEL = [["file_name", "pred"], *([IDS[i], NAMES[i]] for i in ORDER)]
GERMAN = [
    ["file_name", *CLASSES],
    *([IDS[i], *(f"{v:.6f}".replace(".", ",") for v in SCORES[i])] for i in ORDER),
]
PIPELINE = [[{"label": CLASSES[c], "score": float(row[c])} for c in np.argsort(-row)] for row in SHARES]

PRINTED = pd.DataFrame({"id": IDS, "logits": [f"tensor({row})" for row in SCORES.tolist()]})

# name: (writes the file, kind)
TAKEN = {
    "trainer.npz": (arrays(predictions=SCORES, label_ids=LABELS, metrics=as_objects({"a": 1})), "logits"),
    "unnamed.npz": (lambda path: np.savez(path, SCORES, LABELS), "logits"),
    "ids of pandas.npz": (arrays(logits=SCORES[ORDER], ids=as_objects(SHUFFLED)), "logits"),
    "objects.npy": (lambda path: np.save(path, as_objects(SHARES.tolist())), "probabilities"),
    "texts.npy": (lambda path: np.save(path, as_objects(NAMES)), "labels"),
    "dict.pt": (tensors({"logits": torch.tensor(SCORES[ORDER]), "paths": SHUFFLED, "epoch": 3}), "logits"),
    "batches.pt": (tensors(batches(SCORES)), "logits"),
    "half.pt": (tensors([b.to(torch.bfloat16).to(torch.float64) for b in batches(SCORES)]), "logits"),
    "classes.pt": (tensors(batches(PREDICTED)), "labels"),
    "rows.pt": (tensors(list(torch.tensor(SCORES))), "logits"),
    "pair.pt": (tensors((torch.tensor(SCORES), torch.tensor(LABELS))), "logits"),
    "pairs.pt": (tensors(list(zip(batches(SCORES), batches(LABELS), strict=True))), "logits"),
    "loop.pt": (tensors({"logits": batches(SCORES), "targets": batches(LABELS)}), "logits"),
    "predict.pt": (
        tensors(
            [
                {"logits": torch.tensor(SCORES[part]), "paths": [IDS[i] for i in part]}
                for part in np.array_split(ORDER, 3)
            ]
        ),
        "logits",
    ),
    "numpy.pt": (tensors({"preds": SCORES, "targets": LABELS, "acc": np.float64(0.7)}), "logits"),
    "by id.pt": (tensors({IDS[i]: torch.tensor(SCORES[i]) for i in ORDER}), "logits"),
    "classes by id.pt": (tensors({IDS[i]: int(PREDICTED[i]) for i in ORDER}), "labels"),
    "top1.csv": (top(1).to_csv, "labels"),
    "top1.parquet": (top(1, labels=True).to_parquet, "labels"),
    "top1.json": (lambda path: top(1).to_json(path, orient="index"), "labels"),
    "top3.csv": (top(3, labels=True).to_csv, "labels"),
    "top3 lists.csv": (top(3, apart=False).to_csv, "labels"),
    "top3 lists.parquet": (top(3, labels=True, apart=False).to_parquet, "labels"),
    "top of all.csv": (top(C).to_csv, "labels"),
    "top of all.parquet": (top(C, apart=False).to_parquet, "labels"),
    "only names.parquet": (top(3, labels=True, apart=False)[["label", "prob"]].to_parquet, "labels"),
    "split.json": (lambda path: HARD.to_json(path, orient="split"), "labels"),
    "split by index.json": (lambda path: HARD.set_index("filename").to_json(path, orient="split"), "labels"),
    "split of scores.json": (lambda path: FRAME.to_json(path, orient="split"), "logits"),
    "table.json": (lambda path: HARD.to_json(path, orient="table"), "labels"),
    "columns.json": (HARD.to_json, "labels"),
    "columns by index.json": (HARD.set_index("filename").to_json, "labels"),
    "tracker.json": (
        text(json.dumps({"columns": ["id", "logits"], "data": list(zip(IDS, SCORES.tolist(), strict=True))})),
        "logits",
    ),
    "pipeline.json": (text(json.dumps(PIPELINE)), "probabilities"),
    "pipeline.jsonl": (text("\n".join(map(json.dumps, PIPELINE))), "probabilities"),
    "lists.csv": (pd.DataFrame({"id": IDS, "logits": SCORES.tolist()}).to_csv, "logits"),
    "arrays.csv": (pd.DataFrame({"id": IDS, "output": list(SCORES)}).to_csv, "logits"),
    "tensors.csv": (PRINTED.to_csv, "logits"),
    "excel.tsv": (text("\ufeff" + table(EXCEL, "\t")), "labels"),
    "excel.txt": (text(table(EXCEL, "\t"), "utf-16"), "labels"),
    "excel.csv": (text(table(EXCEL, ";"), "utf-16"), "labels"),
    "german.csv": (text(table(GERMAN, ";")), "logits"),
    "savetxt.txt": (lambda path: np.savetxt(path, SCORES), "logits"),
    "headed.csv": (lambda path: np.savetxt(path, SCORES, delimiter=",", header=",".join(CLASSES)), "logits"),
    "write table.csv": (lambda path: path.write_text(FRAME.to_csv()[1:]), "logits"),
    "whole paths.csv": (HARD.assign(filename=[f"D:\\data\\{n}" for n in HARD.filename]).to_csv, "labels"),
    "names of files.csv": (HARD.assign(filename=[n.split("/")[1] for n in HARD.filename]).to_csv, "labels"),
    "backslashes.csv": (HARD.assign(filename=[n.replace("/", "\\") for n in HARD.filename]).to_csv, "labels"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_files_of_tools_are_taken_as_they_are(store, tmp_path, name):
    write, kind = TAKEN[name]
    write(tmp_path / name)
    row = imported(store, tmp_path / name)
    assert (row.status, row.kind, row.suspicions) == ("done", kind, []), row.error
    assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()
    if kind == "logits" and name != "half.pt":
        np.testing.assert_allclose(store.logits("m")[:], SCORES, atol=3e-3)
    store.remove("m")


def test_what_is_left_out_or_changed_is_said(store, tmp_path):
    said = {
        "top3.csv": "the first 3 classes of each example with their scores: only the first is kept, as label",
        "pair.pt": "not used: 1",
        "trainer.npz": "not used: label_ids, metrics",
        "whole paths.csv": f"in their folders only: 'D:\\\\data\\\\{SHUFFLED[0]}' is '{SHUFFLED[0]}'",
        "write table.csv": "the first column has no name: it holds those of the rows",
    }
    for name, note in said.items():
        TAKEN[name][0](tmp_path / name)
        assert note in "; ".join(imported(store, tmp_path / name).notes)
    store.remove("m")


def test_names_of_files_that_are_in_two_folders_stay_unknown(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1], classes=CLASSES, example_ids=["a/1.png", "b/1.png"])
    (tmp_path / "m.csv").write_text("filename,pred\n1.png,0\nb/1.png,1\n")
    assert "1 id is not in the store, first ['1.png']" in imported(store, tmp_path / "m.csv").error
    other = ds.create(tmp_path / "o.zoo", [0, 1], classes=CLASSES, example_ids=["train/1.png", "train/2.png"])
    (tmp_path / "m.csv").write_text("filename,pred\nval/1.png,0\nval/2.png,1\n")
    assert "2 ids are not in the store" in imported(other, tmp_path / "m.csv").error


def test_polars_and_its_texts(store, tmp_path):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "filename": pl.Series(SHUFFLED).cast(pl.Categorical),
            "pred": pl.Series([NAMES[i] for i in ORDER]).cast(pl.Enum(CLASSES)),
        }
    )
    frame.write_ipc(tmp_path / "m.arrow")
    frame.write_parquet(tmp_path / "m.parquet")
    for name in ("m.arrow", "m.parquet"):
        assert imported(store, tmp_path / name).status == "done"
        assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()
    store.remove("m")


def test_a_folder_of_datasets_and_packed_json(store, tmp_path):
    folder = tmp_path / "saved-v1.5"
    folder.mkdir()
    parts = np.array_split(ORDER, 3)
    for i, part in enumerate(parts):
        rows = pa.table({"image_id": [IDS[j] for j in part], "logits": SCORES[part].tolist()})
        with pa.ipc.new_stream(folder / f"data-{i}.arrow", rows.schema) as writer:
            writer.write_table(rows)
    state = {"_data_files": [{"filename": f"data-{i}.arrow"} for i in range(3)]}
    (folder / "state.json").write_text(json.dumps(state))
    (row,) = ds.import_predictions(store, folder, progress=False).rows
    assert (row.model, row.status) == ("saved-v1.5", "done")
    assert store.top1([row.model])[0].tolist() == PREDICTED.tolist()
    assert f"name one, such as {folder}" in imported(store, tmp_path).error
    assert re.search(r"name the files in it, such as .*/\*\.npy", imported(store, _folder(tmp_path)).error)
    records = "".join(json.dumps({"id": IDS[i], "logits": SCORES[i].tolist()}) + "\n" for i in ORDER)
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(records.encode()))
    assert imported(store, tmp_path / "m.jsonl.gz").status == "done"
    for name in ("saved-v1.5", "m"):
        store.remove(name)


def _folder(path):
    folder = path / "more"
    folder.mkdir()
    np.save(folder / "a.npy", PREDICTED)
    return folder


def long(path):
    cut = pd.DataFrame({"id": IDS, "logits": ["[0.1 0.2 ... 0.3 0.4]"] * N})
    cut.to_csv(path)


REFUSED = {
    "sep.csv": (text("sep=;\r\n" + table(EXCEL, ";")), "its first line, 'sep=.*', is for Excel only"),
    "cut.csv": (long, "column 'logits' of .* holds lists that were cut short when they were printed"),
    "zip.csv.zip": (lambda path: HARD.to_csv(path), r"unpack it, or pack it with gzip as \.csv\.gz"),
    "large.npy": (lambda path: np.save(path, EXACT * 1e39), r"gave .*e\+\d+ for .* holds no number beyond"),
    "arrays.npz": (
        lambda path: np.savez(path, **dict(zip(map(str, range(N)), SCORES, strict=True))),
        "holds an array for each example, first '0'; save one array of all rows",
    ),
    "checkpoint.pt": (tensors({"state_dict": {"fc": torch.zeros(2)}, "epoch": 1}), "a network's weights"),
    "uneven.json": (
        text(json.dumps({"columns": ["id", "pred"], "data": [["a", 1], ["b"]]})),
        "as many values in each row of its data as columns, 2; row 1 has 1",
    ),
    "uneven.csv": (
        text("id,logits\na,\"[1, 2, 3, 4]\"\nb,\"[1, x]\"\n"),
        r"must hold a list of numbers in every row, as in the first; got '\[1, x\]'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_refused_in_a_clear_line(tmp_path, name):
    write, message = REFUSED[name]
    write(tmp_path / name)
    store = ds.create(tmp_path / "s.zoo", LABELS, classes=CLASSES)
    row = imported(store, tmp_path / name)
    assert (row.status, store.model_ids) == ("failed", [])
    assert re.search(message, row.error), row.error


def numbered(first, step=1):
    return {str(first + step * i): name for i, name in enumerate(CLASSES)}


@pytest.mark.parametrize(("first", "step", "said"), [(1, 1, "1 to 4"), (0, 2, "0 to 6 with gaps")])
@pytest.mark.parametrize("order", [CLASSES, CLASSES[::-1]], ids=["in order", "reversed"])
def test_classes_that_are_not_counted_from_0_are_taken_by_name(store, tmp_path, first, step, said, order):
    from safetensors.numpy import save_file

    stated = {str(first + step * i): name for i, name in enumerate(order)}
    places = [CLASSES.index(name) for name in order]
    ranks = np.argsort(places)[PREDICTED]
    note = f"the file numbers its classes {said}: taken in this order, by name"
    metadata = {"id2label": json.dumps(stated)}
    save_file({"logits": np.ascontiguousarray(SCORES[:, places])}, tmp_path / "s.safetensors", metadata)
    classes = pa.table({"id": IDS, "prediction": first + step * ranks}).replace_schema_metadata(metadata)
    pq.write_table(classes, tmp_path / "t.parquet")
    as_float = classes.set_column(1, "prediction", classes["prediction"].cast(pa.float64()))
    pq.write_table(as_float, tmp_path / "f.parquet")
    torch.save({"preds": torch.tensor(first + step * ranks), "id2label": stated}, tmp_path / "d.pt")
    for name in ("s.safetensors", "t.parquet", "f.parquet", "d.pt"):
        row = imported(store, tmp_path / name, rows=None)
        assert row.status == "done", row.error
        assert note in row.notes
        assert store.top1(["m"])[0].tolist() == PREDICTED.tolist()
    store.remove("m")


def test_numbers_that_a_file_does_not_name(store, tmp_path):
    metadata = {"id2label": json.dumps(numbered(1))}
    rows = pa.table({"id": IDS, "prediction": PREDICTED}).replace_schema_metadata(metadata)
    pq.write_table(rows, tmp_path / "m.parquet")
    message = "class number 0 of example '.*' is none of those that the file names, 1 to 4; .*--classes FILE"
    assert re.search(message, imported(store, tmp_path / "m.parquet").error)
    row = imported(store, tmp_path / "m.parquet", classes=CLASSES)  # the user's word goes first
    assert (row.status, store.top1(["m"])[0].tolist()) == ("done", PREDICTED.tolist())
    store.remove("m")
    pq.write_table(
        rows.replace_schema_metadata({"id2label": json.dumps({"1": "cat", "2": "dog"})}),
        tmp_path / "m.parquet",
    )
    assert "the list of classes in m.parquet must name each" in imported(store, tmp_path / "m.parquet").error


def test_labels_whose_numbers_are_named_from_1(tmp_path):
    field = pa.field("label", pa.int64(), metadata={"id2label": json.dumps(numbered(1))})
    rows = pa.table([pa.array(IDS), pa.array(LABELS + 1)], schema=pa.schema([("id", pa.string()), field]))
    pq.write_table(rows, tmp_path / "t.parquet")
    made, _ = create_from_files(tmp_path / "s.zoo", tmp_path / "t.parquet")
    assert (made.classes, made.labels.tolist()) == (CLASSES, LABELS.tolist())
    pq.write_table(rows.set_column(1, field, pa.array(LABELS)), tmp_path / "t.parquet")
    with pytest.raises(ds.DissensusError, match="which it numbers 1 to 4; got 0 in row"):
        read_labels(tmp_path / "t.parquet")


def test_labels_in_a_frame_of_json(tmp_path):
    frame = pd.DataFrame({"filename": IDS, "label": [CLASSES[y] for y in LABELS]})
    for orient in ("columns", "split", "records"):
        frame.to_json(tmp_path / "l.json", orient=orient)
        found = read_labels(tmp_path / "l.json", classes=CLASSES)
        assert (found.labels, found.ids) == (LABELS.tolist(), IDS)


class Reduced:
    """What pickles to a call, and a state that is given to what it returns."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


def pointers():
    """Array of a type that says of its own inside, falsely, that its bytes are no pointers."""
    kind = Reduced(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
    whole = np.ones(2).__reduce__()
    return Reduced(whole[0], whole[1], (1, (N,), kind, False, b"A" * 8 * N))


def nested(depth=40):
    inside = [1.0, 2.0]
    for _ in range(depth):  # 2 to the power of 40 numbers once it is unfolded
        inside = [inside, inside]
    return inside


@pytest.mark.parametrize("content", [pointers, lambda: Reduced(print, ("run",)), nested])
@pytest.mark.parametrize("ending", ["npy", "pt"])
def test_pickles_that_would_run_or_corrupt_are_refused(store, tmp_path, capsys, content, ending):
    path = tmp_path / f"odd.{ending}"
    with path.open("wb") as file:
        if ending == "pt":
            torch.save({"logits": content(), "ids": IDS}, file)
        else:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (N,)})
            value = content()
            values = np.empty(N, object)
            for i in range(N):
                values[i] = value
            pickle.dump(values if content is nested else value, file, protocol=3)
    with suppress(ds.DissensusError):  # some are refused before any model is known to be there
        assert imported(store, path).status == "failed"
    assert "run" not in capsys.readouterr().out
    assert "m" not in store.model_ids


@pytest.mark.parametrize(
    "values", [SHARES, SHARES.astype(">f4"), np.asfortranarray(SHARES), SCORES.astype("f2")]
)
def test_arrays_in_torch_files_are_read_as_they_were(store, tmp_path, values):
    torch.save({"outputs": values, "ids": np.array(IDS), "n": np.float64(3)}, tmp_path / "a.pt")
    row = imported(store, tmp_path / "a.pt")
    assert row.accuracy == (PREDICTED == LABELS).mean()
    assert np.array_equal(store.model("m").column("top1"), PREDICTED)


def test_many_ids_of_one_base_name_are_matched_at_once():
    ids = [f"{i:05d}/image.png" for i in range(20_000)]
    given = [f"data/{name}" for name in reversed(ids)]
    assert without_folders(given, ids) == ids[::-1]
    assert without_folders(["image.png"], ids) is None
    assert without_folders(ids, given) == given[::-1]


def table(path, **columns):
    frame = pd.DataFrame({"id": IDS, **columns})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False, sep="\t")
    return path


def test_right_answers_beside_scores_are_no_first_classes(store, tmp_path):
    falling = list(-np.sort(-SHARES, axis=1))
    row = imported(store, table(tmp_path / "lists.parquet", label=LABELS, probs=falling))
    assert row.kind == "probabilities"
    for name in ("target", "mine"):
        rival = table(tmp_path / "rival.parquet", label=LABELS, prob=SHARES.max(1), **{name: PREDICTED})
        assert "no column that is known to hold predictions" in imported(store, rival).error


def test_commas_of_thousands_are_not_taken_for_decimals(store, tmp_path):
    whole = {name: [f"{int(v):,}" for v in SCORES[:, i] * 1000] for i, name in enumerate(CLASSES)}
    assert "decimals or of thousands" in imported(store, table(tmp_path / "thousands.tsv", **whole)).error
    exact = {name: SCORES[:, i] for i, name in enumerate(CLASSES)}
    row = imported(store, table(tmp_path / "box.tsv", **exact, box=["1,2"] * N))
    assert row.accuracy == (PREDICTED == LABELS).mean()
    late = {
        name: ["0"] * 3 + [f"{v:.6f}".replace(".", ",") for v in SCORES[3:, i]]
        for i, name in enumerate(CLASSES)
    }
    row = imported(store, table(tmp_path / "late.tsv", **late))
    assert row.error is None
    assert "numbers have decimal commas" in row.notes


def test_blanks_and_headers_of_savetxt(store, tmp_path):
    np.savetxt(tmp_path / "h.txt", SCORES[:, ::-1], header=" ".join(CLASSES[::-1]))
    assert imported(store, tmp_path / "h.txt", rows="store").accuracy == (PREDICTED == LABELS).mean()
    np.savetxt(tmp_path / "wide.txt", SCORES, fmt="%12.4f")
    assert "several blanks" in imported(store, tmp_path / "wide.txt").error


@pytest.mark.parametrize("names", [{i: f"LABEL_{i}" for i in range(C)}, {"9" * 5000: "cat", "1": "dog"}])
def test_numbers_that_name_nothing_are_no_names(store, tmp_path, names):
    torch.save({"logits": torch.as_tensor(SCORES), "ids": IDS, "id2label": names}, tmp_path / "a.pt")
    assert imported(store, tmp_path / "a.pt").accuracy == (PREDICTED == LABELS).mean()


def test_fewer_rows_with_the_stores_own_ids_say_what_is_missing(store, tmp_path):
    pd.DataFrame({"id": IDS[1:], "prediction": PREDICTED[1:]}).to_csv(tmp_path / "f.csv", index=False)
    assert "1 id of the store has no row" in imported(store, tmp_path / "f.csv").error
