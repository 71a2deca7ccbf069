"""What a finished model consists of beside its rows: ends of shards, Zarr's metadata, the commit record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import format as fmt
from .files import crc32c, crc_bytes
from .row_tables import row_table_bytes
from .staged import BlockFile, PackedFile
from .times import now

BLOSC_HEADER = 16  # bytes by which blosc may lengthen what it cannot compress


def finish_shard(file: BlockFile, geometry: fmt.Geometry) -> dict[str, Any]:
    """Write the shard's index after its last block; return size and checksums of all of it."""
    sizes = file.sizes if isinstance(file, PackedFile) else None
    file.finish(_trailer(file, geometry))
    record = {"bytes": geometry.shard_bytes(sizes), "blocks_crc32c": "".join(f"{c:08x}" for c in file.crcs)}
    return record if sizes is None else record | {"blocks_bytes": sizes}


def _trailer(file: BlockFile, geometry: fmt.Geometry) -> bytes:
    index = geometry.places(file.sizes if isinstance(file, PackedFile) else None).tobytes()
    return index + crc_bytes(crc32c(index))


def finish_embeddings(file: BlockFile, geometry: fmt.Geometry) -> dict[str, Any]:
    """Finish the shard of embeddings; its record has the checksum of the whole file too.

    Programs of this format that know no embeddings take any file but the logits for a small one, and verify
    it whole. That finds damage; whose rows these are only the checksums of the blocks tell.
    """
    record = finish_shard(file, geometry)
    return record | {"crc32c": f"{file.whole_crc(_trailer(file, geometry)):08x}"}


def documents(
    model_id: str, metadata: Mapping[str, Any], shards: Mapping[str, fmt.Geometry]
) -> dict[str, bytes]:
    """Small files of a model by name: metadata, and what makes the folder plain Zarr."""
    files = {fmt.MODEL_JSON: fmt.canonical_json(metadata), fmt.ZARR_JSON: fmt.group_json(model_id=model_id)}
    return files | dict(fmt.described(name, geometry) for name, geometry in shards.items())


def model_bytes(
    model_id: str, geometry: fmt.Geometry, kind: str, embeddings: fmt.Geometry | None = None
) -> int:
    """Bytes of a model's arrays, derived columns, top-K view and Zarr metadata, which its shape decides.

    Exact for codec "raw", the most there can be for "archive"; the two small records, `model.json` and
    `commit.json`, come on top.
    """
    shards = {fmt.SHARD: geometry} | ({} if embeddings is None else {fmt.EMBEDDINGS_SHARD: embeddings})
    zarr = (document for name, document in documents(model_id, {}, shards).items() if name != fmt.MODEL_JSON)
    tables = row_table_bytes(kind, geometry.n_examples, geometry.n_classes)
    return tables + sum(map(_most, shards.values())) + sum(map(len, zarr))


def _most(geometry: fmt.Geometry) -> int:
    packed = geometry.data_bytes + BLOSC_HEADER
    return geometry.shard_bytes([packed] * geometry.n_blocks if geometry.codec == "archive" else None)


def commit_record(
    model_id: str,
    kind: str,
    fingerprint: Mapping[str, str],
    geometry: fmt.Geometry,
    embeddings: fmt.Geometry | None = None,
) -> dict[str, Any]:
    """Commit record of a model, its files and provenance left out."""
    record = {
        "format_version": fmt.FORMAT_VERSION,
        "model_id": model_id,
        "kind": kind,
        "fingerprint": dict(fingerprint),
        "shape": [geometry.n_examples, geometry.n_classes],
        "committed_at": now(),
    }
    if embeddings is not None:
        record["embeddings"] = {"dim": embeddings.n_classes, "block_rows": embeddings.block_rows}
    return record
