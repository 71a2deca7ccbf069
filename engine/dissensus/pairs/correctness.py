"""What each of many models gets right, one bit an example: from a store, an array, or packed answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError
from dissensus.store.models import again

from .asked import checked_examples, checked_mask, checked_models
from .counts import Answers

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

Source = Any  # a Store, an (M, N) bool array or one that can be sliced as such, or Answers

VECTOR = 8  # words: rows are padded to whole vectors, since a scalar rest takes longer than it is long
READ_BYTES = 128 << 20  # predictions and correctness unpacked at a time


@dataclass(frozen=True, eq=False)
class Correctness:
    """Which examples each of M models gets right.

    Attributes
    ----------
    model_ids : list of str
        Their names, in order.
    packed : (M, W) uint64
        As `kernels.counts.pack` lays it out, W a multiple of 8; 0 outside the examples counted.
    right : (M,) int64
        Examples each gets right.
    n : int
        Examples counted.
    examples : str
        Digest of which examples are counted.
    chosen : (V,) uint64
        The examples counted, packed, V at most W.
    """

    model_ids: list[str]
    packed: NDArray[np.uint64]
    right: NDArray[np.int64]
    n: int
    examples: str
    chosen: NDArray[np.uint64]

    @classmethod
    def of(
        cls,
        source: Source,
        *,
        models: Sequence[str] | None = None,
        split: str | None = None,
        where: str | None = None,
        mask: ArrayLike | None = None,
        labels: str | None = None,
    ) -> Correctness:
        """Gather correctness; unpacked, only some models are held at a time.

        Raises
        ------
        ArgumentError, UnknownName
        """
        if hasattr(source, "resolve"):
            return _of_store(source.under(labels), models, split, where, mask)
        if (split, where, labels) != (None, None, None):
            raise ArgumentError(
                "split, where and labels are those of a store; choose examples of an array by mask="
            )
        if isinstance(source, Answers):
            return _of_answers(source, models, mask)
        return _of_array(source, models, mask)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of the examples that each model gets right, (M,)."""
        return self.right / self.n

    def digests(self) -> list[str]:
        """Digest of each model's answers: what its pairs depend on, and nothing else."""
        return digests_of(self.packed)

    def reordered(self, order: NDArray[np.intp]) -> Correctness:
        """The same models in another order."""
        names = [self.model_ids[i] for i in order.tolist()]
        packed, right = self.packed[order], self.right[order]
        return Correctness(names, packed, right, self.n, self.examples, self.chosen)


def digests_of(packed: NDArray[np.uint64]) -> list[str]:
    """Digest of each row of packed answers."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in packed]


def packed_bytes(n_models: int, n_examples: int) -> int:
    """Memory of so many models' answers."""
    return n_models * _words(n_examples) * 8


def shape_of(source: Source, models: Sequence[str] | None) -> tuple[int, int]:
    """Number of models and of examples, before anything is read."""
    if hasattr(source, "resolve"):
        return len(source.resolve(models)), source.n_examples
    if isinstance(source, Answers):
        return len(source.packed), 64 * source.packed.shape[1]
    n_models, n_examples = _checked_array(source).shape
    return n_models, n_examples


def _checked_array(correct: Any) -> Any:
    """Refuse what is no (M, N) bool array: class labels taken for correctness would all count as right."""
    shape: tuple[int, ...] = getattr(correct, "shape", ())
    if len(shape) != 2 or correct.dtype != np.bool_:
        given = f"{correct.dtype} {shape}" if hasattr(correct, "dtype") else type(correct).__name__
        raise ArgumentError(
            f"a store or an (M, N) bool array of correctness is needed; got {given}: "
            "pass predictions == labels"
        )
    return correct


def _words(n_examples: int) -> int:
    return -(-n_examples // (64 * VECTOR)) * VECTOR


@again
def _of_store(
    store: Store, models: Sequence[str] | None, split: str | None, where: str | None, mask: ArrayLike | None
) -> Correctness:
    model_ids = checked_models(store, models)
    chosen = checked_examples(store, split, mask, where)
    opened = [store.model(model_id) for model_id in model_ids]
    # a query of all models makes the cache of predictions: one read, where memory allows
    step = max(READ_BYTES // (3 * store.n_examples), 1)
    whole = len(opened) <= 4 * step
    blocks = iter([store.top1_of(opened)]) if whole else store.top1_blocks(opened, step)
    rows = (store.truth.correct(top1) for top1 in blocks)
    return _packed(model_ids, rows, store.n_examples, chosen, store.examples_hash)


def _of_array(correct: Any, models: Sequence[str] | None, mask: ArrayLike | None) -> Correctness:
    shape = _checked_array(correct).shape
    names = _names(models, shape[0])
    chosen = None if mask is None else checked_mask(mask, shape[1])
    step = max(READ_BYTES // max(shape[1], 1), 1)
    rows = (np.asarray(correct[start : start + step]) for start in range(0, shape[0], step))
    return _packed(names, rows, shape[1], chosen, "")


def _of_answers(answers: Answers, models: Sequence[str] | None, mask: ArrayLike | None) -> Correctness:
    from dissensus.kernels.bits import pack

    names, chosen = _names(models, len(answers.packed)), answers.chosen
    if mask is not None:
        rows = pack(checked_mask(mask, np.size(mask))[None, :])[0]
        if rows.shape != chosen.shape:
            most = 64 * len(chosen)
            raise ArgumentError(f"mask has {np.size(mask)} examples, the answers have {most - 63} to {most}")
        chosen = chosen & rows
    words = answers.packed.shape[1]
    packed = np.zeros((len(names), -(-words // VECTOR) * VECTOR), np.uint64)
    np.bitwise_and(answers.packed, chosen, out=packed[:, :words])
    return _counted(names, packed, chosen, "")


def _packed(
    names: list[str],
    blocks: Iterable[NDArray[np.bool_]],
    n_examples: int,
    chosen: NDArray[np.bool_] | None,
    origin: str,
) -> Correctness:
    from dissensus.kernels.bits import pack

    mask = pack(np.ones((1, n_examples), np.bool_) if chosen is None else chosen[None, :])[0]
    return _counted(names, packed_rows(len(names), blocks, n_examples, mask), mask, origin)


def packed_rows(
    n_models: int, blocks: Iterable[NDArray[np.bool_]], n_examples: int, chosen: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Pack the rows of some models at a time, (M, W) uint64; 0 outside the examples chosen."""
    from dissensus.kernels.bits import pack

    packed, start = np.zeros((n_models, _words(n_examples)), np.uint64), 0
    for rows in blocks:
        np.bitwise_and(pack(rows), chosen, out=packed[start : start + len(rows), : len(chosen)])
        start += len(rows)
    return packed


def right_of(packed: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Examples that each model gets right, (M,)."""
    return np.array([np.bitwise_count(row).sum(dtype=np.int64) for row in packed], np.int64)


def _counted(
    names: list[str], packed: NDArray[np.uint64], chosen: NDArray[np.uint64], origin: str
) -> Correctness:
    n = int(np.bitwise_count(chosen).sum())
    if not n:
        raise ArgumentError("mask must choose at least one example; it chooses none")
    told = hashlib.blake2b(origin.encode() + np.trim_zeros(chosen, "b").tobytes(), digest_size=16)
    return Correctness(names, packed, right_of(packed), n, told.hexdigest(), chosen)


def _names(models: Sequence[str] | None, size: int) -> list[str]:
    """Names of rows: those given, or their numbers."""
    if size < 2:
        raise ArgumentError(f"pairs need at least 2 models; the array has {size}")
    return [str(i) for i in range(size)] if models is None else _distinct(models, size)


def _distinct(models: Sequence[str], size: int) -> list[str]:
    names = list(models)
    if len(names) != size or len(set(names)) != size:
        raise ArgumentError(
            f"models must name the {size:,} rows, each differently; got {len(names):,} names, "
            f"{len(set(names)):,} of them different"
        )
    return names
