"""Errors: one family, each also the builtin a caller would expect.

Every message names the argument or file, the rule, the value received and the remedy.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class DissensusError(Exception):
    """Base of every error this library raises on purpose."""

    def __str__(self) -> str:
        # KeyError and OSError would wrap or number the message; the text is meant for people.
        return str(self.args[-1]) if self.args else ""


class ArgumentError(DissensusError, ValueError):
    """An argument breaks its rule."""


class UnknownName(DissensusError, KeyError):
    """A name (model, measure, split, metric) is not among those there are."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str], remedy: str = "") -> UnknownName:
        """Build the message with the nearest known names."""
        known = list(known)
        near = difflib.get_close_matches(_short(name), known, n=3, cutoff=0.5)
        some = ", ".join(_short(text) for text in known[:12]) or "none"
        hint = f"did you mean {', '.join(map(_short, near))}?" if near else f"there are: {some}"
        if not near and len(known) > 12:
            hint += f", … ({len(known)} in all)"
        return cls(f"unknown {what} {_short(name)!r}; {hint}{' ' + remedy if remedy else ''}")


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


class MissingDependency(DissensusError, ImportError):
    """An optional package is needed for what was asked."""


class ClusterError(DissensusError, ConnectionError):
    """A Dask cluster does not answer, or its workers cannot do what was asked."""


class NotAStore(DissensusError, FileNotFoundError):
    """The path holds no Dissensus store."""


class StoreExists(DissensusError, FileExistsError):
    """The path to create a store at is taken."""


class NotWritable(DissensusError, PermissionError):
    """The store cannot be written by this user."""


class StoreFull(DissensusError, OSError):
    """No room left on the device while writing; what was staged can be resumed."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)


class IncompatibleFormat(DissensusError, ValueError):
    """The store was written in a format this version does not read."""


class ExamplesMismatch(DissensusError, ValueError):
    """Predictions or data belong to other examples than the store's."""


class ModelExists(DissensusError, FileExistsError):
    """The model is in the store already."""


class WriterBusy(DissensusError, BlockingIOError):
    """Another process is writing this model."""


class FingerprintMismatch(DissensusError, ValueError):
    """What is stored under this id came from other weights, preprocessing or examples."""


class IncompleteModel(DissensusError, ValueError):
    """A writer was closed before every example had its row."""


class NotReadable(DissensusError, OSError):
    """A file of the store cannot be read by this user, or the device fails: its content is unknown."""


class ModelReplaced(DissensusError, RuntimeError):
    """A model was replaced or removed while it was being read; the same query again reads the new one."""


class CorruptionError(DissensusError, OSError):
    """Stored bytes are damaged: model and block or file are named."""


class NonFiniteLogits(DissensusError, ValueError):
    """A model gave NaN or an infinity: model, example and class are named."""


class NonFiniteEmbeddings(DissensusError, ValueError):
    """A model gave NaN or an infinity in its embeddings: model, example and feature are named."""


class NoFeatures(DissensusError, LookupError):
    """A module has no layer whose input its logits come from: there are no embeddings to store."""


class LabelsOnly(DissensusError, TypeError):
    """A model with hard labels only was asked for logits or probabilities."""


class UnreadableImage(DissensusError, OSError):
    """Image files could not be decoded: the paths are named."""


class DecodeWorkerDied(DissensusError, RuntimeError):
    """Processes that decode images died again and again."""


class ModelLoadError(DissensusError, RuntimeError):
    """A model could not be built or its checkpoint does not fit."""


class WrongClassCount(DissensusError, ValueError):
    """A model has another number of classes than the store."""


class CalibrationWarning(UserWarning):
    """A model has no finite best temperature."""

    @classmethod
    def of(cls, model_id: str, n_examples: int) -> CalibrationWarning:
        """Name the model, why there is none, and what is used."""
        return cls(
            f"model {model_id!r} has no best temperature between 0.001 and 1000 on these {n_examples} "
            "examples (always right, no better than chance, or scores too large); 1 is used"
        )
