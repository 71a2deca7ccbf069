"""The store on disk, declared once: versions, file names, columns, geometry and their JSON.

Nothing here reads or writes; the other modules of this layer do, from these declarations.
See ``CONTRIBUTING.md`` for the picture of the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

FORMAT_NAME: Final = "dissensus-store"
FORMAT_VERSION: Final = 2
OLDEST_VERSION: Final = 1  # what came before is read as it is; `dissensus migrate` brings it up to date

STORE_JSON: Final = "store.json"
EXAMPLES: Final = "examples.arrow"
CLASSES: Final = "classes.arrow"
MODELS: Final = "models"
COLUMNS: Final = "columns"
STAGING: Final = "staging"
QUARANTINE: Final = "quarantine"
CACHE: Final = "cache"
COMMIT_JSON: Final = "commit.json"
MODEL_JSON: Final = "model.json"
DERIVED: Final = "derived.arrow"
TOPK: Final = "topk.arrow"  # absent from models of few classes, of hard labels, and of older programs
COLUMN: Final = "column.arrow"
ZARR_JSON: Final = "zarr.json"
LOGITS: Final = "logits"
SHARD: Final = f"{LOGITS}/c.0.0"
ARRAY_JSON: Final = f"{LOGITS}/{ZARR_JSON}"
EMBEDDINGS: Final = "embeddings"
EMBEDDINGS_SHARD: Final = f"{EMBEDDINGS}/c.0.0"
EMBEDDINGS_JSON: Final = f"{EMBEDDINGS}/{ZARR_JSON}"

EMBEDDING_DIM: Final = "embedding_dim"  # in fingerprints and tables; computed where a model has embeddings
COMPUTED: Final = frozenset({"model", "kind", "accuracy"})  # columns of `Store.models` no metadata may take

Kind = Literal["logits", "probabilities", "labels"]
KINDS: Final = ("logits", "probabilities", "labels")
DTYPES: Final = ("float16", "float32")
CODECS: Final = ("raw", "archive")
ARCHIVE: Final = {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "blocksize": 0}  # blosc's options
FLOOR: Final = -65504.0  # lowest finite float16: centred logits are clamped here
EMBEDDING_LIMIT: Final = 65504.0  # embeddings in float16 are clamped to it on both sides
STEP: Final = 2.0**-24  # smallest float16: what lies below the row maximum stays below it at least by this
SUM_TOLERANCE: Final = 1e-3 + 1e-9  # of a row of probabilities; three decimals often sum to 1.001
TINY: Final = 2.0**-126  # lowest normal float32: probabilities are raised to it before the logarithm

BLOCK_BYTES: Final = 1 << 20
BLOCK_ROWS_MAX: Final = 4096  # few classes: keep resumable steps short though a block stays under 1 MiB
CRC_BYTES: Final = 4

TOP_K: Final = 8  # ranks of the top-K view
TOP_FROM: Final = 32  # classes from which on models have one: of fewer, reading the logits costs as little
TOP_COLUMNS: Final = (
    ("top_classes", "<i4", TOP_K),
    ("top_values", "<f4", TOP_K + 1),
)  # one value more: the gap


@dataclass(frozen=True)
class Column:
    """One derived column: a number kept per example beside the logits.

    Attributes
    ----------
    name, dtype : str
        Column name in ``derived.arrow`` and its NumPy dtype.
    kinds : tuple of str
        Kinds of model that have it.
    meaning : str
        One line, written into the file.
    """

    name: str
    dtype: str
    kinds: tuple[str, ...]
    meaning: str


DERIVED_COLUMNS: Final = (
    Column("top1", "<i4", KINDS, "predicted class: lowest index of the largest logit, before rounding"),
    Column(
        "rowmax", "<f4", KINDS[:2], "largest logit of the row; add it to the stored logits to restore them"
    ),
    Column(
        "lse", "<f8", KINDS[:2], "log-sum-exp of the original logits; exp(rowmax - lse) is the confidence"
    ),
)


def derived_dtype(kind: str) -> np.dtype[Any]:
    """Packed record of one row of derived columns for a kind of model."""
    return np.dtype([(c.name, c.dtype) for c in DERIVED_COLUMNS if kind in c.kinds])


def record_dtype(kind: str, n_classes: int) -> np.dtype[Any]:
    """Packed record that a writer keeps of one row: derived columns, then the top-K view if any."""
    view = TOP_COLUMNS if kind != "labels" and n_classes >= TOP_FROM else ()
    return np.dtype([*derived_dtype(kind).descr, *((name, dtype, (size,)) for name, dtype, size in view)])


@dataclass(frozen=True)
class Geometry:
    """How a model's (N, C) logits lie in one Zarr shard: blocks of whole rows, each followed by its crc32c.

    Its (N, D) embeddings lie in the same manner in a shard of their own, see `of_embeddings`.

    Blocks of codec "raw" are equally long and lie where they can be computed; those of "archive" are as long
    as they compress to, which the commit record tells.

    Attributes
    ----------
    n_examples, n_classes : int
        Shape of the array; of embeddings the second is the number of features.
    dtype : str
        ``"float16"`` or ``"float32"``, little endian on disk.
    block_rows : int
        Rows of an inner chunk; the last one is padded with NaN.
    codec : str
        ``"raw"`` or ``"archive"``.
    """

    n_examples: int
    n_classes: int
    dtype: str
    block_rows: int
    codec: str = "raw"

    @classmethod
    def choose(cls, n_examples: int, n_classes: int, dtype: str, codec: str = "raw") -> Geometry:
        """Blocks of about 1 MiB, at most 4,096 rows, never longer than the array."""
        rows = BLOCK_BYTES // (n_classes * np.dtype(dtype).itemsize)
        return cls(n_examples, n_classes, dtype, max(1, min(rows, BLOCK_ROWS_MAX, n_examples)), codec)

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> Geometry:
        """Geometry that a store's header tells."""
        return cls(*(header[name] for name in ("n_examples", "n_classes", "dtype", "block_rows", "codec")))

    def of_embeddings(self, dim: int) -> Geometry:
        """Geometry of (N, dim) embeddings beside logits of this one, in the same dtype and codec.

        A block of logits holds the rows of a whole number of theirs, the one nearest to 1 MiB each: rows are
        whole in all files of a model at the end of every block of its logits.
        """
        wanted = BLOCK_BYTES / (dim * np.dtype(self.dtype).itemsize)
        divisors = [rows for rows in range(1, self.block_rows + 1) if self.block_rows % rows == 0]
        rows = min(divisors, key=lambda rows: abs(math.log(rows / wanted)))
        return Geometry(self.n_examples, dim, self.dtype, rows, self.codec)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n_examples // self.block_rows)

    @property
    def data_bytes(self) -> int:
        """Bytes of a block as it is in memory."""
        return self.block_rows * self.n_classes * np.dtype(self.dtype).itemsize

    def rows(self, block: int) -> tuple[int, int]:
        """First and last-plus-one example of a block."""
        start = block * self.block_rows
        return start, min(start + self.block_rows, self.n_examples)

    def places(self, sizes: Sequence[int] | None = None) -> NDArray[np.uint64]:
        """Where blocks lie: (n_blocks, 2) of offset and length in bytes, checksum included.

        Parameters
        ----------
        sizes : sequence of int, optional
            Bytes of each block without its checksum; all are `data_bytes` by default.
        """
        lengths = np.full(self.n_blocks, self.data_bytes) if sizes is None else np.asarray(sizes)
        table = np.empty((self.n_blocks, 2), "<u8")
        table[:, 1] = lengths + CRC_BYTES
        table[:, 0] = np.cumsum(table[:, 1]) - table[:, 1]
        return table

    def shard_bytes(self, sizes: Sequence[int] | None = None) -> int:
        """Bytes of the finished shard: blocks, then 16 bytes of index a block, then the index's checksum."""
        return int(self.places(sizes)[:, 1].sum()) + 16 * self.n_blocks + CRC_BYTES


def _codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration} if configuration else {"name": name}


def array_json(geometry: Geometry) -> bytes:
    """Zarr v3 metadata of a model's logits: one shard of checksummed blocks."""
    return _shard_json(geometry, "class", "logit minus row maximum, clamped at -65504")


def embeddings_json(geometry: Geometry) -> bytes:
    """Zarr v3 metadata of a model's embeddings: one shard of checksummed blocks."""
    return _shard_json(geometry, "feature", "features as they are; float16 is clamped to -65504..65504")


def described(shard: str, geometry: Geometry) -> tuple[str, bytes]:
    """Name and content of the Zarr metadata that belongs to one of a model's shards."""
    if shard == SHARD:
        return ARRAY_JSON, array_json(geometry)
    return EMBEDDINGS_JSON, embeddings_json(geometry)


@lru_cache(maxsize=64)
def _shard_json(geometry: Geometry, column: str, encoding: str) -> bytes:
    rows, classes = geometry.block_rows, geometry.n_classes
    raw = [_codec("bytes", endian="little"), _codec("crc32c")]
    packed = [raw[0], _codec("blosc", typesize=np.dtype(geometry.dtype).itemsize, **ARCHIVE), raw[1]]
    codecs = packed if geometry.codec == "archive" else raw
    sharding = _codec(
        "sharding_indexed", chunk_shape=[rows, classes], codecs=codecs, index_codecs=raw, index_location="end"
    )
    node = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [geometry.n_examples, classes],
        "data_type": geometry.dtype,
        "chunk_grid": _codec("regular", chunk_shape=[rows * geometry.n_blocks, classes]),
        "chunk_key_encoding": _codec("default", separator="."),
        "fill_value": "NaN",
        "codecs": [sharding],
        "dimension_names": ["example", column],
        "attributes": {"encoding": encoding},
        "storage_transformers": [],
    }
    return canonical_json(node)


def group_json(**attributes: Any) -> bytes:
    """Zarr v3 metadata of a group."""
    return canonical_json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """JSON in the one spelling this store writes: sorted keys, two spaces, UTF-8, a final newline."""
    text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def identity_hash(example_ids: Sequence[str]) -> str:
    """SHA-256 of the ordered example ids: the identity of rows, apart from any labels."""
    digest = hashlib.sha256()
    for name in example_ids:
        raw = name.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


_PLAIN = re.compile(r"[a-z0-9_][a-z0-9._-]{0,119}")


def folder_name(model_id: str) -> str:
    """Folder of a model: its id where that is safe on every file system, else a readable slug and a hash.

    Two ids never share a folder, not even where the file system ignores case.
    """
    if _PLAIN.fullmatch(model_id) and not model_id.endswith((".", ".lock", ".json")):
        return model_id
    slug = re.sub(r"[^A-Za-z0-9._-]+", "_", model_id).strip("._")[:80] or "model"
    return f"{slug}~{hashlib.sha256(model_id.encode()).hexdigest()[:16]}"
