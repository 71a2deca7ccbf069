"""What is checked before a run begins, and of every batch that a model returns."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dissensus.errors import ArgumentError, ExamplesMismatch, WrongClassCount
from dissensus.store import format as fmt
from dissensus.store.encoding import check_finite
from dissensus.store.files import writing

from ..data.create import CONTENT, DIGESTS
from ..data.left_out import was_left_out
from ..zoo.models import ModelSource, Predictor

if TYPE_CHECKING:
    import torch

    from dissensus.store.catalog import Store

    from ..data.examples import ExampleSource


_NAMED = 5


def check_models(models: ModelSource | Iterable[ModelSource]) -> list[ModelSource]:
    """Return the model sources as a list.

    Raises
    ------
    ArgumentError
        There is none, one is no model source, or two have the same id.
    """
    sources: list[Any] = [models] if isinstance(models, ModelSource) else list(models)
    if not sources:
        raise ArgumentError("models must name at least one model, got none")
    for source in sources:
        if not isinstance(source, ModelSource):
            raise ArgumentError(
                "models must be model sources (TimmModel, TorchModel, CallableModel, …), got "
                f"{type(source).__name__}"
            )
    name, count = Counter(source.model_id for source in sources).most_common(1)[0]
    if count > 1:
        raise ArgumentError(
            f"models must have distinct ids, {name!r} comes more than once; rename its file or pass model_id="
        )
    return sources


def check_positive(argument: str, value: int) -> None:
    """Refuse anything but a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{argument} must be a whole number of 1 or more, got {value!r}")


def check_count(argument: str, value: int) -> None:
    """Refuse anything but a whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArgumentError(f"{argument} must be a whole number of 0 or more, got {value!r}")


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device to run on: the one asked for, else CUDA where there is one, else the CPU.

    Raises
    ------
    ArgumentError
        torch knows no such device, or it is not there.
    """
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f"device {str(device)!r} cannot be used here ({reason}); try device='cpu' (--device cpu)"
        ) from error
    return chosen


def choose_devices(
    devices: str | torch.device | Sequence[str | torch.device] | None,
) -> list[torch.device]:
    """Return the devices to run on: those asked for, separated by commas in a text, else the best there is.

    Raises
    ------
    ArgumentError
        None is named, torch knows no such device, or it is not there.
    """
    if isinstance(devices, str):
        devices = [name.strip() for name in devices.split(",")]
    if isinstance(devices, Sequence):
        if not devices:
            raise ArgumentError("device must name at least one device, got none")
        return [choose_device(name) for name in devices]
    return [choose_device(devices)]


def check_examples(store: Store, examples: ExampleSource) -> None:
    """Refuse examples other than the store's.

    Raises
    ------
    ExamplesMismatch
        Ids, labels, class names or the digest of the content differ; the first difference and both counts
        are named.
    """
    counts = f"the data has {len(examples)} examples, the store {store.n_examples}"
    for row, (given, stored) in enumerate(zip(examples.ids, store.example_ids, strict=False)):
        if given != stored:
            raise ExamplesMismatch(
                f"example {row} is {given!r} in the data but {stored!r} in the store; {counts}"
                f"{_left_out_of_one(store, examples, given, stored)}; make another store for this data"
            )
    if len(examples.ids) != store.n_examples:
        longer = examples.ids if len(examples.ids) > store.n_examples else store.example_ids
        first = longer[min(len(examples.ids), store.n_examples)]
        raise ExamplesMismatch(
            f"{counts}; the first without a partner is {first!r}"
            f"{_left_out_of_one(store, examples, first, first)}"
        )
    _check_labels(store, examples)
    stored_content = store.attributes.get(CONTENT)
    if stored_content is not None and stored_content != examples.fingerprint:
        raise ExamplesMismatch(
            f"the data has the store's ids but other content (sha256 {examples.fingerprint[:12]}…, the "
            f"store was made from {stored_content[:12]}…){_changed(store, examples)}; use the data it was "
            "made from, or make a new store"
        )


def check_writable(store: Store) -> None:
    """Write and remove a file where models are staged and where they are committed.

    Raises
    ------
    NotWritable
        This user may not write there.
    """
    with writing(store.path):
        (store.path / fmt.STAGING).mkdir(exist_ok=True)
    for folder in (store.path / fmt.STAGING, store.path / fmt.MODELS):
        with writing(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            pass


def check_output(output: Any, model_id: str, n_rows: int, n_classes: int) -> Any:
    """Return a model's output for a batch, checked to be one row an example and one column a class.

    Raises
    ------
    WrongClassCount
        Another number of columns than the store has classes.
    ArgumentError
        No tensor or array of two dimensions, or another number of rows.
    """
    if not hasattr(output, "detach"):
        output = np.asarray(output) if not isinstance(output, dict) else None
    shape: tuple[int, ...] = tuple(getattr(output, "shape", ()))
    if len(shape) != 2 or shape[0] != n_rows:
        what = f"shape {shape}" if shape else "no array"
        raise ArgumentError(
            f"model {model_id!r} gave {what} for {n_rows} examples, expected ({n_rows}, {n_classes})"
        )
    if shape[1] != n_classes:
        raise wrong_class_count(model_id, shape[1], n_classes)
    return output


def check_first(output: Any, model_id: str, examples: ExampleSource) -> None:
    """Refuse what a model gave for the first example alone, as `check_output` does, and what is not finite.

    Raises
    ------
    WrongClassCount, ArgumentError, NonFiniteLogits
    """
    row = check_output(output, model_id, 1, len(examples.classes))
    values = row.detach().float().cpu().numpy() if hasattr(row, "detach") else row
    check_finite(values, model_id, examples.ids, examples.classes)


def check_classes(model_id: str, predictor: Predictor, store: Store) -> None:
    """Refuse a model whose classes are not the store's, as far as it tells before its first batch.

    Raises
    ------
    WrongClassCount
        It has another number of classes.
    ArgumentError
        It calls its outputs by the store's names, in another order.
    """
    names = getattr(predictor, "class_names", None)
    if predictor.n_classes not in (None, store.n_classes):
        raise wrong_class_count(model_id, predictor.n_classes or 0, store.n_classes, names)
    if names is None or list(names) == store.classes or {*names} != {*store.classes}:
        return
    column = next(i for i, name in enumerate(names) if name != store.classes[i])
    raise ArgumentError(
        f"model {model_id!r} has the store's classes in another order: output {column} is {names[column]!r}, "
        f"the store has {store.classes[column]!r} there; pass a class map (MappedModel, "
        "--class-map FILE: the names of its outputs, one a line)"
    )


def wrong_class_count(
    model_id: str, own: int, n_classes: int, names: Sequence[str] | None = None
) -> WrongClassCount:
    """Return the error for a model with another number of classes than the store, with its remedies.

    Parameters
    ----------
    model_id, own, n_classes
        The model, its number of classes and the store's.
    names
        What the model calls its outputs, where it tells.
    """
    called = "" if names is None else f" (it calls them {', '.join(names[:3])}, …)"
    lacks = "if the data only lacks some classes, make a new store with all their names (classes=, --classes)"
    return WrongClassCount(
        f"model {model_id!r} has {own} classes{called}, the store has {n_classes}; "
        f"{lacks + ', or ' if own > n_classes else ''}"
        "say which output is which class with a class map (MappedModel, --class-map FILE: the names of its "
        "outputs, one a line)"
    )


def _left_out_of_one(store: Store, examples: ExampleSource, given: str, stored: str) -> str:
    """Return what is known of two ids that should be one: which of them could not be read, then or now."""
    now: str | None = getattr(examples, "skipped", {}).get(stored)
    if now:
        return f"; {stored!r} is left out of the data, since it cannot be read any more ({now})"
    then = was_left_out(store.attributes, given)
    return f"; {given!r} was left out of the store, since it could not be read ({then})" if then else ""


def _changed(store: Store, examples: ExampleSource) -> str:
    """Return which images differ from those the store was made from, where both have a digest of each."""
    table, own = store.own_examples(), getattr(examples, "contents", None)
    if own is None or DIGESTS not in table.column_names:
        return ""
    stored = np.array(table[DIGESTS].to_pylist(), "S")
    differ = np.flatnonzero(np.asarray(own) != stored)
    names = ", ".join(repr(examples.ids[row]) for row in differ[:_NAMED])
    more = ", …" if len(differ) > _NAMED else ""
    return f": {len(differ):,} of {len(stored):,} images differ, {names}{more}"


def _check_labels(store: Store, examples: ExampleSource) -> None:
    if store.truth.is_single:  # sets of right classes need not hold the one class of a folder
        differ = np.flatnonzero(np.asarray(examples.labels) != store.labels)
        if len(differ):
            row = int(differ[0])
            raise ExamplesMismatch(
                f"{len(differ)} labels differ from the store's, first of example {examples.ids[row]!r}: "
                f"{examples.labels[row]} in the data, {store.labels[row]} in the store"
            )
    names: Sequence[str] = list(examples.classes)
    if names != store.classes:
        raise ExamplesMismatch(
            f"class names differ: {names[:5]} … in the data, {store.classes[:5]} … in the store"
        )
