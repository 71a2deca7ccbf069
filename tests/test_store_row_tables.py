"""Tables made block by block are, to the byte, what Arrow writes of the whole columns."""

import os
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from dissensus import errors
from dissensus.store import format as fmt
from dissensus.store import row_tables, staged
from dissensus.store.tables import arrow_bytes, read_arrow
from dissensus.store.topk import read_view

KINDS = [("logits", 40), ("logits", 3), ("labels", 40)]


def packed(kind, n_classes, n_rows):
    """Records of which every byte is drawn, numbers all finite."""
    rng, records = np.random.default_rng(n_rows), np.zeros(n_rows, fmt.record_dtype(kind, n_classes))
    for name in records.dtype.names:
        records[name] = rng.integers(-1000, 1000, records[name].shape)
    return records


def staged_file(path, records, block_rows, *, fill=True):
    """As a writer stages them: whole blocks, the last one filled up."""
    file = staged.BlockFile(path, block_rows * records.itemsize, stays=False)
    rest = -len(records) % block_rows if fill else 0
    whole = np.concatenate(
        [records, np.full(rest, 255, np.uint8).repeat(records.itemsize).view(records.dtype)]
    )
    for start in range(0, len(whole), block_rows):
        file.append(whole[start : start + block_rows])
    return file


def plain_table(records, fields):
    """The same table by Arrow's usual means, held whole."""
    columns = []
    for name, field in fields.items():
        flat = pa.array(np.ascontiguousarray(records[name]).reshape(-1))
        lists = pa.types.is_fixed_size_list(field.type)
        columns.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type) if lists else flat)
    return pa.table(columns, schema=pa.schema(list(fields.values())))


@pytest.mark.parametrize(("kind", "n_classes"), KINDS)
@pytest.mark.parametrize(("n_rows", "block_rows"), [(1, 1), (1, 4), (7, 3), (8, 4), (1001, 64)])
def test_the_bytes_are_those_that_arrow_writes(tmp_path, monkeypatch, kind, n_classes, n_rows, block_rows):
    monkeypatch.setattr(row_tables, "STEP_BYTES", 5000)  # several blocks at once, not all
    records = packed(kind, n_classes, n_rows)
    file = staged_file(tmp_path / "part", records, block_rows)
    found = row_tables.write_row_tables(tmp_path, file, records.dtype, n_rows)
    file.close()
    tables = row_tables.tables_of(records.dtype)
    assert set(found) == set(tables)
    for name, fields in tables.items():
        expected = arrow_bytes(plain_table(records, fields))
        assert (tmp_path / name).read_bytes() == expected
        assert found[name] == {"bytes": len(expected), "crc32c": f"{staged.crc32c(expected):08x}"}
    assert row_tables.row_table_bytes(kind, n_rows, n_classes) == sum(f["bytes"] for f in found.values())
    assert {p.name for p in tmp_path.iterdir()} == {"part", *tables}


def test_what_is_written_is_read_again(tmp_path):
    records = packed("logits", 40, 100)
    file = staged_file(tmp_path / "part", records, 32)
    row_tables.write_row_tables(tmp_path, file, records.dtype, 100)
    classes, values = read_view((tmp_path / fmt.TOPK).read_bytes())
    assert np.array_equal(classes, records["top_classes"])
    assert np.array_equal(values, records["top_values"])
    table = read_arrow((tmp_path / fmt.DERIVED).read_bytes())
    assert table["lse"].to_pylist() == records["lse"].tolist()
    assert table.schema.field("lse").metadata[b"meaning"].startswith(b"log-sum-exp")


def test_a_staged_block_that_is_not_what_was_appended_becomes_no_table(tmp_path):
    records = packed("logits", 40, 100)
    file = staged_file(tmp_path / "part", records, 32)
    with open(tmp_path / "part", "r+b") as raw:
        raw.seek(40 * records.itemsize)
        byte = raw.read(1)[0]
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte ^ 1]))
    with pytest.raises(errors.CorruptionError, match="part was cut short or damaged as it was written; run"):
        row_tables.write_row_tables(tmp_path, file, records.dtype, 100)
    assert [p.name for p in tmp_path.iterdir()] == ["part"]


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(row_tables, "STEP_BYTES", 1 << 14)
    peaks = []
    for n_rows in (1_000, 30_000):
        records = packed("logits", 40, n_rows)
        file = staged_file(tmp_path / f"part{n_rows}", records, 100)
        row_tables.row_table_bytes("logits", n_rows, 40)  # what is kept of it stays
        tracemalloc.start()
        row_tables.write_row_tables(tmp_path, file, records.dtype, n_rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        file.close()
    shown = 68 * (30_000 - 1_000)  # addresses of a view's columns that Arrow is shown, never touched
    assert peaks[1] < peaks[0] + shown + 100_000


def test_a_pyarrow_that_copies_columns_is_refused():
    around = row_tables._Around({1: "lse"})
    around.write(b"header")
    with pytest.raises(RuntimeError, match="copies columns before it writes them"):
        around.require_all()
