"""scikit-learn estimators as model sources; scikit-learn itself is not imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import ArgumentError

from ..data.examples import Images, grey_or_rgb
from .callables import CallableModel
from .digests import object_digest, versions


def estimator_model(
    model_id: str,
    estimator: Any,
    *,
    classes: Sequence[Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    preprocess: Callable[[Images], NDArray[Any]] | None = None,
    fingerprint: str | None = None,
) -> CallableModel:
    """Make a model source of a fitted classifier with scikit-learn's methods.

    Probabilities are taken where there are any (`predict_proba`, else `predict_log_proba`), else the values
    of `decision_function` as logits (two classes: 0 and its value).

    Parameters
    ----------
    model_id
        name in the store.
    estimator
        fitted; its `classes_` say which column belongs to which class.
    classes
        the values that stand in `classes_`, in the store's class order; by default 0 … C - 1.
    metadata
        stored with the model.
    preprocess
        images -> (B, features); by default they are flattened, integers to float32.
    fingerprint
        text that names the version of the weights; by default a digest of the estimator's
        parameters and fitted state, the same after it was saved and loaded.

    Raises
    ------
    ArgumentError
        the estimator is not fitted, knows other classes, or offers none of the three methods; or its digest
        would change when it is saved and loaded: pass `fingerprint`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from dissensus.ingest import estimator_model
    >>> tree = DecisionTreeClassifier().fit(np.eye(3), [0, 1, 2])
    >>> estimator_model("tree", tree).kind
    'probabilities'
    """
    order = _class_order(model_id, estimator, classes)
    method = _method(model_id, estimator)
    return CallableModel(
        model_id,
        _Scores(estimator, method, order),
        kind="logits" if method == "decision_function" else "probabilities",
        metadata={
            "source": "scikit-learn",
            "architecture": type(estimator).__name__,
            **versions("scikit-learn"),
            **(metadata or {}),
        },
        preprocess=preprocess or flatten_images,
        fingerprint=fingerprint or object_digest(estimator, f"model {model_id!r}"),
        n_classes=len(order),
    )


def flatten_images(images: Images) -> NDArray[Any]:
    """Return B images as (B, features): integers as float32, floats as they are.

    Raises
    ------
    ArgumentError
        the images differ in size.
    """
    arrays = images if isinstance(images, np.ndarray) else [np.asarray(grey_or_rgb(i)) for i in images]
    if len({np.shape(array) for array in arrays}) > 1:
        raise ArgumentError("images differ in size and cannot be flattened to rows; pass preprocess=")
    array = np.asarray(arrays)
    flat = array.reshape(len(array), -1)
    return flat if np.issubdtype(flat.dtype, np.floating) else flat.astype(np.float32)


@dataclass(frozen=True)
class _Scores:
    """The estimator's scores with columns in the store's class order."""

    estimator: Any
    method: str
    order: list[int]

    def __call__(self, features: NDArray[Any]) -> NDArray[Any]:
        scores = np.asarray(getattr(self.estimator, self.method)(features))
        if self.method == "predict_log_proba":
            scores = np.exp(scores)
        if scores.ndim == 1 and len(self.order) == 2:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        if scores.ndim != 2 or scores.shape[1] != len(self.order):
            raise ArgumentError(
                f"{type(self.estimator).__name__}.{self.method} gave shape {scores.shape} for "
                f"{len(self.order)} classes; one output with a column for each class is needed "
                "(SVC: decision_function_shape='ovr')"
            )
        return scores[:, self.order]


def _class_order(model_id: str, estimator: Any, classes: Sequence[Any] | None) -> list[int]:
    known = getattr(estimator, "classes_", None)
    if known is None:
        raise ArgumentError(f"model {model_id!r}: the estimator has no classes_; fit it first")
    if any(isinstance(value, list | np.ndarray) for value in known):
        raise ArgumentError(f"model {model_id!r}: the estimator has several outputs; one is needed")
    values = [_plain(value) for value in known]
    wanted = list(range(len(values))) if classes is None else [_plain(value) for value in classes]
    if sorted(map(str, values)) != sorted(map(str, wanted)):
        raise ArgumentError(
            f"model {model_id!r}: the estimator's classes_ are {_short(values)}, expected {_short(wanted)}; "
            "pass classes=, the values of classes_ in the store's class order"
        )
    place = {str(value): column for column, value in enumerate(values)}
    return [place[str(value)] for value in wanted]


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _short(values: list[Any]) -> str:
    return f"[{', '.join(map(repr, values[:12]))}{', …' if len(values) > 12 else ''}]"


def _method(model_id: str, estimator: Any) -> str:
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(estimator, method):
            return method
    raise ArgumentError(
        f"model {model_id!r}: {type(estimator).__name__} has neither predict_proba, predict_log_proba nor "
        "decision_function; store its hard labels with store.add(model_id, predictions=...)"
    )
