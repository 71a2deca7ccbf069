"""Measures of the predicted classes: models with hard labels only have them too."""

from __future__ import annotations

from .measures import Floats, measure, ratio


@measure(
    low=0,
    high=1,
    more_different="high",
    reference="Prediction churn: Milani Fard et al. 2016, Launch and iterate (NeurIPS)",
)
def label_disagreement(same_label: Floats, n: Floats) -> Floats:
    """Share of examples that get different classes, both wrong ones included.

    Equals scipy's `pdist(top1, "hamming")`. Disagreement on what is right or wrong is `error_inconsistency`.
    """
    return ratio(n - same_label, n)


@measure(
    low=-1,
    high=1,
    more_different="low",
    reference="Cohen 1960, A coefficient of agreement for nominal scales",
    undefined="both models predict one and the same class on every example",
    agreement=True,
)
def label_kappa(same_label: Floats, chance_label: Floats, n: Floats) -> Floats:
    """Cohen's kappa of the predicted classes: agreement beyond what their frequencies give by chance.

    Equals sklearn's `cohen_kappa_score(top1_a, top1_b)`. Kappa of right and wrong is `error_consistency`.
    """
    return ratio(n * same_label - chance_label, n * n - chance_label)


@measure(
    low=0,
    high=1,
    more_different="low",
    reference="Kim et al. 2025, Correlated errors in large language models (ICML)",
    undefined="no example that both models get wrong",
    agreement=True,
)
def same_wrong(same_wrong_label: Floats, n00: Floats) -> Floats:
    """Share of the examples both models get wrong on which they give the same wrong class."""
    return ratio(same_wrong_label, n00)
