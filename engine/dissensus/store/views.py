"""The store as an xarray data set, lazily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import MissingDependency

from .truth import Truth

if TYPE_CHECKING:
    import xarray

    from .catalog import Store
    from .reader import StoredModel


def dataset(store: Store, models: Sequence[StoredModel]) -> xarray.Dataset:
    """Lazy view of some models; see `Store.to_xarray`."""
    try:
        import xarray
    except ImportError as error:
        raise MissingDependency("to_xarray needs xarray; run: pip install xarray") from error
    top1 = store.top1_of(models)
    variables = {
        "logits": (("model", "example", "class"), _stack(store, models)),
        "top1": (("model", "example"), top1),
        "correct": (("model", "example"), _correct(store.truth, top1)),
    }
    ids = [model.model_id for model in models]
    coordinates: dict[str, Any] = {"model": ids, "example": store.example_ids, "class": store.classes}
    coordinates["kind"] = ("model", [model.kind for model in models])
    coordinates["counted"] = ("example", store.truth.counted)
    if store.truth.is_single:
        coordinates["label"] = ("example", store.labels)
    if store.splits is not None:
        coordinates["split"] = ("example", store.splits)
    return xarray.Dataset(variables, coordinates, {"labels": store.truth.name})


def _correct(truth: Truth, top1: NDArray[Any]) -> NDArray[Any]:
    """Right or wrong; where some examples are not counted, numbers that means pass over them."""
    right = truth.correct(top1)
    return right if truth.counted.all() else np.where(truth.counted, right, np.nan)


def _stack(store: Store, models: Sequence[StoredModel]) -> Any:
    import dask.array as da

    shape, size = (store.n_examples, store.n_classes), store.block_rows
    absent = da.full(shape, np.nan, chunks=(size, shape[1]), dtype=np.float32)
    layers = [absent if model.kind == "labels" else model.logits().to_dask() for model in models]
    return da.stack(layers) if layers else da.empty((0, *shape), dtype=np.float32)
