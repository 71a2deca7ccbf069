"""Measures of probabilities, softmax at temperature 1 of what is stored, and of logits.

How far rounding moves the sums they are finished from is stated in `sums`. Where a value is bounded, rounding
does not take it out of its range; a model has no distance to itself and correlates with itself at 1 exactly.
"""

from __future__ import annotations

from math import inf

import numpy as np

from .measures import Floats, measure, ratio


@measure(
    low=-1,
    high=1,
    more_different="low",
    reference="Goel et al. 2025, Great models think alike and this undermines AI oversight (ICML)",
    undefined="both models give the right class probability 1 on every example, or of two classes 0",
    agreement=True,
)
def capa(products: Floats, truth_i: Floats, truth_j: Floats, n: Floats, n_classes: Floats) -> Floats:
    """Chance-adjusted probabilistic agreement: how alike the mistakes are, beyond the accuracies.

    (c_obs - c_exp) / (1 - c_exp) with c_obs = mean Σ_c p_i p_j, p̄ the mean probability of the right class and
    c_exp = p̄_i p̄_j + (1 - p̄_i)(1 - p̄_j) / (C - 1). Of one-hot outputs and two classes it is
    `error_consistency`. A model agrees with itself at 1 only where its outputs are one-hot.
    """
    right_i, right_j = ratio(truth_i, n), ratio(truth_j, n)
    expected = right_i * right_j + (1 - right_i) * (1 - right_j) / (n_classes - 1)
    return np.clip(ratio(ratio(products, n) - expected, 1 - expected), -1.0, 1.0)


@measure(
    low=0,
    high=1,
    more_different="low",
    reference="Observed agreement of CAPA, Goel et al. 2025",
)
def expected_agreement(products: Floats, n: Floats) -> Floats:
    """Mean probability that answers drawn from the two models are the same: mean Σ_c p_i p_j."""
    return np.minimum(ratio(products, n), 1.0)


@measure(
    low=0,
    high=2,
    more_different="low",
    reference="Brier 1950; Krogh, Vedelsby 1995, Neural network ensembles (NeurIPS)",
)
def brier_pair(products: Floats, truth_i: Floats, truth_j: Floats, n: Floats) -> Floats:
    """Mean product of the two models' errors, mean Σ_c (p_i - y)(p_j - y): double fault in probabilities.

    A model with itself has its Brier score, and w'Bw is the Brier score of the ensemble with weights w that
    sum to 1: for equal weights the mean of the whole matrix, diagonal included.
    """
    return np.clip(ratio(products - truth_i - truth_j + n, n), 0.0, 2.0)


@measure(low=0, high=1, more_different="high", reference="Hellinger 1909; Le Cam 1986, Asymptotic methods")
def hellinger(root_products: Floats, n: Floats) -> Floats:
    """Hellinger distance of the predictions: root of the mean over examples of ½ Σ_c (√p_i - √p_j)²."""
    own = np.diagonal(root_products)
    squared = ratio(own[:, None] + own[None, :] - 2 * root_products, 2 * n)
    return np.sqrt(np.clip(squared, 0.0, 1.0))


@measure(
    low=0,
    high=inf,
    more_different="high",
    reference="Kullback, Leibler 1951, On information and sufficiency",
    symmetric=False,
)
def kl(log_products: Floats, n: Floats) -> Floats:
    """Divergence of the first model from the second, KL(p_i || p_j) = mean Σ_c p_i log(p_i / p_j), in nats.

    The expectation is under the first model, the row's: what is lost where the second stands in for it, as a
    student for its teacher. Equals scipy's `rel_entr`, summed.
    """
    own = np.diagonal(log_products)
    return np.maximum(ratio(own[:, None] - log_products, n), 0.0)


@measure(
    low=-1,
    high=1,
    more_different="low",
    reference="Pearson 1895, Note on regression and inheritance",
    undefined="a model whose logits are the same for all classes, on every example",
)
def logit_correlation(logit_products: Floats) -> Floats:
    """Pearson correlation of the logits, centred on each example: a constant added to a row changes nothing.

    Equals `np.corrcoef` of the rows minus their means, all examples and classes end to end.
    """
    own = np.diagonal(logit_products)
    return np.clip(ratio(logit_products, np.sqrt(own[:, None] * own[None, :])), -1.0, 1.0)
