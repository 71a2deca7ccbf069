"""Prepared batches, read ahead: decoded once, and prepared once for all models that take the same.

What a preparation raises is given in its place, so that only the models that take it fail. Two ways of
reading give the same batches: threads of this process, and worker processes (`workers.py`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .failures import Failure
from .overlap import look_ahead
from .workers import read_in_processes

if TYPE_CHECKING:
    from ..data.examples import ExampleSource, Images

Span: TypeAlias = tuple[int, int]
Preparation: TypeAlias = "Callable[[Images], Any]"
Batches: TypeAlias = Iterator[tuple[Span, "list[Any]"]]

AHEAD = 3  # one batch in the models' hands, the others read or being read


@dataclass(frozen=True)
class Reading:
    """Reads one span of examples and prepares it in every way that is asked for.

    Attributes
    ----------
    examples
        Where the images come from.
    preparations
        Distinct functions of the decoded images.
    """

    examples: ExampleSource
    preparations: Sequence[Preparation]

    def __call__(self, span: Span, each: Callable[..., Iterator[Any]] = map) -> list[Any]:
        """Return one batch a preparation, or its `Failure`; what reading itself raises is raised."""
        images = self.examples.read(*span)
        return list(each(_attempt, self.preparations, repeat(images)))


def _attempt(prepare: Preparation, images: Images) -> Any:
    try:
        return prepare(own(images))
    except Exception as error:
        return Failure.of(error)


def own(batch: Any) -> Any:
    """Return images or a batch that the caller may change; read-only arrays as they are.

    Parameters
    ----------
    batch
        Array, tensor, list of images, or anything that `copy.deepcopy` takes.
    """
    if isinstance(batch, np.ndarray):
        return batch.copy(order="K") if batch.flags.writeable else batch
    if hasattr(batch, "clone"):
        return batch.clone()
    if isinstance(batch, list):
        return [own(item) for item in batch]
    is_image = hasattr(batch, "copy") and hasattr(batch, "getbands")
    return batch.copy() if is_image else copy.deepcopy(batch)


def spans_of(first: int, n: int, batch_size: int) -> list[Span]:
    """Batches of the examples from `first` on."""
    return [(start, min(start + batch_size, n)) for start in range(first, n, batch_size)]


@contextmanager
def read_ahead(
    reading: Reading, spans: Sequence[Span], workers: int = 0, pinned: bool = False
) -> Iterator[Batches]:
    """Read batches before they are needed.

    Parameters
    ----------
    reading
        What is read and how.
    spans
        Rows of each batch, in order.
    workers
        Processes that decode; 0 decodes in threads of this process.
    pinned
        Put tensors in page-locked memory, from which a device copies without waiting.

    Returns
    -------
    context manager of an iterator of (span, one batch or `Failure` a preparation)

    Raises
    ------
    DecodeWorkerDied
        While iterating: workers died again and again at the same batch.
    """
    finish = _pin if pinned else _as_it_is
    if workers and spans:
        with read_in_processes(reading, spans, workers, AHEAD, finish) as batches:
            yield batches
        return
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="dissensus-prepare") as pool:
        with look_ahead(lambda span: finish(reading(span, pool.map)), spans, AHEAD) as batches:
            yield batches


def _as_it_is(batches: Any) -> Any:
    return batches


def _pin(batches: list[Any]) -> list[Any]:
    return [_pinned(batch) for batch in batches]


def _pinned(batch: Any) -> Any:
    """A tensor in page-locked memory, or as it is where it cannot be: it is then copied with some waiting."""
    try:
        return batch.pin_memory() if hasattr(batch, "pin_memory") else batch
    except RuntimeError:  # no such memory left, or on a device already
        return batch
