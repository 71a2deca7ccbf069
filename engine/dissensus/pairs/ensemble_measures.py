"""Measures of the ensemble of two models: the equal-weight mean of their probabilities.

The ensemble predicts the lowest class of the largest sum, in the exact integers of `kernels.probabilities`.
With one right class an example, what both get right is never lost, and with EI the error inconsistency, P00
the double fault and r00 the share of those examples that the ensemble gets right,

    improvement = EI (conversion_rate - 1/2) + P00 r00,

exactly (as long as no two logits that told classes apart round to one number, where a tie may be lost). Two
right classes can lose to a third one, of which both members are less sure.
"""

from __future__ import annotations

from .measures import Floats, measure, ratio

PAPER = "Gontijo-Lopes, Dauphin, Cubuk 2021, No one representation to rule them all (ICLR 2022)"


@measure(low=0, high=1, more_different="high", reference=PAPER)
def pair_accuracy(pair_right: Floats, n: Floats) -> Floats:
    """Accuracy of the ensemble of the two models: the mean of their probabilities.

    Equals scikit-learn's `VotingClassifier(voting="soft")` of two members up to its rounding.
    """
    return ratio(pair_right, n)


@measure(low=-1, high=1, more_different="high", reference=PAPER)
def improvement(pair_right: Floats, n11: Floats, n10: Floats, n01: Floats, n: Floats) -> Floats:
    """Accuracy of the ensemble of the two models minus the mean of their accuracies.

    Half of the error inconsistency is its largest value, as long as what both get wrong stays wrong.
    """
    return ratio(2 * pair_right - (2 * n11 + n10 + n01), 2 * n)


@measure(
    low=0,
    high=1,
    more_different="high",
    reference=PAPER,
    undefined="no example that exactly one of the two models gets right",
)
def conversion_rate(converted: Floats, n10: Floats, n01: Floats) -> Floats:
    """Share of the examples that exactly one of the two gets right which their ensemble gets right.

    Above 1/2 the ensemble sides with the model that is right more often than not (ensemble efficiency).
    """
    return ratio(converted, n10 + n01)
