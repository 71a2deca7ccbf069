"""Frameworks other than gradient descent on networks: scikit-learn's classifiers on the pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import MissingDependency

from .other import subset
from .patches import PatchFeatures

if TYPE_CHECKING:
    from .data import DemoData
    from .recipes import Recipe


class Smoothed:
    """A fitted classifier whose shares of votes become probabilities without zeros.

    A share p of `votes` votes becomes (votes p + prior / C) / (votes + prior): the posterior mean under a
    symmetric Dirichlet prior that weighs as much as `prior` votes.

    Parameters
    ----------
    estimator
        Fitted, with `predict_proba`.
    votes
        How many votes the shares stand for (neighbours, trees).
    prior
        Weight of the prior, in votes.
    """

    def __init__(self, estimator: Any, votes: float, prior: float = 1.0) -> None:
        self.estimator, self.votes, self.prior = estimator, votes, prior

    @property
    def classes_(self) -> NDArray[Any]:
        """Class of each column."""
        return np.asarray(self.estimator.classes_)

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return (B, C) probabilities, all above zero."""
        shares = np.asarray(self.estimator.predict_proba(features), np.float64)
        smoothed: NDArray[np.float64] = self.votes * shares + self.prior / shares.shape[1]
        return smoothed / (self.votes + self.prior)


def require_sklearn() -> None:
    """Check that scikit-learn is there.

    Raises
    ------
    MissingDependency
        It is not; the remedy is named.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "the demo needs scikit-learn for its classical models; install it: pip install 'dissensus[demo]'"
        ) from error


def fit(recipe: Recipe, data: DemoData) -> Any:
    """Fit the estimator of a recipe and return it.

    Parameters
    ----------
    recipe
        Of method `"estimator"`; its option `votes` asks for `Smoothed`; `components` for that many principal
        components, `words` and `side` for `PatchFeatures` before the estimator; the others are its own.
    data
        Gives the training images.
    """
    options = dict(recipe.options)
    votes = options.pop("votes", None)
    features: dict[str, int] = {
        name: options.pop(name) for name in ("components", "words", "side") if name in options
    }
    estimator = ESTIMATORS[recipe.architecture](options, recipe.seed)
    if features:
        estimator = _after(features, estimator, recipe.seed)
    images = subset(data, recipe.images, recipe.seed)
    estimator.fit(unit_rows(images.images), images.labels)
    return estimator if votes is None else Smoothed(estimator, votes)


def unit_rows(images: Any) -> NDArray[np.float32]:
    """Return (B, H, W) uint8 images as (B, H W) float32 rows in [0, 1]."""
    pixels = np.asarray(images)
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def _neighbours(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(**options)


def _kernel_svm(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.svm import SVC

    return SVC(decision_function_shape="ovr", random_state=seed, **options)


def _random_forest(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, **options)


def _extra_trees(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(random_state=seed, **options)


def _boosting(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **options)


def _logistic(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**options)


def _quadratic(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    return QuadraticDiscriminantAnalysis(**options)


def _gaussian_process(options: Mapping[str, Any], seed: int) -> Any:
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF

    kernel = RBF(options["length_scale"], length_scale_bounds="fixed")
    return GaussianProcessClassifier(kernel, random_state=seed)


ESTIMATORS: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
    "neighbours": _neighbours,
    "kernel-svm": _kernel_svm,
    "random-forest": _random_forest,
    "extra-trees": _extra_trees,
    "boosting": _boosting,
    "logistic-regression": _logistic,
    "quadratic-discriminant": _quadratic,
    "gaussian-process": _gaussian_process,
}
"""Names that the `architecture` of an estimator's recipe may have."""


def _after(features: Mapping[str, int], estimator: Any, seed: int) -> Any:
    """Return the estimator behind the features that the options ask for."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if "words" in features:
        return make_pipeline(
            PatchFeatures(features["words"], features["side"], seed), StandardScaler(), estimator
        )
    return make_pipeline(PCA(features["components"], svd_solver="randomized", random_state=seed), estimator)
