"""What is summed over examples and classes for measures of probabilities: products of two models' scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# by statistic, the kinds of scores whose products it sums: left of the product, right of it
PRODUCTS = {
    "products": ("probability", "probability"),
    "root_products": ("root", "root"),
    "log_products": ("probability", "log"),
    "logit_products": ("logit", "logit"),
}
TRUTH = ("truth_i", "truth_j")  # sums of the probability of the right class, of the row's and column's model
SCORED = (*PRODUCTS, *TRUTH, "n_classes")


@dataclass(frozen=True)
class Wanted:
    """What is summed.

    Attributes
    ----------
    products : dict of str to two str
        Those of `PRODUCTS` that are wanted.
    truth : bool
        Whether `TRUTH` is.
    kinds : list of str
        Kinds of scores needed, probability first.
    """

    products: dict[str, tuple[str, str]]
    truth: bool
    kinds: list[str]

    @classmethod
    def of(cls, wanted: Collection[str]) -> Wanted:
        """What there is of these names."""
        products = {name: kinds for name, kinds in PRODUCTS.items() if name in wanted}
        truth = not {*TRUTH}.isdisjoint(wanted)
        kinds = {kind for pair in products.values() for kind in pair} | ({"probability"} if truth else set())
        return cls(products, truth, sorted(kinds, key=lambda kind: (kind != "probability", kind)))


@dataclass(frozen=True)
class Sums:
    """Sums over some examples.

    Attributes
    ----------
    products : (P, R, R) float64
        Of each of `Wanted.products`, in their order; M models padded to R.
    truth : (M,) float64
        Of probabilities of the right class; (0,) where these are not wanted.
    """

    products: Floats
    truth: Floats

    @classmethod
    def none(cls, asked: Wanted, n_models: int) -> Sums:
        """Sums over nothing."""
        from dissensus.kernels.gram import padded

        size = padded(n_models)
        return cls(np.zeros((len(asked.products), size, size)), np.zeros(n_models if asked.truth else 0))

    def add(self, other: Sums) -> None:
        """Add sums over other examples."""
        self.products[:] += other.products
        self.truth[:] += other.truth

    def named(self, asked: Wanted, n_models: int, n_classes: int) -> Mapping[str, Floats]:
        """What `sums.score_sums` returns."""
        named: dict[str, Floats] = {}
        for (name, (left, right)), found in zip(asked.products.items(), self.products, strict=True):
            found = found[:n_models, :n_models]
            # where both are the same, the triangle below is what is above
            named[name] = np.triu(found) + np.triu(found, 1).T if left == right else found
        truth = zip(TRUTH, (self.truth[:, None], self.truth[None, :]), strict=True)
        return named | dict(truth if asked.truth else ()) | {"n_classes": np.array(float(n_classes))}
