"""Prepared batches, read ahead: decoded once, and prepared once for all models that take the same.

What a preparation raises is given in its place, so that only the models that take it fail. Two ways of
reading give the same batches: threads of this process, and worker processes (torch's DataLoader, spawned).
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

from dissensus.errors import ArgumentError, DecodeWorkerDied

from .failures import Failure
from .overlap import look_ahead

if TYPE_CHECKING:
    from .examples import ExampleSource, Images

Span: TypeAlias = tuple[int, int]
Preparation: TypeAlias = "Callable[[Images], Any]"
Batches: TypeAlias = Iterator[tuple[Span, "list[Any]"]]

AHEAD = 3  # one batch in the models' hands, the others read or being read
_DEATHS = 3  # of workers at one place, until it is no accident


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
        return prepare(images)
    except Exception as error:
        return Failure.of(error)


def spans_of(first: int, n: int, batch_size: int) -> list[Span]:
    """Batches of the examples from `first` on."""
    return [(start, min(start + batch_size, n)) for start in range(first, n, batch_size)]


def check_workers(reading: Reading, workers: int) -> None:
    """Refuse worker processes where they could not be given what they need.

    Raises
    ------
    ArgumentError
    """
    if not workers:
        return
    try:
        pickle.dumps(reading)
    except Exception as error:  # pickle raises anything
        raise ArgumentError(
            f"workers={workers} decode in processes of their own, to which the data or a preprocessing "
            f"cannot be sent ({error}); define the function in a module, or pass workers=0 (threads)"
        ) from error


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
    if workers:
        yield _from_processes(reading, spans, workers, pinned)
        return
    pin = _pin if pinned else _as_it_is
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="dissensus-prepare") as pool:
        with look_ahead(lambda span: pin(reading(span, pool.map)), spans, AHEAD) as batches:
            yield batches


def _from_processes(reading: Reading, spans: Sequence[Span], workers: int, pinned: bool) -> Batches:
    done = deaths = 0
    while done < len(spans):
        before = done
        try:
            for batches in _loader(reading, spans[done:], workers, pinned):
                if isinstance(batches, _Raised):
                    raise batches.error
                yield spans[done], batches
                done, deaths = done + 1, 0
        except RuntimeError as error:
            if "exited unexpectedly" not in str(error) and "bootstrapping" not in str(error):
                raise
            deaths = deaths + 1 if done == before else 1
            _tell_death(spans[done], deaths, error)


def _tell_death(span: Span, deaths: int, error: Exception) -> None:
    where = f"a decode worker died at examples {span[0]} to {span[1] - 1} or after"
    if deaths >= _DEATHS:
        raise DecodeWorkerDied(
            f"{where}, {deaths} times in a row; see whether memory is short or an image crashes its decoder, "
            "or decode in threads with workers=0 (--workers 0). A script that starts workers needs "
            '`if __name__ == "__main__":` around what it does'
        ) from error
    warnings.warn(f"{where}; other workers go on from there", stacklevel=2)


def _loader(reading: Reading, spans: Sequence[Span], workers: int, pinned: bool) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(
        _Spans(reading, spans),  # type: ignore[arg-type]
        batch_size=None,
        shuffle=False,
        num_workers=min(workers, len(spans)),
        multiprocessing_context="spawn",
        collate_fn=_as_it_is,
        worker_init_fn=_decode_in_one_thread,
        pin_memory=pinned,
    )


def _decode_in_one_thread(_: int) -> None:
    """Keep a worker from decoding in as many threads as there are cores: others do it beside it."""
    from torch.utils.data import get_worker_info

    examples: Any = get_worker_info().dataset.reading.examples  # type: ignore[union-attr]
    if hasattr(examples, "threads"):
        examples.threads = 1


@dataclass(frozen=True)
class _Raised:
    """An error of reading, on its way out of a worker: torch would wrap it in a traceback of lines."""

    error: Exception


@dataclass(frozen=True)
class _Spans:
    """A map-style dataset whose items are whole batches."""

    reading: Reading
    spans: Sequence[Span]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.reading(self.spans[index])
        except Exception as error:
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:  # an error with arguments of its own kind
                return _Raised(RuntimeError(Failure.of(error).text))
            return _Raised(error)


def _as_it_is(batches: Any) -> Any:
    return batches


def _pin(batches: list[Any]) -> list[Any]:
    return [batch.pin_memory() if hasattr(batch, "pin_memory") else batch for batch in batches]
