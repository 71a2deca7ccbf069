"""What a run takes of the disk and of memory, and in which rounds its models go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dissensus.run.memory import available_bytes
from dissensus.store import format as fmt
from dissensus.store.records import model_bytes
from dissensus.store.staging import staged_rows

from .batches import AHEAD
from .rounds import BEHIND

if TYPE_CHECKING:
    from ..zoo.outline import Outline
    from .devices import Host
    from .probe import Probe


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk.

    Attributes
    ----------
    write_bytes
        What models that are left to run add to the store: exact for codec "raw", the most there can be for
        "archive". Their two small records are not counted.
    most_bytes
        What is taken for a moment while a model is finished, that included.
    free_bytes
        What there is.
    is_exact
        Whether the codec is "raw", and embeddings, where they are kept, of known size.
    """

    write_bytes: int
    most_bytes: int
    free_bytes: int
    is_exact: bool


@dataclass(frozen=True)
class Memory:
    """Bytes of memory at the highest, as far as sizes are known: working memory of kernels comes on top.

    Attributes
    ----------
    host_bytes, host_free_bytes
        Needed and there, beside what this process holds already.
    device_bytes, device_free_bytes
        Of a device with memory of its own, else None.
    weights_bytes
        Of the largest round.
    batches_bytes
        Decoded images and prepared batches, and rows that wait for the writer.
    activations_bytes
        Of the model that takes most of it, for a batch; None where it is not known.
    """

    host_bytes: int
    host_free_bytes: int
    device_bytes: int | None
    device_free_bytes: int | None
    weights_bytes: int
    batches_bytes: int
    activations_bytes: int | None


def rounds_of(outlines: Sequence[Outline], most: int, free: int) -> list[list[Outline]]:
    """Return models in the rounds of `infer`: each loads until there are `most`, or memory is half taken.

    Parameters
    ----------
    outlines
        In the order of the run; models of unknown size count as nothing.
    most
        Models in memory at once.
    free
        Bytes of memory at the start of a round.
    """
    from .turns import ROOM

    rounds: list[list[Outline]] = []
    taken = 0
    for outline in outlines:
        if not rounds or len(rounds[-1]) >= most or free - taken < ROOM * free:
            rounds.append([])
            taken = 0
        rounds[-1].append(outline)
        taken += outline.weights_bytes or 0
    return rounds


def staged_in(root: Path, outlines: Sequence[Outline], geometry: fmt.Geometry) -> dict[str, int]:
    """Return how many rows of models are staged, of those that have any."""
    rows = {one.model_id: staged_rows(root, one.model_id, geometry)[0] for one in outlines}
    return {model_id: n for model_id, n in rows.items() if n}


def disk_of(root: Path, outlines: Sequence[Outline], geometry: fmt.Geometry, embeddings: bool) -> Disk:
    """Return what models take of the disk of a store, less what is staged of them.

    Parameters
    ----------
    root
        Folder of the store, which need not be there.
    outlines
        Models that are left to run.
    geometry
        Of their logits.
    embeddings
        Whether those are stored too, of models that tell their number of features.
    """
    n_bytes = 0
    for one in outlines:
        dim = one.embedding_dim if embeddings else None
        beside = None if dim is None else geometry.of_embeddings(dim)
        whole = model_bytes(one.model_id, geometry, "logits", beside)
        n_bytes += max(0, whole - staged_rows(root, one.model_id, geometry)[1])
    record = fmt.record_dtype("logits", geometry.n_classes).itemsize
    scratch = geometry.n_blocks * (geometry.block_rows * record + fmt.CRC_BYTES)
    unknown = embeddings and any(one.embedding_dim is None for one in outlines)
    is_exact = geometry.codec == "raw" and not unknown
    return Disk(n_bytes, n_bytes + scratch if n_bytes else 0, free_bytes(root), is_exact)


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may write where a path is, or is going to be."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def memory_of(
    rounds: Sequence[Sequence[Outline]],
    batch_size: int,
    workers: int,
    geometry: fmt.Geometry,
    lane: Host,
    probe: Probe | None,
) -> Memory:
    """Return the memory that rounds of models take at the highest.

    Parameters
    ----------
    rounds
        See `rounds_of`.
    batch_size, workers
        As of the run.
    geometry
        Of the logits.
    lane
        Of the device.
    probe
        What was measured, if anything was.
    """
    n = min(batch_size, geometry.n_examples)
    held = [_batches_bytes(one, n, workers, geometry, probe) for one in rounds]
    weights = [sum(model.weights_bytes or 0 for model in one) for one in rounds]
    activations = [n * _most([model.activation_bytes for model in one]) for one in rounds]
    known = any(model.activation_bytes is not None for one in rounds for model in one)
    there = lane.device.type != "cpu"
    sums = zip(weights, held, activations, strict=True)
    host = max((b if there else w + b + a for w, b, a in sums), default=0)
    on_device = [
        w + a + 2 * n * _prepared_bytes(one, probe)
        for one, w, a in zip(rounds, weights, activations, strict=True)
    ]
    return Memory(
        host,
        available_bytes(),
        max(on_device, default=0) if there else None,
        lane.free_bytes() if there else None,
        max(weights, default=0),
        max(held, default=0),
        max(activations, default=0) if known else None,
    )


def _batches_bytes(
    models: Sequence[Outline], n: int, workers: int, geometry: fmt.Geometry, probe: Probe | None
) -> int:
    """Return what a round holds of examples before and behind its models."""
    ahead, reading = (2 * workers + 1, workers) if workers else (AHEAD, 1)
    images = 0 if probe is None else probe.image_bytes
    record = fmt.record_dtype("logits", geometry.n_classes).itemsize
    row = geometry.n_classes * np.dtype(geometry.dtype).itemsize + record
    steps = len(models) * geometry.block_rows * row
    behind = len(models) * (BEHIND + 1) * n * row
    prepared = (ahead + 1) * _prepared_bytes(models, probe)  # one is being put together of its examples
    return n * (prepared + reading * images) + behind + steps


def _prepared_bytes(models: Sequence[Outline], probe: Probe | None) -> int:
    """Return the bytes of one example in every form in which a round holds it."""
    found = {} if probe is None else probe.prepared_bytes
    forms = {model.preparation_text: model.input_bytes or 0 for model in models}
    return sum(found.get(text or "", size) for text, size in forms.items())


def _most(sizes: Sequence[int | None]) -> int:
    return max((size or 0 for size in sizes), default=0)
