"""What a run takes of memory at the highest, host and devices apart, by what takes it.

Nothing that is known is left out, so that a run takes less than it is told rather than more: buffers count as
if all were full at once, and what one example takes of a pass counts as measured where that is more than its
tensors add up to. Models of unknown size count as nothing, which the plan says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from dissensus.run.memory import available_bytes
from dissensus.store import format as fmt
from dissensus.store.row_tables import STEP_BYTES

from .batches import AHEAD
from .memory_parts import DeviceMemory, Memory, Parts
from .rounds import BEHIND
from .workers import IN_HAND

if TYPE_CHECKING:
    from ..zoo.outline import Outline
    from .devices import Host
    from .probe import Probe

_MiB = 1 << 20
PROCESS_BYTES = 450 * _MiB  # Python, torch, torchvision and timm, without what processes share
RUNTIME_BYTES = 128 * _MiB  # modules loaded late, kernels' own memory, threads' stacks and arenas
_CUDA_HOST_BYTES = 1024 * _MiB  # of a process that begins to use CUDA
_CUDA_CONTEXT_BYTES = 640 * _MiB  # on the device, a process
_CUDA_WORKSPACE_BYTES = 128 * _MiB  # of cuBLAS and cuDNN, and what the allocator rounds up
_LOGIT_BYTES = 56  # of encoding: float32 and float64 of a logit, its key as an integer, and their copies
_SCORE_BYTES = 8  # of a score that a model gave: logits have 4, probabilities 8
_FINISHING_BYTES = 2 * STEP_BYTES  # packed records of a model that is finished, and one of their columns
_ID_BYTES = 120  # an example's id as a text, in a list of the store's and one of the data's


@dataclass(frozen=True)
class Share:
    """The rounds of one process, and where it runs them."""

    lane: Host
    rounds: Sequence[Sequence[Outline]]

    @property
    def apart(self) -> bool:
        """Whether the device has memory of its own."""
        return self.lane.device.type != "cpu"


@dataclass(frozen=True)
class Sizes:
    """What the memory of a round depends on, beside its models.

    Attributes
    ----------
    batch_size, workers, embeddings
        As of the run.
    geometry
        Of the logits.
    probe
        What was measured, if anything was.
    """

    batch_size: int
    workers: int
    embeddings: bool
    geometry: fmt.Geometry
    probe: Probe | None

    @property
    def n(self) -> int:
        """Examples of the largest batch."""
        return min(self.batch_size, self.geometry.n_examples)

    @property
    def image_bytes(self) -> int:
        """Of a batch of decoded images."""
        return 0 if self.probe is None else self.n * self.probe.image_bytes

    def forms(self, models: Sequence[Outline]) -> list[int]:
        """Bytes of a batch in every form in which a round holds it."""
        found = {} if self.probe is None else self.probe.prepared_bytes
        forms = {model.preparation_text: model.input_bytes or 0 for model in models}
        return [self.n * found.get(text or "", size) for text, size in forms.items()]

    def row_bytes(self, model: Outline) -> int:
        """Of a stored row of a model."""
        n_values = self.geometry.n_classes + ((model.embedding_dim or 0) if self.embeddings else 0)
        return n_values * np.dtype(self.geometry.dtype).itemsize + self._record_bytes

    @property
    def _record_bytes(self) -> int:
        return fmt.record_dtype("logits", self.geometry.n_classes).itemsize

    @property
    def encoding_bytes(self) -> int:
        """Of a batch of logits while it becomes rows; on the host it is done in smaller steps."""
        return self.n * self.geometry.n_classes * _LOGIT_BYTES

    @property
    def id_bytes(self) -> int:
        """Of the ids of all examples."""
        return self.geometry.n_examples * _ID_BYTES

    def waiting_bytes(self, models: Sequence[Outline], apart: bool) -> int:
        """Of rows that wait for the writer: in its hands, computed last, and between the two.

        On the host they wait as the models gave them, and are encoded by the writer.
        """
        row = max((self.row_bytes(model) for model in models), default=0)
        row += 0 if apart else self.geometry.n_classes * _SCORE_BYTES
        return self.n * row * (BEHIND * len(models) + 2)

    def pass_bytes(self, model: Outline) -> int:
        """Of a batch in a model, beside weights and input: as measured, or as counted, whichever is more."""
        counted = self.n * (model.activation_bytes or 0)
        if self.probe is None:
            return counted
        return self.probe.pass_bytes(model, self.n, counted)


def memory_of(shares: Sequence[Share], sizes: Sizes) -> Memory:
    """Return the memory that the processes of a run take at the highest.

    Parameters
    ----------
    shares
        One a process; a single one is this process itself.
    sizes
        Of batches and rows.
    """
    spawned = len(shares) > 1
    parts = [_most_of(share, sizes, spawned) for share in shares]
    least = sum(max((_least(one, share, sizes) for one in share.rounds), default=0) for share in shares)
    devices: dict[str, DeviceMemory] = {}
    for share in shares:
        if share.apart:
            name, needed = str(share.lane.device), _device_bytes(share, sizes, spawned)
            before = devices[name].needed_bytes if name in devices else 0
            devices[name] = DeviceMemory(name, before + needed, share.lane.free_bytes())
    largest = max(parts, key=lambda one: one.total)
    total = sum(one.total for one in parts)
    return Memory(total, least, available_bytes(), largest, list(devices.values()))


def _most_of(share: Share, sizes: Sizes, spawned: bool) -> Parts:
    """Return the parts of a process in the round that takes most; nothing where there is no round."""
    rounds = [_parts(one, share, sizes, spawned) for one in share.rounds if one]
    nothing = Parts(*[0] * len(fields(Parts)))
    return max(rounds, key=lambda one: one.total, default=nothing)


def _parts(models: Sequence[Outline], share: Share, sizes: Sizes, spawned: bool) -> Parts:
    forms, images = sizes.forms(models), sizes.image_bytes
    weights = [model.weights_bytes or 0 for model in models]
    passes = max(map(sizes.pass_bytes, models))
    # a model is read, then built; what its digest is taken of is a copy of a tensor
    loading = (3 if share.apart else 2) * max(weights)
    steps = sizes.geometry.block_rows * sum(map(sizes.row_bytes, models))
    waiting = sizes.waiting_bytes(models, share.apart)
    cuda = share.lane.device.type == "cuda"
    return Parts(
        weights=0 if share.apart else sum(weights),
        loading=loading,
        activations=0
        if share.apart
        else passes + max(forms, default=0),  # and a copy of its own of the batch
        batches=_batches_bytes(forms, images, sizes.workers),
        pinned=_pinned_bytes(forms, waiting) if share.lane.pins else 0,
        rows=(0 if share.apart else sizes.encoding_bytes) + waiting + 2 * steps + _FINISHING_BYTES,
        ids=sizes.id_bytes,
        workers=sizes.workers * (PROCESS_BYTES + _reading_bytes(forms, images) + IN_HAND * sum(forms)),
        process=RUNTIME_BYTES + (PROCESS_BYTES if spawned else 0) + (_CUDA_HOST_BYTES if cuda else 0),
    )


def _batches_bytes(forms: Sequence[int], images: int, workers: int) -> int:
    """Return what a process holds of batches: those ahead, the one in the models' hands, one being made."""
    return (AHEAD + 1) * sum(forms) + (0 if workers else _reading_bytes(forms, images))


def _reading_bytes(forms: Sequence[int], images: int) -> int:
    """Return what making a batch takes: the images, a copy for each form at work, and its parts."""
    at_once = min(len(forms), os.cpu_count() or 1)
    return images * (2 + at_once) + 2 * sum(forms)


def _pinned_bytes(forms: Sequence[int], rows: int) -> int:
    """Return the page-locked memory of batches and rows on their way; torch rounds up to powers of 2."""
    return (AHEAD + 2) * sum(map(_power_of_2, forms)) + 2 * rows


def _power_of_2(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _device_bytes(share: Share, sizes: Sizes, spawned: bool) -> int:
    """Return what a process takes on its device in the round that takes most."""
    rounds = [_round_bytes(one, sizes) for one in share.rounds if one]
    if share.lane.device.type != "cuda":
        return max(rounds, default=0)
    own = _CUDA_WORKSPACE_BYTES + (_CUDA_CONTEXT_BYTES if spawned else 0)
    return max(rounds, default=0) + own


def _round_bytes(models: Sequence[Outline], sizes: Sizes) -> int:
    forms = sizes.forms(models)
    weights = sum(model.weights_bytes or 0 for model in models)
    there = 2 * sum(forms) + max(forms, default=0)  # in use, arriving, and a model's own copy
    passes = max(map(sizes.pass_bytes, models))
    return weights + there + passes + sizes.encoding_bytes + sizes.waiting_bytes(models, apart=True)


def _least(models: Sequence[Outline], share: Share, sizes: Sizes) -> int:
    """Return what a round is certain to take of the host."""
    forms, steps = sizes.forms(models), sizes.geometry.block_rows * sum(map(sizes.row_bytes, models))
    held = 2 * sum(forms) + sizes.image_bytes + steps
    if share.apart:
        return held
    counted = max(sizes.n * (model.activation_bytes or 0) for model in models)
    return held + counted + sum(model.weights_bytes or 0 for model in models)
