"""What a process that decodes does: it answers spans with their batches until its pipe is closed."""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError

from .failures import Failure

if TYPE_CHECKING:
    from .batches import Reading, Span


@dataclass(frozen=True)
class Raised:
    """An error of reading, on its way out of a worker."""

    error: Exception


def work(connection: Connection) -> None:
    """Take what is read, then answer spans with their batches until the other end of the pipe is closed."""
    import torch

    sys.stdout = sys.stderr  # what a source prints is no result of the command
    torch.set_num_threads(1)  # the processes are what runs beside each other
    with suppress(EOFError, ConnectionError):
        reading = _received(connection)
        if hasattr(reading.examples, "threads"):
            reading.examples.threads = 1
        while True:
            for answer in _answers(reading, connection.recv()):
                _send(connection, answer)


def _received(connection: Connection) -> Reading:
    """Receive what is read, or send why it cannot be."""
    try:
        reading: Reading = connection.recv()
        return reading
    except (EOFError, ConnectionError):
        raise
    except Exception as error:
        text = f"the data or a preprocessing cannot be had in a worker process ({Failure.of(error).text}); "
        remedy = "define its functions in a module, or pass workers=0 (threads)"
        connection.send(Raised(ArgumentError(text + remedy)))
        raise EOFError from error


def _answers(reading: Reading, span: Span) -> list[Any]:
    try:
        return reading(span)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an error with arguments of its own kind
            return [Raised(RuntimeError(Failure.of(error).text))]
        return [Raised(error)]


def _send(connection: Connection, answer: Any) -> None:
    """Send a batch, or why it cannot be sent."""
    try:
        connection.send(answer)
    except ConnectionError:
        raise
    except Exception as error:  # it is pickled before the first byte is sent
        connection.send(Failure.of(error))
